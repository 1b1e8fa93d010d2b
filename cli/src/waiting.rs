//! `raftsman wait|logs`: until something is true of an object, and what a pod says.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use futures_util::{AsyncReadExt, TryStreamExt};
use http::Method;
use http_body_util::BodyExt;
use kube::api::{Api, DynamicObject};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::runtime::wait;
use serde_json::Value;

use crate::access::{Cluster, JSON};
use crate::exit::{Failure, say};
use crate::objects::{Place, split};
use crate::resource::{self, Resource};

#[derive(Args)]
pub(crate) struct Wait {
    /// The object, as `deployment/web` or `deployment web`
    resource: String,
    name: Option<String>,
    /// `delete`, `create`, `condition=Available`, `condition=Ready=false`, or `status.phase=Running`
    #[arg(long, value_name = "WHAT")]
    r#for: String,
    /// How long, e.g. `30s`, `5m`; `0s` waits for ever
    #[arg(long, default_value = "30s", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(crate) struct Logs {
    /// A pod, or `deployment/web` for one of its pods
    pod: String,
    /// Which container [default: the pod's only one]
    #[arg(long, short)]
    container: Option<String>,
    /// Go on with what is said from now on, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// What the container said before it was last restarted
    #[arg(long, short)]
    previous: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
    /// Only what is not older, e.g. `10m`
    #[arg(long, value_parser = duration)]
    since: Option<Duration>,
    /// Each line with its time
    #[arg(long)]
    timestamps: bool,
    #[command(flatten)]
    place: Place,
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write `30s`, `5m` or `1h30m`");
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(parsed).map_err(|_| wrong())
}

/// What is waited for.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Gone,
    There,
    Condition(String, String),
    /// A path of fields, and what lies there.
    Field(String, String),
}

impl std::str::FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> Result<Wish, String> {
        match text.strip_prefix("jsonpath=").unwrap_or(text).split_once('=') {
            None if text == "delete" => Ok(Wish::Gone),
            None if text == "create" => Ok(Wish::There),
            Some(("condition", rest)) => {
                let (name, value) = rest.split_once('=').unwrap_or((rest, "True"));
                Ok(Wish::Condition(name.to_owned(), value.to_owned()))
            }
            Some((path, value)) => {
                let path = path.trim_matches(|letter| matches!(letter, '{' | '}' | '\'')).trim_start_matches('.');
                Ok(Wish::Field(format!("/{}", path.replace('.', "/")), value.to_owned()))
            }
            None => Err(format!("{text:?} is nothing to wait for; `--help` lists what is")),
        }
    }
}

impl Wish {
    fn holds(&self, object: Option<&Value>) -> bool {
        let same = |value: &Value, wanted: &str| match value.as_str() {
            Some(text) => text.eq_ignore_ascii_case(wanted),
            None => serde_json::from_str::<Value>(wanted).is_ok_and(|wanted| wanted == *value),
        };
        match (self, object) {
            (Wish::Gone, object) => object.is_none(),
            (_, None) => false,
            (Wish::There, Some(_)) => true,
            (Wish::Condition(name, wanted), Some(object)) => {
                let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
                // What a controller has not seen yet says nothing about the object as it is.
                let seen = object["status"]["observedGeneration"].as_i64();
                let stale =
                    seen.is_some_and(|seen| object["metadata"]["generation"].as_i64().is_some_and(|now| seen < now));
                let named = |condition: &&Value| same(&condition["type"], name);
                !stale && conditions.find(named).is_some_and(|condition| same(&condition["status"], wanted))
            }
            (Wish::Field(path, wanted), Some(object)) => object.pointer(path).is_some_and(|value| same(value, wanted)),
        }
    }
}

fn api(cluster: &Cluster, resource: &Resource, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(&resource.group, &resource.version, &resource.kind);
    let kind = ApiResource::from_gvk_with_plural(&kind, &resource.plural);
    if resource.namespaced {
        Api::namespaced_with(cluster.client.clone(), namespace, &kind)
    } else {
        Api::all_with(cluster.client.clone(), &kind)
    }
}

async fn until(api: Api<DynamicObject>, name: &str, wish: &Wish) -> Result<(), Failure> {
    let holds = |object: Option<&DynamicObject>| {
        let object = object.and_then(|object| serde_json::to_value(object).ok());
        wish.holds(object.as_ref())
    };
    match wait::await_condition(api, name, holds).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::failed(format!("waiting broke off: {error}"))),
    }
}

/// Waits until an object of this uid is gone.
pub(crate) async fn gone(
    cluster: &Cluster,
    resource: &Resource,
    namespace: &str,
    name: &str,
    uid: &Value,
) -> Result<(), Failure> {
    let uid = uid.as_str().unwrap_or_default();
    let ended = wait::await_condition(api(cluster, resource, namespace), name, wait::conditions::is_deleted(uid)).await;
    ended.map(|_| ()).map_err(|error| Failure::failed(format!("waiting broke off: {error}")))
}

