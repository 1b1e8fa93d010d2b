//! One path for every request: what it names, whether its user may, and where it is answered.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH, USER_AGENT, VARY};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body as HttpBody;
use serde_json::json;

use crate::api::answer::{self, Body};
use crate::api::discovery::Page;
use crate::api::negotiate::{self, Offer, Representation};
use crate::api::path::{self, Query, ResourcePath, Verb};
use crate::api::peers::Peers;
use crate::api::{discovery, health, issuer, list, metrics, openapi, patch, read, review, subresource, watch, write};
use crate::authz::{Attributes, ResourceAttributes, forbidden};
use crate::gateway::Gateway;
use crate::identity::tokens::Tokens;
use crate::identity::{User, impersonate};
use crate::kind::{self, Kind};
use crate::metrics::{Label, Metrics};
use crate::registry::shell::{Registry, Target};
use crate::status::Status;
use crate::validate::{names, warnings};

/// A body at most, bytes.
const BODY_BYTES_MAX: usize = 3 << 20;

/// The Kubernetes API of one server; cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub(crate) registry: Registry,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) metrics: Arc<Metrics>,
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
    Ok(pretty(negotiate::negotiate(header(parts, ACCEPT), offer)?, parts, query))
}

fn pretty(mut how: Representation, parts: &Parts, query: &Query) -> Representation {
    how.pretty = negotiate::pretty(query.get("pretty"), header(parts, USER_AGENT).unwrap_or_default());
    how
}

impl Api {
    /// Over the objects of a store, the nodes that are connected here, the other servers, and the tokens of accounts.
    pub fn new(
        registry: Registry,
        gateway: Arc<Gateway>,
        peers: Arc<Peers>,
        tokens: Tokens,
        metrics: Arc<Metrics>,
    ) -> Self {
        Api { registry, gateway, peers, tokens, metrics }
    }

    /// Answers a request of an authenticated user.
    pub async fn handle<B>(&self, request: Request<B>, user: &User) -> Response<Body>
    where
        B: HttpBody + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let (target, query) = (path::parse(parts.uri.path()), Query::parse(parts.uri.query().unwrap_or_default()));
        let label = Label::new(&parts.method, &target, &query);
        let (running, started) = (self.metrics.begin(&label), Instant::now());
        let response = match self.answer(&parts, &target, &query, body, user).await {
            Ok(response) => response,
            Err(status) => answer::error_in(&status, negotiate::format(header(&parts, ACCEPT))),
        };
        self.metrics.answered(&label, response.status().as_u16(), started.elapsed());
        // Under way until the client has it all.
        answer::while_sent(response, running)
    }

    async fn answer<B>(
        &self,
        parts: &Parts,
        target: &path::Target,
        query: &Query,
        body: B,
        user: &User,
    ) -> Result<Response<Body>, Status>
    where
        B: HttpBody + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let attributes = attributes(parts, target, query)?;
        let user = &self.acting(parts, user, &attributes)?;
        self.authorize(user, &attributes)?;
        let path = match target {
            path::Target::Resource(path) => path,
            path::Target::Unserved(group) => return nothing_in(group),
            path::Target::Other(place) => return self.elsewhere(parts, query, place).await,
        };
        if path.group == metrics::GROUP {
            return metrics::answer(self, parts, query, path).await;
        }
        let Some(kind) = kind::find(&path.group, &path.version, &path.resource) else { return nothing_in(&path.group) };
        let verb = route(parts, kind, path, query)?;
        // What is written is written on the user's behalf; admission may have a word for them.
        let api = &Api { registry: self.registry.by(user), ..self.clone() };
        let call = Call { api, user, kind, path, query, verb, parts, body: Bytes::new() };
        let format = negotiate::format(header(parts, ACCEPT));
        let answered = call.answer(body).await.unwrap_or_else(|status| answer::error_in(&status, format));
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
        if place == "/metrics" {
            let text = self.metrics.text(&self.registry.store().figures(), self.gateway.sessions());
            return Ok(answer::whole(200, "text/plain; version=0.0.4; charset=utf-8", text));
        }
        if let Some(response) = issuer::answer(self, place, header(parts, ACCEPT).unwrap_or_default()) {
            return response;
        }
        if let Some(response) = openapi::answer(parts, query, place) {
            return Ok(response);
        }
        match discovery::page(parts.method.as_str(), place, header(parts, ACCEPT))? {
            Page::Document(document, how) => Ok(answer::value(200, &document, &pretty(how, parts, query))),
            Page::Raw(document) => {
                let how = Representation { pretty: true, ..Representation::JSON };
                Ok(answer::value(200, &document, &how))
            }
            Page::Aggregated(whole) => Ok(known(parts, whole)),
            Page::NotAllowed => Err(not_allowed()),
            Page::Nowhere => Err(nowhere()),
            Page::Missing => Ok(answer::no_page()),
        }
    }
}

