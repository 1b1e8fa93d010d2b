//! The one path of every write, whoever asks: admission, validation, one guarded transaction.

pub mod key;
pub mod names;
pub mod prepare;
pub mod removal;
pub mod rules;
pub mod shell;

use serde_json::Value;
use store::api::Epoch;

use crate::kind::Kind;

/// Who writes, for ownership of fields and for fencing.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The user as authenticated, e.g. `system:serviceaccount:kube-system:deployment-controller`.
    pub user: String,
    /// Field manager.
    pub manager: String,
    /// The leadership the write belongs to; 0 for clients of the API.
    pub epoch: Epoch,
}

/// One change of a plan. A list of them commits as one transaction, all or nothing.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new object; `metadata.name` is computed by the planner (or `generateName` is set).
    Create {
        /// Its kind.
        kind: &'static Kind,
        /// The whole object.
        object: Value,
    },
    /// A changed object, guarded by its `metadata.resourceVersion`.
    Update {
        /// Its kind.
        kind: &'static Kind,
        /// `status`, `finalize`, …; none for the main resource.
        subresource: Option<&'static str>,
        /// The whole object.
        object: Value,
    },
    /// A deletion, as a client would ask for it.
    Delete {
        /// Its kind.
        kind: &'static Kind,
        /// Empty for cluster-scoped kinds.
        namespace: String,
        /// Its name.
        name: String,
        /// Precondition.
        uid: Option<String>,
        /// Precondition.
        resource_version: Option<String>,
        /// Overrides the object's own grace.
        grace_seconds: Option<i64>,
        /// `Background`, `Foreground`, `Orphan`.
        propagation: Option<&'static str>,
    },
    /// Changes nothing, but the whole transaction fails when the object is not at this resourceVersion (0: absent).
    Guard {
        /// Its kind.
        kind: &'static Kind,
        /// Empty for cluster-scoped kinds.
        namespace: String,
        /// Its name.
        name: String,
        /// The revision it was observed at.
        resource_version: i64,
    },
}
