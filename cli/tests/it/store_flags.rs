//! `raftsman store` takes etcd's flags, variables and file.

use crate::member::{Member, store_command, text};

#[test]
fn a_member_serves_etcdctl_ends_when_told_to_and_keeps_what_it_took() {
    let mut member = Member::new();
    let mut flags = member.flags("http");
    flags.extend(["--name=first", "--max-wals=3", "-pre-vote"].map(str::to_owned));
    member.start(&flags);
    assert_eq!(member.ok(&["put", "a", "1"]), "OK\n");
    let listed = member.ok(&["member", "list"]);
    assert!(listed.contains(", started, first, "), "{listed}");
    let said = member.said();
    assert!(said.contains("note: --max-wals has no effect here"), "{said}");
    assert!(member.terminate(), "it ends well");
    member.start(&flags);
    assert_eq!(member.ok(&["get", "a"]), "a\n1\n");
}

#[test]
fn variables_and_the_file_say_the_same_as_flags() {
    let mut member = Member::new();
    let variables: Vec<(String, String)> = member
        .flags("http")
        .iter()
        .map(|flag| {
            let (name, value) = flag.trim_start_matches("--").split_once('=').expect("a value");
            (format!("ETCD_{}", name.replace('-', "_").to_uppercase()), value.to_owned())
        })
        .collect();
    let variables: Vec<(&str, String)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .chain([("ETCD_NAME", "env".into())])
        .collect();
    member.start_with(["--max-txn-ops=1"], &variables);
    assert!(member.ok(&["member", "list"]).contains(", env, "));
    assert!(member.terminate());

    let file = member.dir.path().join("etcd.conf.yml");
    let mut yaml = "name: file\nlog-outputs: [stderr]\nstrict-reconfig-check: true\n".to_owned();
    for flag in member.flags("http") {
        let (name, value) = flag.trim_start_matches("--").split_once('=').expect("a value");
        yaml.push_str(&format!("{name}: {value}\n"));
    }
    std::fs::write(&file, &yaml).expect("written");
    member.start([format!("--config-file={}", file.display()), "--name=ignored".to_owned()]);
    assert_eq!(member.ok(&["put", "a", "1"]), "OK\n");
    assert!(member.said().contains("other flags have no effect"), "{}", member.said());
}

#[test]
fn what_no_etcd_knows_or_what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let foreign = dir.path().join("etcd");
    std::fs::create_dir_all(foreign.join("member/snap")).expect("made");
    std::fs::write(foreign.join("member/snap/db"), "bbolt").expect("written");
    for (arguments, code, why) in [
        (&["--data-dri=x"][..], 2, "--data-dri is unknown; is it --data-dir?"),
        (&["--election-timeout=soon"], 2, "--election-timeout: \"soon\" is not a whole number"),
        (&["--listen-client-urls=http://127.0.0.1:0"], 2, "--advertise-client-urls is required"),
        (&["--config-file=/nowhere/at/all.yml"], 2, "/nowhere/at/all.yml: No such file"),
        (&["--data-dir", foreign.to_str().expect("text")], 4, "raftsman store import --snapshot-file"),
    ] {
        let output = store_command().args(arguments).current_dir(dir.path()).output().expect("it runs");
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(why), "{arguments:?}: {said}");
    }
    let help = store_command().arg("--help").output().expect("it runs");
    assert!(help.status.success() && text(&help.stdout).contains("--initial-cluster"));
    let version = store_command().arg("--version").output().expect("it runs");
    assert!(text(&version.stdout).starts_with("etcd Version: 3."));
}
