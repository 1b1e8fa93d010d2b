//! The two engines side by side: the same operations, the same answers, the same after a crash.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::memory::Memory;
use super::rocks::{Rocks, SMALL};
use super::{Batch, Engine, Family, Snapshot};

#[derive(Clone, Debug)]
enum Step {
    /// Sets keys, or ends them.
    Write(Vec<(usize, u8, Option<u8>)>),
    Look,
    Flush,
    Crash,
    Copy,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0..Family::ALL.len(), 0..12_u8, proptest::option::of(any::<u8>()));
    let step = prop_oneof![
        8 => proptest::collection::vec(change, 1..6).prop_map(Step::Write),
        3 => Just(Step::Look),
        2 => Just(Step::Flush),
        1 => Just(Step::Crash),
        1 => Just(Step::Copy),
    ];
    proptest::collection::vec(step, 1..40)
}

fn key(key: u8) -> Bytes {
    Bytes::from(vec![b'k', key / 4, key])
}

fn batch(changes: &[(usize, u8, Option<u8>)]) -> Batch {
    let change = |(family, name, value): &(usize, u8, Option<u8>)| {
        (Family::ALL[*family], key(*name), value.map(|value| Bytes::from(vec![value; 3])))
    };
    Batch { changes: changes.iter().map(change).collect() }
}

fn alike(one: &dyn Snapshot, other: &dyn Snapshot) {
    for family in Family::ALL {
        for (from, to) in [(key(0), None), (key(3), Some(key(9))), (key(9), Some(key(3)))] {
            let rows: Vec<_> = one.scan(family, &from, to.as_deref()).collect();
            assert_eq!(rows, other.scan(family, &from, to.as_deref()).collect::<Vec<_>>());
            for snapshot in [one, other] {
                let mut seen = Vec::new();
                snapshot.visit(family, &from, to.as_deref(), &mut |key, value| {
                    seen.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
                    seen.len() < 3
                });
                assert_eq!(seen, rows.iter().take(3).cloned().collect::<Vec<_>>());
            }
        }
        (0..12).for_each(|name| assert_eq!(one.get(family, &key(name)), other.get(family, &key(name))));
    }
}

fn names(of: &Path) -> BTreeSet<OsString> {
    fs::read_dir(of).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// What lies there at one moment: compactions go on meanwhile, which make files before they remove others.
fn copy(from: &Path, to: &Path) {
    loop {
        fs::create_dir(to).unwrap();
        let before = names(from);
        let copied = before.iter().all(|name| fs::copy(from.join(name), to.join(name)).is_ok());
        if copied && names(from) == before {
            return;
        }
        fs::remove_dir_all(to).unwrap();
    }
}

/// RocksDB on such a copy. Files that are written while they are copied make one that no crash leaves: then it is made again.
fn crashed(from: &Path, to: &Path) -> Rocks {
    for _ in 0..20 {
        copy(from, to);
        match Rocks::open(to, None, SMALL) {
            Ok(rocks) => return rocks,
            Err(_) => fs::remove_dir_all(to).unwrap(),
        }
    }
    panic!("no copy of {} can be opened", from.display());
}

fn walk(steps: &[Step]) {
    let home = tempfile::tempdir().unwrap();
    let place = |name: String| home.path().join(name);
    let (mut real, mut simulated) = (place("real-0".into()), place("simulated-0".into()));
    fs::create_dir(&simulated).unwrap();
    let mut engines: [Arc<dyn Engine>; 2] =
        [Arc::new(Rocks::open(&real, None, SMALL).unwrap()), Arc::new(Memory::open(&simulated, None).unwrap())];
    let mut held = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Write(changes) => engines.iter().for_each(|engine| engine.write(batch(changes)).unwrap()),
            Step::Look => held.push((engines[0].snapshot(), engines[1].snapshot())),
            Step::Flush => engines.iter().for_each(|engine| engine.flush().unwrap()),
            Step::Crash => {
                // What lies there now is what a process that ends now leaves.
                let next = (place(format!("real-{}", number + 1)), place(format!("simulated-{}", number + 1)));
                let rocks = crashed(&real, &next.0);
                copy(&simulated, &next.1);
                (real, simulated) = next;
                engines = [Arc::new(rocks), Arc::new(Memory::open(&simulated, None).unwrap())];
            }
            Step::Copy => {
                let copies = (place(format!("real-copy-{number}")), place(format!("simulated-copy-{number}")));
                engines[0].checkpoint(&copies.0).unwrap();
                engines[1].checkpoint(&copies.1).unwrap();
                let (one, other) = (Rocks::open(&copies.0, None, SMALL), Memory::open(&copies.1, None));
                alike(&*one.unwrap().snapshot(), &*other.unwrap().snapshot());
            }
        }
        alike(&*engines[0].snapshot(), &*engines[1].snapshot());
    }
    held.iter().for_each(|(one, other)| alike(&**one, &**other));
}

#[test]
fn the_simulated_engine_does_what_rocksdb_does() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(24));
    runner
        .run(&steps(), |steps| {
            walk(&steps);
            Ok(())
        })
        .expect("both agree");
}
