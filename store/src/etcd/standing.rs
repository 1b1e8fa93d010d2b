//! PURE: what a member does not serve because of how it stands.
//!
//! Source: etcd `server/etcdserver/api/v3rpc/{interceptor,util}.go`.

use tonic::Status;

/// What a learner serves; of these, `Range` only where it is serializable.
const OF_LEARNERS: [&str; 3] =
    ["/etcdserverpb.KV/Range", "/etcdserverpb.Maintenance/Status", "/etcdserverpb.Maintenance/Snapshot"];

/// What a learner answers to everything else.
pub(super) fn learner() -> Status {
    Status::failed_precondition("etcdserver: rpc not supported for learner")
}

/// Why a call is not looked at.
pub(super) fn refusal(path: &str, learns: bool) -> Option<Status> {
    (learns && !OF_LEARNERS.contains(&path)).then(learner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learner_serves_reads_of_its_own_state_and_says_how_it_is() {
        assert!(refusal("/etcdserverpb.KV/Put", false).is_none());
        assert!(refusal("/etcdserverpb.KV/Range", true).is_none());
        assert!(refusal("/etcdserverpb.Maintenance/Status", true).is_none());
        for path in ["/etcdserverpb.KV/Put", "/etcdserverpb.KV/RangeStream", "/etcdserverpb.Cluster/MemberList"] {
            assert!(refusal(path, true).is_some_and(|status| status.message().ends_with("not supported for learner")));
        }
    }
}
