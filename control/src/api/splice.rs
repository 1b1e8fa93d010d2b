//! PURE: stored objects as answers, without decoding them: the resourceVersion is put into the bytes.
//!
//! Objects are stored as compact JSON with sorted keys and no resourceVersion. What does not look like that is left to
//! the caller, who decodes it.

/// What of an object is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// Without `apiVersion` and `kind`: an item of a list does not repeat what the list says.
    Bare,
}

/// Writes an object at a revision; nothing when the bytes are not as they are stored.
pub(crate) fn object(stored: &[u8], revision: i64, part: Part, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let written = members(stored, revision, part, out);
    if written.is_none() {
        out.truncate(start);
    }
    written
}

fn members(stored: &[u8], revision: i64, part: Part, out: &mut Vec<u8>) -> Option<()> {
    let mut at = 0;
    take(stored, &mut at, b'{')?;
    out.push(b'{');
    let mut first = true;
    loop {
        let start = at;
        let key = string(stored, &mut at)?;
        take(stored, &mut at, b':')?;
        let metadata = key == b"metadata";
        if metadata {
            separate(&mut first, out);
            out.extend_from_slice(b"\"metadata\":");
            at = spliced(stored, at, revision, out)?;
            // Keys are sorted: nothing that is left out follows.
            out.extend_from_slice(&stored[at..]);
            return Some(());
        }
        skip(stored, &mut at)?;
        if part == Part::Whole || !matches!(key, b"apiVersion" | b"kind") {
            separate(&mut first, out);
            out.extend_from_slice(&stored[start..at]);
        }
        take(stored, &mut at, b',')?;
    }
}

/// An object's metadata as `PartialObjectMetadata` of a version of `meta.k8s.io`.
pub(crate) fn partial(stored: &[u8], revision: i64, version: &str, out: &mut Vec<u8>) -> Option<()> {
    let metadata = metadata(stored)?;
    out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/");
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(b"\",\"metadata\":");
    let rest = spliced(metadata, 0, revision, out)?;
    out.extend_from_slice(&metadata[rest..]);
    out.push(b'}');
    Some(())
}

/// The bytes of an object's metadata.
pub(crate) fn metadata(stored: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    take(stored, &mut at, b'{')?;
    loop {
        let key = string(stored, &mut at)?;
        take(stored, &mut at, b':')?;
        let start = at;
        skip(stored, &mut at)?;
        if key == b"metadata" {
            return Some(&stored[start..at]);
        }
        take(stored, &mut at, b',')?;
    }
}

/// Begins the metadata that lies at a place with its resourceVersion; answers where the rest goes on.
fn spliced(stored: &[u8], mut at: usize, revision: i64, out: &mut Vec<u8>) -> Option<usize> {
    take(stored, &mut at, b'{')?;
    out.extend_from_slice(b"{\"resourceVersion\":\"");
    out.extend_from_slice(revision.to_string().as_bytes());
    out.push(b'"');
    if *stored.get(at)? != b'}' {
        out.push(b',');
    }
    Some(at)
}

fn separate(first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::replace(first, false) {
        out.push(b',');
    }
}

fn take(text: &[u8], at: &mut usize, sign: u8) -> Option<()> {
    (*text.get(*at)? == sign).then(|| *at += 1)
}

/// A string that begins here, as it is written between its quotes.
fn string<'a>(text: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    take(text, at, b'"')?;
    let start = *at;
    loop {
        match *text.get(*at)? {
            b'"' => break,
            b'\\' => *at += 2,
            _ => *at += 1,
        }
    }
    *at += 1;
    Some(&text[start..*at - 1])
}

/// Passes a value.
fn skip(text: &[u8], at: &mut usize) -> Option<()> {
    let mut depth = 0_usize;
    loop {
        match *text.get(*at)? {
            b'"' => {
                string(text, at)?;
            }
            b'{' | b'[' => {
                depth += 1;
                *at += 1;
                continue;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                *at += 1;
            }
            b',' | b':' if depth > 0 => {
                *at += 1;
                continue;
            }
            b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' => return None,
            _ => scalar(text, at),
        }
        if depth == 0 {
            return Some(());
        }
    }
}

fn scalar(text: &[u8], at: &mut usize) {
    while text.get(*at).is_some_and(|letter| !matches!(letter, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t')) {
        *at += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn stored(object: &Value) -> Vec<u8> {
        serde_json::to_vec(object).expect("JSON")
    }

    fn written(object: &Value, part: Part) -> Value {
        let mut out = Vec::new();
        super::object(&stored(object), 7, part, &mut out).expect("as it is stored");
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn parts_are_cut_and_the_version_is_put_in() {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": "}\"\\,", "metadata": "x" },
            "metadata": { "name": "c", "labels": { "a": "b" } }, "zeta": [1, -2.5e3, null, [], {}, true],
        });
        let mut whole = object.clone();
        whole["metadata"]["resourceVersion"] = "7".into();
        assert_eq!(written(&object, Part::Whole), whole);
        let mut bare = whole.clone();
        bare.as_object_mut().expect("an object").retain(|key, _| key != "kind" && key != "apiVersion");
        assert_eq!(written(&object, Part::Bare), bare);
        let mut out = Vec::new();
        partial(&stored(&object), 7, "v1", &mut out).expect("as it is stored");
        let shown: Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(
            shown,
            json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": whole["metadata"] })
        );
        let none = json!({ "apiVersion": "v1", "kind": "X", "metadata": {} });
        assert_eq!(written(&none, Part::Bare), json!({ "metadata": { "resourceVersion": "7" } }));
    }

    #[test]
    fn what_is_written_otherwise_is_left_alone() {
        for text in [
            "",
            "{}",
            "[]",
            "{\"a\":1}",
            "{ \"metadata\": {} }",
            "{\"metadata\":{}",
            "{\"metadata\":1}",
            "{\"a\":}",
            "{\"a",
        ] {
            let mut out = b"before".to_vec();
            let done = super::object(text.as_bytes(), 1, Part::Whole, &mut out);
            assert!(done.is_none() || text == "{\"metadata\":{}", "{text}");
            if done.is_none() {
                assert_eq!(out, b"before", "{text}");
            }
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,6}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_bytes_mean_what_the_object_means(data in json(), labels in json(), tail in json()) {
            let object = json!({ "apiVersion": "v1", "data": data, "kind": "K", "metadata": { "labels": labels }, "spec": tail });
            let mut whole = object.clone();
            whole["metadata"]["resourceVersion"] = "7".into();
            prop_assert_eq!(written(&object, Part::Whole), whole.clone());
            let bytes = stored(&object);
            let metadata: Value = serde_json::from_slice(metadata(&bytes).expect("there")).expect("JSON");
            prop_assert_eq!(metadata, object["metadata"].clone());
        }
    }
}
