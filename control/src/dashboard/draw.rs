//! PURE: which parts make up each page. Everything shown comes from one revision and is what the user may see.

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::ClusterStatus;
use crate::dashboard::form::{Application, Errors};
use crate::dashboard::order::Refusal;
use crate::dashboard::place::{self, Place, Scope};
use crate::dashboard::view::cluster::{self, Tile, Tiles};
use crate::dashboard::view::events::{self, Events};
use crate::dashboard::view::figures::Usage;
use crate::dashboard::view::page::{Actions, Deploy, Outcome, Page, Paste, Section};
use crate::dashboard::view::pods::{self, Pods};
use crate::dashboard::view::workloads::{self, WorkloadRow, Workloads};
use crate::dashboard::view::{self, Listing, ROWS_MAX, Source, Tone, Troubles, nodes};
use crate::kind::{self, Kind};

/// Events on the overview.
const EVENTS_FEW: usize = 12;
/// Workloads and pods on the overview that do not do well.
const TROUBLES_MAX: usize = 12;

/// What does not lie in the store, and who asks.
pub struct Around {
    /// Servers; the reason when the user may not see them.
    pub servers: Result<ClusterStatus, Refusal>,
    /// What nodes and pods use, as far as anybody knows.
    pub usage: Usage,
    /// The end of the log that the page shows.
    pub log: Result<String, Refusal>,
    /// The time that ages count to.
    pub now: Timestamp,
    /// Forms repeat it.
    pub form_key: String,
    /// What was entered, and what is wrong with it.
    pub entered: Entered,
}

/// What comes back to a form that was refused.
#[derive(Clone, Debug, Default)]
pub struct Entered {
    /// The application, as it was entered.
    pub application: Option<Application>,
    /// What is wrong with it.
    pub errors: Errors,
    /// The pasted text.
    pub yaml: String,
    /// Why it cannot be read.
    pub yaml_error: String,
    /// What became of its objects.
    pub outcomes: Vec<Outcome>,
    /// Why an action on the page's object was refused.
    pub action_error: String,
}

/// A page and its parts.
///
/// # Errors
/// When what the page is about is not there, or the user may not see it.
pub fn draw(place: &Place, scope: &Scope, source: &dyn Source, around: &Around) -> Result<Page, Refusal> {
    let desk = Desk { scope, source, around };
    match place {
        Place::Overview => Ok(page("Overview", desk.overview())),
        Place::Workloads => Ok(page("Workloads", vec![desk.workloads(), desk.services()])),
        Place::Workload { kind, namespace, name } => desk.workload(kind, namespace, name),
        Place::Pods => Ok(page("Pods", vec![desk.pods(source.list(kind::core("pods"), &scope.namespace), |_| true)])),
        Place::Pod { namespace, name } => desk.pod(namespace, name),
        Place::Nodes => Ok(page("Nodes", vec![desk.nodes("card")])),
        Place::Node { name } => desk.node(name),
        Place::Events => Ok(page("Events", vec![desk.events(ROWS_MAX, "card", &scope.namespace, None)])),
        Place::Deploy => Ok(page("Deploy", desk.deploy())),
    }
}

/// The namespaces that the user may choose from.
pub fn namespaces(source: &dyn Source) -> Vec<String> {
    source.list(kind::core("namespaces"), "").map(|listing| cluster::namespaces(&listing)).unwrap_or_default()
}

fn page(heading: &str, sections: Vec<Section>) -> Page {
    Page { heading: heading.to_owned(), aside: String::new(), sections }
}

struct Desk<'a> {
    scope: &'a Scope,
    source: &'a dyn Source,
    around: &'a Around,
}

