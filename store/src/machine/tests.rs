//! The machine against a model that keeps every state it was ever in, on both engines.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use proto::command::command::Request;
use proto::command::outcome::Response;
use proto::command::refusal::Reason;
use proto::command::{Command, Outcome};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::mvccpb::KeyValue;

use super::{Body, Entry, Machine};
use crate::api::WatchSpec;
use crate::engine::Family;
use crate::engine::memory::Memory;
use crate::engine::sealed::Sealed;
use crate::seal::Sealer;

type State = BTreeMap<Bytes, KeyValue>;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8, u8),
    /// Puts when the key is at its newest version, else deletes it.
    Swap(u8, u8, bool),
    Compact(u8),
    /// What is compacted is kept from this part of the revisions on.
    Keep(u8),
    Scrub,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u8..6, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => (0_u8..6, 0_u8..6).prop_map(|(from, to)| Step::Delete(from, to)),
        2 => (0_u8..6, any::<u8>(), any::<bool>()).prop_map(|(key, value, right)| Step::Swap(key, value, right)),
        1 => any::<u8>().prop_map(Step::Compact),
        1 => any::<u8>().prop_map(Step::Keep),
        1 => Just(Step::Scrub),
    ];
    proptest::collection::vec(step, 1..60)
}

fn key(number: u8) -> Bytes {
    // Zero bytes and prefixes of each other are where an index goes wrong.
    Bytes::from([&b"a"[..], b"a\0", b"a\0\xff", b"a\0\x01", b"ab", b"b"][usize::from(number)].to_vec())
}

fn entry(index: u64, request: Request) -> Entry {
    let command = Command { epoch: 0, time_ms: 0, request: Some(request), ..Command::default() };
    Entry { applied: Bytes::from(index.to_be_bytes().to_vec()), term: 1, body: Body::Command(command), asked: true }
}

fn put(number: u8, value: u8) -> pb::PutRequest {
    pb::PutRequest { key: key(number), value: vec![value].into(), ..pb::PutRequest::default() }
}

fn request(step: &Step, states: &[State]) -> Option<Request> {
    Some(match step {
        Step::Put(number, value) => Request::Put(put(*number, *value)),
        Step::Delete(from, to) => {
            Request::DeleteRange(pb::DeleteRangeRequest { key: key(*from), range_end: key(*to), prev_kv: true })
        }
        Step::Swap(number, value, right) => {
            let newest = states.last()?.get(&key(*number)).map_or(0, |kv| kv.mod_revision);
            let op = |request| pb::RequestOp { request: Some(request) };
            Request::Txn(pb::TxnRequest {
                compare: vec![pb::Compare {
                    result: CompareResult::Equal.into(),
                    target: CompareTarget::Mod.into(),
                    key: key(*number),
                    range_end: Bytes::new(),
                    target_union: Some(TargetUnion::ModRevision(if *right { newest } else { newest + 1 })),
                }],
                success: vec![op(pb::request_op::Request::RequestPut(put(*number, *value)))],
                failure: vec![op(pb::request_op::Request::RequestDeleteRange(pb::DeleteRangeRequest {
                    key: key(*number),
                    ..pb::DeleteRangeRequest::default()
                }))],
            })
        }
        Step::Compact(part) => {
            let newest = states.len() as i64;
            Request::Compact(pb::CompactionRequest { revision: newest * i64::from(*part) / 255, physical: false })
        }
        Step::Keep(_) | Step::Scrub => return None,
    })
}

/// What the step does to the model: the next state if it writes, at revision `states.len() + 1`.
fn model(step: &Step, states: &[State]) -> Option<State> {
    let (mut state, revision) = (states.last()?.clone(), states.len() as i64 + 1);
    let put = |state: &mut State, number: u8, value: u8| {
        let old = state.get(&key(number)).cloned();
        let kv = KeyValue {
            key: key(number),
            create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.map_or(1, |old| old.version + 1),
            value: vec![value].into(),
            lease: 0,
        };
        state.insert(key(number), kv);
    };
    match step {
        Step::Put(number, value) | Step::Swap(number, value, true) => put(&mut state, *number, *value),
        Step::Swap(number, _, false) => {
            state.remove(&key(*number))?;
        }
        Step::Delete(from, to) => {
            let before = state.len();
            state.retain(|held, _| !(*held >= key(*from) && *held < key(*to)));
            if state.len() == before {
                return None;
            }
        }
        Step::Compact(_) | Step::Keep(_) | Step::Scrub => return None,
    }
    Some(state)
}

