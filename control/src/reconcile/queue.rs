//! PURE: which keys wait to be planned: at once, in order and each once; later, at a time; after failures, ever later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::registry::key::Key;

/// After a first failure.
const DELAY: Duration = Duration::from_millis(20);
/// After many.
const DELAY_MAX: Duration = Duration::from_secs(30);

/// A key, and the row of the table that plans it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Work {
    /// Place in the table of controllers.
    pub controller: usize,
    /// What it looks at.
    pub key: Key,
}

/// Waiting work; bounded by the number of objects.
#[derive(Debug, Default)]
pub struct Queue {
    ready: VecDeque<Work>,
    waiting: BTreeSet<Work>,
    later: BTreeMap<Work, Instant>,
    times: BTreeSet<(Instant, Work)>,
    failures: BTreeMap<Work, u32>,
    depths: BTreeMap<usize, usize>,
}

impl Queue {
    /// To be planned soon; once is enough.
    pub fn add(&mut self, work: Work) {
        if self.waiting.insert(work.clone()) {
            *self.depths.entry(work.controller).or_default() += 1;
            self.ready.push_back(work);
        }
    }

    /// To be planned at a time, unless that happens earlier anyway.
    pub fn add_at(&mut self, time: Instant, work: Work) {
        match self.later.get(&work) {
            Some(held) if *held <= time => return,
            Some(held) => {
                self.times.remove(&(*held, work.clone()));
            }
            None => {}
        }
        self.later.insert(work.clone(), time);
        self.times.insert((time, work));
    }

    /// It did not work: again, later each time.
    pub fn failed(&mut self, now: Instant, work: Work) {
        let failures = self.failures.entry(work.clone()).or_default();
        let delay = DELAY.saturating_mul(1 << (*failures).min(16)).min(DELAY_MAX);
        *failures += 1;
        self.add_at(now + delay, work);
    }

    /// It worked.
    pub fn succeeded(&mut self, work: &Work) {
        self.failures.remove(work);
    }

    /// Makes those ready whose time has come.
    pub fn ripen(&mut self, now: Instant) {
        while let Some((time, work)) = self.times.first().cloned() {
            if time > now {
                break;
            }
            self.times.pop_first();
            self.later.remove(&work);
            self.add(work);
        }
    }

    /// The next one that is ready. What asked to be looked at again meanwhile, even at once, is not: it would be planned
    /// again before anything has changed.
    pub fn take(&mut self) -> Option<Work> {
        let work = self.ready.pop_front()?;
        self.waiting.remove(&work);
        if let Some(depth) = self.depths.get_mut(&work.controller) {
            *depth -= 1;
        }
        Some(work)
    }

    /// How many keys are ready, by place in the table of controllers.
    pub fn depths(&self) -> impl Iterator<Item = (usize, usize)> {
        self.depths.iter().map(|(controller, depth)| (*controller, *depth))
    }

    /// When something is due; none while nothing waits.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        if self.ready.is_empty() { self.times.first().map(|(time, _)| *time) } else { Some(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    fn work(name: &str) -> Work {
        Work { controller: 0, key: Key { kind: kind::core("pods"), namespace: "ns".into(), name: name.into() } }
    }

    #[test]
    fn keys_wait_once_and_in_order() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["b", "a", "b"] {
            queue.add(work(name));
        }
        assert_eq!(queue.depths().collect::<Vec<_>>(), [(0, 2)]);
        let taken: Vec<Work> = std::iter::from_fn(|| queue.take()).collect();
        assert_eq!(taken, [work("b"), work("a")]);
        assert_eq!(queue.depths().collect::<Vec<_>>(), [(0, 0)]);
        assert_eq!(queue.next(now), None);
    }

    #[test]
    fn what_is_to_be_looked_at_again_at_once_waits_for_the_next_round() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(work("a"));
        queue.ripen(now);
        assert_eq!(queue.take(), Some(work("a")));
        queue.add_at(now, work("a"));
        assert_eq!((queue.take(), queue.next(now)), (None, Some(now)));
        queue.ripen(now);
        assert_eq!(queue.take(), Some(work("a")));
    }

    #[test]
    fn the_earlier_time_holds_and_failures_wait_longer() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let second = Duration::from_secs(1);
        queue.add_at(now + 2 * second, work("a"));
        queue.add_at(now + second, work("a"));
        queue.add_at(now + 3 * second, work("a"));
        queue.ripen(now);
        assert_eq!((queue.take(), queue.next(now)), (None, Some(now + second)));
        queue.ripen(now + second);
        assert_eq!(queue.take(), Some(work("a")));
        assert_eq!(queue.next(now), None);
        let mut delays = Vec::new();
        for _ in 0..3 {
            queue.failed(now, work("f"));
            delays.push(queue.next(now).expect("waits") - now);
            queue.ripen(now + second);
            queue.take();
        }
        assert_eq!(delays, [DELAY, 2 * DELAY, 4 * DELAY]);
        queue.succeeded(&work("f"));
        queue.failed(now, work("f"));
        assert_eq!(queue.next(now), Some(now + DELAY));
    }
}
