//! Taking a lock, also after another thread's panic.
//!
//! Why a poisoned lock is no error here: a thread that panics is noticed where it is joined, and the run ends with that; whoever
//! holds the lock meanwhile only tidies up.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. Whatever another thread's panic left behind is there as it was.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
