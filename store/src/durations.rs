//! How long things took: counts by upper bound, without locks.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Upper bounds, seconds; what took longer is counted beyond them.
pub const BOUNDS: [f64; 17] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// Durations, counted by how long they are.
#[derive(Debug)]
pub struct Durations {
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
    /// When the one under way began, microseconds after `ORIGIN`; 0: none is.
    begun: AtomicU64,
}

/// What times are counted from.
static ORIGIN: OnceLock<Instant> = OnceLock::new();

fn micros_now() -> u64 {
    u64::try_from(ORIGIN.get_or_init(Instant::now).elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
}

impl Default for Durations {
    fn default() -> Self {
        let counts = [const { AtomicU64::new(0) }; BOUNDS.len() + 1];
        Durations { counts, micros: AtomicU64::new(0), begun: AtomicU64::new(0) }
    }
}

impl Durations {
    /// Notes that one begins.
    pub fn begin(&self) {
        self.begun.store(micros_now(), Ordering::Relaxed);
    }

    /// How long the one under way has taken so far.
    pub fn under_way(&self) -> Option<Duration> {
        let begun = self.begun.load(Ordering::Relaxed);
        (begun != 0).then(|| Duration::from_micros(micros_now().saturating_sub(begun)))
    }

    /// Counts one, which is over.
    pub fn observe(&self, time: Duration) {
        self.begun.store(0, Ordering::Relaxed);
        let seconds = time.as_secs_f64();
        let at = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many there were within each bound; the last is all of them.
    pub fn within(&self) -> [u64; BOUNDS.len() + 1] {
        let mut sum = 0;
        std::array::from_fn(|at| {
            sum += self.counts[at].load(Ordering::Relaxed);
            sum
        })
    }

    /// All of them together.
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_cumulative() {
        let durations = Durations::default();
        for millis in [0, 1, 3, 100_000] {
            durations.observe(Duration::from_millis(millis));
        }
        let within = durations.within();
        assert_eq!((within[0], within[3], within[5], within[BOUNDS.len() - 1], within[BOUNDS.len()]), (1, 2, 3, 3, 4));
        assert_eq!(durations.under_way(), None);
        durations.begin();
        assert!(durations.under_way().is_some());
        durations.observe(Duration::ZERO);
        assert_eq!(durations.under_way(), None);
        assert_eq!(durations.total(), Duration::from_millis(100_004));
    }
}
