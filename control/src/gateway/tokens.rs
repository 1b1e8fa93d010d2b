//! Tokens for pods' volumes: a node gets those of its own pods, bound to them.

use proto::agent::{TokenRequest, TokenResponse};

use crate::identity::tokens::{Asked, Reference, Tokens};
use crate::kind;
use crate::registry::prepare::meta_str;
use crate::registry::shell::{Registry, Target, failed};
use crate::status::Status;

/// How long a token holds at least and at most, whatever a node asks for. Units: seconds.
const SECONDS: std::ops::RangeInclusive<i64> = 600..=1 << 32;

/// Answers a node.
pub(super) async fn answer(registry: &Registry, tokens: &Tokens, node: &str, asked: TokenRequest) -> TokenResponse {
    let id = asked.id;
    match give(registry, tokens, node, asked).await {
        Ok((token, expires_at_ms)) => TokenResponse { id, token, expires_at_ms, error: String::new() },
        Err(status) => TokenResponse { id, error: status.message, ..TokenResponse::default() },
    }
}

async fn give(registry: &Registry, tokens: &Tokens, node: &str, asked: TokenRequest) -> Result<(String, i64), Status> {
    registry.store().barrier().await.map_err(failed)?;
    let (kind, namespace, name) = (kind::core("pods"), asked.pod_namespace, asked.pod_name);
    let target = Target { kind, namespace: &namespace, name: &name, subresource: "" };
    let pod = registry.get(&registry.store().view(), target)?.value;
    let own = pod["spec"]["nodeName"].as_str() == Some(node) && meta_str(&pod, "uid") == asked.pod_uid;
    if !own {
        return Err(Status::forbidden(kind, &name, "a node gets tokens of its own pods only"));
    }
    let bound = Reference { api_version: "v1".to_owned(), kind: "Pod".to_owned(), name, uid: asked.pod_uid };
    let asked = Asked {
        namespace,
        account: asked.service_account,
        audiences: asked.audiences,
        seconds: asked.expiration_seconds.clamp(*SECONDS.start(), *SECONDS.end()),
        bound: Some(bound),
    };
    let given = tokens.give(&asked).await?;
    Ok((given.token, given.expires.as_millisecond()))
}
