//! What a server is told: flags over `RAFTSMAN_*` over the configuration file over defaults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use control::controllers::{Enabled, Failover};
use control::registry::allocation::Ranges;
use node::config::Engine;
use serde::Deserialize;
use store::archive::Rules;
use store::config::KeySource;

use crate::archive_settings::ArchiveSettings;
use crate::exit::Failure;

/// What a machine does.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Server,
    Node,
}

/// When pods of a silent node are replaced.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FailoverName {
    Fast,
    Kubernetes,
}

/// What runs containers.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RuntimeName {
    Docker,
    Sim,
}

/// As given; nothing is decided yet.
#[derive(clap::Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct ServerFlags {
    /// Where state, keys and admin.kubeconfig lie [default: /var/lib/raftsman]
    #[arg(long, env = "RAFTSMAN_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// This server's name, unique in the cluster [default: the host's name]
    #[arg(long, env = "RAFTSMAN_NAME")]
    name: Option<String>,
    /// Address to listen on [default: 0.0.0.0]
    #[arg(long, env = "RAFTSMAN_BIND", value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// Address by which others reach this machine [default: that of its route to the network]
    #[arg(long, env = "RAFTSMAN_ADVERTISE", value_name = "ADDRESS")]
    advertise: Option<IpAddr>,
    /// Port of the Kubernetes API [default: 6443]
    #[arg(long, env = "RAFTSMAN_PORT")]
    port: Option<u16>,
    /// Port for other servers [default: 2380]
    #[arg(long, env = "RAFTSMAN_PEER_PORT", value_name = "PORT")]
    peer_port: Option<u16>,
    /// Port of the etcd API, on loopback, for clients with a certificate [default: 2379]
    #[arg(long, env = "RAFTSMAN_ETCD_PORT", value_name = "PORT")]
    etcd_port: Option<u16>,
    /// What this machine does: `server`, `node`, or both [default: server,node]
    #[arg(long, env = "RAFTSMAN_ROLES", value_name = "ROLES", value_delimiter = ',')]
    roles: Option<Vec<Role>>,
    /// What runs containers on this node [default: docker]
    #[arg(long, env = "RAFTSMAN_RUNTIME", value_enum)]
    runtime: Option<RuntimeName>,
    /// Where Docker Engine listens [default: unix:///var/run/docker.sock]
    #[arg(long, env = "RAFTSMAN_DOCKER_HOST", value_name = "HOST")]
    docker_host: Option<String>,
    /// Range of the pods' addresses; each node gets a /24 of it [default: 10.244.0.0/16]
    #[arg(long, env = "RAFTSMAN_POD_CIDR", value_name = "CIDR")]
    pod_cidr: Option<String>,
    /// Range of the Services' addresses [default: 10.96.0.0/16]
    #[arg(long, env = "RAFTSMAN_SERVICE_CIDR", value_name = "CIDR")]
    service_cidr: Option<String>,
    /// Controllers that run while this server leads: `*` is all, `-NAME` not that one, `-*` none [default: *]
    #[arg(long, env = "RAFTSMAN_CONTROLLERS", value_name = "LIST", value_delimiter = ',', allow_hyphen_values = true)]
    controllers: Option<Vec<String>>,
    /// When pods of a silent node are replaced that say nothing of it themselves: `fast` is at once, `kubernetes` after the
    /// 300 s that every pod tolerates there; other tolerations are honoured by both [default: fast]
    #[arg(long, env = "RAFTSMAN_FAILOVER", value_enum)]
    failover: Option<FailoverName>,
    /// Keys of 256 bits, one a line: the first encrypts the state in the data directory, all decrypt [default: not encrypted]
    #[arg(long, env = "RAFTSMAN_ENCRYPTION_KEY_FILE", value_name = "FILE")]
    encryption_key_file: Option<PathBuf>,
    /// Passphrases instead, one a line
    #[arg(long, env = "RAFTSMAN_ENCRYPTION_PASSPHRASE_FILE", value_name = "FILE")]
    encryption_passphrase_file: Option<PathBuf>,
    /// The leader archives all that is committed there: a directory that all servers reach, or s3://BUCKET/PREFIX; the same
    /// on all servers. `raftsman backup restore` makes any second of it a cluster again
    #[arg(long, env = "RAFTSMAN_ARCHIVE_TO", value_name = "PLACE")]
    archive_to: Option<String>,
    /// Between two full copies in the archive [default: 24h]
    #[arg(long, env = "RAFTSMAN_ARCHIVE_EVERY", value_name = "TIME")]
    archive_every: Option<String>,
    /// Every moment of the last so many hours can be restored [default: 48]
    #[arg(long, env = "RAFTSMAN_ARCHIVE_KEEP_HOURS", value_name = "HOURS")]
    archive_keep_hours: Option<u32>,
    /// The last full copy of each of so many days stays [default: 7]
    #[arg(long, env = "RAFTSMAN_ARCHIVE_KEEP_DAYS", value_name = "DAYS")]
    archive_keep_days: Option<u32>,
    /// Public keys of age that the archive is encrypted for: it holds the cluster's keys
    #[arg(long, env = "RAFTSMAN_ARCHIVE_RECIPIENTS", value_name = "KEYS", value_delimiter = ',')]
    archive_recipients: Option<Vec<String>>,
    /// YAML file with the same settings
    #[arg(long, env = "RAFTSMAN_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

