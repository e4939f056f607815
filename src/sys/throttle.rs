//! A ceiling on a rate: whoever moves bytes says how many, and waits until the average allows it.
//!
//! Owns: the account of bytes. Does not own: what the bytes are. Invariants: over any stretch no more than the rate times
//! its length, plus a tenth of a second's worth, passes; a pause earns no credit. Callers: `stage`.

use std::sync::Mutex;
use std::time::Duration;

use crate::sys::clock::Clock;
use crate::sys::lock::lock;

/// What may pass at once after a pause, as a share of a second.
const BURST: Duration = Duration::from_millis(100);
/// Longest sleep at a time, so that a stop is not waited for.
const SLEEP_MAX: Duration = Duration::from_millis(200);

/// Holds a rate.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_second: u64,
    /// The moment up to which the account is spent.
    spent_until: Mutex<Duration>,
}

impl Throttle {
    /// A ceiling of so many bytes a second, at least one.
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), spent_until: Mutex::default() }
    }

    /// Takes `bytes` from the account; returns how long to wait before more is moved.
    pub fn take(&self, bytes: u64, now: Duration) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut spent = lock(&self.spent_until);
        *spent = (*spent).max(now.saturating_sub(BURST)) + cost;
        spent.saturating_sub(now)
    }

    /// Takes `bytes` and sleeps until the account allows it, or `is_over` says so.
    pub fn wait(&self, bytes: u64, clock: &dyn Clock, is_over: impl Fn() -> bool) {
        let mut left = self.take(bytes, clock.monotonic());
        while !left.is_zero() && !is_over() {
            let nap = left.min(SLEEP_MAX);
            std::thread::sleep(nap);
            left -= nap;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_is_the_rate_and_a_pause_earns_only_a_tenth_of_a_second() {
        let throttle = Throttle::new(1000);
        let second = Duration::from_secs(1);
        assert_eq!(throttle.take(500, Duration::ZERO), second / 2);
        assert_eq!(throttle.take(500, second / 2), second / 2);
        // Ten seconds of silence: the next second's worth must wait nine tenths of a second all the same.
        assert_eq!(throttle.take(1000, second * 11), second * 9 / 10);
    }
}
