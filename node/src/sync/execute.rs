//! One step of a plan carried out on the engine, the disk and the network; every step is safe to repeat.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Container, LifecycleHandler, Pod, Secret, Service};

use crate::mirror::Mirror;
use crate::net::PodNetwork;
use crate::plan::config::Mount;
use crate::plan::downward::Allocatable;
use crate::plan::memory::Outcome;
use crate::plan::observed::Observed;
use crate::plan::pod::Step;
use crate::plan::{container, env, event, hosts, pull_secret, spec};
use crate::runtime::{Runtime, RuntimeError, Signal};
use crate::sync::outbox::Outbox;
use crate::tokens::Tokens;
use crate::volume::Volumes;

/// Names of machines.
const HOSTS: &str = "/etc/hosts";
/// The cluster's domain.
const DOMAIN: &str = "cluster.local";

/// What all workers of a node share.
pub struct Shared<R> {
    /// The engine.
    pub runtime: R,
    /// The node's copy of the objects.
    pub mirror: Arc<Mirror>,
    /// Where statuses go.
    pub outbox: Arc<Outbox>,
    /// The pods' volumes.
    pub volumes: Volumes,
    /// Tokens of the pods' accounts.
    pub tokens: Tokens,
    /// The pod network.
    pub network: Arc<dyn PodNetwork>,
    /// The node's addresses.
    pub host_ips: Vec<IpAddr>,
    /// What the node can give.
    pub node: Allocatable,
    /// Bound on the workers that act at one time.
    pub slots: tokio::sync::Semaphore,
}

impl<R> Shared<R> {
    /// Tells people of a pod.
    pub(super) fn say(&self, pod: &Pod, told: &event::Told) {
        let json = serde_json::to_vec(&event::object(pod, told, Timestamp::now())).expect("a value is JSON");
        self.outbox.say(json.into());
    }
}

struct Namespaced<'a> {
    mirror: &'a Mirror,
    namespace: &'a str,
}

impl env::Lookup for Namespaced<'_> {
    fn config_map(&self, name: &str) -> Option<ConfigMap> {
        self.mirror.get("configmaps", self.namespace, name)
    }
    fn secret(&self, name: &str) -> Option<Secret> {
        self.mirror.get("secrets", self.namespace, name)
    }
}

fn failed(reason: &str) -> impl Fn(String) -> Outcome {
    let reason = reason.to_owned();
    move |message| Outcome::Failed(reason.clone(), message)
}

fn done(result: Result<(), RuntimeError>) -> Outcome {
    result.map_or_else(|e| Outcome::Failed("EngineError".to_owned(), e.to_string()), |()| Outcome::Done)
}

/// Carries one step out.
pub async fn execute<R: Runtime>(shared: &Shared<R>, pod: &Pod, observed: &Observed, step: &Step) -> Outcome {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    match step {
        Step::SetUpVolumes => set_up_volumes(shared, pod, observed).await,
        Step::TearDownVolumes => {
            let (volumes, pod) = (shared.volumes.clone(), pod.clone());
            shared.tokens.forget(uid);
            blocking(move || volumes.tear_down(&pod)).await
        }
        Step::CreateSandbox { attempt } => {
            let config = container::sandbox(pod, *attempt, shared.network.sandbox_mode());
            done(shared.runtime.create_sandbox(&config).await.map(|_| ()))
        }
        Step::AttachNetwork { id } => {
            let Some(sandbox) = observed.sandbox() else { return Outcome::Done };
            if spec::host_network(pod) {
                return Outcome::Addresses(id.clone(), shared.host_ips.clone());
            }
            let attached = shared.network.attach(uid, sandbox).await;
            attached.map_or_else(failed("FailedCreatePodSandBox"), |ips| Outcome::Addresses(id.clone(), ips))
        }
        Step::EnsureImage { container } => image(shared, pod, container).await,
        Step::Start { container, restart, backoff_s, .. } => {
            start(shared, pod, observed, container, (*restart, *backoff_s)).await
        }
        Step::PostStart { container, id } => hook(shared, pod, observed, container, id, spec::post_start).await,
        Step::PreStop { container, id, .. } => hook(shared, pod, observed, container, id, spec::pre_stop).await,
        Step::Terminate { id, .. } => done(shared.runtime.signal(id, Signal::Stop).await),
        Step::Kill { id, .. } => done(shared.runtime.signal(id, Signal::Kill).await),
        Step::StopSandbox { id } => {
            shared.network.detach(uid, id).await;
            done(shared.runtime.signal(id, Signal::Kill).await)
        }
        Step::Remove { id, .. } | Step::RemoveSandbox { id } => done(shared.runtime.remove(id).await),
        Step::Finish => Outcome::Done,
    }
}

/// Puts a pod's volumes in place, or brings them up to date.
pub(super) async fn set_up_volumes<R: Runtime>(shared: &Shared<R>, pod: &Pod, observed: &Observed) -> Outcome {
    if R::SIMULATED {
        return Outcome::Done;
    }
    let tokens = shared.tokens.of(pod).await;
    let (volumes, pod, status) = (shared.volumes.clone(), pod.clone(), observed.previous.clone());
    let (mirror, node) = (Arc::clone(&shared.mirror), shared.node);
    blocking(move || volumes.set_up(&pod, &status, &mirror, node, &tokens)).await
}

