//! PURE: the bytes of a sealed unit.
//!
//! ```text
//! version u8 = 1 | data key u64 | run, 12 bytes | number u64 | ciphertext | tag, 16 bytes       all little-endian
//! ```
//!
//! `number` counts the units of a run; four zero bytes and it are the nonce.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use zeroize::Zeroizing;

/// The layout that is written, and the newest that is read.
const VERSION: u8 = 1;
/// Bytes of a tag.
pub(super) const TAG: usize = 16;
/// Bytes before the ciphertext.
const HEADER: usize = 1 + 8 + 12 + 8;
/// Bytes that a unit has more than what is in it.
pub(crate) const OVERHEAD: usize = HEADER + TAG;

/// A secret of 256 bits.
pub(super) type Secret = Zeroizing<[u8; 32]>;

/// Why a unit does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Not of a version that this program knows.
    #[error("it is not encrypted, or by a newer version of this program")]
    Foreign,
    /// The ring does not hold the key.
    #[error("it is encrypted under the data key {0:016x}, which the file `keys` of this data directory does not hold")]
    Unknown(u64),
    /// Its tag does not hold.
    #[error("it was altered, or lies where something else was written")]
    Altered,
}

/// What a unit's key is derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    /// The data key's id.
    pub(super) key: u64,
    /// Drawn when a process begins to seal.
    pub(super) run: [u8; 12],
}

struct Bits256;

impl KeyType for Bits256 {
    fn len(&self) -> usize {
        32
    }
}

/// The key of one run.
pub(super) struct Cipher {
    pub(super) origin: Origin,
    key: LessSafeKey,
}

/// A cipher of a key. AES-256 takes any 32 bytes.
pub(super) fn aes(secret: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret).expect("a key of 256 bits"))
}

impl Cipher {
    pub(super) fn derive(secret: &[u8; 32], origin: Origin) -> Cipher {
        let mut derived = Secret::default();
        let root = Prk::new_less_safe(HKDF_SHA256, secret);
        let info = [&b"raftsman run v1"[..], &origin.run];
        root.expand(&info, Bits256).and_then(|key| key.fill(&mut derived[..])).expect("256 bits are one block");
        Cipher { origin, key: aes(&derived) }
    }

    /// The unit of what is plain. `number` must be this run's alone; `place` is what the unit is bound to.
    pub(super) fn seal(&self, number: u64, place: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(OVERHEAD + plain.len());
        out.push(VERSION);
        out.extend_from_slice(&self.origin.key.to_le_bytes());
        out.extend_from_slice(&self.origin.run);
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(plain);
        let sealed = self.key.seal_in_place_separate_tag(nonce(number), Aad::from(place), &mut out[HEADER..]);
        out.extend_from_slice(sealed.expect("far shorter than a message may be").as_ref());
        out
    }

    /// What is in a unit, into a buffer.
    ///
    /// # Errors
    /// `Altered`.
    pub(super) fn open(&self, unit: &Unit<'_>, place: &[u8], out: &mut Vec<u8>) -> Result<(), Refused> {
        out.clear();
        out.resize(unit.body.len(), 0);
        let opened =
            self.key.open_separate_gather(nonce(unit.number), Aad::from(place), unit.body, unit.tag, &mut out[..]);
        opened.map_err(|_| Refused::Altered)
    }
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// A unit's parts.
pub(super) struct Unit<'a> {
    pub(super) origin: Origin,
    number: u64,
    body: &'a [u8],
    tag: &'a [u8],
}

impl Unit<'_> {
    /// Tells the parts of a unit apart.
    ///
    /// # Errors
    /// `Foreign`, and `Altered` where it is too short.
    pub(super) fn parse(bytes: &[u8]) -> Result<Unit<'_>, Refused> {
        if bytes.first() != Some(&VERSION) {
            return Err(Refused::Foreign);
        }
        if bytes.len() < OVERHEAD {
            return Err(Refused::Altered);
        }
        let (header, rest) = bytes.split_at(HEADER);
        let (body, tag) = rest.split_at(rest.len() - TAG);
        let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let origin = Origin { key: word(1), run: header[9..21].try_into().expect("twelve bytes") };
        Ok(Unit { origin, number: word(21), body, tag })
    }
}
