//! Whom clients call: members come and go while they work.

use std::sync::Arc;

use parking_lot::RwLock;
use tonic::transport::Channel;

/// The members that are called, by name; all clones see the same.
#[derive(Clone)]
pub(crate) struct Endpoints(Arc<RwLock<Vec<(String, Channel)>>>);

impl Endpoints {
    pub(crate) fn new(members: Vec<(String, Channel)>) -> Self {
        Endpoints(Arc::new(RwLock::new(members)))
    }

    /// Those that there are now.
    pub(crate) fn all(&self) -> Vec<(String, Channel)> {
        self.0.read().clone()
    }

    /// The one whose turn it is; turns go on from the last to the first.
    ///
    /// # Panics
    /// When there is none: whoever removes them leaves some.
    pub(crate) fn at(&self, turn: usize) -> Channel {
        let members = self.0.read();
        members[turn % members.len()].1.clone()
    }

    pub(crate) fn add(&self, name: &str, channel: Channel) {
        self.0.write().push((name.to_owned(), channel));
    }

    pub(crate) fn remove(&self, name: &str) {
        self.0.write().retain(|(known, _)| known != name);
    }
}
