//! A member of `raftsman store` as a process, with its directory and ports on loopback.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::ports::free;
use crate::process::PATIENCE;

/// `raftsman store` with nothing of etcd's in its environment.
pub(crate) fn store_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftsman"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ETCD")) {
        command.env_remove(name);
    }
    command.arg("store").stdin(Stdio::null());
    command
}

/// The same with so many open files at most.
fn limited(files: u64) -> Command {
    let plain = store_command();
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -n {files} && exec \"$@\"")).arg("sh").arg(plain.get_program());
    for (name, value) in plain.get_envs() {
        assert!(value.is_none(), "only taken away");
        command.env_remove(name);
    }
    command.args(plain.get_args()).stdin(Stdio::null());
    command
}

/// A member's place; the process lives as long as it.
pub(crate) struct Member {
    pub(crate) dir: TempDir,
    pub(crate) client: u16,
    pub(crate) peer: u16,
    /// Files that it may open at most.
    pub(crate) files: Option<u64>,
    process: Option<Child>,
}

impl Member {
    pub(crate) fn new() -> Member {
        let dir = tempfile::tempdir().expect("a directory");
        Member { dir, client: free().port(), peer: free().port(), files: None, process: None }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The flags of a member that is a cluster of its own.
    pub(crate) fn flags(&self, scheme: &str) -> Vec<String> {
        vec![
            format!("--data-dir={}", self.data_dir().display()),
            format!("--listen-client-urls={scheme}://127.0.0.1:{}", self.client),
            format!("--advertise-client-urls={scheme}://127.0.0.1:{}", self.client),
            format!("--listen-peer-urls=http://127.0.0.1:{}", self.peer),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{}", self.peer),
        ]
    }

    /// Starts it and waits until it serves clients.
    pub(crate) fn start<S: AsRef<OsStr>>(&mut self, arguments: impl IntoIterator<Item = S>) {
        self.start_with(arguments, &[]);
    }

    /// The same, with variables.
    pub(crate) fn start_with<S: AsRef<OsStr>>(
        &mut self,
        arguments: impl IntoIterator<Item = S>,
        environment: &[(&str, String)],
    ) {
        let ready = self.begin_with(arguments, environment);
        assert!(ready.recv_timeout(PATIENCE).is_ok(), "not ready\n{}", self.said());
    }

    /// Starts it, whatever becomes of it.
    pub(crate) fn begin<S: AsRef<OsStr>>(&mut self, arguments: impl IntoIterator<Item = S>) {
        drop(self.begin_with(arguments, &[]));
    }

    /// The same, with variables.
    pub(crate) fn begin_in<S: AsRef<OsStr>>(
        &mut self,
        arguments: impl IntoIterator<Item = S>,
        environment: &[(&str, String)],
    ) {
        drop(self.begin_with(arguments, environment));
    }

    /// Whether there is a process.
    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    fn begin_with<S: AsRef<OsStr>>(
        &mut self,
        arguments: impl IntoIterator<Item = S>,
        environment: &[(&str, String)],
    ) -> mpsc::Receiver<()> {
        let log = File::create(self.dir.path().join("stderr.txt")).expect("a log");
        let mut command = self.files.map_or_else(store_command, limited);
        command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        let mut process = command.stdout(Stdio::piped()).stderr(log).spawn().expect("starts");
        let said = process.stdout.take().expect("a pipe");
        self.process = Some(process);
        let (heard, ready) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                if line.starts_with("ready: ") {
                    let _ = heard.send(());
                }
            }
        });
        ready
    }

    /// The process that runs.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("started").id()
    }

    /// A number among its metrics.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let (_, page) = try_http(self.client, "GET", "/metrics", "").ok()?;
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// What it wrote to standard error.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr.txt")).unwrap_or_default()
    }

    /// Waits until something is so.
    pub(crate) fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so() {
            assert!(Instant::now() < deadline, "{what}: not in time\n{}", self.said());
            std::thread::yield_now();
        }
    }

    /// As a service manager would end it; answers whether it ended well.
    pub(crate) fn terminate(&mut self) -> bool {
        let mut process = self.process.take().expect("started");
        let id = nix::unistd::Pid::from_raw(i32::try_from(process.id()).expect("an id"));
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).expect("told");
        process.wait().expect("ended").success()
    }

    /// As a loss of power would end it, but for what the kernel has.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("started");
        process.kill().expect("told");
        process.wait().expect("ended");
    }

    /// As an operator asks for another data key.
    pub(crate) fn hang_up(&self) {
        let id = self.process.as_ref().expect("started").id();
        let id = nix::unistd::Pid::from_raw(i32::try_from(id).expect("an id"));
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGHUP).expect("told");
    }

    /// etcd's own command line, asking this member over plain HTTP.
    pub(crate) fn etcdctl(&self, arguments: &[&str]) -> Output {
        self.etcdctl_over("http", arguments)
    }

    /// The same over a scheme.
    pub(crate) fn etcdctl_over(&self, scheme: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={scheme}://127.0.0.1:{}", self.client));
        command.args(arguments).stdin(Stdio::null()).output().expect("etcdctl is installed (apt install etcd-client)")
    }

    /// What an etcdctl that succeeds prints.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.etcdctl(arguments);
        assert!(output.status.success(), "{arguments:?}: {}\n{}", text(&output.stderr), self.said());
        text(&output.stdout)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Bytes that are text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends bytes and reads until the other side ends the connection.
///
/// # Errors
/// When nobody is there, or nothing comes before it ends or for so long.
pub(crate) fn exchange(address: SocketAddr, patience: Duration, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    // What is refused early is answered before all of it is sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

/// One request of HTTP/1.1 in the clear; answers the status and the body.
pub(crate) fn http(port: u16, method: &str, path: &str, body: &str) -> (u16, String) {
    try_http(port, method, path, body).expect("an answer")
}

/// The same of somebody who may be away.
///
/// # Errors
/// When nobody answers.
pub(crate) fn try_http(port: u16, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    try_raw(port, &format!("{head}{length}\r\n{body}"))
}

/// What a call of the JSON gateway answers; nothing where nobody answers it well.
pub(crate) fn ask(port: u16, call: &str, request: &Value) -> Value {
    let answered = try_http(port, "POST", &format!("/v3/{call}"), &request.to_string()).ok();
    let body = answered.filter(|(status, _)| *status == 200).map(|(_, body)| body);
    body.and_then(|body| serde_json::from_str(body.trim()).ok()).unwrap_or_default()
}

/// The same with a request as it is sent.
pub(crate) fn raw(port: u16, request: &str) -> (u16, String) {
    try_raw(port, request).expect("an answer")
}

fn try_raw(port: u16, request: &str) -> io::Result<(u16, String)> {
    let answer = text(&exchange((Ipv4Addr::LOCALHOST, port).into(), PATIENCE, request.as_bytes())?);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, body.to_owned()))
}
