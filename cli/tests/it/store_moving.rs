//! `raftsman store import` and `export` as an operator calls them.

use std::process::Output;

use crate::member::{Member, store_command, text};

fn run(arguments: &[&str]) -> Output {
    let mut command = store_command();
    for name in ["ETCDCTL_ENDPOINTS", "ETCDCTL_USER", "ETCDCTL_PASSWORD"] {
        command.env_remove(name);
    }
    command.args(arguments).output().expect("it runs")
}

fn done(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn data_goes_from_a_file_or_from_who_serves_it_into_a_directory_and_out_again() {
    let mut source = Member::new();
    source.start(source.flags("http"));
    for value in ["1", "2", "3"] {
        source.ok(&["put", "a", value]);
    }
    source.ok(&["compaction", "3"]);
    let file = source.dir.path().join("snapshot.db").display().to_string();
    source.ok(&["snapshot", "save", &file]);
    let from = format!("127.0.0.1:{}", source.client);

    let (mut one, other) = (Member::new(), Member::new());
    let (first, second) = (one.data_dir().display().to_string(), other.data_dir().display().to_string());
    let said = done(&["import", "--snapshot-file", &file, "--data-dir", &first]);
    assert!(
        said.contains("1 keys at revision 4") && said.contains("start it with: raftsman store --data-dir"),
        "{said}"
    );
    let again = run(&["import", "--snapshot-file", &file, "--data-dir", &first]);
    assert!(again.status.code() == Some(4) && text(&again.stderr).contains("is not empty"), "{}", text(&again.stderr));
    let said = done(&["import", "--endpoints", &from, "--data-dir", &second]);
    assert!(said.contains("HashKV at revision 4"), "{said}");

    one.start(one.flags("http"));
    assert_eq!(one.ok(&["get", "a", "--rev=3"]), "a\n2\n");
    let mut target = Member::new();
    target.start(target.flags("http"));
    let (from, to) = (format!("127.0.0.1:{}", one.client), format!("127.0.0.1:{}", target.client));
    let said = done(&["export", "--endpoints", &from, "--to", &to]);
    assert!(said.contains("the same at the same revisions"), "{said}");
    assert_eq!(target.ok(&["get", "a", "--rev=3"]), "a\n2\n");
    assert_eq!(target.ok(&["get", "a", "-w", "fields"]).replace(&[' '][..], "").matches("\"Version\":3").count(), 1);
    let used = run(&["export", "--endpoints", &from, "--to", &to]);
    assert!(used.status.code() == Some(4) && text(&used.stderr).contains("at revision 4"), "{}", text(&used.stderr));
}

#[test]
fn what_is_wrong_ends_with_a_code_and_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let new = dir.path().join("new").display().to_string();
    let text_file = dir.path().join("text");
    std::fs::write(&text_file, "no database").expect("written");
    let text_file = text_file.display().to_string();
    for (arguments, code, why) in [
        (&["import", "--data-dir", &new][..], 2, "--snapshot-file"),
        (&["import", "--endpoints", "127.0.0.1:1", "--data-dir", &new], 3, "does not answer"),
        (&["import", "--snapshot-file", &text_file, "--data-dir", &new], 4, "cut off or no snapshot"),
        (&["import", "--snapshot-file", "/nowhere", "--data-dir", &new], 1, "/nowhere: "),
        (&["import", "--endpoints", "127.0.0.1:1", "--user", "root", "--data-dir", &new], 2, "ETCDCTL_PASSWORD"),
        (&["export", "--to", "127.0.0.1:1"], 2, "--endpoints"),
        (&["export", "--endpoints", "127.0.0.1:1", "--to", "127.0.0.1:1", "--force"], 2, "--without-history"),
    ] {
        let output = run(arguments);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(why), "{arguments:?}: {:?} {said}", output.status);
    }
    assert!(!dir.path().join("new").exists() && !dir.path().join("new.importing").exists());
    for word in ["import", "export"] {
        let help = run(&[word, "--help"]);
        assert!(help.status.success() && text(&help.stdout).contains("Exit codes"), "{}", text(&help.stdout));
    }
}
