//! watch: a stream of events, from the store's own ring.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use proto::mvccpb::KeyValue;
use proto::mvccpb::event::EventType;
use serde_json::{Value, json};
use store::Watcher;
use store::api::{Occurrence, Revision, WatchError, WatchSpec};
use tokio::time::Instant;

use crate::api::answer::Body;
use crate::api::negotiate::{self, Form, Format, Offer};
use crate::api::options::{self, ListOptions};
use crate::api::read::too_large;
use crate::api::selection::{Rows, Selection, place};
use crate::api::serve::Call;
use crate::api::splice::{self, Part};
use crate::kind::Kind;
use crate::metrics::Counter;
use crate::registry::shell::{Registry, failed};
use crate::registry::{event_view, key};
use crate::status::Status;
use crate::table::{self, Include, Style};

/// A watch without a limit of its own lasts so long, and up to twice that: not all clients come back at once.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Clients that understand them are told how far the watch is at least so often.
const BOOKMARK: Duration = Duration::from_secs(60);
/// Bytes sent in one piece, about, when much is waiting.
const PIECE: usize = 64 << 10;

/// Writes events as the client wants them.
struct Stream {
    registry: Registry,
    kind: &'static Kind,
    selection: Selection,
    view: Shown,
    bookmarks: bool,
    watcher: Watcher,
    /// What there was when the watch began, until it is sent.
    initial: Option<Rows>,
    /// Whether its end is marked.
    marked: bool,
    /// Lines to be sent before anything else.
    ready: VecDeque<Bytes>,
    deadline: Instant,
    ended: bool,
    sent: Arc<Counter>,
}

const KINDS: [&str; 3] = ["ADDED", "MODIFIED", "DELETED"];
const ADDED: usize = 0;
const MODIFIED: usize = 1;
const DELETED: usize = 2;

/// What all watchers share of an event: what they sent, and its states before and after, decoded.
#[derive(Default)]
struct Shared {
    lines: [OnceLock<Bytes>; KINDS.len()],
    decoded: OnceLock<(Option<Value>, Option<Value>)>,
}

