//! PURE: the log's entries. The newest lie in memory; older ones are known by their places on disk, once they are there.

use std::collections::VecDeque;

use bytes::Bytes;

/// Where an entry's record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment's number.
    pub(super) sequence: u64,
    /// Bytes from its beginning.
    pub(super) offset: u64,
}

/// An entry as a reader finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Row {
    Here(Bytes),
    /// On disk, with so many bytes.
    There(Place, usize),
}

#[derive(Debug)]
struct Held {
    data: Option<Bytes>,
    place: Option<Place>,
    length: usize,
}

/// Entries with consecutive indexes.
#[derive(Debug)]
pub(super) struct Entries {
    held: VecDeque<Held>,
    /// The index of the first one.
    first: u64,
    /// Of all, and of those in memory.
    bytes: u64,
    resident: u64,
    /// So many of the first are not in memory.
    away: usize,
    resident_max: u64,
}

impl Entries {
    /// `resident_max`: bytes in memory, about; entries that are not on disk yet stay there whatever it says.
    pub(super) fn new(resident_max: u64) -> Self {
        Entries { held: VecDeque::new(), first: 0, bytes: 0, resident: 0, away: 0, resident_max }
    }

    /// Of all entries.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The indexes of the first and the last one.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        (!self.held.is_empty()).then(|| (self.first, self.first + self.held.len() as u64 - 1))
    }

    /// Adds one behind the last, whose index is the one before; the first may have any.
    pub(super) fn push(&mut self, index: u64, data: Bytes, place: Option<Place>) {
        if self.held.is_empty() {
            self.first = index;
        }
        self.bytes += data.len() as u64;
        self.resident += data.len() as u64;
        self.held.push_back(Held { length: data.len(), data: Some(data), place });
        self.release();
    }

    /// Notes where an entry lies, if it is still the one that was written: its bytes are the same ones.
    pub(super) fn settle(&mut self, index: u64, data: &Bytes, place: Place) {
        let Some(held) = self.at(index).and_then(|at| self.held.get_mut(at)) else { return };
        let same = held.data.as_ref().is_some_and(|held| held.as_ptr() == data.as_ptr() && held.len() == data.len());
        // Empty data has no address of its own; it is nothing to release either.
        if same && !data.is_empty() {
            held.place = Some(place);
            self.release();
        }
    }

    /// Removes those above an index.
    pub(super) fn cut_after(&mut self, index: u64) {
        while self.range().is_some_and(|(_, last)| last > index) {
            let gone = self.held.pop_back();
            self.forget(gone);
            self.away = self.away.min(self.held.len());
        }
    }

    /// Removes those up to an index.
    pub(super) fn cut_upto(&mut self, index: u64) {
        while self.range().is_some_and(|(first, _)| first <= index) {
            let gone = self.held.pop_front();
            self.forget(gone);
            self.away = self.away.saturating_sub(1);
            self.first += 1;
        }
    }

    /// Those with indexes in `from..to`.
    pub(super) fn rows(&self, from: u64, to: u64) -> Vec<(u64, Row)> {
        let Some((first, last)) = self.range() else { return Vec::new() };
        let row = |index: u64| {
            let held = self.at(index).map(|at| &self.held[at])?;
            let there = || held.place.map(|place| Row::There(place, held.length));
            Some((index, held.data.clone().map(Row::Here).or_else(there)?))
        };
        (from.max(first)..to.min(last + 1)).map_while(row).collect()
    }

    /// The last one, if any, behind which there are more than so many bytes of newer ones.
    pub(super) fn last_but(&self, bytes: u64) -> Option<u64> {
        let (first, last) = self.range()?;
        let mut newer = 0;
        let found = (first..=last).rev().find(|index| {
            newer += self.at(*index).map_or(0, |at| self.held[at].length as u64);
            newer > bytes
        });
        found?.checked_sub(1).filter(|index| *index >= first)
    }

    fn at(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.first)?).ok().filter(|at| *at < self.held.len())
    }

    fn forget(&mut self, gone: Option<Held>) {
        let Some(gone) = gone else { return };
        self.bytes -= gone.length as u64;
        if gone.data.is_some() {
            self.resident -= gone.length as u64;
        }
    }

    fn release(&mut self) {
        while self.resident > self.resident_max
            && let Some(oldest) = self.held.get_mut(self.away)
            && (oldest.place.is_some() || oldest.length == 0)
        {
            // Nothing is won by an empty one, which is never settled.
            oldest.data = oldest.data.take().filter(Bytes::is_empty);
            self.resident -= oldest.length as u64;
            self.away += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64) -> Place {
        Place { sequence: 1, offset }
    }

    fn data(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn what_is_on_disk_and_old_leaves_memory() {
        let mut entries = Entries::new(6);
        let rows = [data("aaaa"), data("bbbb"), data("cccc")];
        for (index, row) in (5..).zip(&rows) {
            entries.push(index, row.clone(), None);
        }
        assert!(entries.rows(5, 8).iter().all(|(_, row)| matches!(row, Row::Here(_))), "nothing is on disk yet");
        entries.settle(6, &rows[1], place(20));
        assert!(matches!(entries.rows(5, 6)[0].1, Row::Here(_)), "the oldest is not on disk yet");
        entries.settle(5, &rows[0], place(10));
        let found = entries.rows(0, 100);
        assert_eq!(found[0], (5, Row::There(place(10), 4)));
        assert_eq!(found[1], (6, Row::There(place(20), 4)));
        assert_eq!(found[2], (7, Row::Here(rows[2].clone())));
        assert_eq!((entries.bytes(), entries.range()), (12, Some((5, 7))));
        entries.cut_upto(5);
        assert_eq!(entries.rows(0, 100).len(), 2);
        entries.cut_after(5);
        assert_eq!((entries.bytes(), entries.range(), entries.resident, entries.away), (0, None, 0, 0));
    }

    #[test]
    fn a_place_of_what_was_replaced_is_not_taken() {
        let mut entries = Entries::new(0);
        let (old, new) = (data("old"), data("new"));
        entries.push(5, old.clone(), None);
        entries.cut_after(4);
        entries.push(5, new.clone(), None);
        entries.settle(5, &old, place(10));
        assert_eq!(entries.rows(5, 6), [(5, Row::Here(new.clone()))]);
        entries.settle(5, &new, place(20));
        assert_eq!(entries.rows(5, 6), [(5, Row::There(place(20), 3))]);
    }

    #[test]
    fn the_last_before_some_bytes() {
        let mut entries = Entries::new(100);
        for index in 5..9 {
            entries.push(index, data("1234"), None);
        }
        assert_eq!(
            [entries.last_but(0), entries.last_but(4), entries.last_but(12), entries.last_but(16)],
            [Some(7), Some(6), None, None]
        );
    }
}
