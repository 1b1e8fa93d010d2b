//! What forms ask for, done in the user's name; a refusal is shown where it belongs.

use std::sync::Arc;

use http::Response;
use jiff::Timestamp;

use crate::api::answer::Body;
use crate::api::path::Query;
use crate::dashboard::answer::{moved, said};
use crate::dashboard::draw::Entered;
use crate::dashboard::form::{self, Application, Errors, Wanted};
use crate::dashboard::order::{self, Order, Refusal};
use crate::dashboard::place::{Place, Scope};
use crate::dashboard::reader::Reader;
use crate::dashboard::view::page::Outcome;
use crate::dashboard::view::{State, Tone};
use crate::dashboard::{Dashboard, Visitor, act};
use crate::kind::{self, Kind};

impl Dashboard {
    /// Does what a form asks for. `tail`: the path below the prefix.
    pub(super) async fn submit(
        self: &Arc<Self>,
        visitor: &Visitor,
        tail: &str,
        scope: &Scope,
        form: &Query,
    ) -> Response<Body> {
        match tail {
            "/deploy" => return self.deploy(visitor, scope, form).await,
            "/deploy/yaml" => return self.paste(visitor, scope, form).await,
            _ => {}
        }
        let Some((place, action)) =
            tail.rsplit_once('/').and_then(|(page, action)| Some((Place::parse(page)?, action)))
        else {
            return said(404, "There is no such form.");
        };
        let (order, done) = match asked(&place, action, form, Timestamp::now()) {
            Some(Ok(found)) => found,
            Some(Err(why)) => {
                return self.refuse(visitor, &place, Refusal { code: 422, message: why, ..Refusal::default() }).await;
            }
            None => return said(404, "There is no such form."),
        };
        match act::carry_out(&self.api, &visitor.user, order).await {
            Err(refusal) => self.refuse(visitor, &place, refusal).await,
            Ok(_) => moved(&self.afterwards(visitor, &place, done)),
        }
    }

    /// The page again, with the reason at its form.
    async fn refuse(self: &Arc<Self>, visitor: &Visitor, place: &Place, refusal: Refusal) -> Response<Body> {
        let entered = Entered { action_error: refusal.message, ..Entered::default() };
        let nothing = State::new("", Tone::Idle);
        self.show(refusal.code, visitor, place, &Scope::default(), entered, nothing).await
    }

    /// The page of an object, or of all of its kind when it is gone.
    fn afterwards(&self, visitor: &Visitor, place: &Place, done: &str) -> String {
        let (all, kind, namespace) = match place {
            Place::Workload { kind, namespace, .. } if done == "deleted" => (Place::Workloads, *kind, namespace),
            Place::Pod { namespace, .. } if done == "deleted" => (Place::Pods, kind::core("pods"), namespace),
            other => return format!("{}?done={done}", other.href()),
        };
        let reader =
            Reader { api: self.api.clone(), user: visitor.user.clone(), view: self.api.registry.store().view() };
        // Who may not see all namespaces is shown the one that it was in.
        let namespace = if reader.may("list", kind, "", "").is_ok() { String::new() } else { namespace.clone() };
        let query = Scope { namespace, ..Scope::default() }.query();
        format!("{}{query}{}done={done}", all.href(), if query.is_empty() { "?" } else { "&" })
    }

    async fn deploy(self: &Arc<Self>, visitor: &Visitor, scope: &Scope, form: &Query) -> Response<Body> {
        let application = Application::parse(form);
        let errors = match application.objects() {
            Err(errors) => Err((422, errors)),
            Ok(objects) => {
                self.create_all(visitor, &objects).await.map_err(|refusal| (refusal.code, form::place(&refusal)))
            }
        };
        match errors {
            Ok(()) => {
                let Application { namespace, name, .. } = application;
                let kind = kind::find("apps", "v1", "deployments").expect("a row of the table");
                moved(&format!("{}?done=deployed", Place::Workload { kind, namespace, name }.href()))
            }
            Err((code, errors)) => self.again(code, visitor, scope, application, errors).await,
        }
    }