fn refused(outcome: &Outcome) -> bool {
    matches!(outcome.response, Some(Response::Refusal(_)))
}

fn check(machine: &Machine, states: &[State], compacted: i64) {
    let newest = states.len() as i64;
    assert_eq!(machine.view().revision(), newest);
    for revision in 1..=newest {
        let view = machine.view_at(revision);
        if revision < compacted {
            assert!(view.is_err(), "revision {revision} is compacted at {compacted}");
            continue;
        }
        let view = view.expect("not compacted");
        let shown: Vec<KeyValue> = view.range(b"\0", b"\0").collect();
        let state = &states[usize::try_from(revision).expect("positive") - 1];
        assert_eq!(shown, state.values().cloned().collect::<Vec<_>>(), "revision {revision}");
        for number in 0..6 {
            assert_eq!(view.get(&key(number)), state.get(&key(number)).cloned());
        }
    }
}

/// What is kept can be looked at as it was, also where it is compacted.
fn look_back(machine: &Machine, states: &[State]) {
    let (view, newest) = (machine.view(), states.len() as i64);
    let oldest = view.window().oldest;
    assert!(oldest <= view.header().compacted.max(1));
    let state = |revision: i64| &states[usize::try_from(revision).expect("positive") - 1];
    for revision in oldest..=newest {
        let alive = |key: &Bytes| view.then(key, revision).and_then(super::record::Record::alive);
        let shown: Vec<KeyValue> = view.keys(b"", None).filter_map(|key| alive(&key)).collect();
        assert_eq!(shown, state(revision).values().cloned().collect::<Vec<_>>(), "revision {revision}");
    }
    for key in (0..6).map(key) {
        let of = |revision: i64| state(revision).get(&key).map(|kv| kv.mod_revision);
        let changed: Vec<i64> =
            (oldest + 1..=newest).rev().filter(|revision| of(*revision) != of(revision - 1)).collect();
        let told: Vec<i64> = view.changes(&key, newest, 1000).iter().map(|record| record.kv.mod_revision).collect();
        let newer: Vec<i64> = told.iter().copied().filter(|revision| *revision > oldest).collect();
        assert_eq!(newer, changed, "{key:?}");
        assert!(told.windows(2).all(|pair| pair[0] > pair[1]));
        assert_eq!(view.changes(&key, newest, 2).len(), told.len().min(2));
        let older: Vec<i64> =
            view.changes(&key, newest - 1, 1000).iter().map(|record| record.kv.mod_revision).collect();
        assert!(older.iter().eq(told.iter().filter(|revision| **revision < newest)), "{older:?} {told:?}");
    }
}

fn walk(machine: &Machine, steps: &[Step], chunk: usize) {
    let mut states = vec![State::new()];
    let mut compacted = 0;
    let (mut index, mut waiting, mut expected) = (0, Vec::new(), Vec::new());
    for step in steps {
        if matches!(step, Step::Scrub) {
            machine.scrub(3).expect("the engine works");
            continue;
        }
        if let Step::Keep(part) = step {
            let from = states.len() as i64 * i64::from(*part) / 255;
            machine.inner.kept_from.store(from, std::sync::atomic::Ordering::Relaxed);
        }
        let Some(request) = request(step, &states) else { continue };
        index += 1;
        if let Request::Compact(request) = &request {
            expected.push(request.revision <= compacted);
            compacted = compacted.max(request.revision);
        } else {
            expected.push(false);
        }
        states.extend(model(step, &states));
        waiting.push(entry(index, request));
        if waiting.len() >= chunk {
            let outcomes = machine.apply(&std::mem::take(&mut waiting)).expect("the engine works");
            assert_eq!(outcomes.iter().map(refused).collect::<Vec<_>>(), std::mem::take(&mut expected));
        }
    }
    machine.apply(&waiting).expect("the engine works");
    check(machine, &states, compacted);
    look_back(machine, &states);
    while machine.scrub(3).expect("the engine works") {}
    check(machine, &states, compacted);
    look_back(machine, &states);
    watch_rebuilds(machine, &states, compacted);
}

