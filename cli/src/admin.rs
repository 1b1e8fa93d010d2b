//! Commands about the cluster itself, asked of any server.

use clap::Subcommand;
use control::cluster::{ClusterStatus, TokenRequest};
use http::Method;
use serde_json::Value;

use crate::access::Access;
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
        MemberCommand::TransferLeader { member, access } => {
            access.ask(Method::POST, &format!("members/{member}/lead"), Vec::new()).await?;
            say(&format!("{member} leads"))
        }
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<(), Failure> {
    show::lines(&head.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), rows)
}
