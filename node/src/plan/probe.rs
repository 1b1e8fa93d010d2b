//! When a probe's results count: thresholds, without a clock or a connection.

use k8s_openapi::api::core::v1::Probe;

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Until it succeeds, the others wait; when it fails for good, the container is killed.
    Startup,
    /// When it fails for good, the container is killed.
    Liveness,
    /// While it fails, the container gets no traffic.
    Readiness,
}

impl Kind {
    /// As events write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// Counts results of one probe of one container instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    success: u32,
    failure: u32,
    last: Option<bool>,
    run: u32,
}

impl Counter {
    /// A counter with the probe's thresholds (success 1 and failure 3 if unset).
    pub fn new(probe: &Probe) -> Self {
        let at_least_1 = |n: Option<i32>, default| n.and_then(|n| u32::try_from(n).ok()).unwrap_or(default).max(1);
        Self {
            success: at_least_1(probe.success_threshold, 1),
            failure: at_least_1(probe.failure_threshold, 3),
            last: None,
            run: 0,
        }
    }

    /// Whether people are told of the last result: of failures that double in number, for each further one says less.
    pub fn worth_telling(&self) -> bool {
        self.last == Some(false) && self.run.is_power_of_two()
    }

    /// Takes one result in; the verdict when a threshold has been reached.
    pub fn count(&mut self, succeeded: bool) -> Option<bool> {
        self.run = if self.last == Some(succeeded) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(succeeded);
        let threshold = if succeeded { self.success } else { self.failure };
        (self.run >= threshold).then_some(succeeded)
    }
}

#[cfg(test)]
mod tests {
    use super::{Counter, Probe};

    #[test]
    fn of_many_failures_a_few_are_told() {
        let mut counter = Counter::new(&Probe::default());
        let results = std::iter::repeat_n(false, 9).chain([true, false]);
        let told = results.enumerate().filter(|(_, result)| {
            counter.count(*result);
            counter.worth_telling()
        });
        let told: Vec<usize> = told.map(|(at, _)| at + 1).collect();
        assert_eq!(told, [1, 2, 4, 8, 11]);
    }

    #[test]
    fn a_verdict_needs_its_threshold_in_a_row() {
        let probe = Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Probe::default() };
        let mut counter = Counter::new(&probe);
        let script = [
            (true, None),
            (true, Some(true)),
            (false, None),
            (false, None),
            (true, None),
            (false, None),
            (false, None),
            (false, Some(false)),
            (false, Some(false)),
        ];
        for (at, (result, verdict)) in script.into_iter().enumerate() {
            assert_eq!(counter.count(result), verdict, "result {at}");
        }
    }
}
