//! Where objects lie in the store: `/registry/<resource>/<namespace>/<name>`.

use crate::kind::Kind;

/// All objects of the API lie below it.
pub const ROOT: &str = "/registry/";

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
