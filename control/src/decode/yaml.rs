//! PURE: YAML as JSON would say it, and which keys it repeats.
//!
//! Source: sigs.k8s.io/yaml `YAMLToJSONStrict`.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;

use crate::decode::json::Node;

/// A text's value and its repeated keys, each as `line 7: key "a" already set in map`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse(text: &[u8]) -> Result<(Node, Vec<String>), String> {
    let text = std::str::from_utf8(text).map_err(|_| "yaml: invalid UTF-8".to_owned())?;
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // `defaultMode: 0644` is meant as files' modes are.
        legacy_octal_numbers: true,
    };
    let text = first_document(text);
    let mut repeated = Vec::new();
    let wrong = |error: serde_saphyr::Error| format!("error converting YAML to JSON: yaml: {}", said(&error));
    let node = serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        Reader { repeated: &mut repeated }.deserialize(deserializer)
    })
    .map_err(wrong)?;
    Ok((node, repeated))
}

/// The first document of a text: Kubernetes reads no other.
fn first_document(text: &str) -> &str {
    let (mut place, mut begun) = (0, false);
    for line in text.split_inclusive('\n') {
        let word = line.trim_end();
        let mark = word == "---" || line.starts_with("--- ");
        if begun && (mark || word == "...") {
            return &text[..place];
        }
        begun |= mark || !(word.is_empty() || word.starts_with(['#', '%']));
        place += line.len();
    }
    text
}

/// What is wrong, as Go's reader says it: with the line, unless it is the first.
fn said(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let Some((place, why)) = first.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) else {
        return first.to_owned();
    };
    match place.split(' ').next() {
        Some("1") | None => why.to_owned(),
        Some(line) => format!("line {line}: {why}"),
    }
}

struct Reader<'a> {
    repeated: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of YAML")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, held: bool) -> Result<Node, E> {
        Ok(Node::Bool(held))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Number(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Reader { repeated: &mut *self.repeated })? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut fields: Vec<(String, Node)> = Vec::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            let value = entries.next_value_seed(Reader { repeated: &mut *self.repeated })?;
            match fields.iter_mut().find(|(name, _)| *name == key.value) {
                // The last one counts, and the client is told.
                Some(held) => {
                    let line = key.referenced.line();
                    self.repeated.push(format!("line {line}: key {:?} already set in map", key.value));
                    held.1 = value;
                }
                None => fields.push((key.value, value)),
            }
        }
        Ok(Node::Object(fields))
    }
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Spanned<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Spanned::<String>::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::fit::plain;

    #[test]
    fn yaml_is_read_as_json_would_be() {
        let text = "a: 1\nb: [true, null, 1.5, \"7\"]\nc: |\n  one\n  two\nd: !!str 7\na: 2\n";
        let (node, repeated) = parse(text.as_bytes()).expect("reads");
        assert_eq!(plain(node).to_string(), r#"{"a":2,"b":[true,null,1.5,"7"],"c":"one\ntwo\n","d":"7"}"#);
        assert_eq!(repeated, ["line 7: key \"a\" already set in map"]);
        let wrong = parse(b"a: b: c").expect_err("no YAML");
        assert_eq!(wrong, "error converting YAML to JSON: yaml: mapping values are not allowed in this context");
        for (text, wanted) in [
            ("", "null"),
            ("# x\n---\na: 1\n---\nb: 2\n", r#"{"a":1}"#),
            ("a: 0644\n...\nb: [\n", r#"{"a":420}"#),
            ("a: &x {b: 1}\nc:\n  <<: *x\n  d: 2024-01-01\n", r#"{"a":{"b":1},"c":{"b":1,"d":"2024-01-01"}}"#),
            ("a: yes\n1: b\n", r#"{"1":"b","a":true}"#),
        ] {
            let (node, repeated) = parse(text.as_bytes()).expect(text);
            assert_eq!((plain(node).to_string().as_str(), repeated.len()), (wanted, 0), "{text}");
        }
    }
}