/// How objects are shown.
enum Shown {
    Plain,
    Metadata(&'static str),
    /// The definitions of columns are sent once.
    Table(Style, bool),
}

pub(crate) async fn watch(call: &Call<'_>) -> Result<Response<Body>, Status> {
    // Tables are offered to watches too: kubectl asks for them.
    let how = call.representation(Offer::Any)?;
    if how.format == Format::Yaml {
        return Err(negotiate::unacceptable(Offer::Stream));
    }
    let options = ListOptions::parse(call.query, true)?;
    let mut selection = Selection::parse(call, &options)?;
    if !call.path.name.is_empty() {
        let field_selector = format!("metadata.name={}", call.path.name);
        selection = Selection::parse(call, &ListOptions { field_selector, ..options.clone() })?;
    }
    let view = match how.form {
        Form::Table(version) => {
            let include = Include::parse(call.query.text("includeObject"))?;
            Shown::Table(Style { kind: call.kind, version, include }, false)
        }
        Form::Metadata(version) | Form::MetadataList(version) => Shown::Metadata(version),
        Form::Plain | Form::Aggregated => Shown::Plain,
    };
    let frames = stream::unfold(begin(call, &options, selection, view).await?, |mut stream| async move {
        let piece = stream.piece().await?;
        Some((Ok(Frame::data(piece)), stream))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

async fn begin(call: &Call<'_>, options: &ListOptions, selection: Selection, view: Shown) -> Result<Stream, Status> {
    let store = call.api.registry.store();
    let asked = options::revision(&options.resource_version)?;
    let now = store.barrier().await.map_err(failed)?;
    let marked = options.send_initial_events == Some(true);
    if let Some(asked) = asked.filter(|asked| *asked > now && marked) {
        return Err(too_large(asked, now));
    }
    let picture = store.view();
    let initial = marked || (options.send_initial_events.is_none() && matches!(asked, None | Some(0)));
    // From a revision that is to come, the watch waits for it.
    let start = match asked {
        Some(asked) if asked > 0 && !initial => asked,
        _ => picture.revision(),
    };
    let prefix = key::prefix(call.kind, &call.path.namespace);
    let spec = WatchSpec {
        range_end: key::range_end(&prefix).into(),
        key: prefix.into(),
        start_revision: start + 1,
        prev_kv: true,
    };
    let timeout =
        options.timeout_seconds.filter(|seconds| *seconds > 0).map_or_else(default_timeout, Duration::from_secs);
    Ok(Stream {
        watcher: store.watch(&spec).sparse(),
        initial: initial.then(|| Rows::new(call, picture, None, selection.clone())),
        marked: marked && options.bookmarks,
        registry: call.api.registry.clone(),
        kind: call.kind,
        selection,
        view,
        bookmarks: options.bookmarks,
        ready: VecDeque::new(),
        deadline: Instant::now() + timeout,
        ended: false,
        sent: call.api.metrics.events(call.kind),
    })
}

fn default_timeout() -> Duration {
    let share = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    TIMEOUT + TIMEOUT * share / 255
}

impl Stream {
    /// The next lines; none when the watch is over.
    async fn piece(&mut self) -> Option<Bytes> {
        loop {
            let waiting = self.ready.len();
            if let Some(piece) = joined(&mut self.ready) {
                self.sent.add((waiting - self.ready.len()) as u64);
                return Some(piece);
            }
            if self.ended {
                return None;
            }
            if self.initial.is_some() {
                self.present();
                continue;
            }
            let quiet = self.deadline.min(Instant::now() + BOOKMARK);
            match tokio::time::timeout_at(quiet, self.watcher.next()).await {
                Ok(Ok(batch)) => {
                    for event in &batch.events {
                        self.event(event);
                    }
                }
                Ok(Err(error)) => self.end(&error),
                Err(_) => {
                    self.ended = Instant::now() >= self.deadline;
                    if let Some(reached) = self.watcher.progress().filter(|_| self.bookmarks) {
                        self.bookmark(reached, false);
                    }
                }
            }
        }
    }

    /// What there is, in pieces.
    fn present(&mut self) {
        let Some(mut rows) = self.initial.take() else { return };
        let mut bytes = 0;
        let written = rows.each(|stored, revision| {
            let line = self.line(KINDS[ADDED], stored, revision)?;
            bytes += line.len();
            self.ready.push_back(line);
            Ok(bytes < PIECE)
        });
        match written {
            Ok(false) => self.initial = Some(rows),
            Ok(true) if self.marked => self.bookmark(rows.revision(), true),
            Ok(true) => {}
            Err(status) => self.fail(&status),
        }
    }

    /// What one change means to a client that sees only a selection.
    fn event(&mut self, event: &Occurrence) {
        match self.change(event) {
            Ok(Some(line)) => self.ready.push_back(line),
            Ok(None) => {}
            Err(status) => self.fail(&status),
        }
    }

    fn change(&mut self, event: &Occurrence) -> Result<Option<Bytes>, Status> {
        let Some(kv) = &event.kv else { return Ok(None) };
        // Objects that are shown as another kind are not what the others send.
        let shared = if event_view::is_view(self.kind) { Arc::default() } else { event.note(Shared::default) };
        let (kind, state) = match self.concerns(event, kv, &shared)? {
            (false, true) => (ADDED, Some(kv)),
            (true, true) => (MODIFIED, Some(kv)),
            // Gone, or gone from the selection: the last state, at the revision of its end.
            (true, false) => (DELETED, event.prev_kv.as_ref()),
            (false, false) => return Ok(None),
        };
        let Some(state) = state else { return Ok(None) };
        let line = Some(&shared.lines[kind]).filter(|_| matches!(self.view, Shown::Plain));
        if let Some(held) = line.and_then(OnceLock::get) {
            return Ok(Some(held.clone()));
        }
        let registry = self.registry.clone();
        let made = self.line(KINDS[kind], &registry.opened_as(self.kind, state)?, kv.mod_revision)?;
        Ok(Some(line.map_or_else(|| made.clone(), |line| line.get_or_init(|| made.clone()).clone())))
    }

    /// Whether the object was selected before an event, and is after it.
    fn concerns(&self, event: &Occurrence, kv: &KeyValue, shared: &Shared) -> Result<(bool, bool), Status> {
        let exists = (event.prev_kv.is_some(), event.r#type() != EventType::Delete);
        match self.selection.by_place(place(self.kind, &kv.key)) {
            Some(true) => return Ok(exists),
            Some(false) => return Ok((false, false)),
            None => {}
        }
        let decoded = match shared.decoded.get() {
            Some(decoded) => decoded,
            None => {
                let decode = |kv: &KeyValue| self.registry.open_as(self.kind, kv).map(|stored| stored.value);
                let old = event.prev_kv.as_ref().map(decode).transpose()?;
                let new = Some(kv).filter(|_| exists.1).map(decode).transpose()?;
                shared.decoded.get_or_init(|| (old, new))
            }
        };
        let takes = |object: &Option<Value>| object.as_ref().is_some_and(|object| self.selection.takes(object));
        Ok((takes(&decoded.0), takes(&decoded.1)))
    }

    /// An event about an object.
    fn line(&mut self, kind: &str, stored: &[u8], revision: Revision) -> Result<Bytes, Status> {
        let mut line = begun(kind, stored.len());
        let spliced = match self.view {
            Shown::Plain => splice::object(stored, revision, Part::Whole, &mut line),
            Shown::Metadata(version) => splice::partial(stored, revision, version, &mut line),
            Shown::Table(..) => None,
        };
        if spliced.is_none() {
            let mut object: Value = serde_json::from_slice(stored).map_err(Status::internal)?;
            object["metadata"]["resourceVersion"] = revision.to_string().into();
            let shown = self.shown(object);
            serde_json::to_writer(&mut line, &shown).map_err(Status::internal)?;
        }
        line.extend_from_slice(b"}\n");
        Ok(line.into())
    }

    fn shown(&mut self, object: Value) -> Value {
        match &mut self.view {
            Shown::Plain => object,
            Shown::Metadata(version) => table::partial(&object, version),
            Shown::Table(style, columns_sent) => {
                let mut table = style.table(&object, Timestamp::now());
                if std::mem::replace(columns_sent, true) {
                    table["columnDefinitions"] = Value::Null;
                }
                table
            }
        }
    }

    fn push(&mut self, kind: &str, object: &Value) {
        let mut line = begun(kind, 256);
        // A value is JSON, and writing to memory does not fail.
        let written = serde_json::to_writer(&mut line, object);
        debug_assert!(written.is_ok());
        line.extend_from_slice(b"}\n");
        self.ready.push_back(line.into());
    }

    fn bookmark(&mut self, revision: Revision, initial_end: bool) {
        let mut object = json!({
            "kind": self.kind.kind, "apiVersion": self.kind.api_version(),
            "metadata": { "resourceVersion": revision.to_string() },
        });
        if initial_end {
            object["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        if let Shown::Metadata(version) = self.view {
            object = table::partial(&object, version);
        }
        self.push("BOOKMARK", &object);
    }

    fn end(&mut self, error: &WatchError) {
        self.ended = true;
        if let WatchError::Compacted { compact_revision } = error {
            let text = format!("too old resource version: {} ({compact_revision})", self.watcher.synced());
            self.fail(&Status::new(410, "Expired", text));
        }
    }

    /// The last thing a client hears: it begins again.
    fn fail(&mut self, status: &Status) {
        self.ended = true;
        self.initial = None;
        self.push("ERROR", &status.to_json());
    }
}

/// The beginning of a line.
fn begun(kind: &str, capacity: usize) -> Vec<u8> {
    let mut line = Vec::with_capacity(capacity + 96);
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(kind.as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    line
}

/// Waiting lines as one piece; one line alone as it is.
fn joined(ready: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let first = ready.pop_front()?;
    if ready.is_empty() {
        return Some(first);
    }
    let mut piece = BytesMut::with_capacity(PIECE);
    piece.extend_from_slice(&first);
    while let Some(line) = ready.front().filter(|line| piece.len() + line.len() <= PIECE) {
        piece.extend_from_slice(line);
        ready.pop_front();
    }
    Some(piece.freeze())
}
