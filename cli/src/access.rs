//! How commands reach a cluster, and what they make of its answers.

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use futures_util::{AsyncBufReadExt, TryStreamExt};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

use crate::exit::Failure;
use crate::resource::{self, Resource};

/// Where a server keeps its administrator's credentials.
const KUBECONFIG: &str = "/var/lib/raftsman/admin.kubeconfig";

pub(crate) const JSON: &str = "application/json";
/// Tables as the server prints them.
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// How to reach the cluster, and how to print.
#[derive(Args, Clone)]
pub(crate) struct Access {
    /// Whom to ask, and as whom [default: /var/lib/raftsman/admin.kubeconfig]
    #[arg(long, env = "KUBECONFIG", value_name = "FILE", global = true)]
    kubeconfig: Option<PathBuf>,
    /// Which server of the kubeconfig to ask [default: its current context]
    #[arg(long, value_name = "NAME", global = true)]
    context: Option<String>,
    /// Tables for people, the rest for programs
    #[arg(long, short, value_enum, default_value_t = Output::Table, global = true)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
pub(crate) enum Output {
    Table,
    /// A table with more columns
    Wide,
    Json,
    Yaml,
    /// Only what the objects are called
    Name,
}

impl Output {
    pub(crate) fn is_table(self) -> bool {
        matches!(self, Output::Table | Output::Wide)
    }
}

/// A cluster that can be asked.
pub(crate) struct Cluster {
    pub(crate) client: kube::Client,
    server: String,
}

impl Access {
    pub(crate) async fn cluster(&self) -> Result<Cluster, Failure> {
        let file = self.kubeconfig.clone().unwrap_or_else(|| PathBuf::from(KUBECONFIG));
        let wrong = |error: &(dyn Error + 'static)| {
            let what = "name the cluster's kubeconfig with --kubeconfig, or a plain store's members with --endpoints where the \
                        command takes them";
            Failure::usage(format!("{}: {}; {what}", file.display(), cause(error)))
        };
        let kubeconfig = Kubeconfig::read_from(&file).map_err(|error| wrong(&error))?;
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| wrong(&error))?;
        Cluster::open(config).map_err(|error| wrong(&error))
    }

    /// Asks for something of the cluster itself, below `/raftsman/v1/`.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Value, Failure> {
        self.cluster().await?.ask(method, &format!("/raftsman/v1/{path}"), JSON, body).await
    }

    /// The same for a long answer, as it comes.
    pub(crate) async fn stream(&self, path: &str) -> Result<Body, Failure> {
        let cluster = self.cluster().await?;
        cluster.send(Method::GET, &format!("/raftsman/v1/{path}"), JSON, JSON, Vec::new()).await
    }
}

/// PURE: what lies at the bottom of an error: those above it say only that something failed.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    error.source().map_or(error, cause)
}

impl Cluster {
    /// # Errors
    /// When certificates cannot be used.
    pub(crate) fn open(config: kube::Config) -> Result<Cluster, kube::Error> {
        let server = config.cluster_url.to_string();
        Ok(Cluster { client: kube::Client::try_from(config)?, server })
    }

    /// What a browser opens for a path of the server that is asked.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.server.trim_end_matches('/'))
    }

    /// Sends a request; an answer that is an error becomes a failure.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        media_type: &str,
        body: Vec<u8>,
    ) -> Result<Body, Failure> {
        let request = Request::builder().method(method).uri(path).header(ACCEPT, accept);
        let request = request.header(CONTENT_TYPE, media_type).body(Body::from(body));
        let request = request.map_err(|error| Failure::usage(format!("{path}: {error}")))?;
        let response = self.client.send(request).await.map_err(|error| self.unreachable(&error))?;
        let (code, body) = (response.status().as_u16(), response.into_body());
        if code < 400 {
            return Ok(body);
        }
        let text = body.collect().await.map_err(|error| self.unreachable(&error))?.to_bytes();
        let status: Value = serde_json::from_slice(&text).unwrap_or_default();
        let why = status["message"].as_str().map_or_else(|| format!("the answer is {code}"), str::to_owned);
        Err(match code {
            401 => Failure::refused(format!("{why}: {} does not know these credentials", self.server)),
            404 => Failure::failed(why).not_found(),
            400..500 => Failure::refused(why),
            _ => Failure::failed(why),
        })
    }

    fn unreachable(&self, error: &(dyn Error + 'static)) -> Failure {
        let why = cause(error);
        Failure::unreachable(format!(
            "{} does not answer: {why}; is the server running, and is this its address?",
            self.server
        ))
    }

    async fn json(&self, body: Body) -> Result<Value, Failure> {
        let bytes = body.collect().await.map_err(|error| self.unreachable(&error))?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|error| Failure::failed(format!("{}: {error}", self.server)))
    }

    /// Sends JSON and reads JSON.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Vec<u8>,
    ) -> Result<Value, Failure> {
        let body = self.send(method, path, JSON, media_type, body).await?;
        self.json(body).await
    }

    pub(crate) async fn read(&self, path: &str, accept: &str) -> Result<Value, Failure> {
        let body = self.send(Method::GET, path, accept, JSON, Vec::new()).await?;
        self.json(body).await
    }

    /// None when it is not there.
    pub(crate) async fn try_read(&self, path: &str) -> Result<Option<Value>, Failure> {
        match self.read(path, JSON).await {
            Ok(object) => Ok(Some(object)),
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    pub(crate) async fn resources(&self) -> Result<Vec<Resource>, Failure> {
        let documents = [self.read("/api", DISCOVERY).await?, self.read("/apis", DISCOVERY).await?];
        Ok(resource::parse(&documents))
    }

    /// Hands on the events of a watch, as tables, until it ends or `each` fails.
    pub(crate) async fn events(
        &self,
        path: &str,
        mut each: impl FnMut(&Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let body = self.send(Method::GET, path, TABLE, JSON, Vec::new()).await?;
        let lines = body.into_data_stream().map_err(std::io::Error::other).into_async_read().lines();
        futures_util::pin_mut!(lines);
        while let Some(line) = lines.try_next().await.map_err(|error| self.unreachable(&error))? {
            let event: Value =
                serde_json::from_str(&line).map_err(|error| Failure::failed(format!("{}: {error}", self.server)))?;
            if event["type"] == "ERROR" {
                let why = event["object"]["message"].as_str().unwrap_or("the watch ended");
                return Err(Failure::failed(why));
            }
            each(&event)?;
        }
        Ok(())
    }
}
