//! PURE: a database that lies in memory, or is mapped there. Every number in it is looked at before it is followed.

use super::Each;
use super::page::{BRANCH, BUCKET, ELEMENT_BYTES, HEADER_BYTES, LEAF, MAGIC, META, META_BYTES, VERSION, checksum};

/// Pages above leaves at most: more than any file can have.
const DEPTH_MAX: usize = 32;

/// Why a file is no database, or not a whole one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(String);

fn damaged<T>(why: impl Into<String>) -> Result<T, Damaged> {
    Err(Damaged(why.into()))
}

/// See the module.
#[derive(Debug)]
pub struct Database<'a> {
    bytes: &'a [u8],
    page_bytes: usize,
    root: u64,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// A page's kind, number of elements, and bytes from its header on.
struct Page<'a> {
    flags: u16,
    count: usize,
    bytes: &'a [u8],
}

fn page(bytes: &[u8]) -> Option<Page<'_>> {
    let short = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    Some(Page { flags: short(8)?, count: usize::from(short(10)?), bytes })
}

/// The page size, root and transaction that a page of meta data names, when it is whole.
fn meta(bytes: &[u8]) -> Option<(usize, u64, u64)> {
    let held = page(bytes)?;
    let body = bytes.get(HEADER_BYTES..HEADER_BYTES + META_BYTES)?;
    let whole = long(bytes, HEADER_BYTES + META_BYTES)? == checksum(body);
    let known = word(body, 0)? == MAGIC && word(body, 4)? == VERSION && held.flags & META != 0;
    (whole && known).then_some((usize::try_from(word(body, 8)?).ok()?, long(body, 16)?, long(body, 48)?))
}

impl<'a> Database<'a> {
    /// Of a file's bytes.
    ///
    /// # Errors
    /// When neither page of meta data is whole.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Damaged> {
        let first = meta(bytes);
        // The second lies a page further on; where the first is damaged, its size must be guessed.
        let sizes = first.map_or_else(|| (9..17).map(|shift| 1 << shift).collect(), |(size, ..)| vec![size]);
        let second = sizes.into_iter().find_map(|size| meta(bytes.get(size..)?));
        let newest = first.into_iter().chain(second).max_by_key(|(_, _, transaction)| *transaction);
        let Some((page_bytes, root, _)) = newest.filter(|(size, ..)| size.is_power_of_two()) else {
            return damaged("it is no database of etcd's: neither page of meta data is whole");
        };
        Ok(Database { bytes, page_bytes, root })
    }

    fn page(&self, id: u64) -> Result<Page<'a>, Damaged> {
        let at = usize::try_from(id).ok().and_then(|id| id.checked_mul(self.page_bytes));
        let found = at.and_then(|at| page(self.bytes.get(at..)?));
        found.ok_or_else(|| Damaged(format!("page {id} lies beyond the end of the file")))
    }

    /// Shows the keys of a bucket with their values, in order, as long as it is told to go on; nothing where there is no
    /// such bucket.
    ///
    /// # Errors
    /// When a page is not what it must be.
    pub fn bucket(&self, name: &str, each: &mut Each<'_>) -> Result<(), Damaged> {
        let mut found = None;
        self.walk(&self.page(self.root)?, 0, &mut |flags, key, value| {
            if key == name.as_bytes() && flags & BUCKET != 0 {
                found = Some(value);
            }
            found.is_none()
        })?;
        let Some(value) = found else { return Ok(()) };
        let keys = &mut |_: u32, key: &'a [u8], value: &'a [u8]| each(key, value);
        match long(value, 0) {
            Some(0) => {
                let within = value.get(16..).and_then(page);
                self.walk(&within.ok_or_else(|| Damaged(format!("the bucket {name} is cut")))?, 0, keys).map(|_| ())
            }
            Some(root) => self.walk(&self.page(root)?, 0, keys).map(|_| ()),
            None => damaged(format!("the bucket {name} has no root")),
        }
    }

    /// Whether to go on.
    fn walk(
        &self,
        page: &Page<'a>,
        depth: usize,
        each: &mut dyn FnMut(u32, &'a [u8], &'a [u8]) -> bool,
    ) -> Result<bool, Damaged> {
        if depth > DEPTH_MAX {
            return damaged("pages lead in a circle");
        }
        for number in 0..page.count {
            let at = HEADER_BYTES + number * ELEMENT_BYTES;
            let element = || {
                let field = |place: usize| usize::try_from(word(page.bytes, at + place)?).ok();
                let piece = |from: usize, length: usize| page.bytes.get(from..from.checked_add(length)?);
                if page.flags & BRANCH != 0 {
                    return Some((0, piece(at + field(0)?, field(4)?)?, piece(at + 8, 8)?));
                }
                let key_at = at + field(4)?;
                let key = piece(key_at, field(8)?)?;
                Some((word(page.bytes, at)?, key, piece(key_at + key.len(), field(12)?)?))
            };
            let Some((flags, key, value)) = element() else {
                return damaged("an element lies beyond the end of the file");
            };
            let going = if page.flags & BRANCH != 0 {
                self.walk(&self.page(long(value, 0).unwrap_or(u64::MAX))?, depth + 1, each)?
            } else if page.flags & LEAF != 0 {
                each(flags, key, value)
            } else {
                return damaged(format!("a page of kind {:#x} lies where keys must be", page.flags));
            };
            if !going {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
