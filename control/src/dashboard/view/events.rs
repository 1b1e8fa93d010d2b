//! PURE: events, the newest first.

use askama::Template;
use jiff::Timestamp;
use serde_json::Value;

use super::{Cells, Link, Listing, State, Tone, number, word};
use crate::dashboard::place::{self, Place};
use crate::kind;

/// The table of events.
#[derive(Template)]
#[template(path = "dashboard/events.html")]
pub struct Events {
    /// The table's heading.
    pub title: &'static str,
    /// Said when there are none.
    pub empty: &'static str,
    /// The newest first.
    pub rows: Vec<EventRow>,
    /// How many there are besides.
    pub left: usize,
    /// Where to see all; empty on that page itself.
    pub all: String,
    /// Whether rows say what they are about: not on the page of that object.
    pub subjects: bool,
}

/// An event.
pub struct EventRow {
    /// How long ago it happened last.
    pub age: String,
    /// `Normal` or `Warning`.
    pub state: State,
    /// A word in camel case.
    pub reason: String,
    /// What it is about.
    pub about: Link,
    /// Its namespace.
    pub namespace: String,
    /// A sentence.
    pub message: String,
    /// How often it happened.
    pub count: i64,
}

/// When an event happened last.
pub fn last_seen(event: &Value) -> Option<Timestamp> {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    times.iter().find_map(|pointer| word(event, pointer).parse().ok())
}

/// Whether it tells of trouble.
pub fn warns(event: &Value) -> bool {
    word(event, "/type") == "Warning"
}

/// The newest `most` of the events that `wanted` takes.
pub fn events(
    listing: Listing,
    most: usize,
    now: Timestamp,
    wanted: impl Fn(&Value) -> bool,
) -> (Vec<EventRow>, usize) {
    let mut chosen: Vec<Value> = listing.items.into_iter().filter(|event| wanted(event)).collect();
    chosen.sort_by_cached_key(|event| std::cmp::Reverse(last_seen(event)));
    let left = chosen.len().saturating_sub(most);
    chosen.truncate(most);
    let cells = Cells::of(kind::core("events"), &chosen, now);
    let row = |(at, event): (usize, &Value)| EventRow {
        age: cells.text(at, "Last Seen"),
        state: State::new(word(event, "/type"), if warns(event) { Tone::Bad } else { Tone::Idle }),
        reason: word(event, "/reason").to_owned(),
        about: Link { text: cells.text(at, "Object"), href: href(event) },
        namespace: word(event, "/metadata/namespace").to_owned(),
        message: cells.text(at, "Message"),
        count: number(event, "/count").max(number(event, "/series/count")).max(1),
    };
    (chosen.iter().enumerate().map(row).collect(), left)
}

/// The page of what an event is about; empty when there is none.
fn href(event: &Value) -> String {
    let about = |field: &str| word(event, &format!("/involvedObject/{field}")).to_owned();
    let (namespace, name) = (about("namespace"), about("name"));
    let found = match about("kind").as_str() {
        "Pod" => Some(Place::Pod { namespace, name }),
        "Node" => Some(Place::Node { name }),
        other => {
            let kind = place::workloads().find(|kind| kind.kind == other);
            kind.map(|kind| Place::Workload { kind, namespace, name })
        }
    };
    found.map(|place| place.href()).unwrap_or_default()
}

/// Whether an event is about the object with this uid, or of this kind and name when it names no uid.
pub fn is_about(event: &Value, kind: &str, object: &Value) -> bool {
    let uid = word(event, "/involvedObject/uid");
    let same_name = || {
        word(event, "/involvedObject/kind") == kind
            && word(event, "/involvedObject/name") == word(object, "/metadata/name")
    };
    if uid.is_empty() { same_name() } else { uid == word(object, "/metadata/uid") || (kind == "Node" && same_name()) }
}
