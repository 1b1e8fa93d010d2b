//! PURE: the bytes of the state machine's keys and of its header.

use bytes::{BufMut, Bytes, BytesMut};
use proto::etcdserverpb::AlarmMember;

use crate::api::Revision;

/// The newest layout that this program reads and the one it writes.
pub(crate) const FORMAT: u32 = 3;
/// Where the header lies in `Family::Meta`.
pub(crate) const HEADER_KEY: &[u8] = b"header";
/// Up to which revision compacted deletions were taken out of the keys, in `Family::Meta`.
pub(crate) const BURIED_KEY: &[u8] = b"buried";
/// The first revision that can still be looked at, also beyond what compaction lets clients read, in `Family::Meta`.
pub(crate) const FORGOTTEN_KEY: &[u8] = b"forgotten";

/// What the machine knows of itself, written with every batch.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Header {
    /// Layout of the families.
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    /// The newest revision.
    #[prost(int64, tag = "2")]
    pub(crate) revision: Revision,
    /// Revisions up to here can no longer be read.
    #[prost(int64, tag = "3")]
    pub(crate) compacted: Revision,
    /// The machine's clock, milliseconds since 1970: the newest of its commands' clocks.
    #[prost(int64, tag = "4")]
    pub(crate) time_ms: i64,
    /// What is added to a Raft term to make an epoch; restores raise it.
    #[prost(uint64, tag = "5")]
    pub(crate) epoch_base: u64,
    /// Checksum over every change ever applied, in order: equal on members that applied the same.
    #[prost(uint32, tag = "6")]
    pub(crate) hash: u32,
    /// The Raft layer's words about the last entry.
    #[prost(bytes = "bytes", tag = "7")]
    pub(crate) applied: Bytes,
    /// The Raft layer's words about the last membership.
    #[prost(bytes = "bytes", tag = "8")]
    pub(crate) membership: Bytes,
    /// Alarms that are raised, by kind and member.
    #[prost(message, repeated, tag = "9")]
    pub(crate) alarms: Vec<AlarmMember>,
}

impl Header {
    /// Of an empty machine. etcd's first revision is 1, and holds nothing.
    pub(crate) fn new() -> Self {
        Header { format: FORMAT, revision: 1, ..Header::default() }
    }
}

/// Rows were encoded by this program and are checked by the engine's own checksums.
pub(crate) fn decode<M: prost::Message + Default>(bytes: Bytes) -> M {
    M::decode(bytes).expect("a row of the state machine is not what was written: its files are damaged")
}

/// A key of `Family::History`.
pub(crate) fn history_key(revision: Revision, position: u32) -> Bytes {
    let mut key = BytesMut::with_capacity(12);
    key.put_i64(revision);
    key.put_u32(position);
    key.freeze()
}

/// A change's place as etcd's database has it: revision, position, and whether it is a deletion.
pub(crate) fn revision_key(revision: Revision, position: u32, deletion: bool) -> Bytes {
    let mut key = BytesMut::with_capacity(18);
    key.put_i64(revision);
    key.put_u8(b'_');
    key.put_i64(i64::from(position));
    if deletion {
        key.put_u8(b't');
    }
    key.freeze()
}

/// What all of a user key's rows in `Family::Index` begin with: escaped, so that no key's rows lie among another's.
pub(crate) fn index_prefix(key: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(key.len() + 10);
    for byte in key {
        out.put_u8(*byte);
        if *byte == 0 {
            out.put_u8(0xff);
        }
    }
    out.put_slice(&[0, 1]);
    out
}

/// A key of `Family::Index`.
pub(crate) fn index_key(key: &[u8], revision: Revision) -> Bytes {
    let mut out = index_prefix(key);
    out.put_i64(revision);
    out.freeze()
}

/// The user key and the revision of a row in `Family::Index`.
pub(crate) fn parse_index_key(row: &[u8]) -> Option<(Bytes, Revision)> {
    let (escaped, revision) = row.split_at_checked(row.len().checked_sub(8)?)?;
    let escaped = escaped.strip_suffix(&[0, 1])?;
    let mut key = BytesMut::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(byte) = bytes.next() {
        key.put_u8(*byte);
        if *byte == 0 && bytes.next() != Some(&0xff) {
            return None;
        }
    }
    Some((key.freeze(), Revision::from_be_bytes(revision.try_into().ok()?)))
}

/// The bounds of a range in etcd's words: no `end` is one key, `\0` is everything from `key` on.
pub(crate) fn bounds(key: &[u8], end: &[u8]) -> (Bytes, Option<Bytes>) {
    let from = Bytes::copy_from_slice(key);
    match end {
        [] => {
            let mut next = BytesMut::from(key);
            next.put_u8(0);
            (from, Some(next.freeze()))
        }
        [0] => (from, None),
        end => (from, Some(Bytes::copy_from_slice(end))),
    }
}

/// Whether bounds hold a key.
pub(crate) fn within((from, to): &(Bytes, Option<Bytes>), key: &Bytes) -> bool {
    key >= from && to.as_ref().is_none_or(|to| key < to)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn index_keys_keep_the_order_of_keys_and_revisions(
            a in proptest::collection::vec(0_u8..3, 0..5), b in proptest::collection::vec(0_u8..3, 0..5),
            x in 0_i64..1000, y in 0_i64..1000,
        ) {
            prop_assert_eq!((&a, x).cmp(&(&b, y)), index_key(&a, x).cmp(&index_key(&b, y)));
            prop_assert_eq!(parse_index_key(&index_key(&a, x)), Some((Bytes::from(a), x)));
        }
    }

    #[test]
    fn rows_of_any_bytes_are_keys_or_none() {
        let seeds =
            vec![index_key(b"a\0b", 7).to_vec(), index_key(b"", -1).to_vec(), index_key(&[0, 0, 0xff], 0).to_vec()];
        crate::fuzz::bear("keys", seeds, |bytes| {
            let (key, end) = bytes.split_at(bytes.len() / 2);
            let bounds = bounds(key, end);
            assert_eq!(within(&bounds, &bounds.0), bounds.1.as_ref().is_none_or(|to| to > &bounds.0));
            match parse_index_key(bytes) {
                Some((key, revision)) => {
                    assert_eq!(index_key(&key, revision), bytes, "one row is one key");
                    format!("a key, {}", key.is_empty())
                }
                None => "none".to_owned(),
            }
        });
    }
}
