//! What a member is told about the archive, by whichever flags.

use std::time::Duration;

use store::archive::{Archive, Rules};
use store::backup::sealed::Lock;

/// Full copies are further apart than this.
const EVERY_MIN: Duration = Duration::from_secs(60);

/// Segments are about as many as minutes and hours then, and of a minute that goes on two a second.
const MERGE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArchiveSettings {
    /// A directory that all members reach, or `s3://BUCKET/PREFIX`.
    pub(crate) place: String,
    /// Between two full copies.
    pub(crate) every: Duration,
    pub(crate) rules: Rules,
    /// Public keys of age.
    pub(crate) recipients: Vec<String>,
}

impl ArchiveSettings {
    /// # Errors
    /// When they cannot be; the text says what to do.
    pub(crate) fn sound(self) -> Result<Self, String> {
        if self.every < EVERY_MIN {
            return Err(format!("--archive-every: at least {} s", EVERY_MIN.as_secs()));
        }
        Lock::new(None, &self.recipients).map_err(|why| format!("--archive-recipients: {why}"))?;
        Ok(self)
    }

    /// With what full copies hold besides the store.
    ///
    /// # Errors
    /// When a public key is none.
    pub(crate) fn with(&self, extra: serde_json::Value) -> Result<Archive, String> {
        let lock = Lock::new(None, &self.recipients)?;
        Ok(Archive { place: self.place.clone(), every: self.every, rules: self.rules, merge: MERGE, lock, extra })
    }
}
