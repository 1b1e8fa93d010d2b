//! The way down: everything a node needs, then what changes of it.

use std::sync::Arc;
use std::time::Duration;

use proto::agent::{Hello, ToNode, Update, to_node};
use tokio::sync::mpsc;

use super::round::merged;
use super::router::{Next, Router};
use super::select::reference;
use crate::registry::shell::Registry;

/// A replica that is behind what the agent knows may take so long to catch up.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Feeds an agent until it hangs up, or this server can no longer follow; the text says why.
pub(crate) async fn feed(
    registry: &Registry,
    router: &Arc<Router>,
    hello: &Hello,
    down: &mpsc::Sender<ToNode>,
) -> Result<(), String> {
    let store = registry.store();
    let mut leadership = store.leadership();
    let ready = async {
        store.barrier().await.map_err(|e| e.to_string())?;
        store.applied(hello.revision).await.map_err(|e| e.to_string())?;
        leadership.wait_for(|held| held.epoch >= hello.epoch).await.map_err(|e| e.to_string())?;
        Ok::<_, String>(())
    };
    let ready = tokio::time::timeout(CATCH_UP, ready).await;
    ready.map_err(|_| "this server is behind what the node knows".to_owned())??;
    let (mut subscription, first) = router.open(&hello.node);
    let (mut epoch, mut revision) = (leadership.borrow().epoch, first.revision);
    let Update { upserts, deletes, .. } = news(&hello.node, first);
    send(down, Update { epoch, revision, reset: true, upserts, deletes }).await?;
    loop {
        let next = subscription.next().await;
        let next = next.ok_or_else(|| "this server cannot follow: everything is told anew".to_owned())?;
        epoch = leadership.borrow().epoch.max(epoch);
        // What was told first may have been newer than the first changes after it.
        revision = revision.max(next.revision);
        let Update { upserts, deletes, .. } = news(&hello.node, next);
        if !upserts.is_empty() || !deletes.is_empty() {
            send(down, Update { epoch, revision, reset: false, upserts, deletes }).await?;
        }
    }
}

/// What all are told, then what this node is told alone; the rest of the update is open.
fn news(node: &str, next: Next) -> Update {
    let (mut upserts, mut deletes) = merged(&next.rounds, node);
    upserts.extend(next.told.upserts.into_values().map(|shown| shown.object.clone()));
    deletes.extend(next.told.deletes.iter().map(reference));
    Update { upserts, deletes, ..Update::default() }
}

async fn send(down: &mpsc::Sender<ToNode>, update: Update) -> Result<(), String> {
    let message = ToNode { message: Some(to_node::Message::Update(update)) };
    down.send(message).await.map_err(|_| "the agent hung up".to_owned())
}
