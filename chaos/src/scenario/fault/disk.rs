//! What happens to the disks of members that run.

use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use tonic::transport::Channel;

use super::{DEAD, Diary, LEADER_LIMIT, awaited, leader, start};
use crate::seed::Seed;
use crate::world::cluster::Cluster;
use crate::world::disk;
use crate::world::shim::{self, Number};

/// Below what a member keeps free for itself.
const NEARLY_FULL_BYTES: u64 = 300 << 20;
/// Every sync takes so long: longer than an election. Units: microseconds.
const SLOW_US: (u64, u64) = (600_000, 900_000);
/// A file that nobody syncs.
const UNSYNCED: &str = "unsynced";
/// Its bytes.
const UNSYNCED_BYTES: usize = 64 << 10;

/// What a disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scenario) enum Trouble {
    /// It is full.
    Full,
    /// It fails a sync of the log.
    Error,
    /// Every sync takes longer than an election.
    Slow,
    /// It loses power, with the member: what was not synced is gone.
    PowerCut,
}

/// Lets the leader's disk do it; a power cut takes all members half of the time.
pub(super) async fn trouble(
    trouble: Trouble,
    cluster: &mut Cluster,
    channels: &[(String, Channel)],
    lead: &str,
    hold: Duration,
    seed: &mut Seed,
    diary: &mut Diary,
) -> anyhow::Result<()> {
    match trouble {
        Trouble::Full => {
            // Half of the time the member is left room to notice, half of the time none at all.
            let left = if seed.below(2) == 0 { NEARLY_FULL_BYTES } else { 0 };
            full(cluster, channels, lead, left, hold, diary).await
        }
        Trouble::Error => error(cluster, lead, hold, diary).await,
        Trouble::Slow => slow(cluster, lead, SLOW_US.0 + seed.below(SLOW_US.1 - SLOW_US.0), hold, diary).await,
        Trouble::PowerCut => {
            let all = seed.below(2) == 0;
            let names: Vec<String> = cluster.of_role("server").map(|server| server.name.clone()).collect();
            let cut: Vec<String> = names.into_iter().filter(|name| all || name == lead).collect();
            power_cut(cluster, &cut, hold, diary).await
        }
    }
}

/// Fills the leader's disk until another leads or it has ended, and for a while longer.
async fn full(
    cluster: &mut Cluster,
    channels: &[(String, Channel)],
    lead: &str,
    left: u64,
    hold: Duration,
    diary: &mut Diary,
) -> anyhow::Result<()> {
    let process = cluster.process(lead)?.clone();
    let dir = process.disk();
    disk::fill(dir, left).context("it has no disk of its own: that needs root and loop devices")?;
    diary.note(format!("the disk of {lead} is full but for {left} bytes"));
    let leads = async || process.alive() && leader(channels).await.is_ok_and(|now| now == lead);
    awaited(LEADER_LIMIT, async || !leads().await).await;
    diary.trace(!process.alive(), &format!("{lead} has ended"));
    diary.trace(leader(channels).await? != lead, &format!("{lead} does not lead any more"));
    tokio::time::sleep(hold).await;
    disk::empty(dir)?;
    diary.note(format!("the disk of {lead} has room"));
    if process.alive() { Ok(()) } else { start(cluster, &[lead.to_owned()], diary) }
}

/// Fails one sync of the leader's log: it must end, since it cannot know any more what is on disk.
async fn error(cluster: &mut Cluster, lead: &str, hold: Duration, diary: &mut Diary) -> anyhow::Result<()> {
    shim::tell(&cluster.dir, lead, Number::SyncFails, 1)?;
    diary.note(format!("the next sync of {lead}'s log fails"));
    let process = cluster.process(lead)?.clone();
    let ended = awaited(LEADER_LIMIT, async || !process.alive()).await;
    ensure!(ended, "{lead} goes on with a log whose sync failed");
    diary.trace(true, &format!("{lead} has ended"));
    tokio::time::sleep(hold).await;
    start(cluster, &[lead.to_owned()], diary)
}

async fn slow(cluster: &Cluster, lead: &str, late_us: u64, hold: Duration, diary: &mut Diary) -> anyhow::Result<()> {
    shim::tell(&cluster.dir, lead, Number::SyncLateUs, i64::try_from(late_us)?)?;
    diary.note(format!("syncs of {lead}'s log take {} ms more", late_us / 1000));
    tokio::time::sleep(hold).await;
    let late = shim::count(&cluster.dir, lead, Number::SyncsLate)?;
    shim::tell(&cluster.dir, lead, Number::SyncLateUs, 0)?;
    diary.note(format!("the disk of {lead} is as fast as before"));
    diary.trace(late > 0, &format!("{late} syncs were late"));
    Ok(())
}

async fn power_cut(cluster: &mut Cluster, names: &[String], hold: Duration, diary: &mut Diary) -> anyhow::Result<()> {
    for name in names {
        let process = cluster.process(name)?;
        let at = process.disk();
        std::fs::write(at.join(UNSYNCED), [1; UNSYNCED_BYTES])?;
        shim::cut_power(&cluster.dir, at).context("it has no disk of its own: that needs root and loop devices")?;
        // One that noticed has ended by itself.
        let _ = process.signal(Signal::SIGKILL);
        diary.note(format!("{name} has lost power"));
    }
    for name in names {
        let process = cluster.process(name)?.clone();
        let at = process.disk();
        awaited(DEAD, async || !process.alive()).await;
        let away = awaited(DEAD, async || disk::unmount(at).is_ok()).await;
        ensure!(away, "the disk of {name} is still in use");
        disk::mount_again(&disk::image(&cluster.dir, name), at)?;
        let left = std::fs::read(at.join(UNSYNCED)).unwrap_or_default();
        let gone = left.iter().filter(|byte| **byte == 1).count() < UNSYNCED_BYTES;
        diary.trace(gone, &format!("what was not synced is gone from the disk of {name}"));
    }
    tokio::time::sleep(hold).await;
    start(cluster, names, diary)
}
