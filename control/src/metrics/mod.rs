//! What a server tells Prometheus: its requests, its store, its controllers, its agents, and the process itself.
//!
//! Names of what Kubernetes has too are Kubernetes' (k8s.io/apiserver `pkg/endpoints/metrics`).

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use store::api::Figures;
use store::durations::Durations;
pub(crate) use store::metrics::Counter;
use store::metrics::{Family, Gauge, Metric, gauge, head, write_process};

use crate::api::path::{self, Query, Target, Verb};
use crate::kind;

const OF_REQUESTS: &[&str] = &["verb", "group", "version", "resource", "subresource", "scope"];

/// Everything that is counted while a server runs.
#[derive(Debug)]
pub struct Metrics {
    requests: Family<Counter>,
    durations: Family<Durations>,
    running: Family<Gauge>,
    long: Family<Gauge>,
    events: Family<Counter>,
    depth: Family<Gauge>,
    plans: Family<Durations>,
}

/// A request, as labels name it: words of the table of kinds, never of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
}

/// Counts something as long as it lasts.
#[derive(Debug)]
pub struct Running(Arc<Gauge>);

impl Running {
    fn new(gauge: Arc<Gauge>) -> Running {
        gauge.add(1);
        Running(gauge)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl Label {
    /// Of a request.
    pub fn new(method: &Method, target: &Target, query: &Query) -> Label {
        let none = Label { verb: word(method), group: "", version: "", resource: "", subresource: "", scope: "" };
        let Target::Resource(named) = target else { return none };
        let Some(kind) = kind::find(&named.group, &named.version, &named.resource) else { return none };
        let scope = match (named.name.is_empty(), named.namespace.is_empty()) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        };
        Label {
            verb: match path::verb(method.as_str(), named, query) {
                Some(Verb::List) => "LIST",
                Some(Verb::Watch) => "WATCH",
                Some(Verb::DeleteCollection) => "DELETECOLLECTION",
                _ => word(method),
            },
            group: kind.group,
            version: kind.version,
            resource: kind.resource,
            subresource: kind.subresource(&named.subresource).map_or("", |found| found.name),
            scope,
        }
    }

    /// Whether it lasts as long as the client likes.
    pub fn long(&self) -> bool {
        self.verb == "WATCH" || self.subresource == "log"
    }

    fn values(&self) -> [&'static str; 6] {
        [self.verb, self.group, self.version, self.resource, self.subresource, self.scope]
    }
}

fn word(method: &Method) -> &'static str {
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
        .into_iter()
        .find(|word| method == word)
        .unwrap_or("OTHER")
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            requests: Family::new(
                "apiserver_request_total",
                "Requests answered, by what they asked for and the status.",
                &["verb", "group", "version", "resource", "subresource", "scope", "code"],
            ),
            durations: Family::new(
                "apiserver_request_duration_seconds",
                "Time until the answer, or the head of a stream, was ready.",
                OF_REQUESTS,
            ),
            running: Family::new(
                "apiserver_current_inflight_requests",
                "Requests under way, but for those that last as long as the client likes.",
                &["request_kind"],
            ),
            long: Family::new("apiserver_longrunning_requests", "Watches and logs under way.", OF_REQUESTS),
            events: Family::new(
                "apiserver_watch_events_total",
                "Events sent to watchers.",
                &["group", "version", "resource"],
            ),
            depth: Family::new("workqueue_depth", "Keys that wait for a controller.", &["name"]),
            plans: Family::new(
                "raftsman_reconcile_plan_seconds",
                "Time that a controller took to say what to do for one key.",
                &["name"],
            ),
        }
    }
}

impl Metrics {
    /// A request begins; it is under way until the answer is dropped.
    pub fn begin(&self, label: &Label) -> Running {
        if label.long() {
            return Running::new(self.long.of(&label.values()));
        }
        let reads = matches!(label.verb, "GET" | "LIST" | "HEAD" | "OPTIONS");
        Running::new(self.running.of(&[if reads { "readOnly" } else { "mutating" }]))
    }

    /// A request was answered.
    pub fn answered(&self, label: &Label, code: u16, took: Duration) {
        let [verb, group, version, resource, subresource, scope] = label.values();
        self.requests.of(&[verb, group, version, resource, subresource, scope, &code.to_string()]).add(1);
        self.durations.of(&label.values()).observe(took);
    }

