//! One simulated run: three members, clients, what a schedule does to them, and what must hold of what was seen.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use store::Store;
use store::config::{Bootstrap, Config, Founder, Retention, Transport, Url};
use store::edge::World as _;
use store::edge::drive::{Contents, Drive, Faults};
use store::etcd::Options;
use tonic::transport::{Channel, Endpoint};

use crate::check::Verdict;
use crate::history::{History, Outcome};
use crate::seed::Seed;
use crate::sim::interposed;
use crate::sim::museum::{self, What};
use crate::sim::schedule::{Action, MEMBERS, Schedule, actions};
use crate::sim::seen::{self, Seen};
use crate::sim::world::World;

/// Hosts run in turn for so long: what one sends, another has in the next turn at the earliest.
const TICK: Duration = Duration::from_millis(10);
/// Within this time after the last fault all that was seen is there to be judged.
const CONVERGED: Duration = Duration::from_secs(120);
/// A loss of power in the midst of something comes before so many further operations of the disk.
const MIDST: u64 = 60;
/// A call takes so long at most.
const CALL: Duration = Duration::from_secs(3);
const PEERS: u16 = 2380;
const CLIENTS: u16 = 2379;

/// What became of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) verdicts: Vec<Verdict>,
    /// What was asked and answered around the first violation, in words.
    #[serde(default)]
    pub(crate) around: Vec<String>,
    /// Everything that was said, as one number: the same schedule, the same number.
    pub(crate) trace: u64,
    pub(crate) messages: u64,
    pub(crate) operations: usize,
    pub(crate) written: usize,
    pub(crate) simulated_ms: u64,
    pub(crate) evidence: Evidence,
}

/// What faults did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    pub(crate) stops: u64,
    pub(crate) starts: u64,
    pub(crate) sectors_lost: u64,
    pub(crate) torn_writes: u64,
    pub(crate) names_lost: u64,
    /// Losses of power in the midst of what was being written.
    pub(crate) midst: u64,
    pub(crate) cuts: u64,
    pub(crate) flips: Vec<String>,
    /// Members that refused a damaged disk.
    pub(crate) refused: u64,
    /// Members that ended by themselves, and what they said.
    pub(crate) ended: Vec<String>,
}

impl Report {
    pub(crate) fn ok(&self) -> bool {
        self.verdicts.iter().all(Verdict::holds)
    }
}

fn name(member: usize) -> String {
    format!("member-{}", member + 1)
}

/// What members of a run share with its master.
#[derive(Default)]
struct Shared {
    evidence: Evidence,
    seen: Option<Seen>,
    ended: BTreeSet<usize>,
}

