//! Disks whose bytes lie in this process: one records what it is told, the others are states after a crash, which may be
//! written over what they were made of.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::crash_states::stream::{Cut, Event};

const BLOCK: usize = 4096;
/// What is read of a file at once.
const READ_BYTES: usize = 256 * BLOCK;

/// What a disk can be told.
pub(crate) trait Image: Send + Sync {
    fn read(&self, offset: usize, size: usize) -> Vec<u8>;
    fn write(&self, offset: usize, data: &[u8]);
    fn flush(&self);
}

/// The bytes of a disk: blocks that were never written are zero, and take no room.
#[derive(Clone, Default)]
pub(crate) struct Blocks(HashMap<usize, Vec<u8>>);

/// The parts of a stretch of bytes that lie in one block each: which, where in it they begin, and where they lie in the
/// stretch.
fn parts(offset: usize, size: usize) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (block, within) = ((offset + at) / BLOCK, (offset + at) % BLOCK);
        let part = at..at + (BLOCK - within).min(size - at);
        at = part.end;
        (!part.is_empty()).then_some((block, within, part))
    })
}

impl Blocks {
    /// What lies in a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn of_file(path: &Path) -> std::io::Result<Self> {
        let (mut file, mut blocks, mut offset) = (File::open(path)?, Blocks::default(), 0);
        let (mut buffer, zero) = (vec![0; READ_BYTES], [0; BLOCK]);
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(blocks);
            }
            for (number, piece) in buffer[..read].chunks(BLOCK).enumerate() {
                if *piece != zero[..piece.len()] {
                    blocks.write(offset + number * BLOCK, piece, |_| vec![0; BLOCK]);
                }
            }
            offset += read;
        }
    }

    /// Lays what is held over bytes that begin at a place.
    fn cover(&self, offset: usize, bytes: &mut [u8]) {
        for (block, within, part) in parts(offset, bytes.len()) {
            if let Some(held) = self.0.get(&block) {
                let size = part.len();
                bytes[part].copy_from_slice(&held[within..within + size]);
            }
        }
    }

    fn read(&self, offset: usize, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.cover(offset, &mut bytes);
        bytes
    }

    /// `below` is what a block is that was not held yet.
    fn write(&mut self, offset: usize, data: &[u8], below: impl Fn(usize) -> Vec<u8>) {
        for (block, within, part) in parts(offset, data.len()) {
            let held = self.0.entry(block).or_insert_with(|| below(block));
            held[within..within + part.len()].copy_from_slice(&data[part]);
        }
    }
}

/// A disk that remembers in which order it was told what.
pub(crate) struct Recorder {
    held: Mutex<(Blocks, Vec<Event>)>,
}

impl Recorder {
    pub(crate) fn new(blocks: Blocks) -> Self {
        Recorder { held: Mutex::new((blocks, Vec::new())) }
    }

    /// How many events there were.
    pub(crate) fn position(&self) -> usize {
        self.held.lock().1.len()
    }

    /// All events so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.held.lock().1.clone()
    }
}

impl Image for Recorder {
    fn read(&self, offset: usize, size: usize) -> Vec<u8> {
        self.held.lock().0.read(offset, size)
    }

    fn write(&self, offset: usize, data: &[u8]) {
        let mut held = self.held.lock();
        held.0.write(offset, data, |_| vec![0; BLOCK]);
        held.1.push(Event::Write { offset: offset as u64, data: data.to_vec() });
    }

    fn flush(&self) {
        self.held.lock().1.push(Event::Flush);
    }
}

/// A disk that was written up to some event; it only ever goes on.
pub(crate) struct Base {
    blocks: Arc<RwLock<Blocks>>,
    done: usize,
}

impl Base {
    pub(crate) fn new(blocks: Blocks) -> Self {
        Base { blocks: Arc::new(RwLock::new(blocks)), done: 0 }
    }

    /// The disk as it is after a crash.
    pub(crate) fn state(&mut self, events: &[Event], cut: &Cut) -> State {
        let mut blocks = self.blocks.write();
        for event in events.get(self.done..cut.durable).unwrap_or_default() {
            if let Event::Write { offset, data } = event {
                blocks.write(usize::try_from(*offset).unwrap_or(usize::MAX), data, |_| vec![0; BLOCK]);
            }
        }
        self.done = self.done.max(cut.durable);
        drop(blocks);
        let state = State { base: self.blocks.clone(), changed: Mutex::default() };
        for (index, bytes) in &cut.writes {
            if let Event::Write { offset, data } = &events[*index] {
                state.write(usize::try_from(*offset).unwrap_or(usize::MAX), &data[..*bytes]);
            }
        }
        state
    }
}

/// What differs from the base that it stands on.
pub(crate) struct State {
    base: Arc<RwLock<Blocks>>,
    changed: Mutex<Blocks>,
}

impl Image for State {
    fn read(&self, offset: usize, size: usize) -> Vec<u8> {
        let mut bytes = self.base.read().read(offset, size);
        self.changed.lock().cover(offset, &mut bytes);
        bytes
    }

    fn write(&self, offset: usize, data: &[u8]) {
        let base = self.base.read();
        self.changed.lock().write(offset, data, |block| base.read(block * BLOCK, BLOCK));
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash_states::stream;

    #[test]
    fn a_state_holds_what_was_kept_and_the_base_goes_on_unharmed() {
        let write = |offset, byte| Event::Write { offset, data: vec![byte; 1024] };
        let events = vec![write(0, 1), Event::Flush, write(512, 2), write(8192, 3), Event::Flush, write(0, 4)];
        let mut base = Base::new(Blocks::default());
        let mut cut = Cut { position: 4, durable: 2, kept: stream::Kept::Torn, writes: vec![(2, 512)], open: 2 };
        let state = base.state(&events, &cut);
        assert_eq!(state.read(0, 2048), [vec![1; 512], vec![2; 512], vec![0; 1024]].concat());
        assert_eq!(state.read(8192, 4), [0; 4]);
        state.write(4090, &[9; 12]);
        assert_eq!(state.read(4088, 16), [vec![0; 2], vec![9; 12], vec![0; 2]].concat());
        (cut.durable, cut.writes) = (5, vec![]);
        let state = base.state(&events, &cut);
        assert_eq!(state.read(0, 1536), [vec![1; 512], vec![2; 1024]].concat());
        assert_eq!((state.read(8192, 1), state.read(4090, 1)), (vec![3], vec![0]));
    }

    #[test]
    fn a_file_is_read_block_by_block() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = [vec![0; 5000], vec![7; 10], vec![0; 300 * BLOCK], vec![8; 100]].concat();
        std::fs::write(file.path(), &bytes).unwrap();
        let blocks = Blocks::of_file(file.path()).unwrap();
        assert_eq!(blocks.0.len(), 2);
        assert!(blocks.read(0, bytes.len()) == bytes);
    }
}
