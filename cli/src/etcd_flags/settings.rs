//! PURE: what a member of the store runs with.
//!
//! Source: etcd `server/embed/config.go` (`Validate`), whose words are used where it has some.

use std::path::PathBuf;
use std::time::Duration;

use store::archive::Rules;
use store::config::{Founder, KeySource, Retention, Url};
use store::etcd::compactor::AutoCompaction;

use super::parse::Given;
use super::security::{self, Tls};
use super::urls;
use crate::archive_settings::ArchiveSettings;

/// An election may wait so long at most, milliseconds.
const ELECTION_MAX: u64 = 50_000;
/// Calls on a connection at most, whatever is asked for.
const STREAMS_MAX: u64 = 2048;
/// A silent connection that is never to be asked is asked so often.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A store without a quota has this one, bytes.
const QUOTA_DEFAULT: u64 = 2 << 30;
/// With less memory the state would be flushed and read all the time, bytes.
const MEMORY_MIN: usize = 8 << 20;

/// What a member runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) clients: Vec<Url>,
    /// HTTP alone; when there are some, `clients` are gRPC's alone.
    pub(crate) clients_http: Vec<Url>,
    pub(crate) metrics: Vec<Url>,
    pub(crate) clients_advertised: Vec<Url>,
    pub(crate) clients_tls: Tls,
    pub(crate) peers: Vec<Url>,
    pub(crate) peers_advertised: Vec<Url>,
    pub(crate) peers_tls: Tls,
    /// Years that certificates made here hold.
    pub(crate) validity_years: u64,
    /// All members.
    pub(crate) cluster: Vec<Founder>,
    /// Whether it enters a cluster that is there.
    pub(crate) existing: bool,
    pub(crate) token: String,
    pub(crate) heartbeat: Duration,
    pub(crate) election: Duration,
    pub(crate) snapshot_entries: u64,
    pub(crate) quota_bytes: u64,
    pub(crate) retention: Retention,
    pub(crate) memory_bytes: usize,
    pub(crate) auto_compaction: Option<AutoCompaction>,
    pub(crate) learners_max: u32,
    pub(crate) request_bytes_max: usize,
    pub(crate) txn_ops_max: usize,
    pub(crate) force_new: bool,
    pub(crate) remove_dead_after: Option<Duration>,
    pub(crate) encryption: Option<KeySource>,
    pub(crate) archive: Option<ArchiveSettings>,
    pub(crate) streams_max: u32,
    pub(crate) ask_every: Duration,
    pub(crate) answer_within: Duration,
    pub(crate) progress: Duration,
    pub(crate) hosts: Vec<String>,
    pub(crate) origins: Vec<String>,
    pub(crate) gateway: bool,
    /// `--auth-token`, as it is.
    pub(crate) tokens: String,
    pub(crate) token_ttl: Duration,
    pub(crate) bcrypt_cost: u32,
    /// As `tracing` names it.
    pub(crate) log_level: &'static str,
    /// `stderr`, `stdout`, or the path of a file.
    pub(crate) log_outputs: Vec<String>,
    /// Lines for programs.
    pub(crate) log_json: bool,
}

