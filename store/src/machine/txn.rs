//! PURE: etcd's writes: put, delete, and transactions with compares.
//!
//! Source: etcd `server/etcdserver/txn/txn.go`.

use std::cmp::Ordering;

use proto::command::Refusal;
use proto::command::refusal::Reason;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::mvccpb::KeyValue;

use crate::machine::pending::{Scratch, refusal};
use crate::machine::range;

/// The header of a response inside the state machine: the caller adds who answers.
pub(crate) fn header(scratch: &Scratch<'_, '_>) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision: scratch.revision(), ..pb::ResponseHeader::default() })
}

pub(crate) fn put(scratch: &mut Scratch<'_, '_>, request: &pb::PutRequest) -> Result<pb::PutResponse, Refusal> {
    let old = scratch.get(&request.key);
    let (mut value, mut lease) = (request.value.clone(), request.lease);
    if request.ignore_value || request.ignore_lease {
        let old = old.as_ref().ok_or_else(|| refusal(Reason::KeyNotFound, "etcdserver: key not found"))?;
        if request.ignore_value {
            value = old.value.clone();
        }
        if request.ignore_lease {
            lease = old.lease;
        }
    }
    if lease != 0 && scratch.pending.leases.get(lease).is_none() {
        return Err(refusal(Reason::LeaseNotFound, "etcdserver: requested lease not found"));
    }
    scratch.put(&request.key, value, lease);
    Ok(pb::PutResponse { header: header(scratch), prev_kv: old.filter(|_| request.prev_kv) })
}

pub(crate) fn delete_range(scratch: &mut Scratch<'_, '_>, request: &pb::DeleteRangeRequest) -> pb::DeleteRangeResponse {
    let old = scratch.range(&request.key, &request.range_end);
    for kv in &old {
        scratch.delete(kv.clone());
    }
    pb::DeleteRangeResponse {
        header: header(scratch),
        deleted: i64::try_from(old.len()).unwrap_or(i64::MAX),
        prev_kvs: if request.prev_kv { old } else { Vec::new() },
    }
}

fn range(scratch: &Scratch<'_, '_>, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Refusal> {
    let mut response = if request.revision > 0 && request.revision < scratch.revision() {
        let view = scratch.past(request.revision)?;
        range::answer(request, view.range(&request.key, &request.range_end))
    } else {
        if request.revision > scratch.revision() {
            scratch.past(request.revision)?;
        }
        range::answer(request, scratch.range(&request.key, &request.range_end).into_iter())
    };
    response.header = header(scratch);
    Ok(response)
}

/// All compares are judged on the state before the transaction, then one branch runs, in order.
pub(crate) fn txn(scratch: &mut Scratch<'_, '_>, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Refusal> {
    let mut path = Vec::new();
    judge(scratch, request, &mut path);
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
            Some(Request::RequestDeleteRange(request)) => Response::ResponseDeleteRange(delete_range(scratch, request)),
            Some(Request::RequestTxn(request)) => Response::ResponseTxn(run(scratch, request, path)?),
            None => return Err(refusal(Reason::Invalid, "etcdserver: a transaction holds an empty operation")),
        };
        responses.push(pb::ResponseOp { response: Some(response) });
    }
    Ok(pb::TxnResponse { header: None, succeeded, responses })
}

fn holds(scratch: &Scratch<'_, '_>, compare: &pb::Compare) -> bool {
    let found = scratch.range(&compare.key, &compare.range_end);
    if found.is_empty() {
        // An absent key compares as zeros, but has no value at all.
        return compare.target() != CompareTarget::Value && holds_for(compare, &KeyValue::default());
    }
    found.iter().all(|kv| holds_for(compare, kv))
}

fn holds_for(compare: &pb::Compare, kv: &KeyValue) -> bool {
    let order = match (compare.target(), &compare.target_union) {
        (CompareTarget::Value, Some(TargetUnion::Value(value))) => kv.value.cmp(value),
        (CompareTarget::Value, _) => kv.value.as_ref().cmp(b""),
        (CompareTarget::Create, union) => kv.create_revision.cmp(&number(union.as_ref())),
        (CompareTarget::Mod, union) => kv.mod_revision.cmp(&number(union.as_ref())),
        (CompareTarget::Version, union) => kv.version.cmp(&number(union.as_ref())),
        (CompareTarget::Lease, union) => kv.lease.cmp(&number(union.as_ref())),
    };
    match compare.result() {
        CompareResult::Equal => order == Ordering::Equal,
        CompareResult::NotEqual => order != Ordering::Equal,
        CompareResult::Greater => order == Ordering::Greater,
        CompareResult::Less => order == Ordering::Less,
    }
}

fn number(union: Option<&TargetUnion>) -> i64 {
    match union {
        Some(
            TargetUnion::Version(number)
            | TargetUnion::CreateRevision(number)
            | TargetUnion::ModRevision(number)
            | TargetUnion::Lease(number),
        ) => *number,
        Some(TargetUnion::Value(_)) | None => 0,
    }
}
