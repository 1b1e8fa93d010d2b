//! Real kubectl, in each version that is here, on a cluster of three servers and two nodes with real containers: what it
//! does, and what it prints.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::process::PATIENCE;

mod nodes;
mod objects;
mod workloads;

/// The versions that are looked for beside the one on PATH.
const VERSIONS: [&str; 2] = ["1.30", "1.33"];

/// Past the capture of libtest, so that it is seen.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: kubectl: {why}");
}

/// `KUBECTL` (several, separated by colons), else the wanted versions beside the one on PATH, else that one.
fn binaries() -> Vec<PathBuf> {
    let named = std::env::var_os("KUBECTL").unwrap_or_default();
    let named: Vec<PathBuf> = std::env::split_paths(&named).filter(|path| path.is_file()).collect();
    if !named.is_empty() {
        return named;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(found) = std::env::split_paths(&path).map(|dir| dir.join("kubectl")).find(|path| path.is_file()) else {
        return Vec::new();
    };
    let real = found.canonicalize().unwrap_or_else(|_| found.clone());
    let beside: BTreeSet<PathBuf> = VERSIONS
        .iter()
        .map(|version| real.with_file_name(format!("kubectl.{version}")))
        .filter(|path| path.is_file())
        .collect();
    if beside.is_empty() { vec![found] } else { beside.into_iter().collect() }
}

/// Three servers and two nodes, each node with an engine of its own; they end with this value.
struct Cluster {
    harness: PathBuf,
    dir: TempDir,
    /// Where each node is.
    nodes: Vec<(String, String)>,
    /// The process of each server, and where it is.
    servers: Vec<(Pid, String)>,
}

impl Cluster {
    /// None, said loudly, where it cannot be had.
    fn start() -> Option<Cluster> {
        let harness = Path::new(env!("CARGO_BIN_EXE_raftsman")).with_file_name("raftsman-chaos");
        let engine = Command::new("dockerd").arg("--version").output().is_ok_and(|output| output.status.success());
        for (missing, why) in [
            (!harness.exists(), "the harness raftsman-chaos is not built"),
            (!engine, "no dockerd (Debian: docker.io)"),
            (!nix::unistd::geteuid().is_root(), "real containers on two nodes need root"),
        ] {
            if missing {
                skipped(why);
                return None;
            }
        }
        let dir = tempfile::tempdir().expect("a directory");
        let mut cluster = Cluster { harness, dir, nodes: Vec::new(), servers: Vec::new() };
        let done = cluster.harness(&["up", "--sample-image"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let text = std::fs::read(cluster.place().join("cluster.json")).expect("a description");
        let told: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let of = |role: &'static str| {
            told["processes"].as_array().expect("processes").iter().filter(move |process| process["role"] == role)
        };
        cluster.nodes = of("node").map(|node| (text(&node["name"]), text(&node["address"]))).collect();
        let pid = |value: &serde_json::Value| i32::try_from(value.as_i64().expect("a number")).expect("a pid");
        let server = |server: &serde_json::Value| (Pid::from_raw(pid(&server["pid"])), text(&server["address"]));
        cluster.servers = of("server").map(server).collect();
        Some(cluster)
    }

    fn place(&self) -> PathBuf {
        self.dir.path().join("cluster")
    }

    fn harness(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.harness);
        command.arg("cluster").args(arguments).arg("--dir").arg(self.place());
        command.output().expect("the harness runs")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.harness(&["down"]);
    }
}

/// One version of kubectl, in a namespace of its own.
struct Kubectl {
    binary: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
    /// 1.`minor`
    minor: u32,
    /// Files for it.
    dir: TempDir,
}

impl Kubectl {
    fn new(cluster: &Cluster, binary: &Path) -> Kubectl {
        let version = Command::new(binary).args(["version", "--client", "-o", "json"]).output().expect("it runs");
        let version: serde_json::Value = serde_json::from_slice(&version.stdout).expect("JSON");
        let minor = version["clientVersion"]["minor"].as_str().expect("a version").trim_end_matches('+').to_owned();
        Kubectl {
            binary: binary.to_owned(),
            kubeconfig: cluster.place().join("admin.kubeconfig"),
            namespace: format!("kubectl-1-{minor}"),
            minor: minor.parse().expect("a number"),
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    /// A command line; quotes hold words together.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(["--namespace", &self.namespace]).args(words(line));
        // Nothing of whoever runs the tests is used, nothing is kept.
        command.env("HOME", self.dir.path()).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    fn output(&self, line: &str) -> (bool, String) {
        let output = self.command(line).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// What it prints; it succeeds.
    fn ok(&self, line: &str) -> Shown {
        let (good, text) = self.output(line);
        assert!(good, "kubectl {line}\n{text}");
        Shown { line: line.to_owned(), text }
    }

    /// What it prints; it fails.
    fn fails(&self, line: &str) -> Shown {
        let (good, text) = self.output(line);
        assert!(!good, "kubectl {line} should fail\n{text}");
        Shown { line: line.to_owned(), text }
    }

    /// Asks until a line is shown.
    fn until(&self, line: &str, wanted: &str) {
        let began = Instant::now();
        loop {
            let (_, text) = self.output(line);
            if text.lines().any(|line| fits(line, wanted)) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "kubectl {line}: no {wanted:?}\n{text}");
        }
    }

    /// Runs in the background; its output is read from the pipe.
    fn spawn(&self, line: &str) -> Child {
        self.command(line).stdout(Stdio::piped()).spawn().expect("it runs")
    }

    /// A file for it.
    fn file(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
}

/// What kubectl printed.
struct Shown {
    line: String,
    text: String,
}

impl Shown {
    /// One of the lines has these words; `*` stands for any letters of a word.
    #[track_caller]
    fn has(&self, wanted: &str) -> &Shown {
        assert!(
            self.text.lines().any(|line| fits(line, wanted)),
            "kubectl {}: no {wanted:?}\n{}",
            self.line,
            self.text
        );
        self
    }

    #[track_caller]
    fn lacks(&self, unwanted: &str) -> &Shown {
        assert!(
            !self.text.lines().any(|line| fits(line, unwanted)),
            "kubectl {}: {unwanted:?}\n{}",
            self.line,
            self.text
        );
        self
    }

    /// All of it.
    #[track_caller]
    fn is(&self, wanted: &str) {
        assert_eq!(self.text.trim_end(), wanted, "kubectl {}", self.line);
    }

    fn text(&self) -> &str {
        self.text.trim()
    }
}

/// Whether a line consists of these words; `...` stands for any words.
fn fits(line: &str, wanted: &str) -> bool {
    fn from(line: &[&str], wanted: &[&str]) -> bool {
        match wanted {
            [] => line.is_empty(),
            ["...", rest @ ..] => (0..=line.len()).any(|at| from(&line[at..], rest)),
            [first, rest @ ..] => line.first().is_some_and(|word| like(word, first)) && from(&line[1..], rest),
        }
    }
    let (line, wanted): (Vec<&str>, Vec<&str>) =
        (line.split_whitespace().collect(), wanted.split_whitespace().collect());
    from(&line, &wanted)
}

/// A word and a pattern with stars.
fn like(word: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return word == pattern };
    let Some(word) = word.strip_prefix(start) else { return false };
    (0..=word.len()).filter(|at| word.is_char_boundary(*at)).any(|at| like(&word[at..], rest))
}

/// Splits at spaces, but not within quotes.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let mut words = vec![String::new()];
    for (at, part) in parts {
        if at % 2 == 1 {
            words.last_mut().expect("one").push_str(part);
            continue;
        }
        let mut pieces = part.split(' ');
        words.last_mut().expect("one").push_str(pieces.next().unwrap_or_default());
        words.extend(pieces.map(str::to_owned));
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Pods reach the API through the Service `kubernetes`: a server that hangs is none of its endpoints, until it is back.
fn silent_servers_are_no_endpoints(kubectl: &Kubectl, cluster: &Cluster) {
    let endpoints = "get endpoints kubernetes -n default -o jsonpath='{.subsets[0].addresses[*].ip}{\"\\n\"}'";
    let slices = "get endpointslice kubernetes -n default -o jsonpath='{.endpoints[*].addresses[0]}{\"\\n\"}'";
    let all = cluster.servers.iter().map(|(_, address)| address.as_str()).collect::<Vec<_>>().join(" ");
    kubectl.until(endpoints, &all);
    // The first is the one that is asked.
    let ((hangs, address), others) = cluster.servers.split_last().expect("three");
    let left = others.iter().map(|(_, address)| address.as_str()).collect::<Vec<_>>().join(" ");
    signal::kill(*hangs, Signal::SIGSTOP).expect("it lives");
    kubectl.until(endpoints, &left);
    kubectl.until(slices, &left);
    signal::kill(*hangs, Signal::SIGCONT).expect("it lives");
    kubectl.until(endpoints, &format!("{left} {address}"));
    kubectl.until(slices, &all);
}

#[test]
fn lines_are_compared_by_words() {
    assert!(
        fits("pod/web-1   1/1  Running", "pod/web-* 1/1 Running") && fits("a b c", "a ...") && fits("a b c", "... c")
    );
    assert!(!fits("a b", "a") && !fits("a", "a b") && !fits("web-1", "*-2"));
    assert_eq!(words("patch d -p '{\"a\": 1}' x='y z'"), ["patch", "d", "-p", "{\"a\": 1}", "x=y z"]);
}

#[test]
fn kubectl_works_as_it_does_with_kubernetes() {
    let binaries = binaries();
    if binaries.is_empty() {
        return skipped("none on PATH, and KUBECTL names none");
    }
    let Some(cluster) = Cluster::start() else { return };
    let versions: Vec<Kubectl> = binaries.iter().map(|binary| Kubectl::new(&cluster, binary)).collect();
    for kubectl in &versions {
        kubectl.ok(&format!("create namespace {}", kubectl.namespace)).has("namespace/* created");
        kubectl.until("get serviceaccounts", "default *");
    }
    // Nodes belong to all.
    versions.iter().for_each(|kubectl| nodes::run(kubectl, &cluster));
    // Each in a namespace of its own, all at once.
    std::thread::scope(|scope| {
        for kubectl in &versions {
            scope.spawn(|| {
                workloads::run(kubectl, &cluster);
                objects::run(kubectl);
            });
        }
    });
    silent_servers_are_no_endpoints(&versions[0], &cluster);
    for kubectl in &versions {
        let gone = format!("namespace \"{}\" deleted", kubectl.namespace);
        kubectl.ok(&format!("delete namespace {}", kubectl.namespace)).has(&gone);
    }
}
