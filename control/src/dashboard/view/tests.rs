//! Pages over fixtures: objects in, words out.

use serde_json::json;

use super::*;
use crate::dashboard::draw::{self, Around, Entered};
use crate::dashboard::place::{Place, Scope};
use crate::dashboard::view::figures::Usage;
use crate::kind;

/// Objects as values; the user may see nothing of the kinds in `refused`.
#[derive(Default)]
struct Fixture {
    objects: Vec<Value>,
    refused: &'static [&'static str],
}

impl Source for Fixture {
    fn list(&self, kind: &'static Kind, namespace: &str) -> Result<Listing, Refusal> {
        if self.refused.contains(&kind.resource) {
            return Err(Refusal { code: 403, message: format!("no {}", kind.resource), ..Refusal::default() });
        }
        let wanted = |object: &&Value| {
            object["kind"] == kind.kind && (namespace.is_empty() || object["metadata"]["namespace"] == namespace)
        };
        Ok(Listing { items: self.objects.iter().filter(wanted).cloned().collect(), more: false })
    }

    fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<Value, Refusal> {
        let found = self.list(kind, namespace)?.items.into_iter().find(|object| object["metadata"]["name"] == name);
        found.ok_or_else(|| Refusal { code: 404, message: format!("no {name}"), ..Refusal::default() })
    }
}

fn around() -> Around {
    Around {
        servers: Err(Refusal { code: 403, message: "no servers".to_owned(), ..Refusal::default() }),
        usage: Usage::default(),
        log: Ok("\u{1b}[31mred\u{1b}[0m <b>\n".to_owned()),
        now: "2026-01-01T01:00:00Z".parse().expect("a time"),
        form_key: "key".to_owned(),
        entered: Entered::default(),
    }
}

fn page(place: &str, source: &Fixture) -> String {
    let place = Place::parse(place).expect("a page");
    match draw::draw(&place, &Scope::default(), source, &around()) {
        Ok(page) => page.sections.into_iter().map(|section| section.html).collect(),
        Err(refusal) => format!("{} {}", refusal.code, refusal.message),
    }
}

/// The words of a page, in order, without its markup.
fn words(html: &str) -> String {
    let parts = html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    parts.map(str::trim).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" | ")
}

fn pod(name: &str, owner: &str, status: Value) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "creationTimestamp": "2026-01-01T00:55:00Z",
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true }],
        },
        "spec": {
            "nodeName": "n",
            "containers": [{ "name": "c", "image": "i", "resources": { "requests": { "cpu": "500m", "memory": "1Gi" } } }],
        },
        "status": status,
    })
}

