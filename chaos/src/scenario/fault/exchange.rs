//! A group that is exchanged member by member while clients go on: grown by two, every founder replaced by another member,
//! then shrunk to as many as there were.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_client::ClusterClient;
use tonic::Status;

use super::{Diary, awaited};
use crate::scenario::channel;
use crate::seed::Seed;
use crate::work::endpoints::Endpoints;
use crate::world::cluster::Cluster;
use crate::world::layout::Place;
use crate::world::{bring_up, store};

/// More members for a while.
const EXTRA: u8 = 2;
/// A change of who belongs to the group, catching up included.
const CHANGE_LIMIT: Duration = Duration::from_secs(60);
/// Between two changes at most, so that they meet the load and each other differently. Units: milliseconds.
const PAUSE_MAX: u64 = 1_000;

/// Exchanges all members.
pub(super) async fn run(
    cluster: &mut Cluster,
    servers: &Endpoints,
    seed: &mut Seed,
    diary: &mut Diary,
) -> anyhow::Result<()> {
    let mut exchange = Exchange { cluster, servers, diary };
    let founders = exchange.cluster.servers;
    let layout = exchange.cluster.layout();
    let extra: Vec<Place> = (1..=EXTRA).map(|number| layout.server(founders + number)).collect();
    for place in &extra {
        exchange.grow(place).await?;
        pause(seed).await;
    }
    let mut leaving: Vec<Place> = (1..=founders).map(|number| layout.server(number)).collect();
    for number in 1..=founders {
        let old = leaving.swap_remove(usize::try_from(seed.below(leaving.len() as u64))?);
        exchange.replace(&old, &layout.server(founders + EXTRA + number)).await?;
        pause(seed).await;
    }
    for place in &extra {
        exchange.shrink(place).await?;
        pause(seed).await;
    }
    let left = exchange.members().await?;
    ensure!(left.len() == usize::from(founders), "{} members are left of {founders}", left.len());
    Ok(())
}

async fn pause(seed: &mut Seed) {
    tokio::time::sleep(Duration::from_millis(seed.below(PAUSE_MAX))).await;
}

pub(super) struct Exchange<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) servers: &'a Endpoints,
    pub(super) diary: &'a mut Diary,
}

