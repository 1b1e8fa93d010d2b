//! The dashboard: pages for people, made by every server. Everything that is read or done is read or done as the user
//! who is logged in, through the same authorization and the same registry as the API.
//!
//! `place` says which page an address means, `view` and `draw` make it out of objects (pure), `order` and `form` say
//! what a form asks of the API (pure); `reader`, `act` and `live` read, write and follow.

mod act;
mod answer;
pub mod assets;
pub mod draw;
pub mod form;
mod gather;
mod live;
pub mod order;
pub mod place;
mod reader;
pub mod session;
mod submit;
pub mod view;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body as HttpBody;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::api::answer::Body;
use crate::api::path::Query;
use crate::api::serve::Api;
use crate::cluster::Cluster;
use crate::dashboard::answer::{html, moved, said};
use crate::dashboard::draw::Entered;
use crate::dashboard::order::Refusal;
use crate::dashboard::place::{PREFIX, Place, Scope};
use crate::dashboard::session::{Seal, Session};
use crate::dashboard::view::page::{Login, render};
use crate::dashboard::view::{State, Tone, page};
use crate::identity::User;
use crate::identity::tokens::own_audiences;

/// A form at most. Units: bytes.
const FORM_BYTES_MAX: usize = 3 << 20;
/// Browsers that follow changes at the same time, at most.
const STREAMS_MAX: usize = 256;
/// Pages that are made at the same time, at most: each holds the objects that it shows.
const DRAWN_MAX: usize = 2;

/// The dashboard of one server.
pub(crate) struct Dashboard {
    api: Api,
    cluster: Arc<Cluster>,
    seal: Seal,
    streams: Arc<Semaphore>,
    drawn: Semaphore,
    leader_said: gather::LeaderSaid,
    stop: CancellationToken,
}

/// Somebody who is logged in.
#[derive(Clone)]
struct Visitor {
    session: Session,
    user: User,
}

impl Dashboard {
    pub(crate) fn new(api: Api, cluster: Arc<Cluster>) -> Arc<Dashboard> {
        let seal = Seal::new(&cluster.shared.at_rest);
        Arc::new(Dashboard {
            api,
            cluster,
            seal,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            drawn: Semaphore::new(DRAWN_MAX),
            leader_said: gather::LeaderSaid::default(),
            stop: CancellationToken::new(),
        })
    }

    /// Whether a path is one of its own.
    pub(crate) fn serves(path: &str) -> bool {
        path.strip_prefix(PREFIX).is_some_and(|tail| tail.is_empty() || tail.starts_with('/'))
    }

