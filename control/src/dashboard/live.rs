//! Pages that follow the cluster: the parts that have changed, as server-sent events
//! (WHATWG HTML, 9.2), no more often than a browser and this server can stand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use store::Watcher;
use store::api::{WatchBatch, WatchError, WatchSpec};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::api::answer::Body;
use crate::dashboard::answer::said;
use crate::dashboard::draw::Entered;
use crate::dashboard::order::Refusal;
use crate::dashboard::place::{Place, Scope};
use crate::dashboard::view::page::Page;
use crate::dashboard::{Dashboard, Visitor};
use crate::registry::key;

/// Between two drawings, at least: changes that come closer together are shown together.
const PAUSE: Duration = Duration::from_millis(400);
/// A page that takes long to draw is drawn more seldom: the pause is so many times what it took.
const SHARE: u32 = 10;
/// Ages, usage and logs change without an object changing.
const IDLE: Duration = Duration::from_secs(5);
/// The same, for a page with a log.
const IDLE_LOG: Duration = Duration::from_secs(2);
/// A stream lasts so long; browsers come again by themselves.
const LASTS: Duration = Duration::from_secs(30 * 60);
/// Resources that no page shows and that change often.
const QUIET: &[&str] = &["leases", "endpoints", "endpointslices"];

/// A browser that follows a page.
struct Follower {
    dashboard: Arc<Dashboard>,
    visitor: Visitor,
    place: Place,
    scope: Scope,
    watcher: Watcher,
    /// What the browser has.
    sent: BTreeMap<&'static str, String>,
    /// Why the page could not be drawn last time.
    refused: Option<Refusal>,
    /// Something has changed since the last drawing.
    changed: bool,
    /// Not drawn before.
    due: Instant,
    /// Drawn again then, changed or not.
    idle: Instant,
    end: Instant,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

/// The answer to who is not logged in any more: a stream that says so and asks not to come again.
pub(super) fn over() -> Response<Body> {
    stream_of(Full::new(event("over", &json!({}))).boxed_unsync())
}

fn stream_of(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// One event. JSON has no line breaks, which events could not hold.
fn event(name: &str, data: &Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

fn watch(dashboard: &Dashboard) -> Watcher {
    let spec = WatchSpec {
        key: key::ROOT.into(),
        range_end: key::range_end(key::ROOT).into(),
        start_revision: 0,
        prev_kv: false,
    };
    dashboard.api.registry.store().watch(&spec)
}

impl Dashboard {
    /// Follows a page until the browser leaves.
    pub(super) fn follow(self: &Arc<Self>, visitor: Visitor, place: Place, scope: Scope) -> Response<Body> {
        let Ok(permit) = Arc::clone(&self.streams).try_acquire_owned() else {
            return said(503, "Too many browsers follow this server; this page does not update itself.");
        };
        let now = Instant::now();
        let follower = Follower {
            watcher: watch(self),
            dashboard: Arc::clone(self),
            visitor,
            place,
            scope,
            sent: BTreeMap::new(),
            refused: None,
            changed: true,
            due: now,
            idle: now,
            end: now + LASTS,
            over: false,
            _permit: permit,
        };
        let frames = stream::unfold(follower, |mut follower| async move {
            let bytes = follower.next().await?;
            Some((Ok(Frame::data(bytes)), follower))
        });
        stream_of(StreamBody::new(frames).boxed_unsync())
    }
}

impl Follower {
    /// The next event; none when the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        let stop = self.dashboard.stop.clone();
        while !self.over {
            let next = if self.changed { self.due } else { self.idle.max(self.due) };
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.end) => return None,
                batch = self.watcher.next(), if !self.changed => self.heard(batch)?,
                () = tokio::time::sleep_until(next) => {
                    if let Some(bytes) = self.draw().await {
                        return Some(bytes);
                    }
                }
            }
        }
        None
    }