/// Runs in the directory that the process is in, which is empty.
pub(crate) fn run(schedule: &Schedule) -> anyhow::Result<(Report, History)> {
    let world = World::default();
    store::edge::enter(Arc::new(world.clone()));
    if wrong(schedule) == Some(What::WallClock) {
        world.confuse_clocks();
    }
    let mut sim = turmoil::Builder::new()
        .rng_seed(Seed::of(schedule.seed, "network").next())
        .epoch(UNIX_EPOCH + Duration::from_secs(interposed::EPOCH_SECONDS))
        .simulation_duration(Duration::from_secs(100_000))
        .tick_duration(TICK)
        .enable_random_order()
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(schedule.latency_ms.max(1)))
        .tcp_capacity(65_536)
        .build();
    let mut drives = Vec::new();
    let mut random = Seed::of(schedule.seed, "disks");
    let shared = Rc::new(RefCell::new(Shared::default()));
    let addresses: Vec<_> = (0..MEMBERS).map(|member| sim.lookup(name(member)).to_string()).collect();
    for member in 0..MEMBERS {
        let dir = PathBuf::from(name(member));
        let drive = Drive::new(random.next());
        if let Some(What::Member(defect)) = wrong(schedule) {
            drive.set_defect(defect);
        }
        world.drift(member, schedule.drifts_ppm[member]);
        world.add_drive(&dir, drive.clone());
        drives.push(drive);
        let config = config(member, &addresses, schedule);
        let (world, shared) = (world.clone(), shared.clone());
        sim.host(name(member), move || {
            let (config, world, shared) = (config.clone(), world.clone(), shared.clone());
            async move {
                world.runs(member);
                shared.borrow_mut().evidence.starts += 1;
                let why = serve(config, &world).await;
                let mut shared = shared.borrow_mut();
                shared.evidence.ended.push(format!("{}: {why}", name(member)));
                shared.ended.insert(member);
                Ok(())
            }
        });
    }
    let (told, plan, at) = (shared.clone(), schedule.clone(), world.clone());
    sim.client("clients", async move {
        let channels = addresses.iter().enumerate().map(|(member, address)| (name(member), channel(&at, address)));
        let seen = seen::look(&plan, &channels.collect::<Vec<_>>(), wrong(&plan) == Some(What::StaleReads)).await;
        told.borrow_mut().seen = Some(seen);
        Ok(())
    });
    let mut master = Master {
        sim,
        world: world.clone(),
        drives,
        shared: shared.clone(),
        wrong: wrong(schedule),
        old: BTreeMap::new(),
        power: Seed::of(schedule.seed, "power"),
        dying: BTreeSet::new(),
    };
    let failure = master.conduct(schedule);
    let simulated_ms = u64::try_from(master.sim.elapsed().as_millis()).unwrap_or(u64::MAX);
    master.count_losses();
    // Members end before what they share is looked at.
    drop(master);
    let shared = Rc::try_unwrap(shared).map_err(|_| anyhow::anyhow!("a member outlives its run"))?.into_inner();
    Ok(judge(shared, failure, simulated_ms, &world))
}

fn config(member: usize, addresses: &[String], schedule: &Schedule) -> Config {
    let url = |member: usize, port: u16| Url { tls: false, authority: format!("{}:{port}", addresses[member]) };
    let founders = (0..MEMBERS).map(|member| Founder { name: name(member), peer_urls: vec![url(member, PEERS)] });
    Config {
        name: name(member),
        data_dir: PathBuf::from(name(member)),
        peer_listen: vec![url(member, PEERS)],
        peer_advertise: vec![url(member, PEERS)],
        client_advertise: vec![url(member, CLIENTS)],
        transport: Transport::Urls { tls: None },
        bootstrap: Bootstrap::Static { members: founders.collect(), token: "simulated".to_owned() },
        force_new: false,
        remove_dead_after: None,
        heartbeat_interval: Duration::from_millis(100),
        election_timeout: Duration::from_millis(500),
        snapshot_entries: schedule.snapshot_entries,
        snapshot_bytes: 1 << 30,
        encryption: None,
        // Its bound is asked of the real disk.
        retention: Retention { time: Duration::ZERO, bytes_max: Some(0) },
        memory_bytes: 8 << 20,
    }
}

/// Serves as one member until it ends by itself; answers why.
async fn serve(config: Config, world: &World) -> String {
    let store = match Store::open(config).await {
        Ok(store) => store,
        Err(error) => return error.to_string(),
    };
    match world.listen(&format!("0.0.0.0:{CLIENTS}")).await {
        Ok(port) => store.etcd(Options::default()).serve_simulated(port),
        Err(error) => return error.to_string(),
    }
    store.failed().await.to_string()
}

fn channel(world: &World, address: &str) -> Channel {
    let (world, authority) = (world.clone(), format!("{address}:{CLIENTS}"));
    let asked = Duration::from_millis(500);
    let endpoint = Endpoint::from_static("http://member").timeout(CALL).connect_timeout(Duration::from_secs(1));
    let endpoint = endpoint.http2_keep_alive_interval(asked).keep_alive_timeout(2 * asked).keep_alive_while_idle(true);
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_: http::Uri| {
        let (world, authority) = (world.clone(), authority.clone());
        async move { world.connect(&authority).await.map(TokioIo::new) }
    }))
}

