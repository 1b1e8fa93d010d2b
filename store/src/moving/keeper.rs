//! Leases of an etcd that is being filled: granted first, kept alive until all is there.

use std::collections::BTreeSet;
use std::time::Duration;

use proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::moving::client::{Client, problem};
use crate::moving::database::StoredLease;
use crate::moving::{Problem, Progress};

/// For leases that are gone by now, while history tells of them. Seconds.
const GONE_TTL: i64 = 3600;
/// Between two rounds, at most and at least.
const ROUND: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// See the module.
pub(super) struct Keeper<'a> {
    client: &'a Client,
    ids: Vec<i64>,
    round: Duration,
}

impl<'a> Keeper<'a> {
    /// Grants leases: those that are there with their times, those that only history knows for as long as it takes. With
    /// `shared`, leases that the etcd has already are taken as they are.
    pub(super) async fn grant(
        client: &'a Client,
        held: &[StoredLease],
        gone: &BTreeSet<i64>,
        shared: bool,
        progress: &Progress,
    ) -> Result<Self, Problem> {
        let mut calls = client.lease();
        let all: Vec<(i64, i64)> =
            held.iter().map(|lease| (lease.id, lease.ttl)).chain(gone.iter().map(|id| (*id, GONE_TTL))).collect();
        for (number, (id, ttl)) in all.iter().enumerate() {
            match calls.lease_grant(pb::LeaseGrantRequest { ttl: *ttl, id: *id }).await {
                Ok(_) => {}
                Err(status) if shared && status.code() == Code::FailedPrecondition => {}
                Err(status) => return Err(problem(&format!("the lease {id:x} is not granted"), &status)),
            }
            progress.at("leases", number as u64, all.len() as u64)?;
        }
        let shortest = all.iter().map(|(_, ttl)| *ttl).min().unwrap_or(GONE_TTL);
        let round = Duration::from_secs(shortest.unsigned_abs()) / 3;
        Ok(Keeper { client, ids: all.into_iter().map(|(id, _)| id).collect(), round: round.clamp(ROUND.0, ROUND.1) })
    }

    /// Keeps them alive, for ever; ends when that is no longer possible.
    pub(super) async fn keep(&self) -> Problem {
        if self.ids.is_empty() {
            return std::future::pending().await;
        }
        let doing = "leases are not kept alive";
        let (asks, asked) = mpsc::channel(64);
        let mut answers = match self.client.lease().lease_keep_alive(ReceiverStream::new(asked)).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return problem(doing, &status),
        };
        let mut rounds = tokio::time::interval(self.round);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let asking = async {
            loop {
                rounds.tick().await;
                for id in &self.ids {
                    if asks.send(pb::LeaseKeepAliveRequest { id: *id }).await.is_err() {
                        return;
                    }
                }
            }
        };
        let hearing = async {
            loop {
                match answers.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Problem::Unreachable(format!("{doing}: the stream has ended")),
                    Err(status) => return problem(doing, &status),
                }
            }
        };
        tokio::select! {
            () = asking => Problem::Unreachable(format!("{doing}: the stream has ended")),
            why = hearing => why,
        }
    }

    /// Ends leases that only history knows.
    pub(super) async fn end(&self, gone: &BTreeSet<i64>) -> Result<(), Problem> {
        let mut calls = self.client.lease();
        for id in gone {
            let ended = calls.lease_revoke(pb::LeaseRevokeRequest { id: *id }).await;
            ended.map_err(|status| problem(&format!("the lease {id:x} does not end"), &status))?;
        }
        Ok(())
    }
}
