//! Putting a server together: bootstrap objects, then the API on its port.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Incoming;
use serde_json::{Value, json};
use store::{Store, View};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::api::answer::{self, Body};
use crate::api::peers::Peers;
use crate::api::serve::Api;
use crate::authz;
use crate::cluster::{self, Cluster, endpoints};
use crate::controllers::{Enabled, Failover, Settings, volume};
use crate::dashboard::Dashboard;
use crate::gateway::{self, Gateway};
use crate::identity::at_rest::Ring;
use crate::identity::tokens::Tokens;
use crate::identity::{MASTERS, User};
use crate::kind;
use crate::metrics::Metrics;
use crate::pki::files::Shared;
use crate::pki::signing::SigningKey;
use crate::pki::{Pair, Subject, issue};
use crate::reconcile::Reconciler;
use crate::registry::allocation::Ranges;
use crate::registry::prepare::meta_str;
use crate::registry::shell::{By, Registry, Target};
use crate::server::{self, Clients};

/// Where machines ask to be taken in; the token in the body says whether they are.
pub const JOIN: &str = "/raftsman/v1/join";
/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// What a server needs to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's name.
    pub name: String,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// `host:port` where others reach the API.
    pub advertise: String,
    /// The cluster's keys.
    pub shared: Shared,
    /// What Services and pods get addresses from.
    pub ranges: Ranges,
    /// Which controllers run when this server leads.
    pub controllers: Enabled,
    /// When pods of silent nodes are replaced.
    pub failover: Failover,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port is taken, or a certificate cannot be read.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// A certificate cannot be made.
    #[error(transparent)]
    Pki(#[from] crate::pki::Error),
    /// The store refuses.
    #[error("store: {0}")]
    Store(#[from] store::Error),
    /// A first object cannot be written.
    #[error("bootstrap: {0}")]
    Bootstrap(#[from] crate::status::Status),
}

/// What answers requests; cheap to clone.
#[derive(Clone)]
pub struct Server {
    api: Api,
    cluster: Arc<Cluster>,
    gateway: Arc<Gateway>,
    dashboard: Arc<Dashboard>,
}

impl Server {
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.api.tokens
    }

    /// Ends what would go on by itself.
    pub(crate) async fn drain(&self) {
        self.dashboard.stop();
        tokio::join!(self.gateway.drain(), self.api.peers.drain(), self.cluster.drain());
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>, user: &User) -> Response<Body> {
        if request.uri().path().starts_with(gateway::PREFIX) {
            let Ok(response) = self.gateway.service(user).call(request).await;
            // A body that breaks off is seen by the agent as a stream without its status.
            let end = |body: tonic::body::Body| {
                let frames = BodyStream::new(body)
                    .take_while(|frame| std::future::ready(frame.is_ok()))
                    .filter_map(|frame| std::future::ready(frame.ok().map(Ok)));
                StreamBody::new(frames).boxed_unsync()
            };
            return response.map(end);
        }
        if Dashboard::serves(request.uri().path()) {
            return self.dashboard.answer(request).await;
        }
        if !request.uri().path().starts_with(cluster::PREFIX) {
            return self.api.handle(request, user).await;
        }
        match self.cluster.answer(&self.api, request, user).await {
            Ok(response) => response,
            Err(status) => answer::error(&status),
        }
    }
}

/// A server that listens; it serves once `serve` is awaited.
pub struct Listening {
    listener: TcpListener,
    tls: rustls::ServerConfig,
    server: Server,
    reconciler: Reconciler,
}

/// Writes what every cluster begins with, and takes the API's port.
///
/// # Errors
/// When the store refuses or the port is taken.
pub async fn start(config: &Config, store: Store) -> Result<Listening, Error> {
    let registry = Registry::new(store.clone(), Arc::new(Ring::new(vec![config.shared.key()])), config.ranges.clone());
    store.set_member_context(json!({ "api": config.advertise }).to_string().into()).await?;
    bootstrap(&registry, config).await?;
    let tokens = Tokens::new(registry.clone(), SigningKey::read(&config.shared.signing_pem)?);
    let gateway = Gateway::new(registry.clone(), tokens.clone());
    let metrics = Arc::new(Metrics::default());
    let reconciler = Reconciler {
        registry: registry.clone(),
        liveness: Arc::clone(gateway.liveness()),
        settings: Settings {
            ranges: config.ranges.clone(),
            ca_pem: config.shared.authority.cert_pem.clone(),
            failover: config.failover,
        },
        enabled: config.controllers.clone(),
        metrics: Arc::clone(&metrics),
    };
    let peers = Peers::new(store.clone(), server_client(config)?);
    let api = Api::new(registry, Arc::clone(&gateway), peers, tokens, metrics);
    let cluster = Arc::new(Cluster::new(store, config.shared.clone()));
    let dashboard = Dashboard::new(api.clone(), Arc::clone(&cluster));
    let pair = serving_pair(config)?;
    let chain =
        Pair { cert_pem: format!("{}{}", pair.cert_pem, config.shared.authority.cert_pem), key_pem: pair.key_pem };
    let at = config.listen.to_string();
    let tls = server::tls(&config.shared.authority.cert_pem, &chain, Clients::Any)
        .map_err(|error| Error::Io(at.clone(), error))?;
    let listener = TcpListener::bind(config.listen).await.map_err(|error| Error::Io(at, error))?;
    Ok(Listening { listener, tls, server: Server { api, cluster, gateway, dashboard }, reconciler })
}

impl Listening {
    /// A token with which another machine joins as `server` or `node` within a day.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn join_token(&self, role: &str) -> Result<String, Error> {
        let request = cluster::TokenRequest { role: role.to_owned(), ttl_seconds: 86_400 };
        let made = self.server.cluster.new_token(&request).await?;
        Ok(made["token"].as_str().unwrap_or_default().to_owned())
    }

    /// Serves, and acts while it leads, until told to end.
    pub async fn serve(self, cancel: CancellationToken) {
        let registry = self.reconciler.registry.clone();
        let serving = server::serve(self.listener, self.tls, self.server, cancel.clone());
        tokio::join!(serving, endpoints::keep(registry, cancel.clone()), self.reconciler.run(cancel));
    }
}

