//! The `raftsman` binary: parse, assemble, run, print. It decides nothing about the cluster.

mod access;
mod admin;
mod archive_settings;
mod backup;
mod changes;
mod dashboard;
mod doctor;
mod endpoints;
mod etcd_flags;
mod exit;
mod flags;
mod moment;
mod objects;
mod replace;
mod resource;
mod serve;
mod show;
mod signals;
mod store_command;
mod waiting;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::exit::Failure;
use crate::flags::ServerFlags;

/// Gives freed memory back, and keeps threads out of each other's way; RocksDB allocates through it too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs containers on a cluster of machines, from one binary.
///
/// The first machine runs `raftsman up` and prints how others join. Exit codes: 0 ok, 1 failed, 2 usage,
/// 3 not reachable, 4 refused.
#[derive(Parser)]
#[command(name = "raftsman", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the first server of a new cluster, or any server again.
    Up {
        #[command(flatten)]
        flags: ServerFlags,
    },
    /// Start a machine that joins the cluster of a token: as a server, or as a node, as the token says.
    Join {
        /// What `raftsman token create` printed on a server of the cluster.
        #[arg(env = "RAFTSMAN_TOKEN", hide_env_values = true)]
        token: String,
        #[command(flatten)]
        flags: ServerFlags,
    },
    /// The store alone, in the place of an etcd: takes etcd's flags, `--help` shows them.
    #[command(disable_help_flag = true)]
    Store {
        /// Flags as etcd takes them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
        arguments: Vec<OsString>,
    },
    /// Backups: create, look at, restore, also to any second of an archive.
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Tokens that let machines join.
    #[command(subcommand)]
    Token(admin::TokenCommand),
    /// Servers, who leads, and how far each one is.
    Status(access::Access),
    /// Servers of the cluster.
    #[command(subcommand)]
    Member(admin::MemberCommand),
    /// Say what this machine has for a server and a node, and what each missing thing costs.
    Doctor(doctor::Doctor),
    /// Show objects.
    Get(objects::Get),
    /// Make objects what files say that they are.
    Apply(objects::Apply),
    /// Delete objects, and wait until they are gone.
    Delete(objects::Delete),
    /// Show what a pod's container says.
    Logs(waiting::Logs),
    /// Wait until something is true of an object.
    Wait(waiting::Wait),
    /// Print the dashboard's address and a token to log in with.
    Dashboard(dashboard::DashboardFlags),
    /// Print a completion script for a shell.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the version.
    Version,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return Failure::failed("a crypto provider was installed already").exit();
    }
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
    match command {
        Command::Up { flags } => runtime.block_on(serve::up(flags)),
        Command::Join { token, flags } => runtime.block_on(serve::join(&token, flags)),
        Command::Store { arguments } => runtime.block_on(store_command::run(arguments)),
        Command::Backup(command) => runtime.block_on(backup::run(command)),
        Command::Token(command) => runtime.block_on(admin::token(command)),
        Command::Status(access) => runtime.block_on(admin::status(&access)),
        Command::Member(command) => runtime.block_on(admin::member(command)),
        Command::Doctor(command) => doctor::doctor(&command),
        Command::Get(command) => runtime.block_on(objects::get(&command)),
        Command::Apply(command) => runtime.block_on(objects::apply(&command)),
        Command::Delete(command) => runtime.block_on(objects::delete(&command)),
        Command::Logs(command) => runtime.block_on(waiting::logs(&command)),
        Command::Wait(command) => runtime.block_on(waiting::wait(&command)),
        Command::Dashboard(flags) => runtime.block_on(dashboard::dashboard(&flags)),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "raftsman", &mut script);
            exit::say(String::from_utf8_lossy(&script).trim_end())
        }
        Command::Version => exit::say(&format!(
            "raftsman {}\nKubernetes API {}",
            env!("CARGO_PKG_VERSION"),
            control::api::discovery::VERSION.2
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