/// What encrypts a data directory.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct AtRest {
    /// Keys of 256 bits, one a line: the first encrypts the data directory
    #[arg(long, env = "RAFTSMAN_ENCRYPTION_KEY_FILE", value_name = "FILE")]
    encryption_key_file: Option<PathBuf>,
    /// Passphrases instead, one a line
    #[arg(long, env = "RAFTSMAN_ENCRYPTION_PASSPHRASE_FILE", value_name = "FILE")]
    encryption_passphrase_file: Option<PathBuf>,
}

impl AtRest {
    /// Where the key comes from; none where nothing is to be encrypted.
    ///
    /// # Errors
    /// When both are named.
    pub(crate) fn source(self) -> Result<Option<KeySource>, Failure> {
        match (self.encryption_key_file, self.encryption_passphrase_file) {
            (Some(_), Some(_)) => {
                Err(Failure::usage("--encryption-key-file and --encryption-passphrase-file: name one of them"))
            }
            (key, passphrase) => Ok(key.map(KeySource::KeyFile).or(passphrase.map(KeySource::PassphraseFile))),
        }
    }
}

/// What a server runs with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    /// What encrypts the state in it.
    pub(crate) encryption: Option<KeySource>,
    pub(crate) name: String,
    pub(crate) api: SocketAddr,
    pub(crate) api_advertise: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) peer_advertise: SocketAddr,
    pub(crate) etcd: SocketAddr,
    /// Where the leader archives to, if it does.
    pub(crate) archive: Option<ArchiveSettings>,
    /// What Services and pods get addresses from.
    pub(crate) ranges: Ranges,
    /// Which controllers run while this server leads.
    pub(crate) controllers: Enabled,
    /// When pods of silent nodes are replaced.
    pub(crate) failover: Failover,
    /// Whether this machine is to be a server; none when nobody said so.
    pub(crate) server: Option<bool>,
    /// What runs containers, where this machine is a node too.
    pub(crate) engine: Option<Engine>,
}

