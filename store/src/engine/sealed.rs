//! An engine whose values are sealed before another one gets them. Keys stay as they are: they are its order.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::engine::{Batch, Broken, Engine, Family, Pairs, Snapshot};
use crate::seal::{Keyring, Sealer};

/// Rows that are looked at in a step of sealing anew, and their bytes, about.
const STEP_ROWS: usize = 512;
const STEP_BYTES: usize = 1 << 20;

/// See the module.
pub(crate) struct Sealed {
    inner: Arc<dyn Engine>,
    sealer: Arc<Sealer>,
    /// Held while values are sealed and written: what is sealed anew replaces nothing newer.
    writing: Mutex<()>,
}

impl Sealed {
    /// The engine itself where nothing is to be sealed.
    pub(crate) fn over(inner: Arc<dyn Engine>, sealer: Option<&Arc<Sealer>>) -> Arc<dyn Engine> {
        match sealer {
            None => inner,
            Some(sealer) => Arc::new(Sealed { inner, sealer: sealer.clone(), writing: Mutex::default() }),
        }
    }

    fn seal(&self, family: Family, key: &[u8], value: &[u8]) -> Result<Bytes, Broken> {
        let sealed = self.sealer.seal(&place(family, key), value);
        sealed.map(Bytes::from).map_err(|error| Broken(format!("a value cannot be encrypted: {error}")))
    }
}

/// What a value is bound to.
fn place(family: Family, key: &[u8]) -> Vec<u8> {
    [family.name().as_bytes(), &[0], key].concat()
}

/// What is altered or cannot be opened is lost data: nobody may go on with a part of it.
fn open(sealer: &Sealer, ring: &Keyring, family: Family, key: &[u8], unit: &[u8], out: &mut Vec<u8>) {
    if let Err(error) = sealer.open_into(ring, &place(family, key), unit, out) {
        panic!("the state machine's database failed: a value of {} cannot be decrypted: {error}", family.name());
    }
}

struct Opened {
    inner: Arc<dyn Snapshot>,
    sealer: Arc<Sealer>,
    /// Of that moment: it shows what was there, also once keys of then are forgotten.
    ring: Arc<Keyring>,
}

impl Opened {
    fn value(&self, family: Family, key: &[u8], unit: &[u8]) -> Bytes {
        let mut value = Vec::new();
        open(&self.sealer, &self.ring, family, key, unit, &mut value);
        value.into()
    }
}

impl Snapshot for Opened {
    fn get(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        self.inner.get(family, key).map(|unit| self.value(family, key, &unit))
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>) -> Pairs<'_> {
        let rows = self.inner.scan(family, from, to);
        Box::new(rows.map(move |(key, unit)| {
            let value = self.value(family, &key, &unit);
            (key, value)
        }))
    }

    fn visit(&self, family: Family, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let mut value = Vec::new();
        self.inner.visit(family, from, to, &mut |key, unit| {
            open(&self.sealer, &self.ring, family, key, unit, &mut value);
            each(key, &value)
        });
    }
}

