//! Who calls, and what concerns the whole store: asked in one place, and only while auth is on.
//!
//! Source: etcd `server/auth/store.go` (`AuthInfoFromCtx`, `AuthInfoFromTLS`) and `server/etcdserver/v3_server.go`.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http::{Extensions, HeaderMap};
use proto::command::{Caller, Refusal};
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tonic::{Request, Status};
use tower::Service;

use crate::Error;
use crate::etcd::standing::refusal;
use crate::etcd::token::{Tokens, now};
use crate::etcd::{Front, status};
use crate::listener::ClientName;
use crate::machine::auth::Auth;
use crate::machine::permission::{admin, known, outdated};

/// Where clients put their token; the second is the JSON gateway's.
const TOKENS: [&str; 2] = ["token", "authorization"];
/// The gateway's mark: its own certificate names nobody.
const GATEWAY: &str = "grpcgateway-accept";

/// What a call needs before it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The root role.
    Admin,
    /// To be somebody.
    Known,
}

/// Calls that are judged by their name alone. Those that are not here look at the keys that they are about.
const RULES: [(&str, Rule); 16] = [
    ("/etcdserverpb.KV/Compact", Rule::Admin),
    ("/etcdserverpb.Lease/LeaseGrant", Rule::Known),
    ("/etcdserverpb.Lease/LeaseRevoke", Rule::Known),
    ("/etcdserverpb.Lease/LeaseTimeToLive", Rule::Known),
    ("/etcdserverpb.Cluster/MemberAdd", Rule::Admin),
    ("/etcdserverpb.Cluster/MemberRemove", Rule::Admin),
    ("/etcdserverpb.Cluster/MemberUpdate", Rule::Admin),
    ("/etcdserverpb.Cluster/MemberPromote", Rule::Admin),
    ("/etcdserverpb.Cluster/MemberList", Rule::Known),
    ("/etcdserverpb.Maintenance/Status", Rule::Known),
    ("/etcdserverpb.Maintenance/Defragment", Rule::Admin),
    ("/etcdserverpb.Maintenance/Hash", Rule::Admin),
    ("/etcdserverpb.Maintenance/HashKV", Rule::Admin),
    ("/etcdserverpb.Maintenance/Snapshot", Rule::Admin),
    ("/etcdserverpb.Maintenance/MoveLeader", Rule::Admin),
    ("/etcdserverpb.Maintenance/Downgrade", Rule::Admin),
];

/// What a request says of who sends it.
#[derive(Clone, Debug, Default)]
pub(super) struct Credentials {
    token: Option<Result<String, ()>>,
    name: Option<ClientName>,
}

impl Credentials {
    /// Of a call.
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        Credentials::read(request.metadata().as_ref(), request.extensions())
    }

    /// Of what came with a call.
    pub(super) fn read(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let token = TOKENS.iter().find_map(|name| headers.get(*name)).map(|value| {
            let text = value.to_str().map_err(|_| ())?;
            Ok(text.strip_prefix("Bearer ").unwrap_or(text).to_owned())
        });
        let named = !headers.contains_key(GATEWAY);
        Credentials { token, name: extensions.get::<ClientName>().filter(|_| named).cloned() }
    }
}

/// The revision of the auth store under which a read was allowed; 0 where nobody was asked.
#[must_use = "a read is only good while the auth store is what it was"]
pub(super) struct Seen(u64);

fn invalid_token() -> Status {
    Status::unauthenticated("etcdserver: invalid auth token")
}

pub(super) fn refused(refusal: Refusal) -> Status {
    status(Error::Refused(refusal))
}

impl Front {
    /// Who calls; nobody while auth is off.
    pub(super) async fn caller(&self, credentials: &Credentials) -> Result<Caller, Status> {
        if credentials.token.is_some() && !self.store.guarded() {
            // Tokens are given out while auth is on: this member may not have heard of it yet.
            let _ = self.store.barrier().await;
        }
        match (&credentials.token, &credentials.name) {
            (Some(token), _) if self.store.guarded() => {
                let token = token.as_ref().map_err(|()| invalid_token())?;
                self.bearer(token).await.ok_or_else(invalid_token)
            }
            (_, Some(ClientName(name))) => {
                Ok(Caller { user: name.to_string(), auth_revision: self.store.auth().revision })
            }
            _ => Ok(Caller::default()),
        }
    }

    async fn bearer(&self, token: &str) -> Option<Caller> {
        match &self.options.auth.tokens {
            Tokens::None => None,
            Tokens::Jwt(jwt) => jwt.read(token, now()),
            Tokens::Simple => {
                let index = token.split_once('.')?.1.parse().ok()?;
                // Read before the token is: one that ends with a change is not taken for one after it.
                let mut auth_revision = self.store.auth().revision;
                let mut user = self.store.tokens().user(token);
                if user.is_none() {
                    // Another member gave it out, and this one has not applied that yet.
                    self.store.reached(index).await.ok()?;
                    auth_revision = self.store.auth().revision;
                    user = self.store.tokens().user(token);
                }
                user.map(|user| Caller { user, auth_revision })
            }
        }
    }

    /// Allows a read of the local replica, which `unchanged` must confirm afterwards.
    pub(super) async fn read(
        &self,
        credentials: &Credentials,
        allowed: impl FnOnce(&Auth, &Caller) -> Result<(), Refusal>,
    ) -> Result<Seen, Status> {
        if !self.store.guarded() {
            return Ok(Seen(0));
        }
        let caller = self.caller(credentials).await?;
        let auth = self.store.auth();
        allowed(&auth, &caller).map_err(refused)?;
        Ok(Seen(if auth.enabled { auth.revision } else { 0 }))
    }

    /// Refuses what was read where the auth store has changed meanwhile.
    pub(super) fn unchanged(&self, Seen(revision): Seen) -> Result<(), Status> {
        if revision != 0 && revision != self.store.auth().revision {
            return Err(refused(outdated()));
        }
        Ok(())
    }

    /// Allows what concerns the whole store.
    pub(super) async fn admin(&self, credentials: &Credentials) -> Result<(), Status> {
        self.obey(Rule::Admin, credentials).await
    }

    /// Allows what anybody may who says who it is.
    pub(super) async fn known(&self, credentials: &Credentials) -> Result<(), Status> {
        self.obey(Rule::Known, credentials).await
    }

    async fn obey(&self, rule: Rule, credentials: &Credentials) -> Result<(), Status> {
        let allowed = match rule {
            Rule::Admin => admin,
            Rule::Known => known,
        };
        self.read(credentials, allowed).await.map(|_| ())
    }
}

/// A service whose calls follow `RULES`.
#[derive(Clone)]
pub(super) struct Guarded<S> {
    pub(super) inner: S,
    pub(super) front: Front,
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

type Answer = BoxFuture<http::Response<Body>, Infallible>;

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future = Answer>,
    S: Clone + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let path = request.uri().path();
        if let Some(refused) = refusal(path, self.front.store.learns(), self.front.store.sound()) {
            return Box::pin(std::future::ready(Ok(refused.into_http())));
        }
        if !self.front.store.guarded() {
            return self.inner.call(request);
        }
        let Some((_, rule)) = RULES.iter().find(|(name, _)| *name == path) else {
            return self.inner.call(request);
        };
        let credentials = Credentials::read(request.headers(), request.extensions());
        let (front, mut inner) = (self.front.clone(), self.inner.clone());
        Box::pin(async move {
            match front.obey(*rule, &credentials).await {
                Ok(()) => inner.call(request).await,
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}
