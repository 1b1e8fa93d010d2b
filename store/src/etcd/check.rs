//! PURE: what etcd refuses before it looks at any key.
//!
//! Source: etcd `server/etcdserver/api/v3rpc/key.go`.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;

use crate::machine::{codec, range as ranges};

/// Why a request is refused: an invalid argument, in etcd's words.
pub(super) type Checked = Result<(), &'static str>;

/// What etcd adds to a request before it measures it, bytes.
const ENVELOPE_BYTES: usize = 18;

pub(super) fn range(request: &pb::RangeRequest) -> Checked {
    if request.key.is_empty() {
        return Err("etcdserver: key is not provided");
    }
    let known = (0..=2).contains(&request.sort_order) && (0..=4).contains(&request.sort_target);
    if known { Ok(()) } else { Err("etcdserver: invalid sort option") }
}

/// What a stream of a range does not take, beyond what no range takes.
pub(super) fn stream(request: &pb::RangeRequest) -> Checked {
    if !ranges::in_order(request) {
        return Err("RangeStream does not support custom sort orders");
    }
    if ranges::filtered(request) {
        return Err("RangeStream does not support revision filters");
    }
    Ok(())
}

/// Whether a write is small enough for the log.
pub(super) fn size(request: &impl Message, bytes_max: usize) -> Checked {
    let fits = request.encoded_len() + ENVELOPE_BYTES <= bytes_max;
    if fits { Ok(()) } else { Err("etcdserver: request is too large") }
}

pub(super) fn put(request: &pb::PutRequest) -> Checked {
    if request.key.is_empty() {
        return Err("etcdserver: key is not provided");
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err("etcdserver: value is provided");
    }
    if request.ignore_lease && request.lease != 0 {
        return Err("etcdserver: lease is provided");
    }
    Ok(())
}

pub(super) fn delete(request: &pb::DeleteRangeRequest) -> Checked {
    if request.key.is_empty() { Err("etcdserver: key is not provided") } else { Ok(()) }
}

/// Both branches are checked, whichever will be taken. `ops_max`: operations in one branch at most.
pub(super) fn txn(request: &pb::TxnRequest, ops_max: usize) -> Checked {
    operations(request, ops_max)?;
    changes(&request.success)?;
    changes(&request.failure).map(|_| ())
}

/// Nested transactions get what the largest list of the one around them leaves.
fn operations(request: &pb::TxnRequest, ops_max: usize) -> Checked {
    let most = request.compare.len().max(request.success.len()).max(request.failure.len());
    if most > ops_max {
        return Err("etcdserver: too many operations in txn request");
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err("etcdserver: key is not provided");
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete(request)?,
            Some(Request::RequestTxn(request)) => operations(request, ops_max - most)?,
            None => return Err("etcdserver: key not found"),
        }
    }
    Ok(())
}

/// Keys that a branch puts, and ranges that it deletes.
#[derive(Default)]
struct Changes {
    puts: BTreeSet<Bytes>,
    deletes: Vec<(Bytes, Bytes)>,
}

impl Changes {
    fn deleted(&self, key: &Bytes) -> bool {
        // An end of `\0` is taken at its word here, and such a deletion holds no key.
        self.deletes.iter().any(|(from, to)| if to.is_empty() { from == key } else { from <= key && key < to })
    }
}

