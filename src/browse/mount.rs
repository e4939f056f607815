//! Volumes as a read-only file system, by FUSE.
//!
//! What is read was authenticated frame by frame; a damaged frame is an I/O error for the stretch it holds and nothing
//! else. Owners, modes, times and links are those of the source.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen, Request,
};

use crate::browse::{Error, Index, Node, Opened, Reader};
use crate::format::record::EntryType;
use crate::sys::lock::lock;

/// Nothing here ever changes.
const FOREVER: Duration = Duration::from_secs(86_400);
/// Names handed out per request to list a directory.
const NAMES: usize = 256;

/// A mount that is there until it is dropped, or somebody unmounts it.
#[derive(Debug)]
pub struct Mounted {
    session: BackgroundSession,
}

impl Mounted {
    /// Whether somebody unmounted it.
    pub fn is_over(&self) -> bool {
        self.session.guard.is_finished()
    }

    /// Unmounts.
    ///
    /// # Errors
    /// When the system refuses, because something is still open below it.
    pub fn unmount(self) -> io::Result<()> {
        // Whoever unmounted it by hand has done all there was to do.
        if self.is_over() { self.session.join() } else { self.session.umount_and_join() }
    }
}

/// Shows the volumes below a directory that exists.
///
/// # Errors
/// When a volume cannot be read, or the system does not let us mount.
pub fn mount(volumes: Opened, dir: &Path) -> Result<Mounted, Error> {
    let index = Index::of(&volumes)?;
    let files = Files { inside: Mutex::new(Inside { index, reader: Reader::new(volumes) }) };
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::FSName("packmule".to_owned()),
        MountOption::DefaultPermissions,
    ];
    let session =
        fuser::spawn_mount(files, dir, &config).map_err(|source| Error::Mount { path: dir.to_owned(), source })?;
    Ok(Mounted { session })
}

struct Files {
    inside: Mutex<Inside>,
}

struct Inside {
    index: Index,
    reader: Reader,
}

impl Inside {
    /// The node whose attributes and content a number has: for a hard link those of the file it shares them with.
    fn file(&self, ino: u64) -> Result<Option<Node>, Error> {
        match self.index.node(ino)? {
            Some(node) if node.entry_type == EntryType::HardLink => self.index.linked(&node),
            found => Ok(found),
        }
    }

    fn attributes(&self, node: &Node) -> Result<FileAttr, Error> {
        let file = match node.entry_type {
            EntryType::HardLink => self.index.linked(node)?,
            _ => None,
        };
        Ok(attributes(file.as_ref().unwrap_or(node)))
    }

    fn read(&mut self, ino: u64, offset: u64, count: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.file(ino)?.filter(|node| node.entry_type == EntryType::File) else { return Ok(None) };
        let count = count.min(file.size.saturating_sub(offset));
        let places = self.index.places(file.id, file.generation, offset, count)?;
        self.reader.read(file.id, file.generation, &places, offset, count).map(Some)
    }
}

impl Files {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        lock(&self.inside)
    }
}

/// An error is told in the log; the caller of `read` can only be given a number.
fn told(error: &Error, ino: u64) -> Errno {
    tracing::error!(ino, error = %error, "a mounted volume cannot be read");
    Errno::EIO
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let inside = self.lock();
        let found = inside.index.child(parent.0, name.as_bytes());
        match found.and_then(|node| node.map(|node| inside.attributes(&node)).transpose()) {
            Ok(Some(attributes)) => reply.entry(&FOREVER, &attributes, Generation(0)),
            Ok(None) => reply.error(Errno::ENOENT),
            Err(error) => reply.error(told(&error, parent.0)),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.lock().file(ino.0) {
            Ok(Some(node)) => reply.attr(&FOREVER, &attributes(&node)),
            Ok(None) => reply.error(Errno::ENOENT),
            Err(error) => reply.error(told(&error, ino.0)),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.lock().index.node(ino.0) {
            Ok(Some(node)) if node.entry_type == EntryType::Symlink => reply.data(&node.target),
            Ok(_) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(told(&error, ino.0)),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
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
        match self.lock().read(ino.0, offset, u64::from(size)) {
            Ok(Some(bytes)) => reply.data(&bytes),
            Ok(None) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(told(&error, ino.0)),
        }
    }

    /// Offsets are numbers of nodes, which only grow: 1 and 2 stand for the two dots.
    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        if offset == 0 && reply.add(ino, 1, FileType::Directory, ".") {
            return reply.ok();
        }
        if offset <= 1 && reply.add(ino, 2, FileType::Directory, "..") {
            return reply.ok();
        }
        // The top is number 1, so no child has a number below 2.
        let after = offset.saturating_sub(2).max(1);
        match self.lock().index.children(ino.0, after, NAMES) {
            Ok(nodes) => {
                for node in nodes {
                    let name = OsStr::from_bytes(&node.name);
                    if reply.add(INodeNo(node.ino), node.ino + 2, kind(node.entry_type), name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(told(&error, ino.0)),
        }
    }
}

fn kind(entry_type: EntryType) -> FileType {
    match entry_type {
        EntryType::File | EntryType::HardLink => FileType::RegularFile,
        EntryType::Directory => FileType::Directory,
        EntryType::Symlink => FileType::Symlink,
        EntryType::Fifo => FileType::NamedPipe,
        EntryType::Socket => FileType::Socket,
        EntryType::CharDevice => FileType::CharDevice,
        EntryType::BlockDevice => FileType::BlockDevice,
    }
}

fn attributes(node: &Node) -> FileAttr {
    let modified = moment(node.mtime_s, node.mtime_ns);
    let size = match node.entry_type {
        EntryType::Symlink => node.target.len() as u64,
        _ => node.size,
    };
    FileAttr {
        ino: INodeNo(node.ino),
        size,
        blocks: size.div_ceil(512),
        atime: modified,
        mtime: modified,
        ctime: modified,
        crtime: modified,
        kind: kind(node.entry_type),
        perm: u16::try_from(node.mode & 0o7777).unwrap_or(0),
        nlink: 1,
        uid: node.uid,
        gid: node.gid,
        rdev: 0,
        flags: 0,
        blksize: 1 << 20,
    }
}

fn moment(s: i64, ns: u32) -> SystemTime {
    let whole = Duration::from_secs(s.unsigned_abs());
    let time = if s >= 0 { UNIX_EPOCH.checked_add(whole) } else { UNIX_EPOCH.checked_sub(whole) };
    time.and_then(|time| time.checked_add(Duration::from_nanos(u64::from(ns)))).unwrap_or(UNIX_EPOCH)
}
