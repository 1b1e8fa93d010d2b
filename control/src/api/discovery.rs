//! PURE: what is served, from the table of kinds: aggregated discovery and the older lists.
//!
//! Source: KEP-3352, k8s.io/apiserver `endpoints/discovery`.

use serde_json::{Value, json};

use crate::api::metrics;
use crate::kind::{ALL, Kind, verbs};

/// The Kubernetes release whose API is served.
pub const VERSION: (&str, &str, &str) = ("1", "36", "v1.36.0+raftsman");

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Groups in the table's order, each with its version.
fn groups() -> Vec<(&'static str, &'static str)> {
    let mut groups: Vec<(&str, &str)> = Vec::new();
    for kind in ALL {
        if groups.last() != Some(&(kind.group, kind.version)) {
            groups.push((kind.group, kind.version));
        }
    }
    // Measured, not stored: no rows of the table.
    groups.push((metrics::GROUP, metrics::VERSION));
    groups
}

fn kinds(group: &str) -> impl Iterator<Item = &'static Kind> {
    ALL.iter().filter(move |kind| kind.group == group)
}

/// The document at a path, with its media type.
pub(crate) fn document(place: &str, accept: &str) -> Option<(&'static str, Value)> {
    // Clients name the newest form first; those that only know the beta get the older lists.
    let aggregated = accept.split(',').any(|clause| {
        let clause = clause.replace(' ', "");
        clause.contains("g=apidiscovery.k8s.io") && clause.contains("v=v2;")
            || clause.contains("g=apidiscovery.k8s.io") && clause.ends_with("v=v2")
    });
    let plain = |value: Value| Some(("application/json", value));
    match place.split('/').skip(1).collect::<Vec<_>>().as_slice() {
        ["api"] if aggregated => Some((AGGREGATED, discovery(true))),
        ["apis"] if aggregated => Some((AGGREGATED, discovery(false))),
        ["api"] => plain(json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": "" }],
        })),
        ["apis"] => {
            let named = groups().into_iter().filter(|(group, _)| !group.is_empty());
            let all: Vec<Value> = named.map(|(group, version)| api_group(group, version)).collect();
            plain(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": all }))
        }
        ["apis", group] => {
            let (group, version) = groups().into_iter().find(|(name, _)| name == group)?;
            let mut value = api_group(group, version);
            value["kind"] = "APIGroup".into();
            value["apiVersion"] = "v1".into();
            plain(value)
        }
        ["api", "v1"] => plain(resources("", "v1")),
        ["apis", group, version] => {
            let (group, version) = groups().into_iter().find(|found| *found == (*group, *version))?;
            plain(resources(group, version))
        }
        ["version"] => {
            let (major, minor, version) = VERSION;
            plain(json!({
                "major": major, "minor": minor, "emulationMajor": major, "emulationMinor": minor,
                "minCompatibilityMajor": major, "minCompatibilityMinor": "35",
                "gitVersion": version, "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
                "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
            }))
        }
        _ => None,
    }
}

fn api_group(group: &str, version: &str) -> Value {
    let version = json!({ "groupVersion": format!("{group}/{version}"), "version": version });
    json!({ "name": group, "versions": [version], "preferredVersion": version })
}

fn discovery(core: bool) -> Value {
    let wanted = groups().into_iter().filter(|(group, _)| group.is_empty() == core);
    let items: Vec<Value> = wanted
        .map(|(group, version)| {
            let resources: Vec<Value> = kinds(group).map(aggregated_resource).chain(measured(group, true)).collect();
            let versions = json!([{ "version": version, "resources": resources, "freshness": "Current" }]);
            json!({ "metadata": { "name": group, "creationTimestamp": null }, "versions": versions })
        })
        .collect();
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
}

fn aggregated_resource(kind: &'static Kind) -> Value {
    let response = json!({ "group": kind.group, "version": kind.version, "kind": kind.kind });
    let mut resource = json!({
        "resource": kind.resource, "responseKind": response, "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": verbs(kind),
    });
    if !kind.short_names.is_empty() {
        resource["shortNames"] = kind.short_names.into();
    }
    if !kind.categories.is_empty() {
        resource["categories"] = kind.categories.into();
    }
    let below: Vec<Value> = kind
        .subresources
        .iter()
        .map(|sub| {
            let body = match sub.body {
                ("", "", "") => response.clone(),
                (group, version, kind) => json!({ "group": group, "version": version, "kind": kind }),
            };
            json!({ "subresource": sub.name, "responseKind": body, "verbs": sub.verbs })
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
        let response = json!({ "group": metrics::GROUP, "version": metrics::VERSION, "kind": kind });
        let scope = if *namespaced { "Namespaced" } else { "Cluster" };
        json!({ "resource": resource, "responseKind": response, "scope": scope, "singularResource": "", "verbs": verbs })
    };
    rows.map(row).collect()
}

fn resources(group: &str, version: &str) -> Value {
    let mut all = measured(group, false);
    for kind in kinds(group) {
        let mut resource = json!({
            "name": kind.resource, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
            "verbs": verbs(kind),
        });
        if !kind.short_names.is_empty() {
            resource["shortNames"] = kind.short_names.into();
        }
        if !kind.categories.is_empty() {
            resource["categories"] = kind.categories.into();
        }
        all.push(resource);
        for sub in kind.subresources {
            let name = format!("{}/{}", kind.resource, sub.name);
            let mut below = json!({
                "name": name, "singularName": "", "namespaced": kind.namespaced, "kind": kind.kind, "verbs": sub.verbs,
            });
            if let (group, version, body) = sub.body
                && !body.is_empty()
            {
                below["group"] = group.into();
                below["version"] = version.into();
                below["kind"] = body.into();
            }
            all.push(below);
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_the_form_that_they_understand() {
        let newest = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        let kind = |accept: &str| document("/apis", accept).expect("served").1["kind"].clone();
        assert_eq!((kind(newest), kind(beta)), ("APIGroupDiscoveryList".into(), "APIGroupList".into()));
        let core = document("/api/v1", "").expect("served").1;
        let eviction =
            core["resources"].as_array().expect("a list").iter().find(|found| found["name"] == "pods/eviction");
        assert_eq!(eviction.expect("drain looks for it")["group"], "policy");
        assert!(document("/apis/none.example", "").is_none());
        let measured = document("/apis/metrics.k8s.io/v1beta1", "").expect("kubectl top looks for it").1;
        assert_eq!(measured["resources"][1]["kind"], "PodMetrics");
        let newest = document("/apis", newest).expect("served").1;
        let groups = newest["items"].as_array().expect("groups");
        let last = &groups.last().expect("some")["versions"][0]["resources"];
        assert_eq!((&last[0]["resource"], &last[0]["responseKind"]["kind"]), (&"nodes".into(), &"NodeMetrics".into()));
    }
}
