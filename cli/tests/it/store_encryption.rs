//! `raftsman store` with encryption at rest: what lies on the disk, and whom it opens for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::member::{Member, store_command, text};

/// What every value has in it. A table that is compressed has it at least once as it is.
const MARK: &str = "kX9wV2mB4nR8tY1pL6sD3fG5hJ0";

fn value(number: usize) -> String {
    format!("Zq7{number:03}-{MARK}-{number:03}")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The directories of a data directory in which some of the values lie as they are.
fn plain(dir: &Path) -> Vec<String> {
    plain_of(dir, MARK)
}

/// The same of anything.
pub(crate) fn plain_of(dir: &Path, mark: &str) -> Vec<String> {
    let mut grep = Command::new("grep");
    let found = grep.args(["-rlaF", "-e", mark]).arg(dir).output().expect("grep is there");
    let top = |line: &str| {
        let below = Path::new(line).strip_prefix(dir).expect("below it").components().next().expect("a name");
        below.as_os_str().to_string_lossy().into_owned()
    };
    let mut found: Vec<String> = text(&found.stdout).lines().map(top).collect();
    found.sort();
    found.dedup();
    found
}

/// Every file of a member's directory, with what is in it.
fn contents(member: &Member) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("read");
        (path, bytes)
    };
    files(&member.data_dir()).into_iter().map(read).collect()
}

fn put_all(member: &Member) {
    for number in 0..60 {
        member.ok(&["put", &format!("key{number}"), &value(number)]);
    }
}

fn holds_all(member: &Member) {
    for number in [0, 30, 59] {
        let key = format!("key{number}");
        // While the leader changes nobody reads.
        let found = || text(&member.etcdctl(&["get", &key]).stdout);
        member.until("it is read", || !found().is_empty());
        assert_eq!(found(), format!("{key}\n{}\n", value(number)));
    }
}

/// Starts it, and answers what it said when it refused.
fn in_vain(flags: &[String]) -> String {
    let output = store_command().args(flags).output().expect("runs");
    assert!(!output.status.success());
    text(&output.stderr)
}

#[test]
fn no_value_lies_on_the_disk_and_the_right_key_alone_opens_it() {
    let mut member = Member::new();
    let mut plainly = member.flags("http");
    // Small, so that a snapshot is there too.
    plainly.push("--snapshot-count=20".to_owned());
    member.start(&plainly);
    put_all(&member);
    member.until("a snapshot", || plain(&member.data_dir()).contains(&"snapshots".to_owned()));
    assert!(member.terminate());
    assert_eq!(plain(&member.data_dir()), ["log", "snapshots", "state"], "without the flag they are everywhere");

    let key = member.dir.path().join("operator.key");
    let write = |byte: u8| fs::write(&key, format!("{byte:02x}").repeat(32)).expect("written");
    write(7);
    let mut flags = plainly.clone();
    flags.push(format!("--encryption-key-file={}", key.display()));
    let said = in_vain(&flags);
    assert!(said.contains("is not encrypted, and encryption begins with an empty one"), "{said}");

    let mut sealed = Member::new();
    let mut flags = sealed.flags("http");
    flags.extend(["--snapshot-count=20".to_owned(), format!("--encryption-key-file={}", key.display())]);
    sealed.start(&flags);
    put_all(&sealed);
    let snapshots = sealed.data_dir().join("snapshots");
    sealed.until("a snapshot", || fs::read_dir(&snapshots).is_ok_and(|mut entries| entries.next().is_some()));
    sealed.kill();
    assert_eq!(plain(&sealed.data_dir()), [""; 0], "killed");
    sealed.start(&flags);
    holds_all(&sealed);
    assert!(sealed.terminate());
    assert_eq!(plain(&sealed.data_dir()), [""; 0], "ended");

    let before = contents(&sealed);
    write(8);
    let said = in_vain(&flags);
    assert!(said.contains("does not open the data directory") && said.contains("operator.key"), "{said}");
    assert!(!said.contains("0808") && !said.contains("0707"), "{said}");
    let said = in_vain(&flags[..flags.len() - 1]);
    assert!(said.contains("is encrypted; name its key with --encryption-key-file"), "{said}");
    assert!(before == contents(&sealed), "nothing was touched");
    write(7);
    sealed.start(&flags);
    holds_all(&sealed);
    assert_eq!(fs::metadata(sealed.data_dir().join("keys")).map(|found| mode(&found)).expect("there"), 0o600);
}

fn mode(found: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777
}

