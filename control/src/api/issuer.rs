//! What others need to check service-account tokens by themselves: `/openid/v1/jwks` and
//! `/.well-known/openid-configuration` (OpenID Connect Discovery 1.0, as far as Kubernetes serves it).

use http::Response;
use serde_json::json;

use crate::api::answer::{self, Body};
use crate::api::negotiate;
use crate::api::serve::Api;
use crate::identity::claims::ISSUER;
use crate::pki::signing::ALGORITHM;
use crate::status::Status;

const CONFIGURATION: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";
const JSON: &str = "application/json";
const KEY_SET: &str = "application/jwk-set+json";

/// The answer at a path of the issuer; none at other paths.
pub(crate) fn answer(api: &Api, place: &str, accept: &str) -> Option<Result<Response<Body>, Status>> {
    let (media_type, document) = match place {
        CONFIGURATION => {
            let document = json!({
                "issuer": ISSUER, "jwks_uri": format!("{ISSUER}{KEYS}"), "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": [ALGORITHM],
            });
            (JSON, document)
        }
        KEYS => (KEY_SET, json!({ "keys": [api.tokens.jwk()] })),
        _ => return None,
    };
    if !takes(accept, media_type) {
        let text = format!("406: Not Acceptable\n\nAvailable representations: {media_type}");
        return Some(Err(Status { details: json!({}), ..Status::new(406, "NotAcceptable", text) }));
    }
    Some(Ok(answer::whole(200, media_type, document.to_string())))
}

/// Whether an `Accept` header takes a media type.
fn takes(accept: &str, media_type: &str) -> bool {
    let fits = |clause: &str| {
        matches!(negotiate::media_type(clause), "*/*" | "application/*") || negotiate::media_type(clause) == media_type
    };
    accept.trim().is_empty() || accept.split(',').any(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_headers() {
        for (accept, taken) in
            [("", true), ("*/*", true), (JSON, false), ("text/html, application/*;q=0.8", true), (KEY_SET, true)]
        {
            assert_eq!(takes(accept, KEY_SET), taken, "{accept}");
        }
    }
}
