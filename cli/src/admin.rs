//! Commands about the cluster itself, asked of any server.

use std::time::Duration;

use clap::Subcommand;
use control::cluster::{ClusterStatus, TokenRequest};
use http::Method;
use serde_json::Value;

use crate::access::Access;
use crate::endpoints::Endpoints;
use crate::exit::{Failure, say};
use crate::show;

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token with which a machine joins.
    Create {
        /// What the machine becomes
        #[arg(long, default_value = "server")]
        role: String,
        /// Seconds until nobody gets in with it any more
        #[arg(long, default_value_t = 86_400, value_name = "SECONDS")]
        ttl: u64,
        #[command(flatten)]
        access: Access,
    },
    /// Show the tokens that are known.
    List(Access),
    /// Make a token worthless.
    Revoke {
        /// The token's id, as `list` shows it
        id: String,
        #[command(flatten)]
        access: Access,
    },
}

#[derive(Subcommand)]
pub(crate) enum MemberCommand {
    /// Show the servers.
    List(Access),
    /// Remove a server for good; its data directory can never come back.
    Remove {
        /// Its name or id
        member: String,
        #[command(flatten)]
        access: Access,
    },
    /// Let a new server take the place of another: prints the line with which it joins, and removes the other one once
    /// the new one votes. With --endpoints, of a plain `raftsman store` or an etcd.
    Replace {
        /// The name or id of the one that goes
        member: String,
        /// Of a plain store: what the new one is called, and where its peers reach it
        #[arg(value_name = "NAME=PEERURL", requires = "endpoints")]
        new: Option<String>,
        #[command(flatten)]
        store: Endpoints,
        /// Seconds to wait for the new server
        #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
        timeout: u64,
        #[command(flatten)]
        access: Access,
    },
    /// Let another server lead.
    TransferLeader {
        /// Its name or id
        member: String,
        #[command(flatten)]
        access: Access,
    },
}

/// `raftsman token …`
pub(crate) async fn token(command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create { role, ttl, access } => {
            let request = TokenRequest { role, ttl_seconds: ttl };
            let body = serde_json::to_vec(&request).map_err(|error| Failure::failed(error.to_string()))?;
            let answer = access.ask(Method::POST, "tokens", body).await?;
            if !access.output.is_table() {
                return show::documents(access.output, vec![answer]);
            }
            say(&format!("raftsman join {}", answer["token"].as_str().unwrap_or_default()))
        }
        TokenCommand::List(access) => {
            let answer = access.ask(Method::GET, "tokens", Vec::new()).await?;
            if !access.output.is_table() {
                return show::documents(access.output, vec![answer]);
            }
            let rows = answer["tokens"].as_array().into_iter().flatten().map(|token| {
                let expires = jiff::Timestamp::from_second(token["expires"].as_i64().unwrap_or(0)).unwrap_or_default();
                vec![word(&token["id"]), word(&token["role"]), expires.to_string()]
            });
            table(&["ID", "ROLE", "EXPIRES"], rows)
        }
        TokenCommand::Revoke { id, access } => {
            access.ask(Method::DELETE, &format!("tokens/{id}"), Vec::new()).await?;
            say(&format!("token {id} is revoked"))
        }
    }
}

