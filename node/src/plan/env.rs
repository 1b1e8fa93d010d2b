//! A container's environment: from ConfigMaps, Secrets, the downward API, literals and the services around it.
//!
//! Source: kubelet's `makeEnvironmentVariables` and `pkg/kubelet/envvars`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, PodStatus, Secret, Service};

use super::downward::{self, Allocatable};
use super::expand::expand;
use super::spec;

/// What is looked up while the environment is made.
pub trait Lookup {
    /// A ConfigMap of the pod's namespace.
    fn config_map(&self, name: &str) -> Option<ConfigMap>;
    /// A Secret of the pod's namespace.
    fn secret(&self, name: &str) -> Option<Secret>;
}

/// All that a container's environment is made from.
pub struct Inputs<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its status, for its addresses.
    pub status: &'a PodStatus,
    /// Services of the pod's namespace, and `default/kubernetes`.
    pub services: &'a [Service],
    /// What the node can give.
    pub node: Allocatable,
}

/// The environment, sorted by name; an error is the message of a `CreateContainerConfigError`.
///
/// # Errors
///
/// A ConfigMap, Secret or key that is not optional is missing, or a field is unknown.
pub fn environment(
    inputs: &Inputs<'_>,
    container: &Container,
    lookup: &dyn Lookup,
) -> Result<BTreeMap<String, String>, String> {
    let mut from = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            let data = found("configmap", &reference.name, lookup.config_map(&reference.name), reference.optional)?
                .and_then(|map| map.data);
            from.extend(data.into_iter().flatten().map(|(k, v)| (format!("{prefix}{k}"), v)));
        }
        if let Some(reference) = &source.secret_ref {
            let data = found("secret", &reference.name, lookup.secret(&reference.name), reference.optional)?
                .and_then(|secret| secret.data);
            let text = |v: Vec<u8>| String::from_utf8_lossy(&v).into_owned();
            from.extend(data.into_iter().flatten().map(|(k, v)| (format!("{prefix}{k}"), text(v.0))));
        }
    }
    let services = service_links(inputs);
    let mut own = BTreeMap::new();
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => {
                let text = variable.value.as_deref().unwrap_or_default();
                let known = |name: &str| own.get(name).or_else(|| services.get(name)).map(String::as_str);
                Some(expand(text, known))
            }
            Some(source) => value_from(inputs, container, source, lookup)?,
        };
        if let Some(value) = value {
            own.insert(variable.name.clone(), value);
        }
    }
    let mut all = services;
    all.extend(from);
    all.extend(own);
    Ok(all)
}

fn found<T>(what: &str, name: &str, object: Option<T>, optional: Option<bool>) -> Result<Option<T>, String> {
    match object {
        None if optional != Some(true) => Err(format!("{what} \"{name}\" not found")),
        other => Ok(other),
    }
}

