//! PURE: every flag of etcd's, and what becomes of it here.
//!
//! Source: etcd `server/embed/config.go`, `server/etcdmain/config.go` of 3.4 to 3.7.

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything.
    Text,
    /// On or off; on when no value is given.
    Switch,
    /// A whole number, not negative.
    Count,
    /// A time as Go writes it (`1m30s`); nanoseconds in a file.
    Time,
    /// One of these words.
    One(&'static [&'static str]),
}

/// What a flag does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// What it does in etcd.
    Taken,
    /// Nothing, for this reason; who gives it is told so.
    None(&'static str),
    /// It cannot be honoured, and going on without it would be wrong: any value but the default is refused.
    Refused(&'static str),
    /// The name of older etcds for another flag.
    Was(&'static str),
}

/// A flag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: &'static str,
    pub(crate) meaning: Meaning,
    pub(crate) help: &'static str,
}

const fn taken(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, meaning: Meaning::Taken, help }
}

const fn none(name: &'static str, kind: Kind, why: &'static str) -> Flag {
    Flag { name, kind, default: "", meaning: Meaning::None(why), help: "" }
}

const fn refused(name: &'static str, why: &'static str) -> Flag {
    Flag { name, kind: Kind::Text, default: "", meaning: Meaning::Refused(why), help: "" }
}

const fn was(name: &'static str, kind: Kind, now: &'static str) -> Flag {
    Flag { name, kind, default: "", meaning: Meaning::Was(now), help: "" }
}

use Kind::{Count, One, Switch, Text, Time};

