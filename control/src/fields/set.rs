//! Sets of fields, in the very form in which objects hold them: FieldsV1.
//!
//! A node without children is a member; one with children is a member when it holds `.` too. The root stands for the
//! object and is never a member. Source: sigs.k8s.io/structured-merge-diff `fieldpath/set.go`.

use serde_json::{Map, Value};

use crate::fields::element::{self, SELF};

/// Fields below a place: the inside of a node.
pub(crate) type Node = Map<String, Value>;

/// Nesting of a client's field sets at most.
const DEPTH_MAX: u32 = 128;

/// A set of fields of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set(pub(crate) Node);

impl Set {
    /// Reads what a client wrote. Elements of unknown kinds are dropped.
    ///
    /// # Errors
    /// When it is no set.
    pub fn parse(value: &Value) -> Result<Set, String> {
        match value {
            Value::Null => Ok(Set::default()),
            Value::Object(node) => Ok(Set(parse(node, DEPTH_MAX)?)),
            _ => Err("a set of fields is an object".to_owned()),
        }
    }

    /// As objects hold it.
    pub fn into_value(self) -> Value {
        self.0.into()
    }

    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a path is a member.
    pub fn has(&self, path: &[&str]) -> bool {
        let mut node = &self.0;
        for element in path {
            match node.get(*element) {
                Some(Value::Object(child)) => node = child,
                _ => return false,
            }
        }
        !path.is_empty() && is_member(node)
    }

    /// Adds the members of another.
    pub fn add(&mut self, other: &Set) {
        add_children(&mut self.0, &other.0);
    }

    /// Takes away the members of another; members below them stay.
    pub fn subtract(&mut self, other: &Set) {
        subtract_children(&mut self.0, &other.0, false);
    }

    /// Takes away the members of another and all that lies below them.
    pub fn subtract_below(&mut self, other: &Set) {
        subtract_children(&mut self.0, &other.0, true);
    }

    /// What is in both.
    pub fn common(&self, other: &Set) -> Set {
        Set(common_children(&self.0, &other.0))
    }

    /// Members as messages show them, in Kubernetes' order: those of a place before those below it.
    pub fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        paths(&self.0, "", &mut found);
        found
    }
}

pub(crate) fn is_member(node: &Node) -> bool {
    node.is_empty() || node.contains_key(SELF)
}

/// Makes a place a member; `None` is one where nothing is a member yet.
pub(crate) fn mark(node: &mut Option<Node>) {
    match node {
        None => *node = Some(Node::new()),
        Some(held) if !held.is_empty() => {
            held.insert(SELF.to_owned(), Node::new().into());
        }
        Some(_) => {}
    }
}

/// Puts a node below another that is not marked yet.
pub(crate) fn put(parent: &mut Option<Node>, element: impl FnOnce() -> String, node: Option<Node>) {
    if let Some(node) = node {
        parent.get_or_insert_default().insert(element(), node.into());
    }
}

fn inner(value: &Value) -> &Node {
    static EMPTY: std::sync::LazyLock<Node> = std::sync::LazyLock::new(Node::new);
    value.as_object().unwrap_or(&EMPTY)
}

fn parse(node: &Node, depth: u32) -> Result<Node, String> {
    let depth = depth.checked_sub(1).ok_or("a set of fields is too deep")?;
    let mut parsed = Node::new();
    for (key, value) in node {
        let Value::Object(child) = value else { return Err(format!("{key}: expected an object")) };
        if key == SELF {
            parsed.insert(SELF.to_owned(), Node::new().into());
        } else if let Some(element) = element::canonical(key)? {
            parsed.insert(element, parse(child, depth)?.into());
        }
    }
    if parsed.len() == 1 && parsed.contains_key(SELF) {
        parsed.clear();
    }
    Ok(parsed)
}

fn add_children(node: &mut Node, other: &Node) {
    for (key, theirs) in other.iter().filter(|(key, _)| *key != SELF) {
        match node.get_mut(key) {
            Some(Value::Object(ours)) => {
                let theirs = inner(theirs);
                let member = is_member(ours) || is_member(theirs);
                add_children(ours, theirs);
                if member && !ours.is_empty() {
                    ours.insert(SELF.to_owned(), Node::new().into());
                }
            }
            _ => {
                node.insert(key.clone(), theirs.clone());
            }
        }
    }
}

