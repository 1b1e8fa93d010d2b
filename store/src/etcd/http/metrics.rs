//! `/metrics`: etcd's names, for the dashboards and alerts that know them.
//!
//! Source: etcd `server/etcdserver/metrics.go`, `server/storage/mvcc/metrics.go`, `server/storage/wal/metrics.go`.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Store;
use crate::durations::Durations;
use crate::etcd::http::Checks;
use crate::etcd::{Front, STORAGE_VERSION, VERSION};
use crate::metrics::{Metric, counter, gauge, head, write_process};

/// Leaders that this member saw come.
#[derive(Debug, Default)]
pub(super) struct Seen(AtomicU64);

/// Counts leaders until the store ends.
pub(super) fn follow(store: &Store) -> Arc<Seen> {
    let seen = Arc::new(Seen::default());
    let (counted, mut leadership) = (seen.clone(), store.leadership());
    store.track(async move {
        let mut led = None;
        loop {
            let leader = leadership.borrow_and_update().leader;
            if leader.is_some() && leader != led {
                counted.0.fetch_add(1, Ordering::Relaxed);
                led = leader;
            }
            if leadership.changed().await.is_err() {
                return;
            }
        }
    });
    seen
}

/// All of it as text.
pub(super) fn text(front: &Front, checks: &Checks, seen: &Seen) -> String {
    let mut out = String::with_capacity(64 << 10);
    server(front, seen, &mut out);
    health(checks, &mut out);
    state(front, &mut out);
    front.calls.write(&mut out);
    write_process(&mut out);
    out
}

fn labelled(name: &str, help: &str, label: &str, value: &str, out: &mut String) {
    head(name, "gauge", help, out);
    let _ = writeln!(out, "{name}{{{label}=\"{value}\"}} 1");
}

fn server(front: &Front, seen: &Seen, out: &mut String) {
    let (figures, status) = (front.store.figures(), front.store.status());
    let cluster = STORAGE_VERSION.rsplit_once('.').map_or(STORAGE_VERSION, |(minor, _)| minor);
    labelled("etcd_cluster_version", "The version that all members serve.", "cluster_version", cluster, out);
    labelled("etcd_server_version", "The version of etcd whose API this is.", "server_version", VERSION, out);
    labelled("etcd_server_id", "This member's id.", "server_id", &format!("{:x}", front.store.id()), out);
    gauge("etcd_server_has_leader", "Whether a leader is known.", u8::from(figures.leader.is_some()), out);
    gauge("etcd_server_is_leader", "Whether this member leads.", u8::from(figures.leads), out);
    gauge("etcd_server_is_learner", "Whether this member only learns.", u8::from(status.is_learner), out);
    let leaders = seen.0.load(Ordering::Relaxed);
    counter("etcd_server_leader_changes_seen_total", "Leaders that this member saw come.", leaders, out);
    let (applied, index) = (figures.applied, figures.log_index);
    gauge("etcd_server_proposals_applied_total", "Index of the last entry applied.", applied, out);
    gauge("etcd_server_proposals_committed_total", "Index of the last entry known to be committed.", applied, out);
    let pending = index.saturating_sub(applied);
    gauge("etcd_server_proposals_pending", "Entries of the log that are not applied yet.", pending, out);
    let failed = front.calls.failed_writes();
    counter("etcd_server_proposals_failed_total", "Writes that nobody took in time.", failed, out);
    gauge("etcd_server_quota_backend_bytes", "Size beyond which writes are refused.", status.db_size_quota, out);
    gauge("etcd_network_known_peers", "Other members.", figures.members.saturating_sub(1), out);
    gauge("raftsman_store_term", "Raft's term.", figures.term, out);
    gauge("raftsman_store_log_bytes", "Bytes of the log's entries.", figures.log_bytes, out);
    crate::archive::metrics(figures.archive.as_ref(), out);
    let name = "etcd_disk_wal_fsync_duration_seconds";
    head(name, Durations::KIND, "Time that the log's syncs to disk took.", out);
    figures.syncs.write(name, "", out);
}

fn health(checks: &Checks, out: &mut String) {
    let count = |held: &AtomicU64| held.load(Ordering::Relaxed);
    counter("etcd_server_health_success", "Health checks that went well.", count(&checks.succeeded), out);
    counter("etcd_server_health_failures", "Health checks that did not.", count(&checks.failed), out);
}

fn state(front: &Front, out: &mut String) {
    let (status, view) = (front.store.status(), front.store.view());
    gauge("etcd_mvcc_db_total_size_in_bytes", "Size of the state's files.", status.db_size, out);
    let used = status.db_size_in_use;
    gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Size of what lies in them.", used, out);
    gauge("etcd_debugging_mvcc_current_revision", "The newest revision here.", view.revision(), out);
    let compacted = view.header().compacted;
    gauge("etcd_debugging_mvcc_compact_revision", "What was compacted last.", compacted, out);
    let (streams, leases) = (front.calls.open("/etcdserverpb.Watch/Watch"), front.store.leases().len());
    gauge("etcd_debugging_mvcc_watch_stream_total", "Streams of watches that are open.", streams, out);
    let keys = front.store.data_keys();
    let help = "Data keys of what is encrypted at rest: more than one while that is encrypted anew.";
    gauge("raftsman_store_data_keys", help, keys, out);
    gauge("raftsman_store_leases", "Leases.", leases, out);
}
