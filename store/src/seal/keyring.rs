//! PURE: the data keys of a member, and how they lie on disk.
//!
//! ```text
//! "RAFTKEYS" | format u8 | stretch: log n, r, p u8, salt 16 (zeros: none) | operator key's name 8 | nonce 12
//! ciphertext: (id u64, key 32 bytes) each, the one that seals first | tag 16
//! ```
//!
//! The tag holds over everything before it, under the operator's key; nonces are random, which is safe for the few times
//! that a ring is written.

use std::sync::Arc;

use aws_lc_rs::aead::{Aad, Nonce};
use zeroize::Zeroizing;

use crate::seal::operator::{OperatorKey, Stretch};
use crate::seal::unit::{Secret, TAG};

const MAGIC: &[u8; 8] = b"RAFTKEYS";
const FORMAT: u8 = 1;
const NONCE: usize = 12;
/// Bytes before the nonce.
const HEADER: usize = 8 + 1 + 3 + 16 + 8;
const KEY: usize = 8 + 32;
/// Data keys at most.
const MOST: usize = 4096;

/// A data key.
pub(super) struct DataKey {
    /// Random: keys of all members have different ones.
    pub(super) id: u64,
    pub(super) secret: Secret,
}

/// Data keys; the first is this member's, and the one that runs are derived from.
#[derive(Clone)]
pub(crate) struct Keyring {
    keys: Vec<Arc<DataKey>>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| format_args!("{:016x}", key.id).to_string())).finish()
    }
}

/// Why a wrapped ring does not open.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unopened {
    /// It is none, or was cut or altered.
    Damaged,
    /// Of a later layout.
    Newer(u8),
    /// Under another key of the operator's.
    OtherKey,
}

impl Keyring {
    /// Of one key.
    pub(super) fn new(key: DataKey) -> Self {
        Keyring { keys: vec![Arc::new(key)] }
    }

    /// The key that seals.
    pub(super) fn first(&self) -> &Arc<DataKey> {
        &self.keys[0]
    }

    /// A key by its id.
    pub(super) fn find(&self, id: u64) -> Option<&Arc<DataKey>> {
        self.keys.iter().find(|key| key.id == id)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// With another key in front.
    pub(super) fn led_by(&self, key: DataKey) -> Self {
        Keyring { keys: [Arc::new(key)].into_iter().chain(self.keys.iter().cloned()).collect() }
    }

    /// Of the first key alone.
    pub(super) fn alone(&self) -> Self {
        Keyring { keys: vec![self.keys[0].clone()] }
    }

    /// With the keys of another ring behind; `None` where it has them all.
    ///
    /// # Errors
    /// When there would be too many.
    pub(super) fn with(&self, other: &Keyring) -> Result<Option<Self>, String> {
        let new = other.keys.iter().filter(|key| self.find(key.id).is_none()).cloned();
        let keys: Vec<_> = self.keys.iter().cloned().chain(new).collect();
        if keys.len() > MOST {
            return Err(format!("there would be {} data keys, {MOST} at most are held; rotate them", keys.len()));
        }
        Ok((keys.len() > self.keys.len()).then_some(Keyring { keys }))
    }

    /// The ring as it lies on disk. `nonce`: random.
    pub(super) fn wrap(&self, operator: &OperatorKey, nonce: [u8; NONCE]) -> Vec<u8> {
        let stretch = operator.stretch.unwrap_or(Stretch { log_n: 0, r: 0, p: 0, salt: [0; 16] });
        let mut out = MAGIC.to_vec();
        out.extend([FORMAT, stretch.log_n, stretch.r, stretch.p]);
        out.extend(stretch.salt);
        out.extend(operator.name());
        let mut body = Zeroizing::new(Vec::with_capacity(self.keys.len() * KEY));
        for key in &self.keys {
            body.extend_from_slice(&key.id.to_le_bytes());
            body.extend_from_slice(&key.secret[..]);
        }
        let whole = Nonce::assume_unique_for_key(nonce);
        let tag = operator.cipher().seal_in_place_separate_tag(whole, Aad::from(&out[..]), &mut body[..]);
        let tag = tag.expect("far shorter than a message may be");
        out.extend(nonce);
        out.extend_from_slice(&body);
        out.extend_from_slice(tag.as_ref());
        out
    }

    /// A ring that lies on disk, by the operator's key that it names.
    ///
    /// # Errors
    /// As `Unopened` says.
    pub(super) fn unwrap(bytes: &[u8], operators: &[OperatorKey]) -> Result<Self, Unopened> {
        let wrapped = Wrapped::parse(bytes)?;
        let operator = operators.iter().find(|key| key.stretch == wrapped.stretch && key.name() == wrapped.operator);
        let cipher = operator.ok_or(Unopened::OtherKey)?.cipher();
        let mut body = Zeroizing::new(wrapped.sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(wrapped.nonce);
        let plain = cipher.open_in_place(nonce, Aad::from(wrapped.header), &mut body[..]);
        let plain = plain.map_err(|_| Unopened::Damaged)?;
        let key = |bytes: &[u8]| {
            let (id, secret) = bytes.split_at(8);
            let mut key = DataKey { id: u64::from_le_bytes(id.try_into().expect("eight")), secret: Secret::default() };
            key.secret.copy_from_slice(secret);
            Arc::new(key)
        };
        Ok(Keyring { keys: plain.chunks_exact(KEY).map(key).collect() })
    }
}

/// What is said of a wrapped ring.
struct Wrapped<'a> {
    stretch: Option<Stretch>,
    operator: [u8; 8],
    header: &'a [u8],
    nonce: [u8; NONCE],
    sealed: &'a [u8],
}

impl Wrapped<'_> {
    fn parse(bytes: &[u8]) -> Result<Wrapped<'_>, Unopened> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(Unopened::Damaged)?;
        match rest.first() {
            Some(&FORMAT) => {}
            Some(newer) if *newer > FORMAT => return Err(Unopened::Newer(*newer)),
            _ => return Err(Unopened::Damaged),
        }
        let keys = bytes.len().checked_sub(HEADER + NONCE + TAG).ok_or(Unopened::Damaged)?;
        if keys == 0 || !keys.is_multiple_of(KEY) || keys / KEY > MOST {
            return Err(Unopened::Damaged);
        }
        let (header, rest) = bytes.split_at(HEADER);
        let (nonce, sealed) = rest.split_at(NONCE);
        let salt = header[12..28].try_into().expect("sixteen bytes");
        let stretch = Stretch { log_n: header[9], r: header[10], p: header[11], salt };
        let stretch = (stretch.log_n != 0).then_some(stretch);
        if stretch.is_some_and(|stretch| !stretch.bearable()) {
            return Err(Unopened::Damaged);
        }
        let (operator, nonce) = (header[28..].try_into().expect("eight"), nonce.try_into().expect("twelve"));
        Ok(Wrapped { stretch, operator, header, nonce, sealed })
    }
}

/// How the passphrase of a wrapped ring was stretched; `None` where a key wraps it.
///
/// # Errors
/// As `Unopened` says.
pub(super) fn stretch_of(bytes: &[u8]) -> Result<Option<Stretch>, Unopened> {
    Ok(Wrapped::parse(bytes)?.stretch)
}
