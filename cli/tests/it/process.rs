//! Servers as processes, each with its own directory and ports on loopback.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;

use crate::ports::free;

/// How long anything awaited here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server's place; the process lives as long as it.
pub(crate) struct Server {
    pub(crate) name: String,
    ports: [u16; 3],
    dir: TempDir,
    process: Option<Child>,
    /// Further arguments.
    pub(crate) extra: Vec<String>,
    /// Of the server's process.
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

fn raftsman() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftsman"));
    command.env_remove("KUBECONFIG");
    command
}

impl Server {
    pub(crate) fn new(name: &str) -> Server {
        Server::in_dir(name, tempfile::tempdir().expect("a directory"))
    }

    /// With its data below a directory.
    pub(crate) fn inside(name: &str, parent: &Path) -> Server {
        Server::in_dir(name, tempfile::tempdir_in(parent).expect("a directory"))
    }

    fn in_dir(name: &str, dir: TempDir) -> Server {
        Server {
            name: name.to_owned(),
            ports: [(); 3].map(|()| free().port()),
            dir,
            environment: Vec::new(),
            process: None,
            extra: vec!["--roles".into(), "server".into()],
        }
    }

    /// Another server at the same ports, with a directory of its own.
    pub(crate) fn successor(&self, name: &str) -> Server {
        let mut server = Server::new(name);
        server.ports = self.ports;
        server
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("admin.kubeconfig")
    }

    /// Where everything of it lies.
    pub(crate) fn data_dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Runs a command that asks no server.
    pub(crate) fn plain<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Output {
        raftsman().args(arguments).stdin(Stdio::null()).output().expect("it runs")
    }

    fn up(&self, token: Option<&str>) -> Command {
        let mut command = raftsman();
        match token {
            None => command.arg("up"),
            Some(token) => command.args(["join", token]),
        };
        command
            .args(["--name", &self.name, "--bind", "127.0.0.1", "--data-dir"])
            .arg(self.dir.path())
            .args(["--port", &self.ports[0].to_string()])
            .args(["--peer-port", &self.ports[1].to_string()])
            .args(["--etcd-port", &self.ports[2].to_string()])
            .args(&self.extra)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Starts `up`, or `join` with a token, and waits until it is ready.
    pub(crate) fn start(&mut self, token: Option<&str>) {
        self.start_until(token, "ready: ");
    }

    /// Joins as a node with simulated containers and nothing else.
    pub(crate) fn start_node(&mut self, token: &str) {
        self.extra = ["--roles", "node", "--runtime", "sim"].map(str::to_owned).to_vec();
        self.start_until(Some(token), "node ");
    }

    fn start_until(&mut self, token: Option<&str>, line: &'static str) {
        let log = std::fs::File::create(self.dir.path().join("output.txt")).expect("a log");
        let mut command = self.up(token);
        let mut process = command.stdout(Stdio::piped()).stderr(log).spawn().expect("starts");
        let said = process.stdout.take().expect("a pipe");
        self.process = Some(process);
        self.await_line(said, line);
    }

    /// Waits for a line of its output; a thread goes on reading until the process ends, so that it can go on printing.
    fn await_line(&mut self, said: ChildStdout, wanted: &'static str) {
        let (heard, ready) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                if line.starts_with(wanted) {
                    let _ = heard.send(());
                }
            }
        });
        if ready.recv_timeout(PATIENCE).is_err() {
            let log = std::fs::read_to_string(self.dir.path().join("output.txt")).unwrap_or_default();
            panic!("{} is not ready\n{log}", self.name);
        }
    }

    /// Starts a process that does not get ready; answers how it ended and what it said.
    pub(crate) fn start_in_vain(&self, token: Option<&str>) -> (Option<i32>, String) {
        let process = self.up(token).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
        let output = self.end_of(process);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Waits until the process ends by itself; answers how, and what it said.
    pub(crate) fn ended(&mut self) -> (Option<i32>, String) {
        let process = self.process.take().expect("started");
        let code = self.end_of(process).status.code();
        (code, std::fs::read_to_string(self.dir.path().join("output.txt")).unwrap_or_default())
    }

    fn end_of(&self, process: Child) -> Output {
        let id = nix::unistd::Pid::from_raw(i32::try_from(process.id()).expect("an id"));
        let (ended, told) = mpsc::channel();
        std::thread::spawn(move || ended.send(process.wait_with_output()));
        told.recv_timeout(PATIENCE).map(|output| output.expect("it ends")).unwrap_or_else(|_| {
            let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL);
            panic!("{} goes on", self.name)
        })
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("started");
        process.kill().expect("killed");
        process.wait().expect("ended");
    }

    /// As a person would end it; answers whether it ended well.
    pub(crate) fn terminate(&mut self) -> bool {
        let mut process = self.process.take().expect("started");
        let id = nix::unistd::Pid::from_raw(i32::try_from(process.id()).expect("an id"));
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).expect("told");
        process.wait().expect("ended").success()
    }

    /// Runs a command about the cluster, asking this server.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = raftsman();
        command.args(arguments).arg("--kubeconfig").arg(self.kubeconfig()).stdin(Stdio::null());
        command.output().expect("it runs")
    }

    pub(crate) fn ask_json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.ask(&[arguments, &["--output", "json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// An independent client with the administrator's credentials.
    pub(crate) async fn client(&self) -> kube::Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        kube::Client::try_from(config.expect("a configuration")).expect("a client")
    }

    /// A client without credentials.
    pub(crate) async fn stranger(&self) -> kube::Client {
        self.client_with(|user| *user = AuthInfo::default()).await
    }

    /// A client with a token and nothing else.
    pub(crate) async fn bearer(&self, token: &str) -> kube::Client {
        let token = Some(token.to_owned().into());
        self.client_with(|user| *user = AuthInfo { token: token.clone(), ..AuthInfo::default() }).await
    }

    /// The administrator, acting as somebody.
    pub(crate) async fn acting(&self, name: &str) -> kube::Client {
        self.client_with(|user| user.impersonate = Some(name.to_owned())).await
    }

    async fn client_with(&self, change: impl Fn(&mut AuthInfo)) -> kube::Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut kubeconfig = Kubeconfig::read_from(self.kubeconfig()).expect("a kubeconfig");
        kubeconfig.auth_infos.iter_mut().filter_map(|user| user.auth_info.as_mut()).for_each(change);
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        kube::Client::try_from(config.expect("a configuration")).expect("a client")
    }
}

/// Waits until something is so, asking a server again and again.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !so() {
        assert!(std::time::Instant::now() < deadline, "{what}: not in time");
    }
}

/// Starts a cluster and waits until all three vote.
pub(crate) fn three_servers(mut servers: Vec<Server>) -> Vec<Server> {
    servers[0].start(None);
    let token = servers[0].ask_json(&["token", "create"])["token"].as_str().expect("a token").to_owned();
    for server in &mut servers[1..] {
        server.start(Some(&token));
    }
    until("everybody votes", || voters(&servers[2].ask_json(&["status"])) == 3);
    servers
}

/// How many servers vote.
pub(crate) fn voters(status: &serde_json::Value) -> usize {
    status["members"].as_array().expect("a list").iter().filter(|member| member["role"] == "voter").count()
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