#[test]
fn keys_are_exchanged_while_it_serves_and_the_old_ones_may_go() {
    let mut member = Member::new();
    let key = member.dir.path().join("operator.key");
    let line = |byte: u8| format!("{byte:02x}").repeat(32) + "\n";
    fs::write(&key, line(1)).expect("written");
    let mut flags = member.flags("http");
    flags.extend(["--snapshot-count=20".to_owned(), format!("--encryption-key-file={}", key.display())]);
    member.start(&flags);
    put_all(&member);
    assert_eq!(member.metric("raftsman_store_data_keys"), Some(1.0));

    fs::write(&key, line(2) + &line(1)).expect("written");
    member.until("the new key is seen", || member.said().contains("a new data key encrypts from now on"));
    // It writes on: entries under the old key leave the log as they always do.
    let mut number = 0;
    member.until("the old data key is forgotten", || {
        member.ok(&["put", "more", &format!("{number}")]);
        number += 1;
        member.said().contains("nothing is encrypted under an older data key any more")
    });
    assert_eq!(member.metric("raftsman_store_data_keys"), Some(1.0));
    holds_all(&member);
    fs::write(&key, line(2)).expect("written");
    member.kill();
    member.start(&flags);
    holds_all(&member);
    assert_eq!(member.ok(&["get", "more"]), format!("more\n{}\n", number - 1));

    // On request, and killed in the middle of it.
    let before = fs::read(member.data_dir().join("keys")).expect("read");
    member.hang_up();
    member.until("another data key", || fs::read(member.data_dir().join("keys")).expect("read").len() > before.len());
    member.kill();
    member.start(&flags);
    holds_all(&member);
    member.until("the tables follow", || member.said().contains("encrypted under the newest data key"));
    holds_all(&member);
    assert_eq!(plain(&member.data_dir()), [""; 0]);
    assert!(member.terminate());
}

#[test]
fn a_member_that_is_behind_gets_a_snapshot_with_its_keys() {
    let (mut first, mut second, mut third) = (Member::new(), Member::new(), Member::new());
    let key = first.dir.path().join("operator.key");
    fs::write(&key, "0a".repeat(32)).expect("written");
    let cluster = |members: &[&Member]| {
        let urls = (0..).zip(members).map(|(number, member)| format!("m{number}=http://127.0.0.1:{}", member.peer));
        format!("--initial-cluster={}", urls.collect::<Vec<_>>().join(","))
    };
    let flags = |member: &Member, name: &str, cluster: &str, state: &str, key: &Path| {
        let mut flags = member.flags("http");
        flags.extend([
            format!("--name={name}"),
            cluster.to_owned(),
            format!("--initial-cluster-state={state}"),
            "--snapshot-count=20".to_owned(),
            format!("--encryption-key-file={}", key.display()),
        ]);
        flags
    };
    let plainly: Vec<String> = {
        let mut flags = flags(&first, "m0", &cluster(&[&first]), "new", &key);
        flags.pop();
        flags
    };
    // From a cluster that is not encrypted, member by member.
    first.start(&plainly);
    put_all(&first);
    let added = |by: &Member, new: &Member, name: &str| {
        let url = format!("--peer-urls=http://127.0.0.1:{}", new.peer);
        by.until("it is announced", || by.etcdctl(&["member", "add", name, &url]).status.success());
    };
    added(&first, &second, "m1");
    let two = cluster(&[&first, &second]);
    second.start(flags(&second, "m1", &two, "existing", &key));
    holds_all(&second);
    assert_eq!(plain(&second.data_dir()), [""; 0], "what came as it is was encrypted");

    let own = id(&first, "m0");
    // It votes a moment after it has all; before that the first one cannot go.
    second.until("the first leaves", || second.etcdctl(&["member", "remove", &own]).status.success());
    // From the second to the third: under the second's data keys.
    second.until("it leads alone", || second.etcdctl(&["put", "alone", "1"]).status.success());
    added(&second, &third, "m2");
    let late = format!("--initial-cluster=m1=http://127.0.0.1:{},m2=http://127.0.0.1:{}", second.peer, third.peer);
    third.start(flags(&third, "m2", &late, "existing", &key));
    holds_all(&third);
    third.until("its own data key and the sender's", || {
        third.metric("raftsman_store_data_keys").is_some_and(|keys| keys >= 2.0)
    });
    assert_eq!(plain(&third.data_dir()), [""; 0]);
    third.kill();
    third.start(flags(&third, "m2", &late, "existing", &key));
    holds_all(&third);
}

fn id(member: &Member, name: &str) -> String {
    let listed = member.ok(&["member", "list"]);
    let line = listed.lines().find(|line| line.contains(&format!(", {name}, "))).expect("it is listed");
    line.split(',').next().expect("an id").to_owned()
}
