//! A member of a plain store takes the place of another, by `raftsman member replace`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::member::{Member, text};

fn replace(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftsman"));
    command.args(["member", "replace"]).args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_new_member_takes_the_place_of_the_old_one_with_all_it_has() {
    let (mut old, mut new) = (Member::new(), Member::new());
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let mut flags = old.flags("http");
    flags.extend(["--name=old".to_owned(), format!("--initial-cluster=old={}", url(old.peer))]);
    old.start(&flags);
    assert_eq!(old.ok(&["put", "a", "1"]), "OK\n");

    let (named, endpoints) = (format!("new={}", url(new.peer)), format!("{},{}", url(old.client), url(new.client)));
    let endpoints = ["--endpoints", &endpoints];
    let unknown = replace(&[&["other", &named][..], &endpoints].concat()).output().expect("it runs");
    assert!(
        text(&unknown.stderr).contains("no member is called \"other\"; there are old"),
        "{}",
        text(&unknown.stderr)
    );
    let alone = replace(&[&["old"][..], &endpoints].concat()).output().expect("it runs");
    assert_eq!(alone.status.code(), Some(2), "{}", text(&alone.stderr));

    let mut replacing = replace(&[&["old", &named, "--timeout=60"][..], &endpoints].concat()).spawn().expect("it runs");
    let mut said = BufReader::new(replacing.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let line = said.find(|line| line.contains("raftsman store")).expect("it says how the new one is started");
    let start = line.split_once("raftsman store ").expect("a command").1;
    let mut flags: Vec<String> = start.split(' ').map(str::to_owned).collect();
    flags.extend(new.flags("http").into_iter().filter(|flag| !flag.contains("initial-advertise-peer-urls")));
    new.start(&flags);
    let rest: Vec<String> = said.collect();
    assert!(rest.iter().any(|line| line.contains("new has taken the place of old")), "{rest:?}");
    assert!(replacing.wait().expect("it ends").success());

    assert_eq!(new.ok(&["get", "a"]), "a\n1\n");
    assert_eq!(new.ok(&["put", "a", "2"]), "OK\n");
    let listed = new.ok(&["member", "list"]);
    assert!(listed.lines().count() == 1 && listed.contains(", new, "), "{listed}");
}

#[test]
fn the_place_of_a_dead_one_is_taken_too() {
    let mut members: Vec<Member> = (0..4).map(|_| Member::new()).collect();
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let named = |at: usize| format!("m{at}");
    let all: Vec<String> = (0..3).map(|at| format!("{}={}", named(at), url(members[at].peer))).collect();
    for (at, member) in members.iter_mut().enumerate().take(3) {
        let mut flags = member.flags("http");
        flags.extend([format!("--name={}", named(at)), format!("--initial-cluster={}", all.join(","))]);
        member.begin(&flags);
    }
    members[0].until("it takes writes", || members[0].etcdctl(&["put", "a", "1"]).status.success());
    members[2].kill();
    // For a moment the others do not know.
    members[0].until("nobody is taken in", || {
        let added = members[0].etcdctl(&["member", "add", "probe", "--learner", "--peer-urls=http://127.0.0.1:1"]);
        let said = text(&added.stdout);
        if let Some(id) = said.split_whitespace().nth(1).filter(|_| added.status.success()) {
            members[0].ok(&["member", "remove", id]);
        }
        text(&added.stderr).contains("unhealthy cluster")
    });

    let (new, endpoints) = (format!("m3={}", url(members[3].peer)), [url(members[0].client), url(members[1].client)]);
    instead_of_a_dead_one(&["m2", &new, "--timeout=60", "--endpoints", &endpoints.join(",")], &mut members[3]);
    assert_eq!(members[3].ok(&["get", "a"]), "a\n1\n");
    let listed = members[0].ok(&["member", "list"]);
    assert!(listed.lines().count() == 3 && !listed.contains(", m2, "), "{listed}");

    // A machine that lost its disk keeps its name and its address.
    members[1].kill();
    std::fs::remove_dir_all(members[1].data_dir()).expect("removed");
    let mut flags = members[1].flags("http");
    flags.extend(["--name=m1".to_owned(), format!("--initial-cluster={}", all.join(","))]);
    members[1].begin(&flags);
    let same = format!("m1={}", url(members[1].peer));
    members[1].until("it says what to do", || members[1].said().contains(&format!("member replace m1 {same} ")));
    let endpoints = format!("127.0.0.1:{},127.0.0.1:{}", members[0].client, members[3].client);
    let living = format!("m0={}", url(members[0].peer));
    let refused = replace(&["m0", &living, "--endpoints", &endpoints]).output().expect("it runs");
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stderr));
    instead_of_a_dead_one(&["m1", &same, "--timeout=60", "--endpoints", &endpoints], &mut members[1]);
    assert_eq!(members[1].ok(&["get", "a"]), "a\n1\n");
    assert_eq!(members[0].ok(&["member", "list"]).lines().count(), 3);
}

/// Lets a member take the place of one that is dead, and starts it as the command says.
fn instead_of_a_dead_one(words: &[&str], new: &mut Member) {
    let mut replacing = replace(words).spawn().expect("it runs");
    let mut said = BufReader::new(replacing.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let mut before = Vec::new();
    let line = said.by_ref().find(|line| {
        before.push(line.clone());
        line.contains("raftsman store")
    });
    let line = line.unwrap_or_else(|| panic!("it says how the new one is started: {before:?}"));
    assert!(before[0].contains("does not answer: it is removed first"), "{before:?}");
    let start = line.split_once("raftsman store ").expect("a command").1;
    let mut flags: Vec<String> = start.split(' ').map(str::to_owned).collect();
    let own = new.flags("http").into_iter().filter(|flag| !flag.contains("initial-advertise-peer-urls"));
    flags.extend(own);
    new.start(&flags);
    let rest: Vec<String> = said.collect();
    assert!(rest.iter().any(|line| line.contains("has taken the place of")), "{rest:?}");
    assert!(replacing.wait().expect("it ends").success());
}
