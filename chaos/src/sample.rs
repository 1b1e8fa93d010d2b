//! The sample application of `make run`: its image, its objects, and whether it answers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use serde::Deserialize;

use crate::world::cluster::Cluster;
use crate::world::engine::docker_client;

/// The objects.
const OBJECTS: &str = include_str!("../sample/app.yaml");
/// Made here from Debian's static busybox: nothing is pulled.
pub(crate) const IMAGE: &str = "raftsman-sample:1";
/// Where every node answers for the Service.
pub(crate) const NODE_PORT: u16 = 30080;
/// The application may take so long to answer.
const LIMIT: Duration = Duration::from_secs(60);

/// Gives the image to an engine.
pub(crate) fn import(dir: &Path, host: &str) -> anyhow::Result<()> {
    let root = dir.join("sample-image");
    std::fs::create_dir_all(root.join("bin"))?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.context("busybox is not installed (Debian's busybox-static)")?;
    std::fs::copy(busybox, root.join("bin/busybox"))?;
    for applet in
        ["sh", "httpd", "wget", "nc", "env", "sleep", "cat", "echo", "ls", "ps", "ip", "hostname", "date", "tail"]
    {
        let link = root.join("bin").join(applet);
        if !link.exists() {
            std::os::unix::fs::symlink("busybox", link)?;
        }
    }
    let mut archive =
        Command::new("tar").arg("-C").arg(&root).args(["-c", "."]).stdout(Stdio::piped()).spawn().context("tar")?;
    let bytes = archive.stdout.take().context("tar's output")?;
    let done = Command::new(docker_client())
        .args(["--host", host, "import", "--change", "ENV PATH=/bin", "-", IMAGE])
        .stdin(bytes)
        .output()
        .context("docker import")?;
    archive.wait()?;
    ensure!(done.status.success(), "docker import: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}

/// Creates the objects.
pub(crate) async fn deploy(client: &kube::Client) -> anyhow::Result<()> {
    let documents = serde_saphyr::from_multiple::<serde_json::Value>(OBJECTS).context("the sample's objects")?;
    for document in documents {
        let object = DynamicObject::deserialize(&document)?;
        let types = object.types.clone().context("an object says its kind")?;
        let kind = GroupVersionKind::try_from(&types)?;
        let resource = kube::api::ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
        match api.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => drop(other.with_context(|| format!("creating the sample's {}", types.kind))?),
        }
    }
    Ok(())
}

/// Where each pod runs: name, phase, address, node.
pub(crate) async fn pods(client: &kube::Client) -> anyhow::Result<Vec<[String; 4]>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), "default");
    let pods = api.list(&ListParams::default().labels("app=hello")).await?;
    let line = |pod: Pod| {
        let (status, spec) = (pod.status.unwrap_or_default(), pod.spec.unwrap_or_default());
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        [text(pod.metadata.name), text(status.phase), text(status.pod_ip), text(spec.node_name)]
    };
    Ok(pods.items.into_iter().map(line).collect())
}

/// The page, as a node's address gives it.
pub(crate) fn page(address: Ipv4Addr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, NODE_PORT)), Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.contains(" 200 "), "{}", head.lines().next().unwrap_or_default());
    Ok(body.trim().to_owned())
}

/// Waits until the page comes from every node's address.
pub(crate) fn await_page(cluster: &Cluster) -> anyhow::Result<Duration> {
    let began = Instant::now();
    for node in cluster.of_role("node") {
        let address: Ipv4Addr = node.address.parse()?;
        while let Err(error) = page(address) {
            if began.elapsed() > LIMIT {
                bail!("http://{address}:{NODE_PORT}/ does not answer after {LIMIT:?}: {error:#}");
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
    Ok(began.elapsed())
}
