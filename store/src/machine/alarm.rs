//! PURE: alarms, and what is refused while one is raised.
//!
//! Source: etcd `server/etcdserver/api/v3alarm/alarms.go`, `server/etcdserver/apply`.

use proto::command::Refusal;
use proto::command::command::Request;
use proto::command::refusal::Reason;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{AlarmMember, AlarmRequest, AlarmType};

use crate::group::space::grows;
use crate::machine::pending::refusal;

/// The alarms of a kind; kind 0 is all of them.
pub(crate) fn raised(alarms: &[AlarmMember], kind: i32) -> Vec<AlarmMember> {
    alarms.iter().filter(|held| kind == 0 || held.alarm == kind).cloned().collect()
}

/// Raises or clears one; answers what was asked about, if it is or was there.
pub(crate) fn change(alarms: &mut Vec<AlarmMember>, request: &AlarmRequest) -> Vec<AlarmMember> {
    let one = AlarmMember { member_id: request.member_id, alarm: request.alarm };
    let place = alarms.binary_search_by_key(&(one.alarm, one.member_id), |held| (held.alarm, held.member_id));
    match (AlarmAction::try_from(request.action), place) {
        (Ok(AlarmAction::Get), _) => raised(alarms, request.alarm),
        (Ok(AlarmAction::Activate), Err(place)) if one.alarm != i32::from(AlarmType::None) => {
            alarms.insert(place, one);
            vec![one]
        }
        (Ok(AlarmAction::Activate), Ok(_)) => vec![one],
        (Ok(AlarmAction::Deactivate), Ok(place)) => vec![alarms.remove(place)],
        _ => Vec::new(),
    }
}

/// Why a request is refused under these alarms: without space what stores something, with members that differ everything.
pub(crate) fn forbids(alarms: &[AlarmMember], request: &Request) -> Option<Refusal> {
    if alarms.is_empty() || matches!(request, Request::Alarm(_) | Request::LeaseCheckpoints(_)) {
        return None;
    }
    let is = |kind: AlarmType| alarms.iter().any(|held| held.alarm == i32::from(kind));
    if is(AlarmType::Corrupt) && judged(request) {
        return Some(refusal(Reason::Corrupt, "etcdserver: corrupt cluster"));
    }
    let full = is(AlarmType::Nospace) && grows(request);
    full.then(|| refusal(Reason::NoSpace, "etcdserver: mvcc: database space exceeded"))
}

/// Whether a request reads or changes keys or leases.
fn judged(request: &Request) -> bool {
    matches!(
        request,
        Request::Put(_)
            | Request::DeleteRange(_)
            | Request::Txn(_)
            | Request::Batch(_)
            | Request::Compact(_)
            | Request::LeaseGrant(_)
            | Request::LeaseRevoke(_)
    )
}

#[cfg(test)]
mod tests {
    use proto::etcdserverpb as pb;

    use super::*;

    fn asked(action: AlarmAction, member_id: u64, alarm: AlarmType) -> AlarmRequest {
        AlarmRequest { action: action.into(), member_id, alarm: alarm.into() }
    }

    #[test]
    fn an_alarm_is_raised_and_cleared_once() {
        let mut alarms = Vec::new();
        assert_eq!(change(&mut alarms, &asked(AlarmAction::Activate, 2, AlarmType::None)), []);
        for _ in 0..2 {
            assert_eq!(change(&mut alarms, &asked(AlarmAction::Activate, 2, AlarmType::Nospace)).len(), 1);
        }
        change(&mut alarms, &asked(AlarmAction::Activate, 1, AlarmType::Nospace));
        assert_eq!(change(&mut alarms, &asked(AlarmAction::Get, 0, AlarmType::None)).len(), 2);
        assert_eq!(change(&mut alarms, &asked(AlarmAction::Get, 0, AlarmType::Corrupt)), []);
        assert_eq!(change(&mut alarms, &asked(AlarmAction::Deactivate, 2, AlarmType::Corrupt)), []);
        assert_eq!(change(&mut alarms, &asked(AlarmAction::Deactivate, 2, AlarmType::Nospace)).len(), 1);
        assert_eq!(alarms.iter().map(|held| held.member_id).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn without_space_only_what_stores_is_refused() {
        let full = [AlarmMember { member_id: 1, alarm: AlarmType::Nospace.into() }];
        let corrupt = [AlarmMember { member_id: 1, alarm: AlarmType::Corrupt.into() }];
        let (put, compact) =
            (Request::Put(pb::PutRequest::default()), Request::Compact(pb::CompactionRequest::default()));
        let reason = |alarms: &[AlarmMember], request| forbids(alarms, request).map(|refused| refused.reason());
        assert_eq!(reason(&full, &put), Some(Reason::NoSpace));
        assert_eq!(reason(&full, &compact), None);
        assert_eq!(reason(&corrupt, &compact), Some(Reason::Corrupt));
        assert_eq!(reason(&corrupt, &Request::Alarm(AlarmRequest::default())), None);
    }
}
