//! PURE: etcd's writes: put, delete, and transactions with compares.
//!
//! Source: etcd `server/etcdserver/txn/txn.go`.

use std::cmp::Ordering;

use bytes::Bytes;
use proto::command::Refusal;
use proto::command::refusal::Reason;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::mvccpb::KeyValue;

use crate::api::Revision;
use crate::machine::pending::{Scratch, readable, refusal};
use crate::machine::range;

/// The header of a response inside the state machine: the caller adds who answers.
pub(crate) fn header(scratch: &Scratch<'_, '_>) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision: scratch.revision(), ..pb::ResponseHeader::default() })
}

pub(crate) fn put(scratch: &mut Scratch<'_, '_>, request: &pb::PutRequest) -> Result<pb::PutResponse, Refusal> {
    check_lease(scratch, request)?;
    // The one look at the key that a put costs.
    let before = scratch.latest(&request.key);
    let old = before.as_ref().filter(|before| !before.deleted).map(|before| &before.kv);
    if (request.ignore_value || request.ignore_lease) && old.is_none() {
        return Err(no_key());
    }
    let value = old.filter(|_| request.ignore_value).map_or(&request.value, |old| &old.value).clone();
    let lease = old.filter(|_| request.ignore_lease).map_or(request.lease, |old| old.lease);
    let prev_kv = old.filter(|_| request.prev_kv).cloned();
    prev_kv.iter().try_for_each(|old| scratch.pending.room.take(old))?;
    scratch.put(before, &request.key, value, lease);
    Ok(pb::PutResponse { header: header(scratch), prev_kv })
}

fn no_key() -> Refusal {
    refusal(Reason::KeyNotFound, "etcdserver: key not found")
}

fn check_lease(scratch: &Scratch<'_, '_>, request: &pb::PutRequest) -> Result<(), Refusal> {
    let looks = request.lease != 0 && scratch.pending.room.knows_leases();
    if looks && scratch.pending.leases.get(request.lease).is_none() {
        return Err(refusal(Reason::LeaseNotFound, "etcdserver: requested lease not found"));
    }
    Ok(())
}

fn check_put(scratch: &Scratch<'_, '_>, request: &pb::PutRequest) -> Result<(), Refusal> {
    check_lease(scratch, request)?;
    if (request.ignore_value || request.ignore_lease) && scratch.get(&request.key).is_none() {
        return Err(no_key());
    }
    Ok(())
}

/// A negative revision is the newest, but in a transaction etcd compares it with the first there is, -1 as long as nothing
/// was compacted.
fn check_range(scratch: &Scratch<'_, '_>, request: &pb::RangeRequest) -> Result<(), Refusal> {
    if request.revision == 0 {
        return Ok(());
    }
    let compacted = scratch.pending.header.compacted;
    readable(request.revision, scratch.pending.header.revision, first(compacted))
}

/// The first revision there is, in etcd's words.
pub(crate) fn first(compacted: Revision) -> Revision {
    if compacted == 0 { -1 } else { compacted }
}

pub(crate) fn delete_range(
    scratch: &mut Scratch<'_, '_>,
    request: &pb::DeleteRangeRequest,
) -> Result<pb::DeleteRangeResponse, Refusal> {
    let (mut keys, mut prev_kvs) = (Vec::new(), Vec::new());
    for old in scratch.range(&request.key, &request.range_end) {
        // Copied: the row that it was read from need not stay.
        keys.push(Bytes::copy_from_slice(&old.key));
        if request.prev_kv {
            scratch.pending.room.take(&old)?;
            if scratch.pending.room.keeps() {
                prev_kvs.push(old);
            }
        }
    }
    let deleted = i64::try_from(keys.len()).unwrap_or(i64::MAX);
    keys.into_iter().for_each(|key| scratch.delete(key));
    Ok(pb::DeleteRangeResponse { header: header(scratch), deleted, prev_kvs })
}