/// Makes sense of what was said.
///
/// # Errors
/// When it contradicts itself or cannot be; the text says what to do.
pub(crate) fn settings(given: &Given) -> Result<Settings, String> {
    let (name, data_dir) = named(given)?;
    let (clients, clients_http) =
        (listen(given, "listen-client-urls", true)?, listen(given, "listen-client-http-urls", false)?);
    let metrics = listen(given, "listen-metrics-urls", false)?;
    let peers = listen(given, "listen-peer-urls", true)?;
    if given.is_set("listen-client-urls") && !given.is_set("advertise-client-urls") {
        return Err("--advertise-client-urls is required when --listen-client-urls is set explicitly".to_owned());
    }
    if let Some(both) = clients_http.iter().find(|url| clients.iter().any(|other| other.authority == url.authority)) {
        return Err(format!(
            "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url {both}"
        ));
    }
    let (clients_tls, peers_tls) = (security::clients(given)?, security::peers(given)?);
    for urls in [&clients, &clients_http, &metrics] {
        security::enough(&clients_tls, urls, "client")?;
    }
    security::enough(&peers_tls, &peers, "peer")?;
    let peers_advertised = advertised(given, "initial-advertise-peer-urls")?;
    let (heartbeat, election) = timing(given)?;
    let request_bytes_max = size(given, "max-request-bytes")?;
    Ok(Settings {
        cluster: cluster(given, &name, &peers_advertised)?,
        existing: given.text("initial-cluster-state") == "existing",
        token: given.text("initial-cluster-token").to_owned(),
        clients_advertised: advertised(given, "advertise-client-urls")?,
        snapshot_entries: at_least_one(given, "snapshot-count")?,
        quota_bytes: match given.count("quota-backend-bytes") {
            0 => QUOTA_DEFAULT,
            bytes => bytes,
        },
        retention: retention(given),
        memory_bytes: memory(given)?,
        auto_compaction: AutoCompaction::parse(
            given.text("auto-compaction-mode"),
            given.text("auto-compaction-retention"),
        )?,
        learners_max: u32::try_from(given.count("max-learners")).unwrap_or(u32::MAX),
        txn_ops_max: size(given, "max-txn-ops")?,
        force_new: given.on("force-new-cluster"),
        encryption: encryption(given)?,
        archive: archive(given)?,
        remove_dead_after: Some(given.time("auto-remove-dead-after")).filter(|after| !after.is_zero()),
        streams_max: u32::try_from(given.count("max-concurrent-streams").clamp(1, STREAMS_MAX)).unwrap_or(u32::MAX),
        ask_every: ask(given, "grpc-keepalive-interval"),
        answer_within: ask(given, "grpc-keepalive-timeout"),
        hosts: given.words("host-whitelist"),
        origins: given.words("cors"),
        gateway: given.on("enable-grpc-gateway"),
        tokens: given.text("auth-token").to_owned(),
        token_ttl: Duration::from_secs(given.count("auth-token-ttl")),
        bcrypt_cost: u32::try_from(given.count("bcrypt-cost")).unwrap_or(u32::MAX),
        validity_years: at_least_one(given, "self-signed-cert-validity")?,
        progress: given.time("watch-progress-notify-interval").max(Duration::from_millis(100)),
        log_level: log_level(given),
        log_outputs: log_outputs(given),
        log_json: given.text("log-format") == "json",
        name,
        data_dir,
        clients,
        clients_http,
        metrics,
        clients_tls,
        peers,
        peers_tls,
        peers_advertised,
        heartbeat,
        election,
        request_bytes_max,
    })
}

/// The member's name, and where its data lies: by default in a folder called after it.
fn named(given: &Given) -> Result<(String, PathBuf), String> {
    let name = given.text("name").to_owned();
    if name.is_empty() || name.contains(['=', ',']) {
        return Err(format!("--name {name:?}: a name is not empty and has neither `=` nor `,`"));
    }
    let dir = Some(given.text("data-dir")).filter(|dir| given.is_set("data-dir") && !dir.is_empty());
    let dir = dir.map_or_else(|| PathBuf::from(format!("{name}.etcd")), PathBuf::from);
    Ok((name, dir))
}

/// What lies on disk is encrypted by a key or by a passphrase, or not at all.
fn encryption(given: &Given) -> Result<Option<KeySource>, String> {
    let path = |flag| Some(given.text(flag)).filter(|path| !path.is_empty()).map(PathBuf::from);
    match (path("encryption-key-file"), path("encryption-passphrase-file")) {
        (Some(_), Some(_)) => {
            Err("--encryption-key-file and --encryption-passphrase-file: name one of them".to_owned())
        }
        (key, passphrase) => Ok(key.map(KeySource::KeyFile).or(passphrase.map(KeySource::PassphraseFile))),
    }
}

/// Where the leader archives to, if it does.
fn archive(given: &Given) -> Result<Option<ArchiveSettings>, String> {
    let small = |flag| u32::try_from(given.count(flag)).map_err(|_| format!("--{flag}: it is too large"));
    let Some(place) = Some(given.text("archive-to")).filter(|place| !place.is_empty()) else { return Ok(None) };
    let settings = ArchiveSettings {
        place: place.to_owned(),
        every: given.time("archive-every"),
        rules: Rules { hours: small("archive-keep-hours")?, days: small("archive-keep-days")? },
        recipients: given.words("archive-recipients"),
    };
    settings.sound().map(Some)
}