/// Watching from any readable revision on gives exactly the differences, from the ring and from the history.
fn watch_rebuilds(machine: &Machine, states: &[State], compacted: i64) {
    let reopened = Machine::over(machine.inner.engine.read().clone()).expect("the format is known");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for machine in [machine, &reopened] {
        let start = compacted.max(1);
        let mut state = states[usize::try_from(start).expect("positive") - 1].clone();
        let spec = WatchSpec {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            start_revision: start + 1,
            prev_kv: true,
        };
        let mut watcher = machine.watch(&spec);
        while watcher.synced() < states.len() as i64 {
            let batch = runtime.block_on(watcher.next()).expect("not compacted");
            for event in &batch.events {
                let kv = event.kv.clone().expect("an event has a key");
                if event.r#type() == proto::mvccpb::event::EventType::Put {
                    let old = state.insert(kv.key.clone(), kv.clone());
                    let kept = old.filter(|old| old.mod_revision >= compacted.max(1));
                    assert!(kept.is_none() || event.prev_kv == kept);
                } else {
                    assert!(state.remove(&kv.key).is_some());
                }
            }
            assert_eq!(state, states[usize::try_from(batch.revision).expect("positive") - 1]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_readable_revision_is_as_it_was(steps in steps(), chunk in 1_usize..8) {
        walk(&Machine::over(Arc::new(Memory::default())).expect("a new machine"), &steps, chunk);
    }

    #[test]
    fn it_is_so_of_what_is_encrypted(steps in steps(), chunk in 1_usize..8) {
        let sealed = Sealed::over(Arc::new(Memory::default()), Some(&Sealer::of_tests()));
        walk(&Machine::over(sealed).expect("a new machine"), &steps, chunk);
    }
}

#[test]
fn rocksdb_holds_the_same_over_restarts() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(6));
    let walk_on_disk = |(steps, chunk): (Vec<Step>, usize)| {
        let dir = tempfile::tempdir().expect("a directory");
        walk(&Machine::open(dir.path(), None, 8 << 20).expect("a new machine"), &steps, chunk);
        Ok(())
    };
    runner.run(&(steps(), 1_usize..8), walk_on_disk).expect("the model agrees");
}

#[test]
fn a_crash_takes_data_and_position_back_together() {
    let engine = Arc::new(Memory::default());
    let machine = Machine::over(engine.clone()).expect("a new machine");
    machine.apply(&[entry(1, Request::Put(put(0, 1)))]).expect("applied");
    machine.flush().expect("flushed");
    machine.apply(&[entry(2, Request::Put(put(0, 2)))]).expect("applied");
    let after = Machine::over(Arc::new(engine.crash())).expect("the format is known");
    assert_eq!(after.position().applied.as_ref(), 1_u64.to_be_bytes());
    assert_eq!(after.view().get(&key(0)).expect("kept").value.as_ref(), [1]);
}