fn range(scratch: &Scratch<'_, '_>, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Refusal> {
    let mut response = if request.revision > 0 && request.revision < scratch.revision() {
        let view = scratch.past(request.revision)?;
        range::within(request, view.range(&request.key, &request.range_end), &scratch.pending.room)?
    } else {
        range::within(request, scratch.range(&request.key, &request.range_end), &scratch.pending.room)?
    };
    response.header = header(scratch);
    Ok(response)
}

/// All compares, and what the operations of the branches taken need, are judged on the state before the transaction; then
/// they run, in order.
pub(crate) fn txn(scratch: &mut Scratch<'_, '_>, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Refusal> {
    let mut path = Vec::new();
    judge(scratch, request, &mut path);
    check(scratch, request, &mut path.iter().copied())?;
    let mut response = run(scratch, request, &mut path.into_iter())?;
    response.header = header(scratch);
    Ok(response)
}

/// Verdicts of a transaction and of those nested in the branch it takes, in the order in which `run` asks for them.
fn judge(scratch: &Scratch<'_, '_>, request: &pb::TxnRequest, path: &mut Vec<bool>) {
    let holds = request.compare.iter().all(|compare| holds(scratch, compare));
    path.push(holds);
    for op in if holds { &request.success } else { &request.failure } {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            judge(scratch, nested, path);
        }
    }
}

fn check(
    scratch: &Scratch<'_, '_>,
    request: &pb::TxnRequest,
    path: &mut impl Iterator<Item = bool>,
) -> Result<(), Refusal> {
    for op in if path.next().expect("a verdict for each transaction") { &request.success } else { &request.failure } {
        match &op.request {
            Some(Request::RequestRange(request)) => check_range(scratch, request)?,
            Some(Request::RequestPut(request)) => check_put(scratch, request)?,
            Some(Request::RequestTxn(request)) => check(scratch, request, path)?,
            Some(Request::RequestDeleteRange(_)) | None => {}
        }
    }
    Ok(())
}

fn run(
    scratch: &mut Scratch<'_, '_>,
    request: &pb::TxnRequest,
    path: &mut impl Iterator<Item = bool>,
) -> Result<pb::TxnResponse, Refusal> {
    let succeeded = path.next().expect("a verdict for each transaction");
    let mut responses = Vec::new();
    for op in if succeeded { &request.success } else { &request.failure } {
        let response = match &op.request {
            Some(Request::RequestRange(request)) => Response::ResponseRange(range(scratch, request)?),
            Some(Request::RequestPut(request)) => Response::ResponsePut(put(scratch, request)?),
            Some(Request::RequestDeleteRange(request)) => {
                Response::ResponseDeleteRange(delete_range(scratch, request)?)
            }
            Some(Request::RequestTxn(request)) => Response::ResponseTxn(run(scratch, request, path)?),
            None => return Err(refusal(Reason::Invalid, "etcdserver: a transaction holds an empty operation")),
        };
        responses.push(pb::ResponseOp { response: Some(response) });
    }
    // A nested one has a header, with nothing in it.
    Ok(pb::TxnResponse { header: Some(pb::ResponseHeader::default()), succeeded, responses })
}

fn holds(scratch: &Scratch<'_, '_>, compare: &pb::Compare) -> bool {
    let mut found = scratch.range(&compare.key, &compare.range_end).peekable();
    if found.peek().is_none() {
        // An absent key compares as zeros, but has no value at all.
        return compare.target != i32::from(CompareTarget::Value) && holds_for(compare, &KeyValue::default());
    }
    found.all(|kv| holds_for(compare, &kv))
}

fn holds_for(compare: &pb::Compare, kv: &KeyValue) -> bool {
    // What etcd does not know compares as equal, and holds.
    let Ok(target) = CompareTarget::try_from(compare.target) else {
        return !matches!(compare.result(), CompareResult::NotEqual | CompareResult::Greater | CompareResult::Less);
    };
    let order = match (target, &compare.target_union) {
        (CompareTarget::Value, Some(TargetUnion::Value(value))) => kv.value.cmp(value),
        (CompareTarget::Value, _) => kv.value.as_ref().cmp(b""),
        // An operand of another kind counts as zero.
        (CompareTarget::Create, Some(TargetUnion::CreateRevision(number))) => kv.create_revision.cmp(number),
        (CompareTarget::Create, _) => kv.create_revision.cmp(&0),
        (CompareTarget::Mod, Some(TargetUnion::ModRevision(number))) => kv.mod_revision.cmp(number),
        (CompareTarget::Mod, _) => kv.mod_revision.cmp(&0),
        (CompareTarget::Version, Some(TargetUnion::Version(number))) => kv.version.cmp(number),
        (CompareTarget::Version, _) => kv.version.cmp(&0),
        (CompareTarget::Lease, Some(TargetUnion::Lease(number))) => kv.lease.cmp(number),
        (CompareTarget::Lease, _) => kv.lease.cmp(&0),
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => order == Ordering::Equal,
        Ok(CompareResult::NotEqual) => order != Ordering::Equal,
        Ok(CompareResult::Greater) => order == Ordering::Greater,
        Ok(CompareResult::Less) => order == Ordering::Less,
        Err(_) => true,
    }
}