fn runs() -> Value {
    let status = json!({ "name": "c", "ready": true, "restartCount": 0, "state": { "running": {} } });
    json!({ "phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [status] })
}

fn crashes() -> Value {
    let ended = json!({ "terminated": { "exitCode": 3, "reason": "Error" } });
    let waits = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s" } });
    let status = json!({ "name": "c", "ready": false, "restartCount": 4, "state": waits, "lastState": ended });
    json!({ "phase": "Running", "containerStatuses": [status] })
}

fn cluster() -> Fixture {
    let deployment = json!({
        "kind": "Deployment", "apiVersion": "apps/v1",
        "metadata": { "name": "web", "namespace": "default", "uid": "web", "generation": 2, "creationTimestamp": "2026-01-01T00:50:00Z" },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": { "app": "web" } },
            "template": { "spec": { "containers": [{ "name": "c", "image": "nginx:1" }] } },
        },
        "status": { "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1 },
    });
    let set = json!({
        "kind": "ReplicaSet", "apiVersion": "apps/v1",
        "metadata": {
            "name": "web-1", "namespace": "default", "uid": "web-1",
            "ownerReferences": [{ "kind": "Deployment", "name": "web", "uid": "web", "controller": true }],
        },
        "spec": { "replicas": 2 },
    });
    let node = json!({
        "kind": "Node", "apiVersion": "v1", "metadata": { "name": "n", "creationTimestamp": "2026-01-01T00:00:00Z" }, "spec": {},
        "status": {
            "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "110" },
            "conditions": [{ "type": "Ready", "status": "True" }, { "type": "DiskPressure", "status": "True" }],
        },
    });
    let event = |seen: &str, kind: &str, name: &str, severity: &str, message: &str| {
        json!({
            "kind": "Event", "apiVersion": "v1", "metadata": { "name": message, "namespace": "default" }, "type": severity,
            "reason": "R", "message": message, "count": 1, "lastTimestamp": seen,
            "involvedObject": { "kind": kind, "name": name, "namespace": "default", "uid": name },
        })
    };
    let objects = vec![
        deployment,
        set,
        node,
        pod("web-1-a", "web-1", runs()),
        pod("web-1-b", "web-1", crashes()),
        pod("other", "elsewhere", runs()),
        event("2026-01-01T00:58:00Z", "Pod", "web-1-b", "Warning", "older"),
        event("2026-01-01T00:59:00Z", "Deployment", "web", "Normal", "newer"),
    ];
    Fixture { objects, refused: &[] }
}

#[test]
fn the_overview_says_what_needs_attention() {
    let shown = words(&page("", &cluster()));
    assert!(shown.contains("Workloads | 0/1 | 1 on the way | "), "{shown}");
    assert!(shown.contains("Pods | 2/3 | 1 in trouble"), "{shown}");
    assert!(
        shown.contains("| web-1-b | Pod | default | CrashLoopBackOff | 0/1 | 4 | 5m | web | Deployment | default | Starting | 1/2 | 10m"),
        "the worst comes first: {shown}"
    );
    assert!(shown.contains("no servers"), "{shown}");
    assert!(shown.contains("| n | Ready | — | / 2 | — | / 4.0 GiB | 3/110"), "{shown}");
    let (newer, older) = (shown.find("newer").expect("an event"), shown.find("older").expect("an event"));
    assert!(newer < older, "the newest comes first");
}

#[test]
fn empty_pages_say_what_to_do_next() {
    let nothing = Fixture::default();
    for (place, part) in [
        ("", "raftsman token create --role node"),
        ("", "Nothing is deployed here yet."),
        ("workloads", "Deploy an application"),
        ("pods", "Deploy an application"),
        ("events", "Nothing has happened"),
        ("pods/default/x", "404 no x"),
    ] {
        let shown = page(place, &nothing);
        assert!(shown.contains(part), "{place}: {shown}");
    }
}

#[test]
fn what_somebody_may_not_see_is_refused_part_by_part() {
    let source = Fixture { refused: &["nodes", "events", "services"], ..cluster() };
    let shown = words(&page("", &source));
    assert!(shown.contains("no nodes") && shown.contains("no events") && shown.contains("web-1-b"), "{shown}");
    let shown = words(&page("workloads", &source));
    assert!(shown.contains("no services") && shown.contains("nginx:1"), "{shown}");
}

#[test]
fn a_workload_shows_its_own_pods_and_events() {
    let shown = words(&page("workloads/deployments/default/web", &cluster()));
    assert!(shown.contains("web-1-a") && shown.contains("web-1-b") && !shown.contains("| other"), "{shown}");
    assert!(shown.contains("newer") && !shown.contains("older"), "{shown}");
    assert!(shown.contains("Selector | app=web"), "{shown}");
}

#[test]
fn a_pod_shows_why_it_fails_and_its_log_without_markup() {
    let shown = page("pods/default/web-1-b", &cluster());
    assert!(words(&shown).contains("c | CrashLoopBackOff | 4 | i | back-off 10s"), "{}", words(&shown));
    assert!(shown.contains("red &#60;b&#62;"), "{shown}");
    assert!(shown.contains("previous=1"), "the log before the restart is offered");
    assert!(words(&shown).contains("Belongs to | ReplicaSet web-1"));
}

#[test]
fn a_node_shows_what_is_wrong_with_it() {
    let shown = page("nodes/n", &cluster());
    let disk = shown.split("DiskPressure</th>").nth(1).expect("the condition");
    assert!(disk.contains("state bad"), "a pressure that is true is bad: {disk}");
    assert!(shown.contains("1.50 requested by pods, of 2"), "{shown}");
}

#[test]
fn words_for_pods_have_their_tones() {
    let tone = |word, ready| pods::state(word, ready).tone;
    for (word, ready, wanted) in [
        ("Running", true, Tone::Good),
        ("Running", false, Tone::Busy),
        ("Completed", false, Tone::Idle),
        ("Init:0/2", false, Tone::Busy),
        ("Init:Error", false, Tone::Bad),
        ("ImagePullBackOff", false, Tone::Bad),
        ("Terminating", true, Tone::Busy),
    ] {
        assert_eq!(tone(word, ready), wanted, "{word}");
    }
}

#[test]
fn workloads_say_how_they_do() {
    let state = |resource: &str, group: &str, object: Value| {
        kind::find(group, "v1", resource).map(|kind| workloads::state(kind, &object).text)
    };
    let deployment = |spec: Value, status: Value| {
        state("deployments", "apps", json!({ "metadata": {}, "spec": spec, "status": status }))
    };
    let all = json!({ "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1 });
    assert_eq!(deployment(json!({ "replicas": 1 }), all.clone()).as_deref(), Some("Running"));
    assert_eq!(deployment(json!({ "replicas": 0 }), json!({})).as_deref(), Some("Scaled to zero"));
    assert_eq!(deployment(json!({ "replicas": 3 }), all.clone()).as_deref(), Some("Rolling out"));
    assert_eq!(deployment(json!({ "paused": true }), all.clone()).as_deref(), Some("Paused"));
    let stuck = json!({ "conditions": [{ "type": "Progressing", "status": "False" }] });
    assert_eq!(deployment(json!({}), stuck).as_deref(), Some("Stuck"));
}

#[test]
fn logs_lose_what_is_meant_for_terminals() {
    assert_eq!(pods::plain("a\u{1b}[1;31mb\u{1b}[0mc\u{1b}]0;title\u{7}d\r\n\te\u{1b}(f\u{0}"), "abcd\n\te");
    assert_eq!(pods::plain("\u{1b}[31"), "");
}
