//! Numbers with labels, and how Prometheus reads them.
//!
//! Source: Prometheus text format 0.0.4. Labels come from fixed lists, and a family never has more than `SERIES_MAX`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::durations::{BOUNDS, Durations};
use parking_lot::RwLock;

/// Series of one family; what comes after them is counted together.
const SERIES_MAX: usize = 4096;
/// The labels of what is counted together.
const OTHERS: &str = "others=\"true\"";

/// A number of a kind that Prometheus knows.
pub trait Metric: Default {
    /// As `# TYPE` has it.
    const KIND: &'static str;

    /// Its lines.
    fn write(&self, name: &str, labels: &str, out: &mut String);
}

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Counter {
    /// Counts so many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

impl Gauge {
    /// Changes it.
    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Metric for Counter {
    const KIND: &'static str = "counter";

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        line(name, labels, self.0.load(Ordering::Relaxed), out);
    }
}

impl Metric for Gauge {
    const KIND: &'static str = "gauge";

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        line(name, labels, self.0.load(Ordering::Relaxed), out);
    }
}

impl Metric for Durations {
    const KIND: &'static str = "histogram";

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        let (within, comma) = (self.within(), if labels.is_empty() { "" } else { "," });
        for (bound, count) in BOUNDS.iter().zip(within) {
            line(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"{bound}\""), count, out);
        }
        let all = within[BOUNDS.len()];
        line(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"+Inf\""), all, out);
        line(&format!("{name}_sum"), labels, self.total().as_secs_f64(), out);
        line(&format!("{name}_count"), labels, all, out);
    }
}

/// A number that goes up and down, with what it means.
pub fn gauge(name: &str, help: &str, value: impl std::fmt::Display, out: &mut String) {
    head(name, Gauge::KIND, help, out);
    line(name, "", value, out);
}

/// A number that only grows, with what it means.
pub fn counter(name: &str, help: &str, value: impl std::fmt::Display, out: &mut String) {
    head(name, Counter::KIND, help, out);
    line(name, "", value, out);
}

/// One number of one name.
pub fn line(name: &str, labels: &str, value: impl std::fmt::Display, out: &mut String) {
    // Writing to a String cannot fail.
    let _ =
        if labels.is_empty() { writeln!(out, "{name} {value}") } else { writeln!(out, "{name}{{{labels}}} {value}") };
}

/// What a name means.
pub fn head(name: &str, kind: &str, help: &str, out: &mut String) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Numbers of one name, told apart by labels.
#[derive(Debug)]
pub struct Family<M> {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    series: RwLock<BTreeMap<String, Arc<M>>>,
}

impl<M: Metric> Family<M> {
    /// Without any series yet.
    pub fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Family { name, help, labels, series: RwLock::default() }
    }

    /// The number for these values, in the order of the labels. Values are words without quotes.
    pub fn of(&self, values: &[&str]) -> Arc<M> {
        let mut key = String::with_capacity(128);
        for (label, value) in self.labels.iter().zip(values) {
            let comma = if key.is_empty() { "" } else { "," };
            let _ = write!(key, "{comma}{label}=\"{value}\"");
        }
        if let Some(found) = self.series.read().get(&key) {
            return Arc::clone(found);
        }
        let mut series = self.series.write();
        let key = if series.len() < SERIES_MAX { key } else { OTHERS.to_owned() };
        Arc::clone(series.entry(key).or_default())
    }

    /// Its head and its lines.
    pub fn write(&self, out: &mut String) {
        head(self.name, M::KIND, self.help, out);
        for (labels, metric) in self.series.read().iter() {
            metric.write(self.name, labels, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn families_are_written_as_prometheus_reads_them() {
        let family: Family<Counter> = Family::new("requests_total", "Requests.", &["verb", "code"]);
        family.of(&["GET", "200"]).add(2);
        family.of(&["GET", "200"]).add(1);
        let mut out = String::new();
        family.write(&mut out);
        let wanted = "# HELP requests_total Requests.\n# TYPE requests_total counter\nrequests_total{verb=\"GET\",code=\"200\"} 3\n";
        assert_eq!(out, wanted);
        let family: Family<Durations> = Family::new("took_seconds", "Time.", &[]);
        family.of(&[]).observe(Duration::from_millis(2));
        let mut out = String::new();
        family.write(&mut out);
        assert!(out.contains("took_seconds_bucket{le=\"0.001\"} 0\ntook_seconds_bucket{le=\"0.0025\"} 1\n"), "{out}");
        assert!(
            out.ends_with("took_seconds_bucket{le=\"+Inf\"} 1\ntook_seconds_sum 0.002\ntook_seconds_count 1\n"),
            "{out}"
        );
    }

    #[test]
    fn a_family_does_not_grow_for_ever() {
        let family: Family<Gauge> = Family::new("x", "X.", &["n"]);
        for number in 0..2 * SERIES_MAX {
            family.of(&[&number.to_string()]).add(1);
        }
        assert_eq!(family.series.read().len(), SERIES_MAX + 1);
    }
}
