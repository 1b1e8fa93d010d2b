//! What clients of a simulation do and see, and what becomes of that.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::check::around::{Line, around};
use crate::check::{self, Verdict, lease};
use crate::history::{History, Watched};
use crate::seed::Seed;
use crate::sim::schedule::Schedule;
use crate::work::endpoints::Endpoints;
use crate::work::follow::{TRUTH, newest, tell, watch_all};
use crate::work::kv;
use crate::work::lease as leases;

/// Of calm after the last fault, with clients still at work.
const CALM: Duration = Duration::from_secs(3);
/// Members that are asked what happened before it is compacted answer within this time, or it stays for now.
const TOLD: Duration = Duration::from_secs(2);
/// What broke where the group does not work any more.
pub(super) const WORKS: &str = "the group comes back to work";

/// What clients saw, and what of it could not be had.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) history: History,
    pub(super) failures: Vec<String>,
}

/// Lets clients work for as long as a schedule says; asks every member afterwards what has happened, and what it holds.
/// `stale`: clients take what a member has for what is so.
pub(super) async fn look(schedule: &Schedule, channels: &[(String, Channel)], stale: bool) -> Seen {
    let servers = Endpoints::new(channels.to_vec());
    let (began, stop) = (Instant::now(), CancellationToken::new());
    let mut calls = Seed::of(schedule.seed, "calls");
    let work = kv::run_reading(schedule.clients, servers.clone(), &mut calls, began, stop.clone(), stale);
    let leasing = leases::run(servers.clone(), Seed::of(schedule.seed, "leases"), began, stop.clone());
    let watching = watch_all(&servers, 1, &stop, &|_, _| ());
    let compacting = compact(channels, schedule.compact_ms, &stop);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(schedule.seconds) + CALM).await;
        stop.cancel();
    };
    let (operations, watches, leases, compacted, ()) = tokio::join!(work, watching, leasing, compacting, stopping);
    let drift_ppm = schedule.drifts_ppm.iter().map(|drift| drift.unsigned_abs()).max().unwrap_or(0);
    let history =
        History { operations, watches: watches.into_iter().collect(), leases, drift_ppm, ..History::default() };
    let mut seen = Seen { history, failures: Vec::new() };
    if let Err(error) = ask(&mut seen, channels, compacted).await {
        seen.failures.push(format!("{error:#}"));
    }
    seen
}

/// What members told before it was compacted.
#[derive(Default)]
struct Compacted {
    told: BTreeMap<String, Vec<Watched>>,
    upto: i64,
}

/// Compacts again and again, up to where the newest write was the time before, once all members have told what happened
/// until then.
async fn compact(channels: &[(String, Channel)], every_ms: u64, stop: &CancellationToken) -> Compacted {
    let mut done = Compacted::default();
    if every_ms == 0 {
        return done;
    }
    let mut again = tokio::time::interval(Duration::from_millis(every_ms));
    let mut before = 0;
    while stop.run_until_cancelled(again.tick()).await.is_some() {
        let Ok(now) = newest(channels, TOLD).await else { continue };
        let upto = std::mem::replace(&mut before, now);
        if upto <= done.upto {
            continue;
        }
        let (told, silent) = tell(channels, (done.upto + 1, upto), TOLD).await;
        if !silent.is_empty() {
            continue;
        }
        for (name, events) in told {
            let events = events.into_iter().filter(|event| event.revision <= upto);
            done.told.entry(name).or_default().extend(events);
        }
        done.upto = upto;
        // Whether it was done does not matter: what it would take is known.
        let _ = kv::compact(channels[0].1.clone(), upto).await;
    }
    done
}

/// Asks every member for what has happened, and for what it holds.
async fn ask(seen: &mut Seen, channels: &[(String, Channel)], compacted: Compacted) -> anyhow::Result<()> {
    let now = newest(channels, TRUTH).await?;
    let (rest, silent) = tell(channels, (compacted.upto + 1, now), TRUTH).await;
    let mut told = compacted.told;
    for (name, events) in rest {
        let mut all = told.remove(&name).unwrap_or_default();
        all.extend(events);
        seen.history.truth.insert(name, all);
    }
    anyhow::ensure!(silent.is_empty(), "{}", silent.join("; "));
    seen.history.hashes = kv::hashes(channels, TRUTH).await?;
    Ok(())
}

/// What holds of what was seen, and what does not. `ended`: what members said that ended by themselves.
pub(super) fn judge(seen: &Seen, ended: &[String]) -> Vec<Verdict> {
    let history = &seen.history;
    // Where no member tells what happened, nobody knows what became of calls without an answer.
    let mut verdicts = if history.truth.is_empty() { Vec::new() } else { check::key_value(history) };
    verdicts.push(lease::check(history));
    let failures = seen.failures.iter().chain(ended.iter().filter(|_| !seen.failures.is_empty())).cloned();
    verdicts.push(Verdict::new(WORKS, 1, failures.collect()));
    verdicts
}

/// The first violation of the first property that is broken, in words: what contradicts each other is marked.
pub(super) fn evidence(verdicts: &[Verdict], history: &History) -> Vec<String> {
    let broken = verdicts.iter().find(|verdict| !verdict.violations.is_empty());
    let lines = broken.map(|verdict| around(verdict, history)).unwrap_or_default();
    let shown = |line: Line| format!("{} {}", if line.contradicts { '>' } else { ' ' }, line.words);
    lines.into_iter().map(shown).collect()
}
