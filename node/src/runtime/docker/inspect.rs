//! What Docker says of a container, read as a sandbox or an instance. No calls.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status};
use jiff::Timestamp;

use super::super::Contents;
use super::body;
use crate::plan::config::PodId;
use crate::plan::observed::{Container, Exit, Sandbox, State};

/// Exit code of a container that could not start. Source: containerd's CRI plugin.
const START_ERROR_CODE: i32 = 128;

/// The pod a container belongs to, by its labels.
pub(super) fn pod(mut labels: HashMap<String, String>) -> Option<PodId> {
    let mut take = |key: &str| labels.remove(key);
    Some(PodId { namespace: take(body::POD_NAMESPACE)?, name: take(body::POD_NAME)?, uid: take(body::POD_UID)? })
}

/// Adds a container to its pod's contents; one without our labels is none of ours.
pub(super) fn sort_in(contents: &mut Contents, found: ContainerInspectResponse) {
    let labels = found.config.as_ref().and_then(|c| c.labels.clone()).unwrap_or_default();
    match labels.get(body::KIND).map(String::as_str) {
        Some("sandbox") => contents.sandboxes.extend(sandbox(found, &labels)),
        Some("container") => contents.containers.extend(container(found, &labels)),
        _ => {}
    }
}

fn number(labels: &HashMap<String, String>, key: &str) -> u32 {
    labels.get(key).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn time(text: Option<&str>) -> Option<Timestamp> {
    // Docker writes year 1 for never.
    text?.parse().ok().filter(|at: &Timestamp| at.as_second() > 0)
}

fn sandbox(found: ContainerInspectResponse, labels: &HashMap<String, String>) -> Option<Sandbox> {
    let state = found.state.unwrap_or_default();
    let networks = found.network_settings.and_then(|n| n.networks).unwrap_or_default();
    let ips: Vec<IpAddr> = networks
        .into_values()
        .flat_map(|n| [n.ip_address, n.global_ipv6_address])
        .filter_map(|ip| ip?.parse().ok())
        .collect();
    Some(Sandbox {
        id: found.id?,
        attempt: number(labels, body::ATTEMPT),
        running: state.running == Some(true),
        created_at: time(found.created.as_deref())?,
        pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
        engine_ips: ips,
    })
}

fn container(found: ContainerInspectResponse, labels: &HashMap<String, String>) -> Option<Container> {
    let created_at = time(found.created.as_deref())?;
    let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
    Some(Container {
        id: found.id?,
        name: label(body::CONTAINER),
        restart: number(labels, body::RESTART),
        backoff_s: number(labels, body::BACKOFF_S),
        sandbox: label(body::SANDBOX),
        hash: label(body::HASH),
        image: found.config.and_then(|c| c.image).unwrap_or_default(),
        image_id: found.image.unwrap_or_default(),
        created_at,
        state: state(found.state.unwrap_or_default(), created_at),
    })
}

fn state(state: ContainerState, created_at: Timestamp) -> State {
    let started_at = time(state.started_at.as_deref());
    let error = state.error.filter(|e| !e.is_empty());
    let code = i32::try_from(state.exit_code.unwrap_or(0)).unwrap_or(i32::MAX);
    match state.status.unwrap_or(Status::EMPTY) {
        Status::CREATED if error.is_some() || code != 0 => State::Exited(Exit {
            started_at: None,
            finished_at: created_at,
            code: START_ERROR_CODE,
            reason: "StartError".to_owned(),
            message: error,
        }),
        Status::CREATED => State::Created,
        Status::EXITED | Status::DEAD | Status::REMOVING => State::Exited(Exit {
            started_at,
            finished_at: time(state.finished_at.as_deref()).unwrap_or(created_at),
            code,
            reason: reason(code, state.oom_killed == Some(true)).to_owned(),
            message: None,
        }),
        _ => State::Running { started_at: started_at.unwrap_or(created_at) },
    }
}

fn reason(code: i32, oom_killed: bool) -> &'static str {
    match code {
        _ if oom_killed => "OOMKilled",
        0 => "Completed",
        _ => "Error",
    }
}
