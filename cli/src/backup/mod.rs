//! `raftsman backup`: what a store holds, in a file or a repository, and a store from that.

mod create;
mod look;
mod place;
mod restore;
mod schedule;
mod scratch;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{Args, Subcommand};
use store::backup::Manifest;
use store::backup::sealed::{Keys, Lock};
use store::moving::Progress;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, Output};
use crate::endpoints::Endpoints;
use crate::exit::Failure;
use crate::flags::AtRest;
use crate::moment::{shown as moment, time};
use crate::signals::Ends;

pub(crate) use schedule::line as archive_line;

const PLACES: &str = "\
PLACE is a file, or a repository, which holds many backups: a directory that is there, or s3://BUCKET/PREFIX (endpoint, \
region and credentials by the usual variables AWS_…; AWS_CA_BUNDLE names whom to trust). PLACE#ID is one backup of a \
repository. What is checked is booted in a directory below TMPDIR (/tmp).

Exit codes: 0 ok, 1 failed, 2 usage, 3 not reachable, 4 refused: damaged, not there, or in the way.";

const CREATE: &str = "\
Write everything into one file, and check it by booting it: of a cluster its state and its keys (whoever has the file has \
the cluster); with --endpoints, of a plain `raftsman store` or an etcd its keys, leases, users and roles.";

const RESTORE: &str = "\
Make the data directory of a new cluster of one member, which others can join. Of a repository that the members archive \
to (--archive-to), any revision or second: a base is taken and the log entries that follow are applied to it.

The directory is made beside its name and gets the name once it is whole: a restore that is ended at any moment leaves \
nothing that could be taken for one. Revisions never go back: clients list again.";

#[derive(Subcommand)]
pub(crate) enum BackupCommand {
    /// Write everything into one file, and check it.
    #[command(long_about = CREATE, after_long_help = PLACES)]
    Create {
        /// A file that does not exist yet, or a repository
        place: String,
        /// Bytes a second at most: 500K, 20M, 1G
        #[arg(long, value_name = "RATE", value_parser = rate)]
        rate_limit: Option<u64>,
        #[command(flatten)]
        closed: Closed,
        #[command(flatten)]
        store: Endpoints,
        #[command(flatten)]
        access: Access,
    },
    /// Show the backups and archives in a repository, or the backups among a folder's files.
    #[command(after_long_help = PLACES)]
    List {
        /// Where to look
        #[arg(default_value = ".")]
        place: String,
        #[command(flatten)]
        opened: Opened,
        #[command(flatten)]
        printed: Printed,
    },
    /// Boot a backup in a scratch directory and check every hash and count; of a repository, all backups and the archive.
    #[command(after_long_help = PLACES)]
    Verify {
        /// What is to be checked
        place: String,
        #[command(flatten)]
        opened: Opened,
        #[command(flatten)]
        printed: Printed,
    },
    /// Show what a backup holds: revision, time, and keys by prefix.
    #[command(after_long_help = PLACES)]
    Inspect {
        /// Of a repository, the newest one
        place: String,
        #[command(flatten)]
        opened: Opened,
        #[command(flatten)]
        printed: Printed,
    },
    /// Show which keys differ between two backups.
    #[command(after_long_help = PLACES)]
    Diff {
        /// The earlier one
        a: String,
        /// The later one
        b: String,
        #[command(flatten)]
        opened: Opened,
        #[command(flatten)]
        printed: Printed,
    },
    /// Show how the archive of a running cluster stands; members archive by their flag --archive-to.
    Schedule {
        /// Refused (exit code 4) when what is archived is older than this: 5s, 1m
        #[arg(long, value_name = "TIME", value_parser = span)]
        max_age: Option<Duration>,
        #[command(flatten)]
        store: Endpoints,
        #[command(flatten)]
        access: Access,
    },
    /// Make the data directory of a new cluster of one member, which others can join.
    #[command(long_about = RESTORE, after_long_help = PLACES)]
    Restore(Box<Restore>),
}

/// What is restored.
#[derive(Args)]
pub(crate) struct Restore {
    /// What `create` wrote, or where members archive to: the newest state of it
    place: String,
    /// Must not exist yet, or be empty
    #[arg(long, value_name = "NEW", required_unless_present = "plan")]
    data_dir: Option<PathBuf>,
    /// The state at this revision
    #[arg(long, value_name = "REVISION", conflicts_with = "to_time", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(1..))]
    to_revision: Option<i64>,
    /// The state at this time: 2026-11-26T04:00:00Z, or so long ago: -90s, -2h, "-1d 2h"
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = |word: &str| time(word, jiff::Timestamp::now()))]
    to_time: Option<i64>,
    /// Only show what would change of the newest archived state: which keys come back, go, or become others
    #[arg(long)]
    plan: bool,
    /// Which cluster's archive, by its id in hexadecimal [default: the one that was archived last]
    #[arg(long, value_name = "ID", value_parser = place::group)]
    cluster: Option<u64>,
    /// Bytes a second at most: 500K, 20M, 1G
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate_limit: Option<u64>,
    #[command(flatten)]
    opened: Opened,
    #[command(flatten)]
    printed: Printed,
    #[command(flatten)]
    at_rest: AtRest,
}

/// What encrypts a backup.
#[derive(Args, Clone)]
pub(crate) struct Closed {
    /// The file is encrypted (age) with the first line of this one
    #[arg(long, env = "RAFTSMAN_PASSPHRASE_FILE", value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The file is encrypted for these public keys (age1…), with commas between them
    #[arg(long, value_name = "KEYS", value_delimiter = ',', conflicts_with = "passphrase_file")]
    recipients: Vec<String>,
}