#[test]
fn compaction_leaves_what_can_be_seen_and_nothing_else() {
    let machine = Machine::over(Arc::new(Memory::default())).expect("a new machine");
    let compact = |revision| Request::Compact(pb::CompactionRequest { revision, physical: false });
    let mut index = 0;
    let mut apply = |request| {
        index += 1;
        machine.apply(&[entry(index, request)]).expect("applied");
    };
    for round in 0..20 {
        (0..3).for_each(|number| apply(Request::Put(put(number, round))));
        apply(Request::DeleteRange(pb::DeleteRangeRequest { key: key(2), ..pb::DeleteRangeRequest::default() }));
    }
    let rows = |machine: &Machine, family| machine.view().snapshot().scan(family, &[], None).count();
    let all = |machine: &Machine| [Family::Latest, Family::History, Family::Index].map(|family| rows(machine, family));
    assert_eq!(all(&machine), [3, 80, 20], "every fourth of a key is in the index");
    apply(compact(81));
    while machine.scrub(3).expect("the engine works") {}
    assert_eq!(all(&machine), [3, 3, 3], "the deletion that was the last change can still be watched");
    apply(Request::Put(put(0, 21)));
    apply(compact(82));
    while machine.scrub(3).expect("the engine works") {}
    assert_eq!(all(&machine), [2, 2, 1]);
}

#[test]
fn a_deposed_leader_is_refused_in_apply() {
    let machine = Machine::over(Arc::new(Memory::default())).expect("a new machine");
    let fenced = |epoch| {
        let command = Command { epoch, time_ms: 0, request: Some(Request::Put(put(0, 1))), ..Command::default() };
        Entry { applied: Bytes::new(), term: 3, body: Body::Command(command), asked: true }
    };
    let outcomes = machine.apply(&[fenced(2), fenced(3), fenced(4)]).expect("applied");
    assert_eq!(outcomes.iter().map(refused).collect::<Vec<_>>(), [true, false, true]);
    let Some(Response::Refusal(refusal)) = &outcomes[0].response else { panic!("refused") };
    assert_eq!(refusal.reason(), Reason::StaleEpoch);
    assert_eq!(machine.view().revision(), 2);
}

#[test]
fn a_lease_takes_its_keys_along() {
    let machine = Machine::over(Arc::new(Memory::default())).expect("a new machine");
    let grant = pb::LeaseGrantRequest { id: 7, ttl: 5 };
    let leased = |number| Request::Put(pb::PutRequest { lease: 7, ..put(number, 1) });
    let outcomes = machine
        .apply(&[
            entry(1, leased(0)),
            entry(2, Request::LeaseGrant(grant)),
            entry(3, Request::LeaseGrant(grant)),
            entry(4, leased(0)),
            entry(5, leased(1)),
            entry(6, Request::Put(put(1, 2))),
        ])
        .expect("applied");
    assert_eq!(outcomes.iter().map(refused).collect::<Vec<_>>(), [true, false, true, false, false, false]);
    assert_eq!(machine.lease(7), Some((5, vec![key(0)])), "a put without the lease detaches the key");
    let reopened = Machine::over(machine.inner.engine.read().clone()).expect("the format is known");
    assert_eq!(reopened.lease(7), machine.lease(7));
    machine.apply(&[entry(7, Request::LeaseRevoke(pb::LeaseRevokeRequest { id: 7 }))]).expect("applied");
    assert_eq!((machine.view().get(&key(0)), machine.lease(7)), (None, None));
    assert!(machine.view().get(&key(1)).is_some());
}

#[test]
fn a_checkpoint_replaces_the_whole_state() {
    let (one, two) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let source = Machine::open(one.path(), None, 8 << 20).expect("a new machine");
    source.apply(&[entry(1, Request::Put(put(0, 1))), entry(2, Request::Put(put(1, 1)))]).expect("applied");
    let target = Machine::open(two.path(), None, 8 << 20).expect("a new machine");
    target.apply(&[entry(1, Request::Put(put(5, 9)))]).expect("applied");
    let old = target.view();
    let position = source.checkpoint(&one.path().join("copy")).expect("copied");
    assert_eq!(position, source.position());
    target.install(&one.path().join("copy")).expect("installed");
    assert_eq!(target.position(), source.position());
    assert!(old.get(&key(5)).is_some(), "a view from before still reads");
    drop((target, old));
    let reopened = Machine::open(two.path(), None, 8 << 20).expect("the new generation");
    assert_eq!((reopened.view().revision(), reopened.view().get(&key(5))), (3, None));
}
