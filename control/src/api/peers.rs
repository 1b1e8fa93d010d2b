//! Passing a request on to the server that can answer it.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use store::Store;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::answer::Body;
use crate::api::log::{ELSEWHERE, FORWARDED};
use crate::cluster::api_address;

/// An answer that is read here has so many bytes at most.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// A server that is asked here answers in this time.
const ANSWERS: Duration = Duration::from_secs(1);

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The other servers' APIs.
pub struct Peers {
    store: Store,
    tls: TlsConnector,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Peers {
    /// With the certificate by which this server is known to the others.
    pub fn new(store: Store, tls: Arc<rustls::ClientConfig>) -> Arc<Peers> {
        Arc::new(Peers {
            store,
            tls: TlsConnector::from(tls),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// The first answer of another server that is not "ask another one"; none when there is none.
    pub(crate) async fn forward(&self, parts: &Parts) -> Option<Response<Body>> {
        let own = self.store.id();
        for member in self.store.members().into_iter().filter(|member| member.id != own) {
            match self.ask(&api_address(&member), parts).await {
                Ok(response) if response.status().as_u16() == ELSEWHERE => {}
                Ok(response) => return Some(response),
                Err(error) => tracing::debug!(server = member.name, %error, "a server does not take a request"),
            }
        }
        None
    }

    /// What a server says at a path, as this server may read it; none when it does not say it in time.
    pub(crate) async fn get(&self, address: &str, path: &str) -> Option<Value> {
        let (parts, ()) = Request::builder().uri(path).body(()).ok()?.into_parts();
        let asked = async {
            let response = self.ask(address, &parts).await.ok().filter(|response| response.status().is_success())?;
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.ok()?;
            serde_json::from_slice(&body.to_bytes()).ok()
        };
        tokio::time::timeout(ANSWERS, asked).await.ok()?
    }

    async fn ask(&self, address: &str, parts: &Parts) -> Result<Response<Body>, AnyError> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']).to_owned();
        let stream = TcpStream::connect(address).await?;
        let stream = self.tls.connect(ServerName::try_from(host)?, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                // Its end is seen by whoever reads the body.
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
        let place = parts.uri.path_and_query().map_or("/", |place| place.as_str());
        let mut request = Request::builder().method(parts.method.clone()).uri(place).header("host", address);
        request = request.header(FORWARDED, HeaderValue::from_static("1"));
        let response = sender.send_request(request.body(Empty::<bytes::Bytes>::new())?).await?;
        let (head, body) = response.into_parts();
        use futures_util::StreamExt;
        let frames = http_body_util::BodyStream::new(body)
            .take_while(|frame| std::future::ready(frame.is_ok()))
            .filter_map(|frame| std::future::ready(frame.ok().map(Ok)));
        Ok(Response::from_parts(head, http_body_util::StreamBody::new(frames).boxed_unsync()))
    }

    /// Ends what is under way.
    pub(crate) async fn drain(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
