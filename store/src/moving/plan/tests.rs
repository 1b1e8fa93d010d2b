//! Whatever was compacted: the plan, carried out on an empty machine, leaves what was left of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proto::command::Command;
use proto::command::command::Request;
use proto::mvccpb::KeyValue;

use super::*;
use crate::engine::memory::Memory;
use crate::machine::record::{Place, Record};
use crate::machine::{Body, Entry, Machine};

/// What a transaction does: keys that are set, others that are deleted where they are there.
type Did = (Vec<u8>, Vec<u8>);

fn machine() -> Machine {
    Machine::over(Arc::new(Memory::default())).expect("a new machine")
}

fn apply(machine: &Machine, ops: Vec<pb::RequestOp>) {
    let request = Request::Txn(pb::TxnRequest { success: ops, ..pb::TxnRequest::default() });
    let body = Body::Command(Command { request: Some(request), ..Command::default() });
    machine.apply(&[Entry { applied: Bytes::new(), term: 1, body, asked: true }]).expect("applied");
}

fn key(number: u8) -> Bytes {
    Bytes::from(vec![b'a' + number])
}

fn changes(machine: &Machine) -> Vec<Change> {
    let records = machine.view().history(0).collect::<Vec<_>>();
    let change = |record: Record| {
        let Place { revision, position } = record.place();
        Change { revision, position, event: record.event() }
    };
    records.into_iter().map(change).collect()
}

fn history(did: &[Did]) -> Machine {
    let machine = machine();
    for (number, (puts, deletes)) in did.iter().enumerate() {
        let set: BTreeSet<u8> = puts.iter().copied().collect();
        let gone: BTreeSet<u8> = deletes.iter().copied().filter(|key| !set.contains(key)).collect();
        let value = Bytes::from(number.to_string());
        let puts = set.into_iter().map(|name| put(key(name), value.clone(), 0));
        apply(&machine, puts.chain(gone.into_iter().map(|name| delete(key(name), Bytes::new()))).collect());
    }
    machine
}

/// Carries the plan out on an empty machine.
fn replayed(kept: &Kept, all: &[Change], newest: Revision) -> (Machine, u64) {
    let (machine, mut plan) = (machine(), Plan::new(kept, 8));
    let mut revision = 2;
    while revision <= newest {
        let idle = if revision <= kept.compacted { plan.idle(revision) } else { 0 };
        for _ in 0..idle {
            let ops = vec![plan.fill()];
            apply(&machine, ops);
        }
        revision += idle;
        if revision > newest {
            break;
        }
        let rows: Vec<Change> =
            all.iter().filter(|change| change.revision == revision && kept.counts(change)).cloned().collect();
        let ops = if revision <= kept.compacted {
            plan.step(revision, rows)
        } else {
            rows.into_iter().map(operation).collect()
        };
        assert!(!ops.is_empty() && ops.len() <= 8 + all.len(), "revision {revision}");
        apply(&machine, ops);
        assert_eq!(machine.view().revision(), revision);
        revision += 1;
    }
    (machine, plan.unreached)
}

fn at(machine: &Machine, revision: Revision) -> BTreeMap<Bytes, KeyValue> {
    let view = machine.view_at(revision).expect("readable");
    view.range(&[0], &[0]).map(|kv| (kv.key.clone(), kv)).collect()
}

proptest! {
    #[test]
    fn what_can_be_read_is_the_same_at_every_revision(
        did in proptest::collection::vec(
            (proptest::collection::vec(0_u8..6, 0..4), proptest::collection::vec(0_u8..6, 0..4)), 1..60,
        ),
        share in 0_i64..100,
    ) {
        let source = history(&did);
        let newest = source.view().revision();
        let compacted = if newest > 1 { newest * share / 100 } else { 0 };
        let all = changes(&source);
        let kept = Kept::of(all.iter().cloned().map(Ok), compacted).expect("sound");
        let (copy, unreached) = replayed(&kept, &all, newest);
        prop_assert_eq!(unreached, 0);
        prop_assert_eq!(copy.view().revision(), newest);
        for revision in compacted.max(1)..=newest {
            prop_assert_eq!(at(&source, revision), at(&copy, revision), "revision {} of {}", revision, newest);
        }
        let after = |machine: &Machine| {
            changes(machine).into_iter().filter(|change| change.revision > compacted).collect::<Vec<_>>()
        };
        prop_assert_eq!(after(&source), after(&copy));
    }
}

#[test]
fn work_that_stands_for_what_is_gone_is_counted() {
    let mut did: Vec<Did> = (0..10).map(|_| (vec![0], vec![])).collect();
    did.push((vec![1], vec![]));
    let source = history(&did);
    let all = changes(&source);
    // Revisions 2 to 11 set one key ten times, of which the first and the last are known.
    let kept = Kept::of(all.into_iter().map(Ok), 12).expect("sound");
    assert_eq!(Plan::new(&kept, 128).fillers(), 8 + 8);
}
