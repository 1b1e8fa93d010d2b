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

/// Services that show or change the state.
const OF_THE_STATE: [&str; 5] =
    ["/etcdserverpb.KV/", "/etcdserverpb.Watch/", "/etcdserverpb.Lease/", "/v3lockpb.Lock/", "/v3electionpb.Election/"];

/// What a member answers whose state may be wrong.
pub(super) fn corrupt() -> Status {
    Status::data_loss("etcdserver: corrupt cluster")
}

/// Why a call is not looked at.
pub(super) fn refusal(path: &str, learns: bool, sound: bool) -> Option<Status> {
    if learns && !OF_LEARNERS.contains(&path) {
        return Some(learner());
    }
    (!sound && OF_THE_STATE.iter().any(|service| path.starts_with(service))).then(corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learner_serves_reads_of_its_own_state_and_says_how_it_is() {
        assert!(refusal("/etcdserverpb.KV/Put", false, true).is_none());
        assert!(refusal("/etcdserverpb.KV/Range", true, true).is_none());
        assert!(refusal("/etcdserverpb.Maintenance/Status", true, true).is_none());
        for path in ["/etcdserverpb.KV/Put", "/etcdserverpb.KV/RangeStream", "/etcdserverpb.Cluster/MemberList"] {
            let refused = refusal(path, true, true);
            assert!(refused.is_some_and(|status| status.message().ends_with("not supported for learner")));
        }
    }

    #[test]
    fn a_member_that_differs_shows_nothing_of_its_state() {
        for path in ["/etcdserverpb.KV/Range", "/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseGrant"] {
            assert!(refusal(path, false, false).is_some_and(|status| status.code() == tonic::Code::DataLoss));
        }
        for path in ["/etcdserverpb.Maintenance/Alarm", "/etcdserverpb.Cluster/MemberRemove"] {
            assert!(refusal(path, false, false).is_none(), "{path}: it is how the member is seen to");
        }
    }
}
