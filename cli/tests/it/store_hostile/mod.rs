//! Clients that mean ill: each is told so or cut off, what it can take of memory is bounded, and others are served.

mod bodies;
mod floods;
mod frames;
mod h2;
mod ranges;
mod silence;
mod txns;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use tonic::client::GrpcService;
use tonic::transport::{Channel, Endpoint};

use crate::member::Member;

/// A write of somebody else takes so long at most, whatever goes on; machines that run tests are busy.
const SERVED_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of memory that a process holds.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// A client's connection to a member.
async fn channel(port: u16) -> Channel {
    Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("a URL").connect().await.expect("it listens")
}

fn put(key: &str, value: impl Into<bytes::Bytes>) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: value.into(), ..pb::PutRequest::default() }
}

/// A call with a body as it is on the wire.
async fn call(mut channel: Channel, path: &str, body: tonic::body::Body) -> http::Response<tonic::body::Body> {
    let request = http::Request::post(path).header("content-type", "application/grpc").body(body);
    std::future::poll_fn(|context| GrpcService::poll_ready(&mut channel, context)).await.expect("it listens");
    channel.call(request.expect("a request")).await.expect("answered")
}

/// A member, and a client of it that writes all the time.
struct Victim {
    member: Member,
    bystander: Option<JoinHandle<()>>,
    seen: Arc<Seen>,
    before: u64,
}

/// What the bystander sees.
#[derive(Default)]
struct Seen {
    end: AtomicBool,
    writes: AtomicU64,
    slowest_micros: AtomicU64,
    /// The most memory that the member held.
    peak: AtomicU64,
}

impl Victim {
    fn new(flags: &[&str]) -> Victim {
        let mut member = Member::new();
        let flags = member.flags("http").into_iter().chain(flags.iter().map(|flag| (*flag).to_owned()));
        member.start(flags.collect::<Vec<_>>());
        Victim::of(member)
    }

    /// With a member that runs.
    fn of(member: Member) -> Victim {
        let mut victim = Victim { member, bystander: None, seen: Arc::default(), before: 0 };
        victim.watch_over();
        let (begun, seen) = (Instant::now(), victim.seen.clone());
        while seen.writes.load(Ordering::Relaxed) < 50 {
            assert!(begun.elapsed() < crate::process::PATIENCE, "nothing is written");
            std::thread::yield_now();
        }
        victim.before = resident(victim.member.pid());
        victim
    }

    /// From here on somebody writes.
    fn watch_over(&mut self) {
        let (port, process, seen) = (self.member.client, self.member.pid(), self.seen.clone());
        self.bystander = Some(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut kv = KvClient::new(channel(port).await);
                let mut pace = tokio::time::interval(Duration::from_millis(5));
                while !seen.end.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let answered = tokio::time::timeout(SERVED_WITHIN, kv.put(put("bystander", "v"))).await;
                    answered.expect("a bystander is answered in time").expect("a bystander writes");
                    let micros = u64::try_from(begun.elapsed().as_micros()).expect("short");
                    seen.slowest_micros.fetch_max(micros, Ordering::Relaxed);
                    seen.peak.fetch_max(resident(process), Ordering::Relaxed);
                    seen.writes.fetch_add(1, Ordering::Relaxed);
                    pace.tick().await;
                }
            });
        }));
    }

    fn port(&self) -> u16 {
        self.member.client
    }

    /// How much memory it held at most beyond what it held at the beginning, bytes.
    fn grown(&self) -> u64 {
        self.seen.peak.load(Ordering::Relaxed).saturating_sub(self.before)
    }

    /// What was done to it cost so much memory at most, and nobody else was kept from writing.
    fn stood(mut self, megabytes: u64) {
        // One more write, so that what comes after the last attack counts too.
        let written = self.seen.writes.load(Ordering::Relaxed);
        while self.seen.writes.load(Ordering::Relaxed) < written + 2 {
            assert!(!self.bystander.as_ref().is_some_and(JoinHandle::is_finished), "the bystander gave up");
            std::thread::yield_now();
        }
        self.seen.end.store(true, Ordering::Relaxed);
        let ended = self.bystander.take().expect("it runs").join();
        assert!(ended.is_ok(), "a bystander was not served\n{}", self.member.said());
        let slowest = Duration::from_micros(self.seen.slowest_micros.load(Ordering::Relaxed));
        let (grown, writes) = (self.grown() >> 20, self.seen.writes.load(Ordering::Relaxed));
        eprintln!("grown by {grown} MiB; {writes} writes meanwhile, the slowest {slowest:?}");
        assert!(grown <= megabytes, "it grew by {grown} MiB, {megabytes} are allowed");
        assert!(self.member.terminate(), "it ends well");
    }
}
