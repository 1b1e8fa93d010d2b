//! PURE: which path stands for which call.
//!
//! Source: the `google.api.http` annotations of etcd `api/etcdserverpb/rpc.proto`,
//! `server/etcdserver/api/v3lock/v3lockpb/v3lock.proto`, `v3election/v3electionpb/v3election.proto`; below `history/` lies
//! what etcd has not. All are POST, and the body is the whole message.

/// A path below `/v3/`, and the call that it stands for.
const BINDINGS: [(&str, &str); 55] = [
    ("kv/range", "etcdserverpb.KV/Range"),
    ("kv/put", "etcdserverpb.KV/Put"),
    ("kv/deleterange", "etcdserverpb.KV/DeleteRange"),
    ("kv/txn", "etcdserverpb.KV/Txn"),
    ("kv/compaction", "etcdserverpb.KV/Compact"),
    ("watch", "etcdserverpb.Watch/Watch"),
    ("lease/grant", "etcdserverpb.Lease/LeaseGrant"),
    ("lease/revoke", "etcdserverpb.Lease/LeaseRevoke"),
    ("kv/lease/revoke", "etcdserverpb.Lease/LeaseRevoke"),
    ("lease/keepalive", "etcdserverpb.Lease/LeaseKeepAlive"),
    ("lease/timetolive", "etcdserverpb.Lease/LeaseTimeToLive"),
    ("kv/lease/timetolive", "etcdserverpb.Lease/LeaseTimeToLive"),
    ("lease/leases", "etcdserverpb.Lease/LeaseLeases"),
    ("kv/lease/leases", "etcdserverpb.Lease/LeaseLeases"),
    ("cluster/member/add", "etcdserverpb.Cluster/MemberAdd"),
    ("cluster/member/remove", "etcdserverpb.Cluster/MemberRemove"),
    ("cluster/member/update", "etcdserverpb.Cluster/MemberUpdate"),
    ("cluster/member/list", "etcdserverpb.Cluster/MemberList"),
    ("cluster/member/promote", "etcdserverpb.Cluster/MemberPromote"),
    ("maintenance/alarm", "etcdserverpb.Maintenance/Alarm"),
    ("maintenance/status", "etcdserverpb.Maintenance/Status"),
    ("maintenance/defragment", "etcdserverpb.Maintenance/Defragment"),
    ("maintenance/hash", "etcdserverpb.Maintenance/Hash"),
    ("maintenance/hashkv", "etcdserverpb.Maintenance/HashKV"),
    ("maintenance/snapshot", "etcdserverpb.Maintenance/Snapshot"),
    ("maintenance/transfer-leadership", "etcdserverpb.Maintenance/MoveLeader"),
    ("maintenance/downgrade", "etcdserverpb.Maintenance/Downgrade"),
    ("auth/enable", "etcdserverpb.Auth/AuthEnable"),
    ("auth/disable", "etcdserverpb.Auth/AuthDisable"),
    ("auth/status", "etcdserverpb.Auth/AuthStatus"),
    ("auth/authenticate", "etcdserverpb.Auth/Authenticate"),
    ("auth/user/add", "etcdserverpb.Auth/UserAdd"),
    ("auth/user/get", "etcdserverpb.Auth/UserGet"),
    ("auth/user/list", "etcdserverpb.Auth/UserList"),
    ("auth/user/delete", "etcdserverpb.Auth/UserDelete"),
    ("auth/user/changepw", "etcdserverpb.Auth/UserChangePassword"),
    ("auth/user/grant", "etcdserverpb.Auth/UserGrantRole"),
    ("auth/user/revoke", "etcdserverpb.Auth/UserRevokeRole"),
    ("auth/role/add", "etcdserverpb.Auth/RoleAdd"),
    ("auth/role/get", "etcdserverpb.Auth/RoleGet"),
    ("auth/role/list", "etcdserverpb.Auth/RoleList"),
    ("auth/role/delete", "etcdserverpb.Auth/RoleDelete"),
    ("auth/role/grant", "etcdserverpb.Auth/RoleGrantPermission"),
    ("auth/role/revoke", "etcdserverpb.Auth/RoleRevokePermission"),
    ("lock/lock", "v3lockpb.Lock/Lock"),
    ("lock/unlock", "v3lockpb.Lock/Unlock"),
    ("election/campaign", "v3electionpb.Election/Campaign"),
    ("election/proclaim", "v3electionpb.Election/Proclaim"),
    ("election/leader", "v3electionpb.Election/Leader"),
    ("election/observe", "v3electionpb.Election/Observe"),
    ("election/resign", "v3electionpb.Election/Resign"),
    ("history/window", "raftsman.history.History/Window"),
    ("history/range", "raftsman.history.History/Range"),
    ("history/changes", "raftsman.history.History/Changes"),
    ("history/diff", "raftsman.history.History/Diff"),
];

/// The call of a path: its service and its method.
pub(super) fn call(path: &str) -> Option<(&'static str, &'static str)> {
    let rest = path.strip_prefix("/v3/").or_else(|| path.strip_prefix("/v3beta/"))?;
    BINDINGS.iter().find(|(bound, _)| *bound == rest)?.1.split_once('/')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn every_path_stands_for_a_call_that_is_described_and_every_call_but_one_has_a_path() {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("descriptors");
        let bound: BTreeSet<&str> = BINDINGS.iter().map(|(_, call)| *call).collect();
        let described: BTreeSet<String> = pool
            .services()
            .flat_map(|service| service.methods().map(|method| method.full_name().to_owned()).collect::<Vec<_>>())
            .collect();
        let described: BTreeSet<String> = described
            .iter()
            .map(|name| name.rsplit_once('.').map_or(String::new(), |(service, method)| format!("{service}/{method}")))
            .collect();
        let missing: Vec<&str> = bound.iter().copied().filter(|call| !described.contains(*call)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let unbound: Vec<&String> = described.iter().filter(|call| !bound.contains(call.as_str())).collect();
        assert_eq!(unbound, ["etcdserverpb.KV/RangeStream"], "etcd binds all others");
        assert_eq!(call("/v3beta/kv/range"), Some(("etcdserverpb.KV", "Range")));
        assert_eq!(call("/v3/kv/nope"), None);
    }
}
