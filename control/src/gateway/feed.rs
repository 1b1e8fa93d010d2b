//! The way down: everything a node needs, then what changes of it.

use std::sync::Arc;
use std::time::Duration;

use proto::agent::{Hello, Object, Reference, ToNode, Update, to_node};
use tokio::sync::mpsc;

use super::router::Router;
use super::select::{Key, Shown, Told};
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
    let (mut subscription, told, mut revision) = router.open(&hello.node);
    let mut epoch = leadership.borrow().epoch;
    send(down, update(epoch, revision, true, told)).await?;
    loop {
        let next = subscription.next().await;
        let (told, at) = next.ok_or_else(|| "this server cannot follow: everything is told anew".to_owned())?;
        if told != Told::default() {
            epoch = leadership.borrow().epoch.max(epoch);
            // What was told first may have been newer than the first changes after it.
            revision = revision.max(at);
            send(down, update(epoch, revision, false, told)).await?;
        }
    }
}

fn update(epoch: u64, revision: i64, reset: bool, told: Told) -> Update {
    let reference = |(resource, namespace, name): Key| Reference { resource, namespace, name };
    let object = |(key, shown): (Key, Arc<Shown>)| Object {
        reference: Some(reference(key)),
        revision: shown.revision,
        json: shown.json.clone(),
    };
    let upserts = told.upserts.into_iter().map(object).collect();
    Update { epoch, revision, reset, upserts, deletes: told.deletes.into_iter().map(reference).collect() }
}

async fn send(down: &mpsc::Sender<ToNode>, update: Update) -> Result<(), String> {
    let message = ToNode { message: Some(to_node::Message::Update(update)) };
    down.send(message).await.map_err(|_| "the agent hung up".to_owned())
}
