//! The memory budget: a buffer is a permit, and there are only so many.
//!
//! Owns: counting bytes in use, waiting for room in order of arrival, the peak. Does not own: the memory itself; whoever
//! holds a permit allocates no more than it says.
//! Invariants: bytes in use never exceed the total; a permit gives its bytes back when dropped, also in a panic; those
//! who wait are served in order, so that a large request is not starved by small ones; a request that can never be
//! granted is an error at once, never a wait without end.
//! Callers: engines of verbs. A thread must not wait for a second permit while it holds one that others wait for.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::sys::lock::lock;

/// Why memory was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// The request is larger than the whole budget.
    #[error("{wanted_bytes} bytes of memory were asked for, but the whole budget is {total_bytes}")]
    TooLarge {
        /// What was asked for.
        wanted_bytes: u64,
        /// What there is in all.
        total_bytes: u64,
    },
}

/// A number of bytes that may be in use at once. Clones share one budget.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    total_bytes: u64,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used_bytes: u64,
    peak_bytes: u64,
    next_ticket: u64,
    serving: u64,
}

/// The right to hold a number of bytes. Dropping it gives them back.
#[derive(Debug)]
#[must_use = "a permit that is dropped gives its bytes back at once"]
pub struct Permit {
    shared: Arc<Shared>,
    bytes: u64,
}

impl MemoryBudget {
    /// A budget of `total_bytes`, all of it free.
    pub fn new(total_bytes: u64) -> Self {
        Self { shared: Arc::new(Shared { total_bytes, state: Mutex::default(), freed: Condvar::new() }) }
    }

    /// Waits until `bytes` are free and takes them. Requests are served in order of arrival.
    ///
    /// # Errors
    /// `TooLarge` at once if the whole budget is smaller.
    pub fn acquire(&self, bytes: u64) -> Result<Permit, BudgetError> {
        self.check(bytes)?;
        let shared = &self.shared;
        let mut state = shared.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        while ticket != state.serving || state.used_bytes + bytes > shared.total_bytes {
            state = shared.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.serving += 1;
        // WHY notify: the next in line may fit into what is left.
        shared.freed.notify_all();
        Ok(shared.take(&mut state, bytes))
    }

    /// Takes `bytes` if they are free now and nobody waits; `None` otherwise.
    ///
    /// # Errors
    /// `TooLarge` if the whole budget is smaller.
    pub fn try_acquire(&self, bytes: u64) -> Result<Option<Permit>, BudgetError> {
        self.check(bytes)?;
        let mut state = self.shared.lock();
        let waiting = state.next_ticket != state.serving;
        if waiting || state.used_bytes + bytes > self.shared.total_bytes {
            return Ok(None);
        }
        Ok(Some(self.shared.take(&mut state, bytes)))
    }

    /// The whole budget. Unit: bytes.
    pub fn total_bytes(&self) -> u64 {
        self.shared.total_bytes
    }

    /// Bytes in use now.
    pub fn used_bytes(&self) -> u64 {
        self.shared.lock().used_bytes
    }

    /// Most bytes that were ever in use at once.
    pub fn peak_bytes(&self) -> u64 {
        self.shared.lock().peak_bytes
    }

    fn check(&self, wanted_bytes: u64) -> Result<(), BudgetError> {
        let total_bytes = self.shared.total_bytes;
        if wanted_bytes > total_bytes {
            return Err(BudgetError::TooLarge { wanted_bytes, total_bytes });
        }
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn take(self: &Arc<Self>, state: &mut State, bytes: u64) -> Permit {
        state.used_bytes += bytes;
        state.peak_bytes = state.peak_bytes.max(state.used_bytes);
        Permit { shared: Arc::clone(self), bytes }
    }
}

impl Permit {
    /// Bytes this permit stands for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back what is over `bytes`; does nothing if the permit is smaller already.
    pub fn shrink_to(&mut self, bytes: u64) {
        if bytes < self.bytes {
            self.shared.lock().used_bytes -= self.bytes - bytes;
            self.bytes = bytes;
            self.shared.freed.notify_all();
        }
    }

    /// Splits off a permit of `bytes`, or as many as there are if that is less.
    pub fn split_off(&mut self, bytes: u64) -> Permit {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Permit { shared: Arc::clone(&self.shared), bytes }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.lock().used_bytes -= self.bytes;
        self.shared.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_request_larger_than_the_whole_is_an_error_at_once() {
        let budget = MemoryBudget::new(10);
        let wanted = BudgetError::TooLarge { wanted_bytes: 11, total_bytes: 10 };
        assert_eq!(budget.acquire(11).expect_err("too large"), wanted);
        assert!(budget.try_acquire(u64::MAX).is_err());
    }

    #[test]
    fn bytes_come_back_when_permits_go_and_the_peak_stays() {
        let budget = MemoryBudget::new(10);
        let mut first = budget.acquire(6).expect("fits");
        assert!(budget.try_acquire(5).expect("could fit").is_none());
        first.shrink_to(2);
        let second = budget.try_acquire(5).expect("could fit").expect("fits now");
        let part = first.split_off(1);
        assert_eq!((first.bytes(), part.bytes(), budget.used_bytes()), (1, 1, 7));
        drop((first, second, part));
        assert_eq!((budget.used_bytes(), budget.peak_bytes()), (0, 7));
    }

    #[test]
    fn a_panic_gives_the_bytes_back() {
        let budget = MemoryBudget::new(10);
        let clone = budget.clone();
        let result = std::thread::spawn(move || {
            let _permit = clone.acquire(10).expect("fits");
            panic!("on purpose");
        })
        .join();
        assert!(result.is_err());
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_large_request_is_not_overtaken_by_later_small_ones() {
        let budget = MemoryBudget::new(10);
        let held = budget.acquire(5).expect("fits");
        let (done, large_is_done) = mpsc::channel();
        let large = {
            let budget = budget.clone();
            std::thread::spawn(move || {
                let permit = budget.acquire(10).expect("fits when all is free");
                done.send(()).expect("the test listens");
                drop(permit);
            })
        };
        // Wait until the large request stands in line; nothing is asserted about how long that takes.
        while budget.shared.lock().next_ticket < 2 {
            std::thread::yield_now();
        }
        assert!(budget.try_acquire(1).expect("could fit").is_none(), "the large request is first in line");
        drop(held);
        large_is_done.recv().expect("the large request was served");
        large.join().expect("no panic");
        assert_eq!((budget.used_bytes(), budget.peak_bytes()), (0, 10));
    }

    #[test]
    fn many_threads_never_exceed_the_total() {
        let budget = MemoryBudget::new(1000);
        std::thread::scope(|scope| {
            for number in 1..=8u64 {
                let budget = &budget;
                scope.spawn(move || {
                    for round in 0..200 {
                        let permit = budget.acquire((number * 97 + round * 31) % 700).expect("fits");
                        assert!(budget.used_bytes() <= 1000);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(budget.used_bytes(), 0);
        assert!(budget.peak_bytes() <= 1000);
    }
}
