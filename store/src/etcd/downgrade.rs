//! PURE: what is said to those who want an older version: that this one has no older format to go back to.
//!
//! Source: etcd `server/etcdserver/v3_server.go`, `server/etcdserver/version`.

use proto::etcdserverpb::DowngradeRequest;
use proto::etcdserverpb::downgrade_request::DowngradeAction;
use tonic::Status;

use crate::etcd::VERSION;

/// Major and minor.
type Version = (u32, u32);

/// `1.2.3` or `1.2`, as etcd reads what to go back to.
fn parse(text: &str) -> Option<Version> {
    let numbers = text.split(['-', '+']).next()?;
    let parts: Vec<u32> = numbers.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    match parts.as_slice() {
        [major, minor] | [major, minor, _] => Some((*major, *minor)),
        _ => None,
    }
}

/// The version of the cluster, where the request is fine.
pub(super) fn answer(request: &DowngradeRequest) -> Result<String, Status> {
    let Some((major, minor)) = parse(VERSION) else { return Err(Status::internal("the version is none")) };
    let Ok(action) = DowngradeAction::try_from(request.action) else {
        return Err(Status::unknown("etcdserver: unknown method"));
    };
    if action != DowngradeAction::Cancel {
        let wrong = || Status::invalid_argument("etcdserver: wrong downgrade target version format");
        if parse(&request.version).ok_or_else(wrong)? != (major, minor - 1) {
            return Err(Status::invalid_argument("etcdserver: invalid downgrade target version"));
        }
    }
    if action == DowngradeAction::Enable {
        let text =
            "this server's data is in no format of etcd's: move it to an older etcd with `raftsman store export`";
        return Err(Status::failed_precondition(text));
    }
    Ok(format!("{major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_before_can_be_asked_for() {
        let of = |action: DowngradeAction, version: &str| {
            answer(&DowngradeRequest { action: action.into(), version: version.to_owned() })
                .map_err(|error| error.code())
        };
        assert_eq!(of(DowngradeAction::Validate, "3.6"), Ok("3.7".to_owned()));
        assert_eq!(of(DowngradeAction::Validate, "3.6.5"), Ok("3.7".to_owned()));
        assert_eq!(of(DowngradeAction::Cancel, ""), Ok("3.7".to_owned()));
        for version in ["3.5", "3.7", "3", "v3.6", ""] {
            assert_eq!(of(DowngradeAction::Validate, version), Err(tonic::Code::InvalidArgument), "{version}");
        }
        assert_eq!(of(DowngradeAction::Enable, "3.6"), Err(tonic::Code::FailedPrecondition));
    }
}
