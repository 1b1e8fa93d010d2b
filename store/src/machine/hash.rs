//! PURE: one number for a state, equal on members that hold the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::api::{MemberId, Revision, StateHash};
use crate::machine::txn::first;
use crate::machine::view::View;

/// A revision, and the checksum over every change up to it that apply carries along.
pub(crate) type Sum = (Revision, u32);

/// Revisions between two milestones.
const EVERY: Revision = 1000;
/// Milestones kept.
const MILESTONES_MAX: usize = 100;
/// Newest revisions that are all kept.
const RECENT_MAX: usize = 256;

/// The checksums at the newest revisions, and at round ones before: members are rarely at the same one when they compare.
#[derive(Debug, Default)]
pub(crate) struct Milestones {
    round: VecDeque<Sum>,
    recent: VecDeque<Sum>,
}

impl Milestones {
    pub(crate) fn note(&mut self, sum: Sum) {
        self.recent.push_back(sum);
        if self.recent.len() <= RECENT_MAX {
            return;
        }
        let old = self.recent.pop_front().filter(|(revision, _)| revision % EVERY == 0);
        self.round.extend(old);
        if self.round.len() > MILESTONES_MAX {
            self.round.pop_front();
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Sum> {
        self.round.iter().chain(&self.recent).copied()
    }
}

/// What comparing says of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As most voters have it, at a revision.
    Agrees,
    /// Most voters have something else since this revision, at the latest.
    Differs(Revision),
    /// Members have different things, and no majority has the same.
    Disputed(Revision),
}

/// Compares what members say of the revisions that they know. Those about whom nothing can be said have no verdict.
pub(crate) fn judge(said: &BTreeMap<MemberId, Vec<Sum>>, voters: &BTreeSet<MemberId>) -> BTreeMap<MemberId, Verdict> {
    let mut by_revision: BTreeMap<Revision, BTreeMap<u32, Vec<MemberId>>> = BTreeMap::new();
    for (member, sums) in said {
        for (revision, hash) in sums {
            by_revision.entry(*revision).or_default().entry(*hash).or_default().push(*member);
        }
    }
    let most = |members: &[MemberId]| members.iter().filter(|id| voters.contains(id)).count() > voters.len() / 2;
    let mut verdicts = BTreeMap::new();
    for (revision, hashes) in by_revision {
        let right = hashes.values().find(|members| most(members));
        for member in hashes.values().flatten() {
            let verdict = match right {
                Some(right) if right.contains(member) => Verdict::Agrees,
                Some(_) => Verdict::Differs(revision),
                None if hashes.len() > 1 => Verdict::Disputed(revision),
                None => continue,
            };
            let held = verdicts.entry(*member).or_insert(verdict);
            // What was once found stays: equal sums later on would be an accident.
            match (&held, verdict) {
                (Verdict::Agrees, _) | (Verdict::Disputed(_), Verdict::Differs(_)) => *held = verdict,
                _ => {}
            }
        }
    }
    verdicts
}

impl View {
    /// etcd's HashKV at the revision shown: of every change after what is compacted, and of what is left of the changes
    /// before. How far this member has got with removing compacted history makes no difference.
    ///
    /// Source: etcd `server/storage/mvcc/hash.go`.
    pub(crate) fn hash(&self) -> StateHash {
        let (compacted, revision) = (self.header().compacted, self.revision());
        let mut hash = crc32c::crc32c(b"key");
        for record in self.history(0).take_while(|record| record.kv.mod_revision <= revision) {
            let main = record.kv.mod_revision;
            // Of what is compacted, that counts which can be seen at the revision shown.
            let superseded = record.next.is_some_and(|next| next <= revision);
            if main <= compacted && (record.deleted || superseded) {
                continue;
            }
            let (key, value) = record.etcds_row();
            hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, &key), &value);
        }
        StateHash { hash, revision, compacted: first(compacted) }
    }
}

