//! The levels that labels ask for.

use std::fmt;

use serde_json::Value;

use crate::status::FieldError;
use crate::validate::field::Errors;
use crate::validate::root;

/// How much a pod may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

/// Which version of the rules: the minor version of Kubernetes, none for the newest.
pub(super) type Version = Option<u32>;

/// A level by the rules of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leveled {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl fmt::Display for Leveled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            None => write!(f, "{level}:latest"),
            Some(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// What is refused and what is warned of. The mode `audit` is read for its mistakes alone: there is no audit log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: Leveled,
    pub(super) warn: Leveled,
}

fn level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

fn version(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(None);
    }
    let minor = text.strip_prefix("v1.")?;
    let plain = minor == "0" || (!minor.starts_with('0') && minor.bytes().all(|byte| byte.is_ascii_digit()));
    minor.parse().ok().filter(|_| plain).map(Some)
}

/// The policy of a namespace with these labels, and what is wrong with them. What cannot be read is enforced strictly
/// and not warned of.
pub(super) fn of(labels: &Value) -> (Policy, Vec<FieldError>) {
    let mut errors = Errors::default();
    let mut mode = |name: &str, wrong: Level| {
        let mut read = Leveled::default();
        let (mut has_level, mut has_version) = (false, false);
        let key = format!("pod-security.kubernetes.io/{name}");
        if let Some(text) = labels[&key].as_str() {
            has_level = true;
            read.level = level(text).unwrap_or_else(|| {
                let why = "must be one of privileged, baseline, restricted";
                errors.invalid(&root().child("metadata").child("labels").key(&key), text, why);
                has_level = name == "warn";
                wrong
            });
        }
        let key = format!("{key}-version");
        if let Some(text) = labels[&key].as_str() {
            has_version = true;
            read.version = version(text).unwrap_or_else(|| {
                let why = "must be \"latest\" or \"v1.x\"";
                errors.invalid(&root().child("metadata").child("labels").key(&key), text, why);
                None
            });
        }
        (read, has_level, has_version)
    };
    let (enforce, enforced, _) = mode("enforce", Level::Restricted);
    let _ = mode("audit", Level::Privileged);
    let (mut warn, warned, versioned) = mode("warn", Level::Privileged);
    // What would be refused of pods is warned of on what makes them.
    if enforced && !warned && enforce.level > warn.level {
        warn.level = enforce.level;
        if !versioned {
            warn.version = enforce.version;
        }
    }
    (Policy { enforce, warn }, errors.into_list())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(labels: &[(&str, &str)]) -> (String, String, Vec<String>) {
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(key, value)| (format!("pod-security.kubernetes.io/{key}"), (*value).into())).collect();
        let (policy, errors) = of(&json!(labels));
        let errors = errors.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        (policy.enforce.to_string(), policy.warn.to_string(), errors)
    }

    #[test]
    fn warnings_follow_what_is_enforced() {
        assert_eq!(read(&[]), ("privileged:latest".into(), "privileged:latest".into(), vec![]));
        let enforced = [("enforce", "restricted"), ("enforce-version", "v1.20")];
        assert_eq!(read(&enforced), ("restricted:v1.20".into(), "restricted:v1.20".into(), vec![]));
        let both = [("enforce", "restricted"), ("warn", "baseline")];
        assert_eq!(read(&both), ("restricted:latest".into(), "baseline:latest".into(), vec![]));
        let version = [("enforce", "baseline"), ("warn-version", "v1.0")];
        assert_eq!(read(&version), ("baseline:latest".into(), "baseline:v1.0".into(), vec![]));
    }

    #[test]
    fn mistakes_are_named() {
        let (enforce, warn, errors) = read(&[("enforce", "strict"), ("warn-version", "newest")]);
        assert_eq!((enforce.as_str(), warn.as_str()), ("restricted:latest", "privileged:latest"));
        assert_eq!(
            errors,
            [
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"newest\": must be \"latest\" or \"v1.x\"",
            ]
        );
        for wrong in ["v1", "v2.0", "v1.-1", "v1.01", "1.2", "v1.x"] {
            assert_eq!(version(wrong), None, "{wrong}");
        }
    }
}
