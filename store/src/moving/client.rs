//! An etcd, or a member of this store, as a client sees it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::watch_client::WatchClient;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::config::Url;
use crate::moving::{Access, Problem, User};

/// Until a connection counts as refused.
const CONNECT: Duration = Duration::from_secs(5);
/// A silent connection is asked, and closed when it does not answer.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// See `ASK_EVERY`.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Bytes under way without an answer per stream.
const WINDOW_BYTES: u32 = 4 << 20;

/// Calls that carry who asks.
pub(super) type Line = InterceptedService<Channel, Badge>;

/// See the module; clones share the connection.
#[derive(Clone)]
pub(super) struct Client {
    line: Line,
    badge: Badge,
    user: Option<User>,
    pub(super) endpoint: String,
    /// Its version, as it says.
    pub(super) version: String,
    /// The id of its group.
    pub(super) group: u64,
}

/// The token of who asks, once there is one.
#[derive(Clone, Default)]
pub(super) struct Badge {
    token: Arc<Mutex<Option<MetadataValue<Ascii>>>>,
}

impl Interceptor for Badge {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = self.token.lock().clone() {
            request.metadata_mut().insert("token", token);
        }
        Ok(request)
    }
}

/// What a call's failure means for the whole.
pub(super) fn problem(doing: &str, status: &Status) -> Problem {
    // Nothing was answered: the connection broke, or never was one.
    if let Some(broken) = std::error::Error::source(status) {
        return Problem::Unreachable(format!("{doing}: {}", reason(broken)));
    }
    let text = format!("{doing}: {}", status.message());
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded => Problem::Unreachable(text),
        Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument => Problem::Refused(text),
        _ => Problem::Failed(text),
    }
}

impl Client {
    /// Of the first endpoint that answers.
    ///
    /// # Errors
    /// When none does, or the user is not let in.
    pub(super) async fn connect(access: &Access) -> Result<Self, Problem> {
        let tls = access.tls.as_ref().map(crate::tls::connector).transpose();
        let tls = tls.map_err(|error| Problem::Refused(format!("the certificates cannot be used: {error}")))?;
        let mut why = vec!["no endpoint is named".to_owned()];
        for (number, endpoint) in access.endpoints.iter().enumerate() {
            if number == 0 {
                why.clear();
            }
            match Client::one(endpoint, tls.clone(), access.user.clone()).await {
                Err(Problem::Unreachable(text)) => why.push(text),
                answered => return answered,
            }
        }
        Err(Problem::Unreachable(why.join("; ")))
    }

    async fn one(endpoint: &str, tls: Option<TlsConnector>, user: Option<User>) -> Result<Self, Problem> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let whole = if endpoint.contains("://") { endpoint.to_owned() } else { format!("{scheme}://{endpoint}") };
        let url: Url = whole.parse().map_err(|why| Problem::Refused(format!("the endpoint {endpoint}: {why}")))?;
        if url.tls && tls.is_none() {
            return Err(Problem::Refused(format!("{endpoint} speaks TLS: --cacert names whom to trust")));
        }
        let unreachable = |error: String| Problem::Unreachable(format!("{endpoint} does not answer: {error}"));
        let place = Endpoint::from_shared(format!("http://{}", url.authority))
            .map_err(|error| Problem::Refused(format!("the endpoint {endpoint}: {error}")))?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(ASK_EVERY)
            .keep_alive_timeout(ANSWER_WITHIN)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(2 * WINDOW_BYTES);
        let tls = tls.filter(|_| url.tls);
        let dial = tower::service_fn(move |_: http::Uri| {
            let (url, tls) = (url.clone(), tls.clone());
            async move { wire(&url, tls).await.map(TokioIo::new) }
        });
        let channel = tokio::time::timeout(CONNECT, place.connect_with_connector(dial)).await;
        let channel = channel.map_err(|_| unreachable("no connection in time".to_owned()))?;
        let channel = channel.map_err(|error| unreachable(reason(&error)))?;
        let badge = Badge::default();
        let line = InterceptedService::new(channel, badge.clone());
        let mut client = Client { line, badge, user, endpoint: endpoint.to_owned(), version: String::new(), group: 0 };
        client.login().await?;
        let asked = tokio::time::timeout(ANSWER_WITHIN, client.maintenance().status(pb::StatusRequest {})).await;
        let status = asked.map_err(|_| unreachable("no answer in time".to_owned()))?;
        let status = status.map_err(|status| problem(&format!("{endpoint} does not say how it is"), &status))?;
        let status = status.into_inner();
        client.group = status.header.map_or(0, |header| header.cluster_id);
        client.version = status.version;
        Ok(client)
    }

    /// Asks for a token anew, where there is a user: tokens hold for minutes.
    ///
    /// # Errors
    /// When the user is not let in.
    pub(super) async fn login(&self) -> Result<(), Problem> {
        let Some(User { name, password }) = self.user.clone() else { return Ok(()) };
        let request = pb::AuthenticateRequest { name: name.clone(), password };
        let said = AuthClient::new(self.line.clone()).authenticate(request).await;
        let doing = format!("{} does not let the user {name} in", self.endpoint);
        let token = said.map_err(|status| problem(&doing, &status))?.into_inner().token;
        let token = token.parse().map_err(|_| Problem::Failed(format!("{doing}: its token is no text")))?;
        *self.badge.token.lock() = Some(token);
        Ok(())
    }

    pub(super) fn kv(&self) -> KvClient<Line> {
        KvClient::new(self.line.clone()).max_decoding_message_size(usize::MAX)
    }

    pub(super) fn lease(&self) -> LeaseClient<Line> {
        LeaseClient::new(self.line.clone()).max_decoding_message_size(usize::MAX)
    }

    pub(super) fn watch(&self) -> WatchClient<Line> {
        WatchClient::new(self.line.clone()).max_decoding_message_size(usize::MAX)
    }

    pub(super) fn maintenance(&self) -> MaintenanceClient<Line> {
        MaintenanceClient::new(self.line.clone()).max_decoding_message_size(usize::MAX)
    }

    pub(super) fn auth(&self) -> AuthClient<Line> {
        AuthClient::new(self.line.clone()).max_decoding_message_size(usize::MAX)
    }

    /// Whether its version is at least this one; one that says nothing understandable is taken to be old.
    pub(super) fn at_least(&self, major: u64, minor: u64) -> bool {
        let mut numbers = self.version.split('.').map(|number| number.parse::<u64>().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        (next(), next()) >= (major, minor)
    }
}

async fn wire(url: &Url, tls: Option<TlsConnector>) -> io::Result<Either<TcpStream, TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(&url.authority).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Either::Left(stream)) };
    let name = ServerName::try_from(url.host().to_owned()).map_err(io::Error::other)?;
    Ok(Either::Right(tls.connect(name, stream).await?))
}

/// The innermost cause: what lies around it says only that there is one.
fn reason(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string()
}
