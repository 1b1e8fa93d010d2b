//! PURE: what the answer of a request may take of memory. Every member finds the same: it depends on the state alone.

use std::cell::Cell;

use proto::command::Refusal;
use proto::command::refusal::Reason;
use proto::mvccpb::KeyValue;

use crate::machine::pending::refusal;

/// What a row takes besides its key and value, bytes, about.
const ROW_BYTES: usize = 128;

/// What becomes of the rows that are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Somebody waits for them.
    Answer,
    /// Nobody on this member does: only the verdict counts.
    Verdict,
    /// The request is only looked at, before it is made.
    Measure,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Room {
    most: usize,
    left: Cell<usize>,
    purpose: Purpose,
}

impl Default for Room {
    /// Without a bound.
    fn default() -> Self {
        Room::new(usize::MAX, Purpose::Answer)
    }
}

impl Room {
    fn new(most: usize, purpose: Purpose) -> Self {
        Room { most, left: Cell::new(most), purpose }
    }

    /// For so many bytes, 0: any; whether somebody waits for the answer here.
    pub(crate) fn of(bytes: u64, asked: bool) -> Self {
        let most = usize::try_from(bytes).ok().filter(|most| *most > 0).unwrap_or(usize::MAX);
        Room::new(most, if asked { Purpose::Answer } else { Purpose::Verdict })
    }

    /// To find out how much an answer would take, up to so many bytes.
    pub(crate) fn measure(most: usize) -> Self {
        Room::new(most, Purpose::Measure)
    }

    /// For one more row.
    ///
    /// # Errors
    /// When there is no more.
    pub(crate) fn take(&self, kv: &KeyValue) -> Result<(), Refusal> {
        let left = self.left.get().checked_sub(ROW_BYTES + kv.key.len() + kv.value.len());
        self.left.set(left.ok_or_else(|| self.refusal())?);
        Ok(())
    }

    /// Bytes taken.
    pub(crate) fn taken(&self) -> usize {
        self.most - self.left.get()
    }

    /// Whether rows are kept.
    pub(crate) fn keeps(&self) -> bool {
        self.purpose == Purpose::Answer
    }

    /// Whether leases are known: they are not looked at before.
    pub(crate) fn knows_leases(&self) -> bool {
        self.purpose != Purpose::Measure
    }

    fn refusal(&self) -> Refusal {
        let text = format!(
            "etcdserver: the answer would take more than {} KiB: nothing was done; read less at once, by limits or by ranges \
             of their own",
            self.most >> 10
        );
        refusal(Reason::AnswerTooLarge, text)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proto::command::command::Request;
    use proto::command::outcome::Response;
    use proto::command::{Command, Outcome};
    use proto::etcdserverpb as pb;
    use proto::etcdserverpb::request_op::Request as Op;

    use super::*;
    use crate::engine::memory::Memory;
    use crate::machine::{Body, Entry, Machine};

    const VALUE: usize = 1000;
    const ROW: usize = ROW_BYTES + 2 + VALUE;

    fn put(key: &'static str) -> pb::PutRequest {
        pb::PutRequest { key: key.into(), value: vec![1; VALUE].into(), ..pb::PutRequest::default() }
    }

    fn all() -> pb::RangeRequest {
        pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..pb::RangeRequest::default() }
    }

    fn txn(ops: Vec<Op>) -> pb::TxnRequest {
        let success = ops.into_iter().map(|op| pb::RequestOp { request: Some(op) }).collect();
        pb::TxnRequest { success, ..pb::TxnRequest::default() }
    }

    /// With three keys.
    fn machine() -> Machine {
        let machine = Machine::over(Arc::new(Memory::default())).expect("a new machine");
        for key in ["k1", "k2", "k3"] {
            apply(&machine, Request::Put(put(key)), 0, true);
        }
        machine
    }

    fn apply(machine: &Machine, request: Request, answer_bytes_max: usize, asked: bool) -> Outcome {
        let answer_bytes_max = answer_bytes_max as u64;
        let body = Body::Command(Command { request: Some(request), answer_bytes_max, ..Command::default() });
        let entry = Entry { applied: Bytes::new(), term: 1, body, asked };
        machine.apply(&[entry]).expect("applied").pop().expect("an outcome")
    }