/// Who does to the world what a schedule says.
struct Master {
    sim: turmoil::Sim<'static>,
    world: World,
    drives: Vec<Drive>,
    shared: Rc<RefCell<Shared>>,
    wrong: Option<What>,
    /// What disks held some time ago.
    old: BTreeMap<usize, Contents>,
    power: Seed,
    /// Members whose power goes with one of the next operations of their disks.
    dying: BTreeSet<usize>,
}

impl Master {
    /// Runs it all; answers why it did not come to its end.
    fn conduct(&mut self, schedule: &Schedule) -> Option<String> {
        let plan = actions(&schedule.steps);
        let (mut next, mut healed) = (0, false);
        let faulty = Duration::from_secs(schedule.seconds);
        loop {
            let now = self.sim.elapsed();
            interposed::set_now(now);
            if now >= faulty && !healed {
                self.heal();
                healed = true;
            }
            while !healed && plan.get(next).is_some_and(|(at, _)| Duration::from_millis(*at) <= now) {
                self.act(&plan[next].1);
                next += 1;
            }
            self.repair();
            self.bury();
            match self.sim.step() {
                Ok(true) => return None,
                Ok(false) => {}
                Err(error) => return Some(format!("the simulation failed: {error}")),
            }
            if now > faulty + CONVERGED {
                return Some(format!("clients had not seen everything {CONVERGED:?} after the last fault"));
            }
        }
    }

    /// Who sees that a member refuses its disk puts the disk's contents back, and starts it again.
    fn repair(&mut self) {
        let ended = self.shared.borrow().ended.clone();
        for member in ended {
            if self.drives[member].unflip() {
                self.shared.borrow_mut().evidence.refused += 1;
                self.start(member);
            }
        }
    }

    /// Members whose power went in the midst of something.
    fn bury(&mut self) {
        for member in self.dying.clone() {
            if self.drives[member].is_off() {
                self.shared.borrow_mut().evidence.midst += 1;
                self.stop(member, true);
            }
        }
    }

    /// What the disk has in the place of what it should.
    fn replace_disk(&mut self, member: usize) {
        match self.wrong {
            Some(What::Amnesia) => self.drives[member].wipe(),
            Some(What::OldDisk) => {
                let now = self.drives[member].copy();
                if let Some(old) = self.old.insert(member, now) {
                    self.drives[member].put_back(&old);
                }
            }
            _ => {}
        }
    }

    fn act(&mut self, action: &Action) {
        let names = |one: &usize, other: &usize| (name(*one), name(*other));
        match action {
            Action::Stop { member, power: true } => self.cut_power(*member),
            Action::Stop { member, power: false } => self.stop(*member, false),
            Action::Start { member } => self.start(*member),
            Action::Flip { member } => {
                if let Some(place) = self.drives[*member].flip() {
                    self.shared.borrow_mut().evidence.flips.push(format!("{}: {place}", name(*member)));
                }
            }
            Action::Partition { one, other, on } => {
                let (one, other) = names(one, other);
                self.shared.borrow_mut().evidence.cuts += u64::from(*on);
                if *on { self.sim.partition(one, other) } else { self.sim.repair(one, other) }
            }
            Action::OneWay { from, to, on } => {
                let (from, to) = names(from, to);
                self.shared.borrow_mut().evidence.cuts += u64::from(*on);
                if *on { self.sim.partition_oneway(from, to) } else { self.sim.repair_oneway(from, to) }
            }
            Action::Hold { one, other, on } => {
                let (one, other) = names(one, other);
                self.shared.borrow_mut().evidence.cuts += u64::from(*on);
                if *on { self.sim.hold(one, other) } else { self.sim.release(one, other) }
            }
            Action::Latency { member, ms } => {
                let latency = Duration::from_millis(ms.unwrap_or(2));
                for other in (0..MEMBERS).filter(|other| other != member) {
                    self.sim.set_link_latency(name(*member), name(other), latency);
                }
            }
            Action::SyncsFail { member, on } => self.faults(*member, |faults| faults.syncs_fail = *on),
            Action::Full { member, on } => self.faults(*member, |faults| faults.full = *on),
            Action::SlowSyncs { member, ms } => {
                let slow = ms.map_or(Faults::default().slow, Duration::from_millis);
                self.faults(*member, |faults| faults.slow = slow);
            }
            Action::Skew { member, ms } => self.world.skew(*member, *ms),
        }
    }

