//! Administrator's credentials: read from a server's `admin.kubeconfig`, written with one context per server.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// PEM texts of the administrator of a cluster.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) ca_pem: String,
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
}

/// Reads the first cluster and user of a kubeconfig.
pub(crate) fn read(path: &Path) -> anyhow::Result<Credentials> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let config: Value = serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
    let field = |pointer: &str| -> anyhow::Result<String> {
        let Some(encoded) = config.pointer(pointer).and_then(Value::as_str) else {
            bail!("{}: no {pointer}", path.display());
        };
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded)?;
        Ok(String::from_utf8(bytes)?)
    };
    Ok(Credentials {
        ca_pem: field("/clusters/0/cluster/certificate-authority-data")?,
        cert_pem: field("/users/0/user/client-certificate-data")?,
        key_pem: field("/users/0/user/client-key-data")?,
    })
}

/// The kubeconfig of a cluster of several servers; the first is the current context.
///
/// JSON is YAML, and every client reads it.
pub(crate) fn compose(credentials: &Credentials, servers: &[(String, String)]) -> String {
    let encode = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let clusters: Vec<_> = servers
        .iter()
        .map(|(name, url)| {
            let authority = encode(&credentials.ca_pem);
            json!({ "name": name, "cluster": { "server": url, "certificate-authority-data": authority } })
        })
        .collect();
    let contexts: Vec<_> = servers
        .iter()
        .map(|(name, _)| json!({ "name": name, "context": { "cluster": name, "user": "admin" } }))
        .collect();
    let user = json!({
        "client-certificate-data": encode(&credentials.cert_pem),
        "client-key-data": encode(&credentials.key_pem),
    });
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": servers.first().map(|(name, _)| name),
        "clusters": clusters,
        "contexts": contexts,
        "users": [{ "name": "admin", "user": user }],
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_composed_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.kubeconfig");
        let credentials = Credentials { ca_pem: "CA".into(), cert_pem: "CERT".into(), key_pem: "KEY".into() };
        let servers =
            [("server-1".to_owned(), "https://a:6443".to_owned()), ("server-2".into(), "https://b:6443".into())];
        std::fs::write(&path, compose(&credentials, &servers)).unwrap();
        let read = read(&path).unwrap();
        assert_eq!((read.ca_pem, read.cert_pem, read.key_pem), ("CA".into(), "CERT".into(), "KEY".into()));
        let config = kube::config::Kubeconfig::read_from(&path).unwrap();
        assert_eq!(config.contexts.len(), 2);
        assert_eq!(config.current_context.as_deref(), Some("server-1"));
    }
}
