//! Docker Engine through its API (1.41, Docker 20.10, and later).
//!
//! bollard sends no API version: the engine answers with its own, so every call here keeps to what 1.41 knows.
//! Nothing is ever copied into or out of a container by the archive API; files come and go by mounts.

mod body;
mod exec;
mod image;
mod inspect;
mod logs;
mod measure;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::{Contents, EngineInfo, Executed, Image, Runtime, RuntimeError, Signal};
use crate::plan::config::{ContainerConfig, Credentials, LogOptions, PodId, SandboxConfig};
use crate::plan::spec::PullPolicy;

/// Bound on calls that move no images and no logs. Units: seconds.
const CALL_TIMEOUT_S: u64 = 120;

/// A connection to one engine, for the pods of one node.
#[derive(Debug, Clone)]
pub struct Docker {
    client: bollard::Docker,
    node: String,
    known: Arc<tokio::sync::Mutex<measure::Known>>,
}

impl Docker {
    /// Connects to an engine (`unix:///path`) for the node of this name, whose containers alone are seen, and loads
    /// the pause image if it is not there.
    ///
    /// # Errors
    ///
    /// The engine is not reachable or does not take the image.
    pub async fn connect(host: &str, node: &str) -> Result<Self, RuntimeError> {
        let client = bollard::Docker::connect_with_unix(host, CALL_TIMEOUT_S, bollard::API_DEFAULT_VERSION)
            .map_err(|e| RuntimeError::Engine(format!("Docker Engine at {host} is not reachable: {e}")))?;
        let docker = Self { client, node: node.to_owned(), known: Arc::default() };
        docker.load_pause().await?;
        Ok(docker)
    }

    async fn list(&self, filters: Vec<String>) -> Result<Vec<bollard::models::ContainerSummary>, RuntimeError> {
        let mut labels = vec![format!("{}={}", body::NODE, self.node)];
        labels.extend(filters);
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        self.client.list_containers(Some(options)).await.map_err(engine)
    }

    async fn create(&self, name: &str, body: bollard::models::ContainerCreateBody) -> Result<String, RuntimeError> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        match self.client.create_container(Some(options.clone()), body.clone()).await {
            Ok(created) => Ok(created.id),
            // Left by an agent that ended before it saw the answer: it never ran, or the plan would know it.
            Err(Error::DockerResponseServerError { status_code: 409, .. }) => {
                self.remove(name).await?;
                Ok(self.client.create_container(Some(options), body).await.map_err(engine)?.id)
            }
            Err(error) => Err(engine(error)),
        }
    }
}

fn engine(error: Error) -> RuntimeError {
    match error {
        Error::DockerResponseServerError { status_code: 404, message } => RuntimeError::NotFound(message),
        Error::DockerResponseServerError { message, .. } => RuntimeError::Engine(message),
        Error::RequestTimeoutError => RuntimeError::Timeout("the engine's answer"),
        other => RuntimeError::Engine(other.to_string()),
    }
}

/// A thing that is gone already, or on its way, is as good as done.
fn settled(result: Result<(), Error>) -> Result<(), RuntimeError> {
    match result {
        Err(Error::DockerResponseServerError { status_code: 304 | 404 | 409, .. }) => Ok(()),
        other => other.map_err(engine),
    }
}

impl Runtime for Docker {
    async fn info(&self) -> Result<EngineInfo, RuntimeError> {
        let version = self.client.version().await.map_err(engine)?;
        Ok(EngineInfo { version: format!("docker://{}", version.version.unwrap_or_default()) })
    }

    async fn pods(&self) -> Result<Vec<PodId>, RuntimeError> {
        let mut pods: Vec<_> =
            self.list(Vec::new()).await?.into_iter().filter_map(|c| inspect::pod(c.labels?)).collect();
        pods.sort();
        pods.dedup();
        Ok(pods)
    }

    async fn contents(&self, uid: &str) -> Result<Contents, RuntimeError> {
        let mut contents = Contents::default();
        for summary in self.list(vec![format!("{}={uid}", body::POD_UID)]).await? {
            let Some(id) = summary.id else { continue };
            match self.client.inspect_container(&id, None::<InspectContainerOptions>).await {
                Ok(found) => inspect::sort_in(&mut contents, found),
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
                Err(error) => return Err(engine(error)),
            }
        }
        contents.sandboxes.sort_by_key(|s| std::cmp::Reverse(s.attempt));
        contents.containers.sort_by_key(|c| std::cmp::Reverse((c.restart, c.created_at)));
        Ok(contents)
    }

    async fn create_sandbox(&self, config: &SandboxConfig) -> Result<String, RuntimeError> {
        let id = self.create(&body::sandbox_name(config), body::sandbox(config, &self.node)).await?;
        self.client.start_container(&id, None::<StartContainerOptions>).await.map_err(engine)?;
        Ok(id)
    }

    async fn ensure_image(
        &self,
        image: &str,
        policy: PullPolicy,
        credentials: &[Credentials],
        pulls: &(dyn Fn() + Send + Sync),
    ) -> Result<Image, RuntimeError> {
        self.have_image(image, policy, credentials, pulls).await
    }

    async fn start(&self, config: &ContainerConfig) -> Result<String, RuntimeError> {
        let id = self.create(&body::container_name(config), body::container(config, &self.node)).await?;
        match self.client.start_container(&id, None::<StartContainerOptions>).await {
            // The engine keeps the reason with the container, which is seen as one that ended with StartError.
            Err(Error::DockerResponseServerError { status_code: 400 | 500, message }) => {
                tracing::debug!(container = config.name, message, "container could not start");
                Ok(id)
            }
            other => other.map(|()| id).map_err(engine),
        }
    }

    async fn signal(&self, id: &str, signal: Signal) -> Result<(), RuntimeError> {
        let name = match signal {
            Signal::Kill => "SIGKILL".to_owned(),
            Signal::Stop => {
                let found = self.client.inspect_container(id, None::<InspectContainerOptions>).await;
                let own = found.ok().and_then(|c| c.config).and_then(|c| c.stop_signal);
                own.filter(|s| !s.is_empty()).unwrap_or_else(|| "SIGTERM".to_owned())
            }
        };
        let options = KillContainerOptionsBuilder::new().signal(&name).build();
        settled(self.client.kill_container(id, Some(options)).await)
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        settled(self.client.remove_container(id, Some(options)).await)
    }

    async fn exec(&self, id: &str, command: &[String], limit: Duration) -> Result<Executed, RuntimeError> {
        self.execute(id, command, limit).await
    }

    async fn logs(&self, id: &str, options: &LogOptions, sink: mpsc::Sender<Bytes>) -> Result<(), RuntimeError> {
        self.send_log(id, options, sink).await
    }

    async fn measure(&self) -> Result<Vec<proto::agent::ContainerUsage>, RuntimeError> {
        self.measured().await
    }

    async fn watch(&self, sink: mpsc::Sender<String>) -> Result<(), RuntimeError> {
        let label = format!("{}={}", body::NODE, self.node);
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("event", vec!["start".to_owned(), "die".to_owned(), "destroy".to_owned()]),
            ("label", vec![label]),
        ]);
        let mut events =
            std::pin::pin!(self.client.events(Some(EventsOptionsBuilder::new().filters(&filters).build())));
        while let Some(event) = events.next().await {
            let attributes = event.map_err(engine)?.actor.and_then(|a| a.attributes).unwrap_or_default();
            if let Some(uid) = attributes.get(body::POD_UID)
                && sink.send(uid.clone()).await.is_err()
            {
                break;
            }
        }
        Ok(())
    }
}
