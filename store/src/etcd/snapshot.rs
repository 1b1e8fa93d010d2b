//! The state as a database of etcd's, which its own tools restore: in pieces, followed by their checksum.
//!
//! Source: etcd `server/storage/schema`, `server/etcdserver/api/v3rpc/maintenance.go`.

use aws_lc_rs::digest;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tonic::Status;

use crate::View;
use crate::bbolt::{Bucket, Each, Plan};
use crate::machine::auth::Auth;
use crate::machine::codec;
use crate::moving::database::StoredLease;

/// Bytes in a message.
const PIECE_BYTES: usize = 32 << 10;
/// The oldest etcd whose format this is; newer ones take it too.
const VERSION: &str = "3.6.0";

/// What a snapshot is made of.
pub(crate) struct Contents {
    pub(crate) view: View,
    pub(crate) auth: std::sync::Arc<Auth>,
    /// Ids, times to live and what is left of them.
    pub(crate) leases: Vec<(i64, i64, i64)>,
    /// Index and term of the last entry in it.
    pub(crate) applied: (u64, u64),
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn bucket(name: &'static str, mut rows: Rows) -> Bucket<'static> {
    rows.sort();
    let give = move |each: &mut Each<'_>| {
        let _ = rows.iter().all(|(key, value)| each(key, value));
    };
    Bucket { name, give: Box::new(give) }
}

impl Contents {
    /// Every change that can still be read, as after the removal of what is compacted.
    fn changes(&self, each: &mut Each<'_>) {
        let compacted = self.view.header().compacted;
        for record in self.view.history(0) {
            let revision = record.kv.mod_revision;
            let superseded = record.next.is_some_and(|next| next <= compacted);
            if revision < compacted && (record.deleted || superseded) || revision == compacted && superseded {
                continue;
            }
            let (key, value) = record.etcds_row();
            if !each(&key, &value) {
                return;
            }
        }
    }

    fn meta(&self) -> Rows {
        let (index, term) = self.applied;
        let mut rows: Rows = vec![
            (b"consistent_index".to_vec(), index.to_be_bytes().to_vec()),
            (b"term".to_vec(), term.to_be_bytes().to_vec()),
            (b"storageVersion".to_vec(), VERSION.as_bytes().to_vec()),
        ];
        let compacted = self.view.header().compacted;
        if compacted > 0 {
            let revision = codec::revision_key(compacted, 0, false).to_vec();
            rows.push((b"finishedCompactRev".to_vec(), revision.clone()));
            rows.push((b"scheduledCompactRev".to_vec(), revision));
        }
        rows
    }

    fn buckets(&self) -> Vec<Bucket<'_>> {
        let leases = self.leases.iter().map(|(id, ttl, remaining_ttl)| {
            let lease = StoredLease { id: *id, ttl: *ttl, remaining_ttl: *remaining_ttl };
            (id.to_be_bytes().to_vec(), lease.encode_to_vec())
        });
        let alarms = self.view.header().alarms.iter().map(|held| (held.encode_to_vec(), Vec::new()));
        let auth = vec![
            (b"authEnabled".to_vec(), vec![u8::from(self.auth.enabled)]),
            (b"authRevision".to_vec(), self.auth.revision.to_be_bytes().to_vec()),
        ];
        let users = self.auth.all_users().map(|user| (user.name.to_vec(), user.encode_to_vec()));
        let roles = self.auth.all_roles().map(|role| (role.name.to_vec(), role.encode_to_vec()));
        vec![
            bucket("alarm", alarms.collect()),
            bucket("auth", auth),
            bucket("authRoles", roles.collect()),
            bucket("authUsers", users.collect()),
            bucket("cluster", vec![(b"clusterVersion".to_vec(), VERSION.as_bytes().to_vec())]),
            Bucket { name: "key", give: Box::new(|each| self.changes(each)) },
            bucket("lease", leases.collect()),
            // Members are those of the group that it is restored to.
            bucket("members", Vec::new()),
            bucket("members_removed", Vec::new()),
            bucket("meta", self.meta()),
        ]
    }

    /// Sends it; blocks while nobody takes it.
    pub(super) fn send(&self, answers: &mpsc::Sender<Result<pb::SnapshotResponse, Status>>) {
        let buckets = self.buckets();
        // Everything is read twice: a database begins with where its end is.
        let plan = Plan::new(&buckets);
        let (mut left, mut piece) = (plan.bytes(), BytesMut::with_capacity(PIECE_BYTES));
        let mut sum = digest::Context::new(&digest::SHA256);
        let say = |blob: Bytes, remaining_bytes: u64| {
            let version = VERSION.to_owned();
            answers.blocking_send(Ok(pb::SnapshotResponse { header: None, remaining_bytes, blob, version })).is_ok()
        };
        plan.write(&buckets, &mut |page| {
            sum.update(page);
            let mut rest = page;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(PIECE_BYTES - piece.len()));
                piece.put_slice(now);
                rest = later;
                left -= now.len() as u64;
                if (piece.len() == PIECE_BYTES || left == 0) && !say(piece.split().freeze(), left) {
                    return false;
                }
            }
            true
        });
        if left == 0 {
            say(Bytes::copy_from_slice(sum.finish().as_ref()), 0);
        }
    }
}
