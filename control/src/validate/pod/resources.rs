//! Compute resources of containers and of pods. Source: k8s.io/kubernetes `validateResourceRequirements`,
//! `pkg/apis/core/helper/helpers.go`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::validate::amount::Amount;
use crate::validate::field::{Errors, Path};
use crate::validate::names;
use crate::validate::read::{entries, held, list, text};

const HUGE_PAGES: &str = "hugepages-";
const OF_CONTAINERS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Counted by quotas; whole.
const COUNTS: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const OF_QUOTAS: [&str; 8] = [
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "storage",
    "requests.storage",
];

/// Known without a domain in front, or of Kubernetes' own.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

fn is_standard(name: &str) -> bool {
    let huge = name.strip_prefix("requests.").unwrap_or(name).starts_with(HUGE_PAGES);
    huge || OF_CONTAINERS.contains(&name) || COUNTS.contains(&name) || OF_QUOTAS.contains(&name)
}

/// Whether more may be promised than there is.
fn may_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE_PAGES)
}

/// A value of a resource: not negative, whole where it counts things.
pub fn quantity(name: &str, value: &Value, path: &Path, errors: &mut Errors) {
    let amount = Amount::of(value);
    if amount.is_negative() {
        errors.invalid(path, &amount.to_string(), "must be greater than or equal to 0");
    }
    if (COUNTS.contains(&name) || is_extended(name)) && !amount.is_whole() {
        errors.invalid(path, &amount.to_string(), "must be an integer");
    }
}

