//! Answers to requests for a container's log, in bounded chunks.

use std::sync::Arc;

use bytes::Bytes;
use proto::agent::from_node::Message;
use proto::agent::{FromNode, LogChunk, LogRequest};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::plan::config::LogOptions;
use crate::runtime::{Contents, Runtime};
use crate::sync::execute::Shared;

/// Chunks of one log that wait to be sent.
const CHUNKS_MAX: usize = 16;
/// Chunks of one log that a server takes before it gives credit.
pub(crate) const CREDIT: usize = 64;

/// The container whose log is meant, or what to tell the user.
fn choose(contents: &Contents, request: &LogRequest) -> Result<String, String> {
    let mut instances = contents.containers.iter().filter(|c| c.name == request.container);
    let (name, pod) = (&request.container, &request.pod);
    if request.previous {
        let before = instances.nth(1).map(|c| c.id.clone());
        return before.ok_or_else(|| format!("previous terminated container \"{name}\" in pod \"{pod}\" not found"));
    }
    let newest = instances.next().map(|c| c.id.clone());
    newest.ok_or_else(|| format!("container \"{name}\" in pod \"{pod}\" is waiting to start"))
}

/// Sends a log as it was asked for; the last chunk says that it is the last.
pub(crate) async fn answer<R: Runtime>(
    shared: Arc<Shared<R>>,
    request: LogRequest,
    up: mpsc::Sender<FromNode>,
    credit: Arc<Semaphore>,
    stop: CancellationToken,
) {
    let id = request.id;
    let chunk = |data: Bytes, end: bool, error: String| FromNode {
        message: Some(Message::LogChunk(LogChunk { id, data, end, error })),
    };
    let send = async {
        let contents = shared.runtime.contents(&request.uid).await.map_err(|e| e.to_string())?;
        let container = choose(&contents, &request)?;
        let options = LogOptions {
            follow: request.follow,
            timestamps: request.timestamps,
            tail_lines: request.tail_lines,
            since_ms: request.since_time_ms,
            limit_bytes: request.limit_bytes,
        };
        let (sink, mut lines) = mpsc::channel::<Bytes>(CHUNKS_MAX);
        let forward = async {
            while let Some(data) = lines.recv().await {
                if let Ok(permit) = credit.acquire().await {
                    permit.forget();
                }
                if up.send(chunk(data, false, String::new())).await.is_err() {
                    break;
                }
            }
            lines.close();
        };
        let (read, ()) = tokio::join!(shared.runtime.logs(&container, &options, sink), forward);
        read.map_err(|e| e.to_string())
    };
    let result: Result<(), String> = tokio::select! {
        result = send => result,
        () = stop.cancelled() => return,
    };
    // A session that has ended needs no answer.
    let _ = up.send(chunk(Bytes::new(), true, result.err().unwrap_or_default())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_never_ran_has_no_log() {
        let request = LogRequest { container: "c".into(), pod: "p".into(), ..LogRequest::default() };
        assert!(choose(&Contents::default(), &request).is_err_and(|e| e.contains("waiting to start")));
        let request = LogRequest { previous: true, ..request };
        assert!(choose(&Contents::default(), &request).is_err_and(|e| e.contains("previous terminated")));
    }
}
