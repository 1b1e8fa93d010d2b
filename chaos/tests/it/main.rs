//! The harness itself, on clusters of real processes.

#![expect(clippy::print_stdout, reason = "the count of tests lists what was skipped")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The harness; none where the binary that it runs was not built with it (`cargo test -p chaos` alone).
fn harness() -> Option<Command> {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_raftsman-chaos"));
    if path.with_file_name("raftsman").exists() {
        return Some(Command::new(path));
    }
    println!("skipped: clusters of processes: the binary raftsman is not built");
    None
}

#[test]
fn the_leader_is_killed_and_nothing_is_lost() {
    let Some(mut harness) = harness() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let done = harness.args(["run", "leader-kill", "--seed", "1", "--dir"]).arg(dir.path()).output().expect("it runs");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    // How long writes stop is no matter for a test on a busy machine; what was acknowledged is.
    for property in ["linearizable", "no acknowledged write lost", "watches ordered", "left a trace"] {
        assert!(!text.contains(&format!("    {property}")), "{text}");
    }
    assert!(text.contains("leader-kill"), "{text}{}", String::from_utf8_lossy(&done.stderr));
    assert!(dir.path().join("leader-kill-1/report.html").exists(), "{text}");
}

#[test]
fn the_store_alone_ends_at_a_failed_sync_and_loses_nothing() {
    let Some(mut harness) = harness() else { return };
    if !Command::new("cc").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return println!("skipped: a failed sync of the store: no C compiler");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let done = harness.args(["run", "disk-error", "--over", "store", "--dir"]).arg(dir.path()).output();
    let done = done.expect("it runs");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    for property in ["linearizable", "no acknowledged write lost", "watches ordered", "members hold", "left a trace"] {
        assert!(!text.contains(&format!("    {property}")), "{text}");
    }
    assert!(text.contains("disk-error"), "{text}{}", String::from_utf8_lossy(&done.stderr));
}

/// One run of a scenario over the store or over a cluster; what must hold whatever the machine's load.
fn holds(scenario: &str, over: &str, needs: &[&str]) {
    let Some(mut harness) = harness() else { return };
    let there =
        |program: &&&str| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !nix::unistd::geteuid().is_root() || needs.iter().filter(there).count() < needs.len() {
        return println!("skipped: {scenario}: it needs root and {}", needs.join(", "));
    }
    let dir = tempfile::tempdir().expect("a directory");
    harness.args(["run", scenario, "--over", over, "--runtime", "sim", "--dir"]);
    let done = harness.arg(dir.path()).output().expect("it runs");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    for property in ["linearizable", "no acknowledged write lost", "watches ordered", "members hold", "left a trace"] {
        assert!(!text.contains(&format!("    {property}")), "{text}");
    }
    let skipped = text.starts_with("skipped: ");
    if skipped {
        println!("{text}");
    }
    assert!(skipped || text.contains(" runs, "), "{text}{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn what_a_disk_without_power_forgets_was_not_acknowledged() {
    holds("power-cut", "store", &["cc", "mkfs.ext4"]);
}

#[test]
fn a_member_whose_log_is_damaged_does_not_serve_and_is_replaced() {
    holds("log-damage", "store", &[]);
}

#[test]
fn packets_that_come_late_or_not_at_all_lose_nothing() {
    holds("delay", "store", &["nft", "iptables"]);
    holds("one-way", "store", &["nft"]);
}

#[test]
fn servers_of_a_cluster_lose_their_disks_power_and_are_exchanged() {
    holds("power-cut", "cluster", &["cc", "mkfs.ext4"]);
    holds("replace", "cluster", &[]);
}

#[test]
fn the_store_is_exchanged_member_by_member_and_loses_nothing() {
    let Some(mut harness) = harness() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let done = harness.args(["run", "replace", "--over", "store", "--dir"]).arg(dir.path()).output().expect("it runs");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    for property in ["linearizable", "no acknowledged write lost", "watches ordered", "members hold", "left a trace"] {
        assert!(!text.contains(&format!("    {property}")), "{text}");
    }
    assert!(text.contains("replace  "), "{text}{}", String::from_utf8_lossy(&done.stderr));
}

/// `make run` without its build: real containers where an engine can run.
#[test]
fn the_local_cluster_serves_its_application_and_leaves_nothing() {
    let Some(mut harness) = harness() else { return };
    let engine = Command::new("dockerd").arg("--version").output().is_ok_and(|output| output.status.success());
    let docker = engine && nix::unistd::geteuid().is_root();
    if !docker {
        println!("skipped: real containers in the local cluster: no root or no dockerd");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("cluster");
    harness.args(["cluster", "run", "--runtime", if docker { "docker" } else { "sim" }, "--dir"]).arg(&place);
    let mut child = harness.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        text.push_str(&line);
        text.push('\n');
        if line.starts_with("Ctrl-C") {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it lives");
        }
    }
    let ended = child.wait_with_output().expect("it ends");
    assert!(ended.status.success(), "{text}{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(text.matches(" Running ").count(), 2, "{text}");
    assert!(!place.exists(), "everything is removed");
}

#[test]
fn the_store_opens_in_every_state_that_a_loss_of_power_leaves() {
    let text = crash_states(&["--states", "100"]);
    assert!(text.starts_with("skipped: ") || text.contains("100 states in "), "{text}");
}

#[test]
fn a_store_that_acknowledges_before_it_syncs_is_found_by_its_states() {
    if !Command::new("cc").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return println!("skipped: states after a crash without syncs: no C compiler");
    }
    let text = crash_states(&["--states", "40", "--unsynced"]);
    assert!(text.starts_with("skipped: ") || text.contains("was acknowledged and is lost"), "{text}");
}

/// What the command says when it succeeds.
fn crash_states(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let mut harness = Command::new(env!("CARGO_BIN_EXE_raftsman-chaos"));
    let done = harness.arg("crash-states").args(arguments).arg("--dir").arg(dir.path()).output().expect("it runs");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if text.starts_with("skipped: ") {
        println!("{text}");
    }
    assert!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
    text
}
