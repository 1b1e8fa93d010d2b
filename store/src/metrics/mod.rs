//! Numbers about a running process, and how Prometheus reads them.

mod family;
mod process;

pub use family::{Counter, Family, Gauge, Metric, counter, gauge, head, line};
pub use process::write as write_process;
