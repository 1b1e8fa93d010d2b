//! A client that attaches keys to leases, renews those for a while, and looks how long the keys stay.

use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::history::{LeaseRead, LeaseStory};
use crate::seed::Seed;
use crate::work::endpoints::Endpoints;
use crate::work::kv::elapsed_us;

/// Keys of leases lie here.
const PREFIX: &str = "/leased/";
/// Between two looks at a key.
const LOOK: Duration = Duration::from_millis(250);
/// A key that stays is looked at for so long at most: its checker has given it up before.
const LONG: Duration = Duration::from_secs(40);

/// One lease after another until `stop`; the last is followed to its end.
pub(crate) async fn run(
    servers: Endpoints,
    mut seed: Seed,
    began: Instant,
    stop: CancellationToken,
) -> Vec<LeaseStory> {
    let (mut stories, mut turn, mut number) = (Vec::new(), 0, 0_i64);
    while !stop.is_cancelled() {
        number += 1;
        let ttl = 1 + i64::try_from(seed.below(4)).unwrap_or(0);
        let wanted = Wanted { id: number, ttl, renewals: seed.below(6), second: seed.below(3) == 0 };
        match one(&servers, &mut turn, &wanted, began).await {
            Ok(story) => stories.push(story),
            Err(_) => {
                turn += 1;
                let _ = tokio::time::timeout(LOOK, stop.cancelled()).await;
            }
        }
    }
    stories
}

async fn grant(channel: Channel, id: i64, ttl: i64, key: &str) -> Result<(), tonic::Status> {
    LeaseClient::new(channel.clone()).lease_grant(pb::LeaseGrantRequest { id, ttl }).await?;
    let (key, value) = (key.to_owned().into(), "held".into());
    KvClient::new(channel).put(pb::PutRequest { key, value, lease: id, ..Default::default() }).await.map(drop)
}

/// Whether the lease was there to be renewed.
async fn renew(channel: Channel, id: i64) -> Result<bool, tonic::Status> {
    let asked = futures_util::stream::iter([pb::LeaseKeepAliveRequest { id }]);
    let mut answers = LeaseClient::new(channel).lease_keep_alive(asked).await?.into_inner();
    Ok(answers.message().await?.is_some_and(|answer| answer.ttl > 0))
}

/// A lease to be.
struct Wanted {
    id: i64,
    /// Seconds.
    ttl: i64,
    renewals: u64,
    /// Its id had a lease before, which was revoked a moment ago: this one has all of its time all the same.
    second: bool,
}

/// A lease that is revoked when most of its time is over.
async fn used(channel: Channel, wanted: &Wanted, key: &str) -> Result<(), tonic::Status> {
    grant(channel.clone(), wanted.id, wanted.ttl, key).await?;
    tokio::time::sleep(Duration::from_millis(700 * wanted.ttl.unsigned_abs())).await;
    LeaseClient::new(channel).lease_revoke(pb::LeaseRevokeRequest { id: wanted.id }).await.map(drop)
}

async fn one(
    servers: &Endpoints,
    turn: &mut usize,
    wanted: &Wanted,
    began: Instant,
) -> Result<LeaseStory, tonic::Status> {
    let (id, ttl) = (wanted.id, wanted.ttl);
    let key = format!("{PREFIX}{id}");
    if wanted.second {
        used(servers.at(*turn), wanted, &key).await?;
    }
    let granted_us = elapsed_us(began);
    grant(servers.at(*turn), id, ttl, &key).await?;
    let ttl_us = 1_000_000 * u64::try_from(ttl).unwrap_or(0);
    let asked_us = elapsed_us(began);
    let mut story = LeaseStory { key, ttl_us, renewed_invoked_us: granted_us, asked_us, reads: Vec::new() };
    for _ in 0..wanted.renewals {
        tokio::time::sleep(Duration::from_micros(ttl_us / 3)).await;
        let invoked_us = elapsed_us(began);
        let renewed = renew(servers.at(*turn), id).await;
        story.asked_us = elapsed_us(began);
        match renewed {
            Ok(true) => story.renewed_invoked_us = invoked_us,
            Ok(false) => break,
            Err(_) => *turn += 1,
        }
        look(servers, turn, &mut story, began).await;
    }
    let patience = Instant::now() + LONG;
    while Instant::now() < patience {
        look(servers, turn, &mut story, began).await;
        if story.reads.last().is_some_and(|read| !read.there) {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(story)
}

async fn look(servers: &Endpoints, turn: &mut usize, story: &mut LeaseStory, began: Instant) {
    let invoked_us = elapsed_us(began);
    let request = pb::RangeRequest { key: story.key.clone().into(), ..pb::RangeRequest::default() };
    match KvClient::new(servers.at(*turn)).range(request).await {
        Ok(answer) => {
            let there = !answer.into_inner().kvs.is_empty();
            story.reads.push(LeaseRead { invoked_us, returned_us: elapsed_us(began), there });
        }
        Err(_) => *turn += 1,
    }
}
