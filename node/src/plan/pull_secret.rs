//! What image pull secrets say: who may pull from which registry.
//!
//! Source: Kubernetes' `pkg/credentialprovider` (`.dockerconfigjson`, `.dockercfg`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use super::config::Credentials;

/// How Docker's own registry is called in old configurations, and in image names.
const DOCKER: (&str, &str) = ("index.docker.io", "docker.io");

/// All that a secret allows; what it says wrongly allows nothing.
pub fn credentials(secret: &Secret) -> Vec<Credentials> {
    let data = |key: &str| -> Option<Value> { serde_json::from_slice(&secret.data.as_ref()?.get(key)?.0).ok() };
    let all = data(".dockerconfigjson").map(|config| config["auths"].clone()).or_else(|| data(".dockercfg"));
    let entries = all.as_ref().and_then(Value::as_object);
    entries.into_iter().flatten().filter_map(|(registry, entry)| one(registry, entry)).collect()
}

fn one(registry: &str, entry: &Value) -> Option<Credentials> {
    let text = |field: &str| entry[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let decoded = text("auth").and_then(|auth| String::from_utf8(STANDARD.decode(auth).ok()?).ok());
    let pair = decoded.as_deref().and_then(|auth| auth.split_once(':'));
    let (username, password) = match (text("username"), text("password")) {
        (Some(username), Some(password)) => (username, password),
        _ => pair.map(|(username, password)| (username.to_owned(), password.to_owned()))?,
    };
    Some(Credentials { registry: host(registry), username, password })
}

/// The registry's host as image names have it: without scheme and path.
fn host(registry: &str) -> String {
    let bare = registry.strip_prefix("https://").or_else(|| registry.strip_prefix("http://")).unwrap_or(registry);
    let host = bare.split('/').next().unwrap_or(bare);
    if host == DOCKER.0 { DOCKER.1 } else { host }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(key: &str, config: &Value) -> Vec<String> {
        let text = STANDARD.encode(config.to_string());
        let secret = serde_json::from_value(json!({ "data": { key: text } })).expect("a secret");
        let line = |held: Credentials| format!("{} {} {}", held.registry, held.username, held.password);
        credentials(&secret).into_iter().map(line).collect()
    }

    #[test]
    fn both_forms_are_read_and_what_is_wrong_allows_nothing() {
        let auth = STANDARD.encode("joe:se:cret");
        let entries = json!({
            "https://index.docker.io/v1/": { "auth": auth },
            "reg.example:5000": { "username": "ann", "password": "p" },
            "wrong.example": { "auth": "%%" },
        });
        let wanted = ["docker.io joe se:cret", "reg.example:5000 ann p"];
        assert_eq!(shown(".dockerconfigjson", &json!({ "auths": entries })), wanted);
        assert_eq!(shown(".dockercfg", &entries), wanted);
        assert!(shown("other", &entries).is_empty());
    }
}
