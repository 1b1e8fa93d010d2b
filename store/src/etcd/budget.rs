//! Memory for answers that must be put together before they go out: bounded for the whole server.
//!
//! Whoever reads slowly holds it only as long as nobody else waits for it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::Status;

/// Of all such answers together, bytes.
const BYTES_MAX: u32 = 256 << 20;
/// Answers below this are not counted.
pub(in crate::etcd) const SMALL_BYTES: usize = 1 << 20;
/// What is not there by then is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Whoever waits looks so often whether somebody may be cut off.
const LOOK: Duration = Duration::from_millis(500);
/// An answer of which nothing was taken for so long may be cut off.
const STILL_MAX: Duration = Duration::from_secs(5);
/// So may one that is taken at less than this on average, bytes each second, after `STILL_MAX`.
const RATE_MIN: u64 = 1 << 20;

/// See the module.
#[derive(Clone)]
pub(in crate::etcd) struct Budget(Arc<Inner>);

struct Inner {
    room: Arc<Semaphore>,
    /// Answers that are going out.
    going: Mutex<Vec<Weak<dyn Cut>>>,
}

/// Memory that an answer was promised.
pub(in crate::etcd) struct Held {
    permit: OwnedSemaphorePermit,
    budget: Budget,
}

/// What goes out, with the memory that it was promised; gone once its reader was cut off.
pub(super) struct Kept<T>(Arc<Mutex<Going<T>>>);

struct Going<T> {
    kept: Option<(T, OwnedSemaphorePermit)>,
    pace: Pace,
}

/// How fast an answer is taken.
#[derive(Clone, Copy, Debug)]
struct Pace {
    begun: Instant,
    last: Instant,
    bytes: u64,
}

impl Pace {
    fn slow(self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.begun);
        let still = now.saturating_duration_since(self.last) >= STILL_MAX;
        still || (since >= STILL_MAX && self.bytes < since.as_secs() * RATE_MIN)
    }
}

/// An answer that may be cut off.
trait Cut: Send + Sync {
    /// Gives back its memory if it is taken too slowly.
    fn cut(&self, now: Instant);
}

impl<T: Send> Cut for Mutex<Going<T>> {
    fn cut(&self, now: Instant) {
        let mut going = self.lock();
        let gone = if going.pace.slow(now) { going.kept.take() } else { None };
        drop(going);
        drop(gone);
    }
}

impl Default for Budget {
    fn default() -> Self {
        Budget(Arc::new(Inner { room: Arc::new(Semaphore::new(BYTES_MAX as usize)), going: Mutex::default() }))
    }
}

impl Budget {
    /// Waits until there is room for an answer, in turn; one that is larger than all there is waits for all of it.
    ///
    /// # Errors
    /// When others do not give it back in time.
    pub(in crate::etcd) async fn hold(&self, bytes: usize) -> Result<Option<Held>, Status> {
        if bytes < SMALL_BYTES {
            return Ok(None);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(BYTES_MAX);
        let permit = self.0.room.clone().acquire_many_owned(bytes);
        tokio::pin!(permit);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match tokio::time::timeout(LOOK, &mut permit).await {
                Ok(Ok(permit)) => return Ok(Some(Held { permit, budget: self.clone() })),
                Ok(Err(_)) => break,
                Err(_) => self.cut_slow(Instant::now()),
            }
        }
        Err(Status::resource_exhausted("etcdserver: too many requests"))
    }

    /// Somebody waits: those who do not read, or hardly, give back what they hold.
    fn cut_slow(&self, now: Instant) {
        let going: Vec<_> = self.0.going.lock().iter().filter_map(Weak::upgrade).collect();
        going.iter().for_each(|going| going.cut(now));
    }
}

impl Held {
    /// For what goes out from now on.
    pub(super) fn keep<T: Send + 'static>(self, what: T) -> Kept<T> {
        let now = Instant::now();
        let pace = Pace { begun: now, last: now, bytes: 0 };
        let going = Arc::new(Mutex::new(Going { kept: Some((what, self.permit)), pace }));
        let weak: Weak<Mutex<Going<T>>> = Arc::downgrade(&going);
        let mut all = self.budget.0.going.lock();
        all.retain(|going| going.strong_count() > 0);
        all.push(weak);
        Kept(going)
    }
}

impl<T> Kept<T> {
    /// Takes a part, of so many bytes as it has; none once its reader was cut off.
    pub(super) fn take<P: AsRef<[u8]>>(&self, part: impl FnOnce(&mut T) -> P) -> Option<P> {
        let mut going = self.0.lock();
        let taken = part(&mut going.kept.as_mut()?.0);
        going.pace.last = Instant::now();
        going.pace.bytes += taken.as_ref().len() as u64;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn large_answers_wait_for_each_other_and_small_ones_for_nobody() {
        let budget = Budget::default();
        let first = budget.hold(BYTES_MAX as usize).now_or_never().expect("there is room").expect("held");
        assert!(budget.hold(2 << 20).now_or_never().is_none());
        assert!(budget.hold(1000).now_or_never().expect("not counted").expect("small").is_none());
        drop(first);
        assert!(budget.hold(2 << 20).now_or_never().expect("room again").expect("held").is_some());
    }

    #[tokio::test]
    async fn whoever_does_not_read_gives_way_to_those_who_wait() {
        let budget = Budget::default();
        let held = |bytes| budget.hold(bytes).now_or_never().map(|held| held.expect("there is room").expect("counted"));
        let idle = held(200 << 20).expect("there is room").keep(vec![1_u8; 8]);
        let now = Instant::now();
        budget.cut_slow(now + STILL_MAX - Duration::from_secs(1));
        assert!(idle.take(|bytes| bytes[..1].to_vec()).is_some() && held(200 << 20).is_none());
        let reading = held(50 << 20).expect("there is room").keep(vec![1_u8; 8 << 20]);
        assert!(reading.take(|bytes| bytes.clone()).is_some());
        budget.cut_slow(now + STILL_MAX + Duration::from_secs(1));
        assert!(idle.take(|bytes| bytes[..1].to_vec()).is_none(), "it was cut off");
        assert!(reading.take(|bytes| bytes[..1].to_vec()).is_none(), "nothing was taken for long enough");
        assert!(held(256 << 20).is_some());
    }

    #[tokio::test]
    async fn whoever_waits_cuts_off_and_gets_in() {
        let budget = Budget::default();
        let idle = budget.hold(200 << 20).await.expect("there is room").expect("counted").keep(Vec::<u8>::new());
        let long_ago = Instant::now().checked_sub(STILL_MAX).expect("a machine that runs for long enough");
        idle.0.lock().pace.last = long_ago;
        let begun = Instant::now();
        assert!(budget.hold(200 << 20).await.expect("given way to").is_some());
        assert!(begun.elapsed() < STILL_MAX, "{:?}", begun.elapsed());
        assert!(idle.take(std::mem::take).is_none());
    }

    #[test]
    fn a_trickle_is_slow() {
        let begun = Instant::now();
        let pace = |last: u64, bytes| Pace { begun, last: begun + Duration::from_secs(last), bytes };
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert!(!pace(0, 0).slow(at(4)) && pace(0, 0).slow(at(5)));
        assert!(!pace(60, 60 << 20).slow(at(60)) && pace(60, 59 << 20).slow(at(60)));
    }
}