fn value_from(
    inputs: &Inputs<'_>,
    container: &Container,
    source: &EnvVarSource,
    lookup: &dyn Lookup,
) -> Result<Option<String>, String> {
    let namespace = inputs.pod.metadata.namespace.as_deref().unwrap_or_default();
    let missing = |what: &str, name: &str, key: &str| format!("couldn't find key {key} in {what} {namespace}/{name}");
    if let Some(reference) = &source.field_ref {
        let value = downward::field(inputs.pod, inputs.status, &reference.field_path);
        return value.map(Some).ok_or_else(|| format!("unsupported fieldPath: {}", reference.field_path));
    }
    if let Some(reference) = &source.resource_field_ref {
        let value = downward::resource(inputs.pod, Some(container), reference, inputs.node);
        return value.map(Some).ok_or_else(|| format!("unsupported container resource: {}", reference.resource));
    }
    if let Some(reference) = &source.config_map_key_ref {
        let map = found("configmap", &reference.name, lookup.config_map(&reference.name), reference.optional)?;
        let value = map.and_then(|m| m.data).and_then(|mut data| data.remove(&reference.key));
        return match value {
            None if reference.optional != Some(true) => Err(missing("ConfigMap", &reference.name, &reference.key)),
            other => Ok(other),
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let secret = found("secret", &reference.name, lookup.secret(&reference.name), reference.optional)?;
        let value = secret.and_then(|s| s.data).and_then(|mut data| data.remove(&reference.key));
        return match value {
            None if reference.optional != Some(true) => Err(missing("Secret", &reference.name, &reference.key)),
            other => Ok(other.map(|v| String::from_utf8_lossy(&v.0).into_owned())),
        };
    }
    Err("this kind of valueFrom is not supported by this agent".to_owned())
}

/// The Docker-link variables of services; without `enableServiceLinks` only those of the API server.
fn service_links(inputs: &Inputs<'_>) -> BTreeMap<String, String> {
    let links = spec::of(inputs.pod).enable_service_links.unwrap_or(true);
    let namespace = inputs.pod.metadata.namespace.as_deref();
    let mut env = BTreeMap::new();
    for service in inputs.services {
        let meta = &service.metadata;
        let api_server = meta.namespace.as_deref() == Some("default") && meta.name.as_deref() == Some("kubernetes");
        if api_server || (links && meta.namespace.as_deref() == namespace) {
            link(&mut env, service);
        }
    }
    env
}

fn link(env: &mut BTreeMap<String, String>, service: &Service) {
    let Some(spec) = &service.spec else { return };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { return };
    let name = service.metadata.name.as_deref().unwrap_or_default().replace('-', "_").to_uppercase();
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    for (at, port) in spec.ports.iter().flatten().enumerate() {
        let number = port.port;
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{number}", protocol.to_lowercase());
        if at == 0 {
            env.insert(format!("{name}_SERVICE_HOST"), ip.to_owned());
            env.insert(format!("{name}_SERVICE_PORT"), number.to_string());
            env.insert(format!("{name}_PORT"), url.clone());
        }
        if let Some(label) = port.name.as_deref().filter(|n| !n.is_empty()) {
            let label = label.replace('-', "_").to_uppercase();
            env.insert(format!("{name}_SERVICE_PORT_{label}"), number.to_string());
        }
        let prefix = format!("{name}_PORT_{number}_{protocol}");
        env.insert(prefix.clone(), url);
        env.insert(format!("{prefix}_PROTO"), protocol.to_lowercase());
        env.insert(format!("{prefix}_PORT"), number.to_string());
        env.insert(format!("{prefix}_ADDR"), ip.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Objects;

    impl Lookup for Objects {
        fn config_map(&self, name: &str) -> Option<ConfigMap> {
            let map = json!({"data": {"mode": "fast", "B": "from-map"}});
            (name == "conf").then(|| serde_json::from_value(map).expect("a ConfigMap"))
        }
        fn secret(&self, name: &str) -> Option<Secret> {
            let secret = json!({"data": {"key": "aHVudGVyMg=="}});
            (name == "cred").then(|| serde_json::from_value(secret).expect("a Secret"))
        }
    }

    fn check(container: serde_json::Value) -> Result<String, String> {
        let mut container = container;
        container["name"] = json!("app");
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "labels": {"a": "1", "b": "x\"y"}},
            "spec": {"nodeName": "n1", "containers": [container]}}))
        .expect("a pod");
        let services: Vec<Service> = vec![
            serde_json::from_value(json!({
            "metadata": {"name": "my-db", "namespace": "ns"},
            "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "sql", "port": 5432}]}}))
            .expect("a service"),
        ];
        let status = PodStatus { pod_ip: Some("10.1.0.2".to_owned()), ..PodStatus::default() };
        let node = Allocatable { cpu_milli: 2000, memory_bytes: 1 << 30 };
        let inputs = Inputs { pod: &pod, status: &status, services: &services, node };
        let env = environment(&inputs, &spec::containers(&pod)[0], &Objects)?;
        Ok(env
            .into_iter()
            .filter(|(k, _)| !k.starts_with("MY_DB_PORT"))
            .map(|(k, v)| format!("{k}={v}"))
            .collect::<Vec<_>>()
            .join("; "))
    }

    #[test]
    fn every_source_gives_its_value() {
        let got = check(json!({
        "envFrom": [{"prefix": "X_", "configMapRef": {"name": "conf"}}, {"secretRef": {"name": "none", "optional": true}}],
        "resources": {"limits": {"cpu": "1500m"}},
        "env": [
            {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(MY_DB_SERVICE_HOST)-$(NO)"},
            {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "mode"}}},
            {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "cred", "key": "key"}}},
            {"name": "OPT", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "nix", "optional": true}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "LB", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['b']"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        ]}));
        let expected = "A=1; B=1-10.96.0.9-$(NO); CPU=2; IP=10.1.0.2; LB=x\"y; MEM=1024; MODE=fast; \
            MY_DB_SERVICE_HOST=10.96.0.9; MY_DB_SERVICE_PORT=5432; MY_DB_SERVICE_PORT_SQL=5432; PASS=hunter2; \
            X_B=from-map; X_mode=fast";
        assert_eq!(got.as_deref(), Ok(expected));
    }

    #[test]
    fn what_is_missing_is_named() {
        let key = |source| check(json!({"env": [{"name": "A", "valueFrom": source}]})).expect_err("missing");
        assert_eq!(key(json!({"configMapKeyRef": {"name": "x", "key": "k"}})), "configmap \"x\" not found");
        assert_eq!(
            key(json!({"configMapKeyRef": {"name": "conf", "key": "k"}})),
            "couldn't find key k in ConfigMap ns/conf"
        );
        assert_eq!(key(json!({"secretKeyRef": {"name": "cred", "key": "k"}})), "couldn't find key k in Secret ns/cred");
        assert_eq!(
            check(json!({"envFrom": [{"secretRef": {"name": "x"}}]})).expect_err("missing"),
            "secret \"x\" not found"
        );
    }
}
