//! watch: a stream of events, from the store's own ring.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use proto::mvccpb::event::EventType;
use proto::mvccpb::{Event, KeyValue};
use serde_json::{Value, json};
use store::Watcher;
use store::api::{Revision, WatchError, WatchSpec};
use tokio::time::Instant;

use crate::api::answer::Body;
use crate::api::negotiate::{Form, Offer};
use crate::api::options::{self, ListOptions};
use crate::api::read::Selection;
use crate::api::serve::Call;
use crate::kind::Kind;
use crate::registry::key;
use crate::registry::shell::{Registry, Stored, failed};
use crate::status::Status;
use crate::table::{self, Include};

/// A watch without a limit of its own lasts so long.
const TIMEOUT: Duration = Duration::from_secs(45 * 60);
/// Clients that understand them are told how far the watch is at least so often.
const BOOKMARK: Duration = Duration::from_secs(60);

/// Writes events as the client wants them.
struct Stream {
    registry: Registry,
    kind: &'static Kind,
    selection: Selection,
    form: Form,
    include: Include,
    bookmarks: bool,
    watcher: Watcher,
    /// Lines to be sent before anything else.
    ready: VecDeque<Bytes>,
    /// Column definitions are sent once.
    columns_sent: bool,
    deadline: Instant,
    ended: bool,
}

pub(crate) async fn watch(call: &Call<'_>) -> Result<Response<Body>, Status> {
    // Tables are offered to watches too: kubectl asks for them.
    let how = call.representation(Offer::Any)?;
    let options = ListOptions::parse(call.query, true)?;
    let mut selection = Selection::parse(call, &options)?;
    if !call.path.name.is_empty() {
        selection = Selection::parse(
            call,
            &ListOptions { field_selector: format!("metadata.name={}", call.path.name), ..options.clone() },
        )?;
    }
    let registry = call.api.registry.clone();
    let store = registry.store().clone();
    let asked = options::revision(&options.resource_version)?;
    let initial = options.send_initial_events == Some(true) || matches!(asked, None | Some(0));
    let now = store.barrier().await.map_err(failed)?;
    if let Some(asked) = asked.filter(|asked| *asked > now) {
        let text = format!("Timeout: Too large resource version: {asked}, current: {now}");
        return Err(Status::new(504, "Timeout", text));
    }
    let view = store.view();
    let prefix = key::prefix(call.kind, &call.path.namespace);
    let end = key::range_end(&prefix);
    let start = if initial { view.revision() } else { asked.unwrap_or(now) };
    let spec = WatchSpec {
        key: prefix.clone().into(),
        range_end: end.clone().into(),
        start_revision: start + 1,
        prev_kv: true,
    };
    let timeout = options.timeout_seconds.map_or(TIMEOUT, Duration::from_secs);
    let mut stream = Stream {
        watcher: store.watch(&spec),
        registry,
        kind: call.kind,
        selection,
        form: how.form,
        include: Include::parse(call.query.text("includeObject")),
        bookmarks: options.bookmarks,
        ready: VecDeque::new(),
        columns_sent: false,
        deadline: Instant::now() + timeout,
        ended: false,
    };
    if initial && options.send_initial_events != Some(false) {
        for kv in view.range(prefix.as_bytes(), &end) {
            let object = stream.registry.open(&kv)?;
            if stream.selection.takes(&object.value) {
                stream.push("ADDED", object.shown());
            }
        }
        if options.send_initial_events == Some(true) && stream.bookmarks {
            stream.bookmark(view.revision(), true);
        }
    }
    let frames = stream::unfold(stream, |mut stream| async move {
        let line = stream.line().await?;
        Some((Ok(Frame::data(line)), stream))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

impl Stream {
    /// The next line; none when the watch is over.
    async fn line(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            let quiet = self.deadline.min(Instant::now() + BOOKMARK);
            match tokio::time::timeout_at(quiet, self.watcher.next()).await {
                Ok(Ok(batch)) => {
                    for event in &batch.events {
                        self.event(event);
                    }
                }
                Ok(Err(error)) => self.end(&error),
                Err(_) if Instant::now() >= self.deadline => return None,
                Err(_) if self.bookmarks => self.bookmark(self.watcher.synced(), false),
                Err(_) => {}
            }
        }
    }

    /// What one change means to a client that sees only a selection.
    fn event(&mut self, event: &Arc<Event>) {
        let Some(kv) = &event.kv else { return };
        let deleted = event.r#type() == EventType::Delete;
        let old = event.prev_kv.as_ref().and_then(|kv| self.selected(kv));
        let new = if deleted { None } else { self.selected(kv) };
        match (old, new) {
            (None, Some(new)) => self.push("ADDED", new.shown()),
            (Some(_), Some(new)) => self.push("MODIFIED", new.shown()),
            // Gone, or gone from the selection: the last state, at the revision of its end.
            (Some(old), None) => self.push("DELETED", Stored { revision: kv.mod_revision, ..old }.shown()),
            (None, None) => {}
        }
    }

    fn selected(&self, kv: &KeyValue) -> Option<Stored> {
        let object = self.registry.open(kv).ok()?;
        self.selection.takes(&object.value).then_some(object)
    }

    fn push(&mut self, kind: &str, object: Value) {
        let object = match self.form {
            Form::Plain => object,
            Form::Metadata(version) | Form::MetadataList(version) => table::partial(&object, version),
            Form::Table(_) => {
                let metadata = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
                let mut table = table::render(self.kind, &[object], &metadata, self.include, Timestamp::now());
                if std::mem::replace(&mut self.columns_sent, true) {
                    table["columnDefinitions"] = Value::Null;
                }
                table
            }
        };
        self.line_of(kind, &object);
    }

    fn line_of(&mut self, kind: &str, object: &Value) {
        let mut line = serde_json::to_vec(&json!({ "type": kind, "object": object })).expect("a value is JSON");
        line.push(b'\n');
        self.ready.push_back(line.into());
    }

    fn bookmark(&mut self, revision: Revision, initial_end: bool) {
        let mut object = json!({
            "kind": self.kind.kind, "apiVersion": self.kind.api_version(),
            "metadata": { "resourceVersion": revision.to_string(), "creationTimestamp": null },
        });
        if initial_end {
            object["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        self.line_of("BOOKMARK", &object);
    }

    fn end(&mut self, error: &WatchError) {
        self.ended = true;
        if let WatchError::Compacted { compact_revision } = error {
            let text = format!("too old resource version: {} ({compact_revision})", self.watcher.synced());
            self.line_of("ERROR", &Status::new(410, "Expired", text).to_json());
        }
    }
}
