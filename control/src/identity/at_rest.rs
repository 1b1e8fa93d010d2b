//! Encryption of values at rest: AES-256-GCM under a cluster key, bound to the object's key in the store.
//!
//! An envelope is `PREFIX key-id ':' nonce(12) ciphertext tag(16)`. Nonces are random, which bounds one key to 2^32
//! values (NIST SP 800-38D, 8.3).

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::ZeroizeOnDrop;

/// What every envelope starts with; no JSON text does.
const PREFIX: &[u8] = b"raftsman:aes256gcm:v1:";

/// One data key of the cluster.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Key {
    /// Names the key in envelopes: ASCII letters and digits.
    #[zeroize(skip)]
    pub id: String,
    /// The key itself.
    pub bytes: [u8; 32],
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// Why a value could not be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It was sealed under a key that this server does not hold.
    #[error("the value is encrypted with key \"{0}\", which this server does not hold; restore its key file")]
    UnknownKey(String),
    /// It was altered, or moved from another object.
    #[error("the encrypted value was altered or belongs to another object; restore it from a backup")]
    Altered,
    /// The ring holds no key to seal with, or the cipher refused.
    #[error("the value cannot be encrypted: no usable key")]
    NoKey,
}

/// The cluster's keys: the first seals, every one opens.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    keys: Vec<Key>,
}

impl Ring {
    /// The first key seals; the others are older ones that still open.
    pub fn new(keys: Vec<Key>) -> Ring {
        Ring { keys }
    }

    /// The envelope of a value stored under `object_key`.
    ///
    /// # Errors
    /// `NoKey`.
    pub fn seal(&self, object_key: &[u8], value: &[u8]) -> Result<Vec<u8>, Error> {
        let key = self.keys.first().ok_or(Error::NoKey)?;
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &key.bytes).map_err(|_| Error::NoKey)?;
        let mut sealed = value.to_vec();
        let nonce = cipher.seal_in_place_append_tag(Aad::from(object_key), &mut sealed).map_err(|_| Error::NoKey)?;
        Ok([PREFIX, key.id.as_bytes(), b":", nonce.as_ref(), &sealed].concat())
    }

    /// The value inside an envelope; a value that is no envelope comes back as it is (written before encryption).
    ///
    /// # Errors
    /// `UnknownKey`, `Altered`.
    pub fn open(&self, object_key: &[u8], stored: &[u8]) -> Result<Vec<u8>, Error> {
        let Some(rest) = stored.strip_prefix(PREFIX) else { return Ok(stored.to_vec()) };
        let colon = rest.iter().position(|byte| *byte == b':').ok_or(Error::Altered)?;
        let id = std::str::from_utf8(&rest[..colon]).map_err(|_| Error::Altered)?;
        let key = self.keys.iter().find(|key| key.id == id).ok_or_else(|| Error::UnknownKey(id.to_owned()))?;
        let (nonce, sealed) = rest[colon + 1..].split_at_checked(NONCE_LEN).ok_or(Error::Altered)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::Altered)?;
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &key.bytes).map_err(|_| Error::NoKey)?;
        let mut value = sealed.to_vec();
        let length = cipher.open_in_place(nonce, Aad::from(object_key), &mut value).map_err(|_| Error::Altered)?.len();
        value.truncate(length);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, byte: u8) -> Key {
        Key { id: id.into(), bytes: [byte; 32] }
    }

    #[test]
    fn opens_what_it_sealed_also_after_a_rotation() {
        let sealed = Ring::new(vec![key("a", 1)]).seal(b"/registry/secrets/d/s", b"hunter2").unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        let rotated = Ring::new(vec![key("b", 2), key("a", 1)]);
        assert_eq!(rotated.open(b"/registry/secrets/d/s", &sealed).unwrap(), b"hunter2");
    }

    #[test]
    fn refuses_a_moved_an_altered_and_a_cut_envelope_and_a_missing_key() {
        let ring = Ring::new(vec![key("a", 1)]);
        let sealed = ring.seal(b"k", b"v").unwrap();
        assert_eq!(ring.open(b"other", &sealed), Err(Error::Altered));
        for at in PREFIX.len() + 2..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(ring.open(b"k", &bad), Err(Error::Altered));
            assert_eq!(ring.open(b"k", &sealed[..at]), Err(Error::Altered));
        }
        assert_eq!(Ring::new(vec![key("z", 1)]).open(b"k", &sealed), Err(Error::UnknownKey("a".into())));
    }

    #[test]
    fn leaves_plain_values_alone() {
        assert_eq!(Ring::default().open(b"k", b"{}").unwrap(), b"{}");
    }
}
