//! `raftsman doctor`: what this machine has for a server and a node, and what each missing thing costs.
//!
//! Each probe does what the program itself will do (it binds the ports, syncs a file, makes the network devices in a
//! namespace that vanishes with the probe); the verdicts are pure.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::access::Output;
use crate::exit::{Failure, say};
use crate::show;

/// Writes that the disk is measured by.
const SYNCS: usize = 64;
/// A disk slower than this at its worst delays elections.
const SLOW: Duration = Duration::from_millis(50);
/// Docker's answer at most. Units: bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// The oldest API of Docker Engine that the agent speaks: Engine 20.10.
const DOCKER_API_MIN: (u32, u32) = (1, 41);
/// Less free disk than this fills up soon. Units: bytes.
const FREE_MIN: u64 = 5 << 30;

#[derive(Args)]
pub(crate) struct Doctor {
    /// Where state will lie: its disk is measured
    #[arg(long, env = "RAFTSMAN_DATA_DIR", default_value = "/var/lib/raftsman", value_name = "DIR")]
    data_dir: PathBuf,
    /// Where Docker Engine listens
    #[arg(long, env = "RAFTSMAN_DOCKER_HOST", default_value = "unix:///var/run/docker.sock", value_name = "HOST")]
    docker_host: String,
    /// Ports that a server listens on
    #[arg(long, value_delimiter = ',', default_values_t = [6443, 2380, 2379], value_name = "PORTS")]
    ports: Vec<u16>,
    /// A table for people, the rest for programs
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// It works, with less.
    Warning,
    /// A server or a node will not work here.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: String,
    state: State,
    found: String,
    /// What is lost, and what to do about it; empty when nothing is.
    advice: String,
}

fn check(name: &str, state: State, found: impl Into<String>, advice: &str) -> Check {
    let advice = if state == State::Ok { String::new() } else { advice.to_owned() };
    Check { name: name.to_owned(), state, found: found.into(), advice }
}

fn bad_unless(good: bool, otherwise: State) -> State {
    if good { State::Ok } else { otherwise }
}

/// `raftsman doctor`
pub(crate) fn doctor(command: &Doctor) -> Result<(), Failure> {
    let mut checks = vec![root(), docker(&command.docker_host)];
    checks.extend(DEVICES.iter().map(device));
    checks.extend(command.ports.iter().map(|port| bound(*port)));
    checks.push(disk(&command.data_dir));
    checks.push(space(&command.data_dir));
    checks.push(clock());
    let missing = checks.iter().filter(|check| check.state == State::Missing).count();
    if command.output.is_table() {
        let state = |check: &Check| format!("{:?}", check.state).to_lowercase();
        let rows = checks.iter().map(|check| vec![check.name.clone(), state(check), check.found.clone()]);
        show::lines(&["CHECK", "STATE", "FOUND"].map(str::to_owned), rows)?;
        for check in checks.iter().filter(|check| !check.advice.is_empty()) {
            say(&format!("\n{}: {}", check.name, check.advice))?;
        }
    } else {
        let checks = serde_json::to_value(&checks).map_err(|error| Failure::failed(error.to_string()))?;
        show::documents(command.output, vec![serde_json::json!({ "checks": checks })])?;
    }
    if missing == 0 { Ok(()) } else { Err(Failure::failed(format!("{missing} things are missing; see above"))) }
}

fn root() -> Check {
    let held = nix::unistd::geteuid().is_root();
    let advice =
        "without root, nodes use Docker's own bridge and a proxy in user space; run as root for the pod network";
    check("root", bad_unless(held, State::Warning), if held { "yes" } else { "no" }, advice)
}

fn docker(host: &str) -> Check {
    let Some(path) = host.strip_prefix("unix://") else {
        return check(
            "docker",
            State::Warning,
            format!("{host}: not looked at"),
            "only unix:// sockets are checked here",
        );
    };
    match ask_docker(path) {
        Ok(answer) => judge_docker(&answer),
        Err(error) => {
            let advice = "a node runs no containers without it; install docker.io and start dockerd, or run servers \
                          with --roles server, or try the control plane with --runtime sim";
            check("docker", State::Missing, format!("{path}: {error}"), advice)
        }
    }
}

fn ask_docker(path: &str) -> std::io::Result<Value> {
    let mut socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(b"GET /version HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut text = String::new();
    socket.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(serde_json::from_str(body)?)
}

fn judge_docker(answer: &Value) -> Check {
    let api = answer["ApiVersion"].as_str().unwrap_or_default();
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or(0_u32);
    let mut parts = api.split('.');
    let version = (number(parts.next()), number(parts.next()));
    let found = format!("Engine {}, API {api}", answer["Version"].as_str().unwrap_or("unknown"));
    check(
        "docker",
        bad_unless(version >= DOCKER_API_MIN, State::Missing),
        found,
        "Docker Engine 20.10 or newer is needed",
    )
}

/// A feature of the kernel or a tool: how it is tried, and what is lost without it.
struct Device {
    name: &'static str,
    /// Run in a network namespace of its own.
    attempt: &'static str,
    advice: &'static str,
}

const DEVICES: &[Device] = &[
    Device {
        name: "network namespaces",
        attempt: "true",
        advice: "pods cannot have networks of their own; a kernel with CONFIG_NET_NS and root are needed",
    },
    Device {
        name: "veth and bridge",
        attempt: "ip link add name br0 type bridge && ip link add name ve0 type veth peer name ve1 && ip link set dev ve0 master br0",
        advice: "no pod network; install iproute2 and load the modules veth and bridge",
    },
    Device {
        name: "vxlan",
        attempt: "ip link set lo up && ip link add name vx0 type vxlan id 1 local 127.0.0.1 dstport 4789",
        advice: "nodes on different network segments cannot reach each other's pods; load the module vxlan",
    },
    Device {
        name: "nftables",
        attempt: "nft add table ip raftsman && nft add map ip raftsman m '{ type ipv4_addr : verdict; }'",
        advice: "Services go through a slower proxy in user space; install nftables, load the module nf_tables",
    },
];

fn device(device: &Device) -> Check {
    let tried = Command::new("unshare")
        .args(["--net", "sh", "-c", device.attempt])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    match tried {
        Ok(output) if output.status.success() => check(device.name, State::Ok, "works", ""),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            let why = why.lines().next().unwrap_or("it fails").to_owned();
            check(device.name, State::Warning, why, device.advice)
        }
        Err(error) => check(device.name, State::Warning, format!("unshare: {error}"), device.advice),
    }
}

