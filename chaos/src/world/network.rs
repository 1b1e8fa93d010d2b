//! Network namespaces on one bridge: each process gets an address, and its links can be cut.
//!
//! The bridge lies in a namespace of its own: in the machine's, a Docker Engine that runs there has the kernel drop what
//! passes over bridges.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, bail};

use crate::world::layout::{Layout, Place};

/// The bridge, in its namespace.
const BRIDGE: &str = "bridge";

/// Runs a command and says what it said when it failed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether this process may make namespaces, bridges and packet filters.
pub(crate) fn can_isolate() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("network namespaces need root".to_owned());
    }
    let probe = format!("rmprobe{}", std::process::id());
    let made = run("ip", &["netns", "add", &probe]).and_then(|_| {
        run("ip", &["-n", &probe, "link", "add", "name", "rma", "type", "veth", "peer", "name", "rmb"])?;
        run("ip", &["-n", &probe, "link", "add", "name", "rmc", "type", "bridge"])?;
        run("nsenter", &[&format!("--net=/run/netns/{probe}"), "nft", "add", "table", "inet", "probe"])
    });
    let _ = run("ip", &["netns", "del", &probe]);
    made.map(drop).map_err(|error| format!("{error:#}"))
}

/// Makes the bridge of an isolated layout.
pub(crate) fn add_bridge(layout: &Layout) -> anyhow::Result<()> {
    let Some(gateway) = layout.gateway() else { return Ok(()) };
    let (switch, uplink) = (layout.switch(), layout.uplink());
    run("ip", &["netns", "add", &switch])?;
    run("ip", &["-n", &switch, "link", "add", BRIDGE, "type", "bridge"])?;
    run("ip", &["-n", &switch, "link", "set", BRIDGE, "up"])?;
    run("ip", &["link", "add", &uplink, "type", "veth", "peer", "name", "machine", "netns", &switch])?;
    run("ip", &["-n", &switch, "link", "set", "machine", "master", BRIDGE, "up"])?;
    run("ip", &["addr", "add", &format!("{gateway}/24"), "dev", &uplink])?;
    run("ip", &["link", "set", &uplink, "up"])?;
    Ok(())
}

/// Makes a process's namespace and plugs it into the bridge.
pub(crate) fn add_place(layout: &Layout, place: &Place) -> anyhow::Result<()> {
    let (Some(namespace), Some(gateway)) = (&place.namespace, layout.gateway()) else { return Ok(()) };
    let (switch, outside, address) = (layout.switch(), namespace.as_str(), format!("{}/24", place.address));
    run("ip", &["netns", "add", namespace])?;
    run("ip", &["-n", namespace, "link", "set", "lo", "up"])?;
    run("ip", &["-n", &switch, "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", namespace])?;
    run("ip", &["-n", &switch, "link", "set", outside, "master", BRIDGE, "up"])?;
    run("ip", &["-n", namespace, "addr", "add", &address, "dev", "eth0"])?;
    run("ip", &["-n", namespace, "link", "set", "eth0", "up"])?;
    run("ip", &["-n", namespace, "route", "add", "default", "via", &gateway.to_string()])?;
    Ok(())
}

/// Removes what `add_bridge` and `add_place` made; absent things are fine.
pub(crate) fn remove(layout: &Layout, places: &[Place]) {
    for namespace in places.iter().filter_map(|place| place.namespace.as_deref()) {
        let _ = run("ip", &["netns", "del", namespace]);
    }
    if layout.subnet.is_some() {
        let _ = run("ip", &["link", "del", &layout.uplink()]);
        let _ = run("ip", &["netns", "del", &layout.switch()]);
    }
}

/// Which packets are meant, as the namespace sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Both,
    In,
    Out,
}

