//! What the kernel says of this process, under the names that Prometheus' own clients use.

use std::fs;

use crate::metrics::{gauge, head, line};

/// Ticks of the kernel's clock in a second, as Linux shows them to programs.
const TICKS: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

/// Writes all of it.
pub fn write(out: &mut String) {
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return };
    // The name of the program may hold anything; fields are counted behind it.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let seconds = |ticks: u64| ticks as f64 / TICKS;
    head("process_cpu_seconds_total", "counter", "Processor time spent.", out);
    line("process_cpu_seconds_total", "", seconds(number(11) + number(12)), out);
    gauge("process_threads", "Threads.", number(17), out);
    gauge("process_virtual_memory_bytes", "Virtual memory.", number(20), out);
    gauge("process_resident_memory_bytes", "Memory in use.", number(21) * PAGE_BYTES, out);
    gauge("process_open_fds", "Open files.", fs::read_dir("/proc/self/fd").map_or(0, Iterator::count), out);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    gauge("process_max_fds", "Files that may be open at once.", files.unwrap_or(0_u64), out);
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok()).unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let start = boot as f64 + seconds(number(19));
    gauge("process_start_time_seconds", "When the process started, in seconds since 1970.", start, out);
}
