//! Reading the source tree: opening without side effects, and everything the kernel knows about an entry.
//!
//! Owns: open flags, identity and facts of an entry, holes, directory listings. Does not own: what is selected or how it
//! is walked (`scan`), what a change during reading means (`stage`).
//! Invariants: the source is never written, not even its access times where the kernel lets us; a symbolic link is never
//! followed in the last component; a fifo or device that took the place of a file is refused, never read.
//! Callers: `scan`, `stage`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, SeekFrom, StatxFlags};
use rustix::io::Errno;

use crate::sys::fault::{Fault, Rules, strike};
use crate::sys::fs::OpKind;
pub use crate::sys::source_attrs::{Xattr, xattrs_of_file, xattrs_of_path};
use crate::sys::source_faults::script;

/// A moment as file systems store it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct UnixTime {
    /// Seconds since 1970-01-01 UTC; negative before.
    pub seconds: i64,
    /// Nanoseconds after that second: 0 to 999,999,999.
    pub nanos: u32,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
    /// Block device.
    Block,
    /// Character device.
    Char,
    /// Something this kernel knows and we do not.
    Unknown,
}

/// What the kernel knows about an entry. Two of them tell whether a file changed in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// What it is.
    pub kind: SourceKind,
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number, unique in its file system.
    pub ino: u64,
    /// Length. Unit: bytes.
    pub size: u64,
    /// Space on the medium. Unit: bytes. Less than `size` for a sparse or compressed file.
    pub allocated_bytes: u64,
    /// Last change of the contents.
    pub mtime: UnixTime,
    /// Last change of the inode; cannot be set by programs.
    pub ctime: UnixTime,
    /// Creation, where the file system keeps it.
    pub birth: Option<UnixTime>,
    /// Permissions with set-uid, set-gid and sticky bits: the lower twelve bits of `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names (hard links).
    pub nlink: u32,
    /// For devices, the device they stand for.
    pub rdev: u64,
}

impl Identity {
    /// Whether the contents may differ from when `earlier` was taken: inode, length, mtime or ctime are not the same.
    pub fn changed_since(&self, earlier: &Identity) -> bool {
        (self.dev, self.ino, self.size, self.mtime, self.ctime)
            != (earlier.dev, earlier.ino, earlier.size, earlier.mtime, earlier.ctime)
    }
}

/// Major and minor number of a device.
pub fn device_numbers(rdev: u64) -> (u32, u32) {
    (rustix::fs::major(rdev), rustix::fs::minor(rdev))
}

/// A regular file of the source, open for reading.
#[derive(Debug)]
pub struct SourceFile {
    file: File,
    /// Faults by script, in tests.
    faults: Option<(Rules, PathBuf)>,
}

impl SourceFile {
    /// Opens for reading, without touching the access time where we are allowed to.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` if the path is no regular file (any more), `ELOOP` if it is a symbolic link.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_and_look(path).map(|(file, _)| file)
    }

    /// Opens for reading, and tells what it is at that moment.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_and_look(path: &Path) -> io::Result<(Self, Identity)> {
        let faults = script(path).map(|rules| (rules, path.to_owned()));
        broken(faults.as_ref(), OpKind::OpenRead)?;
        // WHY O_NONBLOCK: a fifo in the place of a file must be refused, not waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let handle = match rustix::fs::openat(CWD, path, flags | OFlags::NOATIME, Mode::empty()) {
            // Only the owner and root may leave the access time alone.
            Err(Errno::PERM) => rustix::fs::openat(CWD, path, flags, Mode::empty())?,
            other => other?,
        };
        let source = Self { file: File::from(handle), faults };
        let identity = source.identity()?;
        if identity.kind != SourceKind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok((source, identity))
    }

    /// Facts about the open file, whatever its name leads to now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn identity(&self) -> io::Result<Identity> {
        broken(self.faults.as_ref(), OpKind::Stat)?;
        Ok(identity_at(&self.file, Path::new(""), AtFlags::EMPTY_PATH)?)
    }

    /// Reads at `offset`; the count may be short, and is 0 only at the end of the file (or for an empty `buf`).
    ///
    /// # Errors
    /// The kernel's, `EIO` among them.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = match broken(self.faults.as_ref(), OpKind::Read)? {
            Some(Fault::ShortRead(bytes)) => bytes.clamp(1, buf.len().max(1)).min(buf.len()),
            _ => buf.len(),
        };
        loop {
            match self.file.read_at(&mut buf[..count], offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Reads until `buf` is full or the file ends; returns how much that was.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read_full_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset + done as u64)? {
                0 => break,
                count => done += count,
            }
        }
        Ok(done)
    }

    /// Next stretch at or after `offset` that holds data: start and end, in bytes. `None` if only a hole is left.
    /// File systems that know no holes tell one stretch up to the end of the file.
    ///
    /// # Errors
    /// The kernel's.
    pub fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return self.whole_rest(offset),
            Err(errno) => return Err(errno.into()),
        };
        Ok(Some((start, rustix::fs::seek(&self.file, SeekFrom::Hole(start))?)))
    }

    /// Asks the kernel to forget cached pages of the file. A hint; dirty pages stay.
    ///
    /// # Errors
    /// The kernel's.
    pub fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)?)
    }

    /// Extended attributes, sorted by name. Empty where the file system has none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        xattrs_of_file(&self.file)
    }

    fn whole_rest(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        let size = self.identity()?.size;
        Ok((offset < size).then_some((offset, size)))
    }
}

