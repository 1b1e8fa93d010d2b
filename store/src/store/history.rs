//! How long what is compacted can still be looked back at, on this member.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use tokio_util::sync::CancellationToken;

use crate::config::Retention;
use crate::machine::Machine;
use crate::store::SCRUB_STEP;

/// Between two looks at what is too old or too much.
const LOOK: Duration = Duration::from_secs(10);
/// The part of a disk that is always left to others.
const FREE_PART: u64 = 20;

/// PURE: bytes that may be kept: what was asked for, else a tenth of the disk; less where the disk fills up.
fn room(asked: Option<u64>, total: u64, free: u64) -> u64 {
    asked.unwrap_or(total / 10).min(free.saturating_sub(total / FREE_PART))
}

fn bytes(dir: &Path, asked: Option<u64>) -> u64 {
    match statvfs(dir) {
        Ok(disk) => {
            let (size, unit) = (disk.blocks().saturating_mul(disk.fragment_size()), disk.fragment_size());
            room(asked, size, disk.blocks_available().saturating_mul(unit))
        }
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "cannot tell how full the disk is: no history is kept");
            0
        }
    }
}

/// Removes compacted history in small steps once nobody is to look back at it any more.
pub(super) async fn tend(machine: Machine, retention: Retention, dir: PathBuf, cancel: CancellationToken) {
    let seconds = i64::try_from(retention.time.as_secs()).unwrap_or(i64::MAX);
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = machine.compactions() => {}
            () = cancel.cancelled() => return,
        }
        let (kept, dir) = (machine.clone(), dir.clone());
        let looked = crate::edge::blocking(move || {
            if seconds > 0 {
                kept.keep(seconds, bytes(&dir, retention.bytes_max));
            }
        });
        let _ = looked.await;
        let mut more = true;
        while more && !cancel.is_cancelled() {
            let step = machine.clone();
            let done = crate::edge::blocking(move || step.scrub(SCRUB_STEP)).await;
            more = matches!(done, Ok(Ok(true)));
            if let Ok(Err(error)) = done {
                tracing::error!(%error, "compacted history cannot be removed");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::room;

    #[test]
    fn a_disk_that_fills_up_keeps_less() {
        assert_eq!(room(None, 1000, 900), 100);
        assert_eq!(room(None, 1000, 120), 70);
        assert_eq!(room(None, 1000, 50), 0);
        assert_eq!(room(Some(300), 1000, 900), 300);
        assert_eq!(room(Some(300), 1000, 200), 150);
    }
}
