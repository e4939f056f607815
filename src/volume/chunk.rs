//! Chunks of a file in memory, shared by the frames that lie in them: what the drive gave is not copied before it is opened.
//!
//! Invariants: a chunk does not change while anybody looks at it; its memory goes round, so that a pass over a whole volume
//! touches no more of it than is ever in use at once; whoever reads waits when too much is in use.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::sys::aligned::AlignedBuf;
use crate::sys::lock::lock;

/// Bytes read at once unless asked otherwise. Unit: bytes.
const READ_BYTES: usize = 4 << 20;

/// Chunks a window needs beside those that others keep: the one shown, the next one, two that are read ahead, and one that
/// was kept last.
const WINDOW_CHUNKS: usize = 5;

/// Memory for chunks. Clones share it.
#[derive(Debug, Clone)]
pub struct Chunks {
    read_bytes: usize,
    kept_bytes_max: usize,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    given_back: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Buffers that nobody looks at now.
    free: Vec<AlignedBuf>,
    in_use_bytes: usize,
}

impl Default for Chunks {
    fn default() -> Self {
        Self::new(READ_BYTES, usize::MAX / 2)
    }
}

impl Chunks {
    /// Chunks of `read_bytes`. Whoever keeps frames must keep no more than `kept_bytes_max` before some are given back without
    /// the reader's doing: a reader that meets the bound waits for that.
    pub fn new(read_bytes: usize, kept_bytes_max: usize) -> Self {
        Self { read_bytes, kept_bytes_max, shared: Arc::default() }
    }

    /// How much to read at once. Unit: bytes.
    pub(super) fn read_bytes(&self) -> usize {
        self.read_bytes
    }

    /// A buffer of `bytes` bytes, with anything in it. Waits while more are in use than may be.
    pub(super) fn buffer(&self, bytes: usize) -> AlignedBuf {
        let in_use_max = self.kept_bytes_max.saturating_add(WINDOW_CHUNKS * bytes);
        let mut state = self.lock();
        while state.in_use_bytes.saturating_add(bytes) > in_use_max {
            state = self.shared.given_back.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.in_use_bytes += bytes;
        while let Some(buffer) = state.free.pop() {
            if buffer.len() == bytes {
                return buffer;
            }
        }
        drop(state);
        let mut buffer = AlignedBuf::with_capacity(bytes);
        buffer.resize_dirty(bytes);
        buffer
    }

    /// Takes back a buffer that it gave.
    pub(super) fn give_back(&self, buffer: AlignedBuf) {
        let mut state = self.lock();
        state.in_use_bytes = state.in_use_bytes.saturating_sub(buffer.len());
        state.free.extend(Some(buffer).filter(|buffer| !buffer.is_empty()));
        drop(state);
        self.shared.given_back.notify_all();
    }

    /// A chunk that everybody may look at from now on.
    pub(super) fn share(&self, buffer: AlignedBuf) -> Arc<Chunk> {
        Arc::new(Chunk { buffer, home: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }
}

/// A buffer that goes back to where it came from.
pub(super) struct Chunk {
    buffer: AlignedBuf,
    home: Chunks,
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let buffer = std::mem::replace(&mut self.buffer, AlignedBuf::with_capacity(0));
        self.home.give_back(buffer);
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.buffer.len())
    }
}

/// Bytes of a file where they were read. They keep the whole chunk they lie in.
#[derive(Debug, Clone)]
pub struct SharedBytes {
    chunk: Arc<Chunk>,
    range: Range<usize>,
}

impl SharedBytes {
    /// `range` must lie inside the chunk.
    pub(super) fn new(chunk: &Arc<Chunk>, range: Range<usize>) -> Self {
        Self { chunk: Arc::clone(chunk), range }
    }

    /// Length of the chunk they keep in memory. Unit: bytes.
    pub fn kept_bytes(&self) -> usize {
        self.chunk.buffer.len()
    }

    /// Whether both lie in one chunk, so that the second keeps no more memory than the first.
    pub fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunk, &other.chunk)
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.chunk[self.range.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_chunk_serves_the_next_one_when_the_last_frame_in_it_is_gone() {
        let chunks = Chunks::default();
        let mut buffer = chunks.buffer(8192);
        buffer[..3].copy_from_slice(b"abc");
        let place = buffer.as_ptr();
        let chunk = chunks.share(buffer);
        let (first, second) = (SharedBytes::new(&chunk, 0..2), SharedBytes::new(&chunk, 1..3));
        drop(chunk);
        assert!(first.is_beside(&second));
        drop(first);
        let other = chunks.buffer(8192);
        assert_ne!(other.as_ptr(), place, "somebody looks at it");
        chunks.give_back(other);
        assert_eq!(&*second, b"bc");
        assert_eq!(chunks.lock().free.len(), 1, "the one asked for in between came back");
        drop(second);
        let state = chunks.lock();
        assert_eq!((state.free.len(), state.in_use_bytes), (2, 0));
        assert!(state.free.iter().any(|buffer| buffer.as_ptr() == place));
    }

    #[test]
    fn a_reader_waits_until_what_others_keep_is_within_the_bound() {
        let chunks = Chunks::new(4096, 2 * 4096);
        let kept: Vec<_> = (0..2 + WINDOW_CHUNKS).map(|_| chunks.share(chunks.buffer(4096))).collect();
        let (told, asks) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| told.send(chunks.buffer(4096).len()));
            assert!(asks.recv_timeout(std::time::Duration::from_millis(50)).is_err(), "all of it is in use");
            drop(kept);
            assert_eq!(asks.recv(), Ok(4096));
        });
    }
}
