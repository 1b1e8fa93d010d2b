//! How values are shown in messages: strings in Go's quotes, structs as Go writes its internal types in JSON.
//!
//! Source: k8s.io/apimachinery `pkg/util/validation/field/errors.go`; the types: k8s.io/kubernetes `pkg/apis/*/types.go`.

use std::fmt::Write;

use serde_json::Value;

/// Something that messages can show.
pub trait Show {
    /// Its text.
    fn show(&self) -> String;
}

impl Show for Value {
    fn show(&self) -> String {
        match self {
            Value::String(text) => quoted(text),
            other => json(other),
        }
    }
}

impl Show for str {
    fn show(&self) -> String {
        quoted(self)
    }
}

impl Show for String {
    fn show(&self) -> String {
        quoted(self)
    }
}

impl Show for i64 {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Show for bool {
    fn show(&self) -> String {
        self.to_string()
    }
}

/// A value as a Go struct.
pub struct As<'a>(pub &'a Value, pub &'static Struct);

impl Show for As<'_> {
    fn show(&self) -> String {
        shaped(self.0, Some(self.1))
    }
}

/// Go's `%q`.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            // Writing to a String cannot fail.
            control if control < ' ' || control == '\u{7f}' => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(control));
            }
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// JSON as Go writes it: compact, keys sorted, without the letters that HTML minds.
fn json(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// The fields of a Go struct, in its order.
pub struct Struct(pub &'static [Member]);

/// A field of a Go struct.
pub struct Member {
    /// Its name in messages: Go's where the type has no JSON tags.
    pub shown: &'static str,
    /// Its name in objects.
    pub field: &'static str,
    /// What is shown where the object has none.
    pub zero: &'static str,
    /// What it, or each of its items, is made of.
    pub of: Option<&'static Struct>,
}

/// A field as it is called in Go and in objects, and what is shown where there is none: `""` leaves it out.
pub(super) const fn member(shown: &'static str, field: &'static str, zero: &'static str) -> Member {
    Member { shown, field, zero, of: None }
}

/// The same for one that is a struct, or a list of them.
pub(super) const fn nested(
    shown: &'static str,
    field: &'static str,
    zero: &'static str,
    of: &'static Struct,
) -> Member {
    Member { shown, field, zero, of: Some(of) }
}

/// Pointers, lists and maps.
pub(super) const NIL: &str = "null";
/// Strings.
pub(super) const EMPTY: &str = "\"\"";
/// `omitempty`.
const OMITTED: &str = "";

fn shaped(value: &Value, of: Option<&Struct>) -> String {
    match (value, of) {
        (Value::Array(items), Some(_)) => {
            let items: Vec<String> = items.iter().map(|item| shaped(item, of)).collect();
            format!("[{}]", items.join(","))
        }
        (Value::Object(_), Some(Struct(members))) => {
            let shown = members.iter().filter_map(|member| {
                let text = match value.get(member.field) {
                    None | Some(Value::Null) => member.zero.to_owned(),
                    Some(held) if member.zero == OMITTED && is_empty(held) => String::new(),
                    Some(held) => shaped(held, member.of),
                };
                (!text.is_empty()).then(|| format!("\"{}\":{text}", member.shown))
            });
            format!("{{{}}}", shown.collect::<Vec<_>>().join(","))
        }
        (other, _) => json(other),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// `metav1.LabelSelector`
pub const LABEL_SELECTOR: Struct = Struct(&[
    member("matchLabels", "matchLabels", OMITTED),
    nested("matchExpressions", "matchExpressions", OMITTED, &LABEL_REQUIREMENT),
]);
const LABEL_REQUIREMENT: Struct =
    Struct(&[member("key", "key", EMPTY), member("operator", "operator", EMPTY), member("values", "values", OMITTED)]);

/// `core.NodeSelectorTerm`
pub const NODE_SELECTOR_TERM: Struct = Struct(&[
    nested("MatchExpressions", "matchExpressions", NIL, &NODE_REQUIREMENT),
    nested("MatchFields", "matchFields", NIL, &NODE_REQUIREMENT),
]);
const NODE_REQUIREMENT: Struct =
    Struct(&[member("Key", "key", EMPTY), member("Operator", "operator", EMPTY), member("Values", "values", NIL)]);

/// `core.SecurityContext`
pub const SECURITY_CONTEXT: Struct = Struct(&[
    nested("Capabilities", "capabilities", NIL, &CAPABILITIES),
    member("Privileged", "privileged", NIL),
    nested("SELinuxOptions", "seLinuxOptions", NIL, &SE_LINUX_OPTIONS),
    nested("WindowsOptions", "windowsOptions", NIL, &WINDOWS_OPTIONS),
    member("RunAsUser", "runAsUser", NIL),
    member("RunAsGroup", "runAsGroup", NIL),
    member("RunAsNonRoot", "runAsNonRoot", NIL),
    member("ReadOnlyRootFilesystem", "readOnlyRootFilesystem", NIL),
    member("AllowPrivilegeEscalation", "allowPrivilegeEscalation", NIL),
    member("ProcMount", "procMount", NIL),
    nested("SeccompProfile", "seccompProfile", NIL, &PROFILE),
    nested("AppArmorProfile", "appArmorProfile", NIL, &PROFILE),
]);
const CAPABILITIES: Struct = Struct(&[member("Add", "add", NIL), member("Drop", "drop", NIL)]);
const SE_LINUX_OPTIONS: Struct = Struct(&[
    member("User", "user", EMPTY),
    member("Role", "role", EMPTY),
    member("Type", "type", EMPTY),
    member("Level", "level", EMPTY),
]);
const WINDOWS_OPTIONS: Struct = Struct(&[
    member("GMSACredentialSpecName", "gmsaCredentialSpecName", NIL),
    member("GMSACredentialSpec", "gmsaCredentialSpec", NIL),
    member("RunAsUserName", "runAsUserName", NIL),
    member("HostProcess", "hostProcess", NIL),
]);

/// `core.SeccompProfile`, `core.AppArmorProfile`
pub const PROFILE: Struct =
    Struct(&[member("Type", "type", EMPTY), member("LocalhostProfile", "localhostProfile", NIL)]);

/// `core.PodResourceClaim`
pub const POD_RESOURCE_CLAIM: Struct = Struct(&[
    member("Name", "name", EMPTY),
    member("ResourceClaimName", "resourceClaimName", NIL),
    member("ResourceClaimTemplateName", "resourceClaimTemplateName", NIL),
]);

/// `core.ClusterTrustBundleProjection`
pub const CLUSTER_TRUST_BUNDLE: Struct = Struct(&[
    member("Name", "name", NIL),
    member("SignerName", "signerName", NIL),
    nested("LabelSelector", "labelSelector", NIL, &LABEL_SELECTOR),
    member("Optional", "optional", NIL),
    member("Path", "path", EMPTY),
]);

/// `core.PodIP`, `core.HostIP`
pub const IP: Struct = Struct(&[member("IP", "ip", EMPTY)]);

/// `apps.DeploymentStrategy`
pub const DEPLOYMENT_STRATEGY: Struct =
    Struct(&[member("Type", "type", EMPTY), nested("RollingUpdate", "rollingUpdate", NIL, &ROLLING_UPDATE)]);
const ROLLING_UPDATE: Struct =
    Struct(&[member("MaxUnavailable", "maxUnavailable", "0"), member("MaxSurge", "maxSurge", "0")]);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strings_are_quoted_as_go_does() {
        assert_eq!(quoted("a\"b\\\n\u{1}é'"), r#""a\"b\\\n\x01é'""#);
        assert_eq!(
            (json!("a").show(), json!(3).show(), Value::Null.show()),
            ("\"a\"".into(), "3".into(), "null".into())
        );
        assert_eq!(json!({ "b": ["<"], "a": 1 }).show(), r#"{"a":1,"b":["\u003c"]}"#);
    }

    #[test]
    fn structs_show_what_is_absent_too() {
        let context = json!({ "privileged": true, "capabilities": { "add": ["A"] } });
        assert!(
            As(&context, &SECURITY_CONTEXT)
                .show()
                .starts_with(r#"{"Capabilities":{"Add":["A"],"Drop":null},"Privileged":true,"SELinuxOptions":null,"#)
        );
        let selector = json!({ "matchLabels": {}, "matchExpressions": [{ "operator": "Exists" }] });
        assert_eq!(As(&selector, &LABEL_SELECTOR).show(), r#"{"matchExpressions":[{"key":"","operator":"Exists"}]}"#);
        assert_eq!(As(&Value::Null, &LABEL_SELECTOR).show(), "null");
    }
}
