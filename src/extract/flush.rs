//! When what was written is asked to reach the drive: all along, and once more before anything is called done.
//!
//! Owns: the one place that syncs the target, the bound on what is written and has not reached the drive. Does not own: how
//! a file system is synced (`sys::target`).
//! Invariants: nothing is called extracted before a sync that began after its last byte has succeeded; a sync that failed is
//! told, and a later one that succeeds does not take it back, since the kernel may have dropped what it could not write.
//! Why all along: a kernel may keep gigabytes before it writes anything, so the drive would idle while files are made and the
//! progress would end long before the work. Callers: `engine`.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::sys::lock::lock;

/// After so much a sync begins. Unit: bytes.
const SYNC_EVERY_BYTES: u64 = 256 << 20;
/// With so much beyond the last sync, whoever writes waits for it. Unit: bytes.
const UNSYNCED_BYTES_MAX: u64 = 2 * SYNC_EVERY_BYTES;

/// What was written and what has reached the drive.
#[derive(Debug, Default)]
pub(super) struct Flush {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    written_bytes: u64,
    synced_bytes: u64,
    failed: Option<io::Error>,
    is_over: bool,
}

impl Flush {
    /// So many more bytes were written. Waits while too many have not reached the drive.
    pub(super) fn wrote(&self, bytes: u64) {
        let mut state = lock(&self.state);
        state.written_bytes = state.written_bytes.saturating_add(bytes);
        if state.unsynced_bytes() >= SYNC_EVERY_BYTES {
            self.changed.notify_all();
        }
        while state.unsynced_bytes() >= UNSYNCED_BYTES_MAX && state.failed.is_none() && !state.is_over {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Runs `work` with a thread beside it that calls `sync` whenever much was written, and calls it a last time after all of
    /// `work`. The first error of any of these calls is returned.
    pub(super) fn beside<T>(
        &self,
        sync: impl Fn() -> io::Result<()> + Sync,
        work: impl FnOnce() -> T,
    ) -> (T, io::Result<()>) {
        let done = std::thread::scope(|scope| {
            scope.spawn(|| self.keep_syncing(&sync));
            // Also when `work` panics: the thread would wait for ever, and the scope with it.
            let _over = Over(self);
            work()
        });
        let last = sync();
        let failed = lock(&self.state).failed.take();
        (done, failed.map_or(last, Err))
    }

    fn keep_syncing(&self, sync: &(impl Fn() -> io::Result<()> + Sync)) {
        let mut state = lock(&self.state);
        while !state.is_over && state.failed.is_none() {
            if state.unsynced_bytes() < SYNC_EVERY_BYTES {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let up_to = state.written_bytes;
            drop(state);
            let result = sync();
            state = lock(&self.state);
            state.synced_bytes = up_to;
            state.failed = result.err();
            self.changed.notify_all();
        }
    }
}

impl State {
    fn unsynced_bytes(&self) -> u64 {
        self.written_bytes.saturating_sub(self.synced_bytes)
    }
}

struct Over<'a>(&'a Flush);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).is_over = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn what_is_written_reaches_the_drive_all_along_and_a_last_time_after_everything() {
        let (flush, syncs) = (Flush::default(), AtomicU64::new(0));
        let sync = || {
            syncs.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        let work = || {
            // Nobody gets further ahead than the bound, so each of these but the last few waits for a sync.
            (0..40).for_each(|_| flush.wrote(SYNC_EVERY_BYTES));
            syncs.load(Ordering::SeqCst)
        };
        let (during, result) = flush.beside(sync, work);
        assert!(result.is_ok());
        assert!(during >= 19, "{during}");
        assert!(syncs.load(Ordering::SeqCst) > during, "the last one");
    }

    #[test]
    fn little_is_synced_once_at_the_end() {
        let (flush, syncs) = (Flush::default(), AtomicU64::new(0));
        let sync = || {
            syncs.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        let ((), result) = flush.beside(sync, || flush.wrote(SYNC_EVERY_BYTES - 1));
        assert!(result.is_ok());
        assert_eq!(syncs.into_inner(), 1);
    }

    #[test]
    fn a_sync_that_failed_is_told_though_a_later_one_succeeds_and_nobody_waits_for_it() {
        let (flush, syncs) = (Flush::default(), AtomicU64::new(0));
        let sync = || match syncs.fetch_add(1, Ordering::SeqCst) {
            0 => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        };
        let ((), result) = flush.beside(sync, || (0..9).for_each(|_| flush.wrote(SYNC_EVERY_BYTES)));
        assert_eq!(result.expect_err("the first one failed").raw_os_error(), Some(5));
    }

    #[test]
    fn a_last_sync_that_fails_is_told() {
        let flush = Flush::default();
        let (done, result) = flush.beside(|| Err(io::Error::from_raw_os_error(28)), || 7);
        assert_eq!((done, result.expect_err("it failed").raw_os_error()), (7, Some(28)));
    }
}
