//! PURE: what is served, from the table of kinds: aggregated discovery and the older lists.
//!
//! Source: KEP-3352, k8s.io/apiserver `pkg/endpoints/discovery`.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::api::negotiate::{self, Form, Offer, Representation};
use crate::api::{health, metrics};
use crate::kind::{ALL, Kind, Subresource, verbs};
use crate::registry::event_view;
use crate::status::Status;

/// The Kubernetes release whose API is served.
pub const VERSION: (&str, &str, &str) = ("1", "36", "v1.36.0+raftsman");

/// The media type of aggregated discovery.
pub(crate) const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The order in which groups are listed (k8s.io/kubernetes `pkg/controlplane/apiserver/aggregator.go`); others follow.
const PRIORITY: [&str; 21] = [
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// What lies at a path that names no resource.
#[derive(Debug, PartialEq)]
pub(crate) enum Page {
    /// A document, written as the client asks.
    Document(Value, Representation),
    /// A document that is always indented JSON.
    Raw(Value),
    /// Everything at once.
    Aggregated(&'static Whole),
    /// Only GET is allowed here.
    NotAllowed,
    /// Below an API, but nothing.
    Nowhere,
    /// Nothing at all.
    Missing,
}

/// A document that stays the same while the program runs.
#[derive(Debug, PartialEq)]
pub(crate) struct Whole {
    pub(crate) text: Bytes,
    pub(crate) etag: String,
}

static WHOLE: LazyLock<[Whole; 2]> = LazyLock::new(|| [true, false].map(|core| whole(&aggregated(core))));

/// A document with the tag by which clients know it again.
fn whole(document: &Value) -> Whole {
    let text = Bytes::from(document.to_string());
    let hash = digest::digest(&digest::SHA256, &text);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    Whole { text, etag: format!("\"{hex}\"") }
}

/// Groups in their order, each with its versions, the preferred one first.
fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let names: BTreeSet<&str> = served().map(|(group, _)| group).collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by_key(|name| PRIORITY.iter().position(|group| group == name).unwrap_or(PRIORITY.len()));
    let versions = |name: &str| -> Vec<&'static str> {
        let all: BTreeSet<&str> = served().filter(|(group, _)| *group == name).map(|(_, version)| version).collect();
        all.into_iter().rev().collect()
    };
    names.into_iter().map(|name| (name, versions(name))).collect()
}

/// Every group and version, as often as it has rows; what is measured, not stored, has none in the table.
fn served() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALL.iter().map(|kind| (kind.group, kind.version)).chain([(metrics::GROUP, metrics::VERSION)])
}

/// Whether anything of this group is served.
pub(crate) fn serves(group: &str) -> bool {
    served().any(|(name, _)| name == group)
}

fn kinds(group: &str, version: &str) -> impl Iterator<Item = &'static Kind> {
    ALL.iter().filter(move |kind| kind.group == group && kind.version == version)
}

/// What a request for a path gets.
///
/// # Errors
/// 406 when the client takes nothing of what there is.
pub(crate) fn page(method: &str, place: &str, accept: Option<&str>) -> Result<Page, Status> {
    let parts: Vec<&str> = place.split('/').skip(1).collect();
    let reads = method == "GET";
    match parts.as_slice() {
        ["api"] | ["version"] if !reads => Ok(Page::NotAllowed),
        ["api"] => listed(&negotiate::negotiate(accept, Offer::Discovery)?, true),
        // Not behind the layer that words the other refusal.
        ["apis"] => {
            let refusal = |_| negotiate::unacceptable(Offer::Discovery);
            listed(&negotiate::negotiate(accept, Offer::Discovery).map_err(refusal)?, false)
        }
        ["apis", group] => {
            let Some((group, versions)) = groups().into_iter().find(|(name, _)| name == group) else {
                return Ok(Page::Missing);
            };
            let mut value = api_group(group, &versions);
            value["kind"] = "APIGroup".into();
            value["apiVersion"] = "v1".into();
            Ok(Page::Document(value, negotiate::negotiate(accept, Offer::Plain)?))
        }
        ["api", version] => resources("", version, reads, accept),
        ["apis", group, version] if serves(group) => resources(group, version, reads, accept),
        ["version"] => Ok(Page::Raw(version())),
        ["version" | "api", ..] => Ok(Page::Nowhere),
        [""] | [] => Ok(Page::Raw(json!({ "paths": paths() }))),
        _ => Ok(Page::Missing),
    }
}

