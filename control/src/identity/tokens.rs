//! Service-account tokens: given out for objects that are there, and taken as long as those are.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use store::View;

use crate::identity::claims::{Bound, Claims, ISSUER, Named};
use crate::identity::{User, jwt};
use crate::kind::{self, Kind};
use crate::pki::signing::SigningKey;
use crate::registry::prepare::meta_str;
use crate::registry::shell::{Registry, Target, failed};
use crate::status::Status;

/// What is said of a text that is no token of this cluster.
pub const NO_TOKEN: &str = "invalid bearer token";

/// Gives tokens out and takes them; cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    registry: Registry,
    key: Arc<SigningKey>,
}

/// What a token is to be bound to.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    /// E.g. `v1`.
    pub api_version: String,
    /// `Pod`, `Secret`, `Node`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid; empty: whichever has the name.
    pub uid: String,
}

/// A token that is asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Of the account.
    pub namespace: String,
    /// The account's name.
    pub account: String,
    /// Empty: the API itself.
    pub audiences: Vec<String>,
    /// How long it shall hold.
    pub seconds: i64,
    /// Empty kind: nothing but the account.
    pub bound: Option<Reference>,
}

/// A token that was given out.
pub struct Given {
    /// The account as it is.
    pub account: Value,
    /// The token; it must not reach any log.
    pub token: String,
    /// When it was made.
    pub made: Timestamp,
    /// Until when it holds.
    pub expires: Timestamp,
}

/// The API's own audience.
pub fn own_audiences() -> Vec<String> {
    vec![ISSUER.to_owned()]
}

impl Tokens {
    /// Over the objects of a store, with the cluster's key.
    pub fn new(registry: Registry, key: SigningKey) -> Self {
        Tokens { registry, key: Arc::new(key) }
    }

    /// The key's public part, for those who check tokens themselves.
    pub fn jwk(&self) -> Value {
        self.key.jwk()
    }

    /// A new token, by objects as a majority knows them.
    ///
    /// # Errors
    /// 404 when the account or what it is bound to is not there; 400 and 409 when they do not belong together.
    pub async fn give(&self, asked: &Asked) -> Result<Given, Status> {
        self.registry.store().barrier().await.map_err(failed)?;
        let view = self.registry.store().view();
        let account = self.object(&view, kind::core("serviceaccounts"), &asked.namespace, &asked.account)?;
        let bound = self.bound(&view, asked, &account)?;
        let made = Timestamp::now();
        let iat = made.as_second();
        let exp = iat.saturating_add(asked.seconds);
        let expires = Timestamp::from_second(exp).map_err(|error| Status::bad_request(error.to_string()))?;
        let claims = Claims {
            aud: if asked.audiences.is_empty() { own_audiences() } else { asked.audiences.clone() },
            exp,
            iat,
            iss: ISSUER.to_owned(),
            jti: uuid::Uuid::new_v4().to_string(),
            bound,
            nbf: iat,
            sub: format!("system:serviceaccount:{}:{}", asked.namespace, asked.account),
        };
        let token = jwt::sign(&self.key, &claims).map_err(Status::internal)?;
        Ok(Given { account, token, made, expires })
    }

    fn object(&self, view: &View, kind: &'static Kind, namespace: &str, name: &str) -> Result<Value, Status> {
        Ok(self.registry.get(view, Target { kind, namespace, name, subresource: "" })?.value)
    }

    fn bound(&self, view: &View, asked: &Asked, account: &Value) -> Result<Bound, Status> {
        let namespace = asked.namespace.clone();
        let mut bound = Bound { namespace, node: None, pod: None, secret: None, serviceaccount: Named::of(account) };
        let Some(reference) = &asked.bound else { return Ok(bound) };
        let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
        let find = |resource: &str, namespace: &str| {
            let object = self.object(view, kind::core(resource), namespace, &reference.name)?;
            if reference.uid.is_empty() || meta_str(&object, "uid") == reference.uid {
                return Ok(object);
            }
            Err(other_uid(reference))
        };
        match (group, reference.kind.as_str()) {
            ("", "Pod") => {
                let pod = find("pods", &asked.namespace)?;
                if pod["spec"]["serviceAccountName"].as_str().unwrap_or_default() != asked.account {
                    return Err(Status::bad_request(format!(
                        "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                        asked.account
                    )));
                }
                bound.node = pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty()).map(|name| {
                    let node = self.object(view, kind::core("nodes"), "", name);
                    node.map_or_else(|_| Named { name: name.to_owned(), uid: String::new() }, |node| Named::of(&node))
                });
                bound.pod = Some(Named::of(&pod));
            }
            ("", "Secret") => bound.secret = Some(Named::of(&find("secrets", &asked.namespace)?)),
            ("", "Node") => bound.node = Some(Named::of(&find("nodes", "")?)),
            _ => {
                return Err(Status::bad_request(format!("cannot bind token to object of type {}", type_of(reference))));
            }
        }
        Ok(bound)
    }

    /// Whose token this is, and for whom of those that ask it is.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn take(&self, token: &str, asking: &[String]) -> Result<(User, Vec<String>), String> {
        let claims: Claims = jwt::read(&self.key, token).ok_or(NO_TOKEN)?;
        if claims.iss != ISSUER {
            return Err(NO_TOKEN.to_owned());
        }
        let now = Timestamp::now().as_second();
        let audiences = claims.hold(now, asking)?;
        if let Err(why) = self.alive(&claims, now) {
            // Another server may have made the account or the pod a moment ago.
            self.registry.store().barrier().await.map_err(|_| why)?;
            self.alive(&claims, now)?;
        }
        Ok((claims.user(), audiences))
    }

    fn alive(&self, claims: &Claims, now: i64) -> Result<(), String> {
        let view = self.registry.store().view();
        claims.alive(now, &|kind, namespace, name| self.object(&view, kind, namespace, name).ok())
    }
}

/// As Go prints a `GroupVersionKind`.
fn type_of(reference: &Reference) -> String {
    let (group, version) = reference.api_version.split_once('/').unwrap_or(("", &reference.api_version));
    format!("{group}/{version}, Kind={}", reference.kind)
}

fn other_uid(Reference { kind, name, uid, .. }: &Reference) -> Status {
    let why = format!(
        "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
         deleted and then recreated"
    );
    let text = format!("Operation cannot be fulfilled on {kind} {name:?}: {why}");
    Status { details: json!({ "name": name, "kind": kind }), ..Status::new(409, "Conflict", text) }
}
