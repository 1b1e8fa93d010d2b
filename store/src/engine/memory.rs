//! The engine of simulations and tests: ordered maps that a crash takes back to the last flush.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::engine::{Batch, Broken, Engine, Family, Pairs, Snapshot};

type Map = BTreeMap<(Family, Bytes), Bytes>;

/// A map behind a snapshot: writers copy it when somebody still looks at it.
#[derive(Default)]
pub(crate) struct Memory {
    now: Mutex<Arc<Map>>,
    flushed: Mutex<Arc<Map>>,
}

impl Memory {
    /// What a crash leaves.
    pub(crate) fn crash(&self) -> Memory {
        let flushed = self.flushed.lock().clone();
        Memory { now: Mutex::new(flushed.clone()), flushed: Mutex::new(flushed) }
    }
}

struct Frozen(Arc<Map>);

impl Snapshot for Frozen {
    fn get(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        self.0.get(&(family, Bytes::copy_from_slice(key))).cloned()
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>) -> Pairs<'_> {
        let to = to.map(Bytes::copy_from_slice);
        let rows = self.0.range((family, Bytes::copy_from_slice(from))..);
        Box::new(
            rows.take_while(move |((row, key), _)| *row == family && to.as_ref().is_none_or(|to| key < to))
                .map(|((_, key), value)| (key.clone(), value.clone())),
        )
    }

    fn visit(&self, family: Family, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let _ = self.scan(family, from, to).all(|(key, value)| each(&key, &value));
    }
}

impl Engine for Memory {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(Frozen(self.now.lock().clone()))
    }

    fn write(&self, batch: Batch) -> Result<(), Broken> {
        let mut now = self.now.lock();
        let map = Arc::make_mut(&mut *now);
        for (family, key, value) in batch.changes {
            match value {
                Some(value) => map.insert((family, key), value),
                None => map.remove(&(family, key)),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), Broken> {
        let now = self.now.lock().clone();
        *self.flushed.lock() = now;
        Ok(())
    }

    fn checkpoint(&self, _dir: &Path) -> Result<(), Broken> {
        Err(Broken("a state machine in memory has no files to copy".to_owned()))
    }

    fn size(&self) -> u64 {
        self.now.lock().iter().map(|((_, key), value)| (key.len() + value.len()) as u64).sum()
    }

    fn size_in_use(&self) -> u64 {
        self.size()
    }

    fn size_between(&self, family: Family, from: &[u8], to: &[u8]) -> u64 {
        self.snapshot().scan(family, from, Some(to)).map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn tidy(&self) {}
}
