//! Whether a drive has become slow: a full cache, shingled platters, a card that is not what it says.
//!
//! Owns: the judgement, from what was written in how much time of work. Pure: time comes as an argument. Invariant: a drive
//! is called slow once, and again only after it was quick in between; a drive that waits for work is never slow.

use std::time::Duration;

/// Work over which a rate is taken. Unit: time in which the writer was busy.
const STRETCH: Duration = Duration::from_secs(2);
/// A drive is slow when it writes less than this share of its best rate.
const SLOW_SHARE: f64 = 0.25;
/// And quick again above this share.
const QUICK_SHARE: f64 = 0.5;
/// Stretches in a row that are slow before it is said: a garbage collection in between is nothing to speak of.
const STRETCHES: u32 = 3;

/// The judgement on one drive.
#[derive(Debug, Default)]
pub(super) struct Pace {
    bytes: u64,
    busy: Duration,
    best: f64,
    slow: u32,
    is_told: bool,
}

/// A drive that has become slow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slowed {
    /// The best rate of this run. Unit: bytes per second of work.
    pub(super) best: f64,
    /// The rate now.
    pub(super) now: f64,
}

impl Pace {
    /// So much was written while the writer was busy for so long.
    pub(super) fn heard(&mut self, bytes: u64, busy: Duration) -> Option<Slowed> {
        self.bytes += bytes;
        self.busy += busy;
        if self.busy < STRETCH {
            return None;
        }
        let now = self.bytes as f64 / self.busy.as_secs_f64();
        (self.bytes, self.busy) = (0, Duration::ZERO);
        self.best = self.best.max(now);
        if now >= self.best * QUICK_SHARE {
            self.is_told = false;
        }
        self.slow = if now < self.best * SLOW_SHARE { self.slow + 1 } else { 0 };
        if self.slow < STRETCHES || self.is_told {
            return None;
        }
        self.is_told = true;
        Some(Slowed { best: self.best, now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rates_mb: &[u64]) -> Vec<usize> {
        let mut pace = Pace::default();
        let heard = |(index, rate): (usize, &u64)| {
            (0..8).filter_map(|_| pace.heard(rate * 250_000, Duration::from_millis(250))).next().map(|_| index)
        };
        rates_mb.iter().enumerate().filter_map(heard).collect()
    }

    #[test]
    fn a_drive_whose_cache_is_full_is_told_once() {
        assert_eq!(told(&[400, 410, 390, 60, 58, 61, 60, 59, 60]), [5]);
    }

    #[test]
    fn a_steady_drive_and_a_hiccup_are_nothing_to_speak_of() {
        assert_eq!(told(&[120, 118, 121, 110, 90, 70, 60]), [] as [usize; 0]);
        assert_eq!(told(&[400, 50, 50, 390, 50, 50, 400]), [] as [usize; 0]);
    }

    #[test]
    fn one_that_recovers_and_falls_again_is_told_again() {
        assert_eq!(told(&[400, 40, 40, 40, 400, 40, 40, 40]), [3, 7]);
    }

    #[test]
    fn a_writer_without_work_says_nothing_of_its_drive() {
        let mut pace = Pace::default();
        assert!((0..1000).all(|_| pace.heard(0, Duration::ZERO).is_none()));
    }
}