fn subtract_children(node: &mut Node, other: &Node, below: bool) {
    node.retain(|key, ours| match (other.get(key), ours) {
        (Some(Value::Object(theirs)), Value::Object(ours)) if key != SELF => subtract(ours, theirs, below),
        _ => true,
    });
}

/// Whether anything is left.
fn subtract(node: &mut Node, other: &Node, below: bool) -> bool {
    let gone = is_member(other);
    if gone && below {
        return false;
    }
    let member = is_member(node) && !gone;
    node.remove(SELF);
    subtract_children(node, other, below);
    if member && !node.is_empty() {
        node.insert(SELF.to_owned(), Node::new().into());
    }
    member || !node.is_empty()
}

fn common_children(node: &Node, other: &Node) -> Node {
    let mut found = Node::new();
    for (key, ours) in node.iter().filter(|(key, _)| *key != SELF) {
        let Some(theirs) = other.get(key).map(inner) else { continue };
        let ours = inner(ours);
        let mut below = common_children(ours, theirs);
        let member = is_member(ours) && is_member(theirs);
        if member && !below.is_empty() {
            below.insert(SELF.to_owned(), Node::new().into());
        }
        if member || !below.is_empty() {
            found.insert(key.clone(), below.into());
        }
    }
    found
}

fn paths(node: &Node, prefix: &str, found: &mut Vec<String>) {
    let mut children: Vec<(&String, &Node)> =
        node.iter().filter(|(key, _)| *key != SELF).map(|(key, child)| (key, inner(child))).collect();
    children.sort_by(|a, b| element::order(a.0, b.0));
    let path = |key: &str| format!("{prefix}{}", element::shown(key));
    found.extend(children.iter().filter(|(_, child)| is_member(child)).map(|(key, _)| path(key)));
    for (key, child) in children {
        paths(child, &path(key), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn set(value: Value) -> Set {
        Set::parse(&value).expect("a set")
    }

    #[test]
    fn members_and_what_lies_below_are_told_apart() {
        let all = set(json!({ "f:a": { ".": {}, "f:b": {} }, "f:c": { "f:d": {} } }));
        assert!(all.has(&["f:a"]) && all.has(&["f:a", "f:b"]) && !all.has(&["f:c"]) && all.has(&["f:c", "f:d"]));
        let mut without = all.clone();
        without.subtract(&set(json!({ "f:a": {} })));
        assert_eq!(without, set(json!({ "f:a": { "f:b": {} }, "f:c": { "f:d": {} } })));
        let mut without = all.clone();
        without.subtract_below(&set(json!({ "f:a": {}, "f:c": {} })));
        assert!(without.is_empty());
        assert_eq!(all.paths(), [".a", ".a.b", ".c.d"]);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        assert!(Set::parse(&json!({ "name": {} })).is_err());
        assert!(Set::parse(&json!({ "f:a": 3 })).is_err());
        assert_eq!(Set::parse(&json!({ "f:a": { ".": {} }, "x:b": {} })), Ok(set(json!({ "f:a": {} }))));
    }

    fn any_set() -> impl Strategy<Value = Set> {
        let path = proptest::collection::vec(prop_oneof!["f:[ab]", Just("k:{\"n\":1}".to_owned())], 1..4);
        proptest::collection::vec(path, 0..6).prop_map(|paths| {
            let mut all = Set::default();
            for path in paths {
                let mut node = Some(Node::new());
                for element in path.iter().rev() {
                    let mut parent = None;
                    put(&mut parent, || element.clone(), node);
                    node = parent;
                }
                all.add(&Set(node.expect("has a path")));
            }
            all
        })
    }

    proptest! {
        #[test]
        fn sets_obey_the_laws_of_sets(a in any_set(), b in any_set()) {
            let (mut union, mut rest, mut mirrored) = (a.clone(), a.clone(), b.clone());
            union.add(&b);
            mirrored.add(&a);
            rest.subtract(&b);
            prop_assert_eq!(&union, &mirrored);
            prop_assert!(rest.common(&b).is_empty());
            rest.add(&a.common(&b));
            prop_assert_eq!(&rest, &a);
            let members = |set: &Set| set.paths().into_iter().collect::<std::collections::BTreeSet<_>>();
            prop_assert_eq!(members(&union), members(&a).union(&members(&b)).cloned().collect());
            prop_assert_eq!(members(&a.common(&b)), members(&a).intersection(&members(&b)).cloned().collect());
        }
    }
}
