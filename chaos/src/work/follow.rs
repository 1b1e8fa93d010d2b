//! Watches during a run, and what every member says afterwards that has happened.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::history::Watched;
use crate::work::endpoints::Endpoints;
use crate::work::kv;

/// Every member answers with all events within this time after the fault.
pub(crate) const TRUTH: Duration = Duration::from_secs(30);
/// Between two attempts, when a member did not answer or a stream broke.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A watcher for each member there is at first. When its stream breaks, it goes on at the next member where it was, as
/// client libraries do. `arrived` is told of every answer with events: whose it is, and the revision of its first.
pub(crate) async fn watch_all(
    servers: &Endpoints,
    start: i64,
    stop: &CancellationToken,
    arrived: &(dyn Fn(&str, i64) + Sync),
) -> Vec<(String, Vec<Watched>)> {
    let each = servers.all().into_iter().enumerate().map(|(mut turn, (name, _))| async move {
        let (mut seen, mut from) = (Vec::new(), start);
        let mut again = tokio::time::interval(ASK_AGAIN);
        while !stop.is_cancelled() {
            again.tick().await;
            let arrived = |revision| arrived(&name, revision);
            let (more, error) = kv::watch(servers.at(turn), from, None, stop.clone(), &arrived).await;
            // Every write of the workload has a revision of its own.
            from = more.last().map_or(from, |last: &Watched| last.revision + 1);
            seen.extend(more);
            if let Some(error) = error {
                tracing::info!(watcher = name, error, "a watch goes on at another member");
                turn += 1;
            }
        }
        (name, seen)
    });
    futures_util::future::join_all(each).await
}

/// All events since the run began, from every member.
///
/// # Errors
/// When a member does not tell them in time.
pub(crate) async fn truth(channels: &[(String, Channel)], start: i64) -> anyhow::Result<Vec<(String, Vec<Watched>)>> {
    let deadline = Instant::now() + TRUTH;
    let channels: Arc<Vec<_>> = Arc::new(channels.to_vec());
    let mut again = tokio::time::interval(ASK_AGAIN);
    let now = loop {
        again.tick().await;
        match kv::last_write(channels[0].1.clone()).await {
            Ok(now) => break now,
            Err(status) if Instant::now() > deadline => bail!("{}: {}", channels[0].0, status.message()),
            Err(_) => {}
        }
    };
    let mut all = Vec::new();
    for (name, channel) in channels.iter() {
        let mut last = "it is behind".to_owned();
        let read = async {
            let mut again = tokio::time::interval(ASK_AGAIN);
            loop {
                again.tick().await;
                // A member that has just come back may be slow to answer: what it tells in the end counts.
                match kv::watch(channel.clone(), start, Some(now), CancellationToken::new(), &|_| ()).await {
                    (events, None) => return events,
                    (_, Some(error)) => last = error,
                }
            }
        };
        match tokio::time::timeout(TRUTH, read).await {
            Ok(events) => all.push((name.clone(), events)),
            Err(_) => bail!("{name}: {last}"),
        }
    }
    Ok(all)
}
