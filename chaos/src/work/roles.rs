//! Who leads, as each member says it, and how wrong its clock is, again and again while a run goes on.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::work::endpoints::Endpoints;
use crate::world::shim::{self, Number};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A member that takes longer is silent.
const ANSWER_WITHIN: Duration = Duration::from_millis(250);

/// What a member said of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) member: String,
    /// Since the run began. Units: microseconds.
    pub(crate) at_us: u64,
    /// None: it was silent.
    pub(crate) said: Option<Said>,
    /// By how much its wall clock was wrong when it read it last; none where nothing lies in between. Units: nanoseconds.
    #[serde(default)]
    pub(crate) clock_ns: Option<i64>,
}

/// See `Role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) leads: bool,
    pub(crate) term: u64,
    pub(crate) revision: i64,
}

/// Looks until it is stopped, at members that come later as well; what lies between members and their clocks is told in
/// `dir`.
pub(crate) async fn follow(servers: &Endpoints, dir: &Path, began: Instant, stop: &CancellationToken) -> Vec<Role> {
    let (mut followed, mut roles) = (FuturesUnordered::new(), Vec::new());
    let (mut known, mut again) = (BTreeSet::new(), tokio::time::interval(LOOK_EVERY));
    loop {
        for (member, channel) in servers.all() {
            if known.insert(member.clone()) {
                followed.push(one(member, channel, dir, began, stop));
            }
        }
        tokio::select! {
            Some(looks) = followed.next() => roles.extend(looks),
            _ = again.tick(), if !stop.is_cancelled() => {}
            else => return roles,
        }
    }
}

async fn one(member: String, channel: Channel, dir: &Path, began: Instant, stop: &CancellationToken) -> Vec<Role> {
    let mut looks: Vec<Role> = Vec::new();
    let mut again = tokio::time::interval(LOOK_EVERY);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        again.tick().await;
        let mut client = MaintenanceClient::new(channel.clone());
        let asked = tokio::time::timeout(ANSWER_WITHIN, client.status(pb::StatusRequest::default())).await;
        let said = asked.ok().and_then(Result::ok).map(|answer| {
            let answer = answer.into_inner();
            let (own, revision) = answer.header.map_or((0, 0), |header| (header.member_id, header.revision));
            Said { leads: own != 0 && own == answer.leader, term: answer.raft_term, revision }
        });
        let at_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let clock_ns = shim::count(dir, &member, Number::ClockWrongNs).ok();
        looks.push(Role { member: member.clone(), at_us, said, clock_ns });
    }
    looks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_member_that_comes_later_is_looked_at_too() {
        let silent = || tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let servers = Endpoints::new(vec![("first".to_owned(), silent())]);
        let (dir, stop) = (tempfile::tempdir().expect("a directory"), CancellationToken::new());
        let exchanged = async {
            tokio::time::sleep(4 * LOOK_EVERY).await;
            servers.add("second", silent());
            servers.remove("first");
            tokio::time::sleep(20 * LOOK_EVERY).await;
            stop.cancel();
        };
        let (roles, ()) = tokio::join!(follow(&servers, dir.path(), Instant::now(), &stop), exchanged);
        let looks = |member: &str| roles.iter().filter(|role| role.member == member).count();
        assert!(looks("first") > looks("second") && looks("second") > 1, "{roles:?}");
    }
}
