//! `/health`, `/livez`, `/readyz`.
//!
//! Source: etcd `server/etcdserver/api/etcdhttp/health.go`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::atomic::Ordering;

use http::{Request, Response, StatusCode};
use proto::etcdserverpb as pb;
use tonic::body::Body;

use crate::etcd::http::{Checks, parameters, reply};
use crate::etcd::{Front, status};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

const LIVEZ: &[Check] = &[Check::SerializableRead];
const READYZ: &[Check] = &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    async fn run(self, front: &Front) -> Result<(), String> {
        match self {
            Check::DataCorruption => {
                let corrupt = front.store.alarms(0).iter().any(|alarm| alarm.alarm() == pb::AlarmType::Corrupt);
                if corrupt { Err("alarm activated: CORRUPT".to_owned()) } else { Ok(()) }
            }
            Check::SerializableRead => read(front, true).await,
            Check::LinearizableRead => read(front, false).await,
            Check::NonLearner if front.store.status().is_learner => Err("not supported for learner".to_owned()),
            Check::NonLearner => Ok(()),
        }
    }
}

/// Whether a read works at all; it finds nothing.
async fn read(front: &Front, serializable: bool) -> Result<(), String> {
    let request = pb::RangeRequest { keys_only: true, limit: 1, serializable, ..pb::RangeRequest::default() };
    front.store.range(request).await.map(|_| ()).map_err(|error| status(error).message().to_owned())
}

/// `/livez`, `/readyz`, and `/readyz/CHECK`.
pub(super) async fn checked<B>(front: &Front, request: &Request<B>) -> Response<Body> {
    let path = request.uri().path();
    let (root, one) = path[1..].split_once('/').map_or((&path[1..], None), |(root, one)| (root, Some(one)));
    let all = match root {
        "livez" => LIVEZ,
        "readyz" => READYZ,
        _ => return reply::error(StatusCode::NOT_FOUND, "404 page not found"),
    };
    if one.is_some_and(|one| all.iter().all(|check| check.name() != one)) {
        return reply::error(StatusCode::NOT_FOUND, "404 page not found");
    }
    if let Some(refused) = reply::only_get(request) {
        return refused;
    }
    let excluded: BTreeSet<_> = if one.is_some() { BTreeSet::new() } else { parameters(request, "exclude").collect() };
    let (mut report, mut failed) = (String::new(), false);
    for check in all.iter().filter(|check| one.is_none_or(|one| check.name() == one)) {
        if excluded.contains(check.name()) {
            continue;
        }
        let _ = match check.run(front).await {
            Ok(()) => writeln!(report, "[+]{} ok", check.name()),
            Err(why) => {
                failed = true;
                writeln!(report, "[-]{} failed: {why}", check.name())
            }
        };
    }
    if failed {
        tracing::warn!(path, report, "a health check failed");
        return reply::error(StatusCode::SERVICE_UNAVAILABLE, &report);
    }
    let verbose = parameters(request, "verbose").next().is_some();
    reply::text(StatusCode::OK, if verbose { format!("{report}ok\n") } else { "ok\n".to_owned() })
}

/// `/health`, as old as etcd.
pub(super) async fn old<B>(front: &Front, checks: &Checks, request: &Request<B>) -> Response<Body> {
    if let Some(refused) = reply::only_get(request) {
        return refused;
    }
    let serializable = parameters(request, "serializable").next().is_some_and(|value| value == "true");
    let excluded: BTreeSet<_> = parameters(request, "exclude").collect();
    match well(front, serializable, |alarm| excluded.contains(alarm)).await {
        Ok(()) => {
            checks.succeeded.fetch_add(1, Ordering::Relaxed);
            reply::plain(StatusCode::OK, reply::TEXT, r#"{"health":"true","reason":""}"#)
        }
        Err(reason) => {
            checks.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(reason, "/health is false");
            let said = serde_json::json!({ "health": "false", "reason": reason });
            reply::error(StatusCode::SERVICE_UNAVAILABLE, &said.to_string())
        }
    }
}

async fn well(front: &Front, serializable: bool, excluded: impl Fn(&str) -> bool) -> Result<(), String> {
    if let Some(alarm) = front.store.alarms(0).iter().find(|alarm| !excluded(alarm.alarm().as_str_name())) {
        return Err(format!("ALARM {}", alarm.alarm().as_str_name()));
    }
    if !serializable && front.store.leadership().borrow().leader.is_none() {
        return Err("RAFT NO LEADER".to_owned());
    }
    read(front, serializable).await.map_err(|why| format!("RANGE ERROR:{why}"))
}