/// Drops what passes between a namespace and these addresses, so many of a hundred packets, until `heal`.
pub(crate) fn cut(namespace: &str, from: &[Ipv4Addr], way: Way, percent: u8) -> anyhow::Result<()> {
    let list = from.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", ");
    let some = if percent < 100 { format!("numgen random mod 100 < {percent} ") } else { String::new() };
    let rule = |one: Way, side: &str| {
        if way == Way::Both || way == one { format!("ip {side} @cut {some}counter drop;") } else { String::new() }
    };
    let rules = format!(
        "table inet chaos {{
           set cut {{ type ipv4_addr; elements = {{ {list} }}; }}
           chain incoming {{ type filter hook input priority -300; {} }}
           chain outgoing {{ type filter hook output priority -300; {} }}
         }}",
        rule(Way::In, "saddr"),
        rule(Way::Out, "daddr")
    );
    run("nsenter", &[&format!("--net=/run/netns/{namespace}"), "nft", &rules]).map(drop)
}

/// Ends a cut; answers how many packets it dropped.
pub(crate) fn heal(namespace: &str) -> anyhow::Result<u64> {
    let enter = format!("--net=/run/netns/{namespace}");
    let listed = run("nsenter", &[&enter, "nft", "list", "table", "inet", "chaos"])?;
    run("nsenter", &[&enter, "nft", "delete", "table", "inet", "chaos"])?;
    Ok(dropped_packets(&listed))
}

/// The sum of `counter packets N` in nft's listing.
fn dropped_packets(listed: &str) -> u64 {
    listed
        .split("counter packets ")
        .skip(1)
        .filter_map(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reachable(address: Ipv4Addr) -> bool {
        std::net::TcpStream::connect_timeout(&(address, 8080).into(), std::time::Duration::from_millis(500)).is_ok()
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "the count of tests lists what was skipped")]
    fn a_cut_link_drops_and_a_healed_one_delivers() {
        if let Err(why) = can_isolate() {
            println!("skipped: network namespaces: {why}");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), true);
        let place = layout.server(1);
        add_bridge(&layout).unwrap();
        add_place(&layout, &place).unwrap();
        let namespace = place.namespace.clone().unwrap();
        let enter = format!("--net=/run/netns/{namespace}");
        let mut web = Command::new("nsenter").args([&enter, "busybox", "httpd", "-f", "-p", "8080"]).spawn().unwrap();
        let served = (0..50).any(|_| {
            reachable(place.address) || {
                std::thread::park_timeout(std::time::Duration::from_millis(50));
                false
            }
        });
        cut(&namespace, &[layout.gateway().unwrap()], Way::Both, 100).unwrap();
        let while_cut = reachable(place.address);
        let dropped = heal(&namespace).unwrap();
        let healed = reachable(place.address);
        web.kill().unwrap();
        web.wait().unwrap();
        remove(&layout, &[place]);
        assert!(served && healed, "reachable before ({served}) and after ({healed})");
        assert!(!while_cut && dropped > 0, "cut, with a trace: {dropped} packets");
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "the count of tests lists what was skipped")]
    fn places_reach_each_other_beside_a_docker_engine() {
        if let Err(why) = can_isolate() {
            println!("skipped: network namespaces: {why}");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), true);
        let places = [layout.server(1), layout.server(2)];
        add_bridge(&layout).unwrap();
        for place in &places {
            add_place(&layout, place).unwrap();
        }
        let enter = format!("--net=/run/netns/{}", places[0].namespace.as_deref().unwrap());
        let pinged = run("nsenter", &[&enter, "busybox", "ping", "-c", "1", "-W", "2", &places[1].address.to_string()]);
        remove(&layout, &places);
        pinged.unwrap();
    }

    #[test]
    fn counters_are_summed() {
        let listed = "ip saddr @cut counter packets 12 bytes 720 drop\n ip daddr @cut counter packets 3 bytes 9 drop";
        assert_eq!(dropped_packets(listed), 15);
        assert_eq!(dropped_packets("table inet chaos {}"), 0);
    }
}
