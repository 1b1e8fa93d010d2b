//! Probes and hooks of containers.

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::names;
use crate::validate::pod::spec::word;
use crate::validate::read::{held, list, number, text};

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
const TIMES: [&str; 5] =
    ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];

/// The hooks and probes of a container that goes on running. `grace`: the pod's, seconds.
pub(super) fn of_container(container: &Value, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    if let Some(hooks) = held(container, "lifecycle") {
        for field in ["postStart", "preStop"] {
            if let Some(handler) = held(hooks, field) {
                check(handler, grace, &path.child("lifecycle").child(field), errors);
            }
        }
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = held(container, field) else { continue };
        let path = path.child(field);
        check(probe, None, &path, errors);
        times(probe, &path, errors);
        if field != "readinessProbe" {
            if let Some(successes) = number(probe, "successThreshold").filter(|successes| *successes != 1) {
                errors.invalid(&path.child("successThreshold"), &successes, "must be 1");
            }
        } else if let Some(own) = number(probe, "terminationGracePeriodSeconds") {
            let place = path.child("terminationGracePeriodSeconds");
            errors.invalid(&place, &own, "must not be set for readinessProbes");
        }
    }
}

fn times(probe: &Value, path: &Path, errors: &mut Errors) {
    for field in TIMES {
        if let Some(value) = number(probe, field).filter(|value| *value < 0) {
            errors.invalid(&path.child(field), &value, NOT_NEGATIVE);
        }
    }
    if let Some(own) = number(probe, "terminationGracePeriodSeconds").filter(|own| *own <= 0) {
        errors.invalid(&path.child("terminationGracePeriodSeconds"), &own, "must be greater than 0");
    }
}

/// What a probe or a hook does: exactly one thing.
fn check(handler: &Value, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    let mut found = false;
    for field in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let Some(action) = held(handler, field) else { continue };
        let path = path.child(field);
        if std::mem::replace(&mut found, true) {
            errors.forbidden(&path, "may not specify more than 1 handler type");
            continue;
        }
        match field {
            "exec" if list(action, "command").is_empty() => errors.required(&path.child("command"), ""),
            "exec" => {}
            "httpGet" => http(action, &path, errors),
            "sleep" => sleep(action, grace, &path, errors),
            _ => port(&action["port"], &path.child("port"), errors),
        }
    }
    if !found {
        errors.required(path, "must specify a handler type");
    }
}

fn http(action: &Value, path: &Path, errors: &mut Errors) {
    port(&action["port"], &path.child("port"), errors);
    word(action, "scheme", &["HTTP", "HTTPS"], path, errors);
    for header in list(action, "httpHeaders") {
        let name = text(header, "name");
        errors.malformed(&path.child("httpHeaders"), name, &names::http_header_name(name));
    }
}

/// A port by number or by name.
fn port(port: &Value, path: &Path, errors: &mut Errors) {
    match port {
        Value::String(name) => errors.malformed(path, name, &names::port_name(name)),
        other => {
            let number = other.as_i64().unwrap_or(0);
            errors.malformed(path, &number, &names::port_number(number));
        }
    }
}

fn sleep(action: &Value, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    let seconds = number(action, "seconds").unwrap_or(0);
    if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
        let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(path, &seconds, &why);
    }
}