    fn refused(outcome: &Outcome) -> bool {
        matches!(&outcome.response, Some(Response::Refusal(refusal)) if refusal.reason() == Reason::AnswerTooLarge)
    }

    #[test]
    fn what_would_answer_too_much_is_refused_by_all_members_alike_and_nothing_happens() {
        let twice = || vec![Op::RequestRange(all()), Op::RequestRange(all())];
        let delete = pb::DeleteRangeRequest { key: "k".into(), range_end: "l".into(), prev_kv: true };
        let put_first = |rest: Vec<Op>| [vec![Op::RequestPut(put("k4"))], rest].concat();
        let sorted = pb::RangeRequest { sort_target: 2, sort_order: 2, limit: 1, ..all() };
        let limited = pb::RangeRequest { limit: 2, ..all() };
        let again = pb::PutRequest { prev_kv: true, ..put("k1") };
        let cases = [
            ("ranges", put_first(twice()), 8 * ROW),
            ("all of them nested", vec![Op::RequestPut(put("k4")), Op::RequestTxn(txn(twice()))], 8 * ROW),
            ("some of them nested", put_first(vec![Op::RequestTxn(txn(twice())), Op::RequestRange(all())]), 12 * ROW),
            ("a deletion that tells", vec![Op::RequestDeleteRange(delete)], 3 * ROW),
            ("what is sorted lies in memory first", put_first(vec![Op::RequestRange(sorted)]), 4 * ROW),
            ("two and one to see that there are more", put_first(vec![Op::RequestRange(limited)]), 3 * ROW),
            ("what was there before", vec![Op::RequestPut(again)], ROW),
        ];
        for (what, ops, needs) in cases {
            for asked in [true, false] {
                let machine = machine();
                let before = (machine.view().revision(), machine.sums().pop());
                let request = || Request::Txn(txn(ops.clone()));
                assert_eq!(machine.measure(&txn(ops.clone()), usize::MAX).expect("measured"), needs, "{what}");
                assert!(refused(&apply(&machine, request(), needs - 1, asked)), "{what}");
                assert_eq!((machine.view().revision(), machine.sums().pop()), before, "{what}: nothing happened");
                let made = apply(&machine, request(), needs, asked);
                assert!(matches!(made.response, Some(Response::Txn(_))), "{what}: {made:?}");
                assert_eq!(machine.view().revision(), before.0 + 1, "{what}");
            }
        }
    }

    #[test]
    fn who_is_not_asked_keeps_no_rows_and_has_the_same_state() {
        let ops = || vec![Op::RequestPut(put("k4")), Op::RequestRange(all())];
        let (asked, told) = (machine(), machine());
        let rows = |outcome: Outcome| match outcome.response {
            Some(Response::Txn(answer)) => match &answer.responses[1].response {
                Some(pb::response_op::Response::ResponseRange(range)) => range.kvs.len(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!(rows(apply(&asked, Request::Txn(txn(ops())), 0, true)), 4);
        assert_eq!(rows(apply(&told, Request::Txn(txn(ops())), 0, false)), 0);
        assert_eq!(asked.sums(), told.sums());
    }

    #[test]
    fn reading_stops_where_there_is_no_more_room_and_a_count_needs_none() {
        let machine = machine();
        let read = |range| txn(vec![Op::RequestRange(range)]);
        assert!(machine.read(&read(all()), 3 * ROW as u64).is_ok());
        assert!(machine.read(&read(all()), 3 * ROW as u64 - 1).is_err());
        assert!(machine.read(&read(pb::RangeRequest { count_only: true, ..all() }), 1).is_ok());
        assert_eq!(machine.measure(&read(pb::RangeRequest { revision: 2, ..all() }), usize::MAX).expect("there"), ROW);
        // A lease is not looked at before: it may be granted by then.
        let leased = txn(vec![Op::RequestPut(pb::PutRequest { lease: 7, ..put("k5") }), Op::RequestRange(all())]);
        assert_eq!(machine.measure(&leased, usize::MAX).expect("measured"), 4 * ROW);
    }
}
