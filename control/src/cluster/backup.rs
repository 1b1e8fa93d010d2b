//! A backup of the whole cluster: its state and its keys, streamed while it is written.

use std::io;

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;

use crate::api::answer::Body;
use crate::cluster::Cluster;
use crate::pki::Pair;
use crate::pki::files::Shared;
use crate::registry::shell::failed;
use crate::status::Status;

/// Pieces that wait to be sent.
const WAITING_MAX: usize = 16;
/// A piece, about. Units: bytes.
const PIECE: usize = 64 << 10;

/// What a backup holds besides the store: with it, whoever has the file has the cluster.
#[derive(Clone, Serialize, Deserialize)]
pub struct Keys {
    authority_cert: String,
    authority_key: String,
    at_rest: [u8; 32],
    signing: String,
    /// RFC 3339.
    pub created: String,
    /// Of the program that wrote it.
    pub version: String,
}

impl Keys {
    fn of(shared: &Shared) -> Keys {
        Keys {
            authority_cert: shared.authority.cert_pem.clone(),
            authority_key: shared.authority.key_pem.clone(),
            at_rest: shared.at_rest,
            signing: shared.signing_pem.clone(),
            created: jiff::Timestamp::now().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// What a backup holds besides the store.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn words(shared: &Shared) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::to_value(Keys::of(shared))
    }

    /// The cluster's keys.
    pub fn shared(self) -> Shared {
        let authority = Pair { cert_pem: self.authority_cert, key_pem: self.authority_key };
        Shared { authority, at_rest: self.at_rest, signing_pem: self.signing }
    }
}

/// Hands what is written on in pieces; a reader that is gone ends the writing.
struct Pieces {
    sender: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
}

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads the backup any more");
        if piece.is_empty() { Ok(()) } else { self.sender.blocking_send(piece.into()).map_err(gone) }
    }
}

/// Streams a backup. One that breaks off has no end, which its reader sees.
pub(super) async fn stream(cluster: &Cluster, tasks: &TaskTracker) -> Result<Response<Body>, Status> {
    cluster.store.barrier().await.map_err(failed)?;
    let (sender, pieces) = mpsc::channel(WAITING_MAX);
    let (store, keys) = (cluster.store.clone(), Keys::of(&cluster.shared));
    let extra = serde_json::to_value(keys).map_err(Status::internal)?;
    tasks.spawn_blocking(move || match store.backup(extra, Pieces { sender, piece: Vec::new() }) {
        Ok(made) => tracing::info!(revision = made.revision, keys = made.keys, "a backup was taken"),
        Err(error) => tracing::warn!(%error, "a backup broke off"),
    });
    let frames = ReceiverStream::new(pieces).map(|piece| Ok(Frame::data(piece)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}
