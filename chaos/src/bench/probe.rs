//! What the machine and the measured processes spend: load, the disk's own speed, processor time, memory.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::bench::figures::Latencies;

/// Syncs of one probe.
const SYNCS: usize = 200;
/// Clock ticks a second in `/proc`: a constant of the kernel's interface on every platform that Rust's tier 1 names.
const TICKS: f64 = 100.0;

/// The load averages.
pub(super) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// One line about the machine and the disk below `dir`.
pub(super) fn machine(dir: &Path) -> anyhow::Result<String> {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let disk = syncs(dir)?;
    Ok(format!(
        "machine: {cpus} cpus, load {}; fdatasync of 4 KiB: {:.2} ms, p99 {:.2} ms",
        load(),
        disk.percentile(50),
        disk.percentile(99)
    ))
}

/// How long syncs of 4 KiB take on the disk below `dir`.
pub(super) fn syncs(dir: &Path) -> anyhow::Result<Latencies> {
    let path = dir.join("probe");
    let mut file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(Latencies::new(times))
}

/// Processor time that processes have used since they began.
pub(super) fn cpu(pids: &[i32]) -> Duration {
    let one = |pid: &i32| ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default());
    Duration::from_secs_f64(pids.iter().map(one).sum::<f64>() / TICKS)
}

/// Fields 14 and 15 of `/proc/PID/stat`: user and system time.
fn ticks(stat: &str) -> f64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum()
}

/// Resident memory of processes. Units: MiB.
pub(super) fn memory(pids: &[i32]) -> f64 {
    sum(pids, "VmRSS:")
}

/// The most that was resident since `forget_peak`. Units: MiB.
pub(super) fn peak(pids: &[i32]) -> f64 {
    sum(pids, "VmHWM:")
}

/// Peaks begin anew. Source: proc_pid_clear_refs(5).
///
/// # Errors
/// When the processes are not ours.
pub(super) fn forget_peak(pids: &[i32]) -> anyhow::Result<()> {
    pids.iter().try_for_each(|pid| {
        let path = format!("/proc/{pid}/clear_refs");
        std::fs::write(&path, "5").with_context(|| path)
    })
}

fn sum(pids: &[i32], what: &str) -> f64 {
    let one = |pid: &i32| kib(&std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default(), what);
    pids.iter().map(one).sum::<f64>() / 1024.0
}

/// A line of a process's status. Units: KiB.
fn kib(status: &str, what: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(ticks(stat), 300.0);
        let status = "Name:\tx\nVmHWM:\t  4096 kB\nVmRSS:\t  2048 kB\n";
        assert_eq!((kib(status, "VmRSS:"), kib(status, "VmHWM:")), (2048.0, 4096.0));
    }
}
