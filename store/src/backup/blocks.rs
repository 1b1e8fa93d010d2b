//! The bytes of a backup, and of a segment of the archive: compressed blocks with a checksum each, and at the end a hash
//! over everything.
//!
//! A `Magic`, then blocks `length, crc32c, zstd(records)`, a record being `length, bytes`; a length of 0 ends them, and the
//! SHA-256 of all that came before follows. Numbers are big-endian u32.

use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};

/// What a file begins with; the digit is the format's version.
pub(crate) type Magic = [u8; 17];
/// A state.
pub(crate) const BACKUP: &Magic = b"raftsman backup 1";
/// Log entries.
pub(crate) const SEGMENT: &Magic = b"raftsman segment1";
/// A block is closed when it holds so many bytes.
const BLOCK_BYTES: usize = 1 << 20;
/// A block is no larger: one record above `BLOCK_BYTES` lies alone. Store requests have 8 MiB at most.
const BLOCK_BYTES_MAX: u32 = 64 << 20;
/// zstd's own default.
const LEVEL: i32 = 3;

/// Why a file is no good.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// Not one of ours, or of a version that this program does not know.
    #[error("this is no backup of this program's format")]
    Foreign,
    /// What lies at a place is not what was written.
    #[error("block {block} at byte {offset} is damaged: {what}; use another copy of the backup")]
    Block {
        /// Counted from 1.
        block: u64,
        /// Where it begins.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The disk or the connection.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes records.
pub(crate) struct Writer<W> {
    sink: W,
    hash: Context,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(sink: W, magic: &Magic) -> io::Result<Self> {
        let mut writer = Writer { sink, hash: Context::new(&SHA256), block: Vec::new() };
        writer.put(magic)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.sink.write_all(bytes)
    }

    pub(crate) fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.block.extend(length.to_be_bytes());
        self.block.extend(bytes);
        if self.block.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    fn close_block(&mut self) -> io::Result<()> {
        let packed = zstd::bulk::compress(&self.block, LEVEL)?;
        self.block.clear();
        let length = u32::try_from(packed.len()).map_err(io::Error::other)?;
        self.put(&length.to_be_bytes())?;
        self.put(&crc32c::crc32c(&packed).to_be_bytes())?;
        self.put(&packed)
    }

    /// Ends it; answers the hash over everything.
    pub(crate) fn finish(mut self) -> io::Result<Hash> {
        if !self.block.is_empty() {
            self.close_block()?;
        }
        self.put(&0_u32.to_be_bytes())?;
        let hash = self.hash.finish();
        self.sink.write_all(hash.as_ref())?;
        self.sink.flush()?;
        Ok(array(hash.as_ref()))
    }
}

/// The SHA-256 over everything before it.
pub(crate) type Hash = [u8; 32];

fn array(hash: &[u8]) -> Hash {
    hash.try_into().expect("SHA-256 has 32 bytes")
}

/// Reads records, and says which block is wrong.
pub(crate) struct Reader<R> {
    source: R,
    hash: Context,
    block: Vec<u8>,
    /// Where the next record lies in the block.
    at: usize,
    number: u64,
    begins: u64,
    offset: u64,
    ended: Option<Hash>,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(source: R, expected: &Magic) -> Result<Self, Damage> {
        let hash = Context::new(&SHA256);
        let mut reader =
            Reader { source, hash, block: Vec::new(), at: 0, number: 0, begins: 0, offset: 0, ended: None };
        let mut magic: Magic = Default::default();
        reader.source.read_exact(&mut magic).map_err(|_| Damage::Foreign)?;
        if magic != *expected {
            return Err(Damage::Foreign);
        }
        reader.hash.update(&magic);
        reader.offset = magic.len() as u64;
        Ok(reader)
    }

    fn damaged(&self, what: &'static str) -> Damage {
        Damage::Block { block: self.number, offset: self.begins, what }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, Damage> {
        let mut bytes = vec![0; length];
        match self.source.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(self.damaged("it is cut off")),
            Err(error) => return Err(error.into()),
        }
        self.offset += length as u64;
        Ok(bytes)
    }

    fn number(bytes: &[u8]) -> u32 {
        u32::from_be_bytes(bytes.try_into().expect("four bytes"))
    }

    /// The next record; none at the end, where the hash of all has been checked.
    pub(crate) fn record(&mut self) -> Result<Option<Vec<u8>>, Damage> {
        while self.at == self.block.len() {
            if self.ended.is_some() || !self.open_block()? {
                return Ok(None);
            }
        }
        let rest = &self.block[self.at..];
        let length = rest.get(..4).map(|bytes| Self::number(bytes) as usize);
        let record = length.and_then(|length| rest.get(4..4 + length)).map(<[u8]>::to_vec);
        let record = record.ok_or_else(|| self.damaged("its records do not fit"))?;
        self.at += 4 + record.len();
        Ok(Some(record))
    }

    fn open_block(&mut self) -> Result<bool, Damage> {
        (self.number, self.begins) = (self.number + 1, self.offset);
        let head = self.take(4)?;
        self.hash.update(&head);
        let length = Self::number(&head);
        if length == 0 {
            return self.end().map(|()| false);
        }
        if length > BLOCK_BYTES_MAX {
            return Err(self.damaged("its length cannot be"));
        }
        let check = self.take(4)?;
        let packed = self.take(length as usize)?;
        if crc32c::crc32c(&packed) != Self::number(&check) {
            return Err(self.damaged("its checksum does not match"));
        }
        self.hash.update(&check);
        self.hash.update(&packed);
        let whole = zstd::bulk::decompress(&packed, BLOCK_BYTES_MAX as usize);
        (self.block, self.at) = (whole.map_err(|_| self.damaged("it does not unpack"))?, 0);
        Ok(true)
    }

    /// The hash over everything, once the end was read.
    pub(crate) fn hash(&self) -> Option<Hash> {
        self.ended
    }

    fn end(&mut self) -> Result<(), Damage> {
        let hash = self.hash.clone().finish();
        self.ended = Some(array(hash.as_ref()));
        if self.take(hash.as_ref().len())? != hash.as_ref() {
            return Err(self.damaged("the hash over the whole file does not match"));
        }
        let mut more = [0; 1];
        match self.source.read(&mut more)? {
            0 => Ok(()),
            _ => Err(self.damaged("something follows the end")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Damage> {
        let mut reader = Reader::new(bytes, BACKUP)?;
        let mut records = Vec::new();
        while let Some(record) = reader.record()? {
            records.push(record);
        }
        Ok(records)
    }

    fn written(records: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, BACKUP).expect("memory");
        records.iter().for_each(|record| writer.record(record).expect("memory"));
        writer.finish().expect("memory");
        bytes
    }

    #[test]
    fn records_come_back() {
        let records = vec![b"one".to_vec(), Vec::new(), vec![7; BLOCK_BYTES + 1], b"four".to_vec()];
        assert_eq!(read(&written(&records)).expect("whole"), records);
        assert_eq!(read(&written(&[])).expect("whole"), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = written(&[b"some words".to_vec(), vec![3; 300], b"more".to_vec()]);
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&other).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "cut at {length}");
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert!(read(&longer).is_err_and(|damage| damage.to_string().contains("follows the end")));
    }

    /// A file of blocks whose checksums hold: pieces of the input, each as long as its first two bytes say, are packed, or
    /// are the packed bytes themselves.
    fn sound(input: &[u8]) -> Vec<u8> {
        let (mut file, mut rest) = (BACKUP.to_vec(), input);
        while let [kind, length, more @ ..] = rest {
            let (piece, left) = more.split_at(usize::from(*length).min(more.len()));
            let packed = if kind % 4 == 0 { piece.to_vec() } else { zstd::bulk::compress(piece, 1).expect("memory") };
            file.extend(u32::try_from(packed.len()).expect("short").to_be_bytes());
            file.extend(crc32c::crc32c(&packed).to_be_bytes());
            file.extend(packed);
            rest = left;
        }
        file.extend(0_u32.to_be_bytes());
        let hash = aws_lc_rs::digest::digest(&SHA256, &file);
        file.extend(hash.as_ref());
        file
    }

    #[test]
    fn archives_of_any_bytes_are_read_or_refused() {
        let manifest =
            br#"{"cluster_id":1,"revision":2,"epoch":3,"time_ms":4,"keys":1,"leases":0,"auth":0,"extra":null}"#;
        let record = |bytes: &[u8]| [&u32::try_from(bytes.len()).expect("short").to_be_bytes(), bytes].concat();
        let block = [record(manifest), record(b"row")].concat();
        let pieces = [&[1, u8::try_from(block.len()).expect("short")][..], &block].concat();
        let whole = written(&[manifest.to_vec(), b"one".to_vec(), Vec::new()]);
        crate::fuzz::bear("backup", vec![whole, pieces], |bytes| {
            let told = |bytes: &[u8]| match read(bytes) {
                Ok(records) => {
                    let manifest =
                        records.first().map(|first| serde_json::from_slice::<crate::backup::Manifest>(first).is_ok());
                    let rows =
                        records.iter().filter(|row| crate::backup::restore::auth_row(&(*row).clone().into()).is_some());
                    format!("{manifest:?}, {} rows", rows.count())
                }
                Err(damage) => damage.to_string(),
            };
            format!("{} {}", told(bytes), told(&sound(bytes)))
        });
    }
}
