//! Where disks are plugged in: a FUSE file system whose files are their images, for loop devices to stand on.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner,
    MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite, Request, WriteFlags,
};
use parking_lot::Mutex;

use crate::crash_states::disk::Image;

/// Nothing but its writes changes a file.
const TTL: Duration = Duration::from_secs(3600);
/// The folder is 1.
const FIRST: u64 = 2;

type Images = Arc<Mutex<HashMap<u64, Arc<dyn Image>>>>;

struct Folder {
    bytes: u64,
    images: Images,
}

impl Folder {
    fn attributes(&self, ino: u64) -> FileAttr {
        let folder = ino == u64::from(INodeNo::ROOT);
        let size = if folder { 0 } else { self.bytes };
        FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if folder { FileType::Directory } else { FileType::RegularFile },
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        }
    }

    fn image(&self, ino: INodeNo) -> Option<Arc<dyn Image>> {
        self.images.lock().get(&u64::from(ino)).cloned()
    }
}

impl Filesystem for Folder {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let number = name.to_str().and_then(|name| name.parse::<u64>().ok());
        match number.filter(|number| self.images.lock().contains_key(number)) {
            Some(number) => reply.entry(&TTL, &self.attributes(number), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(u64::from(ino)));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match (self.image(ino), usize::try_from(offset)) {
            (Some(image), Ok(offset)) => reply.data(&image.read(offset, size as usize)),
            _ => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match (self.image(ino), usize::try_from(offset), u32::try_from(data.len())) {
            (Some(image), Ok(offset), Ok(size)) => {
                image.write(offset, data);
                reply.written(size);
            }
            _ => reply.error(Errno::EIO),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // A file was closed: that makes nothing durable.
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.image(ino) {
            Some(image) => {
                image.flush();
                reply.ok();
            }
            None => reply.error(Errno::EIO),
        }
    }
}

/// Where disks can be plugged in.
pub(crate) struct Shelf {
    images: Images,
    next: u64,
    at: PathBuf,
    /// Unmounts when it is dropped.
    _session: BackgroundSession,
}

impl Shelf {
    /// Serves disks of so many bytes at a folder.
    ///
    /// # Errors
    /// Without FUSE, or root.
    pub(crate) fn new(at: &Path, bytes: u64) -> anyhow::Result<Self> {
        std::fs::create_dir_all(at)?;
        let images = Images::default();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("raftsman-chaos".to_owned())];
        let folder = Folder { bytes, images: images.clone() };
        let session = fuser::spawn_mount(folder, at, &config).context("a FUSE file system could not be mounted")?;
        Ok(Shelf { images, next: FIRST, at: at.to_owned(), _session: session })
    }

    /// Plugs a disk in; answers the file that it is.
    pub(crate) fn plug(&mut self, image: Arc<dyn Image>) -> PathBuf {
        // What the kernel remembers of the one before would be wrong for it.
        self.images.lock().retain(|number, _| number + 1 >= self.next);
        self.images.lock().insert(self.next, image);
        self.next += 1;
        self.at.join((self.next - 1).to_string())
    }
}
