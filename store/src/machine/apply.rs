//! PURE: what one log entry does.

use std::sync::Arc;

use prost::Message;
use proto::command::command::Request;
use proto::command::outcome::Response;
use proto::command::refusal::Reason;
use proto::command::{Command, Outcome, OutcomeBatch, Refusal};
use proto::etcdserverpb as pb;
use proto::peer::LogId;

use crate::machine::auth::{Auth, Effects};
use crate::machine::lease::TTL_MAX;
use crate::machine::pending::{Pending, readable, refusal};
use crate::machine::{alarm, moments};
use crate::machine::{permission, txn};

/// Applies a command that was appended under a Raft term.
pub(crate) fn command(pending: &mut Pending<'_>, term: u64, command: &Command) -> Outcome {
    let current = pending.header.epoch_base + term;
    let time = pending.header.time_ms.max(command.time_ms);
    moments::note(&mut pending.batch, (pending.header.time_ms, time), pending.header.revision);
    pending.header.time_ms = time;
    let response = if command.epoch != 0 && command.epoch != current {
        let text = format!("written under leadership {}, which ended; the current one is {current}", command.epoch);
        Err(refusal(Reason::StaleEpoch, text))
    } else {
        permitted(pending, command).and_then(|()| request(pending, command.request.as_ref()))
    };
    outcome(response)
}

/// Looks at the rights of a client again: they may have changed since it was asked who it is.
fn permitted(pending: &Pending<'_>, command: &Command) -> Result<(), Refusal> {
    match (&command.caller, &command.request) {
        (Some(caller), Some(request)) if pending.auth.enabled => {
            permission::permitted(&pending.auth, pending.leases, caller, request)
        }
        _ => Ok(()),
    }
}

fn outcome(response: Result<Response, Refusal>) -> Outcome {
    Outcome { response: Some(response.unwrap_or_else(Response::Refusal)) }
}

fn request(pending: &mut Pending<'_>, request: Option<&Request>) -> Result<Response, Refusal> {
    if let Some(refused) = request.and_then(|request| alarm::forbids(&pending.header.alarms, request)) {
        return Err(refused);
    }
    match request {
        Some(Request::Put(request)) => {
            let mut scratch = pending.begin();
            let response = txn::put(&mut scratch, request)?;
            scratch.commit();
            Ok(Response::Put(response))
        }
        Some(Request::DeleteRange(request)) => {
            let mut scratch = pending.begin();
            let response = txn::delete_range(&mut scratch, request)?;
            scratch.commit();
            Ok(Response::DeleteRange(response))
        }
        Some(Request::Txn(request)) => transaction(pending, request),
        Some(Request::Batch(batch)) => {
            let outcomes = batch.txns.iter().map(|request| outcome(transaction(pending, request))).collect();
            Ok(Response::Batch(OutcomeBatch { outcomes }))
        }
        Some(Request::Compact(request)) => compact(pending, request.revision),
        Some(Request::LeaseGrant(request)) => grant(pending, request),
        Some(Request::LeaseRevoke(request)) => revoke(pending, request.id),
        Some(Request::LeaseCheckpoints(checkpoints)) => {
            for noted in &checkpoints.checkpoints {
                pending.leases.checkpoint(noted.id, noted.remaining_ttl, &mut pending.batch);
            }
            Ok(Response::LeaseCheckpoints(checkpoints.clone()))
        }
        Some(Request::Alarm(request)) => {
            let alarms = alarm::change(&mut pending.header.alarms, request);
            Ok(Response::Alarm(pb::AlarmResponse { header: now(pending), alarms }))
        }
        Some(request) => change_auth(pending, request),
        None => Err(refusal(Reason::Invalid, "an entry of a newer version of this program holds an unknown request")),
    }
}

fn change_auth(pending: &mut Pending<'_>, request: &Request) -> Result<Response, Refusal> {
    let (header, index) = (now(pending), LogId::decode(pending.header.applied.clone()).unwrap_or_default().index);
    let mut effects = Effects { batch: &mut pending.batch, sessions: &mut pending.sessions };
    Auth::change(Arc::make_mut(&mut pending.auth), request, header, index, &mut effects)
}

fn transaction(pending: &mut Pending<'_>, request: &pb::TxnRequest) -> Result<Response, Refusal> {
    let mut scratch = pending.begin();
    let response = txn::txn(&mut scratch, request)?;
    scratch.commit();
    Ok(Response::Txn(response))
}

fn now(pending: &Pending<'_>) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision: pending.header.revision, ..pb::ResponseHeader::default() })
}

fn compact(pending: &mut Pending<'_>, revision: i64) -> Result<Response, Refusal> {
    // The revision compacted to can still be read; asking for it again is refused, as etcd does.
    readable(revision, pending.header.revision, pending.header.compacted + 1)?;
    pending.header.compacted = revision;
    Ok(Response::Compact(pb::CompactionResponse { header: now(pending) }))
}

fn grant(pending: &mut Pending<'_>, request: &pb::LeaseGrantRequest) -> Result<Response, Refusal> {
    if request.ttl > TTL_MAX {
        return Err(refusal(Reason::LeaseTtlTooLarge, "etcdserver: too large lease TTL"));
    }
    if pending.leases.get(request.id).is_some() {
        return Err(refusal(Reason::LeaseExists, "etcdserver: lease already exists"));
    }
    pending.leases.grant(request.id, request.ttl, &mut pending.batch);
    let (id, ttl) = (request.id, request.ttl);
    Ok(Response::LeaseGrant(pb::LeaseGrantResponse { header: now(pending), id, ttl, error: String::new() }))
}

fn revoke(pending: &mut Pending<'_>, id: i64) -> Result<Response, Refusal> {
    let Some(lease) = pending.leases.get(id) else {
        return Err(refusal(Reason::LeaseNotFound, "etcdserver: requested lease not found"));
    };
    let keys: Vec<_> = lease.keys.iter().cloned().collect();
    let mut scratch = pending.begin();
    for key in keys {
        if scratch.get(&key).is_some() {
            scratch.delete(key);
        }
    }
    scratch.commit();
    pending.leases.revoke(id, &mut pending.batch);
    Ok(Response::LeaseRevoke(pb::LeaseRevokeResponse { header: now(pending) }))
}

/// Whether a request reads the past: it must find everything before it written.
pub(crate) fn reads_the_past(command: &Command) -> bool {
    fn in_txn(request: &pb::TxnRequest) -> bool {
        request.success.iter().chain(&request.failure).any(|op| match &op.request {
            Some(pb::request_op::Request::RequestRange(range)) => range.revision > 0,
            Some(pb::request_op::Request::RequestTxn(nested)) => in_txn(nested),
            _ => false,
        })
    }
    match &command.request {
        Some(Request::Txn(request)) => in_txn(request),
        Some(Request::Batch(batch)) => batch.txns.iter().any(in_txn),
        _ => false,
    }
}