/// Flags that do here what they do in etcd, by section, in the order of the help text.
pub(crate) const TAKEN: &[(&str, &[Flag])] = &[
    (
        "Member",
        &[
            taken("name", Text, "default", "This member's name, unique in the cluster."),
            taken("data-dir", Text, "${name}.etcd", "Where everything of this member lies."),
            taken("config-file", Text, "", "A YAML file with all settings; flags and variables are ignored then."),
            taken("listen-client-urls", Text, "http://localhost:2379", "Where clients are served, gRPC and HTTP."),
            taken(
                "listen-client-http-urls",
                Text,
                "",
                "Where clients are served HTTP alone; the former are gRPC's then.",
            ),
            taken("listen-metrics-urls", Text, "", "Where metrics and health are shown too, to anybody."),
            taken("listen-peer-urls", Text, "http://localhost:2380", "Where other members are served."),
            taken("snapshot-count", Count, "10000", "Log entries between two snapshots."),
            taken("heartbeat-interval", Count, "50", "Milliseconds between two heartbeats of a leader."),
            taken("election-timeout", Count, "250", "Milliseconds without one until others stand for election."),
        ],
    ),
    (
        "Limits",
        &[
            taken("quota-backend-bytes", Count, "0", "Size of the state beyond which writes are refused; 0 is 2 GiB."),
            taken(
                "memory-bytes",
                Count,
                "67108864",
                "Memory for what was read of the state and for what is not on disk of it yet; not one of etcd's.",
            ),
            taken(
                "history-retention",
                Time,
                "24h",
                "How long compacted history can still be looked back at (raftsman store get|history|diff); 0 is not at \
                 all; not one of etcd's.",
            ),
            taken(
                "history-bytes",
                Count,
                "0",
                "Size of that at most, apart from the quota; 0 is a tenth of the disk; not one of etcd's.",
            ),
            taken("max-txn-ops", Count, "128", "Operations in a transaction at most."),
            taken("max-request-bytes", Count, "1572864", "Size of a request at most."),
            taken(
                "max-concurrent-streams",
                Count,
                "4294967295",
                "Calls under way on a connection at most; never more than 2048.",
            ),
            taken(
                "grpc-keepalive-interval",
                Time,
                "10s",
                "How often a silent connection is asked whether it is still there.",
            ),
            taken("grpc-keepalive-timeout", Time, "10s", "How long it has to answer."),
        ],
    ),
    (
        "Cluster",
        &[
            taken("advertise-client-urls", Text, "http://localhost:2379", "Where clients reach this member."),
            taken("initial-advertise-peer-urls", Text, "http://localhost:2380", "Where other members reach this one."),
            taken(
                "initial-cluster",
                Text,
                "default=http://localhost:2380",
                "All members of the cluster, NAME=URL each: the same on every member.",
            ),
            taken(
                "initial-cluster-state",
                One(&["new", "existing"]),
                "new",
                "`new` begins a cluster; `existing` enters one that `member add` has told of this member.",
            ),
            taken("max-learners", Count, "1", "Members that only learn at most."),
            taken("initial-cluster-token", Text, "etcd-cluster", "Tells clusters apart that use the same addresses."),
            taken(
                "force-new-cluster",
                Switch,
                "false",
                "Begins a new cluster with what this member has; for one start, when the others are lost.",
            ),
            taken(
                "auto-remove-dead-after",
                Time,
                "0s",
                "Members that are silent for so long are removed where the others have a quorum; 0s: never.",
            ),
        ],
    ),
    (
        "History",
        &[
            taken(
                "auto-compaction-mode",
                One(&["periodic", "revision"]),
                "periodic",
                "What the retention is: a time (hours without a unit), or a number of revisions.",
            ),
            taken("auto-compaction-retention", Text, "0", "How much history is kept; 0 keeps all."),
        ],
    ),
    (
        "Security of clients",
        &[
            taken("cert-file", Text, "", "The certificate that clients are shown; read again when it changes."),
            taken("key-file", Text, "", "Its key."),
            taken("trusted-ca-file", Text, "", "Who signs clients' certificates; every client shows one then."),
            taken(
                "client-cert-auth",
                Switch,
                "false",
                "Every client shows a certificate, and is the user whom it names.",
            ),
            taken("client-crl-file", Text, "", "Certificates that are revoked."),
            taken(
                "client-cert-allowed-hostname",
                Text,
                "",
                "Hosts that clients' certificates are for, between commas.",
            ),
            taken("client-cert-allowed-cn", Text, "", "Names that clients' certificates have, between commas."),
            taken("auto-tls", Switch, "false", "A certificate that nobody signed is made and shown."),
            taken("host-whitelist", Text, "*", "Hosts that HTTP requests without TLS may be for."),
            taken("cors", Text, "*", "Origins of the pages whose scripts may read answers."),
            taken("enable-grpc-gateway", Switch, "true", "JSON requests below /v3/ are served."),
        ],
    ),
    (
        "Security of members",
        &[
            taken("peer-cert-file", Text, "", "The certificate that other members are shown."),
            taken("peer-key-file", Text, "", "Its key."),
            taken("peer-client-cert-file", Text, "", "Shown instead when this member calls another."),
            taken("peer-client-key-file", Text, "", "Its key."),
            taken("peer-trusted-ca-file", Text, "", "Who signs members' certificates; every member shows one then."),
            taken("peer-client-cert-auth", Switch, "false", "Every member shows a certificate."),
            taken("peer-crl-file", Text, "", "Certificates that are revoked."),
            taken("peer-cert-allowed-cn", Text, "", "Names that members' certificates have, between commas."),
            taken("peer-cert-allowed-hostname", Text, "", "Hosts that members' certificates are for, between commas."),
            taken("peer-auto-tls", Switch, "false", "A certificate that nobody signed is made, shown and believed."),
        ],
    ),
    (
        "Security of both",
        &[
            taken("self-signed-cert-validity", Count, "1", "Years that certificates made here hold."),
            taken("tls-min-version", One(&["TLS1.2", "TLS1.3", ""]), "TLS1.2", "The oldest TLS that is spoken."),
            taken("tls-max-version", One(&["TLS1.2", "TLS1.3", ""]), "", "The newest one."),
            taken("cipher-suites", Text, "", "Ciphers of TLS 1.2 that may be used, between commas."),
        ],
    ),
    (
        "Encryption at rest",
        &[
            taken(
                "encryption-key-file",
                Text,
                "",
                "Keys of 256 bits, one a line; the first encrypts what lies in --data-dir, all decrypt. Read again when it \
                 changes.",
            ),
            taken("encryption-passphrase-file", Text, "", "Passphrases instead, one a line."),
        ],
    ),
    (
        "Archive",
        &[
            taken(
                "archive-to",
                Text,
                "",
                "The leader archives all that is committed there: a directory that every member reaches, or s3://BUCKET/PREFIX. \
                 `raftsman backup restore` makes any second of it a store again.",
            ),
            taken("archive-every", Time, "24h0m0s", "Between two full copies in the archive."),
            taken("archive-keep-hours", Count, "48", "Every moment of the last so many hours can be restored."),
            taken("archive-keep-days", Count, "7", "The last full copy of each of so many days stays."),
            taken("archive-recipients", Text, "", "Public keys of age that the archive is encrypted for, with commas."),
        ],
    ),
    (
        "Users",
        &[
            taken(
                "auth-token",
                Text,
                "simple",
                "`simple`, or `jwt,pub-key=FILE,priv-key=FILE,sign-method=METHOD,ttl=TIME`.",
            ),
            taken("auth-token-ttl", Count, "300", "Seconds that a simple token holds after its last use."),
            taken("bcrypt-cost", Count, "10", "The work of hashing a password; it doubles with each."),
        ],
    ),
    (
        "Watching",
        &[taken("watch-progress-notify-interval", Time, "5s", "How often quiet watches are told how far they are.")],
    ),
    (
        "Logging",
        &[
            taken(
                "log-level",
                One(&["debug", "info", "warn", "error", "dpanic", "panic", "fatal"]),
                "info",
                "What is worth a line.",
            ),
            taken("log-outputs", Text, "default", "Where lines go: stderr, stdout, or files; several between commas."),
            taken("log-format", One(&["json", "console"]), "json", "Lines for programs or for people."),
        ],
    ),
];

