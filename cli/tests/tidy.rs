//! Repository rules that clippy cannot state; each failure names file and line.

#![expect(clippy::unwrap_used, reason = "a test program")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Alarm for the length of a file; a longer one needs a line in `LONG_FILES`.
const FILE_LINES_MAX: usize = 500;

/// Files that are longer, each with its reason. The list only shrinks: a file that got shorter must leave it.
const LONG_FILES: &[(&str, &str)] = &[];

/// Who may depend on whom, inside the workspace.
const LAYERS: &[(&str, &[&str])] = &[
    ("base2histogram", &[]),
    ("proto", &[]),
    ("store", &["proto"]),
    ("control", &["proto", "store"]),
    ("node", &["proto"]),
    ("cli", &["proto", "store", "control", "node"]),
    ("chaos", &["proto", "store", "control", "node"]),
    ("xtask", &[]),
];

/// Who alone may name a library.
const OWNERS: &[(&str, &str)] = &[
    ("openraft", "store/src/"),
    ("rocksdb", "store/src/engine/"),
    ("bollard", "node/src/"),
    ("object_store", "store/src/archive/repository.rs"),
    ("turmoil", "chaos/src/sim/"),
];

/// Modules that decide: no runtime, no clock, no I/O, no logging.
const PURE: &[&str] = &[
    "proto/src/",
    "store/histogram/src/",
    "store/src/archive/board.rs",
    "store/src/archive/chain.rs",
    "store/src/archive/compare.rs",
    "store/src/archive/end.rs",
    "store/src/archive/link.rs",
    "store/src/archive/merge.rs",
    "store/src/archive/names.rs",
    "store/src/archive/segment.rs",
    "store/src/archive/track.rs",
    "store/src/config/url.rs",
    "store/src/bbolt/",
    "store/src/etcd/check.rs",
    "store/src/etcd/compactor.rs",
    "store/src/etcd/downgrade.rs",
    "store/src/etcd/fragment.rs",
    "store/src/etcd/http/access.rs",
    "store/src/etcd/http/gateway/bindings.rs",
    "store/src/etcd/http/gateway/json.rs",
    "store/src/etcd/standing.rs",
    "store/src/group/strict.rs",
    "store/src/group/deadlines.rs",
    "store/src/machine/alarm.rs",
    "store/src/machine/apply.rs",
    "store/src/machine/auth",
    "store/src/machine/codec.rs",
    "store/src/machine/hash.rs",
    "store/src/machine/lease.rs",
    "store/src/machine/moments.rs",
    "store/src/machine/past.rs",
    "store/src/machine/pending.rs",
    "store/src/machine/permission.rs",
    "store/src/machine/range.rs",
    "store/src/machine/record.rs",
    "store/src/machine/room.rs",
    "store/src/machine/txn.rs",
    "store/src/moving/database.rs",
    "store/src/moving/plan",
    "store/src/raft/wire.rs",
    "store/src/seal/keyring.rs",
    "store/src/seal/operator.rs",
    "store/src/seal/unit.rs",
    "store/src/tls/leaf.rs",
    "control/src/admission/",
    "control/src/api/discovery.rs",
    "control/src/api/metrics/object.rs",
    "control/src/api/negotiate.rs",
    "control/src/api/options.rs",
    "control/src/api/path.rs",
    "control/src/api/splice.rs",
    "control/src/api/write_options.rs",
    "control/src/api/yaml",
    "control/src/authz/escalation.rs",
    "control/src/authz/index.rs",
    "control/src/authz/mod.rs",
    "control/src/authz/node.rs",
    "control/src/authz/rbac.rs",
    "control/src/controllers/",
    "control/src/dashboard/draw.rs",
    "control/src/dashboard/form.rs",
    "control/src/dashboard/order.rs",
    "control/src/dashboard/place.rs",
    "control/src/dashboard/view/",
    "control/src/decode",
    "control/src/defaults/",
    "control/src/fields/",
    "control/src/gateway/index.rs",
    "control/src/gateway/round.rs",
    "control/src/gateway/select.rs",
    "control/src/gateway/status.rs",
    "control/src/gateway/usage.rs",
    "control/src/identity/claims.rs",
    "control/src/identity/impersonate.rs",
    "control/src/kind/",
    "control/src/patch/",
    "control/src/quantity",
    "control/src/reconcile/queue.rs",
    "control/src/reconcile/world.rs",
    "control/src/registry/allocation.rs",
    "control/src/registry/event_view.rs",
    "control/src/registry/gates.rs",
    "control/src/registry/key.rs",
    "control/src/registry/names.rs",
    "control/src/registry/prepare.rs",
    "control/src/registry/qos.rs",
    "control/src/registry/removal",
    "control/src/registry/rules.rs",
    "control/src/registry/service.rs",
    "control/src/registry/strategy.rs",
    "control/src/scheduler/",
    "control/src/schema/",
    "control/src/selector/",
    "control/src/status.rs",
    "control/src/table/",
    "control/src/validate/",
    "node/src/metrics/cgroup.rs",
    "node/src/metrics/host.rs",
    "node/src/metrics/page.rs",
    "node/src/metrics/rate.rs",
    "node/src/net/choice.rs",
    "node/src/net/forward.rs",
    "node/src/net/host_ports.rs",
    "cli/src/changes.rs",
    "cli/src/etcd_flags/",
    "cli/src/moment.rs",
    "chaos/src/bench/figures.rs",
    "chaos/src/scenario/report/picture.rs",
    "chaos/src/scenario/report/strips.rs",
    "chaos/src/scenario/report/violation.rs",
    "chaos/src/check/",
    "chaos/src/sim/finding.rs",
    "chaos/src/sim/schedule.rs",
    "chaos/src/sim/shrink.rs",
    "chaos/src/crash_states/history.rs",
    "chaos/src/crash_states/stream.rs",
    "node/src/net/ipam.rs",
    "node/src/net/proxy.rs",
    "node/src/link/patience.rs",
    "node/src/plan/",
];
const IMPURE: &[&str] =
    &["async fn", "async move", ".await", "tokio::", "std::fs", "std::net::Tcp", "::now()", "tracing::", "println!"];

