//! What happens to the data of a member that is stopped: it must not come back as if nothing were. Another member takes its
//! place afterwards, as its operator would do it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;

use super::exchange::Exchange;
use super::{Diary, awaited, kill, start};
use crate::seed::Seed;
use crate::work::endpoints::Endpoints;
use crate::world::cluster::Cluster;
use crate::world::network::run;

/// A member that may not come back has ended after this time.
const REFUSED_LIMIT: Duration = Duration::from_secs(30);
/// Between its return and the end of what it is looked at for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scenario) enum Damage {
    /// A bit of its log is flipped.
    Log,
    /// A bit of each table of its state is flipped.
    State,
    /// Everything is gone.
    Wiped,
    /// Everything is as it was some time ago.
    OldCopy,
}

/// Stops a follower, damages what it has, lets it come back, and lets another member take its place once it was refused.
pub(super) async fn done(
    damage: Damage,
    cluster: &mut Cluster,
    servers: &Endpoints,
    lead: &str,
    hold: Duration,
    seed: &mut Seed,
    diary: &mut Diary,
) -> anyhow::Result<()> {
    let followers: Vec<String> =
        cluster.of_role("server").map(|server| server.name.clone()).filter(|name| name != lead).collect();
    let name = &followers[usize::try_from(seed.below(followers.len() as u64))?];
    let data = PathBuf::from(&cluster.process(name)?.data_dir);
    let copy = data.with_extension("copy");
    if damage == Damage::OldCopy {
        stop(cluster, name, diary).await?;
        run("cp", &["-a", &data.display().to_string(), &copy.display().to_string()])?;
        start(cluster, std::slice::from_ref(name), diary)?;
        diary.note(format!("what {name} has is copied"));
        tokio::time::sleep(hold).await;
    }
    stop(cluster, name, diary).await?;
    match damage {
        Damage::Log => diary.note(flip(&data.join("log"), seed)?),
        Damage::State => diary.note(flip(&data.join("state"), seed)?),
        Damage::Wiped => {
            std::fs::remove_dir_all(&data)?;
            diary.note(format!("everything that {name} had is gone"));
        }
        Damage::OldCopy => {
            std::fs::remove_dir_all(&data)?;
            std::fs::rename(&copy, &data)?;
            diary.note(format!("{name} has what it had before"));
        }
    }
    tokio::time::sleep(hold).await;
    start(cluster, std::slice::from_ref(name), diary)?;
    refused(cluster, servers, name, diary).await?;
    let layout = cluster.layout();
    let old = layout.server_named(name).context("a place")?;
    let new = layout.server(cluster.servers + 1);
    Exchange { cluster, servers, diary }.replace(&old, &new).await
}

async fn stop(cluster: &Cluster, name: &str, diary: &mut Diary) -> anyhow::Result<()> {
    let process = cluster.process(name)?;
    process.signal(Signal::SIGTERM)?;
    if !awaited(REFUSED_LIMIT, async || !process.alive()).await {
        return kill(cluster, &[name.to_owned()], diary).await;
    }
    diary.note(format!("{name} is stopped"));
    Ok(())
}

/// Waits until a member that came back has ended with a reason; what it has is asked for meanwhile.
async fn refused(cluster: &Cluster, servers: &Endpoints, name: &str, diary: &mut Diary) -> anyhow::Result<()> {
    let process = cluster.process(name)?;
    let channel = servers.all().into_iter().find(|(known, _)| known == name).context("a channel")?.1;
    let ended = async {
        let mut again = tokio::time::interval(LOOK_EVERY);
        while process.alive() {
            again.tick().await;
            // Reads all of its state: damage must not go unseen.
            let _ = MaintenanceClient::new(channel.clone()).hash_kv(pb::HashKvRequest { revision: 0 }).await;
        }
    };
    let ended = tokio::time::timeout(REFUSED_LIMIT, ended).await.is_ok();
    ensure!(ended, "{name} goes on as if nothing had happened");
    let said = process.log_tail();
    let why = said.lines().last().unwrap_or_default();
    ensure!(!why.is_empty(), "{name} ended without a word");
    diary.trace(true, &format!("{name} does not serve: {why}"));
    Ok(())
}

/// Files below a folder.
fn files(dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { files(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

/// Flips a bit in the written part of what a folder holds: of every table, or of the first segment of a log.
fn flip(dir: &Path, seed: &mut Seed) -> anyhow::Result<String> {
    let mut found = Vec::new();
    files(dir, &mut found)?;
    let tables: Vec<PathBuf> =
        found.iter().filter(|path| path.extension().is_some_and(|kind| kind == "sst")).cloned().collect();
    let chosen = if tables.is_empty() { newest(found)? } else { tables };
    for path in &chosen {
        let held = std::fs::read(path)?;
        let end = held.iter().rposition(|byte| *byte != 0).context("nothing is written there")?;
        // In the middle: the end of a log may be torn by any crash.
        let at = end / 4 + usize::try_from(seed.below(1 + end as u64 / 4))?;
        let file = File::options().write(true).open(path)?;
        file.write_all_at(&[held[at] ^ (1 << seed.below(8))], at as u64)?;
        file.sync_all()?;
    }
    Ok(format!("a bit is flipped in each of {} files below {}", chosen.len(), dir.display()))
}

/// The segment of a log that has the most in it.
fn newest(found: Vec<PathBuf>) -> anyhow::Result<Vec<PathBuf>> {
    let written = |path: &PathBuf| std::fs::read(path).map_or(0, |held| held.iter().filter(|byte| **byte != 0).count());
    match found.into_iter().max_by_key(written) {
        Some(path) => Ok(vec![path]),
        None => bail!("there is no log"),
    }
}