    fn faults(&self, member: usize, change: impl FnOnce(&mut Faults)) {
        let mut faults = self.drives[member].faults();
        change(&mut faults);
        self.drives[member].set_faults(faults);
    }

    /// At once, or in the midst of what is written next.
    fn cut_power(&mut self, member: usize) {
        if self.sim.is_host_running(name(member)) && self.power.below(2) == 0 {
            self.drives[member].off_after(u32::try_from(self.power.below(MIDST)).unwrap_or(0));
            self.dying.insert(member);
        } else {
            self.stop(member, true);
        }
    }

    fn stop(&mut self, member: usize, power: bool) {
        let power = self.dying.remove(&member) || power;
        // What goes with the process tidies nothing up any more.
        self.drives[member].off();
        if self.sim.is_host_running(name(member)) {
            self.shared.borrow_mut().evidence.stops += 1;
            self.sim.crash(name(member));
        }
        self.drives[member].on();
        if power {
            self.drives[member].lose_power();
            self.replace_disk(member);
        }
    }

    fn start(&mut self, member: usize) {
        if self.dying.contains(&member) {
            self.stop(member, true);
        }
        if self.sim.is_host_running(name(member)) {
            return;
        }
        if self.shared.borrow_mut().ended.remove(&member) {
            // It ended because its disk failed: what that disk does not hold for certain is gone.
            self.drives[member].lose_power();
        }
        self.sim.bounce(name(member));
    }

    /// Takes everything back.
    fn heal(&mut self) {
        for member in 0..MEMBERS {
            for other in member + 1..MEMBERS {
                self.sim.release(name(member), name(other));
                self.sim.repair(name(member), name(other));
                self.sim.repair_oneway(name(member), name(other));
                self.sim.repair_oneway(name(other), name(member));
            }
            self.act(&Action::Latency { member, ms: None });
            self.drives[member].set_faults(Faults::default());
            self.world.skew(member, 0);
            self.start(member);
        }
    }

    fn count_losses(&self) {
        let mut shared = self.shared.borrow_mut();
        for losses in self.drives.iter().map(Drive::losses) {
            shared.evidence.sectors_lost += losses.sectors;
            shared.evidence.torn_writes += losses.torn;
            shared.evidence.names_lost += losses.names;
        }
    }
}

fn wrong(schedule: &Schedule) -> Option<What> {
    schedule.defect.as_deref().and_then(museum::find).map(|exhibit| exhibit.what)
}

fn judge(shared: Shared, failure: Option<String>, simulated_ms: u64, world: &World) -> (Report, History) {
    let mut seen = shared.seen.unwrap_or_default();
    seen.failures.extend(failure);
    let verdicts = seen::judge(&seen, &shared.evidence.ended);
    let around = seen::evidence(&verdicts, &seen.history);
    let history = seen.history;
    let said = serde_json::to_vec(&(&history, &shared.evidence)).unwrap_or_default();
    world.note(&said);
    let (trace, messages) = world.trace();
    let report = Report {
        verdicts,
        around,
        trace,
        messages,
        operations: history.operations.len(),
        written: history.count(|outcome| matches!(outcome, Outcome::Written { .. })),
        simulated_ms,
        evidence: shared.evidence,
    };
    (report, history)
}
