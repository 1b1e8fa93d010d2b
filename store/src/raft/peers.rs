//! Connections to other members: one channel per member and purpose, and who is meant in every call.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use proto::peer::peer_client::PeerClient;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::api::MemberId;
use crate::config::{PEER_NAME, Transport, Url, parse_all};
use crate::edge;
use crate::raft::tls::client_tls;

/// A message at most: a full batch of entries and room for one entry of the largest size.
pub(crate) const MESSAGE_BYTES_MAX: usize = 24 << 20;
/// Until a connection counts as refused.
const CONNECT: Duration = Duration::from_secs(1);
/// A silent connection is asked, and closed when it does not answer.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// See `ASK_EVERY`.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A forwarded call takes so long at most; whoever asks for it has a shorter limit of its own.
const CALL: Duration = Duration::from_secs(30);
/// Bytes under way without an answer per stream: a full message fits.
const WINDOW_BYTES: u32 = 4 << 20;

const CLUSTER: &str = "raftsman-cluster";
const TO: &str = "raftsman-to";

/// What a connection is for: a long snapshot must not delay a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    Log,
    Heartbeat,
    Snapshot,
    /// Forwarded calls.
    Call,
    Datagram,
}

/// A client of another member.
pub(crate) type Client = PeerClient<InterceptedService<Channel, Address>>;

/// Connections to other members.
pub(crate) struct Peers {
    /// The group's number; unknown until this member has joined.
    pub(crate) cluster: Arc<OnceLock<u64>>,
    dial: Dial,
    channels: Mutex<HashMap<(String, Purpose), Channel>>,
    /// Where members are by now.
    places: Mutex<HashMap<MemberId, Vec<String>>>,
}

impl Peers {
    /// # Errors
    /// When the certificates cannot be read.
    pub(crate) fn new(transport: &Transport, cluster: Arc<OnceLock<u64>>) -> io::Result<Self> {
        let dial = match transport {
            Transport::Members(tls) => Dial::Members(TlsConnector::from(Arc::new(client_tls(tls)?))),
            Transport::Urls { tls } => Dial::Urls(tls.as_ref().map(crate::tls::connector).transpose()?),
        };
        Ok(Peers { cluster, dial, channels: Mutex::default(), places: Mutex::default() })
    }

    /// Notes where members are.
    pub(crate) fn place(&self, members: impl Iterator<Item = (MemberId, Vec<String>)>) {
        let mut places = self.places.lock();
        *places = members.collect();
        // Channels to where nobody is any more are closed once whoever uses them has let go.
        let kept: HashSet<String> = places.values().map(|urls| urls.join(",")).collect();
        drop(places);
        self.channels.lock().retain(|(urls, _), _| kept.contains(urls));
    }

    /// Where a member is by now, as far as it is known.
    pub(crate) fn urls(&self, member: MemberId) -> Option<Vec<String>> {
        self.places.lock().get(&member).cloned()
    }

    /// A client of the member `to` at its URLs; `None` when whoever answers is meant.
    pub(crate) fn client(&self, to: Option<MemberId>, urls: &[String], purpose: Purpose) -> io::Result<Client> {
        let mut channels = self.channels.lock();
        let key = (urls.join(","), purpose);
        if !channels.contains_key(&key) {
            channels.insert(key.clone(), self.channel(urls, purpose)?);
        }
        let channel = channels[&key].clone();
        let address = Address { to, cluster: self.cluster.clone() };
        Ok(PeerClient::with_interceptor(channel, address)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Connects when first used, and again whenever the connection is lost.
    fn channel(&self, urls: &[String], purpose: Purpose) -> io::Result<Channel> {
        let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidInput, error);
        let urls: Arc<[Url]> = parse_all(urls).map_err(invalid)?.into();
        let authority = &urls[0].authority;
        let mut endpoint = Endpoint::from_shared(format!("http://{authority}"))
            .map_err(|error| invalid(format!("{authority}: {error}")))?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(ASK_EVERY)
            .keep_alive_timeout(ANSWER_WITHIN)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(2 * WINDOW_BYTES);
        if purpose == Purpose::Call {
            endpoint = endpoint.timeout(CALL);
        }
        let dial = self.dial.clone();
        Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_: http::Uri| {
            let (dial, urls) = (dial.clone(), urls.clone());
            async move { dial.any(&urls).await.map(TokioIo::new) }
        })))
    }
}