/// Of a revision before all others there is nothing but the name of what is hashed.
pub(crate) fn of_nothing(revision: Revision, compacted: Revision) -> StateHash {
    StateHash { hash: crc32c::crc32c(b"key"), revision, compacted: first(compacted) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use bytes::Bytes;
    use prost::Message;
    use proto::command::Command;
    use proto::command::command::Request;
    use proto::etcdserverpb as pb;
    use proto::mvccpb::KeyValue;

    use super::{Sum, Verdict, judge};
    use crate::engine::memory::Memory;
    use crate::machine::codec;
    use crate::machine::{Body, Entry, Machine};

    fn apply(machine: &Machine, request: Request) {
        let body = Body::Command(Command { epoch: 0, time_ms: 0, request: Some(request), ..Command::default() });
        machine.apply(&[Entry { applied: Bytes::new(), term: 1, body, asked: true }]).expect("applied");
    }

    fn put(key: &'static str, value: &'static str) -> Request {
        Request::Put(pb::PutRequest { key: key.into(), value: value.into(), ..pb::PutRequest::default() })
    }

    fn delete(key: &'static str) -> Request {
        Request::DeleteRange(pb::DeleteRangeRequest { key: key.into(), ..pb::DeleteRangeRequest::default() })
    }

    fn machine(requests: &[Request]) -> Machine {
        let machine = Machine::over(Arc::new(Memory::default())).expect("a new machine");
        requests.iter().for_each(|request| apply(&machine, request.clone()));
        machine
    }

    #[test]
    fn a_state_has_one_number_wherever_it_is() {
        let past = [put("a", "1"), put("b", "1"), put("a", "2"), delete("b"), put("c", "1")];
        let (one, two, other) = (machine(&past), machine(&past), machine(&[&past[..4], &[put("c", "2")]].concat()));
        assert_eq!(one.view().hash(), two.view().hash());
        assert_ne!(one.view().hash(), other.view().hash());
        let then = one.view().hash();
        apply(&one, put("d", "1"));
        assert_ne!(one.view().hash(), then);
        assert_eq!(one.view_at(then.revision).expect("readable").hash(), then, "the past stays what it was");
    }

    #[test]
    fn of_what_is_compacted_that_counts_which_is_still_seen() {
        let machine = machine(&[put("a", "1"), put("b", "1"), put("a", "2")]);
        apply(&machine, Request::Compact(pb::CompactionRequest { revision: 3, physical: false }));
        let rows = [("b", "1", 3, 1, 3), ("a", "2", 2, 2, 4)];
        let by_hand = rows.into_iter().fold(crc32c::crc32c(b"key"), |hash, (key, value, create, version, revision)| {
            let kv = KeyValue {
                key: key.into(),
                value: value.into(),
                create_revision: create,
                mod_revision: revision,
                version,
                lease: 0,
            };
            let hash = crc32c::crc32c_append(hash, &codec::revision_key(revision, 0, false));
            crc32c::crc32c_append(hash, &kv.encode_to_vec())
        });
        assert_eq!(machine.view().hash().hash, by_hand, "etcd leaves the first value of a out");
        assert_ne!(machine.view_at(3).expect("readable").hash().hash, by_hand);
    }

    #[test]
    fn the_newest_sums_are_all_known_and_round_ones_before() {
        let machine = machine(&[]);
        (0..2500).for_each(|_| apply(&machine, put("a", "1")));
        let known: Vec<_> = machine.sums().iter().map(|(revision, _)| *revision).collect();
        assert_eq!(known[..3], [1000, 2000, 2246]);
        assert_eq!(known[2..], (2246..=2501).collect::<Vec<_>>());
    }

    /// Members 1 to 3 vote.
    fn judged(said: &[(u64, &[Sum])]) -> Vec<(u64, Verdict)> {
        let said = said.iter().map(|(id, sums)| (*id, sums.to_vec())).collect();
        judge(&said, &BTreeSet::from([1, 2, 3])).into_iter().collect()
    }

    #[test]
    fn most_voters_are_right_about_the_others() {
        use Verdict::{Agrees, Differs, Disputed};
        let (good, bad): (&[Sum], &[Sum]) = (&[(5, 50), (6, 60), (7, 70)], &[(5, 50), (6, 61), (7, 71)]);
        assert_eq!(judged(&[(1, good), (2, good), (3, good)]), [(1, Agrees), (2, Agrees), (3, Agrees)]);
        assert_eq!(judged(&[(1, good), (2, bad), (3, good)]), [(1, Agrees), (2, Differs(6)), (3, Agrees)]);
        assert_eq!(judged(&[(1, bad), (2, good), (3, good)]), [(1, Differs(6)), (2, Agrees), (3, Agrees)]);
        // One that is behind is judged by what it knows, one that is silent not at all.
        assert_eq!(judged(&[(1, good), (2, &bad[..1]), (3, good)]), [(1, Agrees), (2, Agrees), (3, Agrees)]);
        assert_eq!(judged(&[(1, good), (2, good)]), [(1, Agrees), (2, Agrees)]);
        assert_eq!(judged(&[(1, good)]), []);
        // A learner is judged, and judges nobody.
        assert_eq!(judged(&[(1, good), (3, good), (4, bad)]), [(1, Agrees), (3, Agrees), (4, Differs(6))]);
        assert_eq!(judged(&[(1, good), (4, bad)])[0], (1, Disputed(6)));
        // Two of three that differ, or all: nobody knows better.
        assert_eq!(judged(&[(1, &good[1..]), (2, &bad[1..])]), [(1, Disputed(6)), (2, Disputed(6))]);
        let third: &[Sum] = &[(6, 62)];
        let all = judged(&[(1, &good[1..]), (2, &bad[1..]), (3, third)]);
        assert!(all.iter().all(|(_, verdict)| *verdict == Disputed(6)), "{all:?}");
        // A third that comes back decides.
        assert_eq!(judged(&[(1, good), (2, bad), (3, &good[1..])])[1], (2, Differs(6)));
    }

    #[test]
    fn how_much_compacted_history_is_left_makes_no_difference() {
        let past = [put("a", "1"), put("b", "1"), put("a", "2"), delete("b"), put("c", "1")];
        let (one, two) = (machine(&past), machine(&past));
        let whole = one.view().hash();
        for machine in [&one, &two] {
            apply(machine, Request::Compact(pb::CompactionRequest { revision: 5, physical: false }));
        }
        while two.scrub(1).expect("scrubbed") {}
        assert_eq!(one.view().hash(), two.view().hash());
        assert_ne!(one.view().hash().compacted, whole.compacted, "it is said that the two cannot be compared");
    }
}
