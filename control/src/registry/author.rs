//! On whose behalf objects change, and what admission looks at: the objects of one view, with the authorizer of now.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use store::View;

use crate::admission::{self, Cluster, Operation, Request};
use crate::authz::Attributes;
use crate::authz::index::Index;
use crate::identity::{MASTERS, User};
use crate::kind::Kind;
use crate::registry::key;
use crate::registry::shell::{Registry, Target, random};
use crate::status::Status;

/// Warnings kept for one request.
const WARNINGS_MAX: usize = 64;

/// Who writes, and what is to be told to them besides the answer.
#[derive(Clone)]
pub(super) struct Author {
    user: Arc<User>,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Author {
    /// The server itself.
    pub(super) fn server() -> Author {
        Author::of(User::from_certificate("system:apiserver", &[MASTERS.to_owned()]))
    }

    fn of(user: User) -> Author {
        Author { user: Arc::new(user), warnings: Arc::default() }
    }
}

/// The objects that a write looks at.
struct Seen<'a> {
    registry: &'a Registry,
    view: &'a View,
}

impl Cluster for Seen<'_> {
    fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Option<Value> {
        Some(self.registry.get(self.view, Target { kind, namespace, name, subresource: "" }).ok()?.shown())
    }

    fn list(&self, kind: &'static Kind, namespace: &str) -> Vec<Value> {
        let prefix = key::prefix(kind, namespace);
        let rows = self.view.range(prefix.as_bytes(), &key::range_end(&prefix));
        rows.filter_map(|kv| Some(self.registry.open(&kv).ok()?.shown())).collect()
    }

    fn index(&self) -> Arc<Index> {
        self.registry.authorizer().index()
    }

    fn may(&self, user: &User, attributes: &Attributes) -> bool {
        self.registry.authorizer().decide(user, attributes).allowed
    }
}

impl Registry {
    /// The same objects, changed on a user's behalf from here on.
    pub fn by(&self, user: &User) -> Registry {
        let mut same = self.clone();
        same.author = Author::of(user.clone());
        same
    }

    /// What admission wants the user to be told, since the user was named.
    pub fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.author.warnings.lock())
    }

    /// Lets admission change an object that is about to be written.
    pub(super) fn admit(
        &self,
        view: &View,
        operation: Operation,
        target: Target<'_>,
        old: Option<&Value>,
        object: &mut Value,
    ) -> Result<(), Status> {
        admission::admit(&self.asked(operation, target, old), &Seen { registry: self, view }, object)
    }

    /// Asks admission about an object as it would be stored.
    pub(super) fn admitted(
        &self,
        view: &View,
        operation: Operation,
        target: Target<'_>,
        old: Option<&Value>,
        object: &Value,
    ) -> Result<(), Status> {
        let new = admission::validate(&self.asked(operation, target, old), &Seen { registry: self, view }, object)?;
        let mut warnings = self.author.warnings.lock();
        for warning in new {
            if warnings.len() < WARNINGS_MAX && !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        Ok(())
    }

    fn asked<'a>(&'a self, operation: Operation, target: Target<'a>, old: Option<&'a Value>) -> Request<'a> {
        let Target { kind, namespace, name, subresource } = target;
        Request { operation, kind, subresource, namespace, name, old, user: &self.author.user, random: random() }
    }
}
