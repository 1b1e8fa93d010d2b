//! Query parameters of reads as values, checked as Kubernetes checks them.
//!
//! Source: k8s.io/apimachinery `apis/meta/internalversion/validation`, k8s.io/apiserver `storage/continue.go`.

use std::num::{IntErrorKind, ParseIntError};

use ::base64::Engine;
use ::base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::api::path::Query;
use crate::decode::base64;
use crate::decode::json::{self as node, Node};
use crate::status::{FieldError, FieldErrorKind, Status};

/// `ListOptions` of lists and watches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Unparsed label selector.
    pub label_selector: String,
    /// Unparsed field selector.
    pub field_selector: String,
    /// At most so many items, 0 for all.
    pub limit: u64,
    /// Where an earlier page ended.
    pub cont: String,
    /// Empty when not given.
    pub resource_version: String,
    /// Empty when not given.
    pub resource_version_match: String,
    /// How long a watch lasts, in seconds.
    pub timeout_seconds: Option<u64>,
    /// Whether a watch begins with what there is.
    pub send_initial_events: Option<bool>,
    /// Whether the client understands bookmarks.
    pub bookmarks: bool,
}

/// Which picture of the store a list shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// Everything acknowledged before the request.
    Latest,
    /// Whatever this replica has.
    Any,
    /// This revision or newer.
    NotOlderThan(i64),
    /// Exactly this revision.
    Exact(i64),
}

