//! Clocks that jump: leases are counted by the clock that only goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::disk::preloaded;
use crate::member::Member;
use crate::process::PATIENCE;

const TTL: Duration = Duration::from_secs(6);
/// Ten years.
const JUMP: i64 = 315_360_000;

/// A key that lasts as long as a lease of its own; when it was asked for.
fn leased(member: &Member, key: &str) -> (Instant, String) {
    let begun = Instant::now();
    let granted = member.ok(&["lease", "grant", &TTL.as_secs().to_string()]);
    let id = granted.split_whitespace().nth(1).expect("an id").to_owned();
    member.ok(&["put", key, "v", &format!("--lease={id}")]);
    (begun, id)
}

fn there(member: &Member, key: &str) -> bool {
    !member.ok(&["get", key]).is_empty()
}

/// The clock is off by so much from here on, and somebody noticed.
fn jump(member: &Member, file: &Path, by: i64) {
    let seen = file.with_extension("seen");
    let _ = std::fs::remove_file(&seen);
    std::fs::write(file, by.to_string()).expect("written");
    let begun = Instant::now();
    while !seen.exists() {
        member.ok(&["put", "clock", "v"]);
        assert!(begun.elapsed() < PATIENCE, "nobody asks that clock");
    }
}

#[test]
fn a_wall_clock_that_jumps_neither_ends_leases_early_nor_keeps_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(library) = preloaded(dir.path(), "jumping_clock", include_str!("jumping_clock.c")) else { return };
    let file = dir.path().join("off");
    let mut member = Member::new();
    let flags = member.flags("http");
    let environment = [("LD_PRELOAD", library.display().to_string()), ("CLOCK_OFF_BY", file.display().to_string())];
    member.start_with(&flags, &environment);
    for (key, by) in [("ahead", JUMP), ("back", -JUMP)] {
        let (begun, id) = leased(&member, key);
        jump(&member, &file, by);
        let alive = there(&member, key);
        assert!(alive || begun.elapsed() > TTL, "{key}: it ended early");
        if begun.elapsed() < TTL {
            let kept = member.ok(&["lease", "keep-alive", "--once", &id]);
            assert!(kept.contains("keepalived with TTL"), "{key}: {kept}");
        }
        while there(&member, key) {
            assert!(begun.elapsed() < 2 * TTL + PATIENCE, "{key}: it does not end");
        }
        assert!(begun.elapsed() >= TTL, "{key}: it ended after {:?}", begun.elapsed());
        std::fs::write(&file, "0").expect("written");
    }
    assert!(member.terminate());
}