/// Words that say nothing about what lies in a file.
const BAD_NAMES: &[&str] = &["util", "utils", "common", "helpers", "misc"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file of the project that is not generated, with its text.
fn sources() -> Vec<(String, String)> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .unwrap();
    let paths = String::from_utf8(listed.stdout).unwrap();
    let sources: Vec<_> = paths
        .split('\0')
        .filter(|path| !path.is_empty() && !path.contains("/gen/"))
        .filter_map(|path| Some((path.to_owned(), std::fs::read_to_string(root().join(path)).ok()?)))
        .collect();
    assert!(!sources.is_empty(), "git lists no sources");
    sources
}

fn report(errors: &[String]) {
    assert!(errors.is_empty(), "\n{}\n", errors.join("\n"));
}

/// The part of a line before a comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The lines of a file before its unit tests.
fn shipped(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).enumerate().map(|(index, line)| (index + 1, line))
}

#[test]
fn crates_import_only_downwards() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let layers: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let allowed = layers.get(name).unwrap_or_else(|| panic!("crate `{name}` has no line in LAYERS"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            let shipped = dependency["kind"].is_null();
            assert!(
                !shipped || !layers.contains_key(to) || allowed.contains(&to),
                "`{name}` must not depend on `{to}`"
            );
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let long: BTreeMap<_, _> = LONG_FILES.iter().copied().collect();
    let mut errors = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        match (lines > FILE_LINES_MAX, long.contains_key(path.as_str())) {
            (true, false) => errors.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX} without a reason")),
            (false, true) => errors.push(format!("{path}: {lines} lines, no longer needs its line in LONG_FILES")),
            _ => {}
        }
        if !text.starts_with("//!") {
            errors.push(format!("{path}:1: the file does not open with `//!`"));
        }
        let stem = Path::new(&path).file_stem().unwrap().to_str().unwrap();
        if BAD_NAMES.contains(&stem) {
            errors.push(format!("{path}: name the file for what lies in it"));
        }
    }
    report(&errors);
}

#[test]
fn deciding_modules_are_pure() {
    let mut errors = Vec::new();
    for (path, text) in sources() {
        if path.ends_with("tests.rs") || !PURE.iter().any(|pure| path.starts_with(pure)) {
            continue;
        }
        for (number, line) in shipped(&text) {
            for token in IMPURE.iter().filter(|token| code(line).contains(**token)) {
                errors.push(format!("{path}:{number}: `{token}` in a pure module"));
            }
        }
    }
    report(&errors);
}

#[test]
fn libraries_with_an_owner_are_named_only_there() {
    let mut errors = Vec::new();
    for (path, text) in sources() {
        for (library, owner) in OWNERS {
            let named = |line: &str| code(line).contains(&format!("{library}::"));
            let line = text.lines().position(named);
            if let Some(index) = line.filter(|_| !path.starts_with(owner) && path != "cli/tests/tidy.rs") {
                errors.push(format!("{path}:{}: only {owner} names {library}", index + 1));
            }
        }
    }
    report(&errors);
}

#[test]
fn documents_name_places_that_are_there() {
    let crates: Vec<String> = LAYERS.iter().map(|(name, _)| format!("{name}/")).collect();
    let mut errors = Vec::new();
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        for (index, line) in text.lines().enumerate() {
            // Every second part of a line lies between backticks.
            for word in line.split('`').skip(1).step_by(2).filter(|word| !word.contains([' ', '*'])) {
                if crates.iter().any(|name| word.starts_with(name.as_str())) && !root().join(word).exists() {
                    errors.push(format!("{document}:{}: there is no `{word}`", index + 1));
                }
            }
        }
    }
    report(&errors);
}

#[test]
fn no_work_is_left_as_a_note() {
    let mut errors = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| path != "cli/tests/tidy.rs") {
        for (index, line) in text.lines().enumerate() {
            for mark in ["FIXME", "XXX", "todo!(", "unimplemented!(", "#[ignore"] {
                if line.contains(mark) {
                    errors.push(format!("{path}:{}: `{mark}`", index + 1));
                }
            }
        }
    }
    report(&errors);
}
