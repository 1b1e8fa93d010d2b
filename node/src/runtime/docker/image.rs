//! Images: the pause image loaded, others looked up or pulled.

use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::body_full;
use bollard::errors::Error;
use bollard::query_parameters::{CreateImageOptions, CreateImageOptionsBuilder};
use futures_util::StreamExt;
use tokio::time::Instant;

use super::super::{Image, RuntimeError, pause};
use super::{Docker, engine};
use crate::plan::config::Credentials;
use crate::plan::spec::PullPolicy;

/// A pull that shows no progress this long is given up.
const PULL_SILENCE_MAX: Duration = Duration::from_secs(120);
/// Where images without a registry come from.
const DEFAULT_REGISTRY: &str = "docker.io";

impl Docker {
    pub(super) async fn load_pause(&self) -> Result<(), RuntimeError> {
        let name = format!("{}:{}", pause::IMAGE_REPOSITORY, pause::IMAGE_TAG);
        match self.local_image(&name).await {
            Err(RuntimeError::NotFound(_)) => {}
            other => return other.map(|_| ()),
        }
        let architecture = self.client.version().await.map_err(engine)?.arch.unwrap_or_default();
        let program = pause::program(&architecture).ok_or_else(|| {
            RuntimeError::Engine(format!("no pause program for architecture {architecture}; amd64 and arm64 are known"))
        })?;
        let options = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo(pause::IMAGE_REPOSITORY)
            .tag(pause::IMAGE_TAG)
            .changes(vec![format!("ENTRYPOINT [\"{}\"]", pause::PROGRAM)])
            .build();
        let root = body_full(pause::archive(&program).into());
        let mut progress = self.client.create_image(Some(options), Some(root), None);
        while let Some(step) = progress.next().await {
            step.map_err(engine)?;
        }
        Ok(())
    }

    async fn local_image(&self, name: &str) -> Result<Image, RuntimeError> {
        let found = self.client.inspect_image(name).await.map_err(|error| named_wrongly(name, engine(error)))?;
        let user = found.config.and_then(|c| c.user).unwrap_or_default();
        Ok(Image { id: found.id.unwrap_or_default(), user, pulled_in: None })
    }

    pub(super) async fn have_image(
        &self,
        name: &str,
        policy: PullPolicy,
        credentials: &[Credentials],
        pulls: &(dyn Fn() + Send + Sync),
    ) -> Result<Image, RuntimeError> {
        if policy != PullPolicy::Always {
            match self.local_image(name).await {
                Err(RuntimeError::NotFound(_)) if policy == PullPolicy::Never => {
                    let message = format!("Container image \"{name}\" is not present with pull policy of Never");
                    return Err(RuntimeError::Image { reason: "ErrImageNeverPull", message });
                }
                Err(RuntimeError::NotFound(_)) => {}
                other => return other,
            }
        }
        pulls();
        let began = Instant::now();
        self.pull(name, credentials).await?;
        let image = self.local_image(name).await?;
        Ok(Image { pulled_in: Some(began.elapsed()), ..image })
    }

    /// Tries each set of credentials for the image's registry, then none.
    async fn pull(&self, name: &str, credentials: &[Credentials]) -> Result<(), RuntimeError> {
        let registry = registry(name);
        let fitting = credentials.iter().filter(|c| c.registry == registry).map(Some);
        let mut last = None;
        for attempt in fitting.chain([None]) {
            match self.pull_once(name, attempt).await {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        let message = last.map_or_else(String::new, |error| cause(&error));
        Err(RuntimeError::Image { reason: "ErrImagePull", message })
    }

    async fn pull_once(&self, name: &str, credentials: Option<&Credentials>) -> Result<(), Error> {
        let tagged = if has_tag(name) { name.to_owned() } else { format!("{name}:latest") };
        let options = CreateImageOptionsBuilder::new().from_image(&tagged).build();
        let credentials = credentials.map(|c| DockerCredentials {
            username: Some(c.username.clone()),
            password: Some(c.password.clone()),
            serveraddress: Some(c.registry.clone()),
            ..DockerCredentials::default()
        });
        let mut progress = self.client.create_image(Some::<CreateImageOptions>(options), None, credentials);
        loop {
            match tokio::time::timeout(PULL_SILENCE_MAX, progress.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(step)) => step.map(|_| ())?,
                Err(_) => return Err(Error::RequestTimeoutError),
            }
        }
    }
}

fn cause(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        Error::RequestTimeoutError => format!("no progress for {} s", PULL_SILENCE_MAX.as_secs()),
        other => other.to_string(),
    }
}

/// A name that is none is the user's fault, and stays so however often it is tried. Source: kubelet's `EnsureImageExists`.
fn named_wrongly(name: &str, error: RuntimeError) -> RuntimeError {
    let RuntimeError::Engine(text) = &error else { return error };
    let Some(at) = text.find("invalid reference format") else { return error };
    let why = &text[at..];
    let message = format!("Failed to apply default image tag \"{name}\": couldn't parse image name \"{name}\": {why}");
    RuntimeError::Image { reason: "InvalidImageName", message }
}

fn has_tag(name: &str) -> bool {
    name.contains('@') || name.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

/// The registry an image comes from. Source: `distribution/reference`: the first part counts as a host if it has a
/// dot or a colon or is `localhost`.
fn registry(name: &str) -> &str {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => DEFAULT_REGISTRY,
    }
}

#[cfg(test)]
mod tests {
    use super::{RuntimeError, has_tag, named_wrongly, registry};

    #[test]
    fn a_name_that_is_none_is_told_from_an_engine_that_fails() {
        let engine = |text: &str| named_wrongly("A:b", RuntimeError::Engine(text.to_owned()));
        let wrong = engine("no such image: A:b: invalid reference format: repository name must be lowercase");
        let RuntimeError::Image { reason, message } = wrong else { panic!("{wrong}") };
        assert_eq!(reason, "InvalidImageName");
        assert!(message.ends_with("\"A:b\": invalid reference format: repository name must be lowercase"), "{message}");
        assert!(matches!(engine("no space left on device"), RuntimeError::Engine(_)));
    }

    #[test]
    fn names_are_read_as_docker_does() {
        for (name, host, tagged) in [
            ("busybox", "docker.io", false),
            ("library/busybox:1", "docker.io", true),
            ("localhost/a", "localhost", false),
            ("reg.example:5000/a/b", "reg.example:5000", false),
            ("reg.example/a@sha256:00", "reg.example", true),
        ] {
            assert_eq!((registry(name), has_tag(name)), (host, tagged), "{name}");
        }
    }
}
