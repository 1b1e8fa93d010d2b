//! PURE: what etcd refuses before it looks at any key.
//!
//! Source: etcd `server/etcdserver/api/v3rpc/key.go`.

use std::collections::BTreeSet;

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;

use crate::machine::codec;

/// Why a request is refused: an invalid argument, in etcd's words.
pub(super) type Checked = Result<(), &'static str>;

pub(super) fn range(request: &pb::RangeRequest) -> Checked {
    if request.key.is_empty() {
        return Err("etcdserver: key is not provided");
    }
    let known = (0..=2).contains(&request.sort_order) && (0..=4).contains(&request.sort_target);
    if known { Ok(()) } else { Err("etcdserver: invalid sort option") }
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
    if [request.compare.len(), request.success.len(), request.failure.len()].iter().any(|count| *count > ops_max) {
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
            Some(Request::RequestTxn(request)) => txn(request, ops_max)?,
            None => return Err("etcdserver: key is not provided"),
        }
    }
    unique(&request.success).map(|_| ())?;
    unique(&request.failure).map(|_| ())
}

/// Keys that a branch puts, and ranges that it deletes.
type Changed = (BTreeSet<Bytes>, Vec<(Bytes, Bytes)>);

/// A key is put at most once in a branch, and not deleted there as well.
fn unique(ops: &[pb::RequestOp]) -> Result<Changed, &'static str> {
    const TWICE: &str = "etcdserver: duplicate key given in txn request";
    let (mut puts, mut deletes) = (BTreeSet::new(), Vec::new());
    for op in ops {
        let found = match &op.request {
            Some(Request::RequestPut(put)) => vec![(BTreeSet::from([put.key.clone()]), Vec::new())],
            Some(Request::RequestDeleteRange(delete)) => {
                vec![(BTreeSet::new(), vec![(delete.key.clone(), delete.range_end.clone())])]
            }
            Some(Request::RequestTxn(nested)) => vec![unique(&nested.success)?, unique(&nested.failure)?],
            _ => Vec::new(),
        };
        let (mut new_puts, mut new_deletes) = (BTreeSet::new(), Vec::new());
        for (keys, ranges) in found {
            // The branches of a nested transaction exclude each other: they may put the same keys.
            new_puts.extend(keys);
            new_deletes.extend(ranges);
        }
        let covered = |key: &Bytes, ranges: &[(Bytes, Bytes)]| ranges.iter().any(|(from, to)| covers(from, to, key));
        let clash = new_puts.iter().any(|key| puts.contains(key) || covered(key, &deletes))
            || puts.iter().any(|key| covered(key, &new_deletes));
        if clash {
            return Err(TWICE);
        }
        puts.extend(new_puts);
        deletes.extend(new_deletes);
    }
    Ok((puts, deletes))
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
}
