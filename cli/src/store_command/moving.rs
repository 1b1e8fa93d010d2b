//! `raftsman store import` and `raftsman store export`: an etcd's data in, a store's data out.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Parser};
use store::config::KeySource;
use store::moving::{self, Access, Export, Import, Moved, Origin, Problem, Progress, User};
use store::tls::TlsFiles;

use crate::exit::{Failure, say};
use crate::signals::Ends;

const IMPORT: &str = "\
Makes a data directory of an etcd's data, with all of it: keys and their history with every revision that can still be \
read, leases with what is left of their time, users, roles and passwords. The etcd can run meanwhile; stop whatever \
writes to it first, because what is written later does not come along.

Everything is compared afterwards, key by key and change by change, and the directory gets its name only when nothing \
differs. Start `raftsman store` on it with the same flags as before, alone in --initial-cluster; other members join with \
`etcdctl member add` and empty directories.";

const IMPORT_EXAMPLES: &str = "\
From an etcd that runs:
  raftsman store import --endpoints 10.0.0.1:2379 --data-dir /var/lib/raftsman-store
With TLS and a user (snapshots are root's):
  raftsman store import --endpoints https://10.0.0.1:2379 --cacert ca.crt --cert client.crt --key client.key \\
    --user root --data-dir /var/lib/raftsman-store     (the password: ETCDCTL_PASSWORD)
From a file that `etcdctl snapshot save` wrote, or the member/snap/db of an etcd that is stopped:
  raftsman store import --snapshot-file backup.db --data-dir /var/lib/raftsman-store

Exit codes: 0 all is there, 1 failed, 2 usage, 3 no endpoint answers, 4 refused: something differs or is in use.";

/// An etcd's data as a new data directory.
#[derive(Parser)]
#[command(name = "raftsman store import", bin_name = "raftsman store import", about = "An etcd's data as a new data directory", long_about = IMPORT, after_long_help = IMPORT_EXAMPLES)]
struct ImportFlags {
    #[command(flatten)]
    from: SourceFlags,
    /// A file with an etcd's database, instead of an etcd that runs
    #[arg(long, value_name = "FILE")]
    snapshot_file: Option<PathBuf>,
    /// The directory that is made: it must not exist, or be empty
    #[arg(long, env = "ETCD_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// Encrypt the directory with these keys, as `raftsman store` takes them
    #[arg(long, value_name = "FILE", conflicts_with = "encryption_passphrase_file")]
    encryption_key_file: Option<PathBuf>,
    /// The same with passphrases
    #[arg(long, value_name = "FILE")]
    encryption_passphrase_file: Option<PathBuf>,
}

const EXPORT: &str = "\
Writes a store's data to an etcd that is new: its history revision by revision, so that every key has the same \
revisions and versions, and can be read at each of them as before; leases with their ids; users, roles and passwords \
(etcd 3.5 or newer). The source can be a member of `raftsman store` or an etcd.

Revisions that are compacted are made up for by as many changes of a key that is gone in the end; then the etcd is \
compacted to the same revision. Everything is compared afterwards. What cannot be the same is said: the time that is left \
of leases begins anew, and the auth store has its own revision. Nobody else may write to either meanwhile.

For a file that `etcdutl snapshot restore` takes, use `etcdctl snapshot save` against this store.";

const EXPORT_EXAMPLES: &str = "\
To an etcd with an empty data directory:
  raftsman store export --endpoints 127.0.0.1:2379 --to 10.0.0.9:2379
Where millions of revisions are compacted, the keys as they are now:
  raftsman store export --endpoints 127.0.0.1:2379 --to 10.0.0.9:2379 --without-history

Exit codes: 0 all is there, 1 failed, 2 usage, 3 no endpoint answers, 4 refused: something differs or is in use.";

/// A store's data to an etcd.
#[derive(Parser)]
#[command(name = "raftsman store export", bin_name = "raftsman store export", about = "A store's data to an etcd that is new", long_about = EXPORT, after_long_help = EXPORT_EXAMPLES)]
struct ExportFlags {
    #[command(flatten)]
    from: SourceFlags,
    /// The etcd that is filled: HOST:PORT or a URL
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',', required = true)]
    to: Vec<String>,
    /// Authority that signed the target's certificate
    #[arg(long, value_name = "FILE")]
    to_cacert: Option<PathBuf>,
    /// Certificate to show to the target
    #[arg(long, value_name = "FILE", requires = "to_key")]
    to_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "to_cert")]
    to_key: Option<PathBuf>,
    /// Take whatever certificate the target shows
    #[arg(long)]
    to_insecure_skip_tls_verify: bool,
    /// Only the keys as they are now, without their revisions, versions and history
    #[arg(long)]
    without_history: bool,
    /// Put the keys among what the target holds already, and replace what has the same names
    #[arg(long, requires = "without_history")]
    force: bool,
    /// Changes that make up for compacted revisions, at most
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000_000)]
    fill_max: u64,
    /// Operations that the target takes in a transaction: its own flag of this name
    #[arg(long, value_name = "NUMBER", default_value_t = 128)]
    max_txn_ops: usize,
}

