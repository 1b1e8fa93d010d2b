//! PURE: pods: how they do, how often they began anew, what they said last.

use askama::Template;
use jiff::Timestamp;
use serde_json::Value;

use super::figures::{self, Usage};
use super::{Cells, Condition, Link, Listing, State, Tone, conditions, items, number, word};
use crate::dashboard::place::{Place, Scope};
use crate::kind;

/// The table of pods.
#[derive(Template)]
#[template(path = "dashboard/pods.html")]
pub struct Pods {
    /// The table's heading.
    pub title: &'static str,
    /// Said when there are none.
    pub empty: &'static str,
    /// By namespace and name.
    pub rows: Vec<PodRow>,
    /// How many there are besides.
    pub left: usize,
    /// Whether rows say their namespace.
    pub namespaces: bool,
    /// Whether rows say their node.
    pub nodes: bool,
    /// Whether anybody knows what they use.
    pub usage: bool,
}

/// A pod.
pub struct PodRow {
    /// Its name and its page.
    pub name: Link,
    /// Its namespace.
    pub namespace: String,
    /// Containers that are ready, of all.
    pub ready: String,
    /// How it does.
    pub state: State,
    /// How often its containers began anew.
    pub restarts: State,
    /// What it uses, as words.
    pub cpu: String,
    /// What it uses, as words.
    pub memory: String,
    /// Where it runs.
    pub node: Link,
    /// Its address.
    pub address: String,
    /// Since it was created.
    pub age: String,
}

