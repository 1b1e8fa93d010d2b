//! A pod as checks look at it, and how they say what is wrong.

use std::collections::BTreeSet;

use serde_json::Value;

/// A pod or a template of one.
pub(super) struct Pod<'a> {
    pub(super) metadata: &'a Value,
    pub(super) spec: &'a Value,
}

/// A broken check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) reason: String,
    pub(super) detail: String,
}

impl Violation {
    pub(super) fn new(reason: &str, detail: String) -> Option<Violation> {
        Some(Violation { reason: reason.to_owned(), detail })
    }
}

impl<'a> Pod<'a> {
    /// All containers: those that come first first.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| spec[list].as_array().into_iter().flatten())
    }

    /// The names of the containers of which something holds.
    pub(super) fn named(&self, bad: impl Fn(&Value) -> bool) -> Vec<String> {
        self.containers().filter(|container| bad(container)).map(name).collect()
    }

    pub(super) fn windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }

    /// Its users are not those of the node.
    pub(super) fn own_users(&self) -> bool {
        self.spec["hostUsers"] == false
    }

    /// `pod` and the containers that set something wrong in their `securityContext`, with what they set.
    pub(super) fn setters(&self, wrong: impl Fn(&Value) -> Option<String>) -> (Vec<String>, BTreeSet<String>) {
        let (mut setters, mut values) = (Vec::new(), BTreeSet::new());
        if let Some(value) = wrong(&self.spec["securityContext"]) {
            setters.push("pod".to_owned());
            values.insert(value);
        }
        let mut bad = Vec::new();
        for container in self.containers() {
            if let Some(value) = wrong(&container["securityContext"]) {
                bad.push(name(container));
                values.insert(value);
            }
        }
        setters.extend(containers(&bad));
        (setters, values)
    }
}

pub(super) fn name(object: &Value) -> String {
    object["name"].as_str().unwrap_or_default().to_owned()
}

/// `container "a"`, `containers "a", "b"`; none without any.
pub(super) fn containers(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| format!("{} {}", plural(names.len(), "container"), quoted(names)))
}

pub(super) fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// The verb of so many.
pub(super) fn uses(count: usize) -> &'static str {
    if count == 1 { "uses" } else { "use" }
}

pub(super) fn quoted<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    words.into_iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// All of it, in words.
pub(super) fn detailed(broken: &[Violation]) -> String {
    let one = |violation: &Violation| match violation.detail.as_str() {
        "" => violation.reason.clone(),
        detail => format!("{} ({detail})", violation.reason),
    };
    broken.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// In short.
pub(super) fn reasons(broken: &[Violation]) -> String {
    broken.iter().map(|violation| violation.reason.as_str()).collect::<Vec<_>>().join(", ")
}
