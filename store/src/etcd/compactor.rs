//! PURE: when history is compacted without being asked.
//!
//! Source: etcd `server/etcdserver/api/v3compactor`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::api::Revision;

/// What is kept of history (`--auto-compaction-mode`, `--auto-compaction-retention`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// What is younger.
    Periodic(Duration),
    /// So many revisions.
    Revision(i64),
}

/// An hour, the longest time between two compactions.
const HOUR: Duration = Duration::from_secs(3600);
/// Between two compactions by number.
const REVISION_EVERY: Duration = Duration::from_secs(300);
/// Looks per compaction.
const DIVISOR: u32 = 10;

impl AutoCompaction {
    /// From the flags' words; none for a retention of 0. Without a unit, hours are meant.
    ///
    /// # Errors
    /// When they are not what etcd takes; the text says why.
    pub fn parse(mode: &str, retention: &str) -> Result<Option<Self>, String> {
        let wrong = || format!("error parsing CompactionRetention: {retention:?} is neither a number nor a duration");
        let number: Option<u64> = retention.parse().ok();
        let auto = match mode {
            "periodic" => match number {
                Some(hours) => {
                    AutoCompaction::Periodic(HOUR.saturating_mul(u32::try_from(hours).map_err(|_| wrong())?))
                }
                None => AutoCompaction::Periodic(duration(retention).ok_or_else(wrong)?),
            },
            "revision" => {
                let kept = number.and_then(|number| i64::try_from(number).ok()).ok_or_else(wrong)?;
                AutoCompaction::Revision(kept)
            }
            other => return Err(format!("unknown auto-compaction-mode {other:?}")),
        };
        let none = matches!(auto, AutoCompaction::Periodic(Duration::ZERO) | AutoCompaction::Revision(0));
        Ok((!none).then_some(auto))
    }
}

/// `1h30m`, `500ms`, as Go writes durations.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, more) = rest.split_at(end);
        let end = more.find(|letter: char| letter.is_ascii_digit()).unwrap_or(more.len());
        let (unit, more) = more.split_at(end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = more;
    }
    (!text.is_empty()).then_some(total)
}

/// Decides; is shown the newest revision `every` so often.
#[derive(Debug)]
pub(crate) struct Compactor {
    auto: AutoCompaction,
    /// Newest revisions of former looks, the oldest first.
    seen: VecDeque<Revision>,
    /// Looks since the last compaction.
    looks: u32,
    begun: bool,
    last: Revision,
}

impl Compactor {
    pub(crate) fn new(auto: AutoCompaction) -> Self {
        Compactor { auto, seen: VecDeque::new(), looks: 0, begun: false, last: 0 }
    }

    /// Between two looks.
    pub(crate) fn every(&self) -> Duration {
        match self.auto {
            AutoCompaction::Periodic(period) => (period.min(HOUR) / DIVISOR).max(Duration::from_millis(10)),
            AutoCompaction::Revision(_) => REVISION_EVERY,
        }
    }

    /// What to compact to now, given the newest revision.
    pub(crate) fn look(&mut self, newest: Revision) -> Option<Revision> {
        match self.auto {
            AutoCompaction::Periodic(period) => {
                // As many looks as a period has, and the one at its beginning.
                let kept = usize::try_from(period.as_nanos() / self.every().as_nanos().max(1)).unwrap_or(usize::MAX);
                let oldest = self.seen.front().copied();
                let due = if self.begun { u32::try_from(kept).unwrap_or(u32::MAX).min(DIVISOR) } else { u32::MAX };
                let whole = self.seen.len() > kept;
                self.seen.push_back(newest);
                while self.seen.len() > kept.saturating_add(1) {
                    self.seen.pop_front();
                }
                self.looks += 1;
                let first = !self.begun && whole;
                oldest.filter(|revision| (first || self.looks >= due) && whole && *revision != self.last)
            }
            AutoCompaction::Revision(kept) => {
                Some(newest - kept).filter(|revision| *revision > 0 && *revision != self.last)
            }
        }
    }

    /// It was compacted to.
    pub(crate) fn done(&mut self, revision: Revision) {
        (self.last, self.looks, self.begun) = (revision, 0, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn flags_are_read_as_etcd_reads_them() {
        let periodic = |time| Ok(Some(AutoCompaction::Periodic(time)));
        assert_eq!(AutoCompaction::parse("periodic", "1"), periodic(HOUR));
        assert_eq!(AutoCompaction::parse("periodic", "5m"), periodic(5 * MINUTE));
        assert_eq!(AutoCompaction::parse("periodic", "1h30m"), periodic(90 * MINUTE));
        assert_eq!(AutoCompaction::parse("periodic", "0"), Ok(None));
        assert_eq!(AutoCompaction::parse("revision", "1000"), Ok(Some(AutoCompaction::Revision(1000))));
        for (mode, retention) in [("revision", "5m"), ("periodic", "soon"), ("never", "1"), ("periodic", "")] {
            assert!(AutoCompaction::parse(mode, retention).is_err(), "{mode} {retention}");
        }
    }

    /// What a compactor asks for when each look finds ten revisions more.
    fn asked(auto: AutoCompaction, looks: i64) -> Vec<(i64, Revision)> {
        let mut compactor = Compactor::new(auto);
        let mut found = Vec::new();
        for look in 0..looks {
            if let Some(revision) = compactor.look(look * 10 + 10) {
                compactor.done(revision);
                found.push((look, revision));
            }
        }
        found
    }

    #[test]
    fn a_period_is_kept_and_then_compacted_once_per_period() {
        // Ten looks per period: after the first whole one to its beginning, then once each.
        assert_eq!(asked(AutoCompaction::Periodic(10 * MINUTE), 45), [(11, 10), (21, 110), (31, 210), (41, 310)]);
    }

    #[test]
    fn of_a_long_period_an_hour_goes_at_once() {
        let found = asked(AutoCompaction::Periodic(3 * HOUR), 60);
        assert_eq!(found, [(31, 10), (41, 110), (51, 210)]);
    }

    #[test]
    fn revisions_beyond_a_number_go() {
        assert_eq!(asked(AutoCompaction::Revision(25), 5), [(2, 5), (3, 15), (4, 25)]);
        let mut idle = Compactor::new(AutoCompaction::Revision(5));
        assert_eq!(idle.look(10), Some(5));
        idle.done(5);
        assert_eq!(idle.look(10), None, "nothing was written since");
    }
}
