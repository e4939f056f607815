//! How far a run is, at one moment: what every way of painting is made from. The JSON form is `docs/progress.md`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

/// The pace is that of so much time before now.
const WINDOW: Duration = Duration::from_secs(60);
/// Moments kept for the pace.
const MOMENTS_MAX: usize = 128;

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Snapshot {
    /// `stage`, `ingest`, `send`, `verify` or `extract`.
    pub(crate) progress: &'static str,
    /// Since the run began. Unit: seconds.
    pub(crate) elapsed_s: u64,
    /// Entries known so far.
    pub(crate) found_entries: u64,
    /// Their content. Unit: bytes.
    pub(crate) found_bytes: u64,
    /// Whether everything is known, so that the two figures above stand.
    pub(crate) is_counted: bool,
    /// Entries that are committed (stage), proved (ingest, send), checked (verify) or written (extract).
    pub(crate) done_entries: u64,
    /// Their content. Unit: bytes.
    pub(crate) done_bytes: u64,
    /// Bytes read: at the source (stage, send), from volumes (ingest, verify); written (extract).
    pub(crate) read_bytes: u64,
    /// Entries with problems.
    pub(crate) problems: u64,
    /// Pace of the last minute. Unit: bytes per second.
    pub(crate) bytes_per_s: u64,
    /// Pace of the last minute.
    pub(crate) entries_per_s: f64,
    /// Time left at this pace, by bytes or entries, whichever takes longer. Absent while nothing can be said.
    pub(crate) eta_s: Option<u64>,
    /// What everything waits for, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bottleneck: Option<String>,
    /// Volumes of this run.
    pub(crate) volumes: Vec<VolumeSnapshot>,
}

/// How far a volume is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct VolumeSnapshot {
    /// Its number.
    pub(crate) number: u32,
    /// Where it is mounted.
    pub(crate) path: String,
    /// Where it stands.
    pub(crate) state: VolumeStanding,
    /// Bytes written, read, or read back while it is being sealed.
    pub(crate) bytes: u64,
    /// Bytes it may hold, or that are to be read or read back.
    pub(crate) total_bytes: u64,
    /// Pace of the last minute. Unit: bytes per second.
    pub(crate) bytes_per_s: u64,
    /// Temperature of the drive, where the system tells it. Unit: degrees Celsius.
    pub(crate) temperature_c: Option<f32>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// Where a volume stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum VolumeStanding {
    /// It takes data.
    Writing,
    /// It is read.
    Reading,
    /// It was read to its end.
    Read,
    /// Nothing more fits.
    Full,
    /// Its files are read back.
    ReadingBack,
    /// It may be taken away.
    Sealed,
    /// Nothing more is written to it in this run.
    Failed,
}

impl VolumeStanding {
    /// For people.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Writing => "writing",
            Self::Reading => "reading",
            Self::Read => "read",
            Self::Full => "full",
            Self::ReadingBack => "reading back",
            Self::Sealed => "sealed: may be taken away",
            Self::Failed => "FAILED",
        }
    }
}

/// Volumes by number.
pub(super) type Volumes = BTreeMap<u32, VolumeSnapshot>;

/// Bytes and entries over the last minute.
#[derive(Debug, Default)]
pub(super) struct Pace {
    moments: VecDeque<(Duration, u64, u64)>,
}

impl Pace {
    /// Notes how much was done until now; gives bytes and entries per second.
    pub(super) fn note(&mut self, now: Duration, bytes: u64, entries: u64) -> (f64, f64) {
        let is_due = self.moments.back().is_none_or(|(last, ..)| now.saturating_sub(*last) >= WINDOW / 100);
        if is_due {
            self.moments.push_back((now, bytes, entries));
        }
        while self.moments.len() > MOMENTS_MAX
            || self.moments.get(1).is_some_and(|(at, ..)| now.saturating_sub(*at) > WINDOW)
        {
            self.moments.pop_front();
        }
        let Some((since, bytes_then, entries_then)) = self.moments.front() else { return (0.0, 0.0) };
        let seconds = now.saturating_sub(*since).as_secs_f64();
        if seconds <= 0.0 {
            return (0.0, 0.0);
        }
        let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        (per_second(bytes, *bytes_then), per_second(entries, *entries_then))
    }
}

/// Seconds until so much is done at that pace; `None` when nothing moves.
pub(super) fn eta(left_bytes: u64, bytes_per_s: f64, left_entries: u64, entries_per_s: f64) -> Option<u64> {
    let takes = |left: u64, pace: f64| match left {
        0 => Some(0.0),
        _ if pace <= 0.0 => None,
        left => Some(left as f64 / pace),
    };
    let seconds = takes(left_bytes, bytes_per_s)?.max(takes(left_entries, entries_per_s)?);
    (seconds < 1e9).then_some(seconds.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_minute() {
        let mut pace = Pace::default();
        let at = Duration::from_secs;
        assert_eq!(pace.note(at(0), 0, 0), (0.0, 0.0));
        assert_eq!(pace.note(at(10), 1_000, 20), (100.0, 2.0));
        for second in 11..=200 {
            pace.note(at(second), 1_000, 20);
        }
        assert_eq!(pace.note(at(201), 1_000, 20), (0.0, 0.0), "what was before does not count for ever");
    }

    #[test]
    fn the_time_left_is_that_of_what_takes_longer_and_never_a_guess() {
        assert_eq!(eta(1_000, 100.0, 10, 0.1), Some(100));
        assert_eq!(eta(100_000, 100.0, 10, 1.0), Some(1_000));
        assert_eq!(eta(1_000, 0.0, 0, 0.0), None);
        assert_eq!(eta(0, 0.0, 0, 0.0), Some(0));
        assert_eq!(eta(u64::MAX, 1e-3, 0, 0.0), None);
    }
}
