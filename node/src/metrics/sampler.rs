//! One task that measures everything in turn.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use proto::agent::{NodeUsage, Usage, UsageReport};
use proto::prometheus::sum;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::rate::Rates;
use super::{Newest, read};
use crate::runtime::Runtime;

/// Between measurements. Source: cAdvisor's housekeeping interval in the kubelet.
const PERIOD: Duration = Duration::from_secs(10);
/// The second one comes sooner: there are no rates before it.
const FIRST: Duration = Duration::from_secs(2);
/// What a simulated node uses besides its pods.
const SIMULATED: Usage = Usage {
    cpu_usage_ns: 0,
    cpu_user_ns: 0,
    cpu_system_ns: 0,
    cpu_nanocores: 0,
    cpu_periods: 0,
    cpu_throttled_periods: 0,
    cpu_throttled_ns: 0,
    memory_usage_bytes: 640 << 20,
    memory_working_set_bytes: 512 << 20,
    memory_rss_bytes: 384 << 20,
    memory_cache_bytes: 256 << 20,
    memory_limit_bytes: 0,
    filesystem_used_bytes: 8 << 30,
    filesystem_capacity_bytes: 64 << 30,
    processes: 100,
};
/// And of its processors. Units: nanoseconds per millisecond.
const SIMULATED_CPU_NS: i64 = 100_000;

/// What is measured where.
pub(crate) struct Machine {
    pub(crate) data_dir: PathBuf,
    pub(crate) cpus: u32,
    /// Units: bytes.
    pub(crate) memory: u64,
}

/// Measures until told to stop.
pub(crate) async fn run<R: Runtime>(runtime: &R, machine: Machine, newest: &Newest, stop: CancellationToken) {
    let (machine, mut rates) = (Arc::new(machine), Rates::default());
    let began = Timestamp::now().as_millisecond();
    let (mut due, mut waits) = (Instant::now(), std::iter::once(FIRST).chain(std::iter::repeat(PERIOD)));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(due) => {}
        }
        match measure(runtime, &machine, began).await {
            Ok(mut report) => {
                rates.complete(&mut report);
                newest.send_replace(Some(Arc::new(report)));
            }
            Err(why) => tracing::debug!(why, "nothing is measured this time"),
        }
        due = Instant::now() + waits.next().unwrap_or(PERIOD);
    }
}

async fn measure<R: Runtime>(runtime: &R, machine: &Arc<Machine>, began_ms: i64) -> Result<UsageReport, String> {
    let containers = runtime.measure().await.map_err(|error| error.to_string())?;
    let time_ms = Timestamp::now().as_millisecond();
    let node = if R::SIMULATED {
        let mut usage = sum(containers.iter().filter_map(|held| held.usage.as_ref()).chain([&SIMULATED]));
        let own = (time_ms - began_ms).max(0).saturating_mul(SIMULATED_CPU_NS).unsigned_abs();
        usage.cpu_usage_ns = usage.cpu_usage_ns.saturating_add(own);
        usage.filesystem_capacity_bytes = SIMULATED.filesystem_capacity_bytes;
        NodeUsage {
            usage: Some(usage),
            cpus: machine.cpus,
            memory_bytes: machine.memory,
            simulated: true,
            interfaces: Vec::new(),
        }
    } else {
        let machine = Arc::clone(machine);
        let read = move || read::machine(&machine.data_dir, machine.cpus, machine.memory);
        tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
    };
    Ok(UsageReport { time_ms, window_ms: 0, node: Some(node), containers })
}