/// `raftsman status`
pub(crate) async fn status(access: &Access) -> Result<(), Failure> {
    let answer = access.ask(Method::GET, "status", Vec::new()).await?;
    if !access.output.is_table() {
        return show::documents(access.output, vec![answer]);
    }
    let status: ClusterStatus = serde_json::from_value(answer).map_err(|error| Failure::failed(error.to_string()))?;
    let leader = if status.leader.is_empty() { "nobody" } else { &status.leader };
    say(&format!("leader {leader}, term {}, revision {}\n", status.term, status.revision))?;
    let rows = status.members.into_iter().map(|member| {
        let lag = member.lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string());
        vec![member.name, member.role, member.state, lag, member.api, member.id]
    });
    table(&["NAME", "ROLE", "STATE", "LAG", "API", "ID"], rows)?;
    if !status.nodes.is_empty() {
        say("")?;
        let ready = |ready| if ready { "Ready" } else { "NotReady" }.to_owned();
        table(&["NODE", "STATUS"], status.nodes.into_iter().map(|node| vec![node.name, ready(node.ready)]))?;
    }
    if let Some(archive) = &status.archive {
        let archive = serde_json::to_value(archive).map_err(|error| Failure::failed(error.to_string()))?;
        say(&format!("\n{}", crate::backup::archive_line(&archive, jiff::Timestamp::now())))?;
    }
    status.alarms.iter().try_for_each(|alarm| say(&format!("\nALARM {alarm}")))
}

/// `raftsman member …`
pub(crate) async fn member(command: MemberCommand) -> Result<(), Failure> {
    match command {
        MemberCommand::List(access) => status(&access).await,
        MemberCommand::Remove { member, access } => {
            access.ask(Method::DELETE, &format!("members/{member}"), Vec::new()).await?;
            say(&format!("{member} is removed; its data directory can never vote again"))
        }
        MemberCommand::Replace { member, new, store, timeout, access } => match new {
            Some(new) => crate::replace::run(&member, &new, timeout, &store).await,
            None if store.endpoints.is_empty() => replace(&member, timeout, &access).await,
            None => Err(Failure::usage("of a plain store, the new member is wanted too: NAME=PEERURL")),
        },
        MemberCommand::TransferLeader { member, access } => {
            access.ask(Method::POST, &format!("members/{member}/lead"), Vec::new()).await?;
            say(&format!("{member} leads"))
        }
    }
}

/// The new one votes before the old one goes: the cluster never survives less than it did.
async fn replace(member: &str, timeout: u64, access: &Access) -> Result<(), Failure> {
    let before = voters(access).await?;
    let Some((old, _)) = before.iter().find(|(id, name)| name == member || id == member) else {
        let names: Vec<_> = before.iter().map(|(_, name)| name.as_str()).collect();
        let text = format!("no server with a vote is called {member:?}; there are {}", names.join(", "));
        return Err(Failure::failed(text));
    };
    let request = TokenRequest { role: "server".to_owned(), ttl_seconds: timeout };
    let body = serde_json::to_vec(&request).map_err(|error| Failure::failed(error.to_string()))?;
    let answer = access.ask(Method::POST, "tokens", body).await?;
    let token = answer["token"].as_str().unwrap_or_default();
    say(&format!("on the new machine:  raftsman join {token}\nwaiting until it votes; {member} goes then"))?;
    let mut again = tokio::time::interval(Duration::from_secs(1));
    let joined = async {
        loop {
            again.tick().await;
            // A server that does not answer now may be the one that goes: another one is asked.
            let Ok(now) = voters(access).await else { continue };
            if let Some((_, name)) = now.into_iter().find(|(id, _)| before.iter().all(|(held, _)| held != id)) {
                return name;
            }
        }
    };
    let new = tokio::time::timeout(Duration::from_secs(timeout), joined).await;
    let new = new.map_err(|_| Failure::failed(format!("no new server votes after {timeout} s; {member} stays")))?;
    access.ask(Method::DELETE, &format!("members/{old}"), Vec::new()).await?;
    say(&format!("{new} has taken the place of {member}, whose data directory can never vote again"))
}

/// Servers with a vote: id and name.
async fn voters(access: &Access) -> Result<Vec<(String, String)>, Failure> {
    let answer = access.ask(Method::GET, "status", Vec::new()).await?;
    let status: ClusterStatus = serde_json::from_value(answer).map_err(|error| Failure::failed(error.to_string()))?;
    let voters = status.members.into_iter().filter(|member| member.role == "voter");
    Ok(voters.map(|member| (member.id, member.name)).collect())
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<(), Failure> {
    show::lines(&head.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), rows)
}
