//! A state as records: what it is, leases, the auth store, keys in order.

use std::io::Write;

use prost::Message;

use crate::api::Epoch;
use crate::backup::blocks::{BACKUP, Writer};
use crate::backup::{BackupError, Base, Manifest, Placed, belongs};
use crate::machine::auth;
use crate::machine::lease::Leases;
use crate::machine::view::View;

/// What is written.
pub(crate) struct Given<'a> {
    /// The state; its leases and users are the newest that it knows.
    pub(crate) view: &'a View,
    /// Of the group.
    pub(crate) cluster_id: u64,
    /// The leadership it is taken under.
    pub(crate) epoch: Epoch,
    /// Whether log entries are to follow it: it holds what is members' own too, then.
    pub(crate) base: bool,
    /// The caller's words.
    pub(crate) extra: serde_json::Value,
}

/// Writes what a view shows.
///
/// # Errors
/// When the sink refuses.
pub(crate) fn write(given: Given<'_>, sink: impl Write) -> Result<Manifest, BackupError> {
    let Given { view, cluster_id, epoch, base, extra } = given;
    let all = || view.alive().filter(|record| base || belongs(&record.kv));
    let leases = Leases::load(view.snapshot());
    let manifest = Manifest {
        cluster_id,
        revision: view.revision(),
        epoch,
        time_ms: view.header().time_ms,
        keys: all().count() as u64,
        leases: leases.len() as u64,
        auth: auth::rows(view.snapshot()).count() as u64,
        placed: true,
        base: base.then(|| Base::of(view.header())),
        extra,
    };
    let mut writer = Writer::new(sink, BACKUP)?;
    writer.record(&serde_json::to_vec(&manifest).expect("plain fields"))?;
    for (id, lease) in leases.iter() {
        let words = [id, lease.ttl, lease.remaining];
        writer.record(&words.map(i64::to_be_bytes).concat())?;
    }
    for (row, value) in auth::rows(view.snapshot()) {
        let length = u32::try_from(row.len()).expect("a name fits into a request");
        writer.record(&[&length.to_be_bytes()[..], &row, &value].concat())?;
    }
    let mut row = Vec::new();
    for record in all() {
        row.clear();
        record.kv.encode(&mut row).expect("a buffer grows");
        Placed { position: record.position }.encode(&mut row).expect("a buffer grows");
        writer.record(&row)?;
    }
    writer.finish()?;
    Ok(manifest)
}
