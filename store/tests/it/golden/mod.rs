//! Answers of a real etcd, recorded, and ours to the same requests, compared line by line.
//!
//! `store/tests/golden/cases/*.txt` holds the cases, `etcd.txt` what the etcd of its first line answered, `differs.txt` the
//! cases that differ on purpose. With `ETCD_BIN` in the environment that etcd is asked again and compared with the
//! recording; with `GOLDEN_RECORD=1` as well, the recording is written anew.

mod call;
mod request;
mod session;
mod show;
pub(crate) mod users;
mod words;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

use crate::cluster::{PATIENCE, free, open, place};

fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Cases by name, in the order of the files.
fn sections(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            found.push((name.to_owned(), String::new()));
        } else if let Some((_, body)) = found.last_mut() {
            let _ = writeln!(body, "{line}");
        }
    }
    found
}

fn cases() -> Vec<(String, String)> {
    let dir = std::fs::read_dir(home().join("cases")).expect("cases");
    let mut files: Vec<PathBuf> = dir.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files.iter().flat_map(|file| sections(&std::fs::read_to_string(file).expect("text"))).collect()
}

/// All answers of the server behind a channel.
async fn ask(channel: Channel) -> Vec<(String, String)> {
    let only = std::env::var("GOLDEN_ONLY").unwrap_or_default();
    let mut answers = Vec::new();
    for (name, body) in cases().into_iter().filter(|(name, _)| name.contains(&only)) {
        let mut session = session::Session::begin(channel.clone()).await;
        answers.push((name, session.run(&body).await));
        session.end().await;
    }
    answers
}

fn show(answers: &[(String, String)]) -> String {
    answers.iter().fold(String::new(), |mut text, (name, body)| {
        let _ = write!(text, "## {name}\n{body}");
        text
    })
}

fn recorded() -> String {
    std::fs::read_to_string(home().join("etcd.txt")).unwrap_or_default()
}

/// Each case whose answers differ, with the lines that do.
fn differing(theirs: &str, ours: &[(String, String)]) -> BTreeMap<String, String> {
    let theirs: BTreeMap<String, String> = sections(theirs).into_iter().collect();
    let mut found = BTreeMap::new();
    for (name, body) in ours {
        let wanted = theirs.get(name).map_or("", String::as_str);
        if wanted == body {
            continue;
        }
        let (mut lines, mut text) = (body.lines(), String::new());
        for line in wanted.lines() {
            let ours = lines.next().unwrap_or("(nothing)");
            let mark = if ours == line { ' ' } else { '-' };
            let _ = writeln!(text, "{mark} {line}");
            if ours != line {
                let _ = writeln!(text, "+ {ours}");
            }
        }
        lines.for_each(|line| text.push_str(&format!("+ {line}\n")));
        found.insert(name.clone(), text);
    }
    found
}

/// What differs on purpose: `NAME: reason` per line.
fn excused() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(home().join("differs.txt")).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(": ")).map(|(name, why)| (name.to_owned(), why.to_owned())).collect()
}

async fn connect(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let attempts = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            if let Ok(channel) = endpoint.connect().await {
                return channel;
            }
        }
    };
    tokio::time::timeout(PATIENCE, attempts).await.expect("in time")
}

struct Etcd {
    _process: Child,
    _dir: tempfile::TempDir,
    channel: Channel,
}

async fn start(binary: &str) -> Etcd {
    let dir = tempfile::tempdir().expect("a directory");
    let (client, peer) = (free(), free());
    let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
    let process = Command::new(binary)
        .args(["--name", "a", "--data-dir"])
        .arg(dir.path())
        .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
        .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
        .args(["--initial-cluster", &format!("a={peer_url}"), "--log-level", "fatal"])
        .args(["--watch-progress-notify-interval", "1s", "--bcrypt-cost", "4"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("ETCD_BIN starts");
    let channel = connect(&client.to_string()).await;
    Etcd { _process: process, _dir: dir, channel }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_a_real_etcd() {
    if let Ok(binary) = std::env::var("ETCD_BIN") {
        let version = Command::new(&binary).arg("--version").output().await.expect("ETCD_BIN starts").stdout;
        let version = String::from_utf8(version).expect("text").lines().next().unwrap_or_default().to_owned();
        let answers = ask(start(&binary).await.channel).await;
        if std::env::var_os("GOLDEN_RECORD").is_some() {
            std::fs::write(home().join("etcd.txt"), format!("# {version}\n{}", show(&answers))).expect("written");
        }
        let changed = differing(&recorded(), &answers);
        assert!(changed.is_empty(), "{version} answers otherwise than recorded:\n{}", told(&changed));
    }
    let mut place = place("a", &[]);
    // As etcd's, which the shortest lease goes by.
    place.config.election_timeout = Duration::from_secs(1);
    let store = open(&place).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let auth = store::etcd::AuthOptions { bcrypt_cost: 4, ..Default::default() };
    let options =
        store::etcd::Options { progress: Duration::from_secs(1), quota_bytes: 2 << 30, auth, ..Default::default() };
    store.serve_etcd(listener, None, options);
    let answers = ask(connect(&address).await).await;
    store.shutdown().await;
    let (mut differ, excused) = (differing(&recorded(), &answers), excused());
    if std::env::var_os("GOLDEN_ONLY").is_none() {
        let needless: Vec<&String> = excused.keys().filter(|name| !differ.contains_key(*name)).collect();
        assert!(needless.is_empty(), "listed as differing, but no longer do: {needless:?}");
        assert!(answers.len() >= 200, "{} cases", answers.len());
    }
    differ.retain(|name, _| !excused.contains_key(name));
    assert!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), answers.len(), told(&differ));
}

fn told(differ: &BTreeMap<String, String>) -> String {
    differ.iter().map(|(name, lines)| format!("## {name}\n{lines}\n")).collect()
}
