//! What Docker's containers use: the engine says which run, the kernel says what they use.

use std::collections::BTreeMap;

use bollard::models::ContainerSummary;
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use jiff::Timestamp;
use proto::agent::ContainerUsage;

use super::super::RuntimeError;
use super::{Docker, body, engine, inspect};
use crate::metrics::read;

/// Between questions for what containers have written: the engine walks through their files for the answer.
const SIZES_EVERY: u32 = 6;

/// What is known of containers that run; none of it changes while they do.
#[derive(Debug, Default)]
pub(super) struct Known {
    places: BTreeMap<String, Place>,
    rounds: u32,
}

#[derive(Clone, Debug)]
struct Place {
    pid: u32,
    started_ms: i64,
    written_bytes: u64,
}

impl Docker {
    pub(super) async fn measured(&self) -> Result<Vec<ContainerUsage>, RuntimeError> {
        let mut known = self.known.lock().await;
        let sizes = known.rounds.is_multiple_of(SIZES_EVERY);
        known.rounds = known.rounds.wrapping_add(1);
        let filters = std::collections::HashMap::from([("label", vec![format!("{}={}", body::NODE, self.node)])]);
        let options = ListContainersOptionsBuilder::new().all(false).size(sizes).filters(&filters).build();
        let running = self.client.list_containers(Some(options)).await.map_err(engine)?;
        let mut before = std::mem::take(&mut known.places);
        let mut all = Vec::new();
        for summary in running {
            let Some(id) = summary.id.clone() else { continue };
            let place = match before.remove(&id) {
                Some(place) => Some(place),
                None => self.place(&id).await,
            };
            let Some(mut place) = place else { continue };
            if let Some(size) = summary.size_rw {
                place.written_bytes = size.max(0).unsigned_abs();
            }
            known.places.insert(id.clone(), place.clone());
            all.extend(described(id, summary, &place).map(|usage| (place, usage)));
        }
        drop(known);
        let read = move || all.into_iter().map(|(place, usage)| filled(&place, usage)).collect();
        tokio::task::spawn_blocking(read).await.map_err(|error| RuntimeError::Engine(error.to_string()))
    }

    async fn place(&self, id: &str) -> Option<Place> {
        let found = self.client.inspect_container(id, None::<InspectContainerOptions>).await.ok()?;
        let state = found.state.filter(|state| state.running == Some(true))?;
        let started = state.started_at.and_then(|text| text.parse::<Timestamp>().ok());
        Some(Place {
            pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0)?,
            started_ms: started.map_or(0, Timestamp::as_millisecond),
            written_bytes: 0,
        })
    }
}

fn described(id: String, summary: ContainerSummary, place: &Place) -> Option<ContainerUsage> {
    let labels = summary.labels?;
    let container = labels.get(body::CONTAINER).cloned().unwrap_or_default();
    let pod = inspect::pod(labels)?;
    Some(ContainerUsage {
        namespace: pod.namespace,
        pod: pod.name,
        pod_uid: pod.uid,
        container,
        id,
        image: summary.image.unwrap_or_default(),
        started_ms: place.started_ms,
        usage: None,
        interfaces: Vec::new(),
    })
}

fn filled(place: &Place, mut usage: ContainerUsage) -> ContainerUsage {
    let mut used = read::process(place.pid);
    used.filesystem_used_bytes = place.written_bytes;
    usage.usage = Some(used);
    if usage.container == proto::prometheus::SANDBOX {
        usage.interfaces = read::network(place.pid);
    }
    usage
}
