//! Connections to a server as an administrator, from inside its network namespace where it has one.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::world::kubeconfig::Credentials;
use crate::world::layout::Place;

/// Connecting and answering a probe take no longer.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// A call of a workload: longer than an election, shorter than a person's patience.
const CALL_LIMIT: Duration = Duration::from_secs(3);

/// TLS with the administrator's certificate, trusting the cluster's authority only.
pub(crate) fn tls(credentials: &Credentials, alpn: &[&[u8]]) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(credentials.ca_pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    let chain = CertificateDer::pem_slice_iter(credentials.cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(credentials.key_pem.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// One GET, without a runtime: for probes.
pub(crate) fn get_once(credentials: &Credentials, url: &str) -> anyhow::Result<u16> {
    let uri: Uri = url.parse()?;
    let (host, port) = (uri.host().context("url without host")?, uri.port_u16().context("url without port")?);
    let address: SocketAddr = SocketAddr::new(host.parse()?, port);
    let socket = TcpStream::connect_timeout(&address, PROBE_LIMIT)?;
    socket.set_read_timeout(Some(PROBE_LIMIT))?;
    socket.set_write_timeout(Some(PROBE_LIMIT))?;
    let name = ServerName::try_from(host.to_owned())?;
    let connection = rustls::ClientConnection::new(tls(credentials, &[b"http/1.1"])?, name)?;
    let mut stream = rustls::StreamOwned::new(connection, socket);
    write!(stream, "GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", uri.path())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    line.split_whitespace().nth(1).and_then(|code| code.parse().ok()).context("no status line")
}

/// A channel to a server's etcd API, which listens on loopback in the server's namespace. Reconnects by itself.
pub(crate) fn etcd_channel(credentials: &Credentials, place: &Place) -> anyhow::Result<Channel> {
    let config = tls(credentials, &[b"h2"])?;
    let (namespace, port) = (place.namespace.clone(), place.etcd_port);
    let connector = tower::service_fn(move |_: Uri| {
        let (config, namespace) = (config.clone(), namespace.clone());
        async move {
            let socket = tokio::task::spawn_blocking(move || connect_inside(namespace.as_deref(), port)).await??;
            let socket = tokio::net::TcpStream::from_std(socket)?;
            let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
            let stream = tokio_rustls::TlsConnector::from(config).connect(name, socket).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://localhost").timeout(CALL_LIMIT).connect_timeout(PROBE_LIMIT);
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// Connects to a loopback port of a network namespace. The socket stays there; the thread that entered it ends.
fn connect_inside(namespace: Option<&str>, port: u16) -> std::io::Result<TcpStream> {
    let namespace = namespace.map(|name| std::fs::File::open(format!("/run/netns/{name}"))).transpose()?;
    let connect = move || -> std::io::Result<TcpStream> {
        if let Some(namespace) = namespace {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
        }
        let socket = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PROBE_LIMIT)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    std::thread::spawn(connect).join().map_err(|_| std::io::Error::other("the connecting thread panicked"))?
}

/// The member that leads, as the servers themselves say; asks each in turn.
pub(crate) async fn leader(channels: &[(String, Channel)]) -> anyhow::Result<String> {
    let mut told = Vec::new();
    for (name, channel) in channels {
        let mut client = proto::etcdserverpb::maintenance_client::MaintenanceClient::new(channel.clone());
        match client.status(proto::etcdserverpb::StatusRequest::default()).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                let own = answer.header.map_or(0, |header| header.member_id);
                if own == answer.leader && own != 0 {
                    return Ok(name.clone());
                }
                told.push(format!("{name}: follows {:x}", answer.leader));
            }
            Err(status) => told.push(format!("{name}: {}", status.message())),
        }
    }
    bail!("no server says that it leads ({})", told.join("; "))
}
