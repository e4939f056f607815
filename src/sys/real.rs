//! `RealFs`: the file system of the operating system, through rustix.
//!
//! Owns: open flags, the fallback from direct to buffered access, the emulation of a rename that never replaces.
//! Does not own: policy, retries, paths.
//! Invariants: no symbolic link is followed in the last component; descriptors are closed on exec; a failed sync is
//! returned, never repeated. Callers: `World::real`, tests.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Advice, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::sys::fs::{Access, DirItem, Fs, FsFile, Kind, PastCache, Space, Stat, check_aligned};
use crate::sys::mounts;

/// `f_type` of whatever is mounted through FUSE. Source: Linux, include/uapi/linux/magic.h.
const FUSE_MAGIC: rustix::fs::FsWord = 0x6573_5546;
/// `f_type` of OpenZFS. Source: OpenZFS, include/sys/fs/zfs.h.
const ZFS_MAGIC: rustix::fs::FsWord = 0x2FC1_2FC1;

/// The file system of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

/// An open file of [`RealFs`].
#[derive(Debug)]
struct RealFile {
    file: File,
    access: Access,
}

impl Fs for RealFs {
    fn create_new(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        open(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, access)
    }

    fn open_read(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        open(path, OFlags::RDONLY, access)
    }

    fn open_write(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        open(path, OFlags::RDWR, access)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirItem>> {
        let mut items = Vec::new();
        for item in std::fs::read_dir(dir)? {
            let item = item?;
            let meta = item.metadata()?;
            let len = if meta.is_file() { meta.len() } else { 0 };
            items.push(DirItem { name: item.file_name(), is_dir: meta.is_dir(), len });
        }
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(items)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let meta = std::fs::symlink_metadata(path)?;
        let kind = match meta.file_type() {
            t if t.is_file() => Kind::File,
            t if t.is_dir() => Kind::Dir,
            t if t.is_symlink() => Kind::Symlink,
            _ => Kind::Other,
        };
        Ok(Stat { kind, len: if kind == Kind::File { meta.len() } else { 0 } })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755))?)
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => rename_checked(from, to),
            other => Ok(other?),
        }
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::renameat(CWD, from, CWD, to)?)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(CWD, dir, flags, Mode::empty())?;
        match rustix::fs::fsync(&handle) {
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let facts = rustix::fs::statvfs(dir)?;
        let unit = facts.f_frsize.max(1);
        let device_id = std::fs::metadata(dir)?.dev();
        let type_name = match mounts::type_of_device(device_id) {
            Some(name) => name,
            None => format!("{:#x}", rustix::fs::statfs(dir)?.f_type),
        };
        Ok(Space {
            free_bytes: facts.f_bavail.saturating_mul(unit),
            total_bytes: facts.f_blocks.saturating_mul(unit),
            block_bytes: unit,
            type_name,
            device_id,
        })
    }
}

impl FsFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        check_aligned(self.access, buf, offset)?;
        self.file.read_at(buf, offset)
    }

    // WHY beside the trait's own: that clears the memory first, which the read overwrites.
    fn append_at(&self, buf: &mut Vec<u8>, count: usize, offset: u64) -> io::Result<()> {
        if self.access == Access::Direct {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let begin = buf.len();
        buf.reserve_exact(count);
        while buf.len() - begin < count {
            let done = buf.len() - begin;
            match rustix::io::pread(&self.file, rustix::buffer::spare_capacity(buf), offset + done as u64) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        buf.truncate(begin + count); // the allocator may have given more room than was asked for
        Ok(())
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        check_aligned(self.access, buf, offset)?;
        self.file.write_all_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let none = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&self.file, none, 0, len).map_err(|errno| match errno {
            Errno::OPNOTSUPP | Errno::NOSYS => io::ErrorKind::Unsupported.into(),
            other => other.into(),
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn access(&self) -> Access {
        self.access
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }

    /// WHY beside the trait's own: there are file systems for which direct access says less than it seems to. Behind FUSE
    /// stands a program that reads its device through the page cache of that device; ZFS answers from its own cache.
    fn pass_cache(&self) -> PastCache {
        let Ok(facts) = rustix::fs::fstatfs(&self.file) else { return PastCache::No };
        let is_forgotten = || self.access == Access::Direct || self.drop_cache().is_ok();
        match facts.f_type {
            ZFS_MAGIC => PastCache::No,
            FUSE_MAGIC if is_forgotten() && forget_device(&self.file).is_ok() => PastCache::Dropped,
            FUSE_MAGIC => PastCache::No,
            _ if self.access == Access::Direct => PastCache::Direct,
            _ if is_forgotten() => PastCache::Dropped,
            _ => PastCache::No,
        }
    }
}

/// Has the kernel forget what it keeps of the block device under a file. Fails where there is none, or this process may
/// not read it.
fn forget_device(file: &File) -> io::Result<()> {
    let device_id = file.metadata()?.dev();
    let path = mounts::source_of_device(device_id).ok_or(io::ErrorKind::NotFound)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let device = File::from(rustix::fs::openat(CWD, &path, flags, Mode::empty())?);
    let meta = device.metadata()?;
    if !meta.file_type().is_block_device() || meta.rdev() != device_id {
        return Err(io::ErrorKind::NotFound.into());
    }
    device.sync_data()?; // only what is written out can be forgotten
    Ok(rustix::fs::fadvise(&device, 0, None, Advice::DontNeed)?)
}

/// Opens a regular file and switches it to direct access if that was asked for and the file system grants it.
///
/// WHY afterwards by `fcntl`: some file systems create the file before they refuse `O_DIRECT` in `open`, so that a
/// second exclusive creation would find its own file.
/// WHY `O_NONBLOCK`: a fifo planted on a volume must not hang the program; for regular files it means nothing.
fn open(path: &Path, flags: OFlags, access: Access) -> io::Result<Box<dyn FsFile>> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o644))?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let granted = match access {
        Access::Buffered => Access::Buffered,
        Access::Direct => {
            let status = rustix::fs::fcntl_getfl(&file)?;
            match rustix::fs::fcntl_setfl(&file, status | OFlags::DIRECT) {
                Ok(()) => Access::Direct,
                Err(Errno::INVAL | Errno::OPNOTSUPP) => Access::Buffered,
                Err(errno) => return Err(errno.into()),
            }
        }
    };
    Ok(Box::new(RealFile { file, access: granted }))
}

/// Rename for file systems without `RENAME_NOREPLACE`: looks first. Another process could take the name in between;
/// a volume has one writer.
fn rename_checked(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(rustix::fs::renameat(CWD, from, CWD, to)?),
        Err(error) => Err(error),
    }
}