/// The fault for this call, if a script has one.
fn broken(faults: Option<&(Rules, PathBuf)>, kind: OpKind) -> io::Result<Option<Fault>> {
    faults.map_or(Ok(None), |(rules, path)| strike(rules, kind, &[path]))
}

/// Facts about a path, without following a symbolic link.
///
/// # Errors
/// The kernel's.
pub fn identity(path: &Path) -> io::Result<Identity> {
    Ok(identity_at(CWD, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)?)
}

/// Facts about one name in an open directory, without following a symbolic link; the empty name is the handle itself.
///
/// # Errors
/// The kernel's.
pub fn identity_beneath(dir: impl rustix::fd::AsFd, name: &[u8]) -> io::Result<Identity> {
    use std::os::unix::ffi::OsStrExt;
    let name = Path::new(std::ffi::OsStr::from_bytes(name));
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    Ok(identity_at(dir, name, flags)?)
}

/// Facts about what a path leads to, symbolic links followed: for the roots that the user names.
///
/// # Errors
/// The kernel's.
pub fn identity_followed(path: &Path) -> io::Result<Identity> {
    Ok(identity_at(CWD, path, AtFlags::empty())?)
}

/// Where a symbolic link points, byte for byte.
///
/// # Errors
/// The kernel's; `InvalidInput` if it is no symbolic link.
pub fn link_target(path: &Path) -> io::Result<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    Ok(std::fs::read_link(path)?.into_os_string().into_vec())
}

/// The number that stands for a device in `Identity::rdev`.
pub fn device_number(major: u32, minor: u32) -> u64 {
    rustix::fs::makedev(major, minor)
}

/// Whether this process may read a path, as far as the kernel tells without opening it.
pub fn is_readable(path: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EACCESS;
    match rustix::fs::accessat(CWD, path, rustix::fs::Access::READ_OK, flags) {
        // Kernels before 5.8 have no flags here, and the C library refuses what it cannot emulate.
        Err(Errno::INVAL | Errno::NOSYS) => true,
        other => other.is_ok(),
    }
}

/// A whole file that the user named; `-` is standard input.
///
/// # Errors
/// The kernel's.
pub fn read_named(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(path)
}

/// The absolute path without symbolic links that a path given by the user leads to.
///
/// # Errors
/// The kernel's, `NotFound` among them.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}

fn identity_at(at: impl rustix::fd::AsFd, path: &Path, flags: AtFlags) -> rustix::io::Result<Identity> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    match rustix::fs::statx(&at, path, flags, mask) {
        Ok(facts) => Ok(from_statx(&facts)),
        // Kernels before 4.11 and some sandboxes.
        Err(Errno::NOSYS) => rustix::fs::statat(&at, path, flags).map(|facts| from_stat(&facts)),
        Err(errno) => Err(errno),
    }
}

fn from_statx(facts: &rustix::fs::Statx) -> Identity {
    let time = |t: &rustix::fs::StatxTimestamp| UnixTime { seconds: t.tv_sec, nanos: t.tv_nsec };
    let has_birth = StatxFlags::from_bits_retain(facts.stx_mask).contains(StatxFlags::BTIME);
    let mode = u32::from(facts.stx_mode);
    Identity {
        kind: kind(FileType::from_raw_mode(mode)),
        dev: rustix::fs::makedev(facts.stx_dev_major, facts.stx_dev_minor),
        ino: facts.stx_ino,
        size: facts.stx_size,
        allocated_bytes: facts.stx_blocks.saturating_mul(512),
        mtime: time(&facts.stx_mtime),
        ctime: time(&facts.stx_ctime),
        birth: has_birth.then(|| time(&facts.stx_btime)),
        mode: mode & 0o7777,
        uid: facts.stx_uid,
        gid: facts.stx_gid,
        nlink: facts.stx_nlink,
        rdev: rustix::fs::makedev(facts.stx_rdev_major, facts.stx_rdev_minor),
    }
}

// WHY the allows: the widths of these C fields differ between processors.
#[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
fn from_stat(facts: &rustix::fs::Stat) -> Identity {
    let nanos = |value: u64| u32::try_from(value).unwrap_or(0);
    Identity {
        kind: kind(FileType::from_raw_mode(facts.st_mode)),
        dev: facts.st_dev.into(),
        ino: facts.st_ino.into(),
        size: u64::try_from(facts.st_size).unwrap_or(0),
        allocated_bytes: u64::try_from(facts.st_blocks).unwrap_or(0).saturating_mul(512),
        mtime: UnixTime { seconds: facts.st_mtime.into(), nanos: nanos(facts.st_mtime_nsec.into()) },
        ctime: UnixTime { seconds: facts.st_ctime.into(), nanos: nanos(facts.st_ctime_nsec.into()) },
        birth: None,
        mode: facts.st_mode & 0o7777,
        uid: facts.st_uid,
        gid: facts.st_gid,
        nlink: u32::try_from(facts.st_nlink).unwrap_or(u32::MAX),
        rdev: facts.st_rdev.into(),
    }
}

fn kind(file_type: FileType) -> SourceKind {
    match file_type {
        FileType::RegularFile => SourceKind::File,
        FileType::Directory => SourceKind::Dir,
        FileType::Symlink => SourceKind::Symlink,
        FileType::Fifo => SourceKind::Fifo,
        FileType::Socket => SourceKind::Socket,
        FileType::BlockDevice => SourceKind::Block,
        FileType::CharacterDevice => SourceKind::Char,
        FileType::Unknown => SourceKind::Unknown,
    }
}
