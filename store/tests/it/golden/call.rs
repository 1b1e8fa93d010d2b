//! What a line of a case asks, and its answer as text.

use std::sync::Arc;

use parking_lot::Mutex;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::v3electionpb::election_client::ElectionClient;
use proto::v3electionpb::{CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest};
use proto::v3lockpb::lock_client::LockClient;
use proto::v3lockpb::{LockRequest, UnlockRequest};
use tonic::Status;
use tonic::transport::Channel;

use super::request;
use super::show::{Names, error};
use super::users::{Badge, Line};
use super::words::{Words, number, revision};

/// Clients, and what the case named so far; cheap to clone.
#[derive(Clone)]
pub(crate) struct Caller {
    line: Line,
    pub(crate) badge: Badge,
    pub(crate) names: Arc<Mutex<Names>>,
}

impl Caller {
    pub(crate) fn new(channel: Channel) -> Self {
        let badge = Badge::default();
        Caller { line: Line::new(channel, badge.clone()), badge, names: Arc::default() }
    }

    pub(crate) fn channel(&self) -> Line {
        self.line.clone()
    }

    fn kv(&self) -> KvClient<Line> {
        KvClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    fn maintenance(&self) -> MaintenanceClient<Line> {
        MaintenanceClient::new(self.channel())
    }

    pub(crate) fn now(&self) -> Names {
        self.names.lock().clone()
    }

    /// Asks what the words say.
    pub(crate) async fn call(&self, words: &[String]) -> String {
        let told = match words[0].as_str() {
            "put" | "range" | "stream" | "del" | "txn" | "compact" => self.keys(words).await,
            "grant" | "revoke" | "alive" | "ttl" | "leases" => self.leases(&Words::new(words)).await,
            "lock" | "unlock" | "campaign" | "proclaim" | "leader" | "observe" | "resign" => {
                self.held(&Words::new(words)).await
            }
            "login" | "nobody" | "token" => self.becomes(&Words::new(words)).await,
            "auth" => self.guard(&Words::new(words)).await,
            "user" => self.user(&Words::new(words)).await,
            "role" => self.role(&Words::new(words)).await,
            _ => self.maintain(&Words::new(words)).await,
        };
        told.unwrap_or_else(|status| error(&status))
    }

    async fn keys(&self, line: &[String]) -> Result<String, Status> {
        let (words, names, mut kv) = (Words::new(line), self.now(), self.kv());
        Ok(match words.at(0) {
            "put" => names.put(&kv.put(request::put(&words, &names)).await?.into_inner()),
            "range" => names.range(&kv.range(request::range(&words, &names)).await?.into_inner()),
            "del" => names.delete(&kv.delete_range(request::delete(&words)).await?.into_inner()),
            "txn" => names.txn(&kv.txn(request::txn(&line[1..], &names)).await?.into_inner()),
            "compact" => {
                let revision = revision(words.at(1), names.base);
                let request = pb::CompactionRequest { revision, physical: words.flag("physical") };
                names.header(kv.compact(request).await?.into_inner().header.as_ref())
            }
            _ => self.stream(request::range(&words, &names)).await?,
        })
    }

    /// However the server cuts it: the chunks together, and whether only the last has a header.
    async fn stream(&self, request: pb::RangeRequest) -> Result<String, Status> {
        let mut chunks = self.kv().range_stream(request).await?.into_inner();
        let (mut whole, mut early) = (pb::RangeResponse::default(), "");
        while let Some(chunk) = chunks.message().await? {
            let chunk = chunk.range_response.ok_or_else(|| Status::internal("an empty chunk"))?;
            if whole.header.is_some() {
                early = " a header before the last chunk";
            }
            let kvs = [whole.kvs, chunk.kvs.clone()].concat();
            whole = pb::RangeResponse { kvs, ..chunk };
        }
        Ok(format!("{}{early}", self.now().range(&whole)))
    }

    async fn leases(&self, words: &Words) -> Result<String, Status> {
        let mut client = LeaseClient::new(self.channel());
        let names = self.now();
        Ok(match words.at(0) {
            "grant" => {
                let request = pb::LeaseGrantRequest { ttl: words.number("ttl"), id: words.number("id") };
                let answer = client.lease_grant(request).await?.into_inner();
                self.names.lock().leases.insert(words.at(1).to_owned(), answer.id);
                let sign = if answer.id > 0 { "" } else { " (not positive)" };
                format!("{} ttl={}{sign} {}", names.header(answer.header.as_ref()), answer.ttl, answer.error)
            }
            "revoke" => {
                let request = pb::LeaseRevokeRequest { id: names.lease(words.at(1)) };
                names.header(client.lease_revoke(request).await?.into_inner().header.as_ref())
            }
            "ttl" => {
                let request = pb::LeaseTimeToLiveRequest { id: names.lease(words.at(1)), keys: words.flag("keys") };
                let answer = client.lease_time_to_live(request).await?.into_inner();
                // In no order.
                let mut keys: Vec<String> = answer.keys.iter().map(|key| format!(" {}", names.bytes(key))).collect();
                keys.sort();
                let keys = keys.concat();
                // A second may have passed.
                let left = if answer.ttl > 0 { (answer.ttl + 4) / 5 * 5 } else { answer.ttl };
                let id = names.show_lease(answer.id);
                format!(
                    "{} id={id} left={left} granted={}{keys}",
                    names.header(answer.header.as_ref()),
                    answer.granted_ttl
                )
            }
            "leases" => {
                let answer = client.lease_leases(pb::LeaseLeasesRequest {}).await?.into_inner();
                let mut ids: Vec<String> = answer.leases.iter().map(|held| names.show_lease(held.id)).collect();
                ids.sort();
                format!("{} {}", names.header(answer.header.as_ref()), ids.join(" "))
            }
            _ => {
                let ids: Vec<i64> = words.positional[1..].iter().map(|word| names.lease(word)).collect();
                let requests = ids.into_iter().map(|id| pb::LeaseKeepAliveRequest { id });
                let mut answers = client.lease_keep_alive(tokio_stream::iter(requests)).await?.into_inner();
                let mut told = Vec::new();
                while let Some(answer) = answers.message().await? {
                    let id = names.show_lease(answer.id);
                    told.push(format!("{} id={id} ttl={}", names.header(answer.header.as_ref()), answer.ttl));
                }
                told.join("\n    ")
            }
        })
    }

    async fn held(&self, words: &Words) -> Result<String, Status> {
        let (mut locks, mut elections) = (LockClient::new(self.channel()), ElectionClient::new(self.channel()));
        let (names, name) = (self.now(), words.bytes(1));
        let lease = words.option("lease").map_or(0, |word| names.lease(word));
        let leader = |word: &str| {
            let (key, rev, lease) = names.held.get(word).cloned()?;
            // Of the key: what comes before the lease's id, without the slash that an election adds.
            let prefix = key.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
            Some(LeaderKey { name: key.slice(..prefix), key, rev, lease })
        };
        Ok(match words.at(0) {
            "lock" => {
                let answer = locks.lock(LockRequest { name: name.clone(), lease }).await?.into_inner();
                self.names.lock().held.insert(words.at(1).to_owned(), (answer.key.clone(), 0, lease));
                format!("{} key={}", names.header(answer.header.as_ref()), names.bytes(&answer.key))
            }
            "unlock" => {
                let key = names.held.get(words.at(1)).map_or(name, |(key, ..)| key.clone());
                names.header(locks.unlock(UnlockRequest { key }).await?.into_inner().header.as_ref())
            }
            "campaign" => {
                let value = words.bytes(2);
                let answer = elections.campaign(CampaignRequest { name, lease, value }).await?.into_inner();
                let leader = answer.leader.unwrap_or_default();
                let text = format!(
                    "{} name={} key={} rev={}",
                    names.header(answer.header.as_ref()),
                    names.bytes(&leader.name),
                    names.bytes(&leader.key),
                    names.rev(leader.rev)
                );
                let held = (leader.key, leader.rev, leader.lease);
                self.names.lock().held.insert(format!("{}@{}", words.at(1), names.show_lease(lease)), held);
                text
            }
            "proclaim" => {
                let request = ProclaimRequest { leader: leader(words.at(1)), value: words.bytes(2) };
                names.header(elections.proclaim(request).await?.into_inner().header.as_ref())
            }
            "resign" => {
                let request = ResignRequest { leader: leader(words.at(1)) };
                names.header(elections.resign(request).await?.into_inner().header.as_ref())
            }
            "leader" => {
                let answer = elections.leader(LeaderRequest { name }).await?.into_inner();
                let kv = answer.kv.map_or_else(String::new, |kv| names.kv(&kv));
                format!("{} [{kv}]", names.header(answer.header.as_ref()))
            }
            _ => {
                let mut answers = elections.observe(LeaderRequest { name }).await?.into_inner();
                let mut told = Vec::new();
                for _ in 0..number(words.at(2)) {
                    let Some(answer) = answers.message().await? else { break };
                    let names = self.now();
                    let kv = answer.kv.map_or_else(String::new, |kv| names.kv(&kv));
                    told.push(format!("{} [{kv}]", names.header(answer.header.as_ref())));
                }
                told.join("\n    ")
            }
        })
    }

    async fn maintain(&self, words: &Words) -> Result<String, Status> {
        let (mut client, names) = (self.maintenance(), self.now());
        Ok(match words.at(0) {
            "status" => status(&names, &client.status(pb::StatusRequest {}).await?.into_inner()),
            "hash" => {
                let answer = client.hash(pb::HashRequest {}).await?.into_inner();
                format!("{} hash={}", names.header(answer.header.as_ref()), answer.hash != 0)
            }
            "hashkv" => {
                let revision = if words.at(1).is_empty() { 0 } else { revision(words.at(1), names.base) };
                let answer = client.hash_kv(pb::HashKvRequest { revision }).await?.into_inner();
                format!(
                    "{} hash={} compacted={} at={}",
                    names.header(answer.header.as_ref()),
                    if words.flag("value") { answer.hash.to_string() } else { (answer.hash != 0).to_string() },
                    names.rev(answer.compact_revision),
                    names.rev(answer.hash_revision)
                )
            }
            "alarm" => {
                let member_id = words.option("member").map_or(names.member, |word| number(word) as u64);
                let (action, alarm) = (number(words.at(1)) as i32, number(words.at(2)) as i32);
                let answer = client.alarm(pb::AlarmRequest { action, member_id, alarm }).await?.into_inner();
                let mut alarms: Vec<String> = answer.alarms.iter().map(|held| alarmed(&names, held)).collect();
                alarms.sort();
                format!("{} {}", names.header(answer.header.as_ref()), alarms.join(" "))
            }
            "defrag" => {
                let answer = client.defragment(pb::DefragmentRequest {}).await?.into_inner();
                names.header(answer.header.as_ref())
            }
            "downgrade" => {
                let (action, version) = (number(words.at(1)) as i32, words.at(2).to_owned());
                let answer = client.downgrade(pb::DowngradeRequest { action, version }).await?.into_inner();
                format!("{} version={}", names.header(answer.header.as_ref()), answer.version)
            }
            "moveleader" => {
                let target_id = if words.at(1) == "self" { names.member } else { number(words.at(1)) as u64 };
                let answer = client.move_leader(pb::MoveLeaderRequest { target_id }).await?.into_inner();
                names.header(answer.header.as_ref())
            }
            other => panic!("{other}: not a request"),
        })
    }
}

fn alarmed(names: &Names, held: &pb::AlarmMember) -> String {
    let whose = if held.member_id == names.member { "self".to_owned() } else { held.member_id.to_string() };
    format!("{whose}:{:?}", held.alarm())
}

fn status(names: &Names, answer: &pb::StatusResponse) -> String {
    let leader = if answer.leader == names.member { "self" } else { "other" };
    format!(
        "{} version={} storage={} leader={leader} quota={} learner={} downgrade={:?} errors={:?} sizes={} indexes={}",
        names.header(answer.header.as_ref()),
        answer.version.rsplit_once('.').map_or("", |(minor, _)| minor),
        answer.storage_version,
        answer.db_size_quota,
        answer.is_learner,
        answer.downgrade_info.as_ref().map(|info| (info.enabled, info.target_version.clone())),
        answer.errors.iter().map(|text| text.replace(&names.member.to_string(), "SELF")).collect::<Vec<_>>(),
        answer.db_size > 0 && answer.db_size_in_use > 0 && answer.db_size_in_use <= answer.db_size,
        answer.raft_term > 0 && answer.raft_applied_index > 0 && answer.raft_applied_index <= answer.raft_index,
    )
}
