//! PURE: a tree of pages from ascending keys: leaves go out as they fill, and the pages above them likewise.

use super::page::{BRANCH, ELEMENT_BYTES, HEADER_BYTES, LEAF, PAGE_BYTES, header};

/// A page being filled.
#[derive(Default)]
struct Node {
    /// Flags, key, and value or the number of the page below.
    elements: Vec<(u32, Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

/// See the module.
pub(super) struct Tree<'a> {
    /// The number of the next page.
    next: &'a mut u64,
    sink: &'a mut dyn FnMut(&[u8]) -> bool,
    /// From the leaves up.
    levels: Vec<Node>,
    going: bool,
}

impl<'a> Tree<'a> {
    pub(super) fn new(next: &'a mut u64, sink: &'a mut dyn FnMut(&[u8]) -> bool) -> Self {
        Tree { next, sink, levels: Vec::new(), going: true }
    }

    /// Adds a key after all before it; false once nobody wants more.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8], flags: u32) -> bool {
        if self.going {
            self.add(0, (flags, key.to_vec(), value.to_vec()));
        }
        self.going
    }

    fn add(&mut self, level: usize, element: (u32, Vec<u8>, Vec<u8>)) {
        if self.levels.len() == level {
            self.levels.push(Node::default());
        }
        // In a branch the number of the page lies in the element itself.
        let value = if level == 0 { element.2.len() } else { 0 };
        let bytes = ELEMENT_BYTES + element.1.len() + value;
        let node = &self.levels[level];
        let full = HEADER_BYTES + node.bytes + bytes > PAGE_BYTES || node.elements.len() == usize::from(u16::MAX);
        if full && !node.elements.is_empty() {
            let (first, page) = self.flush(level);
            self.add(level + 1, (0, first, page.to_le_bytes().to_vec()));
        }
        let node = &mut self.levels[level];
        node.bytes += bytes;
        node.elements.push(element);
    }

    /// Puts a page out; its first key and its number.
    fn flush(&mut self, level: usize) -> (Vec<u8>, u64) {
        let node = std::mem::take(&mut self.levels[level]);
        let (id, count) = (*self.next, u16::try_from(node.elements.len()).unwrap_or(u16::MAX));
        let whole = (HEADER_BYTES + node.bytes).div_ceil(PAGE_BYTES).max(1);
        *self.next += whole as u64;
        let flags = if level == 0 { LEAF } else { BRANCH };
        let mut page = header(id, flags, count, u32::try_from(whole - 1).unwrap_or(u32::MAX)).to_vec();
        let mut place = node.elements.len() * ELEMENT_BYTES;
        let word = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        for (number, (flags, key, value)) in node.elements.iter().enumerate() {
            // Counted from the element itself.
            let from_here = place - number * ELEMENT_BYTES;
            if level == 0 {
                page.extend_from_slice(&flags.to_le_bytes());
                [from_here, key.len(), value.len()].into_iter().for_each(|field| page.extend_from_slice(&word(field)));
                place += key.len() + value.len();
            } else {
                [from_here, key.len()].into_iter().for_each(|field| page.extend_from_slice(&word(field)));
                page.extend_from_slice(value);
                place += key.len();
            }
        }
        for (_, key, value) in &node.elements {
            page.extend_from_slice(key);
            if level == 0 {
                page.extend_from_slice(value);
            }
        }
        page.resize(whole * PAGE_BYTES, 0);
        self.going = self.going && (self.sink)(&page);
        (node.elements.into_iter().next().map(|(_, key, _)| key).unwrap_or_default(), id)
    }

    /// Puts out what is left; the number of the root, or none when there were no keys.
    pub(super) fn finish(mut self) -> Option<u64> {
        let mut level = 0;
        while level < self.levels.len() {
            let (first, page) = self.flush(level);
            if level + 1 == self.levels.len() {
                return Some(page);
            }
            self.add(level + 1, (0, first, page.to_le_bytes().to_vec()));
            level += 1;
        }
        None
    }
}
