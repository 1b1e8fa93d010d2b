//! PURE: may this client do that: ranges that a user's roles allow together, and what each request needs.
//!
//! Source: etcd `server/auth/range_perm_cache.go`, `server/auth/store.go` (`isOpPermitted`, `IsAdminPermitted`) and
//! `server/etcdserver/apply/auth.go`.

use bytes::Bytes;
use proto::authpb::Permission;
use proto::authpb::permission::Type;
use proto::command::command::Request;
use proto::command::refusal::Reason;
use proto::command::{Caller, Refusal};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request as Op;

use crate::machine::auth::{Auth, is_root};
use crate::machine::lease::Leases;
use crate::machine::pending::refusal;

/// Disjoint ranges in order, none touching the next; no end: to the last key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges(Vec<(Bytes, Option<Bytes>)>);

impl Ranges {
    /// What permissions cover together. One for a single key covers the keys up to its successor: itself.
    fn merged<'a>(permissions: impl Iterator<Item = &'a Permission>) -> Self {
        let bounds = |held: &Permission| crate::machine::codec::bounds(&held.key, &held.range_end);
        let mut all: Vec<_> = permissions.map(bounds).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let mut merged: Vec<(Bytes, Option<Bytes>)> = Vec::new();
        for (from, to) in all {
            match merged.last_mut() {
                Some((_, end)) if end.as_ref().is_none_or(|end| from <= *end) => {
                    if end.is_some() && to.as_ref().is_none_or(|to| Some(to) > end.as_ref()) {
                        *end = to;
                    }
                }
                _ => merged.push((from, to)),
            }
        }
        Ranges(merged)
    }

    /// Whether all of a range in etcd's words is covered.
    fn cover(&self, key: &[u8], end: &[u8]) -> bool {
        let place = self.0.partition_point(|(from, _)| from.as_ref() <= key);
        let Some((_, to)) = place.checked_sub(1).map(|place| &self.0[place]) else { return false };
        let Some(to) = to else { return true };
        // A range without an end is covered by one without an end alone.
        key < to.as_ref() && end != [0] && end <= to.as_ref()
    }
}

/// What a user's roles allow together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    read: Ranges,
    write: Ranges,
}

/// What somebody wants to do to keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// See them, and what becomes of them.
    Read,
    /// Change or delete them.
    Write,
}

impl Rights {
    pub(crate) fn merged<'a>(permissions: impl Iterator<Item = &'a Permission> + Clone) -> Self {
        let of = |kind: Type| {
            permissions.clone().filter(move |held| {
                let held = Type::try_from(held.perm_type);
                held == Ok(kind) || held == Ok(Type::Readwrite)
            })
        };
        Rights { read: Ranges::merged(of(Type::Read)), write: Ranges::merged(of(Type::Write)) }
    }

    pub(crate) fn allow(&self, access: Access, key: &[u8], end: &[u8]) -> bool {
        match access {
            Access::Read => self.read.cover(key, end),
            Access::Write => self.write.cover(key, end),
        }
    }
}

/// What etcd tells clients that do not say who they are.
pub(crate) fn nobody() -> Refusal {
    refusal(Reason::Invalid, "etcdserver: user name is empty")
}

/// What etcd tells a client that was identified before the auth store changed.
pub(crate) fn outdated() -> Refusal {
    refusal(Reason::Invalid, "etcdserver: revision of auth store is old")
}

fn denied() -> Refusal {
    refusal(Reason::PermissionDenied, "etcdserver: permission denied")
}

/// Whether a client may do something to keys.
///
/// # Errors
/// As etcd refuses it.
pub(crate) fn may(auth: &Auth, caller: &Caller, access: Access, key: &[u8], end: &[u8]) -> Result<(), Refusal> {
    if !auth.enabled {
        return Ok(());
    }
    if caller.auth_revision == 0 {
        return Err(nobody());
    }
    if caller.auth_revision < auth.revision {
        return Err(outdated());
    }
    let user = auth.user(&caller.user).ok_or_else(denied)?;
    if is_root(user) || auth.rights(&caller.user).is_some_and(|rights| rights.allow(access, key, end)) {
        return Ok(());
    }
    Err(denied())
}

