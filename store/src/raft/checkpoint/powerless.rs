//! Snapshots on a simulated disk whose power goes with any of the operations that take or install one.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use prost::Message;
use proto::command::{Command, command::Request};
use proto::{etcdserverpb as pb, peer};

use super::Checkpoints;
use crate::edge::drive::Drive;
use crate::edge::{self, Port, Wire, World};
use crate::engine::rocks;
use crate::machine::{Body, Entry, Machine};
use crate::raft::apply::parse_position;

/// A world of one disk.
struct OneDisk(Drive);

impl World for OneDisk {
    fn connect(&self, _authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn listen(&self, _authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Port>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn since_epoch(&self) -> Duration {
        Duration::ZERO
    }

    fn drive(&self, _dir: &Path) -> Drive {
        self.0.clone()
    }
}

/// Applies entries, each of which is a key.
fn apply(machine: &Machine, indexes: std::ops::RangeInclusive<u64>) {
    for index in indexes {
        let applied = peer::LogId { term: 1, index };
        let put =
            pb::PutRequest { key: format!("{index:03}").into(), value: vec![7; 600].into(), ..Default::default() };
        let command = Command { request: Some(Request::Put(put)), ..Command::default() };
        let applied = Bytes::from(applied.encode_to_vec());
        let entry = Entry { applied, term: 1, body: Body::Command(command), asked: false };
        machine.apply(&[entry]).expect("applied");
    }
}

fn opened() -> (Machine, Checkpoints) {
    let machine = Machine::open(Path::new("m/state"), None, rocks::SMALL).expect("a state");
    let checkpoints = Checkpoints::open(PathBuf::from("m/snapshots"), None).expect("snapshots");
    (machine, checkpoints)
}

/// A member with 8 entries, and a snapshot of 5 of them, does something while the power goes after so many operations.
/// Answers what its state and its snapshot hold afterwards, and whether it came to its end.
fn life(seed: u64, operations: u32, installs: bool) -> (u64, u64, bool) {
    let drive = Drive::new(seed);
    edge::enter(Arc::new(OneDisk(drive.clone())));
    let (machine, checkpoints) = opened();
    apply(&machine, 1..=5);
    checkpoints.take(&machine).expect("taken");
    apply(&machine, 6..=8);
    let other = Machine::open(Path::new("other/state"), None, rocks::SMALL).expect("another's state");
    apply(&other, 1..=20);
    other.checkpoint(&checkpoints.incoming()).expect("copied");
    drive.off_after(operations);
    let acts = || -> io::Result<()> {
        if installs {
            machine.install(&checkpoints.received()?).map_err(io::Error::other)?;
        }
        checkpoints.take(&machine).map(drop)
    };
    let done = acts().is_ok();
    drive.off();
    drop((machine, checkpoints, other));
    drive.on();
    drive.lose_power();
    let (machine, checkpoints) = opened();
    checkpoints.reach(&machine, Some(8)).expect("reached");
    let applied = parse_position(&machine.position()).expect("its own words").0.map_or(0, |id| id.index);
    assert_eq!(machine.view().alive().count() as u64, applied, "keys and the place in the log are of one moment");
    let snapshot = checkpoints.current().expect("there was one");
    (applied, snapshot.meta.last_log_id.map_or(0, |id| id.index), done)
}

/// Every moment at which the power can go, until there is none left.
fn lives(seed: u64, installs: bool, found: &mut BTreeSet<(u64, u64)>) -> u32 {
    for operations in 0.. {
        let (applied, snapshot, done) = life(seed, operations, installs);
        found.insert((applied, snapshot));
        let (old, new) = (applied <= 8 && snapshot == 5, if installs { (20, 20) } else { (8, 8) });
        // What was flushed with a copy stays, whatever becomes of the copy.
        assert!(
            old || (applied, snapshot) == new,
            "{seed}, {operations}: {applied} applied, {snapshot} in the snapshot"
        );
        if done {
            assert_eq!((applied, snapshot), new, "{seed}, {operations}: it had come to its end");
            return operations;
        }
    }
    unreachable!("it ends")
}

#[test]
fn a_loss_of_power_leaves_the_old_state_or_the_new_one() {
    // A thread of its own: what runs on it is in the simulated world from then on.
    let all = std::thread::Builder::new().spawn(|| {
        for installs in [false, true] {
            let (mut found, mut moments) = (BTreeSet::new(), 0);
            for seed in 0..12 {
                moments += lives(seed, installs, &mut found);
            }
            assert!(moments > 200 && found.len() > 1, "{moments} moments: {found:?}");
        }
    });
    all.expect("a thread").join().expect("each of them held");
}
