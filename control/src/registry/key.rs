//! Where objects lie in the store: `/registry/<resource>/<namespace>/<name>`.

use crate::kind::{ALL, Kind};

/// All objects of the API lie below it.
pub const ROOT: &str = "/registry/";

/// Which object.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its kind.
    pub kind: &'static Kind,
    /// Empty at the cluster scope.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// Where it lies.
    pub fn place(&self) -> String {
        object(self.kind, &self.namespace, &self.name)
    }

    fn parts(&self) -> (&str, &str, &str, &str) {
        (self.kind.resource, self.kind.group, &self.namespace, &self.name)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(&other.parts())
    }
}

/// Which object a key of the store names, if it is one of a kind that is served.
pub fn parse(place: &[u8]) -> Option<Key> {
    let place = std::str::from_utf8(place).ok()?.strip_prefix(ROOT)?;
    let (resource, rest) = place.split_once('/')?;
    let kind = ALL.iter().find(|kind| kind.stored && kind.resource == resource)?;
    let (namespace, name) = if kind.namespaced { rest.split_once('/')? } else { ("", rest) };
    Some(Key { kind, namespace: namespace.to_owned(), name: name.to_owned() })
}

/// The prefix of a kind's objects, of one namespace if any.
pub fn prefix(kind: &Kind, namespace: &str) -> String {
    let namespace = if kind.namespaced && !namespace.is_empty() { format!("{namespace}/") } else { String::new() };
    format!("{ROOT}{}/{namespace}", kind.resource)
}

/// The key of one object.
pub fn object(kind: &Kind, namespace: &str, name: &str) -> String {
    if kind.namespaced {
        format!("{ROOT}{}/{namespace}/{name}", kind.resource)
    } else {
        format!("{ROOT}{}/{name}", kind.resource)
    }
}

/// The first key after every key with this prefix (etcd's `range_end`).
pub fn range_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.last_mut() {
        if *last < 0xff {
            *last += 1;
            return end;
        }
        end.pop();
    }
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        assert_eq!(range_end("/registry/pods/"), b"/registry/pods0");
    }
}
