//! PURE but for its counters: how much the state may hold, as an operator said.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Looks that must find room before an alarm is cleared.
const ROOMY_LOOKS: u32 = 5;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    /// 0: none.
    bytes: AtomicU64,
    /// As the last look found it, and what was taken since.
    used: AtomicU64,
    roomy: AtomicU32,
}

impl Quota {
    /// Whether it is the first one.
    pub(crate) fn set(&self, bytes: u64) -> bool {
        self.bytes.swap(bytes, Ordering::Relaxed) == 0 && bytes != 0
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes room for a write; false when there is none.
    pub(crate) fn take(&self, cost: u64) -> bool {
        let bytes = self.bytes();
        if bytes == 0 || cost == 0 {
            return true;
        }
        if self.used.load(Ordering::Relaxed).saturating_add(cost) >= bytes {
            return false;
        }
        self.used.fetch_add(cost, Ordering::Relaxed);
        true
    }

    /// Notes the size found; whether an alarm that is raised can be cleared: below nine tenths for some looks in a row.
    pub(crate) fn look(&self, size: u64, raised: bool) -> bool {
        self.used.store(size, Ordering::Relaxed);
        let bytes = self.bytes();
        let roomy = raised && size < bytes - bytes / 10;
        let looks = if roomy { self.roomy.load(Ordering::Relaxed) + 1 } else { 0 };
        let clear = looks >= ROOMY_LOOKS;
        self.roomy.store(if clear { 0 } else { looks }, Ordering::Relaxed);
        clear
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_goes_when_there_has_been_room_for_a_while() {
        let quota = Quota::default();
        assert!(quota.take(1 << 40), "there is none yet");
        assert!(quota.set(1000) && !quota.set(1000));
        quota.look(900, false);
        assert_eq!([quota.take(99), quota.take(1)], [true, false]);
        assert!((0..20).all(|_| !quota.look(900, true)), "not with some to spare");
        let looks: Vec<bool> = (0..6).map(|_| quota.look(899, true)).collect();
        assert_eq!(looks, [false, false, false, false, true, false]);
        assert!(quota.take(50));
    }
}
