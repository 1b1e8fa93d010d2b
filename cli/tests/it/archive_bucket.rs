//! Archives and backups in a bucket: of a server of the tests' own, which lists few names at a time and may be away, and of
//! a real one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::member::{Member, ask, text};
use crate::s3::{Bucket, Objects, environment};
use crate::store_archive::{Trio, done, put, run, state};
use crate::versitygw::Versitygw;

const PLACE: &str = "s3://bucket/some/prefix";
const SECRET_KEY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX\n";
const RECIPIENT: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

/// More than fits into one part of an upload, of bytes that cannot be made fewer.
fn put_large(port: u16) {
    let mut random = 0x5eed_u64;
    for number in 0..12 {
        let bytes: Vec<u8> = (0..1 << 17)
            .flat_map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random.to_le_bytes()
            })
            .collect();
        let key = STANDARD.encode(format!("large-{number}"));
        let put = ask(port, "kv/put", &json!({ "key": key, "value": STANDARD.encode(bytes) }));
        assert!(put["header"].is_object(), "{put}");
    }
}

/// Archives to it, is cut off from it, backs up, looks, verifies, and restores a revision of it.
fn holds_backups_and_archives(bucket: &mut dyn Objects) {
    let (environment, dir) = (bucket.environment(), tempfile::tempdir().expect("a directory"));
    let secret = dir.path().join("key");
    std::fs::write(&secret, SECRET_KEY).expect("written");
    let secret = secret.display().to_string();
    let mut member = Member::new();
    let mut flags = member.flags("http");
    flags.extend([format!("--archive-to={PLACE}"), format!("--archive-recipients={RECIPIENT}")]);
    member.start_with(&flags, &environment);
    let trio = Trio { members: vec![member], flags: Vec::new() };
    let (revision, port) = trio.load(0..50);
    trio.archived(revision);
    let then = state(port, revision);
    bucket.be_away(true);
    trio.load(50..60);
    trio.members[0]
        .until("an age", || trio.members[0].metric("raftsman_archive_age_seconds").is_some_and(|age| age > 1.5));
    bucket.be_away(false);
    put_large(port);
    let (during, _) = trio.load(60..61);
    trio.archived(during);

    let endpoint = format!("http://127.0.0.1:{port}");
    let made = done(&["create", PLACE, "--endpoints", &endpoint, "--rate-limit", "50M", "-o", "json"], &environment);
    let made: Value = serde_json::from_str(&made).expect("JSON");
    assert_eq!(made["revision"].as_i64(), Some(during));
    assert!(made["bytes"].as_u64().is_some_and(|bytes| bytes > 12 << 20), "{made}");
    let listed = done(&["list", PLACE], &environment);
    assert!(listed.contains(&format!("revision {during}")) && listed.contains("archive of "), "{listed}");
    let inspected = done(&["inspect", PLACE, "-o", "json"], &environment);
    assert!(inspected.contains("prefixes"), "{inspected}");
    done(&["verify", PLACE, "--identity-file", &secret], &environment);
    let closed = run(&["verify", PLACE], &environment);
    let why = text(&closed.stderr);
    assert!(closed.status.code() == Some(4) && why.contains("--identity-file"), "{why}");
    let names = bucket.names();
    assert!(names.len() > 2 && names.iter().all(|name| name.starts_with("some/prefix/")), "{names:?}");

    for (flags, wanted) in [(vec!["--to-revision".to_owned(), revision.to_string()], then), (vec![], state(port, 0))] {
        let mut new = Member::new();
        let target = new.data_dir().display().to_string();
        let mut restore = vec!["restore", PLACE, "--data-dir", &target, "--identity-file", &secret];
        restore.extend(flags.iter().map(String::as_str));
        done(&restore, &environment);
        new.start(new.flags("http"));
        assert_eq!(state(new.client, 0), wanted, "{flags:?}");
    }
}

/// Who may not is told so by its name, and writes go on.
fn refuses(strangers: &[(&str, Vec<(&'static str, String)>)]) {
    for (what, environment) in strangers {
        let listed = run(&["list", PLACE], environment);
        let why = text(&listed.stderr);
        assert_eq!(listed.status.code(), Some(4), "{what}: {why}");
        assert!(why.contains(PLACE) && why.contains("AWS_ACCESS_KEY_ID"), "{what}: {why}");
        assert!(why.len() < 500 && !why.contains('<'), "{what}: {why}");
        let mut member = Member::new();
        let mut flags = member.flags("http");
        flags.push(format!("--archive-to={PLACE}"));
        member.start_with(&flags, environment);
        assert!(put(member.client, 1).is_some(), "{what}");
        member.until("it says that it fails", || member.metric("raftsman_archive_failing") == Some(1.0));
        member.until("it says why", || member.said().contains("AWS_ACCESS_KEY_ID"));
        assert!(put(member.client, 2).is_some(), "{what}");
    }
}

#[test]
fn a_bucket_holds_backups_and_the_archive_and_may_be_away() {
    let mut bucket = Bucket::new();
    holds_backups_and_archives(&mut bucket);
    let endpoint = bucket.environment().remove(0);
    let key = |access: &str| ("AWS_ACCESS_KEY_ID", access.to_owned());
    let secret = ("AWS_SECRET_ACCESS_KEY", "x".to_owned());
    refuses(&[("another's key", vec![endpoint, key("other"), secret])]);
    let nobody = run(&["list", PLACE], &environment(1, "x", "x"));
    assert_eq!(nobody.status.code(), Some(3), "{}", text(&nobody.stderr));
}

#[test]
fn a_real_s3_server_holds_backups_and_the_archive_and_is_restarted() {
    let Some(mut server) = Versitygw::start() else { return };
    holds_backups_and_archives(&mut server);
    let port = server.port();
    let right = server.environment()[1].1.clone();
    refuses(&[
        ("another's key", environment(port, "AKIAOTHER", "x")),
        ("a wrong secret", environment(port, &right, "another secret")),
    ]);
    let missing = run(&["list", "s3://another-bucket/prefix"], &server.environment());
    let why = text(&missing.stderr);
    assert!(missing.status.code() == Some(4) && why.contains("there is no such bucket"), "{why}");
}
