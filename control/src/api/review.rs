//! Reviews: questions about who is who and who may do what, answered and not kept.
//!
//! Source: k8s.io/kubernetes `pkg/registry/{authentication,authorization}`, `pkg/apis/authorization/validation`.

use std::collections::BTreeMap;

use http::Response;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

use crate::api::answer::{self, Body};
use crate::api::negotiate::Offer;
use crate::api::serve::{Call, not_allowed};
use crate::api::token::track;
use crate::api::write::encoding;
use crate::authz::{Attributes, ResourceAttributes};
use crate::decode::{self, FieldValidation};
use crate::identity::User;
use crate::identity::tokens::own_audiences;
use crate::registry::prepare::{meta_str, metadata};
use crate::registry::removal::rfc3339;
use crate::status::{FieldError, Status};
use crate::validate::field::Errors;
use crate::validate::root;

pub(crate) async fn answer(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Plain)?;
    let (mut review, warnings) = decode::object(call.kind, &call.body, encoding(call)?, FieldValidation::Warn)?;
    if call.kind.namespaced {
        metadata(&mut review).insert("namespace".into(), call.path.namespace.clone().into());
    }
    track(call, call.kind, "", &mut review);
    let errors = check(call.kind.resource, &review);
    if !errors.is_empty() {
        // The kind is left out here as Kubernetes leaves it out.
        return Err(without_kind(Status::invalid(call.kind.group, "", "", &errors)));
    }
    let spec = &review["spec"];
    let status = match call.kind.resource {
        "selfsubjectreviews" => {
            metadata(&mut review).insert("creationTimestamp".into(), rfc3339(Timestamp::now()).into());
            json!({ "userInfo": user_info(call.user) })
        }
        "tokenreviews" => token(call, spec).await?,
        "selfsubjectaccessreviews" => access(call, call.user, spec),
        "subjectaccessreviews" | "localsubjectaccessreviews" => access(call, &named_user(spec), spec),
        "selfsubjectrulesreviews" => rules(call, spec)?,
        _ => return Err(not_allowed()),
    };
    review["status"] = status;
    Ok(answer::warn(answer::value(201, &review, &how), &warnings))
}

fn without_kind(mut status: Status) -> Status {
    if let Some(details) = status.details.as_object_mut() {
        details.remove("kind");
    }
    status
}

/// The rules that a review breaks.
fn check(resource: &str, review: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if !matches!(resource, "selfsubjectaccessreviews" | "subjectaccessreviews" | "localsubjectaccessreviews") {
        return Vec::new();
    }
    let (spec, path) = (&review["spec"], root().child("spec"));
    let (object, url) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    // As Go prints the internal type.
    let shown = json!({ "Path": text(url, "path"), "Verb": text(url, "verb") });
    if object.is_object() && url.is_object() {
        let why = "cannot be specified in combination with resourceAttributes";
        errors.invalid(&path.child("nonResourceAttributes"), &shown, why);
    }
    if !object.is_object() && !url.is_object() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.invalid(&path.child("resourceAttributes"), &Value::Null, why);
    }
    let nobody = text(spec, "user").is_empty() && spec["groups"].as_array().is_none_or(Vec::is_empty);
    if resource != "selfsubjectaccessreviews" && nobody {
        errors.invalid(&path.child("user"), "", "at least one of user or group must be specified");
    }
    let local = resource == "localsubjectaccessreviews";
    let mut meta = review["metadata"].as_object().cloned().unwrap_or_default();
    meta.retain(|field, _| field != "managedFields" && !(local && field == "namespace"));
    if !meta.is_empty() {
        let why = if local { "must be empty except for namespace" } else { "must be empty" };
        errors.invalid(&root().child("metadata"), &review["metadata"], why);
    }
    if local && object.is_object() && text(object, "namespace") != meta_str(review, "namespace") {
        let field = path.child("resourceAttributes").child("namespace");
        errors.invalid(&field, &text(object, "namespace"), "must match metadata.namespace");
    }
    if local && url.is_object() {
        errors.invalid(&path.child("nonResourceAttributes"), &shown, "disallowed on this kind of request");
    }
    errors.into_list()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn access(call: &Call<'_>, user: &User, spec: &Value) -> Value {
    let decision = call.api.registry.authorizer().decide(user, &attributes(spec));
    let mut status = json!({ "allowed": decision.allowed });
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    status
}