async fn blocking(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Outcome {
    let result = tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(panic.to_string()));
    result.map_or_else(failed("FailedMount"), |()| Outcome::Done)
}

fn found<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    spec::all(pod).find(|c| c.name == name)
}

async fn image<R: Runtime>(shared: &Shared<R>, pod: &Pod, name: &str) -> Outcome {
    let Some(container) = found(pod, name) else { return Outcome::Done };
    let policy = spec::pull_policy(container);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let names = spec::of(pod).image_pull_secrets.iter().flatten().map(|held| held.name.as_str());
    let secrets = names.filter_map(|name| shared.mirror.get::<Secret>("secrets", namespace, name));
    let credentials: Vec<_> = secrets.flat_map(|secret| pull_secret::credentials(&secret)).collect();
    let pulls = || shared.say(pod, &event::of_pull(name, spec::image(container)));
    match shared.runtime.ensure_image(spec::image(container), policy, &credentials, &pulls).await {
        Ok(image) => Outcome::Pulled(image.pulled_in),
        Err(RuntimeError::Image { reason, message }) => Outcome::Failed(reason.to_owned(), message),
        Err(other) => Outcome::Failed("ErrImagePull".to_owned(), other.to_string()),
    }
}

async fn start<R: Runtime>(
    shared: &Shared<R>,
    pod: &Pod,
    observed: &Observed,
    name: &str,
    (restart, backoff_s): (u32, u32),
) -> Outcome {
    let (Some(spec), Some(sandbox)) = (found(pod, name), observed.sandbox()) else { return Outcome::Done };
    let image = match shared.runtime.ensure_image(spec::image(spec), spec::PullPolicy::Never, &[], &|| {}).await {
        Ok(image) => image,
        Err(e) => return Outcome::Failed("ErrImagePull".to_owned(), e.to_string()),
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let services: Vec<Service> = shared.mirror.list("services", None);
    let inputs = env::Inputs { pod, status: &observed.previous, services: &services, node: shared.node };
    let lookup = Namespaced { mirror: &shared.mirror, namespace };
    let wrong = failed("CreateContainerConfigError");
    let environment: BTreeMap<String, String> = match env::environment(&inputs, spec, &lookup) {
        Ok(environment) => environment,
        Err(message) => return wrong(message),
    };
    let mounts = match mounts(shared, pod, observed, spec, &environment, restart) {
        Ok(mounts) => mounts,
        Err(message) => return wrong(message),
    };
    let inputs = container::Inputs {
        restart,
        backoff_s,
        sandbox: &sandbox.id,
        env: environment,
        mounts,
        image_user: &image.user,
        node_memory_bytes: shared.node.memory_bytes,
    };
    let config = match container::container(pod, spec, inputs) {
        Ok(config) => config,
        Err(message) => return wrong(message),
    };
    match shared.runtime.start(&config).await {
        Ok(id) => Outcome::Started(id),
        Err(e) => Outcome::Failed("CreateContainerError".to_owned(), e.to_string()),
    }
}

fn mounts<R: Runtime>(
    shared: &Shared<R>,
    pod: &Pod,
    observed: &Observed,
    container: &Container,
    environment: &BTreeMap<String, String>,
    restart: u32,
) -> Result<Vec<Mount>, String> {
    let mut mounts = shared.volumes.mounts(pod, container, environment, &shared.mirror)?;
    let mut add = |mount: Mount| {
        // What the pod itself mounts there goes before.
        if !mounts.iter().any(|held| held.target == mount.target) {
            mounts.push(mount);
        }
    };
    add(shared.volumes.last_words_mount(pod, container, restart)?);
    let text = if spec::host_network(pod) {
        hosts::with_aliases(pod, std::fs::read_to_string(HOSTS).unwrap_or_default())
    } else {
        let ips = observed.memory.network.as_ref().map_or(&[][..], |(_, ips)| ips);
        hosts::hosts(pod, ips, DOMAIN)
    };
    add(shared.volumes.hosts_mount(pod, &text, HOSTS)?);
    Ok(mounts)
}

async fn hook<R: Runtime>(
    shared: &Shared<R>,
    pod: &Pod,
    observed: &Observed,
    name: &str,
    id: &str,
    which: fn(&Container) -> Option<&LifecycleHandler>,
) -> Outcome {
    let Some(handler) = found(pod, name).and_then(which) else { return Outcome::Done };
    let limit = Duration::from_secs(spec::grace_s(pod).unsigned_abs());
    let result = if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(limit.min(Duration::from_secs(sleep.seconds.unsigned_abs()))).await;
        Ok(String::new())
    } else {
        let address = super::probes::address(observed);
        let check = super::probes::Check::of_hook(handler);
        check.run(&shared.runtime, id, address, found(pod, name), limit).await
    };
    result.map_or_else(failed("FailedHook"), |_| Outcome::Done)
}
