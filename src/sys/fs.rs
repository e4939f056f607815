//! The door to the file system of volumes and job directories: two small traits and their vocabulary.
//!
//! Owns: the contract of every operation, including what is durable when. Does not own: reading the source tree
//! (`sys::source`), any file format, retries.
//! Invariants: an implementation never follows a symbolic link in the last component; nothing is durable before the
//! matching sync returned without an error (`sync_data` for contents and length, `sync_dir` for names).
//! Callers: `volume`, `job`, verbs. Implementations: `RealFs`, `MemFs`, `FaultFs`.

use std::ffi::OsString;
use std::io;
use std::path::Path;

/// Alignment that `Access::Direct` asks of buffer address, offset and length. Unit: bytes. Source: logical block size
/// of 4Kn drives; 512-byte drives accept it as well.
pub const DIRECT_ALIGN_BYTES: usize = 4096;

/// How the bytes of a file travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Through the page cache.
    Buffered,
    /// Past the page cache (`O_DIRECT`): buffer address, offset and length are multiples of [`DIRECT_ALIGN_BYTES`].
    Direct,
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link (never followed here).
    Symlink,
    /// Anything else: fifo, socket, device.
    Other,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirItem {
    /// The name, without its directory.
    pub name: OsString,
    /// Whether it is a directory (a symbolic link to one is not).
    pub is_dir: bool,
    /// Length in bytes; 0 for anything but regular files.
    pub len: u64,
}

/// Facts about one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Length in bytes; 0 for anything but regular files.
    pub len: u64,
}

/// Room on the file system behind a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    /// Bytes of the whole file system.
    pub total_bytes: u64,
    /// Allocation unit in bytes, at least 1.
    pub block_bytes: u64,
    /// Type as the kernel names it (`ext4`, `exfat`, `tmpfs`), or a hexadecimal magic number where it names none.
    pub type_name: String,
    /// Identity of the device or mount: equal for two directories on one file system.
    pub device_id: u64,
}

/// How far a reading goes past the caches between the program and the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PastCache {
    /// No cache of this machine takes part.
    Direct,
    /// The kernel was asked to forget what it had, and did not refuse.
    Dropped,
    /// What is read may come from memory.
    No,
}

/// The operations of [`Fs`] and [`FsFile`], for doubles that count, record or break them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpKind {
    /// `Fs::create_new`
    CreateNew,
    /// `Fs::open_read`
    OpenRead,
    /// `Fs::open_write`
    OpenWrite,
    /// `Fs::list`
    List,
    /// `Fs::stat`
    Stat,
    /// `Fs::create_dir`
    CreateDir,
    /// `Fs::rename_noreplace` and `Fs::rename_replace`
    Rename,
    /// `Fs::remove_file`
    RemoveFile,
    /// `Fs::sync_dir`
    SyncDir,
    /// `Fs::space`
    Space,
    /// `FsFile::read_at`
    Read,
    /// `FsFile::write_all_at`
    Write,
    /// `FsFile::set_len` and `FsFile::allocate`
    SetLen,
    /// `FsFile::sync_data`
    SyncData,
    /// `FsFile::len`
    Len,
    /// `FsFile::drop_cache`
    DropCache,
}

/// A file system: everything that `volume` and `job` do to files goes through here.
pub trait Fs: Send + Sync + std::fmt::Debug {
    /// Creates a new file, mode 0644, open for reading and writing. `AlreadyExists` if the name is taken, whatever by.
    /// `Access::Direct` falls back to `Buffered` when the file system refuses it; ask the file which one it is.
    fn create_new(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>>;

    /// Opens an existing regular file for reading. A symbolic link is an error.
    fn open_read(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>>;

    /// Opens an existing regular file for reading and writing, as after a crash, to cut it back or to append.
    fn open_write(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>>;

    /// Names in a directory, sorted by their bytes.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirItem>>;

    /// Facts about a path, without following a symbolic link.
    fn stat(&self, path: &Path) -> io::Result<Stat>;

    /// Creates one directory, mode 0755. `AlreadyExists` if the name is taken; the parent must exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Renames; `AlreadyExists` if `to` is taken.
    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames, atomically replacing a file at `to`. Only for key slots: nothing else on a volume is ever replaced.
    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file (not a directory).
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable. Succeeds where the file system has no such operation (`EINVAL`,
    /// `ENOTSUP`); every other failure is returned.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Room on the file system that holds `dir`.
    fn space(&self, dir: &Path) -> io::Result<Space>;
}

/// An open file. All offsets are absolute: a handle has no position and may be shared between threads.
pub trait FsFile: Send + Sync + std::fmt::Debug {
    /// Reads at `offset`; the count may be short, and is 0 only at the end of the file (or for an empty `buf`).
    /// With `Access::Direct`, `buf` and `offset` must be aligned (`InvalidInput` otherwise).
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Appends the `count` bytes at `offset` to `buf`; fewer only at the end of the file. Not for `Access::Direct`, which
    /// wants memory that is aligned (`InvalidInput` then).
    fn append_at(&self, buf: &mut Vec<u8>, count: usize, offset: u64) -> io::Result<()> {
        let mut done = buf.len();
        let begin = done;
        buf.resize(begin + count, 0);
        let result = loop {
            match self.read_at(&mut buf[done..], offset + (done - begin) as u64) {
                Ok(0) => break Ok(()),
                Ok(got) => done += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        buf.truncate(done);
        result
    }

    /// Writes all of `buf` at `offset`. On an error any part of it may have been written.
    /// With `Access::Direct`, `buf` and `offset` must be aligned (`InvalidInput` otherwise).
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts or extends the file; new bytes are zero. Any length is allowed, also with `Access::Direct`.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Sets room aside on the medium for a file of that length, so that writing into it takes none. `Unsupported` where the
    /// file system cannot.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes contents and length durable. After an error the file must not be trusted or synced again: the kernel may
    /// have dropped the pages and would report success.
    fn sync_data(&self) -> io::Result<()>;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// How the bytes travel: `Direct` only if it was asked for and granted.
    fn access(&self) -> Access;

    /// Asks the kernel to forget cached pages, so that the next read comes from the medium. Only synced pages can be
    /// forgotten: call `sync_data` first. A hint; success does not prove an empty cache.
    fn drop_cache(&self) -> io::Result<()>;

    /// Makes the next reading of this file come from the medium, as far as that can be had, and says how far that is.
    fn pass_cache(&self) -> PastCache {
        match self.access() {
            Access::Direct => PastCache::Direct,
            Access::Buffered if self.drop_cache().is_ok() => PastCache::Dropped,
            Access::Buffered => PastCache::No,
        }
    }

    /// Reads exactly `buf.len()` bytes at `offset`; `UnexpectedEof` if the file ends before.
    /// Not for `Access::Direct`, where a short read may leave an unaligned rest.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Checks the alignment that `Access::Direct` asks for; used by every implementation, so that none is kinder.
///
/// # Errors
/// `InvalidInput` naming the rule.
pub fn check_aligned(access: Access, buf: &[u8], offset: u64) -> io::Result<()> {
    let align = DIRECT_ALIGN_BYTES;
    let aligned = buf.as_ptr().addr().is_multiple_of(align)
        && buf.len().is_multiple_of(align)
        && offset.is_multiple_of(align as u64);
    if access == Access::Direct && !aligned {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "direct access needs buffer, offset and length in multiples of 4096 bytes",
        ));
    }
    Ok(())
}
