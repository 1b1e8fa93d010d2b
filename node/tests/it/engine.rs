//! A Docker Engine for the tests, with an image of busybox made here.

use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The image that tests run.
pub(crate) const IMAGE: &str = "raftsman.test/busybox:1";

pub(crate) struct Engine {
    pub(crate) host: String,
    own: Option<(Child, tempfile::TempDir)>,
}

static ENGINE: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("DOCKER_HOST").ok());

impl Engine {
    /// An engine, or None after saying why there is none.
    pub(crate) fn start() -> Option<Self> {
        let engine = match &*ENGINE {
            Some(host) => Self { host: host.clone(), own: None },
            None if nix::unistd::geteuid().is_root() => Self::spawn()?,
            None => {
                println!("SKIPPED: no DOCKER_HOST and not root, so no Docker Engine to test with");
                return None;
            }
        };
        engine.make_image();
        Some(engine)
    }

    fn spawn() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let host = format!("unix://{}", path("docker.sock"));
        let flags = ["--data-root", &path("data"), "--exec-root", &path("run"), "-H", &host, "--pidfile", &path("pid")];
        let child = Command::new("dockerd")
            .args(flags)
            .args(["--iptables=false", "--bridge=none"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            println!("SKIPPED: dockerd is not installed (apt-get install docker.io)");
            return None;
        };
        let engine = Self { host, own: Some((child, dir)) };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !engine.docker(&["version"]).status().unwrap().success() {
            assert!(Instant::now() < deadline, "dockerd did not start within a minute");
        }
        Some(engine)
    }

    pub(crate) fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["-H", &self.host]).args(args).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn make_image(&self) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("bin")).unwrap();
        std::fs::copy("/bin/busybox", root.path().join("bin/busybox")).unwrap();
        std::os::unix::fs::symlink("busybox", root.path().join("bin/sh")).unwrap();
        let tar = root.path().with_extension("tar");
        let packed = Command::new("tar").arg("-C").arg(root.path()).arg("-cf").arg(&tar).arg(".").status().unwrap();
        assert!(packed.success());
        let path = tar.display().to_string();
        assert!(self.docker(&["import", &path, IMAGE]).status().unwrap().success(), "the image is imported");
        std::fs::remove_file(tar).unwrap();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.own {
            let pid = i32::try_from(child.id()).unwrap();
            // SIGTERM lets it end its containerd and unmount what it mounted.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
            let _ = child.wait();
        }
    }
}