fn resource_name(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let wrong = names::qualified_name(name);
    errors.malformed(path, name, &wrong);
    let unknown = wrong.is_empty() && !name.contains('/') && !is_standard(name);
    if unknown {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
    wrong.is_empty() && !unknown
}

fn container_resource(name: &str, path: &Path, errors: &mut Errors) {
    resource_name(name, path, errors);
    if !name.contains('/') {
        if !OF_CONTAINERS.contains(&name) && !name.starts_with(HUGE_PAGES) {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

/// Whether a pod as a whole can have it.
fn is_of_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with(HUGE_PAGES)
}

fn pod_resource(name: &str, path: &Path, errors: &mut Errors) {
    if resource_name(name, path, errors) && !is_of_pods(name) {
        errors.not_supported(path, name, &["cpu", HUGE_PAGES, "memory"]);
    }
}

type NameCheck = fn(&str, &Path, &mut Errors);

/// `resources` of a container.
pub(super) fn of_container(resources: &Value, claims: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    requirements(resources, container_resource, path, errors);
    claim_names(list(resources, "claims"), claims, &path.child("claims"), errors);
}

/// `overhead`: limits of a container that nobody sees.
pub(super) fn overhead(overhead: &Value, path: &Path, errors: &mut Errors) {
    let limits = serde_json::json!({ "limits": overhead });
    requirements(&limits, container_resource, path, errors);
}

fn requirements(resources: &Value, name_check: NameCheck, path: &Path, errors: &mut Errors) {
    let (limits, requests) = (path.child("limits"), path.child("requests"));
    let (mut huge, mut ordinary) = (false, false);
    for (field, path) in [("limits", &limits), ("requests", &requests)] {
        for (name, value) in entries(resources, field) {
            let place = path.key(name);
            name_check(name, &place, errors);
            quantity(name, value, &place, errors);
            if field == "requests" {
                within_limit(name, value, &resources["limits"], (&limits, &requests), errors);
            }
            if name.starts_with(HUGE_PAGES) {
                huge = true;
                whole_pages(name, value, &place, errors);
            }
            ordinary |= matches!(name, "cpu" | "memory");
        }
    }
    if huge && !ordinary {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

fn within_limit(name: &str, value: &Value, limits: &Value, paths: (&Path, &Path), errors: &mut Errors) {
    let request = Amount::of(value);
    let Some(limit) = held(limits, name).map(Amount::of) else {
        if !may_overcommit(name) {
            errors.required(paths.0, "Limit must be set for non overcommitable resources");
        }
        return;
    };
    if request.cmp(&limit).is_ne() && !may_overcommit(name) {
        errors.invalid(paths.1, &request.to_string(), &format!("must be equal to {name} limit of {limit}"));
    } else if request > limit {
        errors.invalid(
            paths.1,
            &request.to_string(),
            &format!("must be less than or equal to {name} limit of {limit}"),
        );
    }
}

fn whole_pages(name: &str, value: &Value, path: &Path, errors: &mut Errors) {
    let (amount, page) = (Amount::of(value), Amount::of(&name.trim_start_matches(HUGE_PAGES).into()));
    if !page.is_whole() || !amount.is_multiple_of(page) {
        errors.invalid(path, &amount.to_string(), &format!("{amount} is not positive integer multiple of {name}"));
    }
}

/// Claims that a container uses: the pod must have them, each request is named once.
fn claim_names(claims: &[Value], known: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (at, claim) in claims.iter().enumerate() {
        let (place, name, request) = (path.index(at), text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.required(&place, "");
            continue;
        }
        if seen.contains(name) {
            errors.duplicate(&place, name);
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                errors.malformed(&place.child("request"), request, &names::dns1123_label(request));
                key = format!("{name}/{request}");
            }
            let parts = seen.iter().filter(|other| other.split_once('/').is_some_and(|(of, _)| of == name)).count();
            if seen.contains(&key) {
                errors.duplicate(&place, &key);
            } else if request.is_empty() {
                (0..parts).for_each(|_| errors.duplicate(&place, name));
            }
            seen.insert(key);
        }
        if !known.contains(name) {
            let mut why = "must be one of the names in pod.spec.resourceClaims".to_owned();
            if known.is_empty() {
                why.push_str(" which is empty");
            } else {
                why.push_str(": ");
                why.push_str(&known.iter().copied().collect::<Vec<_>>().join(", "));
            }
            errors.not_found_among(&place, name, &why);
        }
    }
}

/// `resources` of a pod: no less than its containers ask for together, no less than each of them may use.
pub(super) fn of_pod(spec: &Value, resources: &Value, claims: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    if text(&spec["os"], "name") == "windows" {
        return errors.forbidden(path, "may not be set for a windows pod");
    }
    if held(resources, "claims").is_some() {
        errors.forbidden(&path.child("claims"), "claims may not be set for Resources at pod-level");
    }
    requirements(resources, pod_resource, path, errors);
    claim_names(list(resources, "claims"), claims, &path.child("claims"), errors);
    for (field, all) in [("requests", true), ("limits", false)] {
        // Of limits only those that cannot be overcommitted must hold all containers together.
        for (name, together) in
            together(spec, field).into_iter().filter(|(name, _)| all || name.starts_with(HUGE_PAGES))
        {
            let Some(own) = held(&resources[field], name).map(Amount::of).filter(|own| together > *own) else {
                continue;
            };
            let why = format!("must be greater than or equal to aggregate container {field} of {together}");
            errors.invalid(&path.child(field).key(name), &own.to_string(), &why);
        }
    }
    for (at, container) in list(spec, "containers").iter().enumerate() {
        for (name, value) in entries(&container["resources"], "limits") {
            let Some(limit) = held(&resources["limits"], name).map(Amount::of) else { continue };
            let own = Amount::of(value);
            if own > limit {
                let place = path.child("containers").index(at).key(name).child("limits");
                errors.invalid(
                    &place,
                    &own.to_string(),
                    &format!("must be less than or equal to pod limits of {limit}"),
                );
            }
        }
    }
}

fn amounts<'a>(container: &'a Value, field: &str) -> impl Iterator<Item = (&'a str, Amount)> {
    entries(&container["resources"], field).map(|(name, value)| (name, Amount::of(value)))
}

fn add<'a>(sum: &mut BTreeMap<&'a str, Amount>, name: &'a str, amount: Amount) {
    sum.entry(name).and_modify(|held| *held = held.plus(amount)).or_insert(amount);
}

/// What the containers of a pod ask for, or may use, when they need most.
/// Source: k8s.io/component-helpers `resource/helpers.go`.
fn together<'a>(spec: &'a Value, field: &str) -> BTreeMap<&'a str, Amount> {
    let mut sum: BTreeMap<&str, Amount> = BTreeMap::new();
    for container in list(spec, "containers") {
        amounts(container, field).for_each(|(name, amount)| add(&mut sum, name, amount));
    }
    let mut staying: BTreeMap<&str, Amount> = BTreeMap::new();
    let mut starting: BTreeMap<&str, Amount> = BTreeMap::new();
    for container in list(spec, "initContainers") {
        let stays = text(container, "restartPolicy") == "Always";
        for (name, amount) in amounts(container, field) {
            let mut peak = staying.get(name).map_or(amount, |held| amount.plus(*held));
            if stays {
                add(&mut sum, name, amount);
                add(&mut staying, name, amount);
                peak = staying[name];
            }
            starting.entry(name).and_modify(|held| *held = (*held).max(peak)).or_insert(peak);
        }
    }
    for (name, peak) in starting {
        sum.entry(name).and_modify(|held| *held = (*held).max(peak)).or_insert(peak);
    }
    sum
}
