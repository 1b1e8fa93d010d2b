//! PURE: the file format of etcd's database, bbolt: what etcd's own tools read snapshots as.
//!
//! Source: `go.etcd.io/bbolt`, `internal/common/{page,meta,bucket}.go`.

mod page;
mod reader;
mod tree;

pub(crate) use reader::damaged;
pub use reader::{Damaged, Database, Rows, Source};

use page::{FREELIST, LEAF, PAGE_BYTES, header, meta};
use tree::Tree;

/// Takes a key and its value; false stops what gives them.
pub type Each<'a> = dyn FnMut(&[u8], &[u8]) -> bool + 'a;

/// A bucket: its name, and what gives its keys in ascending order, the same each time.
pub(crate) struct Bucket<'a> {
    pub(crate) name: &'static str,
    pub(crate) give: Box<dyn Fn(&mut Each<'_>) + 'a>,
}

/// Pages before the data: two of meta data, and one with the free pages, of which there are none.
const FIRST: u64 = 3;

/// Where a database's parts lie, once all keys were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    root: u64,
    pages: u64,
}

impl Plan {
    /// Of buckets in the order of their names.
    pub(crate) fn new(buckets: &[Bucket<'_>]) -> Self {
        data(buckets, &mut |_| true)
    }

    /// Bytes of the whole database.
    pub(crate) fn bytes(self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }

    /// Writes it, in order; the sink says whether it wants more. Holds a page of each level at a time.
    pub(crate) fn write(self, buckets: &[Bucket<'_>], sink: &mut dyn FnMut(&[u8]) -> bool) {
        let first =
            [meta(0, self.root, self.pages), meta(1, self.root, self.pages), header(2, FREELIST, 0, 0).to_vec()];
        for mut page in first {
            page.resize(PAGE_BYTES, 0);
            if !sink(&page) {
                return;
            }
        }
        data(buckets, sink);
    }
}

/// Everything but the first pages.
fn data(buckets: &[Bucket<'_>], sink: &mut dyn FnMut(&[u8]) -> bool) -> Plan {
    let mut next = FIRST;
    let mut roots = Vec::new();
    for bucket in buckets {
        let mut tree = Tree::new(&mut next, sink);
        (bucket.give)(&mut |key, value| tree.push(key, value, 0));
        roots.push((bucket.name, tree.finish()));
    }
    let mut tree = Tree::new(&mut next, sink);
    for (name, root) in roots {
        // A root, and a sequence that nothing uses; an empty bucket is a page within.
        let mut value = root.unwrap_or(0).to_le_bytes().to_vec();
        value.extend_from_slice(&0_u64.to_le_bytes());
        if root.is_none() {
            value.extend_from_slice(&header(0, LEAF, 0, 0));
        }
        tree.push(name.as_bytes(), &value, page::BUCKET);
    }
    let root = tree.finish().unwrap_or(0);
    Plan { root, pages: next }
}

#[cfg(test)]
mod tests;