/// Whether a client may do what concerns the whole store.
///
/// # Errors
/// As etcd refuses it.
pub(crate) fn admin(auth: &Auth, caller: &Caller) -> Result<(), Refusal> {
    if !auth.enabled {
        return Ok(());
    }
    if caller.user.is_empty() {
        return Err(nobody());
    }
    let user = auth.user(&caller.user);
    let user = user.ok_or_else(|| refusal(Reason::AuthPrecondition, "etcdserver: user name not found"))?;
    if is_root(user) { Ok(()) } else { Err(denied()) }
}

/// Whether a client said who it is.
///
/// # Errors
/// When it did not.
pub(crate) fn known(auth: &Auth, caller: &Caller) -> Result<(), Refusal> {
    if auth.enabled && caller.auth_revision == 0 { Err(nobody()) } else { Ok(()) }
}

/// Whether a client may do something to every key of a lease.
///
/// # Errors
/// As etcd refuses it.
pub(crate) fn lease<'a>(
    auth: &Auth,
    caller: &Caller,
    access: Access,
    mut keys: impl Iterator<Item = &'a Bytes>,
) -> Result<(), Refusal> {
    if admin(auth, caller).is_ok() {
        return Ok(());
    }
    keys.try_for_each(|key| may(auth, caller, access, key, &[]))
}

/// What a client may, of that which requests ask for.
struct Judge<'a> {
    auth: &'a Auth,
    leases: &'a Leases,
    caller: &'a Caller,
}

/// Whether a client may have a request applied.
///
/// # Errors
/// As etcd refuses it.
pub(crate) fn permitted(auth: &Auth, leases: &Leases, caller: &Caller, request: &Request) -> Result<(), Refusal> {
    let judge = Judge { auth, leases, caller };
    match request {
        Request::Put(request) => judge.put(request),
        Request::DeleteRange(request) => judge.delete(request),
        Request::Txn(request) => judge.txn(request),
        Request::Batch(batch) => batch.txns.iter().try_for_each(|request| judge.txn(request)),
        Request::LeaseRevoke(request) => judge.lease(request.id),
        Request::AuthEnable(_)
        | Request::AuthDisable(_)
        | Request::UserAdd(_)
        | Request::UserDelete(_)
        | Request::UserChangePassword(_)
        | Request::UserGrantRole(_)
        | Request::UserRevokeRole(_)
        | Request::RoleAdd(_)
        | Request::RoleDelete(_)
        | Request::RoleGrantPermission(_)
        | Request::RoleRevokePermission(_) => admin(auth, caller),
        // Asked for by the store itself, or looked at before they are proposed.
        _ => Ok(()),
    }
}

impl Judge<'_> {
    fn may(&self, access: Access, key: &[u8], end: &[u8]) -> Result<(), Refusal> {
        may(self.auth, self.caller, access, key, end)
    }

    fn put(&self, request: &pb::PutRequest) -> Result<(), Refusal> {
        self.may(Access::Write, &request.key, &[])?;
        // Who may not write the other keys of a lease could not revoke it either.
        self.lease(request.lease)?;
        if request.prev_kv { self.may(Access::Read, &request.key, &[]) } else { Ok(()) }
    }

    fn delete(&self, request: &pb::DeleteRangeRequest) -> Result<(), Refusal> {
        self.may(Access::Write, &request.key, &request.range_end)?;
        if request.prev_kv { self.may(Access::Read, &request.key, &request.range_end) } else { Ok(()) }
    }

    /// Both branches, whichever will be taken.
    fn txn(&self, request: &pb::TxnRequest) -> Result<(), Refusal> {
        for compare in &request.compare {
            self.may(Access::Read, &compare.key, &compare.range_end)?;
        }
        request.success.iter().chain(&request.failure).try_for_each(|op| match &op.request {
            Some(Op::RequestRange(request)) => self.may(Access::Read, &request.key, &request.range_end),
            Some(Op::RequestPut(request)) => self.put(request),
            Some(Op::RequestDeleteRange(request)) => self.delete(request),
            Some(Op::RequestTxn(request)) => self.txn(request),
            None => Ok(()),
        })
    }

    fn lease(&self, id: i64) -> Result<(), Refusal> {
        match self.leases.get(id) {
            Some(held) => lease(self.auth, self.caller, Access::Write, held.keys.iter()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
