//! Reviews: questions about who may do what, answered and not kept.

use http::Response;
use serde_json::{Value, json};

use crate::api::answer::{self, Body};
use crate::api::negotiate::Offer;
use crate::api::serve::{Call, not_allowed};
use crate::api::write::encoding;
use crate::authz::{Attributes, ResourceAttributes, rbac, replica};
use crate::decode::{self, FieldValidation};
use crate::identity::User;
use crate::status::Status;

pub(crate) fn answer(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Plain)?;
    let (mut review, warnings) = decode::object(call.kind, &call.body, encoding(call)?, FieldValidation::Warn)?;
    let registry = &call.api.registry;
    let status = match call.kind.resource {
        "selfsubjectreviews" => json!({ "userInfo": user_info(call.user) }),
        "selfsubjectaccessreviews" => access(call, call.user, &review["spec"]),
        "subjectaccessreviews" | "localsubjectaccessreviews" => {
            access(call, &named_user(&review["spec"]), &review["spec"])
        }
        "selfsubjectrulesreviews" => {
            let namespace = review["spec"]["namespace"].as_str().unwrap_or_default();
            let rules = rbac::rules_for(&replica::Source::new(registry), call.user, namespace);
            let (urls, resources): (Vec<_>, Vec<_>) =
                rules.into_iter().partition(|rule| rule.non_resource_urls.is_some());
            let url = |rule: &k8s_openapi::api::rbac::v1::PolicyRule| json!({ "verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls });
            json!({ "resourceRules": resources, "nonResourceRules": urls.iter().map(url).collect::<Vec<_>>(), "incomplete": false })
        }
        _ => return Err(not_allowed()),
    };
    review["status"] = status;
    Ok(answer::warn(answer::value(201, &review, &how), &warnings))
}

fn access(call: &Call<'_>, user: &User, spec: &Value) -> Value {
    let word = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let resource = &spec["resourceAttributes"];
    let attributes = if resource.is_object() {
        let named = ResourceAttributes {
            group: word(resource, "group"),
            resource: word(resource, "resource"),
            subresource: word(resource, "subresource"),
            namespace: word(resource, "namespace"),
            name: word(resource, "name"),
        };
        Attributes { verb: word(resource, "verb"), resource: Some(named), path: String::new() }
    } else {
        let path = &spec["nonResourceAttributes"];
        Attributes { verb: word(path, "verb"), resource: None, path: word(path, "path") }
    };
    let decision = replica::decide(&call.api.registry, user, &attributes);
    let mut status = json!({ "allowed": decision.allowed });
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    status
}

fn named_user(spec: &Value) -> User {
    let groups = spec["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let text = |key: &str| spec[key].as_str().unwrap_or_default().to_owned();
    User { name: text("user"), uid: text("uid"), groups, extra: std::collections::BTreeMap::new() }
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