fn attributes(spec: &Value) -> Attributes {
    let resource = &spec["resourceAttributes"];
    if !resource.is_object() {
        let path = &spec["nonResourceAttributes"];
        return Attributes { verb: text(path, "verb"), resource: None, path: text(path, "path") };
    }
    let mut named = ResourceAttributes {
        group: text(resource, "group"),
        resource: text(resource, "resource"),
        subresource: text(resource, "subresource"),
        namespace: text(resource, "namespace"),
        name: text(resource, "name"),
        selected: BTreeMap::new(),
    };
    for requirement in resource["fieldSelector"]["requirements"].as_array().into_iter().flatten() {
        if let ("In", [one]) = (text(requirement, "operator").as_str(), texts(&requirement["values"]).as_slice()) {
            named.selected.insert(text(requirement, "key"), one.clone());
        }
    }
    Attributes { verb: text(resource, "verb"), resource: Some(named), path: String::new() }
}

/// Everything that the caller may do in a namespace.
fn rules(call: &Call<'_>, spec: &Value) -> Result<Value, Status> {
    let namespace = text(spec, "namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (rules, missing) = call.api.registry.authorizer().rules(call.user, &namespace);
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let of_resources = |rule: &PolicyRule| PolicyRule { non_resource_urls: None, ..rule.clone() };
    let of_urls = |rule: &PolicyRule| json!({ "verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls });
    let mut status = json!({
        "resourceRules": rules.iter().filter(|rule| some(&rule.resources)).map(of_resources).collect::<Vec<_>>(),
        "nonResourceRules": rules.iter().filter(|rule| some(&rule.non_resource_urls)).map(of_urls).collect::<Vec<_>>(),
        "incomplete": !missing.is_empty(),
    });
    if !missing.is_empty() {
        status["evaluationError"] =
            if let [one] = missing.as_slice() { one.clone() } else { format!("[{}]", missing.join(", ")) }.into();
    }
    Ok(status)
}

/// Whose a token is.
async fn token(call: &Call<'_>, spec: &Value) -> Result<Value, Status> {
    let given = text(spec, "token");
    if given.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let asking = if texts(&spec["audiences"]).is_empty() { own_audiences() } else { texts(&spec["audiences"]) };
    Ok(match call.api.tokens.take(&given, &asking).await {
        Ok((user, audiences)) => json!({ "authenticated": true, "user": user_info(&user), "audiences": audiences }),
        Err(why) => json!({ "user": {}, "error": why }),
    })
}

fn named_user(spec: &Value) -> User {
    let extra = spec["extra"].as_object().into_iter().flatten();
    let extra = extra.map(|(key, values)| (key.clone(), texts(values))).collect();
    User { name: text(spec, "user"), uid: text(spec, "uid"), groups: texts(&spec["groups"]), extra }
}

fn user_info(user: &User) -> Value {
    let mut info = json!({ "username": user.name, "groups": user.groups });
    if !user.uid.is_empty() {
        info["uid"] = user.uid.clone().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(resource: &str, spec: Value) -> Vec<String> {
        let review = json!({ "metadata": { "namespace": "ns" }, "spec": spec });
        check(resource, &review).into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn reviews_ask_about_one_thing_of_somebody() {
        let pods = json!({ "verb": "get", "resource": "pods", "namespace": "ns" });
        assert_eq!(
            messages("localsubjectaccessreviews", json!({ "user": "a", "resourceAttributes": pods })),
            Vec::<String>::new()
        );
        assert_eq!(
            messages("localsubjectaccessreviews", json!({ "nonResourceAttributes": { "path": "/a", "verb": "get" } })),
            [
                "spec.user: Invalid value: \"\": at least one of user or group must be specified",
                "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/a\",\"Verb\":\"get\"}: disallowed on this kind of request",
            ]
        );
        assert_eq!(
            messages("selfsubjectaccessreviews", json!({})),
            [
                "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
                "metadata: Invalid value: {\"namespace\":\"ns\"}: must be empty",
            ]
        );
        assert!(messages("selfsubjectrulesreviews", json!({})).is_empty());
    }
}
