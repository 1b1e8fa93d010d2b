//! Packets that come late: the kernel here delays none by itself, but hands those that leave a namespace to a thread of
//! ours, which lets each go when its time has come.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use nfq::{Queue, Verdict};
use nix::sched::{CloneFlags, setns};

use crate::seed::Seed;
use crate::world::network::run;

/// The kernel's number of the queue: each namespace has its own.
const QUEUE: u16 = 7;
/// Packets that wait at most: the kernel drops others.
const WAITING_MAX: u32 = 8192;
/// Between two looks.
const LOOK: Duration = Duration::from_micros(500);

/// Whether packets can be handed over.
pub(crate) fn can_delay() -> Result<(), String> {
    run("iptables", &["--version"]).map(drop).map_err(|_| "no iptables: apt install iptables".to_owned())
}

/// A delay that is on.
pub(crate) struct Delay {
    namespace: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<u64>>,
}

fn rule(namespace: &str, what: &str) -> anyhow::Result<()> {
    let (enter, number) = (format!("--net=/run/netns/{namespace}"), QUEUE.to_string());
    let rest = ["OUTPUT", "-o", "eth0", "-j", "NFQUEUE", "--queue-num", &number];
    run("nsenter", &[&[enter.as_str(), "iptables", what][..], &rest].concat()).map(drop)
}

impl Delay {
    /// From now on what leaves a namespace comes `least` to `least + more` milliseconds late, in order.
    ///
    /// # Errors
    /// Without iptables or the kernel's queues.
    pub(crate) fn begin(namespace: &str, least: u64, more: u64, seed: Seed) -> anyhow::Result<Delay> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ends, inside) = (stop.clone(), namespace.to_owned());
        let (ready, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let queue = open(&inside);
            let _ = ready.send(queue.is_ok());
            hold(queue?, least, more, seed, &ends)
        });
        let opened = told.recv().unwrap_or(false) && rule(namespace, "-A").is_ok();
        let delay = Delay { namespace: namespace.to_owned(), stop, thread };
        if opened { Ok(delay) } else { Err(delay.end().err().unwrap_or_else(|| anyhow!("iptables takes no queue"))) }
    }

    /// Lets go of what waits; answers how many packets came late.
    ///
    /// # Errors
    /// When the queue failed meanwhile.
    pub(crate) fn end(self) -> anyhow::Result<u64> {
        let removed = rule(&self.namespace, "-D");
        self.stop.store(true, Ordering::Relaxed);
        let late = self.thread.join().map_err(|_| anyhow!("the thread that delays packets panicked"))??;
        removed.map(|()| late)
    }
}

fn open(namespace: &str) -> anyhow::Result<Queue> {
    setns(std::fs::File::open(format!("/run/netns/{namespace}"))?, CloneFlags::CLONE_NEWNET)?;
    let mut queue = Queue::open().context("the kernel has no queues of packets")?;
    queue.bind(QUEUE)?;
    queue.set_queue_max_len(QUEUE, WAITING_MAX)?;
    queue.set_nonblocking(true);
    Ok(queue)
}

fn hold(mut queue: Queue, least: u64, more: u64, mut seed: Seed, stop: &AtomicBool) -> anyhow::Result<u64> {
    let (mut waiting, mut late) = (VecDeque::new(), 0);
    loop {
        let ended = stop.load(Ordering::Relaxed);
        match queue.recv() {
            Ok(packet) => {
                let due = Instant::now() + Duration::from_millis(least + seed.below(more.max(1)));
                waiting.push_back((due, packet));
                late += 1;
                continue;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        while let Some((_, mut packet)) = waiting.pop_front_if(|(due, _)| ended || *due <= Instant::now()) {
            packet.set_verdict(Verdict::Accept);
            queue.verdict(packet)?;
        }
        if ended {
            queue.unbind(QUEUE)?;
            return Ok(late);
        }
        std::thread::park_timeout(LOOK);
    }
}
