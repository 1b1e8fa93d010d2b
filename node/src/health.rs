//! Looks at the node itself every few seconds; what has changed about it is told with the pods' statuses.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::plan::node_condition::{Pressures, same};
use crate::register;
use crate::sync::outbox::Outbox;

/// Between looks. Source: kubelet's `nodeStatusUpdateFrequency`.
const PERIOD: Duration = Duration::from_secs(10);

/// Looks until told to stop. `status` is what was told at first.
pub(crate) async fn run(
    dir: PathBuf,
    mut pressures: Pressures,
    mut status: Value,
    outbox: &Outbox,
    stop: CancellationToken,
) {
    let mut tick = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let place = dir.clone();
        let Ok(room) = tokio::task::spawn_blocking(move || register::room(&place)).await else { continue };
        let conditions = pressures.look(&room, Timestamp::now());
        if !same(status["conditions"].as_array().map_or(&[], Vec::as_slice), &conditions) {
            tracing::warn!(?room, "the node's conditions have changed");
            status["conditions"] = conditions.into();
            outbox.put_node(serde_json::to_vec(&status).expect("a value is JSON").into());
        }
    }
}
