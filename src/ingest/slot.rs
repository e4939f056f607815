//! A booked slot: work ends at a given time, and what was begun by then is complete.
//!
//! Owns: the decision whether an object still fits. Invariants: an object is begun only if, at the rate seen so far, all
//! that is begun will be there in time; one that does not fit is left for the next run as a whole, and a smaller one
//! behind it may still be taken.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::sys::lock::lock;

/// Share of the time left that is kept back for completions and for rates that change.
const RESERVE: f64 = 0.05;
/// Least time kept back at the end. Unit: seconds.
const RESERVE_S: f64 = 2.0;
/// Bytes and time after which the measured rate counts for more than the expected one.
const MEASURED_BYTES: u64 = 32 << 20;
const MEASURED: Duration = Duration::from_secs(2);

/// The slot of a run.
#[derive(Debug)]
pub(super) struct Slot {
    /// When it ends, on the monotonic clock.
    ends: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    expected_rate: Option<f64>,
    began: Option<Duration>,
    admitted_bytes: u64,
    arrived_bytes: u64,
    deferred: u64,
    deferred_bytes: u64,
}

impl State {
    fn rate(&self, now: Duration) -> Option<f64> {
        let watched = now.saturating_sub(self.began.unwrap_or(now));
        let is_measured = self.arrived_bytes >= MEASURED_BYTES && watched >= MEASURED;
        if is_measured { Some(self.arrived_bytes as f64 / watched.as_secs_f64()) } else { self.expected_rate }
    }
}

impl Slot {
    /// A slot that ends then. `expected_rate` is believed until the real one shows. Unit: bytes per second.
    pub(super) fn new(ends: Duration, expected_rate: Option<f64>) -> Self {
        Self { ends, state: Mutex::new(State { expected_rate, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Whether the slot has ended.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        now >= self.ends
    }

    /// Whether an object of so many bytes that are still to be sent is begun.
    pub(super) fn admits(&self, now: Duration, bytes: u64) -> bool {
        let mut state = self.state();
        state.began.get_or_insert(now);
        let left_s = self.ends.saturating_sub(now).as_secs_f64();
        let usable_s = (left_s - RESERVE_S.max(left_s * RESERVE)).max(0.0);
        let outstanding = state.admitted_bytes.saturating_sub(state.arrived_bytes) + bytes;
        // Without any idea of the rate the only way to get one is to begin.
        let fits = left_s > 0.0 && state.rate(now).is_none_or(|rate| outstanding as f64 <= rate * usable_s);
        if fits {
            state.admitted_bytes += bytes;
        } else {
            state.deferred += 1;
            state.deferred_bytes += bytes;
        }
        fits
    }

    /// Bytes are there, or will not come any more.
    pub(super) fn settled(&self, bytes: u64) {
        self.state().arrived_bytes += bytes;
    }

    /// Objects that did not fit, and their bytes.
    pub(super) fn deferred(&self) -> (u64, u64) {
        let state = self.state();
        (state.deferred, state.deferred_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_does_not_fit_waits_and_what_is_smaller_behind_it_goes() {
        let slot = Slot::new(s(102), Some(1e6));
        assert!(slot.admits(s(2), 60_000_000));
        assert!(!slot.admits(s(2), 60_000_000), "both do not fit into 95 s at 1 MB/s");
        assert!(slot.admits(s(2), 30_000_000));
        assert_eq!(slot.deferred(), (1, 60_000_000));
    }

    #[test]
    fn the_rate_that_is_seen_replaces_the_one_that_was_hoped_for() {
        let slot = Slot::new(s(100), Some(1e9));
        assert!(slot.admits(s(0), 40 << 20));
        slot.settled(40 << 20);
        // 40 MiB in 10 s: 4 MiB/s, for 85 s.
        assert!(!slot.admits(s(10), 400 << 20));
        assert!(slot.admits(s(10), 300 << 20));
    }

    #[test]
    fn without_any_rate_the_first_objects_go_and_after_the_end_none() {
        let slot = Slot::new(s(100), None);
        assert!(slot.admits(s(0), 1 << 40));
        assert!(!slot.admits(s(100), 1));
        assert!(slot.is_over(s(100)) && !slot.is_over(s(99)));
    }
}