/// A document that the client may have already.
fn known(parts: &Parts, whole: &'static discovery::Whole) -> Response<Body> {
    let held = header(parts, IF_NONE_MATCH) == Some(whole.etag.as_str());
    let (code, text) = if held { (304, Bytes::new()) } else { (200, whole.text.clone()) };
    let mut response = answer::whole(code, discovery::AGGREGATED, text);
    if let Ok(etag) = HeaderValue::from_str(&whole.etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// What is said where nothing lies: as an API where there is one, else as any server.
fn nothing_in(group: &str) -> Result<Response<Body>, Status> {
    if discovery::serves(group) { Err(nowhere()) } else { Ok(answer::no_page()) }
}

/// The verb of a request, if its path and its method go together.
fn route(parts: &Parts, kind: &'static Kind, path: &ResourcePath, query: &Query) -> Result<Verb, Status> {
    let verb = path::verb(parts.method.as_str(), path, query).filter(|_| parts.method != http::Method::HEAD);
    let (named, placed) = (!path.name.is_empty(), !path.namespace.is_empty());
    let misplaced = if kind.namespaced { named && !placed } else { placed && kind.resource != "namespaces" };
    let known = path.subresource.is_empty() || kind.subresource(&path.subresource).is_some();
    if misplaced || !known {
        return Err(nowhere());
    }
    let verb = verb.ok_or_else(not_allowed)?;
    let everywhere = kind.namespaced && !placed;
    let allowed = match verb {
        Verb::Create if path.subresource.is_empty() => !named && !everywhere,
        Verb::Create | Verb::Get | Verb::List | Verb::Watch => true,
        Verb::Update | Verb::Patch | Verb::Delete => named,
        Verb::DeleteCollection => !everywhere && kind::collected(kind),
    };
    if !allowed {
        return Err(not_allowed());
    }
    match names::path_segment(&path.name).as_slice() {
        [] => Ok(verb),
        wrong => Err(Status::bad_request(format!("Name parameter invalid: {:?}: {}", path.name, wrong.join(";")))),
    }
}

impl Call<'_> {
    async fn answer<B>(mut self, body: B) -> Result<Response<Body>, Status>
    where
        B: HttpBody + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let text = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
        self.body = body.map_err(|_| Status::new(413, "RequestEntityTooLarge", text))?.to_bytes();
        self.dispatch().await
    }

    async fn dispatch(self) -> Result<Response<Body>, Status> {
        if !self.kind.stored {
            return if self.verb == Verb::Create { review::answer(&self).await } else { Err(not_allowed()) };
        }
        match (self.verb, self.path.subresource.as_str()) {
            (Verb::Update, "finalize") => write::update(&self).await,
            (Verb::Get, "" | "status" | "ephemeralcontainers" | "resize") => read::get(&self).await,
            (Verb::List, "") => list::list(&self).await,
            (Verb::Watch, "") => watch::watch(&self).await,
            (Verb::Create, "") => write::create(&self).await,
            (Verb::Update, "" | "status" | "ephemeralcontainers" | "resize") => write::update(&self).await,
            (Verb::Patch, "" | "status" | "ephemeralcontainers" | "resize") => patch::patch(&self).await,
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
    let verb = path::verb(parts.method.as_str(), named, query);
    let mut resource = ResourceAttributes {
        group: named.group.clone(),
        resource: named.resource.clone(),
        subresource: named.subresource.clone(),
        namespace: named.namespace.clone(),
        name: named.name.clone(),
        selected: std::collections::BTreeMap::new(),
    };
    if matches!(verb, Some(Verb::List | Verb::Watch)) && resource.name.is_empty() {
        resource.select(query.text("fieldSelector"));
    }
    Ok(Attributes { verb: verb.map(Verb::as_str).unwrap_or_default().to_owned(), resource: Some(resource), path })
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
