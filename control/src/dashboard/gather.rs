//! What a page needs besides objects, and making it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use store::View;

use crate::authz::Attributes;
use crate::cluster::{self, ClusterStatus};
use crate::dashboard::draw::{self, Around, Entered};
use crate::dashboard::order::{self, Order, Refusal};
use crate::dashboard::place::{Place, Scope};
use crate::dashboard::reader::Reader;
use crate::dashboard::view::figures::Usage;
use crate::dashboard::view::page::{Page, Section};
use crate::dashboard::view::{Source, pods};
use crate::dashboard::{Dashboard, Visitor, act};
use crate::kind;

/// A leader that does not confirm in this time is none, for a page.
const CONFIRMS: Duration = Duration::from_secs(2);
/// What the leader said of the others is good for so long.
const FRESH: Duration = Duration::from_secs(2);
/// Lines of a log that are shown.
const LOG_LINES: u32 = 200;
/// The same. Units: bytes.
const LOG_BYTES: u32 = 64 << 10;

/// What the leader said last, and when.
#[derive(Default)]
pub(super) struct LeaderSaid(Mutex<Option<(Instant, ClusterStatus)>>);

/// A page that was made.
pub(super) struct Drawn {
    pub(super) page: Result<Page, Refusal>,
    /// Those that the user may choose from.
    pub(super) namespaces: Vec<String>,
}

/// A page in place of one that cannot be shown.
pub(super) fn instead(place: &Place, refusal: &Refusal) -> Page {
    let heading = match place {
        Place::Workload { name, .. } | Place::Pod { name, .. } | Place::Node { name } => name.clone(),
        _ => "Not shown".to_owned(),
    };
    let section = Section { live: false, ..Section::refused("refused", "card wide", "Not shown", refusal) };
    Page { heading, aside: String::new(), sections: vec![section] }
}

impl Dashboard {
    /// The replica as it is now, and whether a leader confirms that nothing acknowledged is missing.
    pub(super) async fn picture(&self) -> (bool, View) {
        let store = self.api.registry.store();
        let fresh = tokio::time::timeout(CONFIRMS, store.barrier()).await;
        (matches!(fresh, Ok(Ok(_))), store.view())
    }

    /// Makes a page of one picture.
    pub(super) async fn draw(
        self: &Arc<Self>,
        visitor: &Visitor,
        place: &Place,
        scope: &Scope,
        entered: Entered,
        view: View,
    ) -> Drawn {
        let around = self.around(visitor, place, scope, entered, &view).await;
        let _permit = self.drawn.acquire().await;
        let reader = Reader { api: self.api.clone(), user: visitor.user.clone(), view };
        let (place, scope) = (place.clone(), scope.clone());
        let made = tokio::task::spawn_blocking(move || Drawn {
            page: draw::draw(&place, &scope, &reader, &around),
            namespaces: draw::namespaces(&reader),
        });
        made.await.unwrap_or_else(|error| Drawn {
            page: Err(Refusal { code: 500, message: error.to_string(), ..Refusal::default() }),
            namespaces: Vec::new(),
        })
    }

    async fn around(&self, visitor: &Visitor, place: &Place, scope: &Scope, entered: Entered, view: &View) -> Around {
        let measured = !matches!(place, Place::Workloads | Place::Events | Place::Deploy);
        let servers =
            async { if *place == Place::Overview { self.servers(visitor).await } else { Err(Refusal::default()) } };
        let usage = async { if measured { self.usage(visitor).await } else { Usage::default() } };
        let (servers, usage, log) = tokio::join!(servers, usage, self.log(visitor, place, scope, view));
        let form_key = visitor.session.form_key.clone();
        Around { servers, usage, log, now: Timestamp::now(), form_key, entered }
    }

    /// Servers, as the leader knows them if it answers: it alone knows how far the others are.
    async fn servers(&self, visitor: &Visitor) -> Result<ClusterStatus, Refusal> {
        let path = format!("{}status", cluster::PREFIX);
        let attributes = Attributes { verb: "get".to_owned(), resource: None, path: path.clone() };
        self.api.authorize(&visitor.user, &attributes).map_err(Refusal::from)?;
        let own = self.cluster.status();
        if self.api.registry.store().leadership().borrow().acting {
            return Ok(own);
        }
        let held = self.leader_said.0.lock().clone();
        if let Some((_, said)) = held.filter(|(when, _)| when.elapsed() < FRESH) {
            return Ok(said);
        }
        let leader = own.members.iter().find(|member| member.name == own.leader);
        let Some(leader) = leader else { return Ok(own) };
        let said = self.api.peers.get(&leader.api, &path).await;
        let Some(said) = said.and_then(|said| serde_json::from_value::<ClusterStatus>(said).ok()) else {
            return Ok(own);
        };
        *self.leader_said.0.lock() = Some((Instant::now(), said.clone()));
        Ok(said)
    }

    /// What nodes and pods use; nothing where nobody measures it, or the user may not see it.
    async fn usage(&self, visitor: &Visitor) -> Usage {
        let ask = |resource: &str| {
            let order = order::read(format!("/apis/metrics.k8s.io/v1beta1/{resource}"));
            async { self.ask(visitor, order).await.unwrap_or_default() }
        };
        let (nodes, pods) = tokio::join!(ask("nodes"), ask("pods"));
        Usage::parse(&nodes, &pods)
    }

    async fn ask(&self, visitor: &Visitor, order: Order) -> Option<Value> {
        act::carry_out(&self.api, &visitor.user, order).await.ok().map(|(_, answer)| answer)
    }

    /// The end of the log that a pod's page shows.
    async fn log(&self, visitor: &Visitor, place: &Place, scope: &Scope, view: &View) -> Result<String, Refusal> {
        let Place::Pod { namespace, name } = place else { return Ok(String::new()) };
        let reader = Reader { api: self.api.clone(), user: visitor.user.clone(), view: view.clone() };
        let pod = reader.get(kind::core("pods"), namespace, name)?;
        let order = order::log(namespace, name, pods::logged(&pod, scope), scope.previous, LOG_LINES, LOG_BYTES);
        let (_, bytes) = act::raw(&self.api, &visitor.user, order).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
