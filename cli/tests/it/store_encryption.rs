//! `raftsman store` with encryption at rest: what lies on the disk, and whom it opens for.

use std::fs;
use std::path::{Path, PathBuf};

use crate::member::{Member, store_command, text};

/// No words, and not compressible: LZ4 leaves them as they are.
fn value(number: usize) -> String {
    format!("Zq7{number:03}-kX9wV2mB4nR8tY1pL6sD3fG5hJ0-{number:03}")
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
    let seen = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        (0..60).any(|number| {
            let value = value(number);
            bytes.windows(value.len()).any(|part| part == value.as_bytes())
        })
    };
    let top = |path: PathBuf| {
        let below = path.strip_prefix(dir).expect("below it").components().next().expect("a name");
        below.as_os_str().to_string_lossy().into_owned()
    };
    let mut found: Vec<String> = files(dir).into_iter().filter(seen).map(top).collect();
    found.dedup();
    found
}

fn put_all(member: &Member) {
    for number in 0..60 {
        member.ok(&["put", &format!("key{number}"), &value(number)]);
    }
}

fn holds_all(member: &Member) {
    for number in [0, 30, 59] {
        let key = format!("key{number}");
        assert_eq!(member.ok(&["get", &key]), format!("{key}\n{}\n", value(number)));
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
    sealed.kill();
    assert_eq!(plain(&sealed.data_dir()), [""; 0], "killed");
    sealed.start(&flags);
    holds_all(&sealed);
    assert!(sealed.terminate());
    assert_eq!(plain(&sealed.data_dir()), [""; 0], "ended");

    let before: Vec<_> =
        files(&sealed.data_dir()).into_iter().map(|path| (fs::read(&path).expect("read"), path)).collect();
    write(8);
    let said = in_vain(&flags);
    assert!(said.contains("does not open the data directory") && said.contains("operator.key"), "{said}");
    assert!(!said.contains("0808") && !said.contains("0707"), "{said}");
    let said = in_vain(&flags[..flags.len() - 1]);
    assert!(said.contains("is encrypted; name its key with --encryption-key-file"), "{said}");
    let after: Vec<_> =
        files(&sealed.data_dir()).into_iter().map(|path| (fs::read(&path).expect("read"), path)).collect();
    assert!(before == after, "nothing was touched");
    write(7);
    sealed.start(&flags);
    holds_all(&sealed);
    assert_eq!(fs::metadata(sealed.data_dir().join("keys")).map(|found| mode(&found)).expect("there"), 0o600);
}

fn mode(found: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777
}