    async fn again(
        self: &Arc<Self>,
        code: u16,
        visitor: &Visitor,
        scope: &Scope,
        application: Application,
        errors: Errors,
    ) -> Response<Body> {
        let entered = Entered { application: Some(application), errors, ..Entered::default() };
        self.show(code, visitor, &Place::Deploy, scope, entered, State::new("", Tone::Idle)).await
    }

    /// Creates all of them or, as far as can be known before, none.
    async fn create_all(&self, visitor: &Visitor, objects: &[Wanted]) -> Result<(), Refusal> {
        for dry_run in [true, false] {
            for wanted in objects {
                let order = order::create(wanted.kind, &wanted.namespace, wanted.object.clone(), dry_run);
                act::carry_out(&self.api, &visitor.user, order).await?;
            }
        }
        Ok(())
    }

    async fn paste(self: &Arc<Self>, visitor: &Visitor, scope: &Scope, form: &Query) -> Response<Body> {
        let yaml = form.text("yaml").replace('\r', "");
        let mut entered = Entered { yaml, ..Entered::default() };
        match form::documents(&entered.yaml, &scope.namespace) {
            Err(why) => entered.yaml_error = why,
            Ok(objects) => {
                for wanted in objects {
                    let outcome = self.apply(visitor, wanted).await;
                    entered.outcomes.push(outcome);
                }
            }
        }
        let done =
            !entered.outcomes.is_empty() && entered.outcomes.iter().all(|outcome| outcome.state.tone != Tone::Bad);
        if done {
            return moved(&format!("{}?done=applied", Place::Workloads.href()));
        }
        self.show(422, visitor, &Place::Deploy, scope, entered, State::new("", Tone::Idle)).await
    }

    async fn apply(&self, visitor: &Visitor, wanted: Wanted) -> Outcome {
        let Wanted { kind, namespace, name, object } = wanted;
        let what = if name.is_empty() { kind.kind.to_owned() } else { format!("{} {name}", kind.kind) };
        // What gets its name from the server is new every time.
        let order = match name.is_empty() {
            true => order::create(kind, &namespace, object, false),
            false => order::apply(kind, &namespace, &name, object),
        };
        match act::carry_out(&self.api, &visitor.user, order).await {
            Ok((201, _)) => Outcome { what, state: State::new("Created", Tone::Good), message: String::new() },
            Ok(_) => Outcome { what, state: State::new("Changed", Tone::Good), message: String::new() },
            Err(refusal) => Outcome { what, state: State::new("Refused", Tone::Bad), message: refusal.message },
        }
    }
}

/// What an action on a page asks of the API, and the word for when it is done; none when there is no such action.
fn asked(place: &Place, action: &str, form: &Query, now: Timestamp) -> Option<Result<(Order, &'static str), String>> {
    Some(Ok(match (place, action) {
        (Place::Workload { kind, namespace, name }, "scale") => match form.text("replicas").trim().parse::<i32>() {
            Ok(replicas) => (order::scale(kind, namespace, name, replicas), "scaled"),
            Err(_) => return Some(Err("Replicas: enter a whole number.".to_owned())),
        },
        (Place::Workload { kind, namespace, name }, "restart") => {
            (order::restart(kind, namespace, name, now), "restarted")
        }
        (Place::Workload { kind, namespace, name }, "delete") => (order::delete(kind, namespace, name), "deleted"),
        (Place::Pod { namespace, name }, "delete") => (delete_core("pods", namespace, name), "deleted"),
        (Place::Node { name }, "cordon") => (order::cordon(kind::core("nodes"), name, true), "cordoned"),
        (Place::Node { name }, "uncordon") => (order::cordon(kind::core("nodes"), name, false), "uncordoned"),
        _ => return None,
    }))
}

fn delete_core(resource: &str, namespace: &str, name: &str) -> Order {
    let kind: &Kind = kind::core(resource);
    order::delete(kind, namespace, name)
}
