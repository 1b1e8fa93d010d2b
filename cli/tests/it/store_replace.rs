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
