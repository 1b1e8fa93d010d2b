//! What the nodes' container engines say runs: the evidence that no pod runs twice.

use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::check::pod_once::Running;
use crate::world::cluster::Cluster;
use crate::world::engine::docker_client;

/// Between two looks at all engines.
const LOOK: Duration = Duration::from_millis(250);
/// Evidence kept; looking ends there.
const SEEN_MAX: usize = 100_000;
/// The columns of a listing: what agents write on the containers that they start.
const COLUMNS: &str = r#"{{.Label "io.kubernetes.pod.uid"}} {{.Label "io.kubernetes.container.name"}} {{.ID}}"#;

/// Every node with the engine that runs its containers; none where they are simulated.
pub(crate) fn engines(cluster: &Cluster) -> Vec<(String, String)> {
    let nodes = cluster.of_role("node").filter(|_| cluster.runtime == "docker");
    nodes.filter_map(|node| Some((node.name.clone(), node.docker_host.clone()?))).collect()
}

/// Looks at the engines again and again until told to stop.
pub(crate) async fn watch(engines: Vec<(String, String)>, began: Instant, stop: CancellationToken) -> Vec<Running> {
    let (mut seen, mut tick) = (Vec::new(), tokio::time::interval(LOOK));
    while !engines.is_empty() && seen.len() < SEEN_MAX {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => break,
        }
        let at_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        for (node, host) in &engines {
            let mut listing = Command::new(docker_client());
            listing.args(["--host", host.as_str(), "ps", "--no-trunc", "--format", COLUMNS]).kill_on_drop(true);
            match listing.output().await {
                Ok(listed) => seen.extend(running(&String::from_utf8_lossy(&listed.stdout), node, at_us)),
                Err(error) => tracing::warn!(node, %error, "the engine cannot be asked"),
            }
        }
    }
    seen
}

fn running<'a>(listing: &'a str, node: &'a str, at_us: u64) -> impl Iterator<Item = Running> + 'a {
    listing.lines().filter_map(move |line| {
        let [pod_uid, container, id] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (pod_uid, container, container_id) = (text(pod_uid)?, text(container)?, text(id)?);
        Some(Running { at_us, node: node.to_owned(), pod_uid, container, container_id })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read_and_foreign_containers_are_passed_over() {
        let found: Vec<_> = running("u-1 app 9f\n  77\nu-1 POD a0\n", "node-1", 5).collect();
        let names: Vec<_> = found.iter().map(|r| (r.pod_uid.as_str(), r.container.as_str(), r.at_us)).collect();
        assert_eq!(names, [("u-1", "app", 5), ("u-1", "POD", 5)]);
    }
}
