//! One probe or hook run once: a command, an HTTP request, a TCP connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::plan::observed::Observed;
use crate::runtime::{Runtime, RuntimeError};

/// What to try.
pub(super) struct Check<'a> {
    pub(super) exec: Option<&'a ExecAction>,
    pub(super) http: Option<&'a HTTPGetAction>,
    pub(super) tcp: Option<&'a TCPSocketAction>,
}

impl<'a> From<&'a Probe> for Check<'a> {
    fn from(probe: &'a Probe) -> Self {
        Self { exec: probe.exec.as_ref(), http: probe.http_get.as_ref(), tcp: probe.tcp_socket.as_ref() }
    }
}

/// Where a pod is reached; loopback while it has no address.
pub(super) fn address(observed: &Observed) -> IpAddr {
    let ip = observed.memory.network.as_ref().and_then(|(_, ips)| ips.first().copied());
    ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

impl Check<'_> {
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
                Ok(done) => Err(format!("command failed with code {}: {}", done.code, done.output.trim_end())),
                Err(RuntimeError::Timeout(_)) => {
                    Err(format!("command {command:?} timed out after {} s", limit.as_secs()))
                }
                Err(other) => Err(other.to_string()),
            };
        }
        if R::SIMULATED {
            return Ok(String::new());
        }
        let attempt = async {
            if let Some(http) = self.http {
                get(http, ip, container).await
            } else {
                connect(self.tcp, ip, container).await
            }
        };
        tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()))
    }
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

async fn open(host: Option<&String>, port: u16, ip: IpAddr) -> Result<TcpStream, String> {
    let ip = host.filter(|h| !h.is_empty()).and_then(|h| h.parse().ok()).unwrap_or(ip);
    TcpStream::connect(SocketAddr::new(ip, port)).await.map_err(|e| format!("dial tcp {ip}:{port}: {e}"))
}

async fn connect(tcp: Option<&TCPSocketAction>, ip: IpAddr, container: Option<&Container>) -> Result<String, String> {
    let tcp = tcp.ok_or("this kind of probe is not supported by this agent")?;
    open(tcp.host.as_ref(), port(&tcp.port, container)?, ip).await.map(|_| String::new())
}

/// Any status from 200 to 399 is success.
async fn get(http: &HTTPGetAction, ip: IpAddr, container: Option<&Container>) -> Result<String, String> {
    let port = port(&http.port, container)?;
    let stream = open(http.host.as_ref(), port, ip).await?;
    let path = http.path.as_deref().unwrap_or("/");
    let mut request =
        format!("GET {path} HTTP/1.1\r\nConnection: close\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n");
    let own_host = http.http_headers.iter().flatten().any(|h| h.name.eq_ignore_ascii_case("host"));
    if !own_host {
        request.push_str(&format!("Host: {}\r\n", SocketAddr::new(ip, port)));
    }
    for header in http.http_headers.iter().flatten() {
        request.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
    request.push_str("\r\n");
    let head = match http.scheme.as_deref() {
        Some("HTTPS") => exchange(super::https::begin(stream, ip).await?, &request).await?,
        _ => exchange(stream, &request).await?,
    };
    let line = String::from_utf8_lossy(&head);
    let code: u16 = line.split(' ').nth(1).and_then(|c| c.get(..3)).and_then(|c| c.parse().ok()).unwrap_or(0);
    if (200..400).contains(&code) {
        Ok(String::new())
    } else {
        Err(format!("HTTP probe failed with statuscode: {code}"))
    }
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