impl Desk<'_> {
    fn overview(&self) -> Vec<Section> {
        let namespace = &self.scope.namespace;
        let pods = self.source.list(kind::core("pods"), namespace);
        let nodes = self.source.list(kind::core("nodes"), "");
        let rows = self.workload_rows();
        let servers = self.around.servers.as_ref().map(cluster::servers);
        let pod_rows = pods.as_ref().map(|listing| pods::rows(&listing.items, &self.around.usage, self.around.now));
        let mut tiles = Vec::new();
        let query = self.scope.query();
        tiles.push(match &servers {
            Ok(servers) => cluster::servers_tile(servers),
            Err(_) => Tile::unknown("Servers", &Place::Overview, "you may not see them"),
        });
        tiles.push(match nodes.as_ref().map(nodes::ready) {
            Ok((ready, all)) => Tile::part("Nodes", &Place::Nodes, "", ready, all, "ready"),
            Err(_) => Tile::unknown("Nodes", &Place::Nodes, "you may not see them"),
        });
        tiles.push(match &rows {
            Ok((rows, more)) => {
                let tones: Vec<Tone> = rows.iter().map(|row| row.state.tone).collect();
                Tile::of("Workloads", &Place::Workloads, &query, &tones, *more)
            }
            Err(_) => Tile::unknown("Workloads", &Place::Workloads, "you may not see them"),
        });
        tiles.push(match &pod_rows {
            Ok(rows) => {
                let tones: Vec<Tone> = rows.iter().map(|row| row.state.tone).collect();
                Tile::of("Pods", &Place::Pods, &query, &tones, pods.as_ref().is_ok_and(|listing| listing.more))
            }
            Err(_) => Tile::unknown("Pods", &Place::Pods, "you may not see them"),
        });
        let mut sections = vec![Section::live("tiles", "bare wide", &Tiles { tiles })];
        let rows = rows.map(|(rows, _)| rows).unwrap_or_default();
        let nothing = rows.is_empty() && pod_rows.as_ref().is_ok_and(Vec::is_empty);
        let troubles = Troubles::new(rows, pod_rows.unwrap_or_default(), TROUBLES_MAX, nothing);
        sections.push(Section::live("troubles", "card wide", &troubles));
        sections.push(match &servers {
            Ok(servers) => Section::live("servers", "card third", servers),
            Err(refusal) => Section::refused("servers", "card third", "Servers", refusal),
        });
        sections.push(self.nodes("card rest"));
        sections.push(self.events(EVENTS_FEW, "card wide", namespace, None));
        sections
    }

    fn workload_rows(&self) -> Result<(Vec<WorkloadRow>, bool), Refusal> {
        let (mut rows, mut more, mut refused) = (Vec::new(), false, None);
        for kind in place::workloads() {
            match self.source.list(kind, &self.scope.namespace) {
                Ok(mut listing) => {
                    more |= listing.more;
                    listing.items.retain(|object| !workloads::is_part(object));
                    rows.extend(workloads::rows(kind, &listing.items, self.around.now));
                }
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        // Whoever may see some kinds sees those.
        match refused {
            Some(refusal) if rows.is_empty() => Err(refusal),
            _ => Ok((rows, more)),
        }
    }

    fn workloads(&self) -> Section {
        match self.workload_rows() {
            Ok((mut rows, _)) => {
                let left = rows.len().saturating_sub(ROWS_MAX);
                rows.truncate(ROWS_MAX);
                let namespaces = self.scope.namespace.is_empty();
                Section::live("workloads", "card wide", &Workloads { rows, left, namespaces })
            }
            Err(refusal) => Section::refused("workloads", "card wide", "Workloads", &refusal),
        }
    }

    fn services(&self) -> Section {
        let namespaces = self.scope.namespace.is_empty();
        match self.source.list(kind::core("services"), &self.scope.namespace) {
            Ok(listing) => {
                let services = workloads::services(listing, namespaces, self.around.now);
                Section::live("services", "card wide", &services)
            }
            Err(refusal) => Section::refused("services", "card wide", "Services", &refusal),
        }
    }

    fn nodes(&self, class: &'static str) -> Section {
        // Who may see nodes but not all pods sees what pods ask for as nothing.
        let pods = self.source.list(kind::core("pods"), "").unwrap_or_default();
        match self.source.list(kind::core("nodes"), "") {
            Ok(listing) => {
                let nodes = nodes::nodes(listing, &pods, &self.around.usage, self.around.now);
                Section::live("nodes", class, &nodes)
            }
            Err(refusal) => Section::refused("nodes", class, "Nodes", &refusal),
        }
    }

    /// The pods that `wanted` takes.
    fn pods(&self, listing: Result<Listing, Refusal>, wanted: impl Fn(&Value) -> bool) -> Section {
        match listing {
            Ok(listing) => {
                let mut pods = pods::pods(&listing, &self.around.usage, self.around.now, wanted);
                pods.namespaces = self.scope.namespace.is_empty();
                Section::live("pods", "card wide", &pods)
            }
            Err(refusal) => Section::refused("pods", "card wide", "Pods", &refusal),
        }
    }

    /// The pods on the page of something else.
    fn own_pods(&self, namespace: &str, empty: &'static str, wanted: impl Fn(&Value) -> bool) -> Section {
        match self.source.list(kind::core("pods"), namespace) {
            Ok(listing) => {
                let pods = pods::pods(&listing, &self.around.usage, self.around.now, wanted);
                let (namespaces, nodes) = (namespace.is_empty(), !namespace.is_empty());
                Section::live("pods", "card wide", &Pods { empty, namespaces, nodes, ..pods })
            }
            Err(refusal) => Section::refused("pods", "card wide", "Pods", &refusal),
        }
    }

    /// The newest events; on the page of an object those about it.
    fn events(&self, most: usize, class: &'static str, namespace: &str, about: Option<(&str, &Value)>) -> Section {
        let wanted = |event: &Value| about.is_none_or(|(kind, object)| events::is_about(event, kind, object));
        match self.source.list(kind::core("events"), namespace) {
            Ok(listing) => {
                let (rows, left) = events::events(listing, most, self.around.now, wanted);
                let all = format!("{}{}", Place::Events.href(), self.scope.query());
                let all = if most == EVENTS_FEW && about.is_none() && left > 0 { all } else { String::new() };
                let empty = match about {
                    None => "Nothing has happened in the last hour: events are kept so long.",
                    Some(_) => "Nothing has happened to it in the last hour.",
                };
                Section::live(
                    "events",
                    class,
                    &Events { title: "Events", empty, rows, left, all, subjects: about.is_none() },
                )
            }
            Err(refusal) => Section::refused("events", class, "Events", &refusal),
        }
    }

    fn workload(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<Page, Refusal> {
        let object = self.source.get(kind, namespace, name)?;
        let shown = workloads::workload(kind, &object, self.around.now).ok_or_else(Refusal::default)?;
        let uid = view::word(&object, "/metadata/uid").to_owned();
        // A Deployment's pods are those of its ReplicaSets, a CronJob's those of its Jobs.
        let between = match kind.resource {
            "deployments" => kind::find("apps", "v1", "replicasets"),
            "cronjobs" => kind::find("batch", "v1", "jobs"),
            _ => None,
        };
        let parts = between.and_then(|kind| self.source.list(kind, namespace).ok()).unwrap_or_default().items;
        let mut owners: Vec<&str> = parts
            .iter()
            .filter(|part| view::owned_by(part, &uid))
            .map(|part| view::word(part, "/metadata/uid"))
            .collect();
        owners.push(&uid);
        let place = Place::Workload { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        let actions = Actions {
            form_key: &self.around.form_key,
            href: place.href(),
            name,
            replicas: shown.replicas,
            restarts: ["deployments", "statefulsets", "daemonsets"].contains(&kind.resource),
            switch: None,
            deletion: format!("This deletes the {} {name} and its pods. It cannot be undone.", kind.kind),
            error: &self.around.entered.action_error,
        };
        let empty = "It has no pods. Scale it up to start some; events below say when they cannot be created.";
        let sections = vec![
            Section::still("actions", "bare wide", &actions),
            Section::live("summary", "card wide", &shown),
            self.own_pods(namespace, empty, |pod| owners.iter().any(|owner| view::owned_by(pod, owner))),
            self.events(ROWS_MAX, "card wide", namespace, Some((kind.kind, &object))),
        ];
        Ok(Page { heading: name.to_owned(), aside: format!("{} in {namespace}", kind.kind), sections })
    }

    fn pod(&self, namespace: &str, name: &str) -> Result<Page, Refusal> {
        let object = self.source.get(kind::core("pods"), namespace, name)?;
        let shown = pods::pod(&object, &self.around.usage, self.around.now).ok_or_else(Refusal::default)?;
        let log = self.around.log.as_ref();
        let log = log.map(String::as_str).map_err(|refusal| refusal.message.as_str());
        let replaced =
            if shown.owner.text.is_empty() { "Nothing replaces it." } else { "What it belongs to replaces it." };
        let actions = Actions {
            form_key: &self.around.form_key,
            href: Place::Pod { namespace: namespace.to_owned(), name: name.to_owned() }.href(),
            name,
            replicas: None,
            restarts: false,
            switch: None,
            deletion: format!("This stops the pod {name} and deletes it. {replaced}"),
            error: &self.around.entered.action_error,
        };
        let sections = vec![
            Section::still("actions", "bare wide", &actions),
            Section::live("summary", "card wide", &shown),
            Section::live("log", "card wide", &pods::log(&object, self.scope, log)),
            self.events(ROWS_MAX, "card wide", namespace, Some(("Pod", &object))),
        ];
        Ok(Page { heading: name.to_owned(), aside: format!("Pod in {namespace}"), sections })
    }

    fn node(&self, name: &str) -> Result<Page, Refusal> {
        let object = self.source.get(kind::core("nodes"), "", name)?;
        let pods = self.source.list(kind::core("pods"), "").unwrap_or_default();
        let shown = nodes::node(&object, &pods, &self.around.usage, self.around.now).ok_or_else(Refusal::default)?;
        let cordoned = object["spec"]["unschedulable"] == true;
        let actions = Actions {
            form_key: &self.around.form_key,
            href: Place::Node { name: name.to_owned() }.href(),
            name,
            replicas: None,
            restarts: false,
            switch: Some(if cordoned { ("uncordon", "Uncordon") } else { ("cordon", "Cordon") }),
            deletion: String::new(),
            error: &self.around.entered.action_error,
        };
        let sections = vec![
            Section::still("actions", "bare wide", &actions),
            Section::live("summary", "card wide", &shown),
            self.own_pods("", "No pod runs on it.", |pod| view::word(pod, "/spec/nodeName") == name),
            self.events(ROWS_MAX, "card wide", "", Some(("Node", &object))),
        ];
        Ok(Page { heading: name.to_owned(), aside: "Node".to_owned(), sections })
    }

    fn deploy(&self) -> Vec<Section> {
        let (entered, form_key) = (&self.around.entered, self.around.form_key.as_str());
        let empty = Application::empty(&self.scope.namespace);
        let mut names = namespaces(self.source);
        let application = entered.application.as_ref().unwrap_or(&empty);
        if !names.is_empty() && !names.contains(&application.namespace) {
            names.push(application.namespace.clone());
        }
        let form = Deploy { form_key, entered: application, errors: &entered.errors, namespaces: &names };
        let namespace = if self.scope.namespace.is_empty() { "default" } else { &self.scope.namespace };
        let paste = Paste {
            form_key,
            scope_query: self.scope.query(),
            namespace,
            text: &entered.yaml,
            error: &entered.yaml_error,
            outcomes: &entered.outcomes,
        };
        vec![Section::still("form", "card half", &form), Section::still("paste", "card half", &paste)]
    }
}
