//! Writing a large file past the page cache. Pages of a cache that is not going to be read from are first cleared, then copied
//! into, then written; for files that are larger than what anybody would keep, that costs more than the drive does.
//!
//! Invariants: what is written is what was given, in every order of calls; where a file system does not want this, or a piece
//! is not aligned, the ordinary way is taken. Both ways may meet in one file, never in one page at a time: an aligned piece
//! is written this way up to its last whole block, and its rest the other.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};

use crate::sys::aligned::AlignedBuf;
use crate::sys::fs::DIRECT_ALIGN_BYTES;

/// Smallest file that is written this way. Unit: bytes.
pub(super) const DIRECT_FILE_BYTES_MIN: u64 = 1 << 20;
/// Smallest piece that is: each waits for the drive. Unit: bytes.
const DIRECT_PIECE_BYTES_MIN: usize = 256 << 10;
/// Most that is written at once. Unit: bytes.
const WRITE_BYTES: usize = 4 << 20;

thread_local! {
    static ALIGNED: RefCell<AlignedBuf> = RefCell::new(AlignedBuf::with_capacity(0));
}

/// A second way into a file.
#[derive(Debug)]
pub(super) struct Direct {
    file: File,
    is_refused: AtomicBool,
}

impl Direct {
    /// Opens the file that was just made as `name` in `dir` a second time; `None` where that cannot be had.
    pub(super) fn open(dir: &OwnedFd, name: &[u8], made: &File) -> Option<Self> {
        let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty()).ok()?);
        // Somebody else may have put another file there meanwhile.
        let (made, opened) = (made.metadata().ok()?, file.metadata().ok()?);
        let is_same = (made.dev(), made.ino()) == (opened.dev(), opened.ino());
        is_same.then(|| Self { file, is_refused: AtomicBool::new(false) })
    }

    /// Writes as much of `bytes` as can be written this way, and says how much that was.
    ///
    /// # Errors
    /// The kernel's, but not that it does not want this way.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let is_aligned = offset.is_multiple_of(DIRECT_ALIGN_BYTES as u64);
        if !is_aligned || bytes.len() < DIRECT_PIECE_BYTES_MIN || self.is_refused.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let whole = bytes.len() - bytes.len() % DIRECT_ALIGN_BYTES;
        ALIGNED.with_borrow_mut(|aligned| {
            let capacity = whole.min(WRITE_BYTES);
            if aligned.capacity() < capacity {
                *aligned = AlignedBuf::with_capacity(capacity);
            }
            let mut done = 0;
            while done < whole {
                aligned.clear();
                let taken = aligned.push(&bytes[done..whole.min(done + capacity)]);
                match self.file.write_all_at(aligned, offset + done as u64) {
                    Ok(()) => done += taken,
                    Err(error) if is_refusal(&error) => {
                        self.is_refused.store(true, Ordering::Relaxed);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(done)
        })
    }
}

/// Whether the file system has no direct access of that kind, though it let the file be opened for it.
fn is_refusal(error: &io::Error) -> bool {
    let refusals = [rustix::io::Errno::INVAL, rustix::io::Errno::OPNOTSUPP];
    refusals.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
