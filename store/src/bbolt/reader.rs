//! PURE: reading a database that somebody else wrote. Every number in it is looked at before it is followed: whatever the
//! bytes are, they are read as what they say, or refused with the place that is wrong.
//!
//! Pages have no checksums. What a damaged database can get wrong without being found out here is keys and values alone.

use bytes::Bytes;

use super::page::{BRANCH, BUCKET, ELEMENT_BYTES, HEADER_BYTES, LEAF, MAGIC, META, META_BYTES, VERSION, checksum};

/// Pages above leaves at most: more than any file can have.
const DEPTH_MAX: usize = 32;
/// A page and those that belong to it at most, bytes: a few of the largest values that any etcd takes.
const RUN_BYTES_MAX: u64 = 1 << 30;
/// The sizes that pages can have, as powers of two.
const PAGE_BITS: std::ops::RangeInclusive<u32> = 9..=16;

/// Why a file is no database, or not a whole one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(pub(crate) String);

pub(crate) fn damaged<T>(why: impl Into<String>) -> Result<T, Damaged> {
    Err(Damaged(why.into()))
}

/// Where a database's bytes are.
pub trait Source {
    /// How many there are.
    fn bytes(&self) -> u64;

    /// Some of them, which are there by what `bytes` says.
    ///
    /// # Errors
    /// When they cannot be read.
    fn read(&self, at: u64, length: usize) -> Result<Bytes, Damaged>;
}

impl Source for &[u8] {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, at: u64, length: usize) -> Result<Bytes, Damaged> {
        let found = usize::try_from(at).ok().and_then(|at| self.get(at..at.checked_add(length)?));
        found.map_or_else(|| damaged("it ends too early"), |found| Ok(Bytes::copy_from_slice(found)))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Database<S> {
    source: S,
    page_bytes: u64,
    /// The page that the tree of buckets begins with.
    root: u64,
    /// How many pages there are.
    pages: u64,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// What a page of meta data says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meta {
    page_bytes: u64,
    root: u64,
    pages: u64,
    transaction: u64,
}

/// The page of meta data at the beginning of these bytes, when it is whole.
fn meta(bytes: &[u8]) -> Option<Meta> {
    let body = bytes.get(HEADER_BYTES..HEADER_BYTES + META_BYTES)?;
    let whole = long(bytes, HEADER_BYTES + META_BYTES)? == checksum(body) && short(bytes, 8)? & META != 0;
    let known = word(body, 0)? == MAGIC && word(body, 4)? == VERSION;
    let page_bytes = word(body, 8)?;
    let possible = page_bytes.is_power_of_two() && PAGE_BITS.contains(&page_bytes.trailing_zeros());
    let found = Meta {
        page_bytes: page_bytes.into(),
        root: long(body, 16)?,
        pages: long(body, 40)?,
        transaction: long(body, 48)?,
    };
    (whole && known && possible).then_some(found)
}

impl<S: Source> Database<S> {
    /// Of a file's bytes. Of the two pages of meta data that one counts which is whole and of the later transaction.
    ///
    /// # Errors
    /// When neither is whole, or the file is shorter than they say.
    pub fn open(source: S) -> Result<Self, Damaged> {
        let length = HEADER_BYTES + META_BYTES + 8;
        let at = |at: u64| {
            let there = at.checked_add(length as u64).is_some_and(|end| end <= source.bytes());
            if there { source.read(at, length).map(|bytes| meta(&bytes)) } else { Ok(None) }
        };
        let first = at(0)?;
        // The second lies a page further on; where the first is damaged, its size must be guessed.
        let sizes = first.map_or_else(|| PAGE_BITS.map(|bits| 1 << bits).collect(), |first| vec![first.page_bytes]);
        let mut newest = first;
        for size in sizes {
            let second = at(size)?.filter(|second| second.page_bytes == size);
            newest = newest.into_iter().chain(second).max_by_key(|found| found.transaction);
        }
        let Some(Meta { page_bytes, root, pages, .. }) = newest else {
            return damaged("it is no database of etcd's: neither page of meta data is whole");
        };
        if pages.checked_mul(page_bytes).is_none_or(|needed| needed > source.bytes()) {
            let held = source.bytes() / page_bytes;
            return damaged(format!("it is cut off: {pages} pages belong to it, {held} are there"));
        }
        Ok(Database { source, page_bytes, root, pages })
    }

    /// A page with those that belong to it.
    fn page(&self, id: u64) -> Result<Page, Damaged> {
        // The first two are meta data, wherever they are named.
        if id < 2 || id >= self.pages {
            return damaged(format!("page {id} is none of the {} that belong to it", self.pages));
        }
        let at = id * self.page_bytes;
        let head = self.source.read(at, HEADER_BYTES)?;
        let overflow = word(&head, 12).map_or(0, u64::from);
        let bytes = (overflow + 1) * self.page_bytes;
        if id + overflow >= self.pages || bytes > RUN_BYTES_MAX {
            return damaged(format!("page {id} claims {overflow} more pages, which is more than there can be"));
        }
        if long(&head, 0) != Some(id) {
            return damaged(format!("where page {id} must be lies another one"));
        }
        let length = usize::try_from(bytes).map_err(|_| Damaged(format!("page {id} is too large")))?;
        Page::parse(id, self.source.read(at, length)?)
    }