impl ListOptions {
    /// Reads and checks the parameters of a list, or of a watch.
    ///
    /// # Errors
    /// 400 for malformed numbers, 422 for combinations that make no sense.
    pub fn parse(query: &Query, watch: bool) -> Result<ListOptions, Status> {
        let options = ListOptions {
            label_selector: query.text("labelSelector").to_owned(),
            field_selector: query.text("fieldSelector").to_owned(),
            limit: integer(query, "limit")?.and_then(|limit| u64::try_from(limit).ok()).unwrap_or(0),
            cont: query.text("continue").to_owned(),
            resource_version: query.text("resourceVersion").to_owned(),
            resource_version_match: query.text("resourceVersionMatch").to_owned(),
            timeout_seconds: integer(query, "timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok()),
            send_initial_events: query.get("sendInitialEvents").map(|_| query.truthy("sendInitialEvents")),
            bookmarks: query.truthy("allowWatchBookmarks"),
        };
        let errors = if watch { options.watch_errors() } else { options.list_errors() };
        if errors.is_empty() { Ok(options) } else { Err(invalid("ListOptions", &errors)) }
    }

    fn list_errors(&self) -> Vec<FieldError> {
        const FIELD: &str = "resourceVersionMatch";
        let mut errors = Vec::new();
        if self.send_initial_events.is_some() {
            errors.push(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        let wanted = self.resource_version_match.as_str();
        if wanted.is_empty() {
            return errors;
        }
        if self.resource_version.is_empty() {
            errors.push(forbidden(FIELD, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
        }
        if !self.cont.is_empty() {
            errors.push(forbidden(FIELD, "resourceVersionMatch is forbidden when continue is provided"));
        }
        if !["Exact", "NotOlderThan"].contains(&wanted) {
            errors.push(unsupported(FIELD, wanted, "\"Exact\", \"NotOlderThan\", \"\""));
        }
        if wanted == "Exact" && self.resource_version == "0" {
            errors.push(forbidden(FIELD, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
        }
        errors
    }

    fn watch_errors(&self) -> Vec<FieldError> {
        const FIELD: &str = "resourceVersionMatch";
        let mut errors = Vec::new();
        let wanted = self.resource_version_match.as_str();
        if self.send_initial_events.is_some() && wanted != "NotOlderThan" {
            errors.push(forbidden(FIELD, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
        }
        if wanted.is_empty() {
            return errors;
        }
        if self.send_initial_events.is_none() {
            errors.push(forbidden(
                FIELD,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if wanted != "NotOlderThan" {
            errors.push(unsupported(FIELD, wanted, "\"NotOlderThan\""));
        }
        if !self.cont.is_empty() {
            errors.push(forbidden(FIELD, "resourceVersionMatch is forbidden when continue is provided"));
        }
        errors
    }

    /// Which picture the options ask for, and the key after which it begins (relative to the listed prefix).
    /// `by_name` says that the field selector names one object: such lists are never exact unless asked.
    ///
    /// # Errors
    /// For a malformed version or token.
    pub fn snapshot(&self, by_name: bool) -> Result<(Snapshot, Option<String>), Status> {
        if !self.cont.is_empty() {
            let token = Continue::decode(&self.cont)?;
            if !matches!(self.resource_version.as_str(), "" | "0") {
                return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
            }
            let snapshot = if token.revision < 0 { Snapshot::Latest } else { Snapshot::Exact(token.revision) };
            return Ok((snapshot, Some(token.start)));
        }
        let revision = revision(&self.resource_version)?;
        Ok((
            match (revision, self.resource_version_match.as_str()) {
                (None, _) => Snapshot::Latest,
                (Some(0), _) => Snapshot::Any,
                (Some(revision), "Exact") => Snapshot::Exact(revision),
                (Some(revision), "") if self.limit > 0 && !by_name => Snapshot::Exact(revision),
                (Some(revision), _) => Snapshot::NotOlderThan(revision),
            },
            None,
        ))
    }
}

/// A resourceVersion as a query gives it; `None` when empty.
///
/// # Errors
/// 500, as Kubernetes has it, when it is no number.
pub fn revision(text: &str) -> Result<Option<i64>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let refuse = |why: &str| {
        let text = format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {why}");
        Status::new(500, "", text)
    };
    match text.parse::<u64>() {
        // Go knows no sign here.
        Ok(_) if text.starts_with('+') => Err(refuse("invalid syntax")),
        Ok(revision) => Ok(Some(i64::try_from(revision).unwrap_or(i64::MAX))),
        Err(why) => Err(refuse(go(&why))),
    }
}

/// Where a list goes on: the token that clients hand back unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continue {
    /// The revision all pages show; negative: the latest.
    pub revision: i64,
    /// First key of the page, below the listed prefix.
    pub start: String,
}

impl Continue {
    /// The opaque form.
    pub fn encode(&self) -> String {
        let token = json!({ "v": "meta.k8s.io/v1", "rv": self.revision, "start": self.start });
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    /// # Errors
    /// 400 with Kubernetes' reasons.
    pub fn decode(text: &str) -> Result<Continue, Status> {
        let refuse = |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid{why}"));
        let unread = |why: &str| refuse(&format!(": {why}"));
        let bytes =
            base64::decode_url(text).map_err(|at| unread(&format!("illegal base64 data at input byte {at}")))?;
        let fields = match node::parse(&bytes).map_err(|why| unread(&why))? {
            Node::Object(fields) => fields,
            Node::Null => Vec::new(),
            other => {
                let why =
                    format!("json: cannot unmarshal {} into Go value of type storage.continueToken", other.sort());
                return Err(unread(&why));
            }
        };
        let (mut version, mut revision, mut start) = (String::new(), 0, String::new());
        for (name, value) in fields {
            let wrong = |sort: &str, held: &str| {
                unread(&format!(
                    "json: cannot unmarshal {sort} into Go struct field continueToken.{name} of type {held}"
                ))
            };
            match (name.as_str(), value) {
                ("v", Node::Text(text)) => version = text,
                ("start", Node::Text(text)) => start = text,
                ("rv", Node::Number(text)) => {
                    revision = text.parse().map_err(|_| wrong(&format!("number {text}"), "int64"))?;
                }
                (_, Node::Null) => {}
                ("v" | "start", other) => return Err(wrong(other.sort(), "string")),
                ("rv", other) => return Err(wrong(other.sort(), "int64")),
                _ => {}
            }
        }
        if version != "meta.k8s.io/v1" {
            return Err(refuse(&format!(": server does not recognize this encoded version {version}")));
        }
        if revision == 0 {
            return Err(unread("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        if start.is_empty() {
            return Err(unread("encoded start key empty (version meta.k8s.io/v1)"));
        }
        // A key that leads elsewhere.
        if start.trim_start_matches('/').split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(unread(&start));
        }
        Ok(Continue { revision, start })
    }
}

/// Why Go's `strconv` takes no number.
fn go(why: &ParseIntError) -> &'static str {
    match why.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    }
}

fn integer(query: &Query, key: &str) -> Result<Option<i64>, Status> {
    match query.get(key) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|why: ParseIntError| {
            Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {}", go(&why)))
        }),
    }
}

/// 422 about one of the option kinds of `meta.k8s.io`.
pub fn invalid(kind: &str, errors: &[FieldError]) -> Status {
    Status::invalid("meta.k8s.io", kind, "", errors)
}

fn forbidden(field: &str, why: &str) -> FieldError {
    FieldError { kind: FieldErrorKind::Forbidden, field: field.to_owned(), message: format!("Forbidden: {why}") }
}

/// A word that is none of those supported (`supported`: quoted, with commas).
pub fn unsupported(field: &str, value: &str, supported: &str) -> FieldError {
    FieldError {
        kind: FieldErrorKind::NotSupported,
        field: field.to_owned(),
        message: format!("Unsupported value: {value:?}: supported values: {supported}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(query: &str, watch: bool) -> String {
        ListOptions::parse(&Query::parse(query), watch)
            .map_or_else(|status| status.message, |options| format!("{:?}", options.snapshot(false)))
    }

    #[test]
    fn combinations() {
        assert_eq!(message("limit=x", false), r#"strconv.ParseInt: parsing "x": invalid syntax"#);
        assert_eq!(message("resourceVersion=5&limit=2", false), "Ok((Exact(5), None))");
        assert_eq!(message("resourceVersion=5", false), "Ok((NotOlderThan(5), None))");
        assert_eq!(message("resourceVersion=0&limit=1", false), "Ok((Any, None))");
        assert_eq!(message("", false), "Ok((Latest, None))");
        assert_eq!(
            message("continue=abcd&resourceVersionMatch=Exact", false),
            "ListOptions.meta.k8s.io \"\" is invalid: [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless \
             resourceVersion is provided, resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided]"
        );
        assert_eq!(
            message("resourceVersionMatch=Bogus&sendInitialEvents=true", true),
            "ListOptions.meta.k8s.io \"\" is invalid: [resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
             resourceVersionMatch to NotOlderThan, resourceVersionMatch: Unsupported value: \"Bogus\": supported values: \"NotOlderThan\"]"
        );
    }

    #[test]
    fn tokens() {
        let token = Continue { revision: 7, start: "ns/a\0".into() };
        assert_eq!(Continue::decode(&token.encode()), Ok(token));
        let refused = |text: &str| Continue::decode(text).unwrap_err().message;
        assert_eq!(
            refused("abc"),
            "invalid continue token: continue key is not valid: invalid character 'i' looking for beginning of value"
        );
        assert_eq!(
            refused("eyJ2IjoidjEiLCJydiI6MX0"),
            "invalid continue token: continue key is not valid: server does not recognize this encoded version v1"
        );
        let told = |token: &str| {
            let message = refused(&URL_SAFE_NO_PAD.encode(token));
            message.strip_prefix("invalid continue token: continue key is not valid: ").unwrap_or_default().to_owned()
        };
        for (token, why) in [
            (
                r#"{"v":"meta.k8s.io/v1","start":"a"}"#,
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (r#"{"v":"meta.k8s.io/v1","rv":1}"#, "encoded start key empty (version meta.k8s.io/v1)"),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../a"}"#, "../a"),
            (r#"{"v":1}"#, "json: cannot unmarshal number into Go struct field continueToken.v of type string"),
            ("[]", "json: cannot unmarshal array into Go value of type storage.continueToken"),
        ] {
            assert_eq!(told(token), why);
        }
        assert_eq!(
            refused("a=b"),
            "invalid continue token: continue key is not valid: illegal base64 data at input byte 1"
        );
    }
}
