//! What seals and opens, for everybody in the process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand;
use parking_lot::RwLock;

use crate::seal::keyring::Keyring;
use crate::seal::unit::{Cipher, Origin, Refused, Unit};

/// Units of a run at most, about: threads that seal while it ends may add one each.
const UNITS_MAX: u64 = 1 << 32;
/// Bytes of a run at most, about.
const BYTES_MAX: u64 = 64 << 30;
/// Keys of earlier runs that are held ready.
const READY_MAX: usize = 1024;

/// The system gives no randomness.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the system gives no random numbers")]
pub(crate) struct NoRandom;

/// What a process seals with, until it has sealed enough.
struct Run {
    cipher: Arc<Cipher>,
    units: AtomicU64,
    bytes: AtomicU64,
}

/// See the module. Clones of its `Arc` see the same keys.
pub(crate) struct Sealer {
    ring: RwLock<Arc<Keyring>>,
    run: RwLock<Arc<Run>>,
    /// Ciphers of runs that were opened, by where they come from.
    ready: RwLock<HashMap<Origin, Arc<Cipher>>>,
}

/// Random bytes.
///
/// # Errors
/// When the system has none.
pub(super) fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

fn begin(ring: &Keyring) -> Result<Arc<Run>, NoRandom> {
    let key = ring.first();
    let origin = Origin { key: key.id, run: random()? };
    let cipher = Arc::new(Cipher::derive(&key.secret, origin));
    Ok(Arc::new(Run { cipher, units: AtomicU64::new(0), bytes: AtomicU64::new(0) }))
}

impl Sealer {
    /// Begins a run of the ring's first key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(super) fn new(ring: Keyring) -> Result<Self, NoRandom> {
        let run = RwLock::new(begin(&ring)?);
        Ok(Sealer { ring: RwLock::new(Arc::new(ring)), run, ready: RwLock::default() })
    }

    /// The data keys.
    pub(crate) fn ring(&self) -> Arc<Keyring> {
        self.ring.read().clone()
    }

    /// Takes other data keys, and begins a run where the first one is another. They must be on disk.
    ///
    /// # Errors
    /// When the system gives no randomness; the old ones hold then.
    pub(super) fn take(&self, ring: Keyring) -> Result<(), NoRandom> {
        let mut held = self.ring.write();
        if held.first().id != ring.first().id {
            *self.run.write() = begin(&ring)?;
        }
        self.ready.write().retain(|origin, _| ring.find(origin.key).is_some());
        *held = Arc::new(ring);
        Ok(())
    }

    /// The id of the data key that seals now.
    pub(crate) fn current(&self) -> u64 {
        self.run.read().cipher.origin.key
    }

    /// The unit of what is plain, bound to its place.
    ///
    /// # Errors
    /// When a new run is due and the system gives no randomness.
    pub(crate) fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, NoRandom> {
        loop {
            let run = self.run.read().clone();
            let number = run.units.fetch_add(1, Ordering::Relaxed);
            let bytes = run.bytes.fetch_add(plain.len() as u64, Ordering::Relaxed);
            if number < UNITS_MAX && bytes < BYTES_MAX {
                return Ok(run.cipher.seal(number, place, plain));
            }
            let ring = self.ring.read();
            let mut held = self.run.write();
            // Another thread may have been faster.
            if Arc::ptr_eq(&held, &run) {
                *held = begin(&ring)?;
            }
        }
    }

    /// What is in a unit.
    ///
    /// # Errors
    /// As `Refused` says.
    pub(crate) fn open(&self, place: &[u8], unit: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut out = Vec::new();
        self.open_into(&self.ring(), place, unit, &mut out)?;
        Ok(out)
    }

    /// What is in a unit, into a buffer, by the keys that were held when it was there.
    ///
    /// # Errors
    /// As `Refused` says.
    pub(crate) fn open_into(
        &self,
        ring: &Keyring,
        place: &[u8],
        unit: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        let unit = Unit::parse(unit)?;
        self.cipher(ring, unit.origin)?.open(&unit, place, out)
    }

    /// The id of the data key that a unit is sealed under.
    ///
    /// # Errors
    /// When it is no unit.
    pub(crate) fn key_of(unit: &[u8]) -> Result<u64, Refused> {
        Ok(Unit::parse(unit)?.origin.key)
    }

    fn cipher(&self, ring: &Keyring, origin: Origin) -> Result<Arc<Cipher>, Refused> {
        let now = self.run.read().cipher.clone();
        if now.origin == origin {
            return Ok(now);
        }
        if let Some(cipher) = self.ready.read().get(&origin) {
            return Ok(cipher.clone());
        }
        let key = ring.find(origin.key).ok_or(Refused::Unknown(origin.key))?;
        let cipher = Arc::new(Cipher::derive(&key.secret, origin));
        let mut ready = self.ready.write();
        if ready.len() >= READY_MAX {
            ready.clear();
        }
        ready.insert(origin, cipher.clone());
        Ok(cipher)
    }
}