/// A connection to another member.
type Wire = Either<Either<TcpStream, TlsStream<TcpStream>>, Box<dyn edge::Wire>>;

/// How members are dialled.
#[derive(Clone)]
enum Dial {
    /// Every certificate names `PEER_NAME`, wherever it is.
    Members(TlsConnector),
    /// A certificate is for the host that was dialled.
    Urls(Option<TlsConnector>),
}

impl Dial {
    /// The first URL that answers, each tried for its share of the time.
    async fn any(&self, urls: &[Url]) -> io::Result<Wire> {
        let share = CONNECT / u32::try_from(urls.len()).unwrap_or(u32::MAX).max(1);
        let mut failed = io::Error::other("a member without URLs");
        for url in urls {
            match tokio::time::timeout(share, self.one(url)).await {
                Ok(Ok(wire)) => return Ok(wire),
                Ok(Err(error)) => failed = error,
                Err(elapsed) => failed = elapsed.into(),
            }
        }
        Err(failed)
    }

    async fn one(&self, url: &Url) -> io::Result<Wire> {
        if let Some(world) = edge::world() {
            return world.connect(&url.authority).await.map(Either::Right);
        }
        let stream = TcpStream::connect(&url.authority).await?;
        stream.set_nodelay(true)?;
        let (tls, name) = match self {
            Dial::Members(tls) => (tls, PEER_NAME),
            Dial::Urls(_) if !url.tls => return Ok(Either::Left(Either::Left(stream))),
            Dial::Urls(Some(tls)) => (tls, url.host()),
            Dial::Urls(None) => {
                let text = format!("{url}: this member has no certificates (`--peer-cert-file`, `--peer-key-file`)");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        };
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        Ok(Either::Left(Either::Right(tls.connect(name, stream).await?)))
    }
}

/// Says in every call which member of which group is meant.
#[derive(Clone)]
pub(crate) struct Address {
    to: Option<MemberId>,
    cluster: Arc<OnceLock<u64>>,
}

impl Interceptor for Address {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(to) = self.to {
            request.metadata_mut().insert(TO, MetadataValue::from(to));
            if let Some(cluster) = self.cluster.get() {
                request.metadata_mut().insert(CLUSTER, MetadataValue::from(*cluster));
            }
        }
        Ok(request)
    }
}

/// Refuses what speaks for the group's log without naming the member that is meant, as every member does.
pub(crate) fn names_a_member(metadata: &MetadataMap) -> Result<(), Status> {
    let named = metadata.contains_key(TO);
    named.then_some(()).ok_or_else(|| Status::failed_precondition("a call that names no member: it is of none"))
}

/// Refuses calls that mean another member or another group: addresses get reused, ids never.
#[derive(Clone)]
pub(crate) struct Doorkeeper {
    pub(crate) id: MemberId,
    pub(crate) cluster: Arc<OnceLock<u64>>,
}

impl Interceptor for Doorkeeper {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let said = |key: &str, metadata: &MetadataMap| metadata.get(key)?.to_str().ok()?.parse::<u64>().ok();
        if said(TO, request.metadata()).is_some_and(|to| to != self.id) {
            return Err(Status::failed_precondition(format!("this is member {:016x}, another one is meant", self.id)));
        }
        match (said(CLUSTER, request.metadata()), self.cluster.get()) {
            (Some(theirs), Some(ours)) if theirs != *ours => Err(Status::failed_precondition(format!(
                "this member belongs to cluster {ours:016x}, not to {theirs:016x}"
            ))),
            _ => Ok(request),
        }
    }
}
