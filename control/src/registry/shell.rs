//! `Registry`: objects in the store, and the one way in which they change.
//!
//! What a write makes of an object is pure (`prepare`, `removal`, `rules`); this file reads, guards and commits.

use bytes::Bytes;
use jiff::Timestamp;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::mvccpb::KeyValue;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;
use store::api::Revision;
use store::{Store, View};

use crate::admission::Operation;
use crate::authz::replica::Authorizer;
use crate::defaults;
use crate::fields::{self, Writer};
use crate::identity::at_rest::Ring;
use crate::kind::Kind;
use crate::registry::allocation::{self, Ranges};
use crate::registry::author::Author;
use crate::registry::prepare::{self, Birth, meta_str, metadata};
use crate::registry::removal::{self, DeleteOptions, Removal};
use crate::registry::{event_view, key, names, rules};
use crate::status::{FieldError, Status};
use crate::validate;

/// How often a write without a resourceVersion looks again when somebody else was faster.
const RETRIES: usize = 8;

/// Values below it are sealed.
const SECRETS: &str = "/registry/secrets/";

/// An object as it lies in the store.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Without its resourceVersion.
    pub value: Value,
    /// Its resourceVersion.
    pub revision: Revision,
}

impl Stored {
    /// As the API shows it.
    pub fn shown(mut self) -> Value {
        metadata(&mut self.value).insert("resourceVersion".to_owned(), self.revision.to_string().into());
        self.value
    }
}

/// Objects in the store; cheap to clone.
#[derive(Clone)]
pub struct Registry {
    store: Store,
    ring: Arc<Ring>,
    ranges: Arc<Ranges>,
    authorizer: Arc<Authorizer>,
    pub(super) author: Author,
}

/// What became of a deletion.
pub enum Deleted {
    /// The object is gone.
    Gone(Value),
    /// It stays for now, marked or as it was.
    Stays(Value),
}

/// Where a write goes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The kind.
    pub kind: &'static Kind,
    /// Empty at the cluster scope.
    pub namespace: &'a str,
    /// Empty for a new object that names itself.
    pub name: &'a str,
    /// `status`, `finalize`; empty for the object itself.
    pub subresource: &'a str,
}

/// Who writes, and whether it is only tried.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// The field manager; empty: managed fields stay as the object has them.
    pub manager: &'a str,
    /// Decide, answer, write nothing.
    pub dry_run: bool,
}

impl<'a> By<'a> {
    /// A write that happens.
    pub fn manager(manager: &'a str) -> By<'a> {
        By { manager, dry_run: false }
    }

    /// Gives the writer what it changes.
    pub(super) fn track(&self, target: Target<'_>, old: Option<&Value>, new: &mut Value) {
        if !self.manager.is_empty() {
            let now = removal::rfc3339(Timestamp::now());
            let by = Writer { manager: self.manager, subresource: target.subresource, now: &now };
            fields::update(target.kind, old, new, by);
        }
    }
}

impl Registry {
    /// Over a store, with the keys that seal Secrets and the ranges that Services get addresses from.
    pub fn new(store: Store, ring: Arc<Ring>, ranges: Ranges) -> Self {
        let authorizer = Arc::new(Authorizer::new(store.clone()));
        Registry { store, ring, ranges: Arc::new(ranges), authorizer, author: Author::server() }
    }

    /// Who may.
    pub fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    /// What Services get addresses from.
    pub fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    /// The store below.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Reads a stored value.
    ///
    /// # Errors
    /// When it was sealed with a key that is gone, or is no JSON.
    pub fn open(&self, kv: &KeyValue) -> Result<Stored, Status> {
        let value = serde_json::from_slice(&self.opened(kv)?).map_err(Status::internal)?;
        Ok(Stored { value, revision: kv.mod_revision })
    }

    /// Reads a stored value as a kind shows it, which need not be the one that it lies in the store as.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_as(&self, kind: &Kind, kv: &KeyValue) -> Result<Stored, Status> {
        let stored = self.open(kv)?;
        Ok(Stored { value: event_view::shown(kind, stored.value), ..stored })
    }

