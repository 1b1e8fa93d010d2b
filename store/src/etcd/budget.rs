//! Memory for answers that must be put together before they go out: bounded for the whole server.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// Of all such answers together, bytes.
const BYTES_MAX: u32 = 256 << 20;
/// Answers below this are not counted.
const SMALL_BYTES: usize = 1 << 20;
/// What is not there by then is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

/// Memory that an answer was promised, given back when it has gone out.
pub(super) struct Held {
    _permit: OwnedSemaphorePermit,
}

impl Default for Budget {
    fn default() -> Self {
        Budget(Arc::new(Semaphore::new(BYTES_MAX as usize)))
    }
}

impl Budget {
    /// Waits until there is room for an answer, in turn; one that is larger than all there is waits for all of it.
    ///
    /// # Errors
    /// When others, who read slowly, do not give it back in time.
    pub(super) async fn hold(&self, bytes: usize) -> Result<Option<Held>, Status> {
        if bytes < SMALL_BYTES {
            return Ok(None);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(BYTES_MAX);
        let permit = tokio::time::timeout(PATIENCE, self.0.clone().acquire_many_owned(bytes)).await;
        let permit = permit.ok().and_then(Result::ok);
        let permit = permit.ok_or_else(|| Status::resource_exhausted("etcdserver: too many requests"))?;
        Ok(Some(Held { _permit: permit }))
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
}
