//! `serviceaccounts/NAME/token`: a token of an account, for whoever may ask for it.
//!
//! Source: k8s.io/kubernetes `pkg/registry/core/serviceaccount/storage/token.go`, `pkg/apis/authentication/validation`.

use http::Response;
use http::header::USER_AGENT;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::answer::{self, Body};
use crate::api::negotiate::Offer;
use crate::api::serve::Call;
use crate::api::write::encoding;
use crate::decode::{self, FieldValidation};
use crate::fields::{self, Writer};
use crate::identity::claims::ISSUER;
use crate::identity::tokens::{Asked, Reference};
use crate::kind::{self, Kind};
use crate::registry::prepare::{meta_str, metadata};
use crate::registry::removal::rfc3339;
use crate::status::{FieldError, Status};
use crate::validate::field::Errors;
use crate::validate::root;

/// How long tokens hold unless the request says.
const SECONDS: i64 = 3600;
/// A token holds so long at least.
const SECONDS_MIN: i64 = 600;
/// And at most.
const SECONDS_MAX: i64 = 1 << 32;

pub(crate) async fn create(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Plain)?;
    let kind = kind::named("authentication.k8s.io/v1", "TokenRequest").expect("a row of the table");
    let (mut request, warnings) = decode::object(kind, &call.body, encoding(call)?, FieldValidation::Warn)?;
    let errors = misnamed(&request, &call.path.namespace, &call.path.name);
    if !errors.is_empty() {
        return Err(Status::invalid(kind.group, kind.kind, &call.path.name, &errors));
    }
    complete(&mut request, |request| track(call, kind, "token", request));
    let errors = check(&request);
    if !errors.is_empty() {
        return Err(Status::invalid(kind.group, kind.kind, "", &errors));
    }
    let given = call.api.tokens.give(&asked(call, &request["spec"])).await?;
    let meta = metadata(&mut request);
    meta.insert("name".into(), call.path.name.clone().into());
    meta.insert("namespace".into(), call.path.namespace.clone().into());
    meta.insert("uid".into(), given.account["metadata"]["uid"].clone());
    meta.insert("creationTimestamp".into(), rfc3339(given.made).into());
    request["status"] = json!({ "token": given.token, "expirationTimestamp": rfc3339(given.expires) });
    Ok(answer::warn(answer::value(201, &request, &how), &warnings))
}

/// What the body says about the account must agree with the path.
fn misnamed(request: &Value, namespace: &str, name: &str) -> Vec<FieldError> {
    let mut errors = Errors::default();
    for (field, wanted, what) in [("name", name, "name"), ("namespace", namespace, "namespace")] {
        let given = meta_str(request, field);
        if !given.is_empty() && given != wanted {
            let why = format!("must match the service account {what} if specified");
            errors.invalid(&root().child("metadata").child(field), given, &why);
            break;
        }
    }
    errors.into_list()
}

/// What is asked for has an owner, as all that is written has.
pub(crate) fn track(call: &Call<'_>, kind: &Kind, subresource: &str, request: &mut Value) {
    metadata(request);
    let named = call.query.text("fieldManager");
    let manager = if named.is_empty() { fields::manager_of(call.header(USER_AGENT)) } else { named.to_owned() };
    let now = rfc3339(Timestamp::now());
    fields::update(kind, None, request, Writer { manager: &manager, subresource, now: &now });
}

/// Fills what the request leaves to the server; `own` sees it with its defaults and before anything else.
fn complete(request: &mut Value, own: impl FnOnce(&mut Value)) {
    if !request["spec"].is_object() {
        request["spec"] = json!({});
    }
    if request["spec"]["expirationSeconds"].is_null() {
        request["spec"]["expirationSeconds"] = SECONDS.into();
    }
    own(request);
    let spec = &mut request["spec"];
    if spec["audiences"].as_array().is_none_or(Vec::is_empty) {
        spec["audiences"] = json!([ISSUER]);
    }
    if spec["boundObjectRef"].is_null() {
        spec["boundObjectRef"] = Value::Null;
    }
}

fn check(request: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let field = root().child("spec").child("expirationSeconds");
    let seconds = &request["spec"]["expirationSeconds"];
    let number = seconds.as_i64().unwrap_or_default();
    if number < SECONDS_MIN {
        errors.invalid(&field, seconds, "may not specify a duration less than 10 minutes");
    }
    if number > SECONDS_MAX {
        errors.invalid(&field, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    errors.into_list()
}

fn asked(call: &Call<'_>, spec: &Value) -> Asked {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let reference = |bound: &Value| Reference {
        api_version: text(bound, "apiVersion"),
        kind: text(bound, "kind"),
        name: text(bound, "name"),
        uid: text(bound, "uid"),
    };
    let audiences = spec["audiences"].as_array().into_iter().flatten();
    Asked {
        namespace: call.path.namespace.clone(),
        account: call.path.name.clone(),
        audiences: audiences.filter_map(Value::as_str).map(str::to_owned).collect(),
        seconds: spec["expirationSeconds"].as_i64().unwrap_or(SECONDS),
        bound: spec.get("boundObjectRef").filter(|bound| bound.is_object()).map(reference),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_completed_and_checked() {
        let mut request = json!({});
        complete(&mut request, |_| {});
        assert_eq!(
            request["spec"],
            json!({ "audiences": [ISSUER], "expirationSeconds": 3600, "boundObjectRef": null })
        );
        assert!(check(&request).is_empty());
        for (seconds, why) in [(599_i64, "less than 10 minutes"), ((1 << 32) + 1, "larger than 2^32")] {
            let errors = check(&json!({ "spec": { "expirationSeconds": seconds } }));
            assert!(errors[0].message.contains(why) && errors[0].field == "spec.expirationSeconds", "{errors:?}");
        }
        let other = json!({ "metadata": { "name": "b" } });
        assert_eq!(
            misnamed(&other, "ns", "a")[0].message,
            "Invalid value: \"b\": must match the service account name if specified"
        );
        assert!(misnamed(&other, "ns", "b").is_empty());
    }
}
