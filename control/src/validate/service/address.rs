//! Addresses of Services inside the cluster: which are allowed, and that they stay.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::validate::field::Errors;
use crate::validate::names;
use crate::validate::read::{held, list, text, texts};
use crate::validate::service::{is_headless, spec_path};

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
const ONCE: &str = "may not change once set";

/// What a Service says of its addresses: also asked before any is given to it.
pub fn addresses(service: &Value, errors: &mut Errors) {
    let (spec, path) = (&service["spec"], spec_path());
    if text(spec, "type") == "ExternalName" {
        return;
    }
    let (place, all) = (path.child("clusterIPs"), &spec["clusterIPs"]);
    let (given, one): (Vec<&str>, &str) = (texts(spec, "clusterIPs").collect(), text(spec, "clusterIP"));
    match (one.is_empty(), given.first()) {
        (false, None) => errors.required(&place, ""),
        (false, Some(first)) if *first != one => errors.invalid(&place, all, "first value must match `clusterIP`"),
        (true, Some(_)) => errors.invalid(&place, all, "must be empty when `clusterIP` is not specified"),
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for (at, family) in texts(spec, "ipFamilies").enumerate() {
        let place = path.child("ipFamilies").index(at);
        if !FAMILIES.contains(&family) {
            errors.not_supported(&place, family, &FAMILIES);
        }
        if !seen.insert(family) {
            errors.duplicate(&place, family);
        }
    }
    if held(spec, "ipFamilyPolicy").is_some() && !POLICIES.contains(&text(spec, "ipFamilyPolicy")) {
        errors.not_supported(&path.child("ipFamilyPolicy"), text(spec, "ipFamilyPolicy"), &POLICIES);
    }
    let mut wrong = false;
    for (at, address) in given.iter().enumerate() {
        if at == 0 && *address == "None" {
            if given.len() > 1 {
                wrong = true;
                errors.invalid(&place, all, "'None' must be the first and only value");
            }
            continue;
        }
        let said = names::ip(address);
        wrong |= !said.is_empty();
        errors.malformed(&place.index(at), *address, &said);
    }
    if given.len() > 2 {
        errors.invalid(&place, all, "may only hold up to 2 values");
    }
    if wrong {
        return;
    }
    let is_v6 = |address: &str| address.contains(':');
    if given.len() > 1 && !(given.iter().any(|ip| is_v6(ip)) && given.iter().any(|ip| !is_v6(ip))) {
        errors.invalid(&place, all, "may specify no more than one IP for each IP family");
    }
    if is_headless(spec) {
        return;
    }
    for (at, (address, family)) in given.iter().zip(texts(spec, "ipFamilies")).enumerate() {
        let expected = match (family, is_v6(address)) {
            ("IPv4", true) => "IPv4",
            ("IPv6", false) => "IPv6",
            _ => continue,
        };
        let why = format!("expected an {expected} value as indicated by `ipFamilies[{at}]`");
        errors.invalid(&place.index(at), *address, &why);
    }
}

/// What a Service has of addresses and families stays, but for a second one that comes or goes.
pub(super) fn stay(before: &Value, after: &Value, errors: &mut Errors) {
    if text(before, "type") == "ExternalName" || text(after, "type") == "ExternalName" {
        return;
    }
    let (was_headless, is_headless_now) = (is_headless(before), is_headless(after));
    if !(was_headless && is_headless_now) {
        listed(before, after, ("clusterIPs", "clusterIP"), errors);
    }
    if !was_headless && !is_headless_now {
        listed(before, after, ("ipFamilies", "ipFamily"), errors);
    }
}

fn listed(before: &Value, after: &Value, (field, one): (&str, &str), errors: &mut Errors) {
    let (held_list, wanted): (Vec<&str>, Vec<&str>) = (texts(before, field).collect(), texts(after, field).collect());
    let (place, shown) = (spec_path().child(field), &after[field]);
    if held_list.len() == wanted.len() {
        for (at, _) in held_list.iter().zip(&wanted).enumerate().filter(|(_, (held, wanted))| held != wanted) {
            // Of families only the first place is ever named.
            let at = if field == "clusterIPs" { at } else { 0 };
            errors.invalid(&place.index(at), shown, ONCE);
        }
        return;
    }
    if held_list.len() > wanted.len() && list(after, "clusterIPs").is_empty() {
        errors.invalid(&place.index(0), shown, &format!("primary {one} can not be unset"));
    }
    if !held_list.is_empty() && wanted.first().is_some_and(|first| *first != held_list[0]) {
        errors.invalid(&place.index(0), &after["clusterIPs"], ONCE);
    }
    if held_list.len() > wanted.len() && wanted.len() == 1 && text(after, "ipFamilyPolicy") != "SingleStack" {
        let why = format!("must be set to 'SingleStack' when releasing the secondary {one}");
        errors.invalid(&spec_path().child("ipFamilyPolicy"), &after["ipFamilyPolicy"], &why);
    }
}
