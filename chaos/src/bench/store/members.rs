//! Members of ours and of etcd, started by the same flags.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use proto::etcdserverpb as pb;
use tonic::transport::{Channel, Endpoint};

/// How long it may take until it takes writes.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Room for what is written, bytes: no quota ends a measurement.
const QUOTA: &str = "--quota-backend-bytes=34359738368";

/// A program that serves etcd's API.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
    /// Before the flags.
    words: Vec<String>,
    /// What it calls itself.
    pub(super) version: String,
}

impl Program {
    /// The store of a binary of ours.
    pub(super) fn ours(binary: &Path) -> Program {
        Program { path: binary.to_owned(), words: vec!["store".to_owned()], version: "raftsman store".to_owned() }
    }

    /// The etcd that `ETCD_BIN` names, else the one on the path.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn etcd() -> anyhow::Result<Program> {
        let path = std::env::var_os("ETCD_BIN").map_or_else(|| PathBuf::from("etcd"), PathBuf::from);
        let told = Command::new(&path).arg("--version").output();
        let told = told.with_context(|| format!("no {}: install etcd-server, or set ETCD_BIN", path.display()))?;
        let text = String::from_utf8_lossy(&told.stdout);
        let version = text.lines().next().unwrap_or_default().replace("etcd Version: ", "etcd ");
        Ok(Program { path, words: Vec::new(), version })
    }
}

/// Running members; they end with it.
pub(super) struct Members {
    members: Vec<Member>,
}

struct Member {
    process: Child,
    client: u16,
    data: PathBuf,
    /// What it was started with.
    command: Command,
}

fn ports(count: usize) -> anyhow::Result<Vec<u16>> {
    // All are held at once, so that they differ.
    let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

impl Members {
    /// Starts members with data below `dir`, on loopback without TLS, and waits until each takes writes.
    ///
    /// # Errors
    /// When one does not come up; its log lies below `dir`.
    pub(super) fn start(program: &Program, dir: &Path, count: usize) -> anyhow::Result<Members> {
        std::fs::create_dir_all(dir)?;
        let (clients, peers) = (ports(count)?, ports(count)?);
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = peers.iter().enumerate().map(|(at, port)| format!("m{at}={}", url(port))).collect();
        let mut running = Members { members: Vec::new() };
        for (at, (client, peer)) in clients.iter().zip(&peers).enumerate() {
            let log = std::fs::File::create(dir.join(format!("m{at}.log")))?;
            let data = dir.join(format!("m{at}"));
            let mut command = Command::new(&program.path);
            command
                .args(&program.words)
                .arg(format!("--name=m{at}"))
                .arg(format!("--data-dir={}", data.display()))
                .arg(format!("--listen-client-urls={}", url(client)))
                .arg(format!("--advertise-client-urls={}", url(client)))
                .arg(format!("--listen-peer-urls={}", url(peer)))
                .arg(format!("--initial-advertise-peer-urls={}", url(peer)))
                .arg(format!("--initial-cluster={}", cluster.join(",")))
                .arg(QUOTA)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log);
            let process = command.spawn().with_context(|| program.path.display().to_string())?;
            running.members.push(Member { process, client: *client, data, command });
        }
        running.await_writes().with_context(|| format!("{}: see the logs in {}", program.version, dir.display()))?;
        Ok(running)
    }

    fn await_writes(&self) -> anyhow::Result<()> {
        super::super::runtime()?.block_on(await_writes(self))
    }

    /// Kills all of them, starts them with what they had, and waits until they take writes.
    ///
    /// # Errors
    /// When one does not come up.
    pub(super) fn start_again(&mut self) -> anyhow::Result<()> {
        for member in &mut self.members {
            member.process.kill()?;
            member.process.wait()?;
            member.process = member.command.spawn()?;
        }
        self.await_writes()
    }

    pub(super) fn pids(&self) -> Vec<i32> {
        self.members.iter().filter_map(|member| i32::try_from(member.process.id()).ok()).collect()
    }

    /// `host:port` of each.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("127.0.0.1:{}", member.client)).collect()
    }

    /// A channel to each member, made inside a runtime.
    ///
    /// # Errors
    /// Never with addresses of ours.
    pub(super) fn channels(&self) -> anyhow::Result<Vec<(String, Channel)>> {
        let open = |(at, address): (usize, String)| {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
            Ok((format!("m{at}"), endpoint.connect_lazy()))
        };
        self.addresses().into_iter().enumerate().map(open).collect()
    }

    /// `kill -9` of the member that this names.
    ///
    /// # Errors
    /// When there is none of that name.
    pub(super) fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let at: usize = name.trim_start_matches('m').parse()?;
        let member = self.members.get_mut(at).context("no such member")?;
        member.process.kill()?;
        member.process.wait()?;
        Ok(())
    }

    /// How often all of them have synced their logs to disk, as they tell.
    ///
    /// # Errors
    /// When one does not tell.
    pub(super) fn syncs(&self) -> anyhow::Result<f64> {
        self.addresses().iter().map(|address| metric(address, "etcd_disk_wal_fsync_duration_seconds_count")).sum()
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.process.kill();
            let _ = member.process.wait();
            // Logs stay; the data would fill disks.
            let _ = std::fs::remove_dir_all(&member.data);
        }
    }
}

/// A number of a member's `/metrics`.
fn metric(address: &str, name: &str) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(READY_LIMIT))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("{address} tells no {name}"))?.trim().parse()?)
}

async fn await_writes(members: &Members) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_LIMIT;
    for (name, channel) in members.channels()? {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            let put = pb::PutRequest { key: "/bench/ready".into(), value: "1".into(), ..Default::default() };
            match tokio::time::timeout(READY_LIMIT, pb::kv_client::KvClient::new(channel.clone()).put(put)).await {
                Ok(Ok(_)) => break,
                Ok(Err(status)) if Instant::now() > deadline => bail!("{name}: {}", status.message()),
                late => ensure!(late.is_ok(), "{name} does not answer"),
            }
        }
    }
    Ok(())
}
