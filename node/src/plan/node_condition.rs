//! The node's conditions: whether it is short of something, with the times of their changes.
//!
//! Source: kubelet's `eviction` defaults (`evictionHard`, `evictionPressureTransitionPeriod`) and `nodestatus/setters.go`.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Less free memory than this is pressure (`memory.available<100Mi`). Units: bytes.
const MEMORY_LOW: u64 = 100 << 20;
/// Less free disk than this is pressure (`nodefs.available<10%`). Units: percent.
const DISK_LOW: u64 = 10;
/// With so much left no disk is short, however large: a node that is takes no new pods. Units: bytes.
const DISK_ENOUGH: u64 = 2 << 30;
/// Fewer free inodes likewise (`nodefs.inodesFree<5%`). Units: percent.
const INODES_LOW: u64 = 5;
/// Fewer free process ids likewise; the kubelet has no default for `pid.available`. Units: percent.
const PIDS_LOW: u64 = 5;
/// A node that was short of something is so until it has had enough for this long: else pods come and go with it.
const PRESSURE_LASTS: SignedDuration = SignedDuration::from_mins(5);

/// What there is left, of how much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Units: bytes.
    pub memory_available: u64,
    /// Of the file system with the data directory: free and all. Units: bytes.
    pub disk: (u64, u64),
    /// Its inodes: free and all; some file systems count none.
    pub inodes: (u64, u64),
    /// Process ids: free and all.
    pub pids: (u64, u64),
}

/// One kind of pressure: type, reason and message when it holds, reason and message when it does not.
type Words = (&'static str, (&'static str, &'static str), (&'static str, &'static str));

const MEMORY: Words = (
    "MemoryPressure",
    ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
);
const DISK: Words = (
    "DiskPressure",
    ("KubeletHasDiskPressure", "kubelet has disk pressure"),
    ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
);
const PIDS: Words = (
    "PIDPressure",
    ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
    ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
);

/// When pressure was last seen, by type; what the agent remembers between looks.
#[derive(Debug, Clone, Default)]
pub struct Pressures {
    seen: Vec<(&'static str, Timestamp)>,
    /// As told last.
    told: Vec<Value>,
}

fn short((free, all): (u64, u64), percent: u64) -> bool {
    all > 0 && u128::from(free) * 100 < u128::from(all) * u128::from(percent)
}

impl Pressures {
    /// The conditions now.
    pub fn look(&mut self, room: &Room, now: Timestamp) -> Vec<Value> {
        let disk = short(room.disk, DISK_LOW) && room.disk.0 < DISK_ENOUGH || short(room.inodes, INODES_LOW);
        let found = [(MEMORY, room.memory_available < MEMORY_LOW), (DISK, disk), (PIDS, short(room.pids, PIDS_LOW))];
        let mut all: Vec<Value> = Vec::new();
        for ((kind, yes, no), low) in found {
            if low {
                self.seen.retain(|(held, _)| *held != kind);
                self.seen.push((kind, now));
            }
            let holds = self.seen.iter().any(|(held, at)| *held == kind && now.duration_since(*at) < PRESSURE_LASTS);
            let (reason, message) = if holds { yes } else { no };
            all.push(self.condition(kind, holds, reason, message, now));
        }
        all.push(self.condition("Ready", true, "KubeletReady", "kubelet is posting ready status", now));
        self.told.clone_from(&all);
        all
    }

    fn condition(&self, kind: &str, holds: bool, reason: &str, message: &str, now: Timestamp) -> Value {
        let (status, now) = (if holds { "True" } else { "False" }, now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let before = self.told.iter().find(|held| held["type"] == kind && held["status"] == status);
        let since = before.map_or_else(|| now.clone().into(), |held| held["lastTransitionTime"].clone());
        json!({ "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": since })
    }
}

/// Whether two sets of conditions say the same, whenever they say it.
pub fn same(one: &[Value], other: &[Value]) -> bool {
    let word = |all: &[Value]| -> Vec<(Value, Value)> {
        all.iter().map(|held| (held["type"].clone(), held["status"].clone())).collect()
    };
    word(one) == word(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: Room = Room { memory_available: 1 << 30, disk: (50, 100), inodes: (0, 0), pids: (30_000, 32_768) };

    fn holding(conditions: &[Value]) -> Vec<String> {
        let holds = conditions.iter().filter(|held| held["status"] == "True");
        holds.map(|held| held["type"].as_str().expect("a type").to_owned()).collect()
    }

    #[test]
    fn each_shortage_is_a_pressure() {
        let at = Timestamp::UNIX_EPOCH;
        for (room, wanted) in [
            (PLENTY, vec!["Ready"]),
            (Room { memory_available: 1, ..PLENTY }, vec!["MemoryPressure", "Ready"]),
            (Room { disk: (9, 100), ..PLENTY }, vec!["DiskPressure", "Ready"]),
            (Room { disk: (9 << 30, 100 << 30), ..PLENTY }, vec!["Ready"]),
            (Room { inodes: (4, 100), ..PLENTY }, vec!["DiskPressure", "Ready"]),
            (Room { pids: (100, 32_768), ..PLENTY }, vec!["PIDPressure", "Ready"]),
        ] {
            assert_eq!(holding(&Pressures::default().look(&room, at)), wanted, "{room:?}");
        }
    }

    #[test]
    fn pressure_outlasts_its_cause_and_times_are_of_changes() {
        let (mut known, start) = (Pressures::default(), Timestamp::UNIX_EPOCH);
        let at = |minutes: i64| start + SignedDuration::from_mins(minutes);
        let low = Room { memory_available: 1, ..PLENTY };
        let first = known.look(&PLENTY, at(0));
        assert!(same(&first, &known.look(&PLENTY, at(1))), "nothing to tell");
        let pressed = known.look(&low, at(2));
        assert!(!same(&first, &pressed));
        assert_eq!(holding(&known.look(&PLENTY, at(6))), ["MemoryPressure", "Ready"]);
        let over = known.look(&PLENTY, at(7));
        assert_eq!(holding(&over), ["Ready"]);
        assert_eq!(over[0]["lastTransitionTime"], "1970-01-01T00:07:00Z");
        assert_eq!(over[1]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert_eq!(over[1]["lastHeartbeatTime"], "1970-01-01T00:07:00Z");
    }
}