impl ServerFlags {
    /// Reads the configuration file, if any, and fills what nobody said.
    pub(crate) fn resolve(self) -> Result<Settings, Failure> {
        let file = self.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let bind = self.bind.or(file.bind).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let advertise = match self.advertise.or(file.advertise) {
            Some(address) if address.is_unspecified() => {
                return Err(Failure::usage("--advertise: others cannot reach an unspecified address"));
            }
            Some(address) => address,
            None if bind.is_unspecified() => own_address(),
            None => bind,
        };
        let name = self.name.or(file.name).map_or_else(host_name, Ok)?;
        let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if name.is_empty() || name.len() > 63 || !name.chars().all(plain) {
            return Err(Failure::usage(format!(
                "--name {name:?}: a name has 1 to 63 lower-case letters, digits and '-'"
            )));
        }
        let port = self.port.or(file.port).unwrap_or(6443);
        let peer_port = self.peer_port.or(file.peer_port).unwrap_or(2380);
        let etcd_port = self.etcd_port.or(file.etcd_port).unwrap_or(2379);
        let given = self.roles.or(file.roles);
        let roles = given.clone().unwrap_or_else(|| vec![Role::Server, Role::Node]);
        let host = self.docker_host.or(file.docker_host).unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
        let engine = match self.runtime.or(file.runtime).unwrap_or(RuntimeName::Docker) {
            RuntimeName::Docker => Engine::Docker { host },
            RuntimeName::Sim => Engine::Sim,
        };
        let range = |flag: &str, given: Option<String>, otherwise: &str| {
            given.as_deref().unwrap_or(otherwise).parse().map_err(|why| Failure::usage(format!("--{flag}: {why}")))
        };
        let ranges = Ranges {
            services: range("service-cidr", self.service_cidr.or(file.service_cidr), "10.96.0.0/16")?,
            pods: range("pod-cidr", self.pod_cidr.or(file.pod_cidr), "10.244.0.0/16")?,
        };
        let controllers = self.controllers.or(file.controllers).map(Enabled::new).transpose();
        let controllers = controllers.map_err(|why| Failure::usage(format!("--controllers: {why}")))?;
        let at_rest = AtRest {
            encryption_key_file: self.encryption_key_file.or(file.encryption_key_file),
            encryption_passphrase_file: self.encryption_passphrase_file.or(file.encryption_passphrase_file),
        };
        let archive = self.archive_to.or(file.archive_to).filter(|place| !place.is_empty()).map(|place| {
            let every = self.archive_every.or(file.archive_every).unwrap_or_else(|| "24h".to_owned());
            let every = crate::backup::span(&every).map_err(|why| format!("--archive-every: {why}"))?;
            let hours = self.archive_keep_hours.or(file.archive_keep_hours).unwrap_or(48);
            let days = self.archive_keep_days.or(file.archive_keep_days).unwrap_or(7);
            let recipients = self.archive_recipients.or(file.archive_recipients).unwrap_or_default();
            ArchiveSettings { place, every, rules: Rules { hours, days }, recipients }.sound()
        });
        Ok(Settings {
            archive: archive.transpose().map_err(Failure::usage)?,
            encryption: at_rest.source()?,
            ranges,
            controllers: controllers.unwrap_or_default(),
            failover: match self.failover.or(file.failover).unwrap_or(FailoverName::Fast) {
                FailoverName::Fast => Failover::Fast,
                FailoverName::Kubernetes => Failover::Kubernetes,
            },
            engine: roles.contains(&Role::Node).then_some(engine),
            server: given.map(|_| roles.contains(&Role::Server)),
            data_dir: self.data_dir.or(file.data_dir).unwrap_or_else(|| PathBuf::from("/var/lib/raftsman")),
            name,
            api: (bind, port).into(),
            api_advertise: (advertise, port).into(),
            peer: (bind, peer_port).into(),
            peer_advertise: (advertise, peer_port).into(),
            etcd: (Ipv4Addr::LOCALHOST, etcd_port).into(),
        })
    }
}

fn read(path: &Path) -> Result<ServerFlags, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    serde_saphyr::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

fn host_name() -> Result<String, Failure> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.map(|name| name.trim().split('.').next().unwrap_or_default().to_lowercase());
    name.ok_or_else(|| Failure::usage("this host has no usable name; choose one with --name"))
}

/// The address of the route to the network; nothing is sent. Loopback where there is no route.
fn own_address() -> IpAddr {
    let routed = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        // An address that nobody has (RFC 5737).
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    routed.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_before_the_file_and_unknown_fields_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, "name: from-file\nport: 1\npeer-port: 2\n").expect("written");
        let flags = ServerFlags {
            config: Some(path.clone()),
            port: Some(7),
            bind: Some(Ipv4Addr::LOCALHOST.into()),
            ..Default::default()
        };
        let settings = flags.clone().resolve().expect("fits");
        assert_eq!(
            (settings.name.as_str(), settings.api.port(), settings.peer.port(), settings.etcd.port()),
            ("from-file", 7, 2, 2379)
        );
        std::fs::write(&path, "nmae: typo\n").expect("written");
        assert!(flags.resolve().is_err());
    }
}