    /// The same, as bytes.
    ///
    /// # Errors
    /// As `open`.
    pub fn opened_as<'a>(&self, kind: &Kind, kv: &'a KeyValue) -> Result<Cow<'a, [u8]>, Status> {
        if !event_view::is_view(kind) {
            return self.opened(kv);
        }
        let shown = self.open_as(kind, kv)?.value;
        serde_json::to_vec(&shown).map(Cow::Owned).map_err(Status::internal)
    }

    /// A stored value's bytes: JSON, without its resourceVersion.
    ///
    /// # Errors
    /// When it was sealed with a key that is gone.
    pub fn opened<'a>(&self, kv: &'a KeyValue) -> Result<Cow<'a, [u8]>, Status> {
        if kv.key.starts_with(SECRETS.as_bytes()) {
            return self.ring.open(&kv.key, &kv.value).map(Cow::Owned).map_err(Status::internal);
        }
        Ok(Cow::Borrowed(kv.value.as_ref()))
    }

    /// The bytes of an object, which holds no resourceVersion.
    fn seal(&self, key: &str, object: &Value) -> Result<Bytes, Status> {
        debug_assert!(object["metadata"].get("resourceVersion").is_none(), "{key}: a stored object has no version");
        let bytes = serde_json::to_vec(object).map_err(Status::internal)?;
        if !key.starts_with(SECRETS) {
            return Ok(bytes.into());
        }
        Ok(self.ring.seal(key.as_bytes(), &bytes).map_err(Status::internal)?.into())
    }

    /// An object as a view shows it.
    ///
    /// # Errors
    /// 404.
    pub fn get(&self, view: &View, target: Target<'_>) -> Result<Stored, Status> {
        let key = key::object(target.kind, target.namespace, target.name);
        let kv = view
            .get(key.as_bytes())
            .ok_or_else(|| Status::not_found(event_view::stored_as(target.kind), target.name))?;
        self.open_as(target.kind, &kv)
    }

    async fn latest(&self) -> Result<View, Status> {
        self.store.barrier().await.map_err(failed)?;
        Ok(self.store.view())
    }

    /// Makes a new object.
    ///
    /// # Errors
    /// 409 when the name is taken, 403 in a namespace that ends.
    pub async fn create(&self, target: Target<'_>, mut object: Value, by: By<'_>) -> Result<Value, Status> {
        let kind = target.kind;
        let view = self.latest().await?;
        // A new object has no end yet that anybody could own.
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            metadata(&mut object).remove(field);
        }
        by.track(target, None, &mut object);
        self.admit(&view, Operation::Create, target, None, &mut object)?;
        // Namespaces are named by paths as if they lay in themselves.
        let namespace = if kind.namespaced { target.namespace } else { "" };
        let base = meta_str(&object, "generateName").to_owned();
        let given = meta_str(&object, "name").to_owned();
        for _ in 0..names::ATTEMPTS {
            // With neither, it stays without a name, which no rule lets pass.
            let draws = given.is_empty() && !base.is_empty();
            let name = if draws { names::generate(&base, random()) } else { given.clone() };
            let (mut object, now) = (object.clone(), removal::rfc3339(Timestamp::now()));
            let uid = uuid::Uuid::new_v4().to_string();
            prepare::create(kind, &mut object, &Birth { namespace, name: &name, uid: &uid, now: &now });
            self.allocate(&self.store.view(), kind, None, &mut object)?;
            valid(kind, &name, &validate::create(kind, &object))?;
            self.admitted(&view, Operation::Create, Target { name: &name, ..target }, None, &object)?;
            defaults::stored(kind, &mut object);
            let place = key::object(kind, target.namespace, &name);
            if by.dry_run {
                return if view.get(place.as_bytes()).is_some() {
                    Err(Status::already_exists(event_view::stored_as(kind), &name))
                } else {
                    Ok(object)
                };
            }
            let mut write = [Write { kind, key: place.clone(), old: None, new: Some(object) }];
            match self.write(&write).await? {
                Some(revision) => {
                    let value = write[0].new.take().unwrap_or_default();
                    return Ok(Stored { value, revision }.shown());
                }
                None if !given.is_empty() && self.store.view().get(place.as_bytes()).is_some() => {
                    return Err(Status::already_exists(event_view::stored_as(kind), &name));
                }
                // The generated name, or something that the object claims, was taken meanwhile.
                None => {}
            }
        }
        Err(Status::already_exists(event_view::stored_as(kind), if given.is_empty() { &base } else { &given }))
    }

    pub(super) fn allocate(
        &self,
        view: &View,
        kind: &'static Kind,
        old: Option<&Value>,
        object: &mut Value,
    ) -> Result<(), Status> {
        valid(kind, meta_str(object, "name"), &validate::before_allocation(kind, object))?;
        let taken = |key: &str| view.get(key.as_bytes()).is_some();
        let mut draw = || uuid::Uuid::new_v4().as_u64_pair().0;
        allocation::fill(&self.ranges, &taken, kind, old, object, &mut draw)
    }

    /// Changes an object by what `change` makes of it, looking again when somebody else was faster. `change` sees the
    /// object with its resourceVersion, and may set another one to insist on it.
    ///
    /// # Errors
    /// 404; 409 when the change insists on another version; whatever `change` says.
    pub async fn modify(
        &self,
        target: Target<'_>,
        by: By<'_>,
        change: impl Fn(Value) -> Result<Value, Status>,
    ) -> Result<Value, Status> {
        for _ in 0..RETRIES {
            let view = self.latest().await?;
            let old = self.get(&view, target)?;
            let mut new = change(old.clone().shown())?;
            let insisted = metadata(&mut new).remove("resourceVersion");
            let insisted = insisted.as_ref().and_then(Value::as_str).unwrap_or_default();
            if !insisted.is_empty() && insisted != old.revision.to_string() {
                return Err(Status::conflict(event_view::stored_as(target.kind), target.name, MODIFIED));
            }
            by.track(target, Some(&old.value), &mut new);
            self.admit(&view, Operation::Update, target, Some(&old.value), &mut new)?;
            if let Some(shown) = self.replace(&view, target, old, new, by.dry_run).await? {
                return Ok(shown);
            }
        }
        Err(Status::conflict(event_view::stored_as(target.kind), target.name, MODIFIED))
    }

    /// Makes `new` the next version of an object; none when somebody else was faster.
    async fn replace(
        &self,
        view: &View,
        target: Target<'_>,
        old: Stored,
        mut new: Value,
        dry_run: bool,
    ) -> Result<Option<Value>, Status> {
        let (kind, last) = (target.kind, old.revision);
        let now = removal::rfc3339(Timestamp::now());
        let before = defaults::like(kind, &old.value, &new);
        prepare::update(kind, target.subresource, &before, &mut new, &now);
        metadata(&mut new).remove("resourceVersion");
        self.allocate(&self.store.view(), kind, Some(&before), &mut new)?;
        valid(kind, target.name, &validate::update(kind, target.subresource, &before, &new))?;
        self.admitted(view, Operation::Update, target, Some(&before), &new)?;
        defaults::stored(kind, &mut new);
        if prepare::unchanged(&old.value, &new) {
            return Ok(Some(old.shown()));
        }
        if dry_run {
            return Ok(Some(Stored { value: new, revision: last }.shown()));
        }
        let key = key::object(kind, target.namespace, target.name);
        if removal::finished(kind, &new) {
            // An object that ends here was never written like this: its version is the last one that was.
            let gone = self.write(&[Write { kind, key, old: Some(old), new: None }]).await?;
            return Ok(gone.map(|_| Stored { value: new, revision: last }.shown()));
        }
        let mut write = [Write { kind, key, old: Some(old), new: Some(new) }];
        let written = self.write(&write).await?;
        Ok(written.map(|revision| Stored { value: write[0].new.take().unwrap_or_default(), revision }.shown()))
    }

    /// The same where the object may be absent: `change` then sees none and makes the first version. Tells whether it was
    /// created.
    ///
    /// # Errors
    /// Those of `create` and `modify`.
    pub async fn upsert(
        &self,
        target: Target<'_>,
        by: By<'_>,
        change: impl Fn(Option<Value>) -> Result<Value, Status>,
    ) -> Result<(bool, Value), Status> {
        for _ in 0..RETRIES {
            match self.modify(target, by, |object| change(Some(object))).await {
                Err(status) if status.code == 404 && target.subresource.is_empty() => {}
                changed => return changed.map(|object| (false, object)),
            }
            match self.create(target, change(None)?, by).await {
                Err(status) if status.reason == "AlreadyExists" => {}
                created => return created.map(|object| (true, object)),
            }
        }
        Err(Status::conflict(event_view::stored_as(target.kind), target.name, MODIFIED))
    }

    /// Deletes an object, or begins to.
    ///
    /// # Errors
    /// 404; 409 when a precondition does not hold.
    pub async fn delete(&self, target: Target<'_>, options: &DeleteOptions) -> Result<Deleted, Status> {
        let (kind, rules) = (target.kind, rules::of(target.kind));
        for _ in 0..RETRIES {
            let view = self.latest().await?;
            let old = self.get(&view, target)?;
            self.admitted(&view, Operation::Delete, target, Some(&old.value), &old.value)?;
            removal::check(kind, &old.value, old.revision, options)?;
            let verdict = removal::decide(kind, rules, &old.value, options, Timestamp::now());
            let object = match &verdict {
                Removal::Pending => return Ok(Deleted::Stays(old.shown())),
                Removal::Mark(next) => Some(next.clone()),
                Removal::Remove => None,
            };
            let parting = || removal::parting(kind, &old.value, Timestamp::now());
            let (value, revision) = (object.clone().unwrap_or_else(parting), old.revision);
            let place = key::object(kind, target.namespace, target.name);
            let written = if options.dry_run {
                Some(revision)
            } else {
                self.write(&[Write { kind, key: place, old: Some(old), new: object }]).await?
            };
            if let Some(revision) = written {
                let shown = Stored { value, revision }.shown();
                return Ok(if verdict == Removal::Remove { Deleted::Gone(shown) } else { Deleted::Stays(shown) });
            }
        }
        Err(Status::conflict(event_view::stored_as(kind), target.name, MODIFIED))
    }

    /// One guarded transaction; nothing happens when a guard does not hold.
    async fn write(&self, writes: &[Write]) -> Result<Option<Revision>, Status> {
        let request = self.transaction(writes)?;
        let response = self.store.txn(0, request).await.map_err(failed)?;
        Ok(response.succeeded.then(|| response.header.map_or(0, |header| header.revision)))
    }

    /// The transaction that makes these changes if every object, and everything it claims, is as it was seen.
    pub(super) fn transaction(&self, writes: &[Write]) -> Result<pb::TxnRequest, Status> {
        let mut request = pb::TxnRequest::default();
        for write in writes {
            let place = Bytes::copy_from_slice(write.key.as_bytes());
            let (old, new) = (write.old.as_ref().map(|old| &old.value), write.new.as_ref());
            guard(&mut request, place.clone(), write.old.as_ref().map_or(0, |old| old.revision));
            match new {
                Some(object) => {
                    let stored = event_view::to_stored(write.kind, object.clone());
                    put(&mut request, place, self.seal(&write.key, &stored)?);
                }
                None => remove(&mut request, place),
            }
            let (held, wanted) = (allocation::claims(write.kind, old), allocation::claims(write.kind, new));
            for freed in held.difference(&wanted) {
                remove(&mut request, freed.clone().into());
            }
            // A new node may name its part of the range itself, even one that another has; only what we choose is exclusive.
            let exclusive = old.is_some() || !allocation::is_node(write.kind);
            for taken in wanted.difference(&held).filter(|_| exclusive) {
                guard(&mut request, taken.clone().into(), 0);
                put(&mut request, taken.clone().into(), write.key.clone().into());
            }
        }
        Ok(request)
    }
}