/// A key is put at most once in a branch, and not deleted there as well. etcd looks at the branch's own deletions first,
/// then at nested transactions in order (a deletion of one counts for those after it), then at the branch's own puts.
fn changes(ops: &[pb::RequestOp]) -> Result<Changes, &'static str> {
    const TWICE: &str = "etcdserver: duplicate key given in txn request";
    let mut all = Changes::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            all.deletes.push((delete.key.clone(), delete.range_end.clone()));
        }
    }
    for op in ops {
        let Some(Request::RequestTxn(nested)) = &op.request else { continue };
        // The branches of a nested transaction exclude each other: they may put the same keys.
        let branches = [changes(&nested.success)?, changes(&nested.failure)?];
        let mut puts = BTreeSet::new();
        for branch in &branches {
            if branch.puts.iter().any(|key| all.puts.contains(key) || all.deleted(key)) {
                return Err(TWICE);
            }
            puts.extend(branch.puts.iter().cloned());
        }
        all.puts.extend(puts);
        all.deletes.extend(branches.into_iter().flat_map(|branch| branch.deletes));
    }
    for op in ops {
        let Some(Request::RequestPut(put)) = &op.request else { continue };
        if all.deleted(&put.key) || !all.puts.insert(put.key.clone()) {
            return Err(TWICE);
        }
    }
    Ok(all)
}

/// Whether a transaction only reads, wherever its compares lead: then no log need know of it. A nested one counts as a
/// write.
pub(super) fn reads_only(request: &pb::TxnRequest) -> bool {
    ranges_of(request).all(|range| range.is_some())
}

/// Whether nothing of a transaction that only reads must be the newest.
pub(super) fn serializable(request: &pb::TxnRequest) -> bool {
    ranges_of(request).all(|range| range.is_some_and(|range| range.serializable))
}

/// Whether an answer has rows of whole ranges in it.
pub(super) fn answers_ranges(request: &pb::TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).any(|op| match &op.request {
        Some(Request::RequestRange(range)) => !range.range_end.is_empty() && !range.count_only,
        Some(Request::RequestDeleteRange(delete)) => !delete.range_end.is_empty() && delete.prev_kv,
        Some(Request::RequestTxn(nested)) => answers_ranges(nested),
        _ => false,
    })
}

fn ranges_of(request: &pb::TxnRequest) -> impl Iterator<Item = Option<&pb::RangeRequest>> {
    request.success.iter().chain(&request.failure).map(|op| match &op.request {
        Some(Request::RequestRange(range)) => Some(range),
        _ => None,
    })
}

/// What a put counts for when there is a quota, bytes (etcd `server/storage/quota.go`).
pub(super) fn cost(request: &pb::PutRequest) -> u64 {
    256 + (request.key.len() + request.value.len()) as u64
}

/// What a lease counts for.
pub(super) const LEASE_COST: u64 = 64;

/// What the costlier branch of a transaction counts for.
pub(super) fn txn_cost(request: &pb::TxnRequest) -> u64 {
    let of = |ops: &[pb::RequestOp]| -> u64 {
        let costs = ops.iter().map(|op| match &op.request {
            Some(Request::RequestPut(put)) => cost(put),
            Some(Request::RequestTxn(nested)) => txn_cost(nested),
            _ => 0,
        });
        costs.sum()
    };
    of(&request.success).max(of(&request.failure))
}

/// Whether a range in etcd's words holds a key.
fn covers(from: &Bytes, to: &Bytes, key: &Bytes) -> bool {
    codec::within(&codec::bounds(from, to), key)
}

/// Whether a write touches keys with a prefix.
pub(super) fn touches(request: &pb::TxnRequest, prefix: &Bytes) -> bool {
    request.success.iter().chain(&request.failure).any(|op| match &op.request {
        Some(Request::RequestPut(put)) => put.key.starts_with(prefix),
        Some(Request::RequestDeleteRange(delete)) => deletes(delete, prefix),
        Some(Request::RequestTxn(nested)) => touches(nested, prefix),
        _ => false,
    })
}

