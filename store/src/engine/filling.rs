//! Filling an engine from elsewhere, in batches that are neither many nor large.

use std::sync::Arc;

use crate::engine::{Batch, Broken, Engine};

/// Bytes written together, about.
const TOGETHER_BYTES: usize = 1 << 20;

/// See the module. What was put in is durable once `end` has returned.
pub(crate) struct Filling {
    engine: Arc<dyn Engine>,
    /// What is written next.
    pub(crate) batch: Batch,
    /// Changes of the batch that are counted, and their bytes.
    counted: usize,
    bytes: usize,
}

impl Filling {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        Filling { engine, batch: Batch::default(), counted: 0, bytes: 0 }
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// Writes the batch once it is large enough; whether it did.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn write_if_large(&mut self) -> Result<bool, Broken> {
        let new = self.batch.changes[self.counted..].iter();
        self.bytes +=
            new.map(|(_, key, value)| key.len() + value.as_ref().map_or(0, |value| value.len())).sum::<usize>();
        self.counted = self.batch.changes.len();
        let large = self.bytes >= TOGETHER_BYTES;
        if large {
            (self.counted, self.bytes) = (0, 0);
            self.engine.write(std::mem::take(&mut self.batch))?;
        }
        Ok(large)
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn end(self) -> Result<(), Broken> {
        self.engine.write(self.batch)?;
        self.engine.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Family;
    use crate::engine::memory::Memory;

    #[test]
    fn what_is_large_is_written_at_once_and_the_rest_in_the_end() {
        let engine: Arc<dyn Engine> = Arc::new(Memory::default());
        let mut filling = Filling::new(engine.clone());
        let written = (0..40_u8).map(|number| {
            filling.batch.put(Family::Meta, vec![number], vec![0; 100 << 10]);
            filling.write_if_large().expect("written")
        });
        assert_eq!(written.filter(|written| *written).count(), 3, "4 MB in pieces of eleven values");
        assert!(filling.batch.changes.len() < 11, "no more than that is held");
        filling.end().expect("written");
        assert_eq!(engine.snapshot().scan(Family::Meta, b"", None).count(), 40);
    }
}