    /// Where events of a kind sent to watchers are counted.
    pub(crate) fn events(&self, kind: &kind::Kind) -> Arc<Counter> {
        self.events.of(&[kind.group, kind.version, kind.resource])
    }

    /// Keys wait for a controller.
    pub fn waiting(&self, controller: &str, keys: usize) {
        self.depth.of(&[controller]).set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    /// A controller made a plan.
    pub fn planned(&self, controller: &str, took: Duration) {
        self.plans.of(&[controller]).observe(took);
    }

    /// Everything as text, with figures of the store and the number of agents that are connected.
    pub fn text(&self, store: &Figures, sessions: usize) -> String {
        let mut out = String::with_capacity(64 << 10);
        self.requests.write(&mut out);
        self.durations.write(&mut out);
        self.running.write(&mut out);
        self.long.write(&mut out);
        self.events.write(&mut out);
        self.depth.write(&mut out);
        self.plans.write(&mut out);
        of_store(store, &mut out);
        gauge("raftsman_gateway_sessions", "Agents connected to this server.", sessions, &mut out);
        write_process(&mut out);
        out
    }
}

/// As etcd names them, where it has them.
fn of_store(store: &Figures, out: &mut String) {
    gauge("etcd_server_has_leader", "Whether a leader is known.", u8::from(store.leader.is_some()), out);
    gauge("etcd_server_is_leader", "Whether this member leads.", u8::from(store.leads), out);
    gauge("etcd_server_proposals_applied_total", "Index of the last entry applied.", store.applied, out);
    gauge("etcd_mvcc_db_total_size_in_bytes", "Size of the state's files.", store.size_bytes, out);
    gauge("raftsman_store_term", "Raft's term.", store.term, out);
    gauge("raftsman_store_log_index", "Index of the last entry in the log.", store.log_index, out);
    gauge("raftsman_store_revision", "The newest revision here.", store.revision, out);
    gauge("raftsman_store_members", "Members of the group.", store.members, out);
    store::archive::metrics(store.archive.as_ref(), out);
    let name = "etcd_disk_wal_fsync_duration_seconds";
    head(name, Durations::KIND, "Time that the log's syncs to disk took.", out);
    store.syncs.write(name, "", out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(method: &str, path: &str, query: &str) -> String {
        let method = method.parse().expect("a method");
        Label::new(&method, &path::parse(path), &Query::parse(query)).values().join(" ")
    }

    #[test]
    fn labels_are_words_of_the_table() {
        assert_eq!(label("GET", "/api/v1/namespaces/x/pods", ""), "LIST  v1 pods  namespace");
        assert_eq!(label("GET", "/api/v1/pods", "watch=1"), "WATCH  v1 pods  cluster");
        assert_eq!(
            label("PUT", "/apis/apps/v1/namespaces/x/deployments/d/scale", ""),
            "PUT apps v1 deployments scale resource"
        );
        assert_eq!(label("GET", "/apis/evil.example/v1/\"things\"", ""), "GET     ");
        assert_eq!(label("FROB", "/whatever", ""), "OTHER     ");
        assert_eq!(label("GET", "/api/v1/namespaces/x/pods/p/\"bad", ""), "GET  v1 pods  resource");
    }

    #[test]
    fn what_is_under_way_is_counted_while_it_is() {
        let metrics = Metrics::default();
        let watch = Label::new(&Method::GET, &path::parse("/api/v1/pods"), &Query::parse("watch=1"));
        let running = metrics.begin(&watch);
        metrics.answered(&watch, 200, Duration::from_millis(3));
        let text = metrics.text(&Figures::default(), 2);
        let line = "apiserver_longrunning_requests{verb=\"WATCH\",group=\"\",version=\"v1\",resource=\"pods\",subresource=\"\",scope=\"cluster\"}";
        assert!(text.contains(&format!("{line} 1\n")), "{text}");
        assert!(text.contains("raftsman_gateway_sessions 2\n") && text.contains("\netcd_server_has_leader 0\n"));
        drop(running);
        assert!(metrics.text(&Figures::default(), 0).contains(&format!("{line} 0\n")));
    }
}
