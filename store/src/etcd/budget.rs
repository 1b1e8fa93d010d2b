//! Memory for answers that must be put together before they go out: bounded for the whole server.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of all such answers together, bytes.
const BYTES_MAX: u32 = 256 << 20;
/// Answers below this are not counted.
const SMALL_BYTES: usize = 1 << 20;
/// An answer lies in memory as rows and as what goes out.
const COPIES: usize = 2;

/// See the module.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

/// Memory that an answer was promised, given back when it has gone out.
#[derive(Clone)]
pub(super) struct Held {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Default for Budget {
    fn default() -> Self {
        Budget(Arc::new(Semaphore::new(BYTES_MAX as usize)))
    }
}

impl Budget {
    /// Waits until there is room for an answer, in turn; one that is larger than all there is waits for all of it.
    pub(super) async fn hold(&self, bytes: usize) -> Option<Held> {
        if bytes < SMALL_BYTES {
            return None;
        }
        let bytes = u32::try_from(bytes.saturating_mul(COPIES)).unwrap_or(u32::MAX).min(BYTES_MAX);
        let permit = self.0.clone().acquire_many_owned(bytes).await.ok()?;
        Some(Held { _permit: Arc::new(permit) })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn large_answers_wait_for_each_other_and_small_ones_for_nobody() {
        let budget = Budget::default();
        let first = budget.hold(BYTES_MAX as usize).now_or_never().expect("there is room");
        assert!(budget.hold(2 << 20).now_or_never().is_none());
        assert!(budget.hold(1000).now_or_never().expect("not counted").is_none());
        drop(first);
        assert!(budget.hold(2 << 20).now_or_never().expect("room again").is_some());
    }
}
