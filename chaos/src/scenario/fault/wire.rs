//! What happens to the packets between members.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Diary;
use crate::seed::Seed;
use crate::world::cluster::Cluster;
use crate::world::delay::Delay;
use crate::world::network::{self, Way};
use crate::world::process::Process;

/// A packet that is late comes so much later at least, and so much more at most. Units: milliseconds.
const LATE_MS: (u64, u64) = (20, 40);
/// Of a hundred packets, so many are lost.
const LOST: u8 = 20;

/// What is done to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scenario) enum Harm {
    /// None pass between the leader and the others.
    Cut,
    /// None pass one way: either nobody hears the leader, or it hears nobody.
    OneWay,
    /// None pass between the leader and one of the others.
    Partial,
    /// Some are lost.
    Loss,
    /// All that the leader sends come late.
    Delay,
}

fn address(process: &Process) -> anyhow::Result<Ipv4Addr> {
    Ok(process.address.parse()?)
}

/// Does it to the leader for a while.
pub(super) async fn harm(
    harm: Harm,
    cluster: &Cluster,
    lead: &str,
    hold: Duration,
    seed: &mut Seed,
    diary: &mut Diary,
) -> anyhow::Result<()> {
    ensure!(cluster.isolated, "it needs network namespaces: root, ip and nft");
    let namespace = cluster.process(lead)?.namespace.clone().context("a namespace")?;
    let mut others: Vec<&Process> = cluster.of_role("server").filter(|server| server.name != lead).collect();
    if harm == Harm::Partial {
        others = vec![others.swap_remove(usize::try_from(seed.below(others.len() as u64))?)];
    }
    let addresses: Vec<Ipv4Addr> = others.iter().map(|server| address(server)).collect::<Result<_, _>>()?;
    if harm == Harm::Delay {
        return delay(&namespace, lead, hold, seed, diary).await;
    }
    let way = match (harm, seed.below(2)) {
        (Harm::OneWay, 0) => Way::In,
        (Harm::OneWay, _) => Way::Out,
        _ => Way::Both,
    };
    let percent = if harm == Harm::Loss { LOST } else { 100 };
    network::cut(&namespace, &addresses, way, percent)?;
    let names: Vec<&str> = others.iter().map(|server| server.name.as_str()).collect();
    diary.note(format!("{percent} % of packets are dropped between {lead} and {} ({way:?})", names.join(", ")));
    tokio::time::sleep(hold).await;
    let dropped = network::heal(&namespace)?;
    diary.note(format!("{lead} is healed"));
    diary.trace(dropped > 0, &format!("{dropped} packets were dropped"));
    Ok(())
}

async fn delay(namespace: &str, lead: &str, hold: Duration, seed: &mut Seed, diary: &mut Diary) -> anyhow::Result<()> {
    let (least, more) = LATE_MS;
    let delay = Delay::begin(namespace, least, more, seed.fork())?;
    diary.note(format!("what {lead} sends comes {least} to {} ms late", least + more));
    tokio::time::sleep(hold).await;
    let late = tokio::task::block_in_place(|| delay.end())?;
    diary.note(format!("{lead} is heard at once again"));
    diary.trace(late > 0, &format!("{late} packets came late"));
    Ok(())
}
