//! PURE: looking back beyond what compaction lets clients read, as far as it is kept (`scrub`).

use std::collections::VecDeque;

use bytes::Bytes;
use proto::command::Refusal;
use proto::command::refusal::Reason;

use crate::api::Revision;
use crate::engine::Family;
use crate::machine::codec::{self, FORGOTTEN_KEY};
use crate::machine::moments;
use crate::machine::pending::refusal;
use crate::machine::record::Record;
use crate::machine::scrub::mark;
use crate::machine::view::{View, at, latest, upto};

/// What can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// The first revision.
    pub(crate) oldest: Revision,
    /// When it was the newest, seconds since 1970, about; none as long as nothing was written.
    pub(crate) begin: Option<i64>,
}

impl View {
    /// What can be looked at now.
    pub(crate) fn window(&self) -> Window {
        let oldest = mark(self.snapshot(), FORGOTTEN_KEY).max(1);
        Window { oldest, begin: moments::begin(self.snapshot()) }
    }

    /// A revision, if it can be looked at.
    ///
    /// # Errors
    /// In words that say what can be.
    pub(crate) fn kept(&self, revision: Revision) -> Result<Revision, Refusal> {
        let oldest = self.window().oldest;
        if revision > self.header().revision {
            let text = format!("revision {revision} is still to come: the newest is {}", self.header().revision);
            return Err(refusal(Reason::FutureRevision, text));
        }
        if revision < oldest {
            let text = format!("revision {revision} is not kept any more: the oldest that is kept is {oldest}");
            return Err(refusal(Reason::Compacted, text));
        }
        Ok(revision)
    }

    /// The newest revision at the end of a second.
    ///
    /// # Errors
    /// When what was then is not kept.
    pub(crate) fn revision_at(&self, second: i64) -> Result<Revision, Refusal> {
        let Window { oldest, begin } = self.window();
        if let Some(begin) = begin.filter(|begin| second < *begin && oldest > 1) {
            let (asked, oldest) = (moments::shown(second), moments::shown(begin));
            let text = format!("what was at {asked} is not kept any more: the oldest that is kept is of {oldest}");
            return Err(refusal(Reason::Compacted, text));
        }
        self.kept(moments::revision_at(self.snapshot(), second).unwrap_or(self.header().revision))
    }

    /// The second in which a revision was written, since 1970, where that is known.
    pub(crate) fn second_of(&self, revision: Revision) -> Option<i64> {
        moments::second_of(self.snapshot(), revision, self.header().time_ms.div_euclid(1000))
    }

    /// What had last happened to a key at a revision that is kept.
    pub(crate) fn then(&self, key: &[u8], revision: Revision) -> Option<Record> {
        let snapshot = self.snapshot();
        let by_newest = latest(snapshot, key).and_then(|newest| upto(snapshot, newest, revision));
        by_newest.or_else(|| {
            // It was deleted since, and may have come again: each of its lives ends with a deletion of its own.
            let (from, to) = (codec::index_key(key, revision + 1), codec::index_key(key, Revision::MAX));
            let (_, row) = snapshot.scan(Family::Gone, &from, Some(&to)).next()?;
            upto(snapshot, Record::decode(row), revision)
        })
    }

    /// What happened to a key up to a revision, the newest first, `limit` of it at most.
    pub(crate) fn changes(&self, key: &[u8], revision: Revision, limit: usize) -> Vec<Record> {
        let (snapshot, oldest) = (self.snapshot(), self.window().oldest);
        // The newest ends of its lives.
        let mut ends = VecDeque::new();
        let (from, to) = (codec::index_key(key, 0), codec::index_key(key, revision + 1));
        for (_, row) in snapshot.scan(Family::Gone, &from, Some(&to)) {
            if ends.len() == limit {
                ends.pop_front();
            }
            ends.push_back(row);
        }
        let (mut found, mut before) = (Vec::new(), None);
        let mut next = self.then(key, revision);
        while found.len() < limit {
            let earlier = |end: &Record| before.is_none_or(|before| end.place() < before);
            let end = || std::iter::from_fn(|| ends.pop_back()).map(Record::decode).find(earlier);
            let Some(record) = next.or_else(end) else { break };
            before = Some(record.place());
            next = record.previous.and_then(|place| at(snapshot, place));
            found.push(record);
        }
        // Of what is older, some may be there still: what came between is not.
        let known = found.iter().take_while(|record| record.kv.mod_revision >= oldest).count();
        found.truncate(known + 1);
        found
    }

    /// Every key in `from..to` that a revision which is kept may have, in order.
    pub(crate) fn keys(&self, from: &[u8], to: Option<&[u8]>) -> impl Iterator<Item = Bytes> {
        let there = self.snapshot().scan(Family::Latest, from, to).map(|(key, _)| key);
        let bounds = (codec::index_key(from, 0), to.map(|to| codec::index_key(to, 0)));
        let buried = self.snapshot().scan(Family::Gone, &bounds.0, bounds.1.as_deref());
        let buried = buried.filter_map(|(row, _)| codec::parse_index_key(&row).map(|(key, _)| key));
        let (mut there, mut buried) = (there.peekable(), buried.peekable());
        let mut last: Option<Bytes> = None;
        std::iter::from_fn(move || {
            loop {
                let key = match (there.peek(), buried.peek()) {
                    (Some(one), Some(other)) if other < one => buried.next(),
                    (Some(_), _) => there.next(),
                    (None, _) => buried.next(),
                }?;
                if last.as_ref() != Some(&key) {
                    last = Some(key.clone());
                    return Some(key);
                }
            }
        })
    }
}
