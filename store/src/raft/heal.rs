//! The leader's whole state for a member whose own is wrong.

use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use tonic::Status;

use crate::api::MemberId;
use crate::group::Group;
use crate::machine::Machine;
use crate::raft::checkpoint::Checkpoints;
use crate::raft::peers::Purpose;
use crate::raft::transfer;

fn failed(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

/// Sends a copy of the state to a member. It is newer than what the member has, or it would not take it.
///
/// # Errors
/// When this member does not lead with a sound state, or the transfer fails.
pub(crate) async fn push(
    group: &Group,
    machine: Machine,
    checkpoints: Arc<Checkpoints>,
    to: MemberId,
) -> Result<(), Status> {
    group.advance().await.map_err(failed)?;
    let now = group.raft.metrics().borrow_watched().clone();
    let Some(node) = now.membership_config.get_node(&to) else {
        return Err(Status::failed_precondition("it does not belong to the group"));
    };
    let client = group.peers.client(Some(to), &node.peer_urls, Purpose::Snapshot).map_err(failed)?;
    let vault = checkpoints.vault.clone();
    let copied = crate::edge::blocking(move || checkpoints.copy(&machine)).await.map_err(failed)?;
    let snapshot = copied.map_err(failed)?;
    tracing::info!(member = node.name, "sending the whole state to a member whose own is wrong");
    transfer::send(client, &now.vote, &snapshot, vault.as_ref()).await.map(|_| ()).map_err(failed)
}
