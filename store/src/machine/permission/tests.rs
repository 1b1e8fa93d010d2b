//! What ranges allow together, against every key there is; and what each request needs.

use proptest::prelude::*;
use proto::etcdserverpb::request_op::Request as Op;

use super::*;
use crate::engine::Batch;
use crate::engine::Engine as _;
use crate::engine::memory::Memory;
use crate::machine::auth::Effects;

/// Keys of at most two of three letters, in order: all that the tests know.
fn keys() -> Vec<Bytes> {
    let letters = [&b"a"[..], b"b", b"c"];
    let mut keys: Vec<Bytes> = letters.iter().map(|one| Bytes::from_static(one)).collect();
    keys.extend(letters.iter().flat_map(|one| letters.iter().map(|two| Bytes::from([*one, *two].concat()))));
    keys.sort();
    keys
}

/// Whether a permission is about a key.
fn about(held: &Permission, key: &[u8]) -> bool {
    match held.range_end.as_ref() {
        [] => held.key == key,
        [0] => held.key.as_ref() <= key,
        end => held.key.as_ref() <= key && key < end,
    }
}

/// Every key of a range is covered where its first one is, and what follows each end within it.
fn covered(held: &[Permission], key: &[u8], end: &[u8]) -> bool {
    let inside = |at: &[u8]| match end {
        [] => at == key,
        [0] => at >= key,
        end => at >= key && at < end,
    };
    let follows = |held: &Permission| match held.range_end.as_ref() {
        [] => Some([held.key.as_ref(), &[0]].concat()),
        [0] => None,
        end => Some(end.to_vec()),
    };
    let points = held.iter().filter_map(follows).chain([key.to_vec()]).filter(|at| inside(at));
    points.into_iter().all(|at| held.iter().any(|held| about(held, &at)))
        // Without an end, only what has none either goes far enough.
        && (end != [0] || held.iter().any(|held| held.range_end.as_ref() == [0]))
}

fn end() -> impl Strategy<Value = Bytes> {
    let key = proptest::sample::select(keys());
    prop_oneof![2 => Just(Bytes::new()), 1 => Just(Bytes::from_static(&[0])), 6 => key]
}

/// A range that etcd grants, or reads.
fn range() -> impl Strategy<Value = (Bytes, Bytes)> {
    (proptest::sample::select(keys()), end())
        .prop_filter("a range", |(key, end)| end.is_empty() || end[0] == 0 || key < end)
}

proptest! {
    #[test]
    fn ranges_allow_together_what_each_allows_alone(
        granted in proptest::collection::vec((0_i32..3, range()), 0..6), (key, end) in range(),
    ) {
        let held: Vec<Permission> =
            granted.into_iter().map(|(perm_type, (key, range_end))| Permission { perm_type, key, range_end }).collect();
        let rights = Rights::merged(held.iter());
        for (access, kind) in [(Access::Read, 0), (Access::Write, 1)] {
            let of: Vec<_> = held.iter().filter(|held| [kind, 2].contains(&held.perm_type)).cloned().collect();
            prop_assert_eq!(rights.allow(access, &key, &end), covered(&of, &key, &end), "{:?} {:?}", access, of);
        }
    }
}

fn perm(kind: Type, key: &'static str, end: &'static str) -> Permission {
    Permission { perm_type: kind.into(), key: key.into(), range_end: end.into() }
}

/// `root` with the root role; `a` may read and write a..b, read b alone and write c alone.
fn auth() -> Auth {
    let (mut batch, mut sessions) = (Batch::default(), Vec::new());
    let mut effects = Effects { batch: &mut batch, sessions: &mut sessions };
    let mut auth = Auth::load(&*Memory::default().snapshot());
    let user = |name: &str| {
        Request::UserAdd(pb::AuthUserAddRequest { name: name.to_owned(), ..pb::AuthUserAddRequest::default() })
    };
    let grant = |user: &str, role: &str| {
        Request::UserGrantRole(pb::AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() })
    };
    let allow = |perm| {
        Request::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest { name: "r".to_owned(), perm: Some(perm) })
    };
    let requests = [
        user("root"),
        user("a"),
        Request::RoleAdd(pb::AuthRoleAddRequest { name: "r".to_owned() }),
        allow(perm(Type::Readwrite, "a", "b")),
        allow(perm(Type::Read, "b", "")),
        allow(perm(Type::Write, "c", "")),
        grant("root", "root"),
        grant("a", "r"),
        Request::AuthEnable(pb::AuthEnableRequest {}),
    ];
    for request in requests {
        auth.change(&request, None, 1, &mut effects).expect("done");
    }
    auth
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn put(key: &'static str, lease: i64, prev_kv: bool) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), lease, prev_kv, ..pb::PutRequest::default() }
}

fn delete(key: &'static str, end: &'static str, prev_kv: bool) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv }
}