/// One pod in full.
#[derive(Template)]
#[template(path = "dashboard/pod.html")]
pub struct Pod {
    /// As in the table.
    pub row: PodRow,
    /// Why it is as it is, when it says so.
    pub message: String,
    /// What it belongs to.
    pub owner: Link,
    /// Its containers, those that come first first.
    pub containers: Vec<Container>,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// A container.
pub struct Container {
    /// Its name.
    pub name: String,
    /// Whether it runs before the others.
    pub init: bool,
    /// What it runs.
    pub image: String,
    /// How it does.
    pub state: State,
    /// Why, or why it ended last.
    pub message: String,
    /// How often it began anew.
    pub restarts: i64,
}

/// The last lines of a container's log.
#[derive(Template)]
#[template(path = "dashboard/log.html")]
pub struct Log {
    /// Containers to choose from, and whether it is the one shown.
    pub containers: Vec<(Link, bool)>,
    /// The other log of the same container: before its last restart, or the newest.
    pub other: Option<Link>,
    /// The lines.
    pub text: String,
    /// Why there are none.
    pub error: String,
}

/// How a pod does, from the word that `kubectl get` has for it.
pub fn state(word: &str, ready: bool) -> State {
    let tone = match word {
        "Running" if ready => Tone::Good,
        "Completed" | "Succeeded" => Tone::Idle,
        "Running" | "Pending" | "ContainerCreating" | "PodInitializing" | "Terminating" | "SchedulingGated" => {
            Tone::Busy
        }
        // `Init:1/2`: on its way; `Init:Error`: not.
        other => match other.strip_prefix("Init:") {
            Some(step) if step.starts_with(|letter: char| letter.is_ascii_digit()) => Tone::Busy,
            _ => Tone::Bad,
        },
    };
    State::new(word, tone)
}

/// Rows of these pods.
pub fn rows(pods: &[Value], usage: &Usage, now: Timestamp) -> Vec<PodRow> {
    let cells = Cells::of(kind::core("pods"), pods, now);
    let row = |(at, pod): (usize, &Value)| {
        let own = |pointer: &str| word(pod, pointer).to_owned();
        let (namespace, name, node) = (own("/metadata/namespace"), own("/metadata/name"), own("/spec/nodeName"));
        let (ready, restarts) = (cells.text(at, "Ready"), cells.text(at, "Restarts"));
        let all_ready = ready.split_once('/').is_some_and(|(ready, all)| ready == all);
        let used = usage.pods.get(&(namespace.clone(), name.clone()));
        let href = Place::Pod { namespace: namespace.clone(), name: name.clone() }.href();
        PodRow {
            name: Link { text: name, href },
            state: state(&cells.text(at, "Status"), all_ready),
            restarts: State { tone: if restarts == "0" { Tone::Idle } else { Tone::Busy }, text: restarts },
            cpu: used.map_or_else(|| "—".to_owned(), |used| figures::cores(used.cpu)),
            memory: used.map_or_else(|| "—".to_owned(), |used| figures::bytes(used.memory)),
            node: if node.is_empty() {
                Link { text: "—".to_owned(), href: String::new() }
            } else {
                Link { href: Place::Node { name: node.clone() }.href(), text: node }
            },
            address: cells.text(at, "IP"),
            age: cells.text(at, "Age"),
            namespace,
            ready,
        }
    };
    pods.iter().enumerate().map(row).collect()
}

/// The table of the pods that `wanted` takes.
pub fn pods(listing: &Listing, usage: &Usage, now: Timestamp, wanted: impl Fn(&Value) -> bool) -> Pods {
    let mut chosen: Vec<Value> = listing.items.iter().filter(|pod| wanted(pod)).cloned().collect();
    let left = chosen.len().saturating_sub(super::ROWS_MAX);
    chosen.truncate(super::ROWS_MAX);
    Pods {
        title: "Pods",
        empty: "",
        rows: rows(&chosen, usage, now),
        left,
        namespaces: false,
        nodes: true,
        usage: !usage.pods.is_empty(),
    }
}

/// One pod; none when it says nothing of itself.
pub fn pod(object: &Value, usage: &Usage, now: Timestamp) -> Option<Pod> {
    let row = rows(std::slice::from_ref(object), usage, now).pop()?;
    let waits = items(object, "/status/conditions")
        .iter()
        .find(|held| held["type"] == "PodScheduled" && held["status"] == "False");
    let message = [word(object, "/status/message"), waits.map(|held| word(held, "/message")).unwrap_or_default()];
    let containers = |field: &str, status: &str, init: bool| -> Vec<Container> {
        let statuses = items(object, &format!("/status/{status}"));
        let all = items(object, &format!("/spec/{field}")).iter();
        all.map(|spec| container(spec, statuses.iter().find(|held| held["name"] == spec["name"]), init)).collect()
    };
    let mut all = containers("initContainers", "initContainerStatuses", true);
    all.extend(containers("containers", "containerStatuses", false));
    Some(Pod {
        row,
        message: message.into_iter().find(|text| !text.is_empty()).unwrap_or_default().to_owned(),
        owner: owner(object),
        containers: all,
        conditions: conditions(object, &["DisruptionTarget"]),
    })
}

fn container(spec: &Value, status: Option<&Value>, init: bool) -> Container {
    let status = status.unwrap_or(&Value::Null);
    let state = &status["state"];
    let ended = |ended: &Value| {
        let code = number(ended, "/exitCode");
        let reason = word(ended, "/reason");
        (if reason.is_empty() { "Ended".to_owned() } else { reason.to_owned() }, code)
    };
    let (shown, mut message) = if state["running"].is_object() {
        let ready = status["ready"] == true || init;
        (
            State::new(if ready { "Running" } else { "Not ready" }, if ready { Tone::Good } else { Tone::Busy }),
            String::new(),
        )
    } else if state["terminated"].is_object() {
        let (reason, code) = ended(&state["terminated"]);
        let tone = if code == 0 { Tone::Idle } else { Tone::Bad };
        let text = if code == 0 { reason } else { format!("{reason} ({code})") };
        (State::new(text, tone), word(state, "/terminated/message").to_owned())
    } else {
        let reason = word(state, "/waiting/reason");
        let reason = if reason.is_empty() { "Waiting" } else { reason };
        (pods_waiting(reason), word(state, "/waiting/message").to_owned())
    };
    let last = &status["lastState"]["terminated"];
    if message.is_empty() && last.is_object() {
        let (reason, code) = ended(last);
        message = format!("Last ended: {reason}, exit code {code}");
    }
    Container {
        name: word(spec, "/name").to_owned(),
        init,
        image: word(spec, "/image").to_owned(),
        state: shown,
        message,
        restarts: number(status, "/restartCount"),
    }
}

fn pods_waiting(reason: &str) -> State {
    if reason == "Waiting" { State::new(reason, Tone::Busy) } else { state(reason, false) }
}

/// What a pod belongs to, and its page if it has one. A ReplicaSet's name without its hash is its Deployment's.
fn owner(object: &Value) -> Link {
    let owners = items(object, "/metadata/ownerReferences");
    let Some(owner) = owners.iter().find(|owner| owner["controller"] == true) else { return Link::default() };
    let (kind, name) = (word(owner, "/kind"), word(owner, "/name"));
    let found = kind::named(word(owner, "/apiVersion"), kind);
    let found = found.filter(|found| crate::dashboard::place::workloads().any(|kind| kind == *found));
    let namespace = word(object, "/metadata/namespace").to_owned();
    let place = found.map(|kind| Place::Workload { kind, namespace, name: name.to_owned() });
    Link { text: format!("{kind} {name}"), href: place.map(|place| place.href()).unwrap_or_default() }
}

/// The container whose log is shown: the one that was asked for, or the first.
pub fn logged<'a>(object: &'a Value, scope: &'a Scope) -> &'a str {
    if scope.container.is_empty() { word(object, "/spec/containers/0/name") } else { &scope.container }
}

/// The part of a pod's page that shows its log.
pub fn log(object: &Value, scope: &Scope, said: Result<&str, &str>) -> Log {
    let place = Place::Pod {
        namespace: word(object, "/metadata/namespace").to_owned(),
        name: word(object, "/metadata/name").to_owned(),
    };
    let shown = logged(object, scope);
    let link = |text: &str, container: &str, previous: bool| {
        let scope = Scope { container: container.to_owned(), previous, ..Scope::default() };
        Link { text: text.to_owned(), href: format!("{}{}#s-log", place.href(), scope.query()) }
    };
    let specs = items(object, "/spec/initContainers").iter().chain(items(object, "/spec/containers"));
    let names: Vec<&str> = specs.map(|spec| word(spec, "/name")).collect();
    let statuses =
        items(object, "/status/initContainerStatuses").iter().chain(items(object, "/status/containerStatuses"));
    let restarted = statuses.filter(|status| status["name"] == shown).any(|status| number(status, "/restartCount") > 0);
    Log {
        containers: names.iter().map(|name| (link(name, name, false), *name == shown)).collect(),
        other: match (scope.previous, restarted) {
            (true, _) => Some(link("Show the newest", shown, false)),
            (false, true) => Some(link("Show the one before the last restart", shown, true)),
            (false, false) => None,
        },
        text: plain(said.unwrap_or_default()),
        error: said.err().unwrap_or_default().to_owned(),
    }
}

/// A log without what is meant for terminals: escape sequences (ECMA-48, 5.3 and 5.6) and control characters.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => match letters.next() {
                Some('[') => while letters.next().is_some_and(|letter| !('@'..='~').contains(&letter)) {},
                Some(']') => {
                    while letters.next().is_some_and(|letter| letter != '\u{7}' && letter != '\u{1b}') {}
                    letters.next_if_eq(&'\\');
                }
                // A set of letters is named by one more letter (ECMA-35).
                Some('(' | ')' | '*' | '+') => drop(letters.next()),
                _ => {}
            },
            '\n' | '\t' => out.push(letter),
            letter if letter.is_control() => {}
            letter => out.push(letter),
        }
    }
    out
}
