//! Looking back at a plain store: beyond compaction, over restarts, by revision and by time, as far as it is kept.

use std::process::Output;
use std::time::SystemTime;

use crate::member::{Member, store_command, text};

fn look(member: &Member, words: &[&str]) -> Output {
    let at = format!("--endpoints=http://127.0.0.1:{}", member.client);
    store_command().args(words).arg(at).output().expect("it runs")
}

fn seen(member: &Member, words: &[&str]) -> String {
    let output = look(member, words);
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Waits for the next second, and answers which one it is.
fn next_second(member: &Member) -> i64 {
    let now = || i64::try_from(SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()).expect("not so far");
    let before = now();
    member.until("the next second", || now() != before);
    before
}

#[test]
fn what_compaction_took_can_be_looked_back_at_for_a_while() {
    let mut member = Member::new();
    let flags = member.flags("http");
    member.start(&flags);
    member.ok(&["put", "a", "one"]);
    member.ok(&["put", "b", "1"]);
    let then = next_second(&member);
    member.ok(&["del", "a"]);
    member.ok(&["put", "b", "2"]);
    member.ok(&["put", "a", "again"]);
    member.ok(&["put", "c", "new"]);
    member.ok(&["compact", "--physical", "7"]);
    assert!(!member.etcdctl(&["get", "a", "--rev=3"]).status.success(), "clients cannot read it");

    let look_at_all = |member: &Member| {
        assert_eq!(seen(member, &["get", "", "--prefix"]), "a\nagain\nb\n2\nc\nnew\n");
        assert_eq!(seen(member, &["get", "", "--prefix", "--at-revision=3"]), "a\none\nb\n1\n");
        assert_eq!(seen(member, &["get", "", "--prefix", "--at-revision=4", "--keys-only"]), "b\n");
        let at = format!("--at-time={}", jiff::Timestamp::from_second(then).expect("a time"));
        assert_eq!(seen(member, &["get", "a", &at]), "a\none\n");
        let changes = seen(member, &["history", "a"]);
        let told: Vec<&str> = changes.lines().filter_map(|line| line.split("  ").next()).collect();
        assert_eq!(told, ["revision 6", "", "revision 4", "revision 2", ""], "{changes}");
        assert!(changes.contains("deleted") && changes.contains("  one\n"), "{changes}");
        let diff = seen(member, &["diff", "3", "7", "--keys-only"]);
        assert_eq!(diff, "~ a\n~ b\n+ c\nfrom revision 3 to 7: 1 added, 0 removed, 2 changed\n");
        assert!(seen(member, &["diff", "2", "4", "--prefix=a"]).contains("- a\n    - one\n"));
    };
    look_at_all(&member);
    assert!(member.terminate());
    member.start(&flags);
    look_at_all(&member);

    let absent = look(&member, &["get", "a", "--at-revision=4"]);
    assert_eq!((absent.status.code(), text(&absent.stderr)), (Some(1), "error: \"a\" was not there\n".to_owned()));
    let future = look(&member, &["get", "a", "--at-revision=100"]);
    assert_eq!(future.status.code(), Some(4), "{}", text(&future.stderr));
    assert!(text(&future.stderr).contains("still to come: the newest is 7"), "{}", text(&future.stderr));

    // Nothing is kept from now on.
    assert!(member.terminate());
    let mut none = flags.clone();
    none.push("--history-retention=0s".to_owned());
    member.start(&none);
    let forgotten = || look(&member, &["get", "a", "--at-revision=3"]);
    member.until("it is forgotten", || !forgotten().status.success());
    let said = text(&forgotten().stderr);
    assert!(said.contains("is not kept any more: the oldest that is kept is 7"), "{said}");
    assert_eq!(seen(&member, &["get", "", "--prefix"]), "a\nagain\nb\n2\nc\nnew\n");
}

#[test]
fn one_looks_back_at_what_one_may_read() {
    let mut member = Member::new();
    member.start(member.flags("http"));
    for words in [
        &["put", "secret", "s"][..],
        &["put", "mine", "m"],
        &["user", "add", "root:r"],
        &["user", "add", "ann:a"],
        &["role", "add", "reader"],
        &["role", "grant-permission", "reader", "read", "mine"],
        &["user", "grant-role", "root", "root"],
        &["user", "grant-role", "ann", "reader"],
        &["auth", "enable"],
    ] {
        member.ok(words);
    }
    let password = member.dir.path().join("password");
    std::fs::write(&password, "a").expect("written");
    let file = format!("--password-file={}", password.display());
    let asks = |words: &[&str]| look(&member, &[words, &["--user=ann", &file]].concat());
    assert_eq!(text(&asks(&["get", "mine"]).stdout), "mine\nm\n");
    for words in [&["get", "secret"][..], &["history", "secret"], &["diff", "1"], &["get", "", "--prefix"]] {
        let output = asks(words);
        assert!(text(&output.stderr).contains("permission denied"), "{words:?}: {}", text(&output.stderr));
        let nobody = look(&member, words);
        assert!(!nobody.status.success() && nobody.stdout.is_empty(), "{words:?}");
    }
}
