//! Pods and what they are made of.

use serde_json::Value;

use crate::defaults::image::pull_policy;
use crate::defaults::{Fields, below, default, default_absent, each, pod_level, text};

/// Seconds.
const GRACE: i64 = 30;
/// Of files in volumes: `rw-r--r--`.
const MODE: i64 = 0o644;
/// Seconds.
const TOKEN_LIFE: i64 = 3600;

/// Of pods alone, not of their templates.
pub(super) fn pod(fields: &mut Fields) {
    let spec = below(fields, "spec");
    for list in ["containers", "initContainers"] {
        each(spec, list).for_each(requests_from_limits);
    }
    pod_level::fill(spec);
    default_absent(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        for list in ["containers", "initContainers"] {
            for container in each(spec, list) {
                for port in each(container, "ports") {
                    if let Some(number) = port.get("containerPort").cloned() {
                        default(port, "hostPort", number);
                    }
                }
            }
        }
    }
}

fn requests_from_limits(container: &mut Fields) {
    let resources = below(container, "resources");
    let Some(limits) = resources.get("limits").and_then(Value::as_object).filter(|limits| !limits.is_empty()).cloned()
    else {
        return;
    };
    let requests = below(resources, "requests");
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

pub(super) fn spec(fields: &mut Fields) {
    default(fields, "dnsPolicy", "ClusterFirst");
    default(fields, "restartPolicy", "Always");
    default_absent(fields, "securityContext", Value::Object(Fields::new()));
    default_absent(fields, "terminationGracePeriodSeconds", GRACE);
    default(fields, "schedulerName", "default-scheduler");
    // Two names of one field (pkg/apis/core/v1/conversion.go).
    let account = match text(fields, "serviceAccountName") {
        "" => text(fields, "serviceAccount"),
        name => name,
    };
    if !account.is_empty() {
        let account = Value::from(account);
        fields.insert("serviceAccount".to_owned(), account.clone());
        fields.insert("serviceAccountName".to_owned(), account);
    }
}

pub(super) fn container(fields: &mut Fields) {
    let policy = pull_policy(text(fields, "image"));
    default(fields, "imagePullPolicy", policy);
    default(fields, "terminationMessagePath", "/dev/termination-log");
    default(fields, "terminationMessagePolicy", "File");
}

pub(super) fn probe(fields: &mut Fields) {
    for (name, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        default(fields, name, value);
    }
}

pub(super) fn http_get(fields: &mut Fields) {
    default(fields, "path", "/");
    default(fields, "scheme", "HTTP");
}

pub(super) fn field_selector(fields: &mut Fields) {
    default(fields, "apiVersion", "v1");
}

/// A volume without a source is an empty directory.
pub(super) fn volume(fields: &mut Fields) {
    if fields.keys().all(|name| name == "name") {
        fields.insert("emptyDir".to_owned(), Value::Object(Fields::new()));
    }
    if let Some(image) = fields.get_mut("image").and_then(Value::as_object_mut) {
        let policy = pull_policy(text(image, "reference"));
        default(image, "pullPolicy", policy);
    }
}

/// Of volumes that hold files.
pub(super) fn mode(fields: &mut Fields) {
    default_absent(fields, "defaultMode", MODE);
}

pub(super) fn token_projection(fields: &mut Fields) {
    default_absent(fields, "expirationSeconds", TOKEN_LIFE);
}