/// How this server calls the others: what they pass on has been authorized already.
fn server_client(config: &Config) -> Result<Arc<rustls::ClientConfig>, Error> {
    let subject = Subject {
        common_name: format!("raftsman:server:{}", config.name),
        organizations: vec![MASTERS.to_owned()],
        client: true,
        ..Subject::default()
    };
    let pair = issue(&config.shared.authority, &subject)?;
    let tls = server::client_tls(&config.shared.authority.cert_pem, &pair);
    tls.map(Arc::new).map_err(|error| Error::Io("the server's own certificate".to_owned(), error))
}

/// What a server presents, made at each start: names and addresses may have changed.
///
/// # Errors
/// When a name is none.
pub fn serving_pair(config: &Config) -> Result<Pair, crate::pki::Error> {
    let host = config.advertise.rsplit_once(':').map_or(config.advertise.as_str(), |(host, _)| host);
    let own = [config.name.as_str(), host.trim_matches(['[', ']']), "localhost", "127.0.0.1", "::1"];
    let cluster =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let service = config.ranges.services.at(1).to_string();
    let names = own.iter().chain(&cluster).map(|name| (*name).to_owned());
    let mut names: Vec<String> = names.chain([service]).collect();
    names.dedup();
    let subject = Subject { common_name: config.name.clone(), names, server: true, ..Subject::default() };
    issue(&config.shared.authority, &subject)
}

/// Creates what is missing; what is there stays as it is.
async fn bootstrap(registry: &Registry, config: &Config) -> Result<(), Error> {
    registry.store().barrier().await?;
    let view = registry.store().view();
    for name in NAMESPACES {
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name },
        });
        create(registry, &view, kind::core("namespaces"), object).await?;
    }
    // Without who makes its volumes, the class would be a promise that nobody keeps.
    if config.controllers.has("persistentvolume-binder-controller") {
        local_class(registry, &view).await?;
    }
    let port =
        config.advertise.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(config.listen.port());
    let service = endpoints::service(config.ranges.services.at(1).into(), port);
    if let Err(error) = create(registry, &view, kind::core("services"), service).await {
        tracing::warn!(%error, "pods will not find the API: its Service cannot be made");
    }
    let recorded = include_str!("authz/bootstrap.jsonl").lines().map(serde_json::from_str);
    for object in recorded.chain([Ok(authz::metrics_reader())]) {
        let object: Value = object.map_err(crate::status::Status::internal)?;
        let (api_version, name) =
            (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
        let kind = kind::named(api_version, name).expect("roles and bindings are rows of the table");
        create(registry, &view, kind, object).await?;
    }
    Ok(())
}

/// Claims that name no class get a directory on the node of their pod.
async fn local_class(registry: &Registry, view: &View) -> Result<(), Error> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": { "name": "local", "annotations": { volume::DEFAULT_CLASS: "true" } },
        "provisioner": volume::PROVISIONER, "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": false,
    });
    let classes = kind::find("storage.k8s.io", "v1", "storageclasses").expect("a row of the table");
    create(registry, view, classes, class).await
}

async fn create(registry: &Registry, view: &View, kind: &'static kind::Kind, object: Value) -> Result<(), Error> {
    let (namespace, name) = (meta_str(&object, "namespace").to_owned(), meta_str(&object, "name").to_owned());
    let target = Target { kind, namespace: &namespace, name: &name, subresource: "" };
    if registry.get(view, target).is_ok() {
        return Ok(());
    }
    match registry.create(target, object, By::manager("kube-apiserver")).await {
        Ok(_) => Ok(()),
        // Another server was faster than this one's picture.
        Err(status) if status.code == 409 => Ok(()),
        Err(status) => Err(status.into()),
    }
}
