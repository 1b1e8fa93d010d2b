//! Committing plans: what a controller wants changed, as guarded transactions under its leadership's epoch.

use jiff::Timestamp;
use proto::etcdserverpb as pb;
use serde_json::Value;
use store::View;
use store::api::{Epoch, Revision};

use crate::admission::Operation;
use crate::defaults;
use crate::kind::{self, Kind};
use crate::registry::key::{self, Key};
use crate::registry::prepare::{self, Birth, meta_str, metadata};
use crate::registry::removal::{self, DeleteOptions, Removal};
use crate::registry::shell::{By, MODIFIED, Registry, Stored, Target, Write, failed, guard, random, valid};
use crate::registry::{names, rules};
use crate::status::Status;
use crate::validate;

/// One change of a plan.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new object, named by `metadata.name` or `metadata.generateName`.
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
        /// What is written of it.
        part: Part,
        /// The whole object.
        object: Value,
    },
    /// A deletion, as a client would ask for it.
    Delete(Key, DeleteOptions),
    /// Changes nothing, but its transaction fails unless the object is at this revision (0: absent).
    Guard(Key, Revision),
}

/// Which part of an object an update may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status, where the kind has one of its own.
    Main,
    /// The status.
    Status,
    /// Everything: a binding sets a pod's node and a condition, a namespace's end its finalizers.
    Whole,
}

/// Changes that happen together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    /// Field manager.
    pub manager: &'static str,
    /// At most a few hundred.
    pub changes: Vec<Change>,
}

impl Registry {
    /// Commits transactions in one log entry; each has its own verdict: its revision, or why it did not happen.
    ///
    /// # Errors
    /// When the whole entry was refused (another leader), or its outcome is unknown.
    pub async fn commit(&self, epoch: Epoch, txns: Vec<Txn>) -> Result<Vec<Result<Revision, Status>>, Status> {
        let view = self.store().view();
        let mut verdicts: Vec<Result<Revision, Status>> = Vec::with_capacity(txns.len());
        let mut requests = Vec::new();
        for txn in &txns {
            match self.request(&view, txn) {
                Ok(request) => {
                    verdicts.push(Ok(view.revision()));
                    if !request.success.is_empty() {
                        requests.push((verdicts.len() - 1, request));
                    }
                }
                Err(status) => verdicts.push(Err(status)),
            }
        }
        drop(view);
        let (places, requests): (Vec<usize>, Vec<pb::TxnRequest>) = requests.into_iter().unzip();
        if requests.is_empty() {
            return Ok(verdicts);
        }
        let answers = self.store().txn_batch(epoch, requests).await.map_err(failed)?;
        for (place, answer) in places.into_iter().zip(answers) {
            verdicts[place] = match answer {
                Ok(response) if response.succeeded => Ok(response.header.map_or(0, |header| header.revision)),
                Ok(_) => Err(Status::new(409, "Conflict", MODIFIED)),
                Err(error) => Err(failed(error)),
            };
        }
        Ok(verdicts)
    }

    fn request(&self, view: &View, txn: &Txn) -> Result<pb::TxnRequest, Status> {
        let (mut writes, mut guards) = (Vec::new(), Vec::new());
        for change in &txn.changes {
            match change {
                Change::Create { kind, object } => {
                    writes.push(self.birth(view, kind, object.clone(), By::manager(txn.manager))?);
                }
                Change::Update { kind, part, object } => {
                    let by = By::manager(txn.manager);
                    writes.extend(self.next_version(view, kind, *part, object.clone(), by)?);
                }
                Change::Delete(key, options) => writes.extend(self.end(view, key, options)?),
                Change::Guard(key, revision) => guards.push((key.place(), *revision)),
            }
        }
        let mut request = self.transaction(&writes)?;
        for (place, revision) in guards {
            guard(&mut request, place.into(), revision);
        }
        Ok(request)
    }

    fn birth(&self, view: &View, kind: &'static Kind, mut object: Value, by: By<'_>) -> Result<Write, Status> {
        let (namespace, given) = (meta_str(&object, "namespace").to_owned(), meta_str(&object, "name").to_owned());
        let name = if given.is_empty() { names::generate(meta_str(&object, "generateName"), random()) } else { given };
        let (uid, now) = (uuid::Uuid::new_v4().to_string(), removal::rfc3339(Timestamp::now()));
        defaults::fill(kind, &mut object);
        let target = Target { kind, namespace: &namespace, name: &name, subresource: "" };
        by.track(target, None, &mut object);
        self.admit(view, Operation::Create, target, None, &mut object)?;
        prepare::create(kind, &mut object, &Birth { namespace: &namespace, name: &name, uid: &uid, now: &now });
        self.allocate(view, kind, None, &mut object)?;
        valid(kind, &name, &validate::create(kind, &object))?;
        self.admitted(view, Operation::Create, target, None, &object)?;
        defaults::stored(kind, &mut object);
        Ok(Write { kind, key: key::object(kind, &namespace, &name), old: None, new: Some(object) })
    }

    fn next_version(
        &self,
        view: &View,
        kind: &'static Kind,
        part: Part,
        mut new: Value,
        by: By<'_>,
    ) -> Result<Option<Write>, Status> {
        let (namespace, name) = (meta_str(&new, "namespace").to_owned(), meta_str(&new, "name").to_owned());
        let old = self.seen(view, &Key { kind, namespace: namespace.clone(), name: name.clone() })?;
        if old.revision.to_string() != meta_str(&new, "resourceVersion") {
            return Err(Status::conflict(kind, &name, MODIFIED));
        }
        metadata(&mut new).remove("resourceVersion");
        let subresource = match part {
            Part::Status => "status",
            Part::Whole if kind == kind::core("pods") => "binding",
            Part::Main | Part::Whole => "",
        };
        let target = Target { kind, namespace: &namespace, name: &name, subresource };
        // Nobody owns what a binding sets, or what ends a namespace.
        if part != Part::Whole {
            by.track(target, Some(&old.value), &mut new);
        }
        if part != Part::Status {
            self.admit(view, Operation::Update, target, Some(&old.value), &mut new)?;
        }
        if part != Part::Whole {
            prepare::update(kind, subresource, &old.value, &mut new, &removal::rfc3339(Timestamp::now()));
        }
        if part == Part::Main {
            self.admitted(view, Operation::Update, target, Some(&old.value), &new)?;
        }
        self.allocate(view, kind, Some(&old.value), &mut new)?;
        defaults::stored(kind, &mut new);
        if prepare::unchanged(&old.value, &new) {
            return Ok(None);
        }
        let ends = removal::finished(kind, &new);
        let key = key::object(kind, &namespace, &name);
        Ok(Some(Write { kind, key, old: Some(old), new: (!ends).then_some(new) }))
    }

    fn end(&self, view: &View, key: &Key, options: &DeleteOptions) -> Result<Option<Write>, Status> {
        let old = match self.seen(view, key) {
            Ok(old) => old,
            Err(status) if status.code == 404 => return Ok(None),
            Err(status) => return Err(status),
        };
        removal::check(key.kind, &old.value, old.revision, options)?;
        let new = match removal::decide(key.kind, rules::of(key.kind), &old.value, options, Timestamp::now()) {
            Removal::Pending => return Ok(None),
            Removal::Mark(next) => Some(next),
            Removal::Remove => None,
        };
        Ok(Some(Write { kind: key.kind, key: key.place(), old: Some(old), new }))
    }

    fn seen(&self, view: &View, key: &Key) -> Result<Stored, Status> {
        self.get(view, Target { kind: key.kind, namespace: &key.namespace, name: &key.name, subresource: "" })
    }
}
