//! Logs made of any bytes: they are read, or refused.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;

use super::super::disk::{Disk, DiskFile};
use super::super::record::{Decoded, Record, size_of};
use super::super::recovery::recover;
use super::super::sealing::Sealing;
use super::super::segment;

type File = Arc<Mutex<Vec<u8>>>;

/// A folder in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<BTreeMap<String, File>>>);

impl Disk for Memory {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().keys().cloned().collect())
    }

    fn create(&self, name: &str, size: u64) -> io::Result<File> {
        let file = File::new(Mutex::new(vec![0; usize::try_from(size).map_err(io::Error::other)?]));
        self.0.lock().insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        self.0.lock().get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self.0.lock().remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.0.lock().insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        name.to_owned()
    }
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.lock().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (held, from) = (self.lock(), usize::try_from(offset).map_err(io::Error::other)?);
        let piece = held.get(from..from + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(piece);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut held, from) = (self.lock(), usize::try_from(offset).map_err(io::Error::other)?);
        let end = held.len().max(from + bytes.len());
        held.resize(end, 0);
        held[from..from + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Segments of records whose checksums hold: kind, what had been synced, length, payload.
fn sound(input: &[u8]) -> Vec<BytesMut> {
    let (mut segments, mut rest) = (vec![segment::header(1, false)], input);
    while let [kind, durable, length, more @ ..] = rest {
        let (payload, left) = more.split_at(usize::from(*length).min(more.len()));
        let sequence = segments.len() as u64;
        let out = segments.last_mut().expect("one at least");
        let start = out.len();
        out.put_u32_le(u32::try_from(payload.len()).expect("short"));
        out.put_u32_le(0);
        out.put_u32_le(u32::from(*durable) * 8);
        out.put_u8(*kind);
        out.put_slice(payload);
        let sum = crc32c::crc32c_append(crc32c::crc32c(&sequence.to_le_bytes()), &out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
        out.put_bytes(0, start + size_of(payload.len()) - out.len());
        if *kind == 6 {
            segments.push(segment::header(sequence + 1, false));
        }
        rest = left;
    }
    segments
}

/// What a log of these segments holds, the same when it is read again.
fn told(segments: Vec<BytesMut>) -> String {
    let disk = Memory::default();
    for (number, bytes) in segments.into_iter().enumerate() {
        let name = segment::name(number as u64 + 1);
        disk.0.lock().insert(name, File::new(Mutex::new(bytes.to_vec())));
    }
    let read = || recover(&disk, 1 << 20, &Sealing::default());
    match read() {
        Ok((contents, tail)) => {
            let (again, _) = read().expect("what was read is read again");
            assert_eq!((contents.entries.range(), &contents.vote), (again.entries.range(), &again.vote));
            let standing = contents.standing().records().count();
            let next = contents.next_index().is_some();
            format!("{standing} {next} {:?}", tail.map(|tail| (tail.sealed, tail.segments.len() > 1)))
        }
        Err(refused) => refused.to_string(),
    }
}

#[test]
fn logs_of_any_bytes_are_read_or_refused() {
    let index = |number: u64| number.to_le_bytes();
    let entry = |number: u64| [&[1, 0, 11][..], &index(number), b"abc"].concat();
    let records = [entry(1), entry(2), vec![2, 0, 1, 9], [&[3, 0, 8][..], &index(1)].concat(), entry(2), vec![6, 0, 0]];
    let purge = [&[4, 0, 9][..], &index(2), b"x"].concat();
    let seeds = vec![records.concat(), [records.concat(), purge, vec![5, 4, 1, 7], entry(3)].concat()];
    crate::fuzz::bear("log", seeds, |bytes| {
        let whole = BytesMut::from(bytes);
        let record = match Record::decode(1, &Bytes::copy_from_slice(bytes)) {
            Decoded::Record { size, .. } => size <= bytes.len(),
            Decoded::Invalid => true,
        };
        assert!(record);
        let behind = [&segment::header(1, false)[..], bytes].concat();
        format!("{} {} {}", told(vec![whole]), told(vec![BytesMut::from(&behind[..])]), told(sound(bytes)))
    });
}