impl Exchange<'_> {
    /// Who belongs to the group, as any member says it.
    async fn members(&self) -> Result<Vec<pb::Member>, Status> {
        let mut last = Status::unavailable("there is no member");
        for (_, channel) in self.servers.all() {
            let list = pb::MemberListRequest { linearizable: true };
            match ClusterClient::new(channel).member_list(list).await {
                Ok(answer) => return Ok(answer.into_inner().members),
                Err(status) => last = status,
            }
        }
        Err(last)
    }

    /// Asks for a change until it is done: as etcd, the group refuses while it has not heard from enough members.
    async fn change(&self, what: &str, mut ask: impl AsyncFnMut(usize) -> Result<(), Status>) -> anyhow::Result<()> {
        let (mut turn, mut last) = (0, None);
        let asked = async || {
            turn += 1;
            last = ask(turn).await.err();
            last.is_none()
        };
        let done = awaited(CHANGE_LIMIT, asked).await;
        ensure!(done, "{what}: {}", last.map_or_else(|| "no answer".to_owned(), |status| status.message().to_owned()));
        Ok(())
    }

    /// Lets a member join, and waits until it votes.
    async fn grow(&mut self, place: &Place) -> anyhow::Result<()> {
        if self.cluster.store {
            self.announce(place).await?;
            self.start(place).await?;
        } else {
            let token = bring_up::token(&self.cluster.binary, &self.other_than(place)?, "server")?;
            self.join(place, token)?;
        }
        let votes = async || {
            let members = self.members().await.unwrap_or_default();
            members.iter().any(|member| member.name == place.name && !member.is_learner)
        };
        let votes = awaited(CHANGE_LIMIT, votes).await;
        self.diary.trace(votes, &format!("{} votes", place.name));
        ensure!(votes, "{} does not vote", place.name);
        self.servers.add(&place.name, channel(self.cluster, place)?);
        Ok(())
    }

    async fn announce(&mut self, place: &Place) -> anyhow::Result<()> {
        let url = store::url(place, place.peer_port);
        let what = format!("{} is announced", place.name);
        self.change(&what, async |turn| {
            if self.members().await?.iter().any(|member| member.peer_ur_ls.contains(&url)) {
                return Ok(());
            }
            let add = pb::MemberAddRequest { peer_ur_ls: vec![url.clone()], is_learner: false };
            ClusterClient::new(self.servers.at(turn)).member_add(add).await.map(drop)
        })
        .await?;
        self.diary.note(what);
        Ok(())
    }

    /// A server that runs and can be asked about another.
    fn other_than(&self, place: &Place) -> anyhow::Result<Place> {
        let layout = self.cluster.layout();
        let mut running = self.cluster.of_role("server").filter(|server| server.alive() && server.name != place.name);
        running.find_map(|server| layout.server_named(&server.name)).context("no other server runs")
    }

    /// Starts a server of a cluster with a token.
    fn join(&mut self, place: &Place, token: String) -> anyhow::Result<()> {
        tokio::task::block_in_place(|| bring_up::start_server(self.cluster, place, Some(token), &[]))?;
        self.cluster.save()
    }

    /// Starts a member that was announced.
    async fn start(&mut self, place: &Place) -> anyhow::Result<()> {
        let url = store::url(place, place.peer_port);
        let members = self.members().await?;
        let known = members.iter().filter(|member| !member.name.is_empty());
        let all: Vec<String> = known
            .filter_map(|member| Some(format!("{}={}", member.name, member.peer_ur_ls.first()?)))
            .chain([format!("{}={url}", place.name)])
            .collect();
        let flags = [format!("--initial-cluster={}", all.join(",")), "--initial-cluster-state=existing".to_owned()];
        // Disks and namespaces are made meanwhile: clients must not wait for that.
        tokio::task::block_in_place(|| store::add(self.cluster, place, &flags))
    }

    /// Lets a new member take the place of another, by the command that people use.
    pub(super) async fn replace(&mut self, old: &Place, new: &Place) -> anyhow::Result<()> {
        let what = format!("{} is to take the place of {}", new.name, old.name);
        self.diary.note(what.clone());
        let mut command =
            if self.cluster.store { self.replace_member(old, new).await } else { self.replace_server(old, new) }
                .with_context(|| what.clone())?;
        let ended = awaited(CHANGE_LIMIT, async || command.try_wait().is_ok_and(|status| status.is_some())).await;
        let done = ended && command.wait()?.success();
        let _ = command.kill();
        let why = || std::fs::read_to_string(self.said()).unwrap_or_default();
        ensure!(done, "{what}: raftsman member replace did not do it: {}", why().trim());
        self.servers.add(&new.name, channel(self.cluster, new)?);
        self.gone(old).await
    }

    /// The command, for whoever starts the new one.
    fn member_replace(&self, old: &Place) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.cluster.binary);
        command.args(["member", "replace", &old.name, "--timeout", &CHANGE_LIMIT.as_secs().to_string()]);
        let said = File::options().create(true).append(true).open(self.said())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        Ok(command)
    }

    /// What the command said that went wrong.
    fn said(&self) -> PathBuf {
        self.cluster.dir.join("member-replace.log")
    }

    /// Asks a plain store for it, and starts the new member once it is announced.
    async fn replace_member(&mut self, old: &Place, new: &Place) -> anyhow::Result<Child> {
        let url = store::url(new, new.peer_port);
        let members = self.members().await?;
        let staying = members.iter().filter(|member| member.name != old.name);
        let endpoints: Vec<&str> = staying.flat_map(|member| &member.client_ur_ls).map(String::as_str).collect();
        let mut command = self.member_replace(old)?;
        let mut command =
            command.args([&format!("{}={url}", new.name), "--endpoints", &endpoints.join(",")]).spawn()?;
        let announced = async || {
            let members = self.members().await.unwrap_or_default();
            members.iter().any(|member| member.peer_ur_ls.contains(&url))
        };
        if awaited(CHANGE_LIMIT, announced).await {
            self.start(new).await?;
            return Ok(command);
        }
        let _ = command.kill();
        bail!("{} was not announced", new.name)
    }

    /// Asks a cluster for it, and starts the new server with the token that the command says.
    fn replace_server(&mut self, old: &Place, new: &Place) -> anyhow::Result<Child> {
        let asked = self.other_than(old)?.data_dir.join("admin.kubeconfig");
        let mut command = self.member_replace(old)?;
        let mut command = command.arg("--kubeconfig").arg(asked).stdout(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(command.stdout.take().context("its output")?);
        let line = said
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("raftsman join ").map(|(_, token)| token.trim().to_owned()));
        // What it says later must have a reader as long as it runs.
        command.stdout = Some(said.into_inner());
        self.join(new, line.context("it says no token")?)?;
        Ok(command)
    }

    /// Removes a member.
    async fn shrink(&mut self, place: &Place) -> anyhow::Result<()> {
        let what = format!("{} is removed", place.name);
        self.diary.note(what.clone());
        self.change(&what, async |turn| {
            let Some(id) = self.members().await?.into_iter().find(|member| member.name == place.name) else {
                return Ok(());
            };
            let remove = pb::MemberRemoveRequest { id: id.id };
            ClusterClient::new(self.servers.at(turn)).member_remove(remove).await.map(drop)
        })
        .await?;
        self.gone(place).await
    }

    /// A member that was removed ends by itself; nobody calls it any more.
    async fn gone(&mut self, place: &Place) -> anyhow::Result<()> {
        self.servers.remove(&place.name);
        if !self.cluster.store {
            bring_up::write_kubeconfig(self.cluster)?;
        }
        let process = self.cluster.process(&place.name)?;
        let ended = awaited(CHANGE_LIMIT, async || !process.alive()).await;
        self.diary.trace(ended, &format!("{} has ended", place.name));
        ensure!(ended, "{} goes on though it was removed", place.name);
        Ok(())
    }
}
