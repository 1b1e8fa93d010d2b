//! PURE: `CreateOptions`, `UpdateOptions`, `PatchOptions` of a query, and `DeleteOptions` of a body or a query.
//!
//! Source: k8s.io/apimachinery `apis/meta/v1/validation/validation.go`, k8s.io/apiserver `endpoints/handlers/delete.go`.

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::api::options::{invalid, unsupported};
use crate::api::path::Query;
use crate::decode::json::Node;
use crate::decode::{self, Encoding, FieldValidation};
use crate::fields::{MANAGER_BYTES_MAX, is_print};
use crate::registry::removal::{DeleteOptions, Propagation};
use crate::status::{FieldError, FieldErrorKind, Status};

/// What a write says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Decide, answer, write nothing.
    pub dry_run: bool,
    /// Who writes; empty: who the client program says it is.
    pub field_manager: String,
    /// What becomes of fields that the schema does not know.
    pub unknown: FieldValidation,
    /// Applies although others own what it changes.
    pub force: bool,
}

impl WriteOptions {
    /// The parameters of a patch, which may be an applied configuration.
    ///
    /// # Errors
    /// 422.
    pub fn of_patch(query: &Query, applies: bool) -> Result<WriteOptions, Status> {
        let wrong = |kind, field: &str, message: &str| {
            vec![FieldError { kind, field: field.to_owned(), message: message.to_owned() }]
        };
        let errors = if applies && query.text("fieldManager").is_empty() {
            wrong(FieldErrorKind::Required, "fieldManager", "Required value: is required for apply patch")
        } else if !applies && query.get("force").is_some() {
            wrong(FieldErrorKind::Forbidden, "force", "Forbidden: may not be specified for non-apply patch")
        } else {
            Vec::new()
        };
        WriteOptions::checked(query, "PatchOptions", errors)
    }

    /// Reads and checks the parameters; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
    ///
    /// # Errors
    /// 422.
    pub fn parse(query: &Query, kind: &str) -> Result<WriteOptions, Status> {
        WriteOptions::checked(query, kind, Vec::new())
    }

