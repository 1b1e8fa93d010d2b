//! Commands about the cluster itself, asked of any server.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use control::cluster::{ClusterStatus, TokenRequest};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

use crate::exit::{Failure, say};

/// How to reach the cluster, and how to print.
#[derive(Args, Clone)]
pub(crate) struct Access {
    /// Whom to ask, and as whom [default: /var/lib/raftsman/admin.kubeconfig]
    #[arg(long, env = "KUBECONFIG", value_name = "FILE", global = true)]
    kubeconfig: Option<PathBuf>,
    /// Which server of the kubeconfig to ask [default: its current context]
    #[arg(long, value_name = "NAME", global = true)]
    context: Option<String>,
    /// Tables for people, JSON for programs
    #[arg(long, short, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
enum Output {
    Table,
    Json,
}

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

impl Access {
    /// A long answer, as it comes.
    pub(crate) async fn stream(&self, path: &str) -> Result<kube::client::Body, Failure> {
        let (client, server) = self.client().await?;
        let request = http::Request::get(format!("/raftsman/v1/{path}")).body(kube::client::Body::empty());
        let request = request.map_err(|error| Failure::usage(error.to_string()))?;
        let unreachable = |error: kube::Error| Failure::unreachable(format!("{server} does not answer: {error}"));
        let response = client.send(request).await.map_err(unreachable)?;
        match response.status().as_u16() {
            200 => Ok(response.into_body()),
            401 | 403 => Err(Failure::refused(format!("{server} refuses: this user may not read {path}"))),
            code => Err(Failure::failed(format!("{server} answers {code}"))),
        }
    }

    async fn client(&self) -> Result<(kube::Client, String), Failure> {
        let file = self.kubeconfig.clone().unwrap_or_else(|| PathBuf::from("/var/lib/raftsman/admin.kubeconfig"));
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::usage(format!("{}: {error}; name the cluster's kubeconfig with --kubeconfig", file.display()))
        };
        let kubeconfig = Kubeconfig::read_from(&file).map_err(|error| wrong(&error))?;
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| wrong(&error))?;
        let server = config.cluster_url.to_string();
        Ok((kube::Client::try_from(config).map_err(|error| wrong(&error))?, server))
    }

    async fn ask(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Value, Failure> {
        let (client, server) = self.client().await?;
        let request = http::Request::builder().method(method).uri(format!("/raftsman/v1/{path}")).body(body);
        let request = request.map_err(|error| Failure::usage(error.to_string()))?;
        match client.request::<Value>(request).await {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(status)) if status.code < 500 => Err(Failure::refused(status.message.clone())),
            Err(kube::Error::Api(status)) => Err(Failure::failed(status.message.clone())),
            Err(error) => {
                Err(Failure::unreachable(format!("{server} does not answer: {error}; is the server running?")))
            }
        }
    }

    fn json(&self, answer: &Value) -> Result<(), Failure> {
        say(&serde_json::to_string_pretty(answer).map_err(|error| Failure::failed(error.to_string()))?)
    }
}

/// `raftsman token …`
pub(crate) async fn token(command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create { role, ttl, access } => {
            let request = TokenRequest { role, ttl_seconds: ttl };
            let body = serde_json::to_vec(&request).map_err(|error| Failure::failed(error.to_string()))?;
            let answer = access.ask("POST", "tokens", body).await?;
            if access.output == Output::Json {
                return access.json(&answer);
            }
            say(&format!("raftsman join {}", answer["token"].as_str().unwrap_or_default()))
        }
        TokenCommand::List(access) => {
            let answer = access.ask("GET", "tokens", Vec::new()).await?;
            if access.output == Output::Json {
                return access.json(&answer);
            }
            let rows = answer["tokens"].as_array().into_iter().flatten().map(|token| {
                let expires = jiff::Timestamp::from_second(token["expires"].as_i64().unwrap_or(0)).unwrap_or_default();
                vec![word(&token["id"]), word(&token["role"]), expires.to_string()]
            });
            table(&["ID", "ROLE", "EXPIRES"], rows)
        }
        TokenCommand::Revoke { id, access } => {
            access.ask("DELETE", &format!("tokens/{id}"), Vec::new()).await?;
            say(&format!("token {id} is revoked"))
        }
    }
}

/// `raftsman status`
pub(crate) async fn status(access: &Access) -> Result<(), Failure> {
    let answer = access.ask("GET", "status", Vec::new()).await?;
    if access.output == Output::Json {
        return access.json(&answer);
    }
    let status: ClusterStatus = serde_json::from_value(answer).map_err(|error| Failure::failed(error.to_string()))?;
    let leader = if status.leader.is_empty() { "nobody" } else { &status.leader };
    say(&format!("leader {leader}, term {}, revision {}\n", status.term, status.revision))?;
    let rows = status.members.into_iter().map(|member| {
        let lag = member.lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string());
        vec![member.name, member.role, member.state, lag, member.api, member.id]
    });
    table(&["NAME", "ROLE", "STATE", "LAG", "API", "ID"], rows)
}

/// `raftsman member …`
pub(crate) async fn member(command: MemberCommand) -> Result<(), Failure> {
    match command {
        MemberCommand::List(access) => status(&access).await,
        MemberCommand::Remove { member, access } => {
            access.ask("DELETE", &format!("members/{member}"), Vec::new()).await?;
            say(&format!("{member} is removed; its data directory can never vote again"))
        }
        MemberCommand::TransferLeader { member, access } => {
            access.ask("POST", &format!("members/{member}/lead"), Vec::new()).await?;
            say(&format!("{member} leads"))
        }
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<(), Failure> {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(head.to_vec());
    for row in rows {
        table.add_row(row);
    }
    let text: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    say(&text.join("\n"))
}
