//! Encryption at rest: AES-256-GCM over the records of the log and the values of the tables.
//!
//! The operator's key, from a file, wraps a ring of data keys; the wrapped ring is the file `keys` of the data directory.
//! A data key seals nothing itself: each start of the process draws 96 random bits, a *run*, and derives (HKDF-SHA-256)
//! the key of that run from the data key. A run's nonces are a counter, so no nonce comes twice under one key, also when a
//! directory was copied, or put back as it was: the next start derives another key. A run ends after 2^32 units or 64 GiB,
//! far below what AES-GCM bears with nonces that never repeat (NIST SP 800-38D, 8.2.1); two of 2^24 runs of one data key
//! are the same with a chance of 2^-49. So data keys need not be exchanged because of what was sealed with them.
//!
//! A unit is bound to its place: a value to its family and key, a record to its segment, its offset and its kind. Keys of
//! the tables stay readable, for they are what RocksDB sorts by; in the log they are sealed with their entries.
//!
//! What is not found out: that a whole directory, or single rows of it, were put back as they were before.

mod keyring;
mod operator;
mod sealer;
#[cfg(test)]
mod tests;
pub(crate) mod unit;
pub(crate) mod vault;

pub(crate) use keyring::Keyring;
pub(crate) use sealer::Sealer;
pub(crate) use unit::OVERHEAD;