/// Whether a deletion could touch keys with a prefix.
pub(super) fn deletes(request: &pb::DeleteRangeRequest, prefix: &Bytes) -> bool {
    request.key.starts_with(prefix) || covers(&request.key, &request.range_end, prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_op(key: &'static str) -> pb::RequestOp {
        pb::RequestOp { request: Some(Request::RequestPut(pb::PutRequest { key: key.into(), ..Default::default() })) }
    }

    fn delete_op(from: &'static str, to: &'static str) -> pb::RequestOp {
        let request = pb::DeleteRangeRequest { key: from.into(), range_end: to.into(), prev_kv: false };
        pb::RequestOp { request: Some(Request::RequestDeleteRange(request)) }
    }

    #[test]
    fn a_key_changes_once_in_a_transaction() {
        let of = |success: Vec<pb::RequestOp>| txn(&pb::TxnRequest { success, ..Default::default() }, 128);
        assert_eq!(of(vec![put_op("a"), put_op("b")]), Ok(()));
        assert!(of(vec![put_op("a"), put_op("a")]).is_err());
        assert!(of(vec![put_op("b"), delete_op("a", "c")]).is_err());
        assert!(of(vec![delete_op("a", "c"), put_op("b")]).is_err());
        assert_eq!(of(vec![delete_op("a", "c"), delete_op("a", "c"), put_op("c")]), Ok(()));
        let nested = pb::TxnRequest { success: vec![put_op("a")], failure: vec![put_op("a")], ..Default::default() };
        let nested = pb::RequestOp { request: Some(Request::RequestTxn(nested)) };
        assert_eq!(of(vec![nested.clone()]), Ok(()));
        assert!(of(vec![nested, put_op("a")]).is_err());
    }

    #[test]
    fn nested_transactions_share_a_limit() {
        let of = |count: usize| vec![put_op("a"); count];
        let around = |inner: usize| pb::TxnRequest {
            compare: vec![pb::Compare { key: "a".into(), ..Default::default() }; 3],
            success: vec![pb::RequestOp {
                request: Some(Request::RequestTxn(pb::TxnRequest { success: of(inner), ..Default::default() })),
            }],
            ..Default::default()
        };
        assert_eq!((operations(&around(5), 8), operations(&around(6), 8).is_err()), (Ok(()), true));
    }

    #[test]
    fn requests_of_any_bytes_are_looked_at() {
        let put = pb::PutRequest { key: "k".into(), value: "v".into(), lease: 7, ..Default::default() };
        let op = |request| pb::RequestOp { request: Some(request) };
        let nested = pb::TxnRequest { success: vec![op(Request::RequestPut(put))], ..Default::default() };
        let range = pb::RangeRequest { key: "a".into(), range_end: "b".into(), revision: 3, ..Default::default() };
        let (compare, failure) = (vec![pb::Compare::default()], vec![op(Request::RequestRange(range.clone()))]);
        let txn = pb::TxnRequest { compare, success: vec![op(Request::RequestTxn(nested))], failure };
        let delete = pb::DeleteRangeRequest { key: "a".into(), range_end: vec![0].into(), prev_kv: true };
        let of = |kind: u8, bytes: Vec<u8>| [vec![kind], bytes].concat();
        let seeds = vec![of(0, txn.encode_to_vec()), of(1, range.encode_to_vec()), of(2, delete.encode_to_vec())];
        crate::fuzz::bear("requests", seeds, |bytes| {
            let Some((kind, bytes)) = bytes.split_first() else { return String::new() };
            let prefix = Bytes::from_static(b"/registry/");
            let undecoded = |_| "no message".to_owned();
            match kind % 3 {
                0 => pb::TxnRequest::decode(bytes).map_or_else(undecoded, |read| {
                    let (reads, local) = (reads_only(&read), serializable(&read));
                    assert!(txn_cost(&read) == 0 || !reads, "what writes costs something");
                    format!("{:?} {reads} {local} {}", super::txn(&read, 128), touches(&read, &prefix))
                }),
                1 => pb::RangeRequest::decode(bytes)
                    .map_or_else(undecoded, |read| format!("{:?} {:?}", super::range(&read), stream(&read))),
                _ => pb::DeleteRangeRequest::decode(bytes)
                    .map_or_else(undecoded, |read| format!("{:?} {}", super::delete(&read), deletes(&read, &prefix))),
            }
        });
    }
}