    /// Ends what would go on by itself.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Answers a request for one of its pages.
    pub(crate) async fn answer<B>(self: &Arc<Self>, request: Request<B>) -> Response<Body>
    where
        B: HttpBody + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let tail = parts.uri.path().strip_prefix(PREFIX).unwrap_or_default().trim_end_matches('/').to_owned();
        if let Some(name) = tail.strip_prefix("/assets/") {
            return assets::answer(name).unwrap_or_else(|| said(404, "There is no such file."));
        }
        let response = match parts.method {
            Method::GET => self.get(&parts, &tail).await,
            Method::POST => match Limited::new(body, FORM_BYTES_MAX).collect().await {
                Ok(body) => self.post(&parts, &tail, &body.to_bytes()).await,
                Err(_) => said(413, "The form is too large; 3 MiB is the limit."),
            },
            _ => said(405, "This page is read, or its forms are sent."),
        };
        answer::guarded(response)
    }

    async fn get(self: &Arc<Self>, parts: &Parts, tail: &str) -> Response<Body> {
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let visitor = self.visitor(parts).await;
        if tail == "/login" {
            return match visitor {
                Ok(_) => moved(&next(query.text("next"))),
                Err(why) => html(200, render(&Login::new(&next(query.text("next")), why, ""))),
            };
        }
        if let Some(tail) = tail.strip_prefix("/live") {
            return match (Place::parse(tail), visitor) {
                (None, _) => said(404, "There is no such page."),
                (_, Err(_)) => live::over(),
                (Some(place), Ok(visitor)) => self.follow(visitor, place, Scope::parse(&query)),
            };
        }
        match (Place::parse(tail), visitor) {
            (None, _) => said(404, "There is no such page."),
            (Some(_), Err(_)) => {
                let here = parts.uri.path_and_query().map_or(PREFIX, |place| place.as_str());
                moved(&format!("{PREFIX}/login?next={}", place::encode(here)))
            }
            (Some(place), Ok(visitor)) => {
                let notice = page::notice(query.text("done"));
                self.show(200, &visitor, &place, &Scope::parse(&query), Entered::default(), notice).await
            }
        }
    }

    async fn post(self: &Arc<Self>, parts: &Parts, tail: &str, body: &Bytes) -> Response<Body> {
        if !session::same_origin(&parts.headers, parts.uri.authority().map(http::uri::Authority::as_str)) {
            return said(403, "This form was sent from another site. Nothing was done.");
        }
        let Ok(text) = std::str::from_utf8(body) else { return said(400, "The form is no text.") };
        let form = Query::parse(text);
        if tail == "/login" {
            return self.log_in(&form).await;
        }
        let visitor = match self.visitor(parts).await {
            Ok(visitor) => visitor,
            Err(why) => return html(401, render(&Login::new(PREFIX, why, ""))),
        };
        if !visitor.session.made(form.text("form_key")) {
            return said(
                403,
                "This form belongs to another session. Nothing was done; go back, reload the page and try again.",
            );
        }
        if tail == "/logout" {
            let mut response = moved(&format!("{PREFIX}/login"));
            answer::set(&mut response, SET_COOKIE, &session::clear_cookie());
            return response;
        }
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        self.submit(&visitor, tail, &Scope::parse(&query), &form).await
    }

    async fn log_in(&self, form: &Query) -> Response<Body> {
        let (token, next) = (form.text("token").trim(), next(form.text("next")));
        let wrong = |code, why: &str| html(code, render(&Login::new(&next, "", why)));
        if token.is_empty() {
            return wrong(422, "Enter a token.");
        }
        if token.len() > session::TOKEN_BYTES_MAX {
            return wrong(422, "This is too long for a token.");
        }
        if let Err(status) = self.authenticate(token).await {
            let why = "This token is not accepted: it is damaged, has expired, or was made for something else.";
            return wrong(status.code, if status.code == 401 { why } else { &status.message });
        }
        let now = Timestamp::now().as_second();
        let begun = Session::new(token, now).map_err(|_| ());
        let Ok(cookie) = begun.and_then(|session| self.seal.set_cookie(&session, now).map_err(|_| ())) else {
            return wrong(500, "The session cannot be sealed on this server.");
        };
        let mut response = moved(&next);
        answer::set(&mut response, SET_COOKIE, &cookie);
        response
    }

    /// Who sends a request; else why nobody is logged in.
    async fn visitor(&self, parts: &Parts) -> Result<Visitor, &'static str> {
        let held = parts.headers.contains_key(COOKIE);
        let session = self.seal.session(&parts.headers, Timestamp::now().as_second());
        let session = session.ok_or(if held { "Log in to go on." } else { "" })?;
        let user =
            self.authenticate(&session.token).await.map_err(|_| "Your token has expired. Log in with a new one.")?;
        Ok(Visitor { session, user })
    }

    /// The user of a token.
    async fn authenticate(&self, token: &str) -> Result<User, Refusal> {
        let taken = self.api.tokens.take(token, &own_audiences()).await;
        taken.map(|(user, _)| user).map_err(|message| Refusal { code: 401, message, ..Refusal::default() })
    }

    /// A page in its frame.
    async fn show(
        self: &Arc<Self>,
        code: u16,
        visitor: &Visitor,
        place: &Place,
        scope: &Scope,
        entered: Entered,
        notice: State,
    ) -> Response<Body> {
        let (fresh, view) = self.picture().await;
        let notice = if fresh {
            notice
        } else {
            State::new("No leader answers: this is what this server knew last.", Tone::Bad)
        };
        let drawn = self.draw(visitor, place, scope, entered, view).await;
        let (code, page) = match drawn.page {
            Ok(page) => (code, page),
            Err(refusal) => (refusal.code.max(400), gather::instead(place, &refusal)),
        };
        let viewer = page::Viewer {
            user: &visitor.user.name,
            form_key: &visitor.session.form_key,
            namespaces: &drawn.namespaces,
        };
        html(code, render(&page::Frame::new(place, scope, &page, &viewer, notice)))
    }
}

/// Where to go after logging in: a page of the dashboard and nothing else.
fn next(wanted: &str) -> String {
    let (path, query) = wanted.split_once('?').unwrap_or((wanted, ""));
    let known =
        path.strip_prefix(PREFIX).filter(|tail| tail.is_empty() || tail.starts_with('/')).and_then(Place::parse);
    known.map_or_else(
        || PREFIX.to_owned(),
        |place| format!("{}{}", place.href(), Scope::parse(&Query::parse(query)).query()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_leads_to_own_pages_alone() {
        assert_eq!(next("/dashboard/pods?namespace=a&x=y"), "/dashboard/pods?namespace=a");
        for strange in
            ["", "https://evil/", "//evil/dashboard", "/dashboardx", "/dashboard/login", "/api/v1", "/dashboard//evil"]
        {
            assert!(["/dashboard"].contains(&next(strange).as_str()), "{strange}: {}", next(strange));
        }
    }
}
