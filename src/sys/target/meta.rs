//! Owner, mode, times and extended attributes of what was written.
//!
//! Owns: the order in which they are set. Does not own: which of them are wanted (`extract`).
//! Invariants: the mode comes last, because a change of owner drops the set-id bits, and because it takes the unfinished
//! mark away; a failure of one does not keep the others from being set. Callers: `sys::target` only.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use crate::sys::source::{SourceKind, UnixTime, Xattr};

/// Metadata to set.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    /// User and group number; `None` leaves them.
    pub owner: Option<(u32, u32)>,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// Modification time. The access time is left.
    pub mtime: UnixTime,
    /// Extended attributes.
    pub xattrs: &'a [Xattr],
}

/// Something that could not be set.
#[derive(Debug)]
pub struct MetaProblem {
    /// What: `owner`, `mode`, `time`, or the name of an attribute.
    pub what: String,
    /// Why.
    pub source: io::Error,
}

/// Sets everything through an open handle.
pub(super) fn apply(handle: impl AsFd, meta: &Meta<'_>) -> Vec<MetaProblem> {
    let mut problems = Vec::new();
    let handle = handle.as_fd();
    if let Some((uid, gid)) = meta.owner {
        // Asking costs a fraction of setting, which is a change of the inode and a record in the journal of its own.
        if !rustix::fs::fstat(handle).is_ok_and(|facts| (facts.st_uid, facts.st_gid) == (uid, gid)) {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            note(&mut problems, "owner", rustix::fs::fchown(handle, Some(uid), Some(gid)));
        }
    }
    for xattr in meta.xattrs {
        let name = OsStr::from_bytes(&xattr.name);
        let result = rustix::fs::fsetxattr(handle, name, &xattr.value, XattrFlags::empty());
        note(&mut problems, &name.to_string_lossy(), result);
    }
    note(&mut problems, "time", rustix::fs::futimens(handle, &times(meta.mtime)));
    note(&mut problems, "mode", rustix::fs::fchmod(handle, Mode::from_raw_mode(meta.mode)));
    problems
}

/// Sets what can be set without opening: a fifo or device must not be opened, and a link cannot be.
pub(super) fn apply_by_name(dir: &OwnedFd, name: &[u8], kind: SourceKind, meta: &Meta<'_>) -> Vec<MetaProblem> {
    let mut problems = Vec::new();
    if let Some((uid, gid)) = meta.owner {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let result = rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
        note(&mut problems, "owner", result);
    }
    let result = rustix::fs::utimensat(dir, name, &times(meta.mtime), AtFlags::SYMLINK_NOFOLLOW);
    note(&mut problems, "time", result);
    if kind != SourceKind::Symlink {
        note(&mut problems, "mode", set_mode(dir, name, kind, meta.mode));
    }
    problems
}

/// Sets the mode of a special file through a handle that was not opened for it, so that nothing else can be meant.
fn set_mode(dir: &OwnedFd, name: &[u8], kind: SourceKind, mode: u32) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let found = crate::sys::source::identity_beneath(&handle, b"").map_err(|_| Errno::IO)?;
    if found.kind != kind {
        return Err(Errno::STALE);
    }
    // The kernel changes no mode through such a handle, except by this way round.
    let way_round = format!("/proc/self/fd/{}", handle.as_raw_fd());
    rustix::fs::chmodat(CWD, way_round, Mode::from_raw_mode(mode), AtFlags::empty())
}

fn note(problems: &mut Vec<MetaProblem>, what: &str, result: rustix::io::Result<()>) {
    if let Err(errno) = result {
        problems.push(MetaProblem { what: what.to_owned(), source: errno.into() });
    }
}

fn times(mtime: UnixTime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() },
    }
}