fn listed(how: &Representation, core: bool) -> Result<Page, Status> {
    if how.form == Form::Aggregated {
        return Ok(Page::Aggregated(&WHOLE[usize::from(!core)]));
    }
    let document = if core {
        json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": "" }],
        })
    } else {
        let named = groups().into_iter().filter(|(group, _)| !group.is_empty());
        let all: Vec<Value> = named.map(|(group, versions)| api_group(group, &versions)).collect();
        json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": all })
    };
    Ok(Page::Document(document, *how))
}

fn version() -> Value {
    let (major, minor, version) = VERSION;
    json!({
        "major": major, "minor": minor, "emulationMajor": major, "emulationMinor": minor,
        "minCompatibilityMajor": major, "minCompatibilityMinor": "35",
        "gitVersion": version, "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
    })
}

/// Every path that is no resource, in order.
fn paths() -> BTreeSet<String> {
    let fixed = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
        "/apis/",
        "/metrics",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/version",
    ];
    let mut paths: BTreeSet<String> = fixed.iter().map(|path| (*path).to_owned()).collect();
    for (group, versions) in groups().into_iter().filter(|(group, _)| !group.is_empty()) {
        paths.insert(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    for name in health::NAMES {
        paths.insert(format!("/{name}"));
        paths.extend(health::checks(name).iter().map(|check| format!("/{name}/{check}")));
    }
    paths
}

fn api_group(group: &str, versions: &[&str]) -> Value {
    let version = |version: &&str| json!({ "groupVersion": format!("{group}/{version}"), "version": version });
    json!({
        "name": group, "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

fn aggregated(core: bool) -> Value {
    let wanted = groups().into_iter().filter(|(group, _)| group.is_empty() == core);
    let items: Vec<Value> = wanted
        .map(|(group, versions)| {
            let version = |version: &&str| {
                let resources: Vec<Value> =
                    kinds(group, version).map(aggregated_resource).chain(measured(group, true)).collect();
                json!({ "version": version, "resources": resources, "freshness": "Current" })
            };
            let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
            json!({ "metadata": metadata, "versions": versions.iter().map(version).collect::<Vec<_>>() })
        })
        .collect();
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
}

fn aggregated_resource(kind: &'static Kind) -> Value {
    let mut resource = json!({
        "resource": kind.resource, "responseKind": { "group": "", "version": "", "kind": kind.kind },
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": verbs(kind),
    });
    named(&mut resource, kind);
    let below: Vec<Value> = kind
        .subresources
        .iter()
        .map(|sub| {
            let (group, version, body) = foreign(kind, sub);
            let response = json!({ "group": group, "version": version, "kind": body });
            json!({ "subresource": sub.name, "responseKind": response, "verbs": sub.verbs })
        })
        .collect();
    if !below.is_empty() {
        resource["subresources"] = below.into();
    }
    resource
}

/// Resources that are measured, not stored, in either form.
fn measured(group: &str, aggregated: bool) -> Vec<Value> {
    let rows = metrics::RESOURCES.iter().filter(|_| group == metrics::GROUP);
    let verbs = ["get", "list"];
    let row = |(resource, kind, namespaced): &(&str, &str, bool)| {
        if !aggregated {
            return json!({
                "name": resource, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": verbs,
            });
        }
        let response = json!({ "group": "", "version": "", "kind": kind });
        let scope = if *namespaced { "Namespaced" } else { "Cluster" };
        json!({ "resource": resource, "responseKind": response, "scope": scope, "singularResource": "", "verbs": verbs })
    };
    rows.map(row).collect()
}

fn named(resource: &mut Value, kind: &Kind) {
    if !kind.short_names.is_empty() {
        resource["shortNames"] = kind.short_names.into();
    }
    if !kind.categories.is_empty() {
        resource["categories"] = kind.categories.into();
    }
}

/// The kind of a subresource's bodies; group and version only where they are not those of the list it stands in.
fn foreign(kind: &Kind, sub: &Subresource) -> (&'static str, &'static str, &'static str) {
    match sub.body {
        ("", "", "") => ("", "", kind.kind),
        (group, version, body) if (group, version) == (kind.group, kind.version) => ("", "", body),
        other => other,
    }
}

fn resources(group: &str, version: &str, reads: bool, accept: Option<&str>) -> Result<Page, Status> {
    if !served().any(|found| found == (group, version)) {
        return Ok(Page::Nowhere);
    }
    if !reads {
        return Ok(Page::NotAllowed);
    }
    let how = negotiate::negotiate(accept, Offer::Plain)?;
    let mut all = measured(group, false);
    for kind in kinds(group, version) {
        let mut resource = json!({
            "name": kind.resource, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
            "verbs": verbs(kind),
        });
        named(&mut resource, kind);
        if kind.stored {
            resource["storageVersionHash"] = storage_version(kind).into();
        }
        all.push(resource);
        for sub in kind.subresources {
            let name = format!("{}/{}", kind.resource, sub.name);
            let (group, version, body) = foreign(kind, sub);
            let mut below = json!({ "name": name, "singularName": "", "namespaced": kind.namespaced, "kind": body, "verbs": sub.verbs });
            if !version.is_empty() {
                below["group"] = group.into();
                below["version"] = version.into();
            }
            all.push(below);
        }
    }
    let mut list = json!({ "kind": "APIResourceList", "groupVersion": version, "resources": all });
    if !group.is_empty() {
        list["groupVersion"] = format!("{group}/{version}").into();
        list["apiVersion"] = "v1".into();
    }
    Ok(Page::Document(list, how))
}

/// Tells clients when objects are kept in another form (k8s.io/apiserver `pkg/endpoints/discovery/storageversionhash.go`).
fn storage_version(kind: &'static Kind) -> String {
    let stored = event_view::stored_as(kind);
    let name = format!("{}/{}/{}", stored.group, stored.version, stored.kind);
    STANDARD.encode(&digest::digest(&digest::SHA256, name.as_bytes()).as_ref()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(place: &str) -> Value {
        match page("GET", place, None) {
            Ok(Page::Document(value, _) | Page::Raw(value)) => value,
            other => panic!("{place}: {other:?}"),
        }
    }

    #[test]
    fn clients_get_the_form_that_they_understand() {
        let newest = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        let Ok(Page::Aggregated(all)) = page("GET", "/apis", Some(newest)) else { panic!("aggregated") };
        assert!(all.text.starts_with(b"{") && all.etag.len() == 66);
        let Ok(Page::Document(list, _)) = page("GET", "/apis", Some(beta)) else { panic!("a list") };
        assert_eq!(list["kind"], "APIGroupList");
        assert_eq!(page("GET", "/apis", Some("application/xml")).expect_err("refused").code, 406);
    }

    #[test]
    fn lists_say_what_clients_look_for() {
        let core = document("/api/v1");
        let found = |name: &str| {
            core["resources"]
                .as_array()
                .expect("a list")
                .iter()
                .find(|found| found["name"] == name)
                .expect(name)
                .clone()
        };
        assert_eq!(found("pods/eviction")["group"], "policy");
        assert_eq!(found("configmaps")["storageVersionHash"], "qFsyl6wFWjQ=");
        assert!(!found("namespaces")["verbs"].to_string().contains("deletecollection"));
        assert_eq!(document("/apis/rbac.authorization.k8s.io")["preferredVersion"]["version"], "v1");
        let measured = document("/apis/metrics.k8s.io/v1beta1");
        assert_eq!(measured["resources"][1]["kind"], "PodMetrics", "kubectl top looks for it");
        let paths = document("/")["paths"].to_string();
        assert!(paths.contains("\"/apis/apps/v1\"") && paths.contains("\"/readyz/ping\""));
    }

    #[test]
    fn nothing_is_said_as_its_place_has_it() {
        assert_eq!(page("GET", "/apis/none.example", None), Ok(Page::Missing));
        assert_eq!(page("GET", "/apis/none.example/v1", None), Ok(Page::Missing));
        assert_eq!(page("GET", "/apis/apps/v9", None), Ok(Page::Nowhere));
        assert_eq!(page("GET", "/bogus", None), Ok(Page::Missing));
        assert_eq!(page("POST", "/version", None), Ok(Page::NotAllowed));
        assert_eq!(page("POST", "/api/v1", None), Ok(Page::NotAllowed));
    }
}