fn log_level(given: &Given) -> &'static str {
    match given.text("log-level") {
        "debug" => "debug",
        "warn" => "warn",
        "info" => "info",
        _ => "error",
    }
}

fn list(given: &Given, flag: &str) -> Result<Vec<Url>, String> {
    urls::list(given.text(flag)).map_err(|why| format!("--{flag}: {why}"))
}

fn listen(given: &Given, flag: &str, wanted: bool) -> Result<Vec<Url>, String> {
    let urls = list(given, flag)?;
    if urls.is_empty() && wanted {
        return Err(format!("--{flag}: at least one URL is wanted"));
    }
    for url in &urls {
        urls::bind(url).map_err(|why| format!("--{flag}: {why}"))?;
    }
    Ok(urls)
}

fn advertised(given: &Given, flag: &str) -> Result<Vec<Url>, String> {
    let urls = list(given, flag)?;
    match urls.iter().find(|url| url.host().is_empty()) {
        Some(url) => Err(format!("--{flag}: unexpected empty host ({url})")),
        None if urls.is_empty() => Err(format!("--{flag}: at least one URL is wanted")),
        None => Ok(urls),
    }
}

/// Without a word about it, the cluster is this member.
fn cluster(given: &Given, name: &str, advertised: &[Url]) -> Result<Vec<Founder>, String> {
    if !given.is_set("initial-cluster") {
        return Ok(vec![Founder { name: name.to_owned(), peer_urls: advertised.to_vec() }]);
    }
    urls::cluster(given.text("initial-cluster")).map_err(|why| format!("--initial-cluster: {why}"))
}

/// 0 turns the question off in etcd.
fn ask(given: &Given, flag: &str) -> Duration {
    match given.time(flag) {
        Duration::ZERO => DAY,
        time => time,
    }
}

fn timing(given: &Given) -> Result<(Duration, Duration), String> {
    let (heartbeat, mut election) = (given.count("heartbeat-interval"), given.count("election-timeout"));
    if !given.is_set("election-timeout") {
        // Who sets the heartbeat alone, as it was right for etcd's longer default, need not set the other for ours.
        election = election.max(heartbeat.saturating_mul(5));
    }
    if heartbeat == 0 {
        return Err("--heartbeat-interval must be >0 (set to 0ms)".to_owned());
    }
    if election == 0 {
        return Err("--election-timeout must be >0 (set to 0ms)".to_owned());
    }
    if heartbeat.saturating_mul(5) > election {
        return Err(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
        ));
    }
    if election > ELECTION_MAX {
        return Err(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than {ELECTION_MAX}ms"
        ));
    }
    Ok((Duration::from_millis(heartbeat), Duration::from_millis(election)))
}

/// What would go to the journal goes to where a service manager takes it from.
fn log_outputs(given: &Given) -> Vec<String> {
    let words = given.text("log-outputs").split(',').map(str::trim).filter(|word| !word.is_empty());
    let places = words.map(|word| if matches!(word, "default" | "systemd/journal") { "stderr" } else { word });
    let mut outputs: Vec<String> = places.map(str::to_owned).collect();
    outputs.sort();
    outputs.dedup();
    outputs
}

fn at_least_one(given: &Given, flag: &str) -> Result<u64, String> {
    match given.count(flag) {
        0 => Err(format!("--{flag} must be >0")),
        count => Ok(count),
    }
}

fn size(given: &Given, flag: &str) -> Result<usize, String> {
    usize::try_from(at_least_one(given, flag)?).map_err(|_| format!("--{flag} is too large"))
}

fn retention(given: &Given) -> Retention {
    let bytes_max = Some(given.count("history-bytes")).filter(|bytes| *bytes > 0);
    Retention { time: given.time("history-retention"), bytes_max }
}