    /// Notes that something has changed; none when the store has stopped.
    fn heard(&mut self, batch: Result<WatchBatch, WatchError>) -> Option<()> {
        match batch {
            Ok(batch) => {
                let keys =
                    batch.events.iter().filter_map(|event| event.kv.as_ref()).filter_map(|kv| key::parse(&kv.key));
                self.changed |= keys.into_iter().any(|key| !QUIET.contains(&key.kind.resource));
            }
            // Drawing looks at everything as it is now, so nothing is missed by skipping what was compacted.
            Err(WatchError::Compacted { .. }) => {
                self.watcher = watch(&self.dashboard);
                self.changed = true;
            }
            Err(WatchError::Stopped) => return None,
        }
        Some(())
    }

    /// Draws, and says what has changed for the browser; none when nothing has.
    async fn draw(&mut self) -> Option<Bytes> {
        let began = Instant::now();
        let dashboard = Arc::clone(&self.dashboard);
        // A token may have ended, or its account be gone, since the last time.
        match dashboard.authenticate(&self.visitor.session.token).await {
            Ok(user) => self.visitor.user = user,
            Err(_) => {
                self.over = true;
                return Some(event("over", &json!({})));
            }
        }
        if self.visitor.session.until <= jiff::Timestamp::now().as_second() {
            self.over = true;
            return Some(event("over", &json!({})));
        }
        self.changed = false;
        let view = dashboard.api.registry.store().view();
        let drawn = dashboard.draw(&self.visitor, &self.place, &self.scope, Entered::default(), view).await;
        self.due = Instant::now() + PAUSE.max(began.elapsed() * SHARE);
        self.idle = Instant::now() + if matches!(self.place, Place::Pod { .. }) { IDLE_LOG } else { IDLE };
        match drawn.page {
            Ok(page) => {
                self.refused = None;
                let first = self.sent.is_empty();
                let parts = fresh(&mut self.sent, page);
                // The first event also says that the page is followed.
                (first || !parts.is_empty()).then(|| event("draw", &json!({ "parts": parts })))
            }
            Err(refusal) if self.refused.as_ref() == Some(&refusal) => None,
            Err(refusal) => {
                let gone = event("gone", &json!({ "message": refusal.message }));
                self.refused = Some(refusal);
                self.sent.clear();
                Some(gone)
            }
        }
    }
}

/// The parts that differ from what was sent; notes that they are sent now.
fn fresh(sent: &mut BTreeMap<&'static str, String>, page: Page) -> BTreeMap<&'static str, String> {
    let live = page.sections.into_iter().filter(|section| section.live);
    let parts =
        live.filter(|section| sent.get(section.id) != Some(&section.html)).map(|section| (section.id, section.html));
    let parts: BTreeMap<&'static str, String> = parts.collect();
    sent.extend(parts.iter().map(|(id, html)| (*id, html.clone())));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::view::page::Section;

    #[test]
    fn only_what_has_changed_is_sent_and_never_what_people_type_in() {
        let page = |pods: &str| {
            let part = |id, html: &str, live| Section { id, class: "", live, html: html.to_owned() };
            Page {
                sections: vec![part("pods", pods, true), part("nodes", "n", true), part("actions", pods, false)],
                ..Page::default()
            }
        };
        let mut sent = BTreeMap::new();
        let names = |parts: BTreeMap<&'static str, String>| parts.into_keys().collect::<Vec<_>>();
        assert_eq!(names(fresh(&mut sent, page("1"))), ["nodes", "pods"]);
        assert_eq!(names(fresh(&mut sent, page("1"))), Vec::<&str>::new());
        assert_eq!(names(fresh(&mut sent, page("2"))), ["pods"]);
    }

    #[test]
    fn events_are_two_lines_and_an_empty_one() {
        let bytes = event("draw", &json!({ "parts": { "a": "x\ny" } }));
        assert_eq!(bytes.as_ref(), b"event: draw\ndata: {\"parts\":{\"a\":\"x\\ny\"}}\n\n");
    }
}
