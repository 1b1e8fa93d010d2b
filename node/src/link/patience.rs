//! PURE: when an agent gives a server up, and how long it waits before it asks again.

use std::time::{Duration, Instant};

/// A server that has said nothing for so long is given up: sooner than the others give up a node (3 s).
const SILENCE: Duration = Duration::from_secs(2);
/// First and longest wait before servers that were all tried are tried again.
const WAIT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// A session that has lasted so long was worth the waiting.
const LASTING: Duration = Duration::from_secs(10);

/// For how long the server has been silent, without the time in which the agent itself did not get to listen.
#[derive(Debug)]
pub(super) struct Silence {
    since: Instant,
    deaf: Duration,
}

impl Silence {
    pub(super) fn new(now: Instant) -> Self {
        Silence { since: now, deaf: Duration::ZERO }
    }

    /// The server has said something.
    pub(super) fn heard(&mut self, now: Instant) {
        *self = Silence::new(now);
    }

    /// A look that came so much too late: the machine is busy, and what the server said may wait unread. Whether the
    /// server is to be given up.
    pub(super) fn ends(&mut self, now: Instant, late: Duration) -> bool {
        self.deaf += late;
        now.saturating_duration_since(self.since).saturating_sub(self.deaf) > SILENCE
    }
}

/// Waits that grow until a session has lasted: servers that are too busy for their agents must not be busy with their
/// coming back as well. Each agent's are a little different, so that they do not all come at once.
#[derive(Debug)]
pub(super) struct Waits {
    wait: Duration,
    /// Percent.
    share: u32,
}

impl Waits {
    pub(super) fn new(seed: usize) -> Self {
        Waits { wait: WAIT.0, share: 75 + u32::try_from(seed % 50).unwrap_or(0) }
    }

    /// A session has ended.
    pub(super) fn served(&mut self, lasted: Duration) {
        if lasted >= LASTING {
            self.wait = WAIT.0;
        }
    }

    /// How long to wait now; `all`: every server has been tried.
    pub(super) fn next(&mut self, all: bool) -> Duration {
        let wait = self.wait * self.share / 100;
        if all {
            self.wait = (self.wait * 2).min(WAIT.1);
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_agent_takes_no_server_for_silent() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut silence = Silence::new(start);
        assert!(!silence.ends(start + 4 * second, 3 * second), "it did not listen for three of four seconds");
        assert!(!silence.ends(start + 5 * second, Duration::ZERO));
        assert!(silence.ends(start + 6 * second, Duration::ZERO), "it has listened for three");
        silence.heard(start + 6 * second);
        assert!(!silence.ends(start + 8 * second, Duration::ZERO));
        assert!(silence.ends(start + 9 * second, Duration::ZERO));
    }

    #[test]
    fn waits_grow_until_a_session_has_lasted() {
        let mut waits = Waits::new(25);
        assert_eq!([waits.next(false), waits.next(true), waits.next(true)], [WAIT.0, WAIT.0, 2 * WAIT.0]);
        waits.served(Duration::from_secs(2));
        assert_eq!(waits.next(false), 4 * WAIT.0, "a short one changes nothing");
        for _ in 0..10 {
            waits.next(true);
        }
        assert_eq!(waits.next(true), WAIT.1);
        waits.served(LASTING);
        assert_eq!(waits.next(true), WAIT.0);
        assert_ne!(Waits::new(1).next(true), Waits::new(2).next(true));
    }
}
