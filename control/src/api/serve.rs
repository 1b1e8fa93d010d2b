//! One path for every request: what it names, whether its user may, and where it is answered.

use std::sync::Arc;

use http::header::{ACCEPT, USER_AGENT};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body as HttpBody;
use serde_json::json;

use crate::api::answer::{self, Body};
use crate::api::negotiate::{self, Offer, Representation};
use crate::api::path::{self, Query, ResourcePath, Verb};
use crate::api::peers::Peers;
use crate::api::{discovery, health, issuer, metrics, openapi, read, review, subresource, watch, write};
use crate::authz::{Attributes, ResourceAttributes, forbidden};
use crate::gateway::Gateway;
use crate::identity::tokens::Tokens;
use crate::identity::{User, impersonate};
use crate::kind::{self, Kind};
use crate::registry::shell::{Registry, Target};
use crate::status::Status;
use crate::validate::warnings;

/// A body at most, bytes.
const BODY_BYTES_MAX: usize = 3 << 20;

/// The Kubernetes API of one server; cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub(crate) registry: Registry,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) tokens: Tokens,
}

/// A request for a resource that is served.
pub(crate) struct Call<'a> {
    pub(crate) api: &'a Api,
    pub(crate) user: &'a User,
    pub(crate) kind: &'static Kind,
    pub(crate) path: &'a ResourcePath,
    pub(crate) query: &'a Query,
    pub(crate) verb: Verb,
    pub(crate) parts: &'a Parts,
    pub(crate) body: bytes::Bytes,
}

impl Call<'_> {
    pub(crate) fn target(&self) -> Target<'_> {
        let ResourcePath { namespace, name, subresource, .. } = self.path;
        Target { kind: self.kind, namespace, name, subresource }
    }

    /// How the answer is written.
    pub(crate) fn representation(&self, offer: Offer) -> Result<Representation, Status> {
        represent(self.parts, self.query, offer)
    }

    pub(crate) fn header(&self, name: http::HeaderName) -> &str {
        header(self.parts, name).unwrap_or_default()
    }
}

fn header(parts: &Parts, name: http::HeaderName) -> Option<&str> {
    parts.headers.get(name)?.to_str().ok()
}

pub(crate) fn represent(parts: &Parts, query: &Query, offer: Offer) -> Result<Representation, Status> {
    let mut found = negotiate::negotiate(header(parts, ACCEPT), offer)?;
    found.pretty = negotiate::pretty(query.get("pretty"), header(parts, USER_AGENT).unwrap_or_default());
    Ok(found)
}

impl Api {
    /// Over the objects of a store, the nodes that are connected here, the other servers, and the tokens of accounts.
    pub fn new(registry: Registry, gateway: Arc<Gateway>, peers: Arc<Peers>, tokens: Tokens) -> Self {
        Api { registry, gateway, peers, tokens }
    }