impl Engine for Sealed {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        // The keys after: what was written has them.
        let inner = self.inner.snapshot();
        Arc::new(Opened { inner, sealer: self.sealer.clone(), ring: self.sealer.ring() })
    }

    fn write(&self, batch: Batch) -> Result<(), Broken> {
        let _writing = self.writing.lock();
        let seal = |(family, key, value): (Family, Bytes, Option<Bytes>)| {
            let value = value.map(|value| self.seal(family, &key, &value)).transpose()?;
            Ok((family, key, value))
        };
        let changes = batch.changes.into_iter().map(seal).collect::<Result<_, Broken>>()?;
        self.inner.write(Batch { changes })
    }

    fn flush(&self) -> Result<(), Broken> {
        self.inner.flush()
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), Broken> {
        self.inner.checkpoint(dir)
    }

    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn size_in_use(&self) -> u64 {
        self.inner.size_in_use()
    }

    fn size_between(&self, family: Family, from: &[u8], to: &[u8]) -> u64 {
        self.inner.size_between(family, from, to)
    }

    fn tidy(&self) {
        self.inner.tidy();
    }

    fn reseal(&self, family: Family, from: &[u8]) -> Result<Option<Bytes>, Broken> {
        let _writing = self.writing.lock();
        let (snapshot, current, ring) = (self.inner.snapshot(), self.sealer.current(), self.sealer.ring());
        let (mut batch, mut rows, mut bytes) = (Batch::default(), 0, 0);
        let (mut next, mut value, mut failure) = (None, Vec::new(), None);
        snapshot.visit(family, from, None, &mut |key, unit| {
            if rows == STEP_ROWS || bytes >= STEP_BYTES {
                next = Some(Bytes::copy_from_slice(key));
                return false;
            }
            (rows, bytes) = (rows + 1, bytes + unit.len());
            if Sealer::key_of(unit) != Ok(current) {
                open(&self.sealer, &ring, family, key, unit, &mut value);
                match self.seal(family, key, &value) {
                    Ok(sealed) => batch.put(family, Bytes::copy_from_slice(key), sealed),
                    Err(error) => failure = Some(error),
                }
            }
            failure.is_none()
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        if !batch.changes.is_empty() {
            self.inner.write(batch)?;
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::Memory;

    fn engine() -> (Arc<Memory>, Arc<Sealer>, Arc<dyn Engine>) {
        let (memory, sealer) = (Arc::new(Memory::default()), crate::seal::Sealer::of_tests());
        let sealed = Sealed::over(memory.clone(), Some(&sealer));
        (memory, sealer, sealed)
    }

    #[test]
    fn values_are_sealed_and_keys_are_not() {
        let (memory, _, sealed) = engine();
        let mut batch = Batch::default();
        batch.put(Family::Latest, "a", "plain words");
        batch.put(Family::Latest, "b", "");
        batch.put(Family::Lease, "c", "other words");
        sealed.write(batch).expect("written");
        let view = sealed.snapshot();
        assert_eq!(view.get(Family::Latest, b"a").as_deref(), Some(&b"plain words"[..]));
        let rows: Vec<_> = view.scan(Family::Latest, b"", None).collect();
        assert_eq!(rows, [("a".into(), Bytes::from("plain words")), ("b".into(), Bytes::new())]);
        let held = memory.snapshot().get(Family::Latest, b"a").expect("the key is the same");
        assert!(!held.windows(5).any(|part| part == b"words"));
    }

    #[test]
    #[should_panic(expected = "cannot be decrypted")]
    fn a_value_that_was_moved_to_another_key_is_refused() {
        let (memory, _, sealed) = engine();
        let mut batch = Batch::default();
        batch.put(Family::Latest, "a", "1");
        sealed.write(batch).expect("written");
        let mut moved = Batch::default();
        moved.put(Family::Latest, "b", memory.snapshot().get(Family::Latest, b"a").expect("there"));
        memory.write(moved).expect("written");
        sealed.snapshot().get(Family::Latest, b"b");
    }

    #[test]
    fn what_lies_under_an_old_key_is_sealed_anew_in_steps() {
        let (memory, sealer, sealed) = engine();
        let mut batch = Batch::default();
        for number in 0..1300_u32 {
            batch.put(Family::History, number.to_be_bytes().to_vec(), format!("value {number}"));
        }
        sealed.write(batch).expect("written");
        let (old, before) = (sealer.current(), sealed.snapshot());
        sealer.rotate_in_tests();
        let (mut from, mut steps) = (Bytes::new(), 1);
        while let Some(next) = sealed.reseal(Family::History, &from).expect("sealed anew") {
            (from, steps) = (next, steps + 1);
        }
        assert_eq!(steps, 3);
        for (_, unit) in memory.snapshot().scan(Family::History, b"", None) {
            assert_eq!(Sealer::key_of(&unit), Ok(sealer.current()));
        }
        assert_ne!(old, sealer.current());
        sealer.forget_in_tests();
        assert_eq!(before.get(Family::History, &[0; 4]).as_deref(), Some(&b"value 0"[..]), "who still looks at it");
        let view = sealed.snapshot();
        assert_eq!(view.get(Family::History, &1299_u32.to_be_bytes()).as_deref(), Some(&b"value 1299"[..]));
    }
}
