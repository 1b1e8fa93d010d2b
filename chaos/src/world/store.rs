//! A group of `raftsman store` members, each with its own namespace and disk where the machine allows them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::ensure;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use tonic::transport::{Channel, Endpoint};

use crate::world::cluster::Cluster;
use crate::world::layout::{Layout, Place};
use crate::world::process::Process;
use crate::world::{breakable, network};

/// How long it may take until every member takes writes.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// A call of a workload: longer than an election, shorter than a person's patience.
const CALL_LIMIT: Duration = Duration::from_secs(3);

/// Starts members and waits until each takes writes.
///
/// # Errors
/// When one does not come up; logs lie in `dir`.
pub(crate) fn up(dir: PathBuf, members: u8, binary: &Path) -> anyhow::Result<Cluster> {
    std::fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    ensure!(std::fs::read_dir(&dir)?.next().is_none(), "{} is not empty", dir.display());
    let mut cluster = Cluster {
        isolated: network::can_isolate().is_ok(),
        dir,
        servers: members,
        nodes: 0,
        runtime: "sim".to_owned(),
        store: true,
        breakable: true,
        binary: binary.to_owned(),
        processes: Vec::new(),
    };
    match start(&mut cluster) {
        Ok(()) => Ok(cluster),
        Err(error) => {
            cluster.save()?;
            let _ = cluster.down();
            Err(error.context(format!("the store did not start; logs are in {}", cluster.dir.display())))
        }
    }
}

fn start(cluster: &mut Cluster) -> anyhow::Result<()> {
    let layout = cluster.layout();
    network::remove(&layout, &Cluster::places(&layout));
    network::add_bridge(&layout)?;
    let places: Vec<Place> = (1..=cluster.servers).map(|index| layout.server(index)).collect();
    let peers: Vec<String> =
        places.iter().map(|place| format!("{}={}", place.name, url(place, place.peer_port))).collect();
    for place in &places {
        add(cluster, place, &[format!("--initial-cluster={}", peers.join(","))])?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(await_writes(cluster, &layout))
}

/// Starts one more member in a place of its own; `cluster_flags` say of which group it is.
///
/// # Errors
/// When the place cannot be made, or the process does not start.
pub(crate) fn add(cluster: &mut Cluster, place: &Place, cluster_flags: &[String]) -> anyhow::Result<()> {
    network::add_place(&cluster.layout(), place)?;
    let mut command = breakable::prepare(&cluster.dir, place)?;
    command.extend(member(&cluster.binary, place));
    command.extend_from_slice(cluster_flags);
    let mut process = Process::new(&cluster.dir, place, "server", command, None);
    process.start()?;
    cluster.processes.push(process);
    cluster.save()
}

/// Where a port of a member is reached.
pub(crate) fn url(place: &Place, port: u16) -> String {
    format!("http://{}:{port}", place.address)
}

fn member(binary: &Path, place: &Place) -> Vec<String> {
    vec![
        binary.display().to_string(),
        "store".to_owned(),
        format!("--name={}", place.name),
        format!("--data-dir={}", place.data_dir.display()),
        format!("--listen-client-urls={}", url(place, place.etcd_port)),
        format!("--advertise-client-urls={}", url(place, place.etcd_port)),
        format!("--listen-peer-urls={}", url(place, place.peer_port)),
        format!("--initial-advertise-peer-urls={}", url(place, place.peer_port)),
    ]
}

/// A channel to a member. Reconnects by itself.
///
/// # Errors
/// Never with addresses of ours.
pub(crate) fn channel(place: &Place) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(url(place, place.etcd_port))?;
    Ok(endpoint.timeout(CALL_LIMIT).connect_timeout(CALL_LIMIT).connect_lazy())
}

async fn await_writes(cluster: &Cluster, layout: &Layout) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_LIMIT;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    for index in 1..=cluster.servers {
        let place = layout.server(index);
        let process = cluster.process(&place.name)?;
        let mut kv = KvClient::new(channel(&place)?);
        let put = pb::PutRequest { key: "/ready".into(), ..Default::default() };
        while let Err(status) = kv.put(put.clone()).await {
            let late = Instant::now() > deadline || !process.alive();
            ensure!(!late, "{}: {}\n{}", place.name, status.message(), process.log_tail());
            tick.tick().await;
        }
    }
    Ok(())
}