/// Adds the condition that a key is at a revision; 0: absent.
pub(super) fn guard(request: &mut pb::TxnRequest, key: Bytes, revision: Revision) {
    request.compare.push(pb::Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key,
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::ModRevision(revision)),
    });
}

fn put(request: &mut pb::TxnRequest, key: Bytes, value: Bytes) {
    let put = pb::request_op::Request::RequestPut(pb::PutRequest { key, value, ..Default::default() });
    request.success.push(pb::RequestOp { request: Some(put) });
}

fn remove(request: &mut pb::TxnRequest, key: Bytes) {
    let delete = pb::request_op::Request::RequestDeleteRange(pb::DeleteRangeRequest { key, ..Default::default() });
    request.success.push(pb::RequestOp { request: Some(delete) });
}

/// One object's change in a transaction.
pub(super) struct Write {
    pub(super) kind: &'static Kind,
    pub(super) key: String,
    /// As it was seen; none: absent.
    pub(super) old: Option<Stored>,
    /// None removes it.
    pub(super) new: Option<Value>,
}

pub(super) const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// Refuses an object that breaks rules.
pub(super) fn valid(kind: &'static Kind, name: &str, errors: &[FieldError]) -> Result<(), Status> {
    let told = event_view::stored_as(kind);
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(told.group, told.kind, name, errors)) }
}

/// Refuses a whole object that is another one of the same name.
///
/// # Errors
/// 409.
pub fn same_identity(target: Target<'_>, old: &Value, new: &Value) -> Result<(), Status> {
    let (held, given) = (meta_str(old, "uid"), meta_str(new, "uid"));
    if given.is_empty() || given == held {
        return Ok(());
    }
    let place = key::object(target.kind, target.namespace, target.name);
    Err(Status::conflict(target.kind, target.name, &removal::other_uid(&place, given, held)))
}

pub(super) fn random() -> [u8; 5] {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4]]
}

/// The store's errors as the API answers them.
pub fn failed(error: store::Error) -> Status {
    match error {
        store::Error::NoLeader => Status::new(503, "ServiceUnavailable", "no leader is elected; try again"),
        store::Error::Overloaded => Status::new(429, "TooManyRequests", "too many requests, please try again later"),
        store::Error::Unknown => Status::new(
            504,
            "Timeout",
            "Timeout: request did not complete within the allotted time; it may have taken effect",
        ),
        store::Error::Refused(refusal) if refusal.message.contains("compacted") => {
            Status::new(410, "Expired", "The resourceVersion for the provided list is too old.")
        }
        other => Status::internal(other),
    }
}