    /// Answers a request of an authenticated user.
    pub async fn handle<B>(&self, request: Request<B>, user: &User) -> Response<Body>
    where
        B: HttpBody + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        match self.answer(&parts, body, user).await {
            Ok(response) => response,
            Err(status) => answer::error(&status),
        }
    }

    async fn answer<B>(&self, parts: &Parts, body: B, user: &User) -> Result<Response<Body>, Status>
    where
        B: HttpBody + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let target = path::parse(parts.uri.path());
        let attributes = attributes(parts, &target, &query)?;
        let user = &self.acting(parts, user, &attributes)?;
        self.authorize(user, &attributes)?;
        let path = match &target {
            path::Target::Resource(path) => path,
            path::Target::Unserved => return Err(nowhere()),
            path::Target::Other(place) => return self.elsewhere(parts, &query, place).await,
        };
        if path.group == metrics::GROUP {
            return metrics::answer(self, parts, &query, path).await;
        }
        let kind = kind::find(&path.group, &path.version, &path.resource).ok_or_else(nowhere)?;
        if kind.namespaced && path.namespace.is_empty() && !path.name.is_empty() {
            return Err(nowhere());
        }
        let verb = path::verb(parts.method.as_str(), path, &query).ok_or_else(not_allowed)?;
        if kind.stored && kind.namespaced && path.namespace.is_empty() && !matches!(verb, Verb::List | Verb::Watch) {
            return Err(not_allowed());
        }
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let text = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
        let body = body.map_err(|_| Status::new(413, "RequestEntityTooLarge", text))?.to_bytes();
        // What is written is written on the user's behalf; admission may have a word for them.
        let api = &Api { registry: self.registry.by(user), ..self.clone() };
        let call = Call { api, user, kind, path, query: &query, verb, parts, body };
        let answered = call.dispatch().await.unwrap_or_else(|status| answer::error(&status));
        // Said with errors, too.
        let mut said: Vec<String> = warnings::of_kind(kind).map(str::to_owned).into_iter().collect();
        said.extend(api.registry.warnings());
        Ok(answer::warn(answered, &said))
    }

    /// Whether a user may.
    ///
    /// # Errors
    /// 403, saying what was not allowed.
    pub fn authorize(&self, user: &User, attributes: &Attributes) -> Result<(), Status> {
        let decision = self.registry.authorizer().decide(user, attributes);
        if decision.allowed { Ok(()) } else { Err(forbidden(user, attributes, &decision.reason)) }
    }

    /// Whom a request acts as: its caller, or whom the headers name if the caller may.
    ///
    /// # Errors
    /// 400 when they name nobody, 403 when the caller may not.
    pub fn acting(&self, parts: &Parts, user: &User, attributes: &Attributes) -> Result<User, Status> {
        let headers = parts.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let Some(wanted) = impersonate::wanted(headers)? else { return Ok(user.clone()) };
        let authorizer = self.registry.authorizer();
        impersonate::become_user(user, &wanted, attributes, &|asked| authorizer.decide(user, asked))
    }

    /// What is not a resource: discovery, health, versions.
    async fn elsewhere(&self, parts: &Parts, query: &Query, place: &str) -> Result<Response<Body>, Status> {
        if let Some(response) = health::answer(self, query, place).await {
            return Ok(response);
        }
        let accept = header(parts, ACCEPT).unwrap_or_default();
        if let Some(response) = issuer::answer(self, place, accept) {
            return response;
        }
        if let Some(response) = openapi::answer(place) {
            return Ok(response);
        }
        match discovery::document(place, accept) {
            Some((media_type, document)) => {
                let text = serde_json::to_vec(&document).map_err(Status::internal)?;
                Ok(answer::whole(200, media_type, text))
            }
            None => Err(nowhere()),
        }
    }
}

impl Call<'_> {
    async fn dispatch(self) -> Result<Response<Body>, Status> {
        if !self.kind.stored {
            return if self.verb == Verb::Create { review::answer(&self).await } else { Err(not_allowed()) };
        }
        let known = self.path.subresource.is_empty() || self.kind.subresource(&self.path.subresource).is_some();
        if !known {
            return Err(nowhere());
        }
        match (self.verb, self.path.subresource.as_str()) {
            (Verb::Update, "finalize") => write::update(&self).await,
            (Verb::Get, "" | "status" | "ephemeralcontainers" | "resize") => read::get(&self).await,
            (Verb::List, "") => read::list(&self).await,
            (Verb::Watch, "") => watch::watch(&self).await,
            (Verb::Create, "") => write::create(&self).await,
            (Verb::Update, "" | "status" | "ephemeralcontainers" | "resize") => write::update(&self).await,
            (Verb::Patch, "" | "status" | "ephemeralcontainers" | "resize") => write::patch(&self).await,
            (Verb::Delete, "") => write::delete(&self).await,
            (Verb::DeleteCollection, "") => write::delete_collection(&self).await,
            _ => subresource::answer(&self).await,
        }
    }
}

fn attributes(parts: &Parts, target: &path::Target, query: &Query) -> Result<Attributes, Status> {
    let path = parts.uri.path().to_owned();
    let path::Target::Resource(named) = target else {
        return Ok(Attributes { verb: parts.method.as_str().to_lowercase(), resource: None, path });
    };
    let verb = path::verb(parts.method.as_str(), named, query).ok_or_else(not_allowed)?;
    let mut resource = ResourceAttributes {
        group: named.group.clone(),
        resource: named.resource.clone(),
        subresource: named.subresource.clone(),
        namespace: named.namespace.clone(),
        name: named.name.clone(),
        selected: std::collections::BTreeMap::new(),
    };
    if matches!(verb, Verb::List | Verb::Watch) && resource.name.is_empty() {
        resource.select(query.text("fieldSelector"));
    }
    Ok(Attributes { verb: verb.as_str().to_owned(), resource: Some(resource), path })
}

pub(crate) fn nowhere() -> Status {
    let mut status = Status::new(404, "NotFound", "the server could not find the requested resource");
    status.details = json!({});
    status
}

pub(crate) fn not_allowed() -> Status {
    let mut status =
        Status::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
    status.details = json!({});
    status
}
