//! PURE: one number for a state, equal on members that hold the same.

use std::collections::VecDeque;

use prost::Message;
use proto::mvccpb::Event;
use proto::mvccpb::event::EventType;

use crate::api::{Revision, StateHash};
use crate::engine::Family;
use crate::machine::codec;
use crate::machine::txn::first;
use crate::machine::view::{View, decode, newest};

/// A revision, and the checksum over every change up to it that apply carries along.
pub(crate) type Sum = (Revision, u32);

/// Revisions between two milestones.
const EVERY: Revision = 1000;
/// Milestones kept.
const MILESTONES_MAX: usize = 100;

/// The checksums at round revisions, the newest of them: members are rarely at the same one when they compare.
#[derive(Debug, Default)]
pub(crate) struct Milestones(VecDeque<Sum>);

impl Milestones {
    pub(crate) fn note(&mut self, (revision, hash): Sum) {
        if revision % EVERY == 0 {
            self.0.push_back((revision, hash));
            if self.0.len() > MILESTONES_MAX {
                self.0.pop_front();
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Sum> {
        self.0.iter().copied()
    }
}

/// The first revision that two members know and do not agree about.
pub(crate) fn disagreement(ours: &[Sum], theirs: &[Sum]) -> Option<Revision> {
    let differs = |(revision, hash): &&Sum| theirs.iter().any(|(other, sum)| other == revision && sum != hash);
    ours.iter().filter(differs).map(|(revision, _)| *revision).min()
}

impl View {
    /// etcd's HashKV at the revision shown: of every change after what is compacted, and of what is left of the changes
    /// before. How far this member has got with removing compacted history makes no difference.
    ///
    /// Source: etcd `server/storage/mvcc/hash.go`.
    pub(crate) fn hash(&self) -> StateHash {
        let (compacted, revision) = (self.header().compacted, self.revision());
        let mut hash = crc32c::crc32c(b"key");
        let (from, to) = (codec::history_key(0, 0), codec::history_key(revision + 1, 0));
        for (row, event) in self.snapshot().scan(Family::History, &from, Some(&to)) {
            let Some((main, position)) = codec::parse_history_key(&row) else { continue };
            let event: Event = decode(event);
            let deleted = event.r#type() == EventType::Delete;
            let Some(mut kv) = event.kv else { continue };
            let newest = || newest(self.snapshot(), &kv.key, revision) == Some((main, position));
            if main <= compacted && (deleted || !newest()) {
                continue;
            }
            if deleted {
                // etcd keeps the key alone.
                kv.mod_revision = 0;
            }
            hash = crc32c::crc32c_append(hash, &codec::revision_key(main, position, deleted));
            hash = crc32c::crc32c_append(hash, &kv.encode_to_vec());
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
    use std::sync::Arc;

    use bytes::Bytes;
    use proto::command::Command;
    use proto::command::command::Request;
    use proto::etcdserverpb as pb;

    use crate::engine::memory::Memory;
    use crate::machine::{Body, Entry, Machine};

    fn apply(machine: &Machine, request: Request) {
        let body = Body::Command(Command { epoch: 0, time_ms: 0, request: Some(request), ..Command::default() });
        machine.apply(&[Entry { applied: Bytes::new(), term: 1, body }]).expect("applied");
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
    fn members_that_applied_something_else_disagree_from_then_on() {
        let (one, two, other) = (machine(&[]), machine(&[]), machine(&[]));
        for round in 0..2500 {
            apply(&one, put("a", "1"));
            apply(&two, put("a", "1"));
            apply(&other, put("a", if round == 1500 { "2" } else { "1" }));
        }
        assert_eq!(super::disagreement(&one.sums(), &two.sums()), None);
        assert_eq!(one.sums().iter().map(|(revision, _)| *revision).collect::<Vec<_>>(), [1000, 2000, 2501]);
        assert_eq!(super::disagreement(&one.sums(), &other.sums()), Some(2000));
        // One that is behind is judged by what both have.
        let behind = &other.sums()[..1];
        assert_eq!(super::disagreement(&one.sums(), behind), None);
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
