//! The node's own copy of the objects it needs, and the position it was told last.
//!
//! `link` applies what a server sends, `sync`, volumes and the pod network read. Each update is on disk before anyone
//! sees it, and one that is older than what the node has is refused: a deposed leader's word never acts here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use prost::Message;
use proto::agent::{Object, Reference, Update};
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;

use crate::checkpoint::{Checkpoint, CheckpointError};

/// Changes a subscriber may lag behind before it is told to look at everything.
const CHANGES_MAX: usize = 1024;

/// Identifies an object: resource, namespace, name.
pub type Key = (String, String, String);

/// What has changed.
#[derive(Debug, Clone)]
pub enum Changed {
    /// These objects came, changed or went.
    Objects(Arc<[Key]>),
    /// Possibly everything.
    Everything,
}

impl Changed {
    /// Whether an object may be among them of which this says yes.
    pub fn concerns(&self, wanted: impl Fn(&Key) -> bool) -> bool {
        match self {
            Changed::Objects(keys) => keys.iter().any(wanted),
            Changed::Everything => true,
        }
    }
}

/// Why an update was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It is older than what the node has: drop it, and the session it came by.
    #[error(
        "update at epoch {epoch}, revision {revision} is older than epoch {known_epoch}, revision {known_revision}"
    )]
    Older {
        /// Of the update.
        epoch: u64,
        /// Of the update.
        revision: i64,
        /// Of the node.
        known_epoch: u64,
        /// Of the node.
        known_revision: i64,
    },
    /// It could not be made durable: nothing has changed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// The objects; shared by all parts of the agent.
#[derive(Debug)]
pub struct Mirror {
    objects: RwLock<Objects>,
    checkpoint: tokio::sync::Mutex<Checkpoint>,
    changes: broadcast::Sender<Changed>,
}

#[derive(Debug, Default)]
struct Objects {
    epoch: u64,
    revision: i64,
    /// Each as it came: an encoded `Object`.
    all: BTreeMap<Key, Bytes>,
}

impl Objects {
    fn apply(&mut self, update: Update) -> Vec<Key> {
        let mut changed = Vec::new();
        if update.reset {
            changed.extend(std::mem::take(&mut self.all).into_keys());
        }
        for reference in update.deletes {
            let key = key(reference);
            self.all.remove(&key);
            changed.push(key);
        }
        for bytes in update.upserts {
            let Some(reference) = object(&bytes).and_then(|object| object.reference) else { continue };
            let key = key(reference);
            changed.push(key.clone());
            // A copy: a small object must not keep the whole message that brought it.
            self.all.insert(key, Bytes::copy_from_slice(&bytes));
        }
        (self.epoch, self.revision) = (update.epoch, update.revision);
        changed
    }

    fn whole(&self) -> Update {
        Update {
            epoch: self.epoch,
            revision: self.revision,
            reset: true,
            upserts: self.all.values().cloned().collect(),
            deletes: Vec::new(),
        }
    }
}

fn object(bytes: &Bytes) -> Option<Object> {
    let decoded = Object::decode(bytes.clone());
    decoded.inspect_err(|error| tracing::warn!(%error, "something that is no object is ignored")).ok()
}

fn key(reference: Reference) -> Key {
    (reference.resource, reference.namespace, reference.name)
}

impl Mirror {
    /// Opens the checkpoint in a directory and loads what was known last.
    ///
    /// # Errors
    ///
    /// The checkpoint cannot be read, or is damaged other than at its end.
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        let mut objects = Objects::default();
        let checkpoint = Checkpoint::open(dir, |update| {
            objects.apply(update);
        })?;
        let (changes, _) = broadcast::channel(CHANGES_MAX);
        Ok(Self { objects: RwLock::new(objects), checkpoint: tokio::sync::Mutex::new(checkpoint), changes })
    }

    /// The highest (epoch, revision) that is on disk.
    pub fn position(&self) -> (u64, i64) {
        let objects = self.objects.read();
        (objects.epoch, objects.revision)
    }

    /// Takes an update in: durable first, then seen by all.
    ///
    /// # Errors
    ///
    /// It is older than what is known, or cannot be made durable.
    pub async fn apply(&self, update: Update) -> Result<(), ApplyError> {
        let mut checkpoint = self.checkpoint.lock().await;
        let (known_epoch, known_revision) = self.position();
        let (epoch, revision) = (update.epoch, update.revision);
        if epoch < known_epoch || revision < known_revision {
            return Err(ApplyError::Older { epoch, revision, known_epoch, known_revision });
        }
        if checkpoint.wants_rewrite() {
            let whole = self.objects.read().whole();
            checkpoint.rewrite(whole).await?;
        }
        checkpoint.append(&update).await?;
        let changed = self.objects.write().apply(update);
        // Nobody listening is no error: readers ask when they start.
        let _ = self.changes.send(Changed::Objects(changed.into()));
        Ok(())
    }

    /// Changes from now on.
    pub fn subscribe(&self) -> Changes {
        Changes(self.changes.subscribe())
    }

    /// One object, decoded; None also when it does not decode.
    pub fn get<T: DeserializeOwned>(&self, resource: &str, namespace: &str, name: &str) -> Option<T> {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let bytes = self.objects.read().all.get(&key).cloned()?;
        decode(&bytes)
    }

    /// All objects of a resource, of one namespace or of all; those that do not decode are left out.
    pub fn list<T: DeserializeOwned>(&self, resource: &str, namespace: Option<&str>) -> Vec<T> {
        let from = (resource.to_owned(), namespace.unwrap_or_default().to_owned(), String::new());
        let objects = self.objects.read();
        let of_resource = objects
            .all
            .range(from..)
            .take_while(|((r, ns, _), _)| r == resource && namespace.is_none_or(|wanted| wanted == ns));
        let found: Vec<Bytes> = of_resource.map(|(_, bytes)| bytes.clone()).collect();
        drop(objects);
        found.iter().filter_map(decode).collect()
    }
}

