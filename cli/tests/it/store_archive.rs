//! Members of a plain store archive what they commit; operators back up, look and restore, as processes.

use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::member::{Member, ask, text};
use crate::process::PATIENCE;

pub(crate) fn backup(arguments: &[&str], environment: &[(&str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftsman"));
    command.arg("backup").args(arguments).stdin(Stdio::null());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

pub(crate) fn run(arguments: &[&str], environment: &[(&str, String)]) -> Output {
    backup(arguments, environment).output().expect("it runs")
}

pub(crate) fn done(arguments: &[&str], environment: &[(&str, String)]) -> String {
    let output = run(arguments, environment);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A word of four letters is the base64 of three bytes.
pub(crate) fn put(port: u16, number: usize) -> Option<i64> {
    let request = json!({ "key": format!("k{:03}", number % 37), "value": format!("{:04}", number % 10_000) });
    ask(port, "kv/put", &request)["header"]["revision"].as_str()?.parse().ok()
}

/// Everything there is at a revision.
pub(crate) fn state(port: u16, revision: i64) -> Value {
    let all = json!({ "key": "AA==", "range_end": "AA==", "revision": revision.to_string() });
    let found = ask(port, "kv/range", &all);
    assert!(found["kvs"].is_array(), "{found}");
    found["kvs"].clone()
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("fits")
}

/// A moment after which the clock has gone on.
pub(crate) fn moment() -> String {
    let now = now_ms();
    while now_ms() < now + 5 {
        std::thread::yield_now();
    }
    // A whole second would stand for all of it.
    let between = now + 2 + i64::from((now + 2) % 1000 == 0);
    jiff::Timestamp::from_millisecond(between).expect("a time").to_string()
}

pub(crate) struct Trio {
    pub(crate) members: Vec<Member>,
    pub(crate) flags: Vec<Vec<String>>,
}

impl Trio {
    pub(crate) fn start(more: &[String], environment: &[(&str, String)]) -> Trio {
        let mut members: Vec<Member> = (0..3).map(|_| Member::new()).collect();
        let url = |member: &Member| format!("http://127.0.0.1:{}", member.peer);
        let all: Vec<_> = members.iter().enumerate().map(|(at, member)| format!("m{at}={}", url(member))).collect();
        let cluster = format!("--initial-cluster={}", all.join(","));
        let flags: Vec<Vec<String>> = (members.iter().enumerate())
            .map(|(at, member)| {
                let own = [format!("--name=m{at}"), cluster.clone()];
                member.flags("http").into_iter().chain(own).chain(more.iter().cloned()).collect()
            })
            .collect();
        for (member, flags) in members.iter_mut().zip(&flags).take(2) {
            member.begin_in(flags, environment);
        }
        members[2].start_with(&flags[2], environment);
        let trio = Trio { members, flags };
        trio.members[0].until("a write", || put(trio.members[0].client, 0).is_some());
        trio
    }

    fn leader(&self) -> usize {
        let mut found = None;
        let living = self.members.iter().position(Member::runs).expect("one of them");
        self.members[living].until("a leader", || {
            found = self.members.iter().position(|member| {
                let status =
                    if member.runs() { ask(member.client, "maintenance/status", &json!({})) } else { Value::Null };
                status["leader"].is_string() && status["leader"] == status["header"]["member_id"]
            });
            found.is_some()
        });
        found.expect("found")
    }

    /// Puts until so many are acknowledged, by whoever answers; answers the last revision and who gave it.
    pub(crate) fn load(&self, numbers: std::ops::Range<usize>) -> (i64, u16) {
        let mut last = (0, 0);
        let deadline = Instant::now() + PATIENCE;
        for number in numbers {
            loop {
                assert!(Instant::now() < deadline, "nobody takes writes");
                let living = self.members.iter().filter(|member| member.runs());
                let written = living.map(|member| (put(member.client, number), member.client));
                if let Some((revision, port)) = written.into_iter().find_map(|(revision, port)| Some((revision?, port)))
                {
                    last = (revision, port);
                    break;
                }
            }
        }
        last
    }

    /// Waits until a revision is archived, as any of them says.
    pub(crate) fn archived(&self, revision: i64) {
        let member = self.members.iter().find(|member| member.runs()).expect("one of them");
        member.until("archived", || {
            member.metric("raftsman_archive_revision").is_some_and(|archived| archived >= revision as f64)
        });
    }
}

/// A state that was to be restored, and how it is named.
struct Wanted {
    flag: &'static str,
    value: String,
    state: Value,
}

fn check(place: &str, wanted: &Wanted, environment: &[(&str, String)]) {
    let mut new = Member::new();
    let dir = new.data_dir().display().to_string();
    done(&["restore", place, wanted.flag, &wanted.value, "--data-dir", &dir], environment);
    new.start(new.flags("http"));
    assert_eq!(state(new.client, 0), wanted.state, "{} {}", wanted.flag, wanted.value);
    assert!(new.terminate(), "ended well");
}

#[test]
fn any_revision_and_second_comes_back_though_leaders_are_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("archive").display().to_string();
    let mut trio = Trio::start(&[format!("--archive-to={place}")], &[]);
    let mut wanted = Vec::new();
    let mut note = |trio: &Trio, numbers| {
        let (revision, port) = trio.load(numbers);
        let state = state(port, revision);
        wanted.push(Wanted { flag: "--to-time", value: moment(), state: state.clone() });
        wanted.push(Wanted { flag: "--to-revision", value: revision.to_string(), state });
        revision
    };
    let first = note(&trio, 0..60);
    trio.archived(first);
    note(&trio, 60..90);
    let leader = trio.leader();
    trio.members[leader].kill();
    note(&trio, 90..130);
    let flags = trio.flags[leader].clone();
    trio.members[leader].start(&flags);
    let leader = trio.leader();
    note(&trio, 130..150);
    trio.members[leader].kill();
    let last = note(&trio, 150..190);
    trio.archived(last);

    let living = trio.members.iter().find(|member| member.runs()).expect("one of them");
    let endpoint = format!("http://127.0.0.1:{}", living.client);
    living.until("young", || run(&["schedule", "--endpoints", &endpoint, "--max-age", "1s"], &[]).status.success());
    let listed = done(&["list", &place, "-o", "json"], &[]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed["archives"][0]["toRevision"].as_i64(), Some(last), "{listed}");
    assert_eq!(listed["archives"][0]["complete"].as_bool(), Some(true), "{listed}");
    let verified = done(&["verify", &place], &[]);
    assert!(verified.contains("applied again it comes to the same"), "{verified}");
    for one in &wanted {
        check(&place, one, &[]);
    }
    let planned = done(&["restore", &place, "--to-revision", &first.to_string(), "--plan", "-o", "json"], &[]);
    let planned: Value = serde_json::from_str(&planned).expect("JSON");
    assert_eq!((planned["revision"].as_i64(), planned["newestRevision"].as_i64()), (Some(first), Some(last)));
    assert!(planned["counts"]["changed"].as_u64().is_some_and(|changed| changed > 0), "{planned}");
    let (later, new) = ((last + 5).to_string(), dir.path().join("new").display().to_string());
    let beyond = run(&["restore", &place, "--to-revision", &later, "--data-dir", &new], &[]);
    assert_eq!(beyond.status.code(), Some(4), "{}", text(&beyond.stderr));
}

#[test]
fn a_restore_that_is_killed_leaves_nothing_or_all() {
    let kills = std::env::var("RESTORE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("archive").display().to_string();
    let mut member = Member::new();
    let mut flags = member.flags("http");
    flags.push(format!("--archive-to={place}"));
    member.start(&flags);
    let last = (0..200).filter_map(|number| put(member.client, number)).next_back().expect("written");
    let trio = Trio { members: vec![member], flags: Vec::new() };
    trio.archived(last);
    let expected = state(trio.members[0].client, last);

    let (mut new, begun) = (Member::new(), Instant::now());
    let target = new.data_dir().display().to_string();
    done(&["restore", &place, "--data-dir", &target], &[]);
    let took = begun.elapsed();
    let (mut none, mut all) = (0, 0);
    for number in 0..kills {
        let _ = std::fs::remove_dir_all(&target);
        let mut restoring = backup(&["restore", &place, "--data-dir", &target], &[]);
        let mut restoring = restoring.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
        // Moments spread over all of it, and a little beyond.
        let until = Instant::now() + took.mul_f64(1.1 * f64::from(number) / f64::from(kills));
        while Instant::now() < until && restoring.try_wait().expect("asked").is_none() {
            std::thread::yield_now();
        }
        let _ = restoring.kill();
        restoring.wait().expect("ended");
        if !new.data_dir().exists() {
            none += 1;
            continue;
        }
        all += 1;
        new.start(new.flags("http"));
        assert_eq!(state(new.client, 0), expected, "kill {number}");
        new.kill();
    }
    assert!(none > 0, "{none} times nothing, {all} times all of {kills}");
    let _ = std::fs::remove_dir_all(&target);
    done(&["restore", &place, "--data-dir", &target], &[]);
    new.start(new.flags("http"));
    assert_eq!(state(new.client, 0), expected, "what was left behind is in nobody's way");
}

#[test]
fn a_plain_store_is_backed_up_looked_into_and_restored() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, later) = (dir.path().join("one").display().to_string(), dir.path().join("two").display().to_string());
    let mut member = Member::new();
    member.start(member.flags("http"));
    let endpoint = format!("http://127.0.0.1:{}", member.client);
    let lease = ask(member.client, "lease/grant", &json!({ "TTL": "600", "ID": "77" }));
    assert_eq!(lease["ID"].as_str(), Some("77"));
    ask(member.client, "kv/put", &json!({ "key": "bGVhc2Vk", "value": "MQ==", "lease": "77" }));
    (0..40).for_each(|number| assert!(put(member.client, number).is_some()));
    done(&["create", &file, "--endpoints", &endpoint], &[]);
    let revision = put(member.client, 41).expect("written");
    done(&["create", &later, "--endpoints", &endpoint], &[]);
    let again = run(&["create", &later, "--endpoints", &endpoint], &[]);
    assert_eq!(again.status.code(), Some(4), "a backup overwrites nothing");
    let differ: Value = serde_json::from_str(&done(&["diff", &file, &later, "-o", "json"], &[])).expect("JSON");
    assert_eq!((differ["counts"]["changed"].as_u64(), differ["counts"]["added"].as_u64()), (Some(1), Some(0)));
    let inspected: Value = serde_json::from_str(&done(&["inspect", &later, "-o", "json"], &[])).expect("JSON");
    assert_eq!((inspected["revision"].as_i64(), inspected["leases"].as_i64()), (Some(revision), Some(1)));
    let expected = state(member.client, 0);
    let mut new = Member::new();
    done(&["restore", &later, "--data-dir", &new.data_dir().display().to_string()], &[]);
    new.start(new.flags("http"));
    assert_eq!(state(new.client, 0), expected);
    let left = ask(new.client, "lease/timetolive", &json!({ "ID": "77", "keys": true }));
    assert_eq!((left["grantedTTL"].as_str(), left["keys"][0].as_str()), (Some("600"), Some("bGVhc2Vk")), "{left}");
    let nobody =
        run(&["create", &dir.path().join("x").display().to_string(), "--endpoints", "http://127.0.0.1:1"], &[]);
    assert_eq!(nobody.status.code(), Some(3), "{}", text(&nobody.stderr));
    let none = run(&["schedule", "--endpoints", &endpoint], &[]);
    assert!(none.status.code() == Some(4) && text(&none.stderr).contains("--archive-to"), "{}", text(&none.stderr));
}
