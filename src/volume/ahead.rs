//! Reading a file ahead of whoever uses it, on a thread of its own: the drive reads on while what it gave is worked on.
//!
//! Invariants: an answer comes for every chunk asked for, in the order of asking; when an [`Ahead`] is dropped its thread
//! has ended and the file is no longer in use, so that a volume can be unmounted.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::sys::aligned::AlignedBuf;
use crate::sys::fs::DIRECT_ALIGN_BYTES;
use crate::sys::{Access, FsFile};

/// What one read came to. Bytes before an error are good.
#[derive(Debug)]
pub(super) struct Filled {
    /// Bytes that were read.
    pub(super) bytes: usize,
    /// Whether nothing follows them.
    pub(super) at_end: bool,
    /// Why there are not more.
    pub(super) error: Option<io::Error>,
}

/// Reads at `offset` until `buffer` is full or the file ends.
pub(super) fn fill(file: &dyn FsFile, buffer: &mut [u8], offset: u64) -> Filled {
    let mut bytes = 0;
    while bytes < buffer.len() {
        match file.read_at(&mut buffer[bytes..], offset + bytes as u64) {
            Ok(got) => {
                bytes += got;
                // With direct access nothing can follow an unaligned rest; a buffered read may simply be short.
                let is_end = file.access() == Access::Direct && !got.is_multiple_of(DIRECT_ALIGN_BYTES);
                if got == 0 || is_end {
                    return Filled { bytes, at_end: true, error: None };
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Filled { bytes, at_end: false, error: Some(error) },
        }
    }
    Filled { bytes, at_end: false, error: None }
}

struct Wanted {
    offset: u64,
    buffer: AlignedBuf,
}

struct Given {
    buffer: AlignedBuf,
    filled: Filled,
}

/// A thread that reads chunks of one file.
#[derive(Debug)]
pub(super) struct Ahead {
    wanted: Option<Sender<Wanted>>,
    given: Receiver<Given>,
    /// Offsets asked for and not taken yet.
    pending: VecDeque<u64>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Starts the thread. Chunks are read into the bytes of a buffer from `gap` on. `None` when no thread is to be had.
    pub(super) fn start(file: Arc<dyn FsFile>, gap: usize) -> Option<Self> {
        let (wanted, requests) = unbounded::<Wanted>();
        let (answers, given) = unbounded();
        let work = move || {
            for Wanted { offset, mut buffer } in requests {
                let filled = fill(&*file, &mut buffer[gap..], offset);
                if answers.send(Given { buffer, filled }).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("read ahead".to_owned()).spawn(work).ok()?;
        Some(Self { wanted: Some(wanted), given, pending: VecDeque::new(), thread: Some(thread) })
    }

    /// Asks for the chunk at `offset`.
    pub(super) fn ask(&mut self, offset: u64, buffer: AlignedBuf) {
        if let Some(wanted) = &self.wanted
            && wanted.send(Wanted { offset, buffer }).is_ok()
        {
            self.pending.push_back(offset);
        }
    }

    /// Chunks asked for and not taken yet.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The next chunk: waits for it. `None` when none was asked for.
    pub(super) fn take(&mut self) -> Option<(u64, AlignedBuf, Filled)> {
        let offset = self.pending.pop_front()?;
        let given = self.given.recv().ok()?;
        Some((offset, given.buffer, given.filled))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.wanted = None;
        // Answers nobody takes: the thread must not read on for them.
        while !self.pending.is_empty() && self.take().is_some() {}
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it does not panic, and there is nobody to tell
        }
    }
}
