//! A container's log from Docker.

use bollard::query_parameters::LogsOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::super::RuntimeError;
use super::{Docker, engine};
use crate::plan::config::LogOptions;

impl Docker {
    pub(super) async fn send_log(
        &self,
        container: &str,
        options: &LogOptions,
        sink: mpsc::Sender<Bytes>,
    ) -> Result<(), RuntimeError> {
        // Docker's `since` has whole seconds: with it, lines come with their times and are sifted here.
        let stamped = options.timestamps || options.since_ms.is_some();
        let mut wanted = LogsOptionsBuilder::new().stdout(true).stderr(true).follow(options.follow).timestamps(stamped);
        if let Some(lines) = options.tail_lines {
            wanted = wanted.tail(&lines.to_string());
        }
        if let Some(since_ms) = options.since_ms {
            wanted = wanted.since(i32::try_from(since_ms / 1000).unwrap_or(i32::MAX));
        }
        let mut left = options.limit_bytes.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(0));
        let mut log = std::pin::pin!(self.client.logs(container, Some(wanted.build())));
        loop {
            let chunk = tokio::select! {
                chunk = log.next() => chunk,
                () = sink.closed() => return Ok(()),
            };
            let Some(chunk) = chunk else { return Ok(()) };
            let Some(line) = sift(chunk.map_err(engine)?.into_bytes(), options) else { continue };
            let line = line.slice(..line.len().min(left));
            left -= line.len();
            if sink.send(line).await.is_err() || left == 0 {
                return Ok(());
            }
        }
    }
}

/// The line as it was asked for, or None when it is older than asked for.
fn sift(line: Bytes, options: &LogOptions) -> Option<Bytes> {
    let Some(since_ms) = options.since_ms else { return Some(line) };
    let Some(end) = line.iter().position(|b| *b == b' ') else { return Some(line) };
    let stamp = std::str::from_utf8(&line[..end]).ok().and_then(|text| text.parse::<Timestamp>().ok());
    if stamp.is_some_and(|at| at.as_millisecond() < since_ms) {
        return None;
    }
    Some(if options.timestamps || stamp.is_none() { line } else { line.slice(end + 1..) })
}
