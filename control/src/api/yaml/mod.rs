//! PURE: values as YAML, byte for byte as Kubernetes writes them: block style, keys in natural order, lines of 80.
//!
//! Source: go.yaml.in/yaml/v2 `encode.go`, `emitterc.go`, `sorter.go`, as sigs.k8s.io/yaml calls them.

mod order;
mod scalar;

use serde_json::Value;

/// Plain and quoted text is broken at the first space after this column.
const WIDTH: usize = 80;
/// A longer key is written in the form with a question mark.
const SIMPLE_KEY_MAX: usize = 128;

/// Where something stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Root,
    /// After `-`.
    Item,
    /// After `key:`.
    Field,
}

/// A value as a document.
pub(crate) fn write(value: &Value) -> String {
    let mut writer = Writer { out: String::new(), column: 0, whitespace: true, indention: true };
    writer.node(value, None, Context::Root);
    writer.indent(0);
    writer.out
}

/// Text so far, and what the next word needs before it.
struct Writer {
    out: String,
    column: usize,
    /// The last thing written separates.
    whitespace: bool,
    /// The line holds only indentation so far.
    indention: bool,
}

impl Writer {
    fn put(&mut self, letter: char) {
        self.out.push(letter);
        self.column += 1;
    }

    fn line_break(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    /// A new line if this one holds something, and the indentation.
    fn indent(&mut self, indent: usize) {
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.line_break();
        }
        while self.column < indent {
            self.put(' ');
        }
        (self.whitespace, self.indention) = (true, true);
    }

    fn sign(&mut self, sign: &str, separate: bool, indention: bool) {
        if separate && !self.whitespace {
            self.put(' ');
        }
        sign.chars().for_each(|letter| self.put(letter));
        self.whitespace = false;
        self.indention = self.indention && indention;
    }

    /// `indent`: that of the collection around, none at the root.
    fn node(&mut self, value: &Value, indent: Option<usize>, context: Context) {
        let deeper = indent.map_or(0, |indent| indent + 2);
        match value {
            Value::Object(fields) if fields.is_empty() => self.sign("{}", true, false),
            Value::Array(items) if items.is_empty() => self.sign("[]", true, false),
            Value::Object(fields) => {
                let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
                fields.sort_by(|a, b| order::natural(a.0, b.0));
                for (key, value) in fields {
                    self.field(key, value, deeper);
                }
            }
            Value::Array(items) => {
                // Lists in a mapping stand below their key, not further in.
                let at = if context == Context::Field { indent.unwrap_or(0) } else { deeper };
                for item in items {
                    self.indent(at);
                    self.sign("-", true, true);
                    self.node(item, Some(at), Context::Item);
                }
            }
            Value::String(text) => scalar::write(self, text, indent.map_or(0, |indent| indent + 2), false),
            other => scalar::plain(self, &other.to_string(), deeper, true),
        }
    }

    fn field(&mut self, key: &str, value: &Value, indent: usize) {
        self.indent(indent);
        if key.len() <= SIMPLE_KEY_MAX && !key.contains('\n') {
            scalar::write(self, key, indent + 2, true);
            self.sign(":", false, false);
        } else {
            self.sign("?", true, true);
            scalar::write(self, key, indent + 2, false);
            self.indent(indent);
            self.sign(":", true, true);
        }
        self.node(value, Some(indent), Context::Field);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_look_as_in_kubernetes() {
        let map = json!({
            "kind": "ConfigMap", "apiVersion": "v1",
            "data": { "a": "b", "c": "yes", "d": "1", "e": "x: y\n", "f": "", "g": "two\nlines", "h": "it's", "i": "- x" },
            "metadata": {
                "managedFields": [{ "fieldsV1": { "f:data": { ".": {}, "f:a": {} } }, "time": "2026-01-01T00:00:00Z" }],
                "name": "c", "finalizers": [],
            },
            "list": [[1, true], null],
        });
        let wanted = "\
apiVersion: v1
data:
  a: b
  c: \"yes\"
  d: \"1\"
  e: |
    x: y
  f: \"\"
  g: |-
    two
    lines
  h: it's
  i: '- x'
kind: ConfigMap
list:
- - 1
  - true
- null
metadata:
  finalizers: []
  managedFields:
  - fieldsV1:
      f:data:
        .: {}
        f:a: {}
    time: \"2026-01-01T00:00:00Z\"
  name: c
";
        assert_eq!(write(&map), wanted);
    }

    #[test]
    fn long_lines_are_broken_at_spaces() {
        let status = json!({ "code": 406, "message": "only the following media types are accepted: \
            application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch" });
        let wanted = "code: 406\nmessage: 'only the following media types are accepted: application/json;stream=watch,\n  \
            application/vnd.kubernetes.protobuf;stream=watch'\n";
        assert_eq!(write(&status), wanted);
    }

    #[test]
    fn long_keys_have_a_question_mark() {
        let key = "k".repeat(129);
        let object = serde_json::Value::Object([(key.clone(), json!({ "a": 1 }))].into_iter().collect());
        assert_eq!(write(&object), format!("? {key}\n: a: 1\n"));
    }
}
