//! etcd as a peer: the one that `ETCD_BIN` names, else the one on the path.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use proto::etcdserverpb as pb;
use tonic::transport::{Channel, Endpoint};

/// How long it may take until it takes writes.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Running members; they end with it.
pub(super) struct Etcd {
    pub(super) version: String,
    members: Vec<Member>,
}

struct Member {
    process: Child,
    client: u16,
}

fn binary() -> PathBuf {
    std::env::var_os("ETCD_BIN").map_or_else(|| PathBuf::from("etcd"), PathBuf::from)
}

fn ports(count: usize) -> anyhow::Result<Vec<u16>> {
    // All are held at once, so that they differ.
    let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

impl Etcd {
    /// Starts members with data below `dir`, on loopback without TLS, which spares them work that ours do.
    pub(super) fn start(dir: &Path, members: usize) -> anyhow::Result<Etcd> {
        let binary = binary();
        let told = Command::new(&binary).arg("--version").output();
        let told = told.with_context(|| format!("no {}: install etcd-server, or set ETCD_BIN", binary.display()))?;
        let version = String::from_utf8_lossy(&told.stdout);
        let version = version.lines().next().unwrap_or_default().replace("etcd Version: ", "etcd ");
        let (clients, peers) = (ports(members)?, ports(members)?);
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = peers.iter().enumerate().map(|(at, port)| format!("m{at}={}", url(port))).collect();
        let mut running = Etcd { version, members: Vec::new() };
        for (at, (client, peer)) in clients.iter().zip(&peers).enumerate() {
            let log = std::fs::File::create(dir.join(format!("m{at}.log")))?;
            let process = Command::new(&binary)
                .arg(format!("--name=m{at}"))
                .arg(format!("--data-dir={}", dir.join(format!("m{at}")).display()))
                .arg(format!("--listen-client-urls={}", url(client)))
                .arg(format!("--advertise-client-urls={}", url(client)))
                .arg(format!("--listen-peer-urls={}", url(peer)))
                .arg(format!("--initial-advertise-peer-urls={}", url(peer)))
                .arg(format!("--initial-cluster={}", cluster.join(",")))
                .arg("--quota-backend-bytes=8589934592")
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .with_context(|| binary.display().to_string())?;
            running.members.push(Member { process, client: *client });
        }
        Ok(running)
    }

    pub(super) fn pids(&self) -> Vec<i32> {
        self.members.iter().filter_map(|member| i32::try_from(member.process.id()).ok()).collect()
    }

    /// A channel to each member.
    pub(super) fn channels(&self) -> anyhow::Result<Vec<(String, Channel)>> {
        let open = |(at, member): (usize, &Member)| {
            let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", member.client))?;
            Ok((format!("m{at}"), endpoint.timeout(Duration::from_secs(3)).connect_lazy()))
        };
        self.members.iter().enumerate().map(open).collect()
    }

    /// `kill -9` of the member that this names, then of nobody else.
    pub(super) fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let at: usize = name.trim_start_matches('m').parse()?;
        let member = self.members.get_mut(at).context("no such member")?;
        member.process.kill()?;
        member.process.wait()?;
        Ok(())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.process.kill();
            let _ = member.process.wait();
        }
    }
}

/// Waits until every member takes a write.
pub(super) async fn await_writes(channels: &[(String, Channel)]) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_LIMIT;
    for (name, channel) in channels {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            let put = pb::PutRequest { key: "/bench/ready".into(), value: "1".into(), ..Default::default() };
            match pb::kv_client::KvClient::new(channel.clone()).put(put).await {
                Ok(_) => break,
                Err(status) if Instant::now() > deadline => bail!("{name}: {}", status.message()),
                Err(_) => {}
            }
        }
    }
    Ok(())
}
