//! PURE: what pages show: objects in, rows of words out. Each model is also the template that lays it out.

pub mod cluster;
pub mod events;
pub mod figures;
pub mod nodes;
pub mod page;
pub mod pods;
pub mod workloads;

#[cfg(test)]
mod tests;

use askama::Template;
use jiff::Timestamp;
use serde_json::Value;

use crate::dashboard::order::Refusal;
use crate::dashboard::view::pods::PodRow;
use crate::dashboard::view::workloads::WorkloadRow;
use crate::kind::Kind;
use crate::table::{Include, Style};

/// Rows of one table at most; what is left out is said below it.
pub const ROWS_MAX: usize = 250;

/// How something does: a colour and a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Neither here nor there.
    Idle,
    /// On its way.
    Busy,
    /// Somebody should look.
    Bad,
}

impl Tone {
    /// The style sheet's word.
    pub fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Idle => "idle",
            Tone::Busy => "busy",
            Tone::Bad => "bad",
        }
    }
}

/// A word for how something does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The word.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
}

impl State {
    /// A word and how it is meant.
    pub fn new(text: impl Into<String>, tone: Tone) -> State {
        State { text: text.into(), tone }
    }

    /// What it is to who hears a page instead of seeing it.
    pub fn role(&self) -> &'static str {
        if self.tone == Tone::Bad { "alert" } else { "status" }
    }
}

/// A name that leads somewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// What is shown.
    pub text: String,
    /// Where it leads; empty for nowhere.
    pub href: String,
}

/// The objects of a kind that somebody may see.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// By namespace and name.
    pub items: Vec<Value>,
    /// There are more than were read.
    pub more: bool,
}

/// Where objects come from: one revision, one user.
pub trait Source {
    /// All of a kind, or those of one namespace.
    ///
    /// # Errors
    /// When the user may not.
    fn list(&self, kind: &'static Kind, namespace: &str) -> Result<Listing, Refusal>;

    /// One object.
    ///
    /// # Errors
    /// When it is not there, or the user may not.
    fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<Value, Refusal>;
}

/// Instead of what somebody may not see, or what is not there.
#[derive(Template)]
#[template(path = "dashboard/refused.html")]
pub struct Refused<'a> {
    /// Names the part of the page.
    pub id: &'a str,
    /// What it would have been.
    pub title: &'a str,
    /// Why not.
    pub message: &'a str,
    /// Whether another choice of namespace may help.
    pub narrow: bool,
}

/// What does not do well, the worst first.
#[derive(Template)]
#[template(path = "dashboard/troubles.html")]
pub struct Troubles {
    /// The first of them.
    pub rows: Vec<Trouble>,
    /// How many there are besides.
    pub left: usize,
    /// Nothing is deployed at all.
    pub nothing: bool,
}

/// A workload or a pod that does not do well.
pub struct Trouble {
    /// Its name and its page.
    pub name: Link,
    /// What it is.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// How it does.
    pub state: State,
    /// Pods or containers that are ready, of all.
    pub ready: String,
    /// How often its containers began anew; empty for what is no pod.
    pub restarts: String,
    /// Since it was created.
    pub age: String,
}

impl Troubles {
    /// The first `most` of these.
    pub fn new(workloads: Vec<WorkloadRow>, pods: Vec<PodRow>, most: usize, nothing: bool) -> Troubles {
        let workloads = workloads.into_iter().map(|row| Trouble {
            name: row.name,
            kind: row.kind,
            namespace: row.namespace,
            state: row.state,
            ready: row.ready,
            restarts: String::new(),
            age: row.age,
        });
        let pods = pods.into_iter().map(|row| Trouble {
            name: row.name,
            kind: "Pod",
            namespace: row.namespace,
            state: row.state,
            ready: row.ready,
            restarts: row.restarts.text,
            age: row.age,
        });
        let mut rows: Vec<Trouble> = workloads.chain(pods).filter(|row| row.state.tone > Tone::Idle).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.state.tone));
        let left = rows.len().saturating_sub(most);
        rows.truncate(most);
        Troubles { rows, left, nothing }
    }
}

/// What `kubectl get` shows of objects, by column.
pub struct Cells {
    columns: Vec<&'static str>,
    rows: Vec<Value>,
}

impl Cells {
    /// Of these objects.
    pub fn of(kind: &'static Kind, objects: &[Value], now: Timestamp) -> Cells {
        let style = Style { kind, version: "v1", include: Include::None };
        Cells { columns: style.names().collect(), rows: objects.iter().map(|object| style.row(object, now)).collect() }
    }

    /// A cell's words; a column that the kind does not have is empty.
    pub fn text(&self, row: usize, column: &str) -> String {
        let at = self.columns.iter().position(|name| *name == column);
        match at.and_then(|at| self.rows.get(row)?["cells"].get(at)) {
            Some(Value::String(text)) if text == "<none>" || text == "<unknown>" => "—".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        }
    }
}

/// A word of an object; empty when it is not there.
pub fn word<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A number of an object; 0 when it is not there.
pub fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// A list of an object; empty when it is not there.
pub fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Whether an object is owned by the one with this uid.
pub fn owned_by(object: &Value, uid: &str) -> bool {
    items(object, "/metadata/ownerReferences").iter().any(|owner| owner["uid"] == uid)
}

/// A condition's status: `True`, `False`, `Unknown`; empty when the object has no such condition.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let found = items(object, "/status/conditions").iter().find(|condition| condition["type"] == kind);
    found.map(|condition| word(condition, "/status")).unwrap_or_default()
}

/// A row of a list of conditions.
pub struct Condition {
    /// e.g. `Available`.
    pub kind: String,
    /// `True`, and whether that is good.
    pub state: State,
    /// A word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// The conditions of an object; `bad` names those that are good when they are not true.
pub fn conditions(object: &Value, bad: &[&str]) -> Vec<Condition> {
    let row = |condition: &Value| {
        let (kind, status) = (word(condition, "/type"), word(condition, "/status"));
        let wanted = if bad.contains(&kind) || kind.ends_with("Pressure") { "False" } else { "True" };
        let tone = if status == wanted { Tone::Good } else { Tone::Bad };
        Condition {
            kind: kind.to_owned(),
            state: State::new(status, tone),
            reason: word(condition, "/reason").to_owned(),
            message: word(condition, "/message").to_owned(),
        }
    };
    items(object, "/status/conditions").iter().map(row).collect()
}
