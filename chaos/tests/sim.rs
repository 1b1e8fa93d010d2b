//! The store in simulation: seeds that must be green, runs that must be the same twice, defects that must be found.

use std::path::Path;
use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> (bool, String) {
    let dir = tempfile::tempdir().expect("a directory");
    sim_in(dir.path(), arguments)
}

/// Failed runs leave what they saw in `dir`.
fn sim_in(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let mut run = Command::new(env!("CARGO_BIN_EXE_raftsman-chaos"));
    run.arg("sim").args(arguments).arg("--dir").arg(dir);
    let Output { status, stdout, stderr } = run.output().expect("it runs");
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (status.success(), text)
}

/// The words between two others, and where they end.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let found = text.split_once(before).and_then(|(_, rest)| rest.split_once(after));
    found.unwrap_or_else(|| panic!("no {before:?} .. {after:?}: {text}")).0
}

#[test]
fn nothing_is_lost_whatever_happens_to_members() {
    let (green, text) = sim(&["--seeds", "1..500"]);
    assert!(green, "{text}");
    let figure = |what: &str| {
        let words: Vec<&str> = text.split([' ', ',', ';', '\n']).filter(|word| !word.is_empty()).collect();
        let place = words.windows(2).position(|pair| pair[1] == what);
        place.and_then(|place| words[place].parse::<u64>().ok()).unwrap_or_else(|| panic!("no {what}: {text}"))
    };
    for what in ["writes", "members", "interrupted", "sectors", "links", "bits"] {
        assert!(figure(what) > 0, "vacuous: {text}");
    }
}

#[test]
fn a_run_is_the_same_twice() {
    let (same, text) = sim(&["--seeds", "101..120", "--seconds", "4", "--twice"]);
    assert!(same, "{text}");
}

#[test]
fn every_defect_of_the_museum_is_found() {
    let (found, text) = sim(&["--museum"]);
    assert!(found, "{text}");
}

#[test]
fn a_failure_is_shortened_to_few_faults_and_replayed() {
    for (defect, property) in
        [("snapshots-uninstalled", "linearizable by revision"), ("acks-assumed", "linearizable by revision")]
    {
        let dir = tempfile::tempdir().expect("a directory");
        let (found, text) = sim_in(dir.path(), &["--museum", "--defect", defect, "--shrink"]);
        assert!(found && text.contains(property), "{text}");
        let faults: Vec<&str> = text.lines().filter(|line| line.contains(" ms, for ")).collect();
        let few = between(&text, "\n  ", " faults of ").parse::<usize>().expect("a number");
        assert!((1..=5).contains(&few) && faults.len() == few, "{text}");
        let path = between(&text, "sim --replay ", "\n");
        let (green, again) = sim(&["--replay", path]);
        assert!(!green, "{again}");
        let told = between(&again, " FAILED: ", "\n  replay it with: raftsman-chaos sim --replay ");
        let by = text.lines().find(|line| line.starts_with(defect)).expect("a row");
        let first = between(told, "", ": ");
        assert!(by.contains(first), "{by}\n{again}");
        // What contradicts each other, and what was asked around it.
        assert!(told.contains("\n    > ") && told.contains(" asked to "), "{again}");
    }
}
