//! Images from a real registry: pulled, and said in the kubelet's words when they are not there.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ContainerStateWaiting, ContainerStatus, PodStatus};
use serde_json::json;

use crate::engine::{Engine, IMAGE};
use crate::pods::{Agent, name, pod};

/// A registry with a folder of its own.
struct Registry {
    address: String,
    process: Child,
    _dir: tempfile::TempDir,
}

impl Registry {
    /// A registry that answers, or None after saying why there is none.
    fn start() -> Option<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{port}\"}}\n",
            dir.path().display()
        );
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(process) = command.spawn() else {
            println!("SKIPPED: docker-registry is not installed (apt-get install docker-registry)");
            return None;
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(port).is_err() {
            assert!(Instant::now() < deadline, "the registry does not listen");
        }
        Some(Registry { address: port.to_string(), process, _dir: dir })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn container(status: &PodStatus, at: usize) -> Option<&ContainerStatus> {
    status.container_statuses.as_ref()?.get(at)
}

fn waiting(status: &PodStatus, at: usize) -> Option<&ContainerStateWaiting> {
    container(status, at)?.state.as_ref()?.waiting.as_ref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_images_are_pulled_and_what_a_registry_does_not_have_is_said() {
    let (Some(engine), Some(registry)) = (Engine::start(), Registry::start()) else { return };
    let image = format!("{}/app:1", registry.address);
    for arguments in [&["tag", IMAGE, &image][..], &["push", &image], &["rmi", &image]] {
        assert!(engine.docker(arguments).status().unwrap().success(), "docker {arguments:?}");
    }
    let (dir, node) = (tempfile::tempdir().unwrap(), name("pulls"));
    let agent = Agent::start(&engine, dir.path(), &node).await;
    let absent = format!("{}/none:1", registry.address);
    let mut wanted = pod(
        &node,
        json!([
            {"name": "pulled", "image": image, "imagePullPolicy": "Always", "command": ["/bin/sh", "-c", "busybox sleep 600"]},
            {"name": "absent", "image": absent, "imagePullPolicy": "IfNotPresent"}]),
    );
    wanted["spec"]["volumes"] = json!([]);
    agent.apply(&[wanted]).await;
    let status = agent
        .until("one is pulled and runs, the other backs off", |s, _| {
            let backs_off = waiting(s, 1).is_some_and(|w| w.reason.as_deref() == Some("ImagePullBackOff"));
            backs_off && container(s, 0).is_some_and(|c| c.ready)
        })
        .await;
    let pulled = &container(&status, 0).unwrap().image_id;
    assert!(pulled.contains("sha256:"), "{pulled}");
    let said = waiting(&status, 1).unwrap().message.clone().unwrap_or_default();
    assert!(said.contains(&absent), "{said}");
    let update = proto::agent::Update { epoch: 1, revision: 100, reset: true, ..Default::default() };
    agent.mirror.apply(update).await.unwrap();
    agent.until("nothing is left of it", |_, terminated| terminated).await;
    agent.end().await;
    assert!(engine.docker(&["rmi", &image]).status().unwrap().success(), "it was pulled under its name");
}