/// How the source is reached, as etcdctl names it.
#[derive(Args)]
struct SourceFlags {
    /// Whom to ask: HOST:PORT or URLs, with commas between them; the first that answers
    #[arg(long, env = "ETCDCTL_ENDPOINTS", value_name = "ENDPOINTS", value_delimiter = ',')]
    endpoints: Vec<String>,
    /// Who asks: NAME, or NAME:PASSWORD
    #[arg(long, env = "ETCDCTL_USER", value_name = "NAME", hide_env_values = true)]
    user: Option<String>,
    /// The user's password
    #[arg(long, env = "ETCDCTL_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Authority that signed the certificates [default: those that the system trusts]
    #[arg(long, env = "ETCDCTL_CACERT", value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Certificate to show
    #[arg(long, env = "ETCDCTL_CERT", value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Its key
    #[arg(long, env = "ETCDCTL_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// Take whatever certificate is shown
    #[arg(long, env = "ETCDCTL_INSECURE_SKIP_TLS_VERIFY")]
    insecure_skip_tls_verify: bool,
}

/// Runs what the first word asks for; none where it is none of these.
pub(super) async fn run(arguments: &[OsString]) -> Option<Result<(), Failure>> {
    let rest = || std::iter::once(OsString::from("raftsman store")).chain(arguments.iter().skip(1).cloned());
    match arguments.first()?.to_str()? {
        "import" => Some(import(parsed(rest())).await),
        "export" => Some(export(parsed(rest())).await),
        _ => None,
    }
}

pub(super) fn parsed<P: Parser>(words: impl Iterator<Item = OsString>) -> P {
    // Prints help, or what is wrong, and ends with clap's codes: 0 and 2.
    P::try_parse_from(words).unwrap_or_else(|error| error.exit())
}

async fn import(flags: ImportFlags) -> Result<(), Failure> {
    let origin = match flags.snapshot_file {
        Some(file) => Origin::File(file),
        None if flags.from.endpoints.is_empty() => {
            return Err(Failure::usage("name an etcd with --endpoints, or a file of it with --snapshot-file"));
        }
        None => Origin::Etcd(Box::new(flags.from.access()?)),
    };
    let key = flags.encryption_key_file.map(KeySource::KeyFile);
    let encryption = key.or(flags.encryption_passphrase_file.map(KeySource::PassphraseFile));
    let asked = Import { origin, data_dir: flags.data_dir.clone(), encryption };
    report(until_told(|progress| moving::import(asked, progress)).await?)?;
    say(&format!("imported to {}; start it with: raftsman store --data-dir {0}", flags.data_dir.display()))
}

async fn export(flags: ExportFlags) -> Result<(), Failure> {
    let from = flags.from.access()?;
    if from.endpoints.is_empty() {
        return Err(Failure::usage(
            "--endpoints names whom to read from; `raftsman store export --help` shows examples",
        ));
    }
    let shown = flags.to_cert.clone().zip(flags.to_key.clone());
    let tls = tls(flags.to_cacert.clone(), shown, flags.to_insecure_skip_tls_verify, &flags.to);
    let asked = Export {
        from,
        to: Access { endpoints: flags.to, tls, user: None },
        without_history: flags.without_history,
        force: flags.force,
        fill_max: flags.fill_max,
        ops_max: flags.max_txn_ops.max(1),
    };
    report(until_told(|progress| moving::export(asked, progress)).await?)?;
    say("exported")
}

/// Progress goes where errors go; who interrupts it finds nothing half made.
async fn until_told<F: Future<Output = Result<Moved, Problem>>>(
    work: impl FnOnce(Progress) -> F,
) -> Result<Moved, Failure> {
    let progress = Progress::new(|line| {
        let _ = writeln!(std::io::stderr(), "{line}");
    });
    let (mut ends, stop) = (Ends::new()?, progress.stop.clone());
    let work = work(progress);
    tokio::pin!(work);
    let moved = tokio::select! {
        moved = &mut work => moved,
        () = ends.asked() => {
            stop.cancel();
            work.await
        }
    };
    moved.map_err(Failure::from)
}

fn report(moved: Moved) -> Result<(), Failure> {
    moved.lines.iter().try_for_each(|line| say(line))
}

fn tls(
    cacert: Option<PathBuf>,
    shown: Option<(PathBuf, PathBuf)>,
    unverified: bool,
    endpoints: &[String],
) -> Option<TlsFiles> {
    let secure = endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
    let wanted = secure || cacert.is_some() || shown.is_some() || unverified;
    wanted.then(|| TlsFiles { trusted_ca: cacert, client: shown, unverified, ..TlsFiles::default() })
}

impl SourceFlags {
    fn access(self) -> Result<Access, Failure> {
        let shown = match (self.cert, self.key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(Failure::usage("--cert and --key go together")),
        };
        let user = match (self.user, self.password) {
            (None, None) => None,
            (None, Some(_)) => return Err(Failure::usage("--password needs --user")),
            (Some(name), Some(password)) => Some(User { name, password }),
            (Some(both), None) => match both.split_once(':') {
                Some((name, password)) => Some(User { name: name.to_owned(), password: password.to_owned() }),
                None => return Err(Failure::usage("--user needs a password: NAME:PASSWORD, or ETCDCTL_PASSWORD")),
            },
        };
        let tls = tls(self.cacert, shown, self.insecure_skip_tls_verify, &self.endpoints);
        Ok(Access { endpoints: self.endpoints, tls, user })
    }
}
