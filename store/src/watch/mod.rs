//! Watches: one shared ring of the newest events, and a cursor per watcher that falls back on the stored history.
//!
//! Nobody is ever waited for: a watcher that falls behind the ring reads the history, and one that falls behind the
//! compacted revision is told so.

mod ring;

pub(crate) use ring::Ring;

use std::sync::Arc;

use bytes::Bytes;
use proto::mvccpb::Event;
use tokio::sync::watch;

use crate::api::{Occurrence, Revision, WatchBatch, WatchError, WatchSpec};
use crate::machine::codec;
use crate::machine::record::Record;
use crate::machine::view::{View, at};

/// Events looked at per step, about; bounds what a batch holds.
const STEP: usize = 1024;
/// Bytes of earlier values that are looked up for one step, about: whole revisions are never cut.
const EARLIER_BYTES: usize = 512 << 10;

/// Where watchers that fell behind read on.
pub(crate) trait Past: Send + Sync {
    /// The replica now.
    fn view(&self) -> View;
}

/// One watcher: a cursor into the shared history.
pub struct Watcher {
    ring: Arc<Ring>,
    past: Arc<dyn Past>,
    revisions: watch::Receiver<Revision>,
    topic: Option<ring::Topic>,
    bounds: (Bytes, Option<Bytes>),
    prev_kv: bool,
    /// The next revision to look at.
    next: Revision,
}

impl Watcher {
    pub(crate) fn new(ring: Arc<Ring>, past: Arc<dyn Past>, spec: &WatchSpec) -> Self {
        let revisions = ring.revisions();
        let now = *revisions.borrow();
        let next = if spec.start_revision > 0 { spec.start_revision } else { now + 1 };
        let bounds = codec::bounds(&spec.key, &spec.range_end);
        Watcher { ring, past, revisions, topic: None, bounds, prev_kv: spec.prev_kv, next }
    }

    /// The same, woken only by events near its range: `synced` stands still between them, `progress` goes on.
    #[must_use]
    pub fn sparse(mut self) -> Self {
        self.topic = ring::topic_of(&self.bounds.0, self.bounds.1.as_deref());
        if let Some(topic) = self.topic {
            self.revisions = self.ring.topic(topic);
        }
        self
    }

    /// The newest revision, if everything up to it has been delivered; none while something waits or is to come first.
    pub fn progress(&mut self) -> Option<Revision> {
        let newest = *self.ring.revisions().borrow();
        if self.next <= newest {
            let (events, last) = self.ring.events(self.next, STEP, self.topic, |key| self.wants(key))?;
            if !events.is_empty() || last < newest {
                return None;
            }
            self.next = last + 1;
        }
        // A watch from a revision that is to come has reached none.
        (self.next - 1 <= *self.ring.revisions().borrow()).then_some(self.next - 1)
    }

    /// The next events; cancel safe. Never returns an empty batch.
    ///
    /// # Errors
    /// When the cursor fell below the compacted revision, or the store stopped.
    pub async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        loop {
            let newest = *self.revisions.borrow_and_update();
            while self.next <= newest {
                let batch = self.step()?;
                self.next = batch.revision + 1;
                if !batch.events.is_empty() {
                    return Ok(batch);
                }
            }
            self.revisions.changed().await.map_err(|_| WatchError::Stopped)?;
        }
    }

    /// Goes back: what was delivered from a revision on is delivered again.
    pub(crate) fn back_to(&mut self, revision: Revision) {
        self.next = self.next.min(revision);
    }

    /// Leaves out what comes before a revision.
    pub(crate) fn skip_to(&mut self, revision: Revision) {
        self.next = self.next.max(revision);
    }

    /// What is compacted now.
    pub(crate) fn compacted(&self) -> Revision {
        self.ring.compacted()
    }

    /// The revision up to which everything has been delivered.
    pub fn synced(&self) -> Revision {
        self.next - 1
    }

    fn step(&self) -> Result<WatchBatch, WatchError> {
        if let Some((events, revision)) = self.ring.events(self.next, STEP, self.topic, |key| self.wants(key)) {
            return Ok(WatchBatch { revision, events });
        }
        let view = self.past.view();
        if self.next < view.header().compacted {
            return Err(WatchError::Compacted { compact_revision: view.header().compacted });
        }
        let (records, revision) = view.records(self.next, STEP);
        let wanted = records.into_iter().filter(|record| self.wants(&record.kv.key));
        let (mut events, mut earlier, mut last) = (Vec::new(), 0, 0);
        for record in wanted {
            let at = record.kv.mod_revision;
            if earlier >= EARLIER_BYTES && at != last {
                return Ok(WatchBatch { revision: last, events });
            }
            let event = self.complete(&view, record);
            earlier += event.prev_kv.as_ref().map_or(0, |kv| kv.value.len());
            last = at;
            events.push(Arc::new(Occurrence::new(event)));
        }
        Ok(WatchBatch { revision, events })
    }

    fn complete(&self, view: &View, record: Record) -> Event {
        let previous = record.previous.filter(|_| self.prev_kv).and_then(|place| at(view.snapshot(), place));
        Event { prev_kv: previous.and_then(Record::alive), ..record.event() }
    }

    fn wants(&self, key: &Bytes) -> bool {
        codec::within(&self.bounds, key)
    }
}
