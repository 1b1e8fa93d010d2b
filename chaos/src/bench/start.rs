//! From the start of a process until it is ready, and what it costs to do nothing.

use std::time::{Duration, Instant};

use crate::bench::{Bench, probe, remove};

/// How long an idle server is looked at.
const IDLE: Duration = Duration::from_secs(5);

/// A first start, later starts of the same directory, memory and processor time when idle.
pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let (mut first, mut again, mut memory, mut idle) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.options.rounds {
        let began = Instant::now();
        let mut cluster = bench.servers("start", 1, &[])?;
        first.push(began.elapsed().as_secs_f64() * 1000.0);
        cluster.process("server-1")?.stop()?;
        again.push(restart(&mut cluster)?);
        let pids = cluster.server_pids();
        let (before, began) = (probe::cpu(&pids), Instant::now());
        std::thread::park_timeout(IDLE);
        idle.push((probe::cpu(&pids) - before).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0);
        memory.push(probe::memory(&pids));
        remove(&cluster)?;
    }
    for (what, figures) in [
        ("first start to ready, ms", first),
        ("start again to ready, ms", again),
        ("idle memory, MiB", memory),
        ("idle, % of a cpu", idle),
    ] {
        bench.row("one server", what, figures, Vec::new());
    }
    Ok(())
}

/// Starts a server that has ended; until it is ready. Units: milliseconds.
pub(super) fn restart(cluster: &mut crate::world::cluster::Cluster) -> anyhow::Result<f64> {
    let began = Instant::now();
    cluster.restart("server-1")?;
    let place = cluster.layout().server(1);
    crate::world::bring_up::await_server(cluster.process("server-1")?, &place)?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}