/// How space is kept has nothing in common with etcd's database file.
const NO_BBOLT: &str = "the state is not kept in a bbolt file";
/// A switch that cannot be turned off here.
const ALWAYS: &str = "it is always so";
const NO_PROXY: &str = "there is no proxy mode";
const NO_DISCOVERY: &str = "discovery is not served: name all members with --initial-cluster";
const NO_V2: &str = "etcd's v2 API is not served";
const NO_TRACING: &str = "there is no distributed tracing";
const DURABLE: &str = "what is acknowledged is always on disk";

/// The rest.
pub(crate) const OTHERS: &[Flag] = &[
    none("backend-batch-interval", Time, NO_BBOLT),
    none("backend-batch-limit", Count, NO_BBOLT),
    none("backend-bbolt-freelist-type", Text, NO_BBOLT),
    none("bootstrap-defrag-threshold-megabytes", Count, "space is given back by itself"),
    none("client-cert-file", Text, "this member calls no clients"),
    none("client-key-file", Text, "this member calls no clients"),
    none("cluster-active-size", Text, "etcd ignores it too"),
    none("cluster-remove-delay", Text, "etcd ignores it too"),
    none("cluster-sync-interval", Text, "etcd ignores it too"),
    none("compaction-batch-limit", Count, "compaction never holds up writes"),
    none("compaction-sleep-interval", Time, "compaction never holds up writes"),
    none("config", Text, "etcd ignores it too; it is --config-file"),
    none("debug", Switch, "it is --log-level=debug"),
    none("discovery-cacert", Text, "discovery is not served"),
    none("discovery-cert", Text, "discovery is not served"),
    none("discovery-dial-timeout", Time, "discovery is not served"),
    none("discovery-fallback", One(&["exit", "proxy"]), "discovery is not served"),
    none("discovery-insecure-skip-tls-verify", Switch, "discovery is not served"),
    none("discovery-insecure-transport", Switch, "discovery is not served"),
    none("discovery-keepalive-time", Time, "discovery is not served"),
    none("discovery-keepalive-timeout", Time, "discovery is not served"),
    none("discovery-key", Text, "discovery is not served"),
    none("discovery-password", Text, "discovery is not served"),
    none("discovery-proxy", Text, "discovery is not served"),
    none("discovery-request-timeout", Time, "discovery is not served"),
    none("discovery-srv-name", Text, "discovery is not served"),
    none("discovery-user", Text, "discovery is not served"),
    none("distributed-tracing-address", Text, NO_TRACING),
    none("distributed-tracing-instance-id", Text, NO_TRACING),
    none("distributed-tracing-sampling-rate", Count, NO_TRACING),
    none("distributed-tracing-service-name", Text, NO_TRACING),
    none("downgrade-check-time", Time, "members of different versions are no concern of etcd's API here"),
    none("enable-distributed-tracing", Switch, NO_TRACING),
    none("enable-log-rotation", Switch, "rotation is left to the system, for example logrotate"),
    none("enable-pprof", Switch, "there is no Go runtime to profile"),
    none("enable-v2", Switch, NO_V2),
    none("experimental-compact-hash-check-enabled", Switch, "members compare their states all the time"),
    none("experimental-enable-lease-checkpoint", Switch, ALWAYS),
    none("experimental-enable-lease-checkpoint-persist", Switch, ALWAYS),
    none("experimental-enable-v2v3", Text, NO_V2),
    none("experimental-initial-corrupt-check", Switch, "members compare their states all the time"),
    none("experimental-stop-grpc-service-on-defrag", Switch, "a defragmentation stops nothing"),
    none("experimental-txn-mode-write-with-shared-buffer", Switch, NO_BBOLT),
    none("feature-gates", Text, "there are no features to turn on or off"),
    none("force", Text, "etcd ignores it too"),
    none("grpc-keepalive-min-time", Time, "clients may ask as often as they like"),
    none("initial-election-tick-advance", Switch, "a new cluster elects its leader at once"),
    none("log-package-levels", Text, "it is --log-level"),
    none("log-rotation-config-json", Text, "rotation is left to the system, for example logrotate"),
    none("logger", Text, "there is one logger"),
    none("max-result-buffer", Text, "etcd ignores it too"),
    none("max-retry-attempts", Text, "etcd ignores it too"),
    none("max-snapshots", Count, "what is no longer needed is removed by itself"),
    none("max-wals", Count, "what is no longer needed is removed by itself"),
    none("memory-mlock", Switch, NO_BBOLT),
    none("peer-election-timeout", Text, "etcd ignores it too"),
    none("peer-heartbeat-interval", Text, "etcd ignores it too"),
    none("metrics", One(&["basic", "extensive"]), "/metrics always has everything"),
    none("peer-skip-client-san-verification", Switch, "members' addresses are not compared with their certificates"),
    none("pre-vote", Switch, ALWAYS),
    none("proxy-dial-timeout", Count, NO_PROXY),
    none("proxy-failure-wait", Count, NO_PROXY),
    none("proxy-read-timeout", Count, NO_PROXY),
    none("proxy-refresh-interval", Count, NO_PROXY),
    none("proxy-write-timeout", Count, NO_PROXY),
    none("raft-read-timeout", Time, "silent connections are noticed by their keep-alives"),
    none("raft-write-timeout", Time, "silent connections are noticed by their keep-alives"),
    none("retry-interval", Text, "etcd ignores it too"),
    none("snapshot", Text, "etcd ignores it too"),
    none("snapshot-catchup-entries", Count, "half of --snapshot-count is kept behind a snapshot"),
    none("socket-reuse-address", Switch, ALWAYS),
    none("socket-reuse-port", Switch, "two members on one port would answer for each other"),
    none("strict-reconfig-check", Switch, ALWAYS),
    none("unsafe-no-fsync", Switch, DURABLE),
    none("v", Text, "etcd ignores it too"),
    none("v2-deprecation", Text, NO_V2),
    none("vv", Text, "etcd ignores it too"),
    none("warning-apply-duration", Time, "slow requests are counted in /metrics"),
    none("warning-unary-request-duration", Time, "slow requests are counted in /metrics"),
    refused("wal-dir", "the log lies in --data-dir; make its directory `log` a link to another disk"),
    refused("discovery", NO_DISCOVERY),
    refused("discovery-endpoints", NO_DISCOVERY),
    refused("discovery-srv", NO_DISCOVERY),
    refused("discovery-token", NO_DISCOVERY),
    refused("proxy", NO_PROXY),
    was("experimental-backend-bbolt-freelist-type", Text, "backend-bbolt-freelist-type"),
    was("experimental-bootstrap-defrag-threshold-megabytes", Count, "bootstrap-defrag-threshold-megabytes"),
    was("experimental-compact-hash-check-time", Time, "compact-hash-check-time"),
    was("experimental-compaction-batch-limit", Count, "compaction-batch-limit"),
    was("experimental-compaction-sleep-interval", Time, "compaction-sleep-interval"),
    was("experimental-corrupt-check-time", Time, "corrupt-check-time"),
    was("experimental-distributed-tracing-address", Text, "distributed-tracing-address"),
    was("experimental-distributed-tracing-instance-id", Text, "distributed-tracing-instance-id"),
    was("experimental-distributed-tracing-sampling-rate", Count, "distributed-tracing-sampling-rate"),
    was("experimental-distributed-tracing-service-name", Text, "distributed-tracing-service-name"),
    was("experimental-downgrade-check-time", Time, "downgrade-check-time"),
    was("experimental-enable-distributed-tracing", Switch, "enable-distributed-tracing"),
    was("experimental-memory-mlock", Switch, "memory-mlock"),
    was("experimental-peer-skip-client-san-verification", Switch, "peer-skip-client-san-verification"),
    was("experimental-snapshot-catchup-entries", Count, "snapshot-catchup-entries"),
    was("experimental-warning-apply-duration", Time, "warning-apply-duration"),
    was("experimental-warning-unary-request-duration", Time, "warning-unary-request-duration"),
    was("experimental-watch-progress-notify-interval", Time, "watch-progress-notify-interval"),
    none("compact-hash-check-time", Time, "members compare their states all the time"),
    none("corrupt-check-time", Time, "members compare their states all the time"),
];

