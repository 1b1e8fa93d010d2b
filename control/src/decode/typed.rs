//! PURE: what a body says that it is, against what the request says.
//!
//! Source: k8s.io/apimachinery `runtime/serializer/{json,versioning}`, k8s.io/apiserver `endpoints/handlers/create.go`.

use crate::decode::json::Node;
use crate::kind::{self, Kind};
use crate::status::Status;

/// Kinds by group and version, as Kubernetes registers them, served here or not: `GROUP/VERSION KIND…` per line.
const REGISTERED: &str = include_str!("../schema/registered.txt");
/// What every version of every group has.
const EVERYWHERE: &[&str] =
    &["CreateOptions", "DeleteOptions", "GetOptions", "ListOptions", "PatchOptions", "UpdateOptions", "WatchEvent"];

/// `apiVersion` and `kind`, either of which may be empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TypeMeta {
    pub(super) api_version: String,
    pub(super) kind: String,
}

/// The same with nothing left open.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Given {
    group: String,
    version: String,
    kind: String,
}

impl TypeMeta {
    /// Looks into a body.
    pub(super) fn of(node: &Node) -> Result<TypeMeta, String> {
        const STRUCT: &str =
            r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        let json = |why: String| format!("couldn't get version/kind; json parse error: json: cannot unmarshal {why}");
        let fields = match node {
            Node::Object(fields) => fields,
            Node::Null => return Ok(TypeMeta::default()),
            other => return Err(json(format!("{} into Go value of type {STRUCT}", other.sort()))),
        };
        let mut meta = TypeMeta::default();
        for (name, node) in fields {
            let place = match name.as_str() {
                "apiVersion" => &mut meta.api_version,
                "kind" => &mut meta.kind,
                _ => continue,
            };
            match node {
                Node::Text(text) => place.clone_from(text),
                Node::Null => {}
                other => return Err(json(format!("{} into Go struct field .{name} of type string", other.sort()))),
            }
        }
        Ok(meta)
    }

    /// What the request implies where the body says nothing.
    pub(super) fn or(self, kind: &Kind) -> Result<Given, String> {
        let (group, version) = match self.api_version.as_str() {
            "" | "/" => (kind.group, kind.version),
            version if !version.contains('/') => ("", version),
            given => match given.split_once('/') {
                Some((group, version)) if !version.contains('/') => (group, version),
                _ => return Err(format!("unexpected GroupVersion string: {given}")),
            },
        };
        let name = if self.kind.is_empty() { kind.kind.to_owned() } else { self.kind };
        Ok(Given { group: group.to_owned(), version: version.to_owned(), kind: name })
    }
}

impl Given {
    fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// How messages begin.
    pub(super) fn said(&self) -> String {
        format!("{} in version {:?}", self.kind, self.version)
    }

    /// The kind that it names, if it is served.
    pub(super) fn served(&self) -> Option<&'static Kind> {
        kind::named(&self.api_version(), &self.kind)
    }

    fn is(&self, kind: &Kind) -> bool {
        (self.group.as_str(), self.version.as_str(), self.kind.as_str()) == (kind.group, kind.version, kind.kind)
    }

    /// Refuses kinds that nobody knows, and those that are none of the one wanted.
    pub(super) fn check_registered(&self, kind: &Kind) -> Result<(), String> {
        if self.is(kind) {
            return Ok(());
        }
        let version = self.api_version();
        let line = REGISTERED.lines().find_map(|line| line.strip_prefix(version.as_str())?.strip_prefix(' '));
        let known = line.is_some_and(|kinds| {
            EVERYWHERE.contains(&self.kind.as_str()) || kinds.split(' ').any(|name| name == self.kind)
        });
        if !known {
            return Err(format!(
                "no kind {:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\"",
                self.kind
            ));
        }
        if self.kind != kind.kind {
            let package = if kind.group.is_empty() { "core" } else { kind.group.split('.').next().unwrap_or_default() };
            let (from, to) = (format!("{}.{}", self.version, self.kind), format!("{package}.{}", kind.kind));
            return Err(format!("converting ({from}) to ({to}): unknown conversion"));
        }
        Ok(())
    }

    /// Refuses another version of the kind than the request's.
    pub(super) fn check_version(&self, kind: &Kind) -> Result<(), Status> {
        // Bodies of evictions may be of the version before.
        if self.is(kind) || (self.kind == "Eviction" && self.group == "policy" && self.version == "v1beta1") {
            return Ok(());
        }
        Err(Status::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            self.api_version(),
            kind.api_version()
        )))
    }
}