fn get(key: &'static str, end: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), range_end: end.into(), ..pb::RangeRequest::default() }
}

/// A transaction whose branch that is not taken does this, and one around it.
fn nested(request: Op) -> Request {
    let inner = pb::TxnRequest { failure: vec![op(request)], ..pb::TxnRequest::default() };
    Request::Txn(pb::TxnRequest { success: vec![op(Op::RequestTxn(inner))], ..pb::TxnRequest::default() })
}

#[test]
fn each_request_needs_rights_on_all_that_it_shows_or_changes() {
    let (auth, mut leases, mut batch) = (auth(), Leases::default(), Batch::default());
    for (id, key) in [(1, "a1"), (2, "secret")] {
        leases.grant(id, 60, &mut batch);
        leases.attach(id, &Bytes::from(key), &mut batch);
    }
    let caller = Caller { user: "a".to_owned(), auth_revision: auth.revision };
    let compare = |key: &'static str| {
        let compare = pb::Compare { key: key.into(), ..pb::Compare::default() };
        Request::Txn(pb::TxnRequest { compare: vec![compare], ..pb::TxnRequest::default() })
    };
    let cases = [
        (Request::Put(put("a1", 0, true)), true),
        (Request::Put(put("b", 0, false)), false),
        (Request::Put(put("c", 0, false)), true),
        (Request::Put(put("c", 0, true)), false),
        (Request::Put(put("a1", 1, false)), true),
        (Request::Put(put("a1", 2, false)), false),
        (Request::Put(put("a1", 3, false)), true),
        (Request::DeleteRange(delete("a", "b", true)), true),
        (Request::DeleteRange(delete("a", "c", false)), false),
        (Request::DeleteRange(delete("a", "\0", false)), false),
        (Request::DeleteRange(delete("c", "", false)), true),
        (Request::DeleteRange(delete("c", "", true)), false),
        (compare("b"), true),
        (compare("c"), false),
        (nested(Op::RequestRange(get("a", "b"))), true),
        (nested(Op::RequestRange(get("b", "b1"))), false),
        (nested(Op::RequestPut(put("a1", 1, true))), true),
        (nested(Op::RequestPut(put("a1", 2, false))), false),
        (nested(Op::RequestPut(put("c", 0, true))), false),
        (nested(Op::RequestDeleteRange(delete("c", "", true))), false),
        (Request::LeaseRevoke(pb::LeaseRevokeRequest { id: 1 }), true),
        (Request::LeaseRevoke(pb::LeaseRevokeRequest { id: 2 }), false),
        (Request::LeaseRevoke(pb::LeaseRevokeRequest { id: 3 }), true),
        (Request::RoleAdd(pb::AuthRoleAddRequest { name: "x".to_owned() }), false),
        (Request::AuthDisable(pb::AuthDisableRequest {}), false),
    ];
    let root = Caller { user: "root".to_owned(), ..caller.clone() };
    for (request, allowed) in cases {
        let said = permitted(&auth, &leases, &caller, &request).map_err(|refusal| refusal.message);
        let wanted = if allowed { Ok(()) } else { Err("etcdserver: permission denied".to_owned()) };
        assert_eq!(said, wanted, "{request:?}");
        assert!(permitted(&auth, &leases, &root, &request).is_ok(), "root: {request:?}");
    }
}

#[test]
fn clients_are_told_what_is_wrong_with_who_they_are() {
    let auth = auth();
    let caller = |user: &str, auth_revision| Caller { user: user.to_owned(), auth_revision };
    let now = auth.revision;
    let said = |result: Result<(), Refusal>| result.err().map_or_else(|| "ok".to_owned(), |refusal| refusal.message);
    let reads = |caller: Caller| said(may(&auth, &caller, Access::Read, b"a", b"b"));
    assert_eq!(reads(caller("a", now)), "ok");
    assert_eq!(reads(caller("", 0)), "etcdserver: user name is empty");
    assert_eq!(reads(caller("a", now - 1)), "etcdserver: revision of auth store is old");
    assert_eq!(reads(caller("root", now - 1)), "etcdserver: revision of auth store is old");
    assert_eq!(reads(caller("nobody", now)), "etcdserver: permission denied");
    let administers = |caller: Caller| said(admin(&auth, &caller));
    assert_eq!(administers(caller("root", now - 1)), "ok");
    assert_eq!(administers(caller("a", now)), "etcdserver: permission denied");
    assert_eq!(administers(caller("nobody", now)), "etcdserver: user name not found");
    assert_eq!(administers(caller("", now)), "etcdserver: user name is empty");
    assert_eq!(said(known(&auth, &caller("", 0))), "etcdserver: user name is empty");
    let mut off = auth.clone();
    off.enabled = false;
    assert!(may(&off, &caller("", 0), Access::Write, b"x", b"").is_ok() && admin(&off, &caller("", 0)).is_ok());
}
