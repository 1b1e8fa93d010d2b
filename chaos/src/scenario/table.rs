//! The scenarios: a row each.

use crate::scenario::fault::{Damage, Fault, Harm, Trouble};
use crate::world::delay::can_delay;
use crate::world::disk::can_mount;
use crate::world::network::can_isolate;
use crate::world::shim::can_compile;

/// Writes stop no longer than this when a leader dies. Units: microseconds.
const OUTAGE_MAX_US: u64 = 1_000_000;

/// A row of the table of scenarios.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(super) fault: Fault,
    /// Writes may stop for so long.
    pub(super) outage_max_us: u64,
    /// On what it can be run.
    pub(super) over: &'static [Over],
    /// What the machine must have.
    needs: &'static [Need],
}

/// Something of the machine's; answers why it is not there.
type Need = fn() -> Result<(), String>;

impl Scenario {
    /// Why it cannot be run on this machine; none where it can.
    pub(crate) fn missing(&self) -> Option<String> {
        self.needs.iter().find_map(|need| need().err())
    }
}

/// What is broken: a cluster with its nodes and an application, or the store alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Over {
    Cluster,
    Store,
}

/// Faults that every group of members must bear.
const BOTH: &[Over] = &[Over::Cluster, Over::Store];

/// A new scenario is a row, and a fault if it needs a new one.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "leader-kill",
        about: "the leading server is killed with SIGKILL and started again",
        fault: Fault::LeaderKill,
        outage_max_us: OUTAGE_MAX_US,
        over: BOTH,
        needs: &[],
    },
    Scenario {
        name: "minority-pause",
        about: "a following server is stopped with SIGSTOP for some seconds",
        fault: Fault::FollowerPause,
        outage_max_us: OUTAGE_MAX_US,
        over: BOTH,
        needs: &[],
    },
    Scenario {
        name: "partition",
        about: "the leading server is cut off from the others, then healed",
        fault: Fault::Wire(Harm::Cut),
        outage_max_us: 2 * OUTAGE_MAX_US,
        over: BOTH,
        needs: &[can_isolate],
    },
    Scenario {
        name: "one-way",
        about: "packets pass only one way between the leading server and the others",
        fault: Fault::Wire(Harm::OneWay),
        outage_max_us: 2 * OUTAGE_MAX_US,
        over: BOTH,
        needs: &[can_isolate],
    },
    Scenario {
        name: "partial",
        about: "the leading server and one of the others do not reach each other",
        fault: Fault::Wire(Harm::Partial),
        outage_max_us: 2 * OUTAGE_MAX_US,
        over: BOTH,
        needs: &[can_isolate],
    },
    Scenario {
        name: "loss",
        about: "a fifth of the packets between the leading server and the others is lost",
        fault: Fault::Wire(Harm::Loss),
        outage_max_us: 3 * OUTAGE_MAX_US,
        over: BOTH,
        needs: &[can_isolate],
    },
    Scenario {
        name: "delay",
        about: "what the leading server sends comes 20 to 60 ms late",
        fault: Fault::Wire(Harm::Delay),
        outage_max_us: 2 * OUTAGE_MAX_US,
        over: BOTH,
        needs: &[can_isolate, can_delay],
    },
    Scenario {
        name: "power-loss",
        about: "every server and agent is killed at once and started again",
        fault: Fault::PowerLoss,
        outage_max_us: 30 * OUTAGE_MAX_US,
        over: BOTH,
        needs: &[],
    },
    Scenario {
        name: "agent-kill",
        about: "the agent of a node is killed; its pods must run elsewhere",
        fault: Fault::AgentKill,
        outage_max_us: OUTAGE_MAX_US,
        over: &[Over::Cluster],
        needs: &[],
    },
    Scenario {
        name: "power-cut",
        about: "the disk of the leading member, or of all, loses what was not synced",
        fault: Fault::Disk(Trouble::PowerCut),
        outage_max_us: 30 * OUTAGE_MAX_US,
        over: BOTH,
        needs: &[can_mount, can_compile],
    },
    Scenario {
        name: "disk-full",
        about: "the disk of the leading member fills up, then has room again",
        fault: Fault::Disk(Trouble::Full),
        outage_max_us: 2 * OUTAGE_MAX_US,
        over: BOTH,
        needs: &[can_mount],
    },
    Scenario {
        name: "disk-error",
        about: "a sync of the leading member's log fails once: it must end, and is started again",
        fault: Fault::Disk(Trouble::Error),
        outage_max_us: OUTAGE_MAX_US,
        over: BOTH,
        needs: &[can_compile],
    },
    Scenario {
        name: "disk-slow",
        about: "syncs of the leading member's log take longer than an election: another must lead",
        fault: Fault::Disk(Trouble::Slow),
        outage_max_us: 3 * OUTAGE_MAX_US,
        over: BOTH,
        needs: &[can_compile],
    },
    Scenario {
        name: "clock-jump",
        about: "the wall clock of the leading member jumps by hours, and back",
        fault: Fault::ClockJump,
        outage_max_us: OUTAGE_MAX_US,
        over: BOTH,
        needs: &[can_compile],
    },
    Scenario {
        name: "clock-drift",
        about: "the wall clock of the leading member goes up to a fifth too fast or too slow",
        fault: Fault::ClockDrift,
        outage_max_us: OUTAGE_MAX_US,
        over: BOTH,
        needs: &[can_compile],
    },
    Scenario {
        name: "log-damage",
        about: "a bit flips in the log of a stopped member: it must not serve, and is replaced",
        fault: Fault::Damage(Damage::Log),
        outage_max_us: OUTAGE_MAX_US,
        over: BOTH,
        needs: &[],
    },
    Scenario {
        name: "state-damage",
        about: "a bit flips in each table of a stopped member: it must not serve, and is replaced",
        fault: Fault::Damage(Damage::State),
        outage_max_us: OUTAGE_MAX_US,
        over: BOTH,
        needs: &[],
    },
    Scenario {
        name: "wiped",
        about: "a stopped member loses all it had: it must not come back as who it was, and is replaced",
        fault: Fault::Damage(Damage::Wiped),
        outage_max_us: OUTAGE_MAX_US,
        // A server that has nothing founds a cluster of its own, whose certificates nobody else believes.
        over: &[Over::Store],
        needs: &[],
    },
    Scenario {
        name: "old-copy",
        about: "a stopped member comes back with what it had before: it must be refused, and is replaced",
        fault: Fault::Damage(Damage::OldCopy),
        outage_max_us: OUTAGE_MAX_US,
        over: BOTH,
        needs: &[],
    },
    Scenario {
        name: "replace",
        about: "two members are added, every founding one is replaced by another, two are removed",
        fault: Fault::Exchange,
        outage_max_us: OUTAGE_MAX_US,
        over: BOTH,
        needs: &[],
    },
];
