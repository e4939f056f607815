//! The directories still to be walked: one stack for all threads.
//!
//! Owns: handing out directories, and knowing when there can be no more. Does not own: what is done with them.
//! Invariants: last in, first out, so that the stack holds no more than the siblings along the current paths; a worker
//! that ends in a panic ends the others too, instead of letting them wait for ever. Callers: `walk`.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::sys::lock::lock;
use crate::sys::source::Identity;

/// A directory to be walked.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) root: usize,
    /// Relative to the root.
    pub(crate) path: Vec<u8>,
    pub(crate) identity: Identity,
    /// The directories it lies in, where links are followed: a link to one of them must not be.
    pub(crate) above: Option<Arc<Above>>,
}

/// A directory and those above it.
#[derive(Debug)]
pub(crate) struct Above {
    /// Device and inode.
    pub(crate) inode: (u64, u64),
    pub(crate) above: Option<Arc<Above>>,
}

impl Dir {
    /// The chain that begins with this directory.
    pub(crate) fn chain(&self) -> Arc<Above> {
        Arc::new(Above { inode: (self.identity.dev, self.identity.ino), above: self.above.clone() })
    }
}

impl Above {
    /// Whether the directory with that inode is in the chain.
    pub(crate) fn holds(&self, inode: (u64, u64)) -> bool {
        std::iter::successors(Some(self), |at| at.above.as_deref()).any(|at| at.inode == inode)
    }
}

#[derive(Debug)]
pub(crate) struct Todo {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    stack: Vec<Dir>,
    /// Directories handed out and not finished: each may still add more.
    open_count: usize,
    stopped: bool,
}

/// A directory in the hands of a worker; finished when dropped.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    todo: &'a Todo,
    pub(crate) dir: Dir,
}

impl Todo {
    /// Directories are handed out from the end of `stack`.
    pub(crate) fn new(stack: Vec<Dir>) -> Self {
        Self { state: Mutex::new(State { stack, open_count: 0, stopped: false }), changed: Condvar::new() }
    }

    /// The next directory; waits while others may still find some. `None` when all is done or stopped.
    pub(crate) fn take(&self) -> Option<Taken<'_>> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(dir) = state.stack.pop() {
                state.open_count += 1;
                return Some(Taken { todo: self, dir });
            }
            if state.open_count == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Adds directories; the last one is handed out first.
    pub(crate) fn add(&self, dirs: Vec<Dir>) {
        if !dirs.is_empty() {
            self.lock().stack.extend(dirs);
            self.changed.notify_all();
        }
    }

    /// Hands out nothing any more.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.todo.lock();
        state.open_count -= 1;
        state.stopped |= std::thread::panicking();
        if state.open_count == 0 || state.stopped {
            self.todo.changed.notify_all();
        }
    }
}
