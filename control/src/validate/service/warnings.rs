//! What is said of Services that are allowed.
//!
//! Source: k8s.io/kubernetes `pkg/api/service/warnings.go`, k8s.io/apimachinery `pkg/util/validation/ip.go`.

use std::net::Ipv6Addr;

use serde_json::Value;

use super::{HINTS, TOPOLOGY, is_headless, spec_path};
use crate::validate::field::Path;
use crate::validate::read::{held, list, text, texts};

/// Warnings about fields that mean nothing here, that go out of use, or that others would write otherwise.
pub(crate) fn warnings(service: &Value) -> Vec<String> {
    let (spec, mut said) = (&service["spec"], Vec::new());
    let (kind, path, outside) = (text(spec, "type"), spec_path(), !list(spec, "externalIPs").is_empty());
    if held(&service["metadata"]["annotations"], HINTS).is_some() {
        said.push(format!("annotation {HINTS} is deprecated, please use {TOPOLOGY} instead"));
    }
    let headless = kind == "ClusterIP" && is_headless(spec);
    let ignored =
        |fields: &mut Vec<String>, field: &str| fields.push(format!("spec.{field} is ignored for headless services"));
    if headless {
        if !text(spec, "loadBalancerIP").is_empty() {
            ignored(&mut said, "loadBalancerIP");
        }
        if outside {
            ignored(&mut said, "externalIPs");
        }
        if text(spec, "sessionAffinity") != "None" {
            ignored(&mut said, "SessionAffinity");
        }
    } else {
        written_otherwise(texts(spec, "clusterIPs"), &path.child("clusterIPs"), &mut said);
    }
    written_otherwise(texts(spec, "externalIPs"), &path.child("externalIPs"), &mut said);
    if outside && !headless && kind != "ExternalName" {
        said.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    said.extend(canonical(text(spec, "loadBalancerIP"), &path.child("loadBalancerIP")));
    written_otherwise(texts(spec, "loadBalancerSourceRanges"), &path.child("loadBalancerSourceRanges"), &mut said);
    if kind == "ExternalName" && outside {
        said.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if kind != "ExternalName" && !text(spec, "externalName").is_empty() {
        said.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if text(spec, "trafficDistribution") == "PreferClose" {
        let why = "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        said.push(why.to_owned());
    }
    said
}

fn written_otherwise<'a>(values: impl Iterator<Item = &'a str>, path: &Path, said: &mut Vec<String>) {
    said.extend(values.enumerate().filter_map(|(at, value)| canonical(value, &path.index(at))));
}

/// What is said of an IPv6 address, or range of them, that is not written as RFC 5952 has it.
fn canonical(value: &str, place: &Path) -> Option<String> {
    let (base, length) = value.split_once('/').map_or((value, None), |(base, length)| (base, Some(length)));
    let address: Ipv6Addr = base.parse().ok()?;
    let (what, wanted) = match length {
        None => ("address", address.to_string()),
        Some(length) => ("CIDR value", format!("{address}/{length}")),
    };
    (wanted != value)
        .then(|| format!("{place}: IPv6 {what} {value:?} should be in RFC 5952 canonical format ({wanted:?})"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_means_nothing_or_is_written_otherwise() {
        let headless = json!({ "spec": { "type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "sessionAffinity": "ClientIP",
            "externalIPs": ["2001:DB8::1"], "externalName": "a" } });
        assert_eq!(
            warnings(&headless),
            [
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
                "spec.externalIPs[0]: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
                "spec.externalName is ignored when spec.type is not \"ExternalName\"",
            ]
        );
        let balanced = json!({ "spec": { "type": "LoadBalancer", "clusterIP": "10.96.0.9", "sessionAffinity": "None",
            "loadBalancerSourceRanges": ["2001:db8:0::/48", "10.0.0.0/8"] } });
        let wanted = "spec.loadBalancerSourceRanges[0]: IPv6 CIDR value \"2001:db8:0::/48\" should be in RFC 5952 \
                      canonical format (\"2001:db8::/48\")";
        assert_eq!(warnings(&balanced), [wanted]);
    }
}
