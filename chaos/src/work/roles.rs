//! Who leads, as each member says it, and how wrong its clock is, again and again while a run goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use proto::etcdserverpb as pb;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

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

/// Looks until it is stopped; what lies between members and their clocks is told in `dir`.
pub(crate) async fn follow(
    members: Vec<(String, Channel)>,
    dir: &Path,
    began: Instant,
    stop: CancellationToken,
) -> Vec<Role> {
    let each = members.into_iter().map(|(member, channel)| one(member, channel, dir, began, &stop));
    futures_util::future::join_all(each).await.into_iter().flatten().collect()
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
