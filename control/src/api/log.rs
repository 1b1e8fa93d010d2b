//! `pods/NAME/log`: from the node that runs the pod, through whichever server the node is connected to.
//!
//! Source: k8s.io/kubernetes `pkg/registry/core/pod/strategy.go`, `LogLocation`.

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use proto::agent::{LogChunk, LogRequest};
use serde_json::Value;

use crate::api::answer::Body;
use crate::api::path::Query;
use crate::api::serve::Call;
use crate::gateway::Log;
use crate::registry::prepare::meta_str;
use crate::registry::shell::failed;
use crate::status::Status;

/// On requests that another server has authorized and passed on: they are passed on no further.
pub(crate) const FORWARDED: HeaderName = HeaderName::from_static("raftsman-forwarded");
/// "Ask another server": the pod's node is not connected to this one.
pub(crate) const ELSEWHERE: u16 = 421;

pub(crate) async fn log(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let registry = &call.api.registry;
    registry.store().barrier().await.map_err(failed)?;
    let pod = registry.get(&registry.store().view(), call.target())?.value;
    let request = request(&pod, call.query, Timestamp::now())?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Ok(text(stream::empty()));
    }
    if let Some(log) = call.api.gateway.log(node, request).await {
        return answer(log).await;
    }
    let unreachable =
        || Status::new(503, "ServiceUnavailable", format!("node {node:?} is not connected to any server"));
    if call.parts.headers.contains_key(&FORWARDED) {
        return Err(Status::new(
            ELSEWHERE,
            "ServiceUnavailable",
            format!("node {node:?} is connected to another server"),
        ));
    }
    call.api.peers.forward(call.parts).await.ok_or_else(unreachable)
}

/// What is asked of the node.
fn request(pod: &Value, query: &Query, now: Timestamp) -> Result<LogRequest, Status> {
    let number = |name: &str| match query.get(name) {
        None | Some("") => Ok(None),
        Some(text) => {
            let wrong = |_| Status::bad_request(format!("{name}: {text:?} is no whole number"));
            text.parse::<i64>().map(Some).map_err(wrong)
        }
    };
    let since = match (query.get("sinceTime"), number("sinceSeconds")?) {
        (Some(text), None) => {
            let wrong = |_| Status::bad_request(format!("sinceTime: {text:?} is no time"));
            Some(text.parse::<Timestamp>().map_err(wrong)?.as_millisecond())
        }
        (_, seconds) => seconds.map(|seconds| now.as_millisecond() - seconds.saturating_mul(1000)),
    };
    Ok(LogRequest {
        id: 0,
        namespace: meta_str(pod, "namespace").to_owned(),
        pod: meta_str(pod, "name").to_owned(),
        uid: meta_str(pod, "uid").to_owned(),
        container: container(pod, query.text("container"))?,
        follow: query.truthy("follow"),
        previous: query.truthy("previous"),
        timestamps: query.truthy("timestamps"),
        tail_lines: number("tailLines")?,
        since_time_ms: since,
        limit_bytes: number("limitBytes")?,
    })
}

/// The container that is meant: the only one, if none is named.
fn container(pod: &Value, named: &str) -> Result<String, Status> {
    let names = |field: &str| -> Vec<&str> {
        pod["spec"][field].as_array().into_iter().flatten().filter_map(|held| held["name"].as_str()).collect()
    };
    let (all, init) = (names("containers"), names("initContainers"));
    let name = meta_str(pod, "name");
    match (named, all.as_slice()) {
        ("", [only]) => Ok((*only).to_owned()),
        ("", _) => {
            let mut text =
                format!("a container name must be specified for pod {name}, choose one of: [{}]", all.join(" "));
            if !init.is_empty() {
                text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Status::bad_request(text))
        }
        (named, _) if all.contains(&named) || init.contains(&named) => Ok(named.to_owned()),
        (named, _) => Err(Status::bad_request(format!("container {named} is not valid for pod {name}"))),
    }
}

/// The first chunk says whether there is a log at all.
async fn answer(mut log: Log) -> Result<Response<Body>, Status> {
    let lost = || Status::new(503, "ServiceUnavailable", "the node hung up; try again");
    let first = log.next().await.ok_or_else(lost)?;
    if !first.error.is_empty() {
        return Err(Status::bad_request(first.error));
    }
    let state = (Some(first), log);
    Ok(text(stream::unfold(state, |(first, mut log)| async move {
        let chunk = match first {
            Some(first) => first,
            None => log.next().await?,
        };
        let LogChunk { data, end, error, .. } = chunk;
        if end {
            let last = if error.is_empty() { data } else { Bytes::from(format!("{error}\n")) };
            // Nothing comes after it: the node has forgotten this log.
            return (!last.is_empty()).then(|| (last, (Some(ended()), log)));
        }
        Some((data, (None, log)))
    })))
}

fn ended() -> LogChunk {
    LogChunk { end: true, ..LogChunk::default() }
}

fn text(chunks: impl stream::Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    use futures_util::StreamExt;
    let frames = chunks.map(|chunk| Ok(Frame::data(chunk)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_is_named_or_the_only_one() {
        let pod = |names: &[&str], init: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>();
            json!({ "metadata": { "name": "p" }, "spec": { "containers": list(names), "initContainers": list(init) } })
        };
        let chosen = |pod: &Value, name: &str| container(pod, name).map_err(|status| status.message);
        assert_eq!(chosen(&pod(&["a"], &["i"]), ""), Ok("a".to_owned()));
        assert_eq!(chosen(&pod(&["a"], &["i"]), "i"), Ok("i".to_owned()));
        let text =
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]";
        assert_eq!(chosen(&pod(&["a", "b"], &["i"]), ""), Err(text.to_owned()));
        assert_eq!(chosen(&pod(&["a"], &[]), "x"), Err("container x is not valid for pod p".to_owned()));
    }

    #[test]
    fn times_are_from_now() {
        let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c" }] } });
        let now = Timestamp::from_second(100).expect("a time");
        let read = |query: &str| request(&pod, &Query::parse(query), now);
        let asked = read("sinceSeconds=10&follow=true&tailLines=5").expect("fine");
        assert_eq!((asked.since_time_ms, asked.follow, asked.tail_lines), (Some(90_000), true, Some(5)));
        assert!(read("tailLines=x").is_err() && read("sinceTime=yesterday").is_err());
    }
}
