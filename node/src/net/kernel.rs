//! The kernel's network, through `ip` and `nft`: they speak netlink, take a batch in one call and say what was wrong.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A call lasts so long at most.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs a program with a text on its standard input; what it printed, or what it complained of.
async fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let work = async {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(LIMIT, work).await.map_err(|_| format!("{program} timed out"))?;
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// A batch of `ip` commands in the agent's own network namespace.
pub(super) async fn ip(batch: &str) -> Result<(), String> {
    run("ip", &["-batch", "-"], batch).await.map(drop)
}

/// The same in the network namespace of a process.
pub(super) async fn ip_inside(pid: u32, batch: &str) -> Result<(), String> {
    let namespace = format!("--net=/proc/{pid}/ns/net");
    run("nsenter", &[&namespace, "ip", "-batch", "-"], batch).await.map(drop)
}

/// Whether an interface is there.
pub(super) async fn has_link(name: &str) -> bool {
    run("ip", &["link", "show", name], "").await.is_ok()
}

/// A script of nftables: all of it, or nothing.
pub(super) async fn nft(script: &str) -> Result<(), String> {
    run("nft", &["-f", "-"], script).await.map(drop)
}

/// Lets the engine's own filter, where it has one, pass packets of the bridge.
pub(super) async fn pass_engine_filter(bridge: &str) {
    for direction in ["-i", "-o"] {
        let rule = ["DOCKER-USER", direction, bridge, "-j", "ACCEPT"];
        let check: Vec<&str> = ["-w", "-C"].into_iter().chain(rule).collect();
        let insert: Vec<&str> = ["-w", "-I"].into_iter().chain(rule).collect();
        if run("iptables", &check, "").await.is_err() {
            // An engine without a filter of its own has no such chain: nothing to pass.
            let _ = run("iptables", &insert, "").await;
        }
    }
}

/// Whether this process may and can make bridges and pairs of interfaces: tried.
pub(super) async fn links() -> Result<(), String> {
    let probe = format!("rmp{}", std::process::id());
    let made =
        ip(&format!("link add name {probe} type bridge\nlink add name {probe}a type veth peer name {probe}b\n")).await;
    for name in [probe.clone(), format!("{probe}a")] {
        let _ = ip(&format!("link del {name}\n")).await;
    }
    made
}

/// Whether it may and can make tables of nftables: tried.
pub(super) async fn nftables() -> Result<(), String> {
    let probe = format!("rmp{}", std::process::id());
    nft(&format!("table ip {probe} {{}}\ndelete table ip {probe}\n")).await
}

/// Whether it may give loopback further addresses: tried with one for documentation (RFC 5737).
pub(super) async fn addresses() -> Result<(), String> {
    ip("addr replace 192.0.2.254/32 dev lo\naddr del 192.0.2.254/32 dev lo\n").await
}

/// Sets a value below `/proc/sys/net` of the agent's own namespace.
pub(super) fn sysctl(name: &str, value: &str) -> Result<(), String> {
    let path = format!("/proc/sys/net/{name}");
    std::fs::write(&path, value).map_err(|error| format!("{path}: {error}"))
}
