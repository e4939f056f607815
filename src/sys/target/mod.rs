//! Writing a tree below one directory, and nowhere else, whatever the paths say.
//!
//! Owns: resolving relative paths beneath a root handle without following any symbolic link, creating entries, marking
//! them unfinished until their metadata is set. Does not own: what is written (`extract`).
//! Invariants: no call touches anything outside the root, even if the tree below is full of hostile links or changed by
//! others meanwhile; nothing that exists is ever replaced here; a file or directory made here carries an unfinished mark
//! (see [`is_unfinished`]) until `finish`, so that an interrupted run can be told from somebody else's work.
//! Callers: `extract`.

mod direct;
mod meta;
mod resolve;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::sys::device::{self, Medium};
use crate::sys::lock::lock;
use crate::sys::source::{Identity, SourceKind, identity_beneath};
use crate::sys::target::direct::{DIRECT_FILE_BYTES_MIN, Direct};
pub use crate::sys::target::meta::{Meta, MetaProblem};
use crate::sys::target::resolve::Resolver;

/// Mode of a file until it is finished: the sticky bit means nothing on a file, and nobody else uses it.
const FILE_UNFINISHED: u32 = 0o1600;
/// Mode of a directory until it is finished.
const DIR_UNFINISHED: u32 = 0o1700;

/// A directory to write below.
#[derive(Debug)]
pub struct TargetRoot {
    resolver: Resolver,
    made: Mutex<BTreeSet<Vec<u8>>>,
    /// Whether large files are written past the page cache. WHY not where platters turn: pieces of several files arrive side by
    /// side, and the cache puts each file's together; nor over a network, where it is what makes large requests.
    is_direct: bool,
    /// The root, opened before anything is written: a kernel tells it of every write that failed since.
    synced: OwnedFd,
}

/// A new file below the root.
#[derive(Debug)]
pub struct TargetFile {
    file: File,
    direct: Option<Direct>,
}

/// What kind of special file to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Named pipe.
    Fifo,
    /// Character device with major and minor number.
    Char(u32, u32),
    /// Block device with major and minor number.
    Block(u32, u32),
}

/// Whether an entry was made by this module and never finished: the rest of an interrupted run.
pub fn is_unfinished(identity: &Identity) -> bool {
    let ours = identity.uid == rustix::process::geteuid().as_raw();
    match identity.kind {
        SourceKind::File => ours && identity.mode == FILE_UNFINISHED && identity.nlink == 1,
        SourceKind::Dir => ours && identity.mode == DIR_UNFINISHED,
        _ => false,
    }
}

impl TargetRoot {
    /// Opens the directory, which is made (unfinished) if only its last component is missing. A symbolic link is followed
    /// here, and only here: the user named it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut made = BTreeSet::new();
        match rustix::fs::mkdirat(rustix::fs::CWD, path, Mode::from_raw_mode(DIR_UNFINISHED)) {
            Ok(()) => drop(made.insert(Vec::new())),
            Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let is_direct = matches!(device::medium(path), Medium::Solid | Medium::Unknown);
        let resolver = Resolver::open(path)?;
        let synced = resolver.readable(b"")?;
        Ok(Self { resolver, made: Mutex::new(made), is_direct, synced })
    }

    /// Waits until everything written so far is on the medium: the whole file system of the root, in one go. A call for each
    /// file would make the drive wait for each of them.
    ///
    /// # Errors
    /// When something written since the root was opened did not reach the medium; which file it belongs to is not known.
    pub fn sync(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&self.synced)?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::sync();
        // File systems in user space are asked for themselves: the kernel does not pass the call above on to them.
        match rustix::fs::fsync(&self.synced) {
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Directories that were made through this handle, the root among them as the empty path.
    pub fn made_dirs(&self) -> BTreeSet<Vec<u8>> {
        lock(&self.made).clone()
    }

    /// Gives a directory that was made here a mode, and nothing else.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_up(&self, path: &[u8], mode: u32) -> io::Result<()> {
        let handle = self.resolver.readable(path)?;
        Ok(rustix::fs::fchmod(&handle, Mode::from_raw_mode(mode))?)
    }

