//! A real S3 server: versitygw over a folder, as a process.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::member::try_http;
use crate::ports::free;
use crate::process::PATIENCE;
use crate::s3::{Objects, environment};

/// Who may.
const ACCESS: &str = "AKIAOPERATOR";
const SECRET: &str = "what only operators know";

/// See the module; the process lives as long as it.
pub(crate) struct Versitygw {
    binary: PathBuf,
    dir: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Versitygw {
    /// One with an empty bucket; none, and it says why, where `VERSITYGW_BIN` names none.
    pub(crate) fn start() -> Option<Versitygw> {
        let Some(binary) = std::env::var_os("VERSITYGW_BIN").filter(|path| !path.is_empty()) else {
            // Past the capture of libtest, so that it is seen.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: archives on a real S3 server (VERSITYGW_BIN; `make test` sets it where Go is installed)"
            );
            return None;
        };
        let dir = tempfile::tempdir().expect("a directory");
        // A bucket is a folder; beside it lies what is known of its objects.
        for folder in ["root/bucket", "known", "users"] {
            std::fs::create_dir_all(dir.path().join(folder)).expect("made");
        }
        let mut server = Versitygw { binary: binary.into(), dir, port: free().port(), process: None };
        server.be_away(false);
        Some(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn begin(&mut self) {
        let log = std::fs::File::create(self.dir.path().join("log")).expect("a log");
        let mut command = Command::new(&self.binary);
        command.args(["--access", ACCESS, "--secret", SECRET, "--health", "/health", "--quiet"]);
        // With a list of users, though nobody is in it, strangers are answered as S3 does.
        command.arg("--iam-dir").arg(self.dir.path().join("users")).arg("--port");
        command
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("posix")
            .arg("--sidecar")
            .arg(self.dir.path().join("known"));
        command
            .arg(self.dir.path().join("root"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        self.process = Some(command.spawn().expect("it starts"));
        let deadline = Instant::now() + PATIENCE;
        while try_http(self.port, "GET", "/health", "").is_err() {
            let said = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "not ready\n{said}");
            std::thread::yield_now();
        }
    }

    fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

impl Objects for Versitygw {
    fn environment(&self) -> Vec<(&'static str, String)> {
        environment(self.port, ACCESS, SECRET)
    }

    fn be_away(&mut self, away: bool) {
        if away { self.end() } else { self.begin() }
    }

    fn names(&self) -> Vec<String> {
        let (root, mut found) = (self.dir.path().join("root/bucket"), Vec::new());
        files(&root, &mut found);
        let name = |path: &PathBuf| path.strip_prefix(&root).expect("below it").display().to_string();
        found.iter().map(name).filter(|name| !name.starts_with('.')).collect()
    }
}

impl Drop for Versitygw {
    fn drop(&mut self) {
        self.end();
    }
}