    fn checked(query: &Query, kind: &str, mut errors: Vec<FieldError>) -> Result<WriteOptions, Status> {
        let manager = query.text("fieldManager");
        if manager.len() > MANAGER_BYTES_MAX {
            errors.push(FieldError {
                kind: FieldErrorKind::TooLong,
                field: "fieldManager".to_owned(),
                message: format!("Too long: may not be more than {MANAGER_BYTES_MAX} bytes"),
            });
        }
        // Go counts bytes, and nothing of what it cannot print is a space.
        for (at, letter) in manager.char_indices().filter(|(_, letter)| !is_print(*letter)) {
            errors.push(FieldError {
                kind: FieldErrorKind::Invalid,
                field: "fieldManager".to_owned(),
                message: format!(
                    "Invalid value: {manager:?}: invalid character U+{:04X} (at position {at})",
                    u32::from(letter)
                ),
            });
        }
        let wishes: Vec<&str> = query.all("dryRun").collect();
        errors.extend(dry_run_errors(&wishes));
        let word = query.text("fieldValidation");
        let unknown = FieldValidation::parse(word);
        if unknown.is_none() {
            errors.push(unsupported("fieldValidation", word, r#""", "Ignore", "Strict", "Warn""#));
        }
        if !errors.is_empty() {
            return Err(invalid(kind, &errors));
        }
        Ok(WriteOptions {
            dry_run: !wishes.is_empty(),
            field_manager: manager.to_owned(),
            unknown: unknown.unwrap_or(FieldValidation::Warn),
            force: query.truthy("force"),
        })
    }
}

fn dry_run_errors(wishes: &[&str]) -> Option<FieldError> {
    let known = wishes.iter().all(|wish| *wish == "All");
    (!known).then(|| FieldError {
        kind: FieldErrorKind::NotSupported,
        field: "dryRun".to_owned(),
        message: format!("Unsupported value: {}: supported values: \"All\"", json!(wishes)),
    })
}

/// Reads and checks what a deletion says of itself: its body, or the query when there is none.
///
/// # Errors
/// 400 for what cannot be read, 422 for words that are not known.
pub fn delete_options(query: &Query, body: &Bytes, encoding: Encoding) -> Result<DeleteOptions, Status> {
    let options = if body.is_empty() { of_query(query)? } else { of_body(body, encoding)? };
    of_value(&options)
}

/// The same of options that lie in another object, as in an eviction.
///
/// # Errors
/// 422 for words that are not known.
pub fn of_value(options: &Value) -> Result<DeleteOptions, Status> {
    let policy = options["propagationPolicy"].as_str();
    let orphans = options["orphanDependents"].as_bool();
    let mut errors = Vec::new();
    if let (Some(policy), Some(_)) = (policy, orphans) {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        errors.push(FieldError {
            kind: FieldErrorKind::Invalid,
            field: "propagationPolicy".to_owned(),
            message: format!("Invalid value: {policy:?}: {why}"),
        });
    }
    let propagation = match (policy, orphans) {
        (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
        (Some("Foreground"), _) => Some(Propagation::Foreground),
        (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
        (Some(other), _) => {
            errors.push(unsupported("propagationPolicy", other, r#""Foreground", "Background", "Orphan", "nil""#));
            None
        }
        (None, None) => None,
    };
    let wishes: Vec<&str> = options["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    errors.extend(dry_run_errors(&wishes));
    if !errors.is_empty() {
        return Err(invalid("DeleteOptions", &errors));
    }
    let precondition = |key: &str| options["preconditions"][key].as_str().map(str::to_owned);
    Ok(DeleteOptions {
        grace_seconds: options["gracePeriodSeconds"].as_i64(),
        propagation,
        uid: precondition("uid"),
        resource_version: precondition("resourceVersion"),
        dry_run: !wishes.is_empty(),
    })
}

fn of_query(query: &Query) -> Result<Value, Status> {
    let mut options = json!({});
    if let Some(text) = query.get("gracePeriodSeconds").filter(|text| !text.is_empty()) {
        let seconds: i64 = text
            .parse()
            .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?;
        options["gracePeriodSeconds"] = seconds.into();
    }
    if query.get("orphanDependents").is_some() {
        options["orphanDependents"] = query.truthy("orphanDependents").into();
    }
    if let Some(policy) = query.get("propagationPolicy") {
        options["propagationPolicy"] = policy.into();
    }
    let wishes: Vec<&str> = query.all("dryRun").collect();
    if !wishes.is_empty() {
        options["dryRun"] = json!(wishes);
    }
    Ok(options)
}

fn of_body(body: &Bytes, encoding: Encoding) -> Result<Value, Status> {
    let node = decode::node(body, encoding).map_err(Status::bad_request)?;
    let fields = match node {
        Node::Object(fields) => fields,
        _ => Vec::new(),
    };
    let (options, _) = decode::fit::object(&v1::DeleteOptions::schema_name(), fields).map_err(Status::bad_request)?;
    Ok(options.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(query: &str) -> String {
        WriteOptions::parse(&Query::parse(query), "CreateOptions")
            .map_or_else(|status| status.message, |options| format!("{} {:?}", options.dry_run, options.unknown))
    }

    #[test]
    fn of_writes() {
        let refused = |why: &str| format!("CreateOptions.meta.k8s.io \"\" is invalid: {why}");
        for (query, wanted) in [
            ("", "false Warn".to_owned()),
            ("dryRun=All&dryRun=All&fieldValidation=Strict", "true Strict".to_owned()),
            ("dryRun=Some", refused(r#"dryRun: Unsupported value: ["Some"]: supported values: "All""#)),
            (
                "fieldValidation=Loud",
                refused(
                    r#"fieldValidation: Unsupported value: "Loud": supported values: "", "Ignore", "Strict", "Warn""#,
                ),
            ),
            (
                "fieldManager=a%0Ab",
                refused(r#"fieldManager: Invalid value: "a\nb": invalid character U+000A (at position 1)"#),
            ),
        ] {
            assert_eq!(written(query), wanted, "{query}");
        }
        let long = format!("fieldManager={}", "m".repeat(129));
        assert_eq!(written(&long), refused("fieldManager: Too long: may not be more than 128 bytes"));
    }

    fn deleted(query: &str, body: &str) -> Result<DeleteOptions, String> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        delete_options(&Query::parse(query), &body, Encoding::Json).map_err(|status| status.message)
    }

    #[test]
    fn of_deletions() {
        let wanted = DeleteOptions {
            grace_seconds: Some(3),
            propagation: Some(Propagation::Orphan),
            uid: Some("u".to_owned()),
            ..Default::default()
        };
        let body = r#"{"gracePeriodSeconds":3,"orphanDependents":true,"preconditions":{"uid":"u"}}"#;
        // A body makes the query void.
        assert_eq!(deleted("propagationPolicy=Foreground&dryRun=All", body), Ok(wanted));
        let wanted = DeleteOptions { propagation: Some(Propagation::Foreground), dry_run: true, ..Default::default() };
        assert_eq!(deleted("propagationPolicy=Foreground&dryRun=All", ""), Ok(wanted));
        let refused = |why: &str| Err(format!("DeleteOptions.meta.k8s.io \"\" is invalid: {why}"));
        let words = r#"supported values: "Foreground", "Background", "Orphan", "nil""#;
        assert_eq!(
            deleted("propagationPolicy=Bogus", ""),
            refused(&format!("propagationPolicy: Unsupported value: \"Bogus\": {words}"))
        );
        assert_eq!(
            deleted("", "{"),
            Err("couldn't get version/kind; json parse error: unexpected end of JSON input".to_owned())
        );
        assert_eq!(
            deleted("", r#"{"gracePeriodSeconds":"x"}"#),
            Err("json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"
                .to_owned())
        );
    }
}