    /// Makes a directory and those above it, as far as they are missing.
    ///
    /// # Errors
    /// The kernel's; `ELOOP` or `ENOTDIR` if a component is a symbolic link or no directory.
    pub fn make_dirs(&self, path: &[u8]) -> io::Result<()> {
        self.dir(path).map(|_| ())
    }

    /// Makes a file, which will have `bytes` bytes, and the directories above it. `AlreadyExists` if the name is taken, whatever
    /// by.
    ///
    /// # Errors
    /// The kernel's, as for [`TargetRoot::make_dirs`].
    pub fn create_file(&self, path: &[u8], bytes: u64) -> io::Result<TargetFile> {
        let (dir, name) = self.place(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&*dir, name, flags, Mode::from_raw_mode(FILE_UNFINISHED))?);
        let is_large = bytes >= DIRECT_FILE_BYTES_MIN;
        let direct = if self.is_direct && is_large { Direct::open(&dir, name, &file) } else { None };
        Ok(TargetFile { file, direct })
    }

    /// Facts about an entry, without following a symbolic link.
    ///
    /// # Errors
    /// The kernel's, `NotFound` among them.
    pub fn identity(&self, path: &[u8]) -> io::Result<Identity> {
        if path.is_empty() {
            return identity_beneath(&*self.resolver.existing(b"")?, b".");
        }
        let (parent, name) = resolve::split(path)?;
        identity_beneath(&*self.resolver.existing(parent)?, name)
    }

    /// Where a symbolic link points.
    ///
    /// # Errors
    /// The kernel's.
    pub fn link_target(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let (parent, name) = resolve::split(path)?;
        Ok(rustix::fs::readlinkat(&*self.resolver.existing(parent)?, name, Vec::new())?.into_bytes())
    }

    /// Removes an entry that is no directory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = resolve::split(path)?;
        Ok(rustix::fs::unlinkat(&*self.resolver.existing(parent)?, name, AtFlags::empty())?)
    }

    /// Makes a symbolic link to any bytes. `AlreadyExists` if the name is taken.
    ///
    /// # Errors
    /// The kernel's, as for [`TargetRoot::make_dirs`].
    pub fn symlink(&self, target: &[u8], path: &[u8]) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        Ok(rustix::fs::symlinkat(target, &*dir, name)?)
    }

    /// Gives the file at `existing` another name. `AlreadyExists` if the name is taken.
    ///
    /// # Errors
    /// The kernel's, as for [`TargetRoot::make_dirs`].
    pub fn hard_link(&self, existing: &[u8], path: &[u8]) -> io::Result<()> {
        let (from_parent, from_name) = resolve::split(existing)?;
        let from = self.resolver.existing(from_parent)?;
        let (dir, name) = self.place(path)?;
        Ok(rustix::fs::linkat(&*from, from_name, &*dir, name, AtFlags::empty())?)
    }

    /// Makes a special file, mode 0600. `AlreadyExists` if the name is taken.
    ///
    /// # Errors
    /// The kernel's: only root may make devices.
    pub fn special(&self, special: Special, path: &[u8]) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        let (file_type, device) = match special {
            Special::Fifo => (FileType::Fifo, 0),
            Special::Char(major, minor) => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
            Special::Block(major, minor) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
        };
        Ok(rustix::fs::mknodat(&*dir, name, file_type, Mode::from_raw_mode(0o600), device)?)
    }

    /// Sets owner and times of a symbolic link, or of a special file also its mode.
    ///
    /// # Errors
    /// What could not be set is in the list; an error means that the entry itself cannot be reached.
    pub fn finish_other(&self, path: &[u8], kind: SourceKind, meta: &Meta<'_>) -> io::Result<Vec<MetaProblem>> {
        let (parent, name) = resolve::split(path)?;
        let dir = self.resolver.existing(parent)?;
        Ok(meta::apply_by_name(&dir, name, kind, meta))
    }

    /// Sets the metadata of a directory; the empty path is the root itself.
    ///
    /// # Errors
    /// As [`TargetRoot::finish_other`].
    pub fn finish_dir(&self, path: &[u8], meta: &Meta<'_>) -> io::Result<Vec<MetaProblem>> {
        // A handle for reading: those for paths only cannot change modes.
        let handle = self.resolver.readable(path)?;
        Ok(meta::apply(&handle, meta))
    }

    /// The directory that will hold `path`, made if needed, and the last name.
    fn place<'a>(&self, path: &'a [u8]) -> io::Result<(Arc<OwnedFd>, &'a [u8])> {
        let (parent, name) = resolve::split(path)?;
        Ok((self.dir(parent)?, name))
    }

    fn dir(&self, path: &[u8]) -> io::Result<Arc<OwnedFd>> {
        match self.resolver.existing(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_empty() => {}
            other => return other,
        }
        let (parent, name) = resolve::split(path)?;
        // As deep as the path has components, and paths are at most 32,767 bytes long.
        let above = self.dir(parent)?;
        match rustix::fs::mkdirat(&*above, name, Mode::from_raw_mode(DIR_UNFINISHED)) {
            Ok(()) => drop(lock(&self.made).insert(path.to_vec())),
            Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.resolver.existing(path)
    }
}