fn bound(port: u16) -> Check {
    let name = format!("port {port}");
    match TcpListener::bind(("0.0.0.0", port)) {
        Ok(_) => check(&name, State::Ok, "free", ""),
        Err(error) => {
            let advice = "something listens there already (this program, if it runs); end it, or choose another port";
            check(&name, State::Warning, error.to_string(), advice)
        }
    }
}

/// The first folder above that exists.
fn existing(dir: &Path) -> &Path {
    dir.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("/"))
}

fn disk(dir: &Path) -> Check {
    let place = existing(dir);
    match measure(place) {
        Ok(times) => judge_disk(times),
        Err(error) => {
            let advice = "no server can keep its state there; choose a --data-dir that can be written";
            check("disk", State::Missing, format!("{}: {error}", place.display()), advice)
        }
    }
}

fn measure(place: &Path) -> std::io::Result<Vec<Duration>> {
    let path = place.join(format!(".raftsman-doctor-{}", std::process::id()));
    let mut file = std::fs::File::options().create_new(true).write(true).open(&path)?;
    let mut each = || {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        Ok(began.elapsed())
    };
    let times: std::io::Result<Vec<Duration>> = (0..SYNCS).map(|_| each()).collect();
    std::fs::remove_file(&path)?;
    times
}

fn judge_disk(mut times: Vec<Duration>) -> Check {
    times.sort();
    let (middle, worst) = (times[times.len() / 2], times[times.len() - 1]);
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let found = format!("fdatasync takes {:.2} ms, {:.2} ms at worst", ms(middle), ms(worst));
    let advice = "every acknowledged write waits for this; a stall of several hundred milliseconds makes a leader lose \
                  its place: give the data directory a disk of its own";
    check("disk", bad_unless(worst < SLOW, State::Warning), found, advice)
}

fn space(dir: &Path) -> Check {
    let place = existing(dir);
    let free = nix::sys::statvfs::statvfs(place).map(|facts| facts.blocks_available() * facts.fragment_size());
    let free = free.unwrap_or(0);
    let found = format!("{:.1} GiB free in {}", free as f64 / f64::from(1 << 30), place.display());
    check("space", bad_unless(free >= FREE_MIN, State::Warning), found, "a full disk refuses writes; make room")
}

fn clock() -> Check {
    let told = Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).output();
    let told = told.ok().filter(|output| output.status.success());
    let told = told.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    judge_clock(told.as_deref())
}

fn judge_clock(told: Option<&str>) -> Check {
    let advice = "certificates and log lines go by the clock, and machines must agree on it to some seconds; \
                  consensus and leases do not: run chrony or systemd-timesyncd";
    match told {
        Some("yes") => check("clock", State::Ok, "synchronised", ""),
        Some(_) => check("clock", State::Warning, "not synchronised", advice),
        None => check("clock", State::Warning, "nobody here knows whether it is synchronised", advice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_old_engine_is_not_enough() {
        let judged = |api: &str| judge_docker(&json!({ "ApiVersion": api, "Version": "x" })).state;
        assert_eq!(
            (judged("1.41"), judged("1.9"), judged("2.0"), judged("")),
            (State::Ok, State::Missing, State::Ok, State::Missing)
        );
    }

    /// Whether this kernel can is the machine's matter; the tools must understand what is asked of them.
    #[test]
    fn what_is_tried_is_well_said() {
        for tried in DEVICES.iter().map(device) {
            let complaint = ["is invalid", "Usage", "syntax error"].iter().find(|word| tried.found.contains(**word));
            assert_eq!(complaint, None, "{}", tried.found);
        }
    }

    #[test]
    fn a_disk_is_judged_by_its_worst() {
        let times =
            |worst: u64| (0..9).map(|_| Duration::from_millis(1)).chain([Duration::from_millis(worst)]).collect();
        assert_eq!(judge_disk(times(2)).state, State::Ok);
        let slow = judge_disk(times(80));
        assert_eq!((slow.state, slow.found.as_str()), (State::Warning, "fdatasync takes 1.00 ms, 80.00 ms at worst"));
    }

    #[test]
    fn what_is_fine_needs_no_advice() {
        assert_eq!(judge_clock(Some("yes")).advice, "");
        assert_ne!(judge_clock(None).advice, "");
    }
}
