//! Watches during a run, and what every member says afterwards that has happened.

use std::time::Duration;

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
/// client libraries do; where that is compacted, it goes on behind it, with a stretch of its own.
/// `arrived` is told of every answer with events: whose it is, and the revision of its first.
pub(crate) async fn watch_all(
    servers: &Endpoints,
    start: i64,
    stop: &CancellationToken,
    arrived: &(dyn Fn(&str, i64) + Sync),
) -> Vec<(String, Vec<Watched>)> {
    let each = servers.all().into_iter().enumerate().map(|(mut turn, (name, _))| async move {
        let (mut stretches, mut stretch) = (Vec::new(), (name.clone(), Vec::new()));
        let (mut from, mut again) = (start, tokio::time::interval(ASK_AGAIN));
        while !stop.is_cancelled() {
            again.tick().await;
            let arrived = |revision| arrived(&name, revision);
            let (more, ended) = kv::watch(servers.at(turn), from, None, stop.clone(), &arrived).await;
            // Every write of the workload has a revision of its own.
            from = more.last().map_or(from, |last: &Watched| last.revision + 1);
            stretch.1.extend(more);
            match ended {
                Some(ended) if ended.compacted > from => {
                    from = ended.compacted;
                    let next = (format!("{name}, from revision {from} on"), Vec::new());
                    stretches.push(std::mem::replace(&mut stretch, next));
                }
                Some(ended) => {
                    tracing::info!(watcher = name, ended.why, "a watch goes on at another member");
                    turn += 1;
                }
                None => {}
            }
        }
        stretches.push(stretch);
        stretches
    });
    futures_util::future::join_all(each).await.into_iter().flatten().collect()
}

/// The revision of the newest write, as the first member that answers says.
///
/// # Errors
/// When none answers in time.
pub(crate) async fn newest(channels: &[(String, Channel)], patience: Duration) -> anyhow::Result<i64> {
    let mut last = String::new();
    let asked = async {
        let mut again = tokio::time::interval(ASK_AGAIN);
        for (name, channel) in channels.iter().cycle() {
            again.tick().await;
            match kv::last_write(channel.clone()).await {
                Ok(now) => return now,
                Err(status) => last = format!("{name}: {}", status.message()),
            }
        }
        0
    };
    let now = tokio::time::timeout(patience, asked).await;
    now.map_err(|_| anyhow::anyhow!("nobody tells the newest write: {last}"))
}

/// What members tell of the events from one revision up to another, each by its name; and why others do not.
pub(crate) async fn tell(
    channels: &[(String, Channel)],
    (from, until): (i64, i64),
    patience: Duration,
) -> (Vec<(String, Vec<Watched>)>, Vec<String>) {
    if until < from {
        return (channels.iter().map(|(name, _)| (name.clone(), Vec::new())).collect(), Vec::new());
    }
    let each = channels.iter().map(|(name, channel)| async move {
        let mut last = "it is behind".to_owned();
        let read = async {
            let mut again = tokio::time::interval(ASK_AGAIN);
            loop {
                again.tick().await;
                // A member that has just come back may be slow to answer: what it tells in the end counts.
                match kv::watch(channel.clone(), from, Some(until), CancellationToken::new(), &|_| ()).await {
                    (events, None) => return events,
                    (_, Some(ended)) => last = ended.why,
                }
            }
        };
        let events = tokio::time::timeout(patience, read).await;
        events.map(|events| (name.clone(), events)).map_err(|_| format!("{name}: {last}"))
    });
    let (mut told, mut silent) = (Vec::new(), Vec::new());
    for answer in futures_util::future::join_all(each).await {
        match answer {
            Ok(events) => told.push(events),
            Err(why) => silent.push(why),
        }
    }
    (told, silent)
}

/// All events since the run began, from every member.
///
/// # Errors
/// When a member does not tell them in time.
pub(crate) async fn truth(channels: &[(String, Channel)], start: i64) -> anyhow::Result<Vec<(String, Vec<Watched>)>> {
    let now = newest(channels, TRUTH).await?;
    let (told, silent) = tell(channels, (start, now), TRUTH).await;
    anyhow::ensure!(silent.is_empty(), "{}", silent.join("; "));
    Ok(told)
}