impl TargetFile {
    /// Writes all of `bytes` at `offset`. Returns how many of them the kernel keeps for later.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<u64> {
        let done = self.direct.as_ref().map_or(Ok(0), |direct| direct.write(bytes, offset))?;
        if done < bytes.len() {
            self.file.write_all_at(&bytes[done..], offset + done as u64)?;
        }
        Ok((bytes.len() - done) as u64)
    }

    /// Extends or cuts the file; new bytes are a hole.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    /// Sets the metadata, the mode last: with it the unfinished mark goes. What could not be set is returned.
    pub fn finish(&self, meta: &Meta<'_>) -> Vec<MetaProblem> {
        meta::apply(&self.file, meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_holds_what_was_written_to_it_in_any_order_and_at_any_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = TargetRoot::open(dir.path()).expect("it is there");
        let length = 24 << 20 | 777_usize;
        let whole: Vec<u8> =
            (0..length as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
        let made = root.create_file(b"sub/large", length as u64).expect("it can be made");
        // Whatever the medium is: a file system that has no direct access (some in memory) leaves the ordinary way.
        let (parent, name) = root.place(b"sub/large").expect("it is there");
        let file = TargetFile { direct: Direct::open(&parent, name, &made.file), file: made.file };
        // Aligned pieces, small ones, ones that begin anywhere, the rest of a block at the end; from two threads, backwards.
        let mut pieces = Vec::new();
        let mut at = 0;
        for size in [1 << 20, 4096, 333_333, 1 << 20, 700_000, 9 << 20].iter().cycle() {
            let to = (at + size).min(length);
            pieces.push((at, to));
            at = to;
            if at == length {
                break;
            }
        }
        std::thread::scope(|scope| {
            for half in [0, 1] {
                let (file, whole, pieces) = (&file, &whole, &pieces);
                scope.spawn(move || {
                    for (from, to) in pieces.iter().rev().skip(half).step_by(2) {
                        file.write_all_at(&whole[*from..*to], *from as u64).expect("there is room");
                    }
                });
            }
        });
        assert!(std::fs::read(dir.path().join("sub/large")).expect("it is there") == whole);
    }

    #[test]
    fn another_file_under_the_name_is_not_written_to() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = TargetRoot::open(dir.path()).expect("it is there");
        let made = root.create_file(b"name", 1).expect("it can be made");
        std::fs::rename(dir.path().join("name"), dir.path().join("away")).expect("it can be moved");
        std::fs::write(dir.path().join("name"), b"somebody's").expect("it can be made");
        let (parent, name) = root.place(b"name").expect("it is there");
        assert!(Direct::open(&parent, name, &made.file).is_none());
    }
}