fn decode<T: DeserializeOwned>(bytes: &Bytes) -> Option<T> {
    let object = object(bytes)?;
    match serde_json::from_slice(&object.json) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(reference = ?object.reference, %error, "an object does not decode and is ignored");
            None
        }
    }
}

/// A subscription to a mirror's changes.
#[derive(Debug)]
pub struct Changes(broadcast::Receiver<Changed>);

impl Changes {
    /// The next change; None when the mirror is gone.
    pub async fn next(&mut self) -> Option<Changed> {
        match self.0.recv().await {
            Ok(changed) => Some(changed),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Changed::Everything),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, revision: i64, object: &Value) -> Bytes {
        let reference = Reference { resource: "pods".into(), namespace: "ns".into(), name: name.into() };
        let json = serde_json::to_vec(object).expect("JSON").into();
        Object { reference: Some(reference), revision, json }.encode_to_vec().into()
    }

    fn update(epoch: u64, revision: i64, reset: bool, names: &[&str]) -> Update {
        let object = |name: &&str| pod(name, revision, &json!({"metadata": {"name": name}}));
        Update { epoch, revision, reset, upserts: names.iter().map(object).collect(), deletes: Vec::new() }
    }

    fn names(mirror: &Mirror) -> Vec<String> {
        let pods = mirror.list::<Value>("pods", Some("ns"));
        pods.iter().map(|p| p["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
    }

    #[tokio::test]
    async fn what_is_applied_is_there_after_a_restart_and_older_words_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let mirror = Mirror::open(dir.path()).expect("opened");
        mirror.apply(update(2, 10, true, &["a", "b"])).await.expect("taken");
        mirror.apply(update(2, 11, false, &["c"])).await.expect("taken");
        for (epoch, revision) in [(1, 12), (2, 10), (3, 5)] {
            let refused = mirror.apply(update(epoch, revision, true, &[])).await;
            assert!(matches!(refused, Err(ApplyError::Older { .. })), "{epoch} {revision}");
        }
        drop(mirror);
        let mirror = Mirror::open(dir.path()).expect("opened again");
        assert_eq!(mirror.position(), (2, 11));
        assert_eq!(names(&mirror), ["a", "b", "c"]);
        mirror.apply(update(3, 11, true, &["d"])).await.expect("a new leader at the same revision");
        assert_eq!(names(&mirror), ["d"]);
    }

    #[tokio::test]
    async fn a_torn_end_is_cut_and_a_long_journal_is_rewritten() {
        use std::io::Write;
        let dir = tempfile::tempdir().expect("a directory");
        let mirror = Mirror::open(dir.path()).expect("opened");
        let big = "x".repeat(64 << 10);
        for revision in 1..=100 {
            let mut change = update(1, revision, false, &["a"]);
            change.upserts[0] = pod("a", revision, &json!({"metadata": {"name": "a"}, "x": big}));
            mirror.apply(change).await.expect("taken");
        }
        drop(mirror);
        let path = dir.path().join(crate::checkpoint::FILE);
        assert!(path.metadata().expect("it is there").len() < 4 << 20, "rewritten");
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("opened");
        file.write_all(&[200, 0, 0, 0, 1, 2, 3]).expect("torn");
        let mirror = Mirror::open(dir.path()).expect("opened again");
        assert_eq!((mirror.position(), names(&mirror)), ((1, 100), vec!["a".to_owned()]));
    }
}
