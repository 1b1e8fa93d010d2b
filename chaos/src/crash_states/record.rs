//! Records a store under load on a disk of its own; a recording lies in a folder and can be used again.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tonic::transport::Endpoint;

use crate::crash_states::disk::{Blocks, Recorder};
use crate::crash_states::history::{History, Written};
use crate::crash_states::mounted::Mounted;
use crate::crash_states::shelf::Shelf;
use crate::crash_states::stream::{self, Event};
use crate::crash_states::{load, member};
use crate::seed::Seed;
use crate::world::network::run;

/// Of the disk: a store takes no writes where less than 512 MiB are free. Only what is written takes room.
pub(crate) const DISK_BYTES: u64 = 1 << 30;

/// What was recorded.
pub(crate) struct Recording {
    /// The disk before the first event.
    pub(crate) image: Blocks,
    pub(crate) events: Vec<Event>,
    pub(crate) history: History,
}

/// Makes a recording of so many calls in a folder.
///
/// # Errors
/// When the disk cannot be made, or the store does not work on it.
pub(crate) fn record(dir: &Path, calls: u64, seed: u64) -> anyhow::Result<()> {
    let image = dir.join("disk.img");
    let text = image.display().to_string();
    if image.exists() {
        std::fs::remove_file(&image)?;
    }
    run("truncate", &["-s", &DISK_BYTES.to_string(), &text])?;
    // What would be written later in the background would only make the recording longer.
    let lazy = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
    run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-J", "size=4", "-E", lazy, &text])?;
    let mut shelf = Shelf::new(&dir.join("fuse"), DISK_BYTES)?;
    let recorder = Arc::new(Recorder::new(Blocks::of_file(&image)?));
    let file = shelf.plug(recorder.clone());
    let mounted = Mounted::new(&file, &dir.join("mnt"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let written = runtime.block_on(under_load(mounted.path(), &recorder, calls, seed));
    drop(runtime);
    // The power goes here: what a file system writes when it is unmounted is no part of it.
    let events = recorder.events();
    mounted.unmount()?;
    std::fs::write(dir.join("stream"), stream::encode(&events))?;
    std::fs::write(dir.join("history.json"), serde_json::to_vec(&written?)?)?;
    Ok(())
}

async fn under_load(dir: &Path, disk: &Arc<Recorder>, calls: u64, seed: u64) -> anyhow::Result<Vec<Written>> {
    let store = member::open(&dir.join("store"), member::RECORDED).await?;
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    store.serve_etcd(listener, None, store::etcd::Options::default());
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let written = load::run(channel, disk, calls, &mut Seed::new(seed)).await;
    store.shutdown().await;
    written
}

/// Reads a recording back.
///
/// # Errors
/// When there is none in the folder.
pub(crate) fn load(dir: &Path) -> anyhow::Result<Recording> {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path).with_context(|| format!("no recording: {}", path.display()))
    };
    let written: Vec<Written> = serde_json::from_slice(&read("history.json")?)?;
    Ok(Recording {
        image: Blocks::of_file(&dir.join("disk.img"))?,
        events: stream::decode(&read("stream")?).context("the recording's stream is cut")?,
        history: History::new(written).map_err(anyhow::Error::msg)?,
    })
}
