//! What a disk was told, in order, and what of it lies there after its power went at a chosen moment.

use crate::seed::Seed;

/// What a disk writes whole or not at all, bytes.
const SECTOR: usize = 512;

/// What a disk was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Bytes for a place; they may be forgotten until the next flush.
    Write { offset: u64, data: Vec<u8> },
    /// Everything before it is durable.
    Flush,
}

/// Which of the writes that no flush followed lie on the disk. Any order of writes that do not overlap leaves the same as
/// some set of them, and what overlaps is never under way at once: sets say everything that reordering could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Nothing,
    All,
    /// The first ones.
    Prefix,
    /// Each by chance.
    Some,
    /// Each by chance, and of the last of them only its first sectors.
    Torn,
}

const KEPT: [Kept; 5] = [Kept::Some, Kept::Torn, Kept::Prefix, Kept::Nothing, Kept::All];

/// A state of the disk.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// So many events had happened.
    pub(crate) position: usize,
    /// So many of them are durable for certain.
    pub(crate) durable: usize,
    pub(crate) kept: Kept,
    /// Of those after them, the writes that lie on the disk too, with how many bytes of each.
    pub(crate) writes: Vec<(usize, usize)>,
    /// Writes that no flush followed.
    pub(crate) open: usize,
}

/// The state with a number, of so many: their moments are spread evenly over the stream.
pub(crate) fn cut(events: &[Event], number: u64, states: u64, seed: u64) -> Cut {
    let mut seed = Seed::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let length = u128::from(events.len() as u64);
    let spread = u128::from(number) * length / u128::from(states.max(1));
    let position = usize::try_from(spread).unwrap_or(events.len()).min(events.len());
    let durable = events[..position].iter().rposition(|event| *event == Event::Flush).map_or(0, |flush| flush + 1);
    let open = position - durable;
    let kept = KEPT[usize::try_from(seed.below(KEPT.len() as u64)).unwrap_or(0)];
    let first = seed.below(open as u64 + 1);
    let mut writes = Vec::new();
    for (place, event) in events[durable..position].iter().enumerate() {
        let Event::Write { data, .. } = event else { continue };
        let stays = match kept {
            Kept::Nothing => false,
            Kept::All => true,
            Kept::Prefix => (place as u64) < first,
            Kept::Some | Kept::Torn => seed.below(2) == 0,
        };
        if stays {
            writes.push((durable + place, data.len()));
        }
    }
    if let (Kept::Torn, Some((_, bytes))) = (kept, writes.last_mut()) {
        let sectors = seed.below((*bytes / SECTOR).max(1) as u64);
        *bytes = usize::try_from(sectors).unwrap_or(0) * SECTOR;
    }
    Cut { position, durable, kept, writes, open }
}

/// A stream as bytes: a kind, a place and a length, little-endian, and the data.
pub(crate) fn encode(events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        let (kind, offset, data): (u8, u64, &[u8]) = match event {
            Event::Write { offset, data } => (1, *offset, data),
            Event::Flush => (2, 0, &[]),
        };
        bytes.push(kind);
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&(data.len() as u64).to_le_bytes());
        bytes.extend_from_slice(data);
    }
    bytes
}

/// The reverse; none where the bytes are no stream.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<Event>> {
    let mut events = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (data, rest) = rest.split_at_checked(length)?;
        events.push(match kind {
            1 => Event::Write { offset: u64::from_le_bytes(*offset), data: data.to_vec() },
            2 => Event::Flush,
            _ => return None,
        });
        bytes = rest;
    }
    Some(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<Event> {
        let write = |offset| Event::Write { offset, data: vec![1; 4096] };
        vec![write(0), Event::Flush, write(4096), write(8192), write(0), Event::Flush, write(512)]
    }

    #[test]
    fn what_was_flushed_stays_and_what_came_later_is_not_there() {
        let events = stream();
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..700 {
            let cut = cut(&events, number, 700, 7);
            assert!(!events[cut.durable..cut.position].contains(&Event::Flush));
            assert!(cut.durable == 0 || events[cut.durable - 1] == Event::Flush);
            for (index, bytes) in &cut.writes {
                assert!((cut.durable..cut.position).contains(index) && *bytes <= 4096 && bytes % SECTOR == 0);
            }
            seen.insert((cut.position, cut.writes));
        }
        assert!(seen.len() > 20, "{} states differ", seen.len());
    }

    #[test]
    fn a_state_is_the_same_by_its_number_and_seed() {
        let events = stream();
        let of = |seed| (0..50).map(|number| cut(&events, number, 50, seed).writes).collect::<Vec<_>>();
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }

    #[test]
    fn a_stream_is_read_back_and_a_cut_one_is_none() {
        let bytes = encode(&stream());
        assert_eq!(decode(&bytes), Some(stream()));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
    }
}
