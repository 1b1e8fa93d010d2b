//! PURE: the bytes of pages.

/// As bbolt's on most machines; the file names it.
pub(super) const PAGE_BYTES: usize = 4096;
/// Bytes before what a page holds.
pub(super) const HEADER_BYTES: usize = 16;
/// Bytes of an element before keys and values.
pub(super) const ELEMENT_BYTES: usize = 16;

pub(super) const BRANCH: u16 = 0x01;
pub(super) const LEAF: u16 = 0x02;
pub(super) const META: u16 = 0x04;
pub(super) const FREELIST: u16 = 0x10;
/// Marks the element of a leaf that is a bucket.
pub(super) const BUCKET: u32 = 0x01;

pub(super) const MAGIC: u32 = 0xED0C_DAED;
pub(super) const VERSION: u32 = 2;
/// Bytes of the meta data that its checksum covers.
pub(super) const META_BYTES: usize = 56;

pub(super) fn header(id: u64, flags: u16, count: u16, overflow: u32) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(&id.to_le_bytes());
    out[8..10].copy_from_slice(&flags.to_le_bytes());
    out[10..12].copy_from_slice(&count.to_le_bytes());
    out[12..].copy_from_slice(&overflow.to_le_bytes());
    out
}

/// FNV-1a.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// One of the two pages that say where everything is; the one of the later transaction counts.
pub(super) fn meta(id: u64, root: u64, pages: u64) -> Vec<u8> {
    let mut meta = Vec::with_capacity(META_BYTES);
    for word in [MAGIC, VERSION, u32::try_from(PAGE_BYTES).unwrap_or(0), 0] {
        meta.extend_from_slice(&word.to_le_bytes());
    }
    let (sequence, freelist, transaction) = (0, 2, id);
    for word in [root, sequence, freelist, pages, transaction] {
        meta.extend_from_slice(&word.to_le_bytes());
    }
    let sum = checksum(&meta);
    [&header(id, META, 0, 0)[..], &meta, &sum.to_le_bytes()].concat()
}