/// Every flag.
pub(crate) fn all() -> impl Iterator<Item = &'static Flag> {
    TAKEN.iter().flat_map(|(_, flags)| flags.iter()).chain(OTHERS)
}

/// A flag by its name, also by the one that older etcds gave it.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    let found = all().find(|flag| flag.name == name)?;
    match found.meaning {
        Meaning::Was(now) => all().find(|flag| flag.name == now),
        _ => Some(found),
    }
}

/// The variable that sets a flag.
pub(crate) fn variable(name: &str) -> String {
    format!("ETCD_{}", name.to_uppercase().replace('-', "_"))
}

/// The known name that an unknown one was probably meant to be.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let close = |known: &str| {
        let apart = distance(name, known);
        // Two letters, or a third of them, may be wrong: more is another word.
        (apart <= 2.max(known.len().max(name.len()) / 3)).then_some(apart)
    };
    let named = all().filter_map(|flag| Some((close(flag.name)?, flag.name)));
    named.min().map(|(_, name)| name)
}

/// Letters to put in, leave out, or change.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut corner = above;
        row[0] = above + 1;
        for (at, wanted) in to.iter().enumerate() {
            let changed = corner + usize::from(letter != *wanted);
            corner = row[at + 1];
            row[at + 1] = changed.min(corner + 1).min(row[at] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_older_ones_lead_somewhere() {
        let mut seen = BTreeSet::new();
        for flag in all() {
            assert!(seen.insert(flag.name), "{} is there twice", flag.name);
            assert!(find(flag.name).is_some_and(|found| !matches!(found.meaning, Meaning::Was(_))), "{}", flag.name);
        }
    }

    #[test]
    fn a_slip_is_answered_with_what_was_meant() {
        assert_eq!(nearest("listen-client-url"), Some("listen-client-urls"));
        assert_eq!(nearest("election-timout"), Some("election-timeout"));
        assert_eq!(nearest("nothing-like-it-at-all"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
