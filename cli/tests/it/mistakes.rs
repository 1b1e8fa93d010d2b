//! What an operator meets on the way: names that are wrong, places that are not there, times that cannot be, and commands
//! that are interrupted.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::member::{Member, ask, store_command, text};
use crate::store_archive::{backup, done, put, run};

/// What a command says that ends with a code.
fn refused(code: i32, arguments: &[&str]) -> String {
    let output = run(arguments, &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{said}", text(&output.stdout));
    said
}

#[test]
fn endpoints_are_named_as_etcdctl_names_them() {
    let mut member = Member::new();
    member.start(member.flags("http"));
    member.ok(&["put", "a", "1"]);
    let (plain, url) = (format!("127.0.0.1:{}", member.client), format!("http://127.0.0.1:{}", member.client));
    for endpoints in [&plain, &url, &format!("127.0.0.1:1,{plain}")] {
        let seen = store_command().args(["get", "a", "--endpoints", endpoints]).output().expect("it runs");
        assert_eq!(text(&seen.stdout), "a\n1\n", "{endpoints}: {}", text(&seen.stderr));
    }
    let file = member.dir.path().join("b").display().to_string();
    done(&["create", &file, "--endpoints", &plain], &[]);
    let nobody = store_command().args(["get", "a", "--endpoints", "127.0.0.1:1"]).output().expect("it runs");
    let said = text(&nobody.stderr);
    assert!(nobody.status.code() == Some(3) && said.contains("Connection refused"), "{said}");
    let other = store_command().args(["get", "a", "--endpoints", "ftp://127.0.0.1:1"]).output().expect("it runs");
    assert!(other.status.code() == Some(2) && text(&other.stderr).contains("HOST:PORT"), "{}", text(&other.stderr));
    let lost = store_command().args(["history", "b", "--endpoints", &plain]).output().expect("it runs");
    assert_eq!(lost.status.code(), Some(1), "nothing is known of it");
}

#[test]
fn what_a_place_holds_is_shown_and_judged_whole() {
    let mut member = Member::new();
    member.start(member.flags("http"));
    (0..40).for_each(|number| assert!(put(member.client, number).is_some()));
    let endpoints = format!("127.0.0.1:{}", member.client);
    let dir = member.dir.path().join("place");
    std::fs::create_dir(&dir).expect("made");
    let at = |name: &str| dir.join(name).display().to_string();
    let place = dir.display().to_string();
    let passphrase = member.dir.path().join("passphrase").display().to_string();
    std::fs::write(&passphrase, "secret\n").expect("written");

    let said = refused(4, &["create", &at("none/b"), "--endpoints", &endpoints]);
    assert!(said.contains("there is no such directory"), "{said}");
    for word in ["list", "verify", "inspect"] {
        refused(4, &[word, &at("none")]);
        refused(4, &[word, &at("none/")]);
    }
    refused(4, &["diff", &at("none"), &at("none")]);
    let fresh = at("fresh/");
    let made: Value =
        serde_json::from_str(&done(&["create", &fresh, "--endpoints", &endpoints, "-o", "json"], &[])).expect("JSON");
    let listed: Value = serde_json::from_str(&done(&["list", &fresh, "-o", "json"], &[])).expect("JSON");
    assert_eq!(listed["backups"][0]["file"], made["file"], "{listed}");
    let second = |text: &Value| text.as_str().and_then(|text| text.get(..19)).map(str::to_owned);
    assert_eq!(second(&listed["backups"][0]["created"]), second(&made["created"]), "one moment, wherever it is told");
    let named = done(&["list", &fresh, "-o", "name"], &[]);
    assert_eq!(Some(named.trim()), made["file"].as_str());

    done(&["create", &at("plain"), "--endpoints", &endpoints], &[]);
    let sealed = ["create", &at("sealed"), "--endpoints", &endpoints, "--passphrase-file", &passphrase];
    done(&sealed, &[]);
    std::fs::copy(at("plain"), at("half.partial")).expect("copied");
    let listed = done(&["list", &place], &[]);
    assert!(listed.contains("plain  ") && listed.contains("sealed  ") && listed.contains("encrypted"), "{listed}");
    assert!(!listed.contains("partial"), "{listed}");
    assert!(done(&["list", &at("plain")], &[]).contains("37 keys"), "a file is looked at too");
    let whole = done(&["verify", &place, "--passphrase-file", &passphrase], &[]);
    assert!(whole.contains("plain: whole") && whole.contains("sealed: whole"), "{whole}");

    let mut bytes = std::fs::read(at("plain")).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(at("bad"), &bytes).expect("written");
    let listed = done(&["list", &place], &[]);
    assert!(listed.contains("bad  ") && listed.contains("is damaged"), "{listed}");
    let judged = run(&["verify", &place, "--passphrase-file", &passphrase], &[]);
    let (seen, said) = (text(&judged.stdout), text(&judged.stderr));
    assert_eq!(judged.status.code(), Some(4), "{said}");
    assert!(seen.contains("plain: whole") && seen.contains("sealed: whole"), "what is damaged hides nothing: {seen}");
    assert!(said.contains("bad: ") && said.contains("1 of 3 are not whole"), "{said}");
}

#[test]
fn a_bucket_that_is_away_is_found_out_before_anything_else() {
    let variables =
        [("AWS_ENDPOINT", "http://127.0.0.1:1"), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    let variables = variables.map(|(name, value)| (name, value.to_owned()));
    // The store would be asked last: it is not there either.
    for words in [&["list", "s3://b/p"][..], &["create", "s3://b/p", "--endpoints", "127.0.0.1:2"]] {
        let away = run(words, &variables);
        let said = text(&away.stderr);
        assert!(away.status.code() == Some(3) && said.contains("s3://b/p: "), "{said}");
    }
}

#[test]
fn times_that_cannot_be_make_no_directory() {
    let mut member = Member::new();
    let place = member.dir.path().join("archive").display().to_string();
    let mut flags = member.flags("http");
    flags.push(format!("--archive-to={place}"));
    member.start(&flags);
    let last = put(member.client, 0).expect("written");
    member.until("archived", || member.metric("raftsman_archive_revision").is_some_and(|seen| seen >= last as f64));
    let new = member.dir.path().join("new").display().to_string();
    let asked = |flag: &str, value: &str| refused(4, &["restore", &place, flag, value, "--data-dir", &new]);
    let before = asked("--to-time", "-5h");
    assert!(before.contains("nothing was written by then"), "{before}");
    let beyond = asked("--to-time", "2999-01-01T00:00:00Z");
    assert!(beyond.contains("is still to come") && beyond.contains("ends at 2"), "{beyond}");
    let other = asked("--cluster", "1234");
    assert!(other.contains("no archive is of 0000000000001234; there are: "), "{other}");
    for word in ["-1", "0", "x"] {
        refused(2, &["restore", &place, "--to-revision", word, "--data-dir", &new]);
    }
    for word in ["30s", "2026-11-26 11:51", "soon"] {
        let said = refused(2, &["restore", &place, "--to-time", word, "--data-dir", &new]);
        assert!(said.contains("write 2026-01-31T12:00:00Z"), "{said}");
    }
    assert!(!std::path::Path::new(&new).exists());
    std::fs::write(&new, "a file").expect("written");
    let said = asked("--to-revision", &last.to_string());
    assert!(said.contains("is in the way"), "{said}");
    let listed = done(&["list", &place], &[]);
    assert!(listed.contains("(before the first write) to "), "{listed}");
}

fn interrupt(child: &Child) {
    let id = Pid::from_raw(i32::try_from(child.id()).expect("an id"));
    kill(id, Signal::SIGINT).expect("told");
}

#[test]
fn who_interrupts_a_command_finds_nothing_half_made() {
    let mut member = Member::new();
    member.start(member.flags("http"));
    // A megabyte each, in base64.
    let value = "AAAA".repeat(350_000);
    for key in ["MQ==", "Mg==", "Mw=="] {
        assert!(ask(member.client, "kv/put", &json!({ "key": key, "value": value }))["header"].is_object());
    }
    let (dir, scratch) = (member.dir.path().join("out"), member.dir.path().join("scratch"));
    std::fs::create_dir(&dir).expect("made");
    std::fs::create_dir(&scratch).expect("made");
    let file = dir.join("b").display().to_string();
    let endpoints = format!("127.0.0.1:{}", member.client);
    let tmp = [("TMPDIR", scratch.display().to_string())];
    let mut slow = backup(&["create", &file, "--endpoints", &endpoints, "--rate-limit", "1K"], &tmp);
    let slow = slow.stderr(Stdio::piped()).spawn().expect("it runs");
    let names = |dir| std::fs::read_dir(dir).expect("read").flatten().count();
    member.until("under way", || names(&scratch) > 0);
    interrupt(&slow);
    let ended = slow.wait_with_output().expect("ended");
    assert_eq!(ended.status.code(), Some(1), "{}", text(&ended.stderr));
    assert!(text(&ended.stderr).contains("stopped on request"), "{}", text(&ended.stderr));
    assert_eq!((names(&dir), names(&scratch)), (0, 0), "nothing is left");

    // One that is killed leaves what the next one removes.
    let mut killed: Child =
        Command::spawn(&mut backup(&["create", &file, "--endpoints", &endpoints, "--rate-limit", "1K"], &tmp))
            .expect("it runs");
    member.until("under way", || names(&scratch) > 0);
    killed.kill().expect("told");
    killed.wait().expect("ended");
    assert_eq!(names(&scratch), 1);
    done(&["create", &file, "--endpoints", &endpoints], &tmp);
    assert_eq!((names(&dir), names(&scratch)), (1, 0));
}