fn memory(given: &Given) -> Result<usize, String> {
    let bytes = size(given, "memory-bytes")?;
    if bytes < MEMORY_MIN {
        return Err(format!("--memory-bytes={bytes}: at least {MEMORY_MIN} are wanted"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::parse::{Asked, parse};
    use super::*;

    fn run(arguments: &[&str]) -> Result<Settings, String> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let Asked::Run(given) = parse(&arguments, &[], &|_| Err("no file".to_owned()))? else { panic!("no run") };
        settings(&given)
    }

    #[test]
    fn without_flags_it_is_etcds_default_member() {
        let settings = run(&[]).expect("fits");
        assert_eq!(settings.data_dir, PathBuf::from("default.etcd"));
        assert_eq!(urls::bind(&settings.clients[0]).expect("an address").to_string(), "127.0.0.1:2379");
        assert_eq!(settings.cluster[0].name, "default");
        assert_eq!((settings.request_bytes_max, settings.txn_ops_max), (1_572_864, 128));
        assert_eq!((settings.heartbeat.as_millis(), settings.election.as_millis()), (50, 250));
        assert_eq!((settings.quota_bytes, settings.memory_bytes), (2 << 30, 64 << 20));
        assert_eq!(run(&["--memory-bytes=16777216"]).expect("fits").memory_bytes, 16 << 20);
        let kept = run(&["--auto-compaction-mode=revision", "--auto-compaction-retention=1000"]).expect("fits");
        assert_eq!((settings.auto_compaction, kept.auto_compaction), (None, Some(AutoCompaction::Revision(1000))));
        assert_eq!(run(&["--heartbeat-interval=100"]).expect("fits").election.as_millis(), 500);
        let named = run(&["--name=a", "--initial-advertise-peer-urls=http://h:1"]).expect("fits");
        assert_eq!(
            named.cluster[0],
            Founder { name: "a".to_owned(), peer_urls: vec!["http://h:1".parse().expect("a URL")] }
        );
        assert_eq!(named.data_dir, PathBuf::from("a.etcd"));
    }

    #[test]
    fn contradictions_are_refused_in_etcds_words() {
        for (arguments, why) in [
            (&["--listen-client-urls=http://1.1.1.1:1"][..], "--advertise-client-urls is required when"),
            (&["--listen-peer-urls=http://example.com:1"], "expected IP in URL for binding"),
            (&["--heartbeat-interval=0"], "--heartbeat-interval must be >0"),
            (&["--heartbeat-interval=300", "--election-timeout=1000"], "should be at least as 5 times"),
            (&["--election-timeout=60000"], "is too long"),
            (&["--initial-cluster=http://1.1.1.1:1"], "NAME=URL"),
            (&["--initial-advertise-peer-urls=http://:1"], "unexpected empty host"),
            (&["--max-request-bytes=0"], "must be >0"),
            (&["--memory-bytes=64"], "--memory-bytes=64: at least 8388608 are wanted"),
            (&["--name="], "a name is not empty"),
            (&["--auto-compaction-retention=soon"], "error parsing CompactionRetention"),
            (
                &["--auto-compaction-mode=revision", "--auto-compaction-retention=1h"],
                "error parsing CompactionRetention",
            ),
            (&["--cert-file=a"], "--cert-file and --key-file must both be present"),
            (&["--listen-metrics-urls=https://127.0.0.1:1"], "must be provided for client url https://127.0.0.1:1"),
            (&["--listen-peer-urls=https://127.0.0.1:1"], "--peer-cert-file"),
            (
                &["--cert-file=a", "--key-file=b", "--cipher-suites=TLS_FROB"],
                "unexpected TLS cipher suite \"TLS_FROB\"",
            ),
            (&["--cipher-suites=TLS_AES_128_GCM_SHA256", "--tls-min-version=TLS1.3"], "only TLS1.3 is enabled"),
            (&["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"], "is greater than max version"),
            (&["--listen-client-http-urls=http://localhost:2379"], "on the same url"),
            (&["--encryption-key-file=a", "--encryption-passphrase-file=b"], "name one of them"),
        ] {
            let said = run(arguments).expect_err("refused");
            assert!(said.contains(why), "{arguments:?}: {said}");
        }
    }
}