/// `raftsman wait`
pub(crate) async fn wait(command: &Wait) -> Result<(), Failure> {
    let wish: Wish = command.r#for.parse().map_err(|why| Failure::usage(format!("--for: {why}")))?;
    let cluster = command.place.access.cluster().await?;
    let all = cluster.resources().await?;
    let (word, name) = split(&command.resource, command.name.as_deref())?;
    let name = name.ok_or_else(|| Failure::usage("name the object, e.g. `deployment/web`"))?;
    let found = resource::find(&all, word).map_err(Failure::usage)?;
    let [resource] = found.as_slice() else { return Err(Failure::usage("wait for one resource at a time")) };
    let waiting = until(api(&cluster, resource, command.place.namespace(&cluster)), name, &wish);
    if command.timeout.is_zero() {
        waiting.await?;
    } else {
        let late = |_| Failure::failed(format!("{} is not so after {:?}", resource.title(name), command.timeout));
        tokio::time::timeout(command.timeout, waiting).await.map_err(late)??;
    }
    say(&format!("{} condition met", resource.title(name)))
}

/// A pod by its name, or one of those that an object selects.
async fn pod(command: &Logs, cluster: &Cluster, namespace: &str) -> Result<String, Failure> {
    let Some((word, name)) = command.pod.split_once('/') else { return Ok(command.pod.clone()) };
    let all = cluster.resources().await?;
    let found = resource::find(&all, word).map_err(Failure::usage)?;
    let [resource] = found.as_slice() else { return Err(Failure::usage("name one pod")) };
    if resource.plural == "pods" {
        return Ok(name.to_owned());
    }
    let object = cluster.read(&resource.object(namespace, name), JSON).await?;
    let labels =
        object["spec"]["selector"]["matchLabels"].as_object().or_else(|| object["spec"]["selector"].as_object());
    let labels = labels.ok_or_else(|| Failure::usage(format!("{} selects no pods", resource.title(name))))?;
    let terms: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}%3D{}", value.as_str().unwrap_or_default())).collect();
    let path = format!("/api/v1/namespaces/{namespace}/pods?limit=1&labelSelector={}", terms.join(","));
    let list = cluster.read(&path, JSON).await?;
    let first = list["items"][0]["metadata"]["name"].as_str().map(str::to_owned);
    first.ok_or_else(|| Failure::failed(format!("{} has no pods yet", resource.title(name))))
}

/// `raftsman logs`
pub(crate) async fn logs(command: &Logs) -> Result<(), Failure> {
    let cluster = command.place.access.cluster().await?;
    let namespace = command.place.namespace(&cluster);
    let pod = pod(command, &cluster, namespace).await?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    let pairs = [
        ("container", command.container.clone()),
        ("follow", command.follow.then(|| "true".to_owned())),
        ("previous", command.previous.then(|| "true".to_owned())),
        ("timestamps", command.timestamps.then(|| "true".to_owned())),
        ("tailLines", command.tail.map(|lines| lines.to_string())),
        ("sinceSeconds", command.since.map(|since| since.as_secs().max(1).to_string())),
    ];
    for (key, value) in pairs {
        if let Some(value) = value {
            query.append_pair(key, &value);
        }
    }
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?{}", query.finish());
    let body = cluster.send(Method::GET, &path, "*/*", JSON, Vec::new()).await?;
    let mut said = body.into_data_stream().map_err(std::io::Error::other).into_async_read();
    let (mut piece, mut out) = (vec![0; 64 << 10], std::io::stdout());
    loop {
        let read =
            said.read(&mut piece).await.map_err(|error| Failure::failed(format!("the log broke off: {error}")))?;
        if read == 0 {
            return Ok(());
        }
        if out.write_all(&piece[..read]).and_then(|()| out.flush()).is_err() {
            // Its reader has seen enough.
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wishes_are_read_and_judged() {
        let wish = |text: &str| text.parse::<Wish>().expect("reads");
        let object = json!({
            "metadata": { "generation": 2 },
            "status": { "phase": "Running", "observedGeneration": 2, "conditions": [{ "type": "Available", "status": "True" }] },
        });
        assert!(wish("condition=available").holds(Some(&object)));
        assert!(!wish("condition=Available=False").holds(Some(&object)));
        assert!(wish("jsonpath={.status.phase}=Running").holds(Some(&object)));
        assert!(wish("status.observedGeneration=2").holds(Some(&object)));
        assert!(wish("delete").holds(None) && !wish("delete").holds(Some(&object)));
        assert!(wish("create").holds(Some(&object)) && !wish("create").holds(None));
        let mut newer = object.clone();
        newer["metadata"]["generation"] = 3.into();
        assert!(!wish("condition=Available").holds(Some(&newer)), "the controller has not seen it");
        assert!("soon".parse::<Wish>().is_err());
    }

    #[test]
    fn durations_are_those_that_people_write() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(duration("soon").is_err() && duration("-1s").is_err());
    }
}