    /// The keys of a bucket with their values, in order; none where there is no such bucket.
    ///
    /// # Errors
    /// When a page on the way to it is not what it must be.
    pub fn bucket(&self, name: &str) -> Result<Rows<'_, S>, Damaged> {
        let mut buckets = Rows::new(self, Some(self.page(self.root)?));
        let value = loop {
            match buckets.element()? {
                Some((flags, key, value)) if flags & BUCKET != 0 && key == name.as_bytes() => break value,
                Some(_) => {}
                None => return Ok(Rows::new(self, None)),
            }
        };
        let first = match long(&value, 0) {
            // So few keys that they lie in the bucket's own value.
            Some(0) if value.len() >= 16 => Page::parse(0, value.slice(16..))?,
            Some(root) => self.page(root)?,
            None => return damaged(format!("the bucket {name} is cut off")),
        };
        Ok(Rows::new(self, Some(first)))
    }
}

/// A page of keys, or of pages.
#[derive(Debug)]
struct Page {
    id: u64,
    branch: bool,
    count: usize,
    bytes: Bytes,
}

impl Page {
    fn parse(id: u64, bytes: Bytes) -> Result<Self, Damaged> {
        let (Some(flags), Some(count)) = (short(&bytes, 8), short(&bytes, 10)) else {
            return damaged(format!("page {id} is cut off"));
        };
        if flags != BRANCH && flags != LEAF {
            return damaged(format!("page {id} is of kind {flags:#x} where keys must be"));
        }
        let (branch, count) = (flags == BRANCH, usize::from(count));
        if branch && count == 0 {
            return damaged(format!("page {id} leads nowhere"));
        }
        Ok(Page { id, branch, count, bytes })
    }

    /// Flags, key and value of an element; of a page of pages, the number of the page in the value's place.
    fn element(&self, number: usize) -> Result<(u32, Bytes, Bytes), Damaged> {
        let at = HEADER_BYTES + number * ELEMENT_BYTES;
        let found = || {
            let field = |place: usize| usize::try_from(word(&self.bytes, at + place)?).ok();
            let piece = |from: usize, length: usize| {
                let end = from.checked_add(length).filter(|end| *end <= self.bytes.len())?;
                Some(self.bytes.slice(from..end))
            };
            if self.branch {
                return Some((0, piece(at.checked_add(field(0)?)?, field(4)?)?, piece(at + 8, 8)?));
            }
            let key_at = at.checked_add(field(4)?)?;
            let key = piece(key_at, field(8)?)?;
            let value = piece(key_at + key.len(), field(12)?)?;
            Some((word(&self.bytes, at)?, key, value))
        };
        found().ok_or_else(|| Damaged(format!("element {number} of page {} lies beyond the page's end", self.id)))
    }
}

/// The keys of a bucket; after an error, nothing.
#[derive(Debug)]
pub struct Rows<'a, S> {
    database: &'a Database<S>,
    /// From the root down: pages, and the next element of each.
    path: Vec<(Page, usize)>,
    last: Option<Bytes>,
    /// Pages seen so far: each belongs to one bucket, once.
    seen: u64,
}

impl<'a, S: Source> Rows<'a, S> {
    fn new(database: &'a Database<S>, root: Option<Page>) -> Self {
        Rows { database, path: root.into_iter().map(|page| (page, 0)).collect(), last: None, seen: 0 }
    }

    fn element(&mut self) -> Result<Option<(u32, Bytes, Bytes)>, Damaged> {
        loop {
            let depth = self.path.len();
            let Some((page, next)) = self.path.last_mut() else { return Ok(None) };
            if *next == page.count {
                self.path.pop();
                continue;
            }
            let (flags, key, value) = page.element(*next)?;
            *next += 1;
            if page.branch {
                self.seen += 1;
                if depth > DEPTH_MAX || self.seen > self.database.pages {
                    return damaged("its pages lead in a circle");
                }
                let below = self.database.page(long(&value, 0).unwrap_or(0))?;
                self.path.push((below, 0));
                continue;
            }
            if self.last.as_ref().is_some_and(|last| *last >= key) {
                return damaged(format!("the keys of page {} are not in order", page.id));
            }
            // A copy: a key must not keep its whole page.
            self.last = Some(Bytes::copy_from_slice(&key));
            return Ok(Some((flags, key, value)));
        }
    }
}

impl<S: Source> Iterator for Rows<'_, S> {
    type Item = Result<(Bytes, Bytes), Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = match self.element() {
            Ok(Some((flags, _, _))) if flags & BUCKET != 0 => damaged("a bucket lies where keys must be"),
            Ok(found) => found.map(|(_, key, value)| Ok((key, value))).transpose(),
            Err(error) => Err(error),
        };
        if found.is_err() {
            self.path.clear();
        }
        found.transpose()
    }
}