impl Closed {
    fn lock(&self) -> Result<Lock, Failure> {
        Lock::new(self.passphrase_file.as_deref(), &self.recipients).map_err(Failure::usage)
    }
}

/// What opens one.
#[derive(Args, Clone)]
pub(crate) struct Opened {
    /// The first line of this file opens what is encrypted with a passphrase
    #[arg(long, env = "RAFTSMAN_PASSPHRASE_FILE", value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The secret keys in this file (AGE-SECRET-KEY-1…) open what is encrypted for their public ones
    #[arg(long, env = "RAFTSMAN_IDENTITY_FILE", value_name = "FILE")]
    identity_file: Option<PathBuf>,
}

impl Opened {
    fn keys(&self) -> Result<Keys, Failure> {
        Keys::new(self.passphrase_file.as_deref(), self.identity_file.as_deref()).map_err(Failure::usage)
    }
}

/// How to print.
#[derive(Args, Clone)]
pub(crate) struct Printed {
    /// Text for people, the rest for programs
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Cancelled once this command is told to end.
static STOP: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);

/// What is under way may take so long to end.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Does what is asked for; who interrupts it finds nothing half made.
pub(crate) async fn run(command: BackupCommand) -> Result<(), Failure> {
    let (mut ends, work) = (Ends::new()?, dispatch(command));
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => done,
        () = ends.asked() => {
            STOP.cancel();
            // What is given up there removes what it has made, too.
            let ended = tokio::time::timeout(ENDS_WITHIN, work).await;
            let stopped = || Failure::failed("stopped on request; nothing was made");
            ended.map_err(|_| stopped())?.map_err(|_| stopped())
        }
    }
}

async fn dispatch(command: BackupCommand) -> Result<(), Failure> {
    match command {
        BackupCommand::Create { place, rate_limit, closed, store, access } => {
            create::run(&place, rate_limit, &closed.lock()?, &store, &access).await
        }
        BackupCommand::List { place, opened, printed } => look::list(&place, &opened.keys()?, printed.output).await,
        BackupCommand::Verify { place, opened, printed } => look::verify(&place, opened.keys()?, printed.output).await,
        BackupCommand::Inspect { place, opened, printed } => {
            look::inspect(&place, &opened.keys()?, printed.output).await
        }
        BackupCommand::Diff { a, b, opened, printed } => look::diff((&a, &b), &opened.keys()?, printed.output).await,
        BackupCommand::Schedule { max_age, store, access } => schedule::run(max_age, &store, &access).await,
        BackupCommand::Restore(asked) => restore::run(*asked).await,
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::failed(error.to_string())
}

/// A backup, as programs read about it: never its keys.
fn facts(shown: &str, bytes: u64, manifest: &Manifest) -> serde_json::Value {
    serde_json::json!({
        "file": shown, "keys": manifest.keys, "leases": manifest.leases,
        "revision": manifest.revision, "created": created(manifest), "version": manifest.extra["version"],
        "cluster": format!("{:016x}", manifest.cluster_id), "bytes": bytes,
    })
}

/// When it was taken; by the machine's clock where nobody said.
fn created(manifest: &Manifest) -> String {
    let said = manifest.extra["created"].as_str().filter(|_| manifest.base.is_none()).map(str::to_owned);
    said.unwrap_or_else(|| moment(manifest.time_ms))
}

fn describe(manifest: &Manifest) -> String {
    let taken = if manifest.base.is_none() && manifest.extra["created"].is_string() {
        created(manifest)
    } else {
        clock(manifest.time_ms)
    };
    format!("{} keys at revision {}, taken {taken}", manifest.keys, manifest.revision)
}

/// A member's clock for people: it stands still until the first write.
fn clock(time_ms: i64) -> String {
    if time_ms == 0 { "before the first write".to_owned() } else { moment(time_ms) }
}

/// Progress on a terminal, in one line.
fn progress() -> Progress {
    let shown = std::io::stderr().is_terminal();
    let mut progress = Progress::new(move |line| {
        if shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        }
    });
    progress.stop = STOP.clone();
    progress
}

/// Ends the line.
fn quiet() {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}

/// Bytes a second.
fn rate(word: &str) -> Result<u64, String> {
    let units = [("K", 10), ("M", 20), ("G", 30)];
    let found = units.iter().find_map(|(unit, shift)| Some((word.strip_suffix(unit)?, *shift)));
    let (number, shift) = found.unwrap_or((word, 0));
    let number: u64 = number.parse().map_err(|_| "a number of bytes, with K, M or G behind it".to_owned())?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "it cannot be".to_owned())
}

/// A length of time.
pub(crate) fn span(word: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration =
        word.parse().map_err(|_| format!("{word:?} is no length of time; write 5s, 1m, 2h 30m"))?;
    parsed.try_into().map_err(|_| "it cannot be negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_are_read() {
        assert_eq!((rate("17"), rate("2K"), rate("3M")), (Ok(17), Ok(2048), Ok(3 << 20)));
        assert!(rate("fast").is_err() && rate("0").is_err() && rate("99999999999G").is_err());
        assert_eq!(span("90s"), Ok(Duration::from_secs(90)));
        assert!(span("-1s").is_err() && span("soon").is_err());
    }
}
