//! A pod's /etc/hosts and /etc/resolv.conf.
//!
//! Source: kubelet's `kubelet_pods.go` and `network/dns`.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

use super::container::hostname;
use super::spec;

/// What the cluster's DNS is called and where it answers.
#[derive(Debug, Clone, Default)]
pub struct ClusterDns {
    /// E.g. `cluster.local`.
    pub domain: String,
    /// Its addresses; without any, pods use the node's resolvers.
    pub servers: Vec<IpAddr>,
}

/// The text of /etc/hosts for a pod with a network of its own.
pub fn hosts(pod: &Pod, ips: &[IpAddr], domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    let name = hostname(pod);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    for ip in ips {
        match spec::of(pod).subdomain.as_deref().filter(|s| !s.is_empty()) {
            Some(sub) => text.push_str(&format!("{ip}\t{name}.{sub}.{namespace}.svc.{domain}\t{name}\n")),
            None => text.push_str(&format!("{ip}\t{name}\n")),
        }
    }
    with_aliases(pod, text)
}

/// A hosts file with the pod's `hostAliases` after it.
pub fn with_aliases(pod: &Pod, mut text: String) -> String {
    let aliases = spec::of(pod).host_aliases.iter().flatten();
    for (at, alias) in aliases.enumerate() {
        if at == 0 {
            text.push_str("\n# Entries added by HostAliases.\n");
        }
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

/// The text of /etc/resolv.conf, from the pod's policy, the cluster's DNS and the node's own file.
pub fn resolv_conf(pod: &Pod, cluster: &ClusterDns, node: &str) -> String {
    let of = spec::of(pod);
    let policy = match of.dns_policy.as_deref() {
        Some("ClusterFirst") | None if spec::host_network(pod) => "Default",
        Some(policy) => policy,
        None => "ClusterFirst",
    };
    let mut conf = match policy {
        "None" => Conf::default(),
        "ClusterFirst" | "ClusterFirstWithHostNet" if !cluster.servers.is_empty() => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let domain = &cluster.domain;
            let mut search = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            search.extend(parse(node).search);
            Conf {
                servers: cluster.servers.iter().map(ToString::to_string).collect(),
                search,
                options: vec!["ndots:5".to_owned()],
            }
        }
        _ => parse(node),
    };
    if let Some(own) = &of.dns_config {
        conf.servers.extend(own.nameservers.iter().flatten().cloned());
        conf.search.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            conf.options.retain(|o| o.split(':').next() != Some(&name));
            conf.options.push(option.value.as_ref().map_or_else(|| name.clone(), |v| format!("{name}:{v}")));
        }
    }
    conf.text()
}

#[derive(Debug, Default)]
struct Conf {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
}

impl Conf {
    fn text(mut self) -> String {
        let mut seen = std::collections::BTreeSet::new();
        self.search.retain(|s| seen.insert(s.clone()));
        let mut text = String::new();
        for server in &self.servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.search.is_empty() {
            text.push_str(&format!("search {}\n", self.search.join(" ")));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

fn parse(text: &str) -> Conf {
    let mut conf = Conf::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => conf.servers.extend(words.next()),
            Some("search") => conf.search = words.collect(),
            Some("options") => conf.options = words.collect(),
            _ => {}
        }
    }
    conf
}

#[cfg(test)]
mod tests {
    use super::{ClusterDns, hosts, resolv_conf};
    use serde_json::json;

    #[test]
    fn files_are_as_the_kubelet_writes_them() {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"containers": [], "subdomain": "sub", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}],
                "dnsConfig": {"options": [{"name": "ndots", "value": "2"}], "searches": ["x.test"]}}}))
        .expect("a pod");
        let text = hosts(&pod, &[[10, 1, 0, 2].into()], "cluster.local");
        assert!(
            text.ends_with(
                "10.1.0.2\tp.sub.ns.svc.cluster.local\tp\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"
            )
        );
        let dns = ClusterDns { domain: "cluster.local".to_owned(), servers: vec![[10, 96, 0, 10].into()] };
        let expected = "nameserver 10.96.0.10\n\
            search ns.svc.cluster.local svc.cluster.local cluster.local lan x.test\noptions ndots:2\n";
        assert_eq!(resolv_conf(&pod, &dns, "nameserver 1.1.1.1\nsearch lan\n"), expected);
        let without = resolv_conf(&pod, &ClusterDns::default(), "nameserver 1.1.1.1\nsearch lan\n");
        assert_eq!(without, "nameserver 1.1.1.1\nsearch lan x.test\noptions ndots:2\n");
    }
}
