//! One probe or hook run once: a command, an HTTP request, a TCP connection, a gRPC health check.
//!
//! Source of what failures are called: Kubernetes' `pkg/kubelet/prober`, `pkg/probe`, and Go's net packages.

use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::plan::observed::Observed;
use crate::runtime::{Runtime, RuntimeError};

/// What to try.
pub(super) struct Check<'a> {
    exec: Option<&'a ExecAction>,
    http: Option<&'a HTTPGetAction>,
    tcp: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
}

impl<'a> From<&'a Probe> for Check<'a> {
    fn from(probe: &'a Probe) -> Self {
        Self {
            exec: probe.exec.as_ref(),
            http: probe.http_get.as_ref(),
            tcp: probe.tcp_socket.as_ref(),
            grpc: probe.grpc.as_ref(),
        }
    }
}

/// Where a pod is reached; loopback while it has no address.
pub(super) fn address(observed: &Observed) -> IpAddr {
    let ip = observed.memory.network.as_ref().and_then(|(_, ips)| ips.first().copied());
    ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

impl<'a> Check<'a> {
    /// What a hook does. Kubernetes takes no TCP connections there.
    pub(super) fn of_hook(handler: &'a LifecycleHandler) -> Check<'a> {
        Check { exec: handler.exec.as_ref(), http: handler.http_get.as_ref(), tcp: None, grpc: None }
    }

    /// Runs once; what came back, or why it failed.
    pub(super) async fn run<R: Runtime>(
        &self,
        runtime: &R,
        id: &str,
        ip: IpAddr,
        container: Option<&Container>,
        limit: Duration,
    ) -> Result<String, String> {
        if let Some(exec) = self.exec {
            let command = exec.command.clone().unwrap_or_default();
            return match runtime.exec(id, &command, limit).await {
                Ok(done) if done.code == 0 => Ok(done.output),
                Ok(done) => Err(done.output.trim_end().to_owned()),
                Err(RuntimeError::Timeout(_)) => {
                    Err(format!("command timed out: {:?} timed out after {}s", command.join(" "), limit.as_secs()))
                }
                Err(other) => Err(other.to_string()),
            };
        }
        if R::SIMULATED {
            return Ok(String::new());
        }
        if let Some(http) = self.http {
            let place = SocketAddr::new(host(http.host.as_ref(), ip), port(&http.port, container)?);
            let late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
            let done = within(limit, late, get(http, place)).await;
            let scheme = http.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
            let of = |why| format!("Get \"{scheme}://{place}{}\": {why}", path(http));
            let code = done.map_err(of)?;
            let good = (200..400).contains(&code);
            return if good { Ok(String::new()) } else { Err(format!("HTTP probe failed with statuscode: {code}")) };
        }
        if let Some(grpc) = self.grpc {
            let number = u16::try_from(grpc.port).map_err(|_| format!("invalid port: {}", grpc.port))?;
            let service = grpc.service.as_deref().unwrap_or_default();
            return super::grpc::check(SocketAddr::new(ip, number), service, limit).await.map(|()| String::new());
        }
        let tcp = self.tcp.ok_or("this kind of probe is not supported by this agent")?;
        let place = SocketAddr::new(host(tcp.host.as_ref(), ip), port(&tcp.port, container)?);
        within(limit, &format!("dial tcp {place}: i/o timeout"), open(place)).await.map(|_| String::new())
    }
}

async fn within<T>(limit: Duration, late: &str, attempt: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| Err(late.to_owned()))
}

fn port(wanted: &IntOrString, container: Option<&Container>) -> Result<u16, String> {
    let number = match wanted {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.and_then(|c| c.ports.as_ref()?.iter().find(|p| p.name.as_deref() == Some(name)));
            named.map(|p| p.container_port).or_else(|| name.parse().ok()).unwrap_or(0)
        }
    };
    u16::try_from(number).ok().filter(|p| *p > 0).ok_or_else(|| format!("invalid port: {wanted:?}"))
}

fn host(wanted: Option<&String>, ip: IpAddr) -> IpAddr {
    wanted.filter(|host| !host.is_empty()).and_then(|host| host.parse().ok()).unwrap_or(ip)
}

fn path(http: &HTTPGetAction) -> &str {
    http.path.as_deref().unwrap_or("/")
}

/// Connects; errors in Go's words.
async fn open(place: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(place).await.map_err(|error| {
        let why = match error.kind() {
            ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            ErrorKind::HostUnreachable => "no route to host".to_owned(),
            ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
            _ => error.to_string(),
        };
        format!("dial tcp {place}: connect: {why}")
    })
}

/// The status of an answer.
async fn get(http: &HTTPGetAction, place: SocketAddr) -> Result<u16, String> {
    let stream = open(place).await?;
    let mut request =
        format!("GET {} HTTP/1.1\r\nConnection: close\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n", path(http));
    let own_host = http.http_headers.iter().flatten().any(|h| h.name.eq_ignore_ascii_case("host"));
    if !own_host {
        request.push_str(&format!("Host: {place}\r\n"));
    }
    for header in http.http_headers.iter().flatten() {
        request.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
    request.push_str("\r\n");
    let head = match http.scheme.as_deref() {
        Some("HTTPS") => exchange(super::https::begin(stream, place.ip()).await?, &request).await?,
        _ => exchange(stream, &request).await?,
    };
    let line = String::from_utf8_lossy(&head);
    if line.is_empty() {
        return Err("EOF".to_owned());
    }
    let code = line.split(' ').nth(1).and_then(|code| code.get(..3)).and_then(|code| code.parse().ok());
    code.ok_or_else(|| format!("malformed HTTP response {:?}", line.lines().next().unwrap_or_default()))
}

/// Sends a request; the beginning of the answer.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Result<Vec<u8>, String> {
    stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
    let mut head = Vec::new();
    // The status line is all that counts, and it is short.
    match stream.take(64).read_to_end(&mut head).await {
        // Some hang up without saying so first.
        Err(error) if head.is_empty() => Err(error.to_string()),
        _ => Ok(head),
    }
}
