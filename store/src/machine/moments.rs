//! PURE: when which revision was the newest: a row per second in which something was applied, so that the past is found by
//! the clock as well.

use bytes::{BufMut, Bytes, BytesMut};

use crate::api::Revision;
use crate::engine::{Batch, Family, Snapshot};

/// What rows in `Family::Meta` begin with; a second since 1970 follows, and the value is the newest revision before it.
const PREFIX: &[u8] = b"moment/";
/// Behind all of them.
const END: &[u8] = b"moment0";

/// A second since 1970, for people.
pub(crate) fn shown(second: i64) -> String {
    let Ok(time) = time::OffsetDateTime::from_unix_timestamp(second) else { return "an unknown time".to_owned() };
    let (date, (hour, minute, second)) = (time.date(), time.to_hms());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn row(second: i64) -> Bytes {
    let mut row = BytesMut::with_capacity(PREFIX.len() + 8);
    row.put_slice(PREFIX);
    // Shifted, so that times before 1970 come first.
    row.put_u64(second.cast_unsigned() ^ (1 << 63));
    row.freeze()
}

fn parse((row, value): &(Bytes, Bytes)) -> Option<(i64, Revision)> {
    let second = row.strip_prefix(PREFIX)?.try_into().ok().map(u64::from_be_bytes)?;
    Some(((second ^ (1 << 63)).cast_signed(), Revision::from_be_bytes(value.as_ref().try_into().ok()?)))
}

/// The first second from one on in which something was applied, and the newest revision before it.
fn first(snapshot: &dyn Snapshot, from: i64) -> Option<(i64, Revision)> {
    snapshot.scan(Family::Meta, &row(from), Some(END)).next().and_then(|pair| parse(&pair))
}

/// Notes that a second begins, as the machine's clock goes from one time to another, milliseconds, at a revision.
pub(crate) fn note(batch: &mut Batch, (from, to): (i64, i64), revision: Revision) {
    if to.div_euclid(1000) > from.div_euclid(1000) {
        batch.put(Family::Meta, row(to.div_euclid(1000)), revision.to_be_bytes().to_vec());
    }
}

/// The newest revision at the end of a second; none when nothing is known to have come later.
pub(crate) fn revision_at(snapshot: &dyn Snapshot, second: i64) -> Option<Revision> {
    first(snapshot, second.checked_add(1)?).map(|(_, revision)| revision)
}

/// The first second that is known.
pub(crate) fn begin(snapshot: &dyn Snapshot) -> Option<i64> {
    first(snapshot, i64::MIN).map(|(second, _)| second)
}

/// The second in which a revision was written, where that is known; `now`: the machine's clock, seconds.
pub(crate) fn second_of(snapshot: &dyn Snapshot, revision: Revision, now: i64) -> Option<i64> {
    // The last second before which all revisions are older.
    let (mut low, mut high) = (begin(snapshot)?, now);
    let older = |second| first(snapshot, second).filter(|(_, before)| *before < revision);
    let mut found = older(low)?.0;
    while low <= high {
        let middle = low + (high - low) / 2;
        match older(middle) {
            Some((second, _)) => (found, low) = (second, second + 1),
            None => high = middle - 1,
        }
    }
    Some(found)
}

/// Forgets seconds at whose beginning the newest revision was older than one: a bounded number of them.
pub(crate) fn forget(snapshot: &dyn Snapshot, before: Revision, limit: usize, batch: &mut Batch) {
    let rows = snapshot.scan(Family::Meta, PREFIX, Some(END));
    let old = rows.take(limit).take_while(|pair| parse(pair).is_some_and(|(_, revision)| revision < before));
    old.for_each(|(row, _)| batch.delete(Family::Meta, row));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::Engine;
    use crate::engine::memory::Memory;

    fn noted(times: &[i64]) -> Arc<dyn Snapshot> {
        let (memory, mut batch, mut clock) = (Memory::default(), Batch::default(), 0);
        for (revision, time) in (1..).zip(times) {
            note(&mut batch, (clock, clock.max(*time)), revision);
            clock = clock.max(*time);
        }
        memory.write(batch).expect("written");
        memory.snapshot()
    }

    proptest! {
        #[test]
        fn the_past_is_found_by_the_clock(mut times in proptest::collection::vec(1_000_i64..30_000, 1..40)) {
            // Revision n + 2 is written at the n-th time; a store begins with revision 1.
            times.sort_unstable();
            let snapshot = noted(&times);
            let newest = times.len() as Revision + 1;
            for second in 0..31 {
                let written = times.iter().filter(|time| time.div_euclid(1000) <= second).count() as Revision;
                prop_assert_eq!(revision_at(&*snapshot, second).unwrap_or(newest), written + 1);
            }
            for (revision, time) in (2..).zip(&times) {
                prop_assert_eq!(second_of(&*snapshot, revision, 30), Some(time.div_euclid(1000)));
            }
            prop_assert_eq!(begin(&*snapshot), Some(times[0].div_euclid(1000)));
            prop_assert_eq!(second_of(&*snapshot, 1, 30), None);
        }
    }

    #[test]
    fn seconds_that_are_older_than_what_is_kept_are_forgotten() {
        let memory = Memory::default();
        let mut batch = Batch::default();
        for (second, revision) in [(1, 1), (2, 5), (3, 5), (4, 9)] {
            note(&mut batch, (second * 1000 - 1, second * 1000), revision);
        }
        memory.write(batch).expect("written");
        let mut batch = Batch::default();
        forget(&*memory.snapshot(), 6, 2, &mut batch);
        memory.write(batch).expect("written");
        assert_eq!(begin(&*memory.snapshot()), Some(3), "two at a time");
        let mut batch = Batch::default();
        forget(&*memory.snapshot(), 6, 2, &mut batch);
        memory.write(batch).expect("written");
        assert_eq!(begin(&*memory.snapshot()), Some(4));
    }
}
