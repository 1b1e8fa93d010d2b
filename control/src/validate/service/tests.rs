//! What Services may be and become.

use super::*;

fn said(check: impl Fn(&mut Errors)) -> Vec<String> {
    let mut errors = Errors::default();
    check(&mut errors);
    errors.into_list().into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

fn service(spec: Value) -> Value {
    let mut whole = json!({ "type": "ClusterIP", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }] });
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    json!({ "spec": whole })
}

#[test]
fn each_type_has_its_fields() {
    for (spec, wanted) in [
        (json!({}), ""),
        (json!({ "ports": [] }), "spec.ports: Required value"),
        (json!({ "ports": [], "clusterIP": "None", "clusterIPs": ["None"] }), ""),
        (
            json!({ "type": "LoadBalancer", "clusterIP": "None", "clusterIPs": ["None"] }),
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services",
        ),
        (
            json!({ "type": "ExternalName" }),
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services|spec.externalName: Required value",
        ),
        (
            json!({ "type": "Bad" }),
            "spec.type: Unsupported value: \"Bad\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \
             \"NodePort\"",
        ),
        (
            json!({ "loadBalancerSourceRanges": ["10.0.0.0/99"], "loadBalancerClass": "a.b/c" }),
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'|\
             spec.LoadBalancerSourceRanges[0]: Invalid value: \"10.0.0.0/99\": must be a valid CIDR value, (e.g. \
             10.9.8.0/24 or 2001:db8::/64)|spec.loadBalancerClass: Forbidden: may only be used when `type` is \
             'LoadBalancer'",
        ),
        (
            json!({ "externalTrafficPolicy": "Local" }),
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
        ),
        (
            json!({ "clusterIPs": ["10.96.0.6"] }),
            "spec.clusterIPs: Invalid value: [\"10.96.0.6\"]: first value must match `clusterIP`",
        ),
        (json!({ "ipFamilies": ["IPv4", "IPv4"] }), "spec.ipFamilies[1]: Duplicate value: \"IPv4\""),
        (
            json!({ "externalIPs": ["127.0.0.1"] }),
            "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
    ] {
        assert_eq!(said(|errors| whole(&service(spec.clone()), errors)).join("|"), wanted, "{spec}");
    }
}

#[test]
fn ports_are_named_and_differ() {
    let ports = json!([{ "port": 1, "protocol": "TCP", "nodePort": 30000 }, { "port": 1, "protocol": "TCP", "targetPort": 70000 }]);
    assert_eq!(
        said(|errors| whole(&service(json!({ "ports": ports })), errors)),
        [
            "spec.ports[0].name: Required value",
            "spec.ports[1].name: Required value",
            "spec.ports[1].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":1,\
             \"TargetPort\":0,\"NodePort\":0}",
        ]
    );
}

#[test]
fn affinity_lasts_a_day_at_most() {
    for (seconds, wrong) in [(0, 1), (1, 0), (86_400, 0), (86_401, 1)] {
        let spec = json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": seconds } } });
        assert_eq!(said(|errors| whole(&service(spec.clone()), errors)).len(), wrong, "{seconds}");
    }
}

#[test]
fn addresses_stay() {
    let moved = service(json!({ "clusterIP": "10.96.0.6", "clusterIPs": ["10.96.0.6"] }));
    assert_eq!(
        said(|errors| update(&service(json!({})), &moved, errors)),
        ["spec.clusterIPs[0]: Invalid value: [\"10.96.0.6\"]: may not change once set"]
    );
    let named = json!({ "spec": { "type": "ExternalName", "externalName": "a.example.com." } });
    assert!(said(|errors| update(&service(json!({})), &named, errors)).is_empty());
}

#[test]
fn only_balanced_services_have_an_entry() {
    let ingress =
        json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }, { "hostname": "10.0.0.1", "ipMode": "VIP" }] } });
    for (kind, wrong) in [("ClusterIP", 1), ("LoadBalancer", 3)] {
        let mut new = service(json!({ "type": kind }));
        new["status"] = ingress.clone();
        assert_eq!(said(|errors| status(&Value::Null, &new, errors)).len(), wrong, "{kind}");
    }
}

#[test]
fn what_goes_out_of_use_is_said() {
    let said = warnings(&service(json!({ "externalIPs": ["192.0.2.1"], "trafficDistribution": "PreferClose" })));
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(warnings(&service(json!({}))).is_empty());
}
