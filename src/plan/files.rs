//! What files cost beside their bytes: a closed queue of workers over a size histogram, and the tail of the last file.
//!
//! Owns: files per second, time of a set of files, calibration from timed samples. Does not own the line (`network`).
//! Invariants: more workers, more rate or a cheaper file never takes longer. Called by the planner and its oracle tests.

use crate::units::{Bytes, BytesPerSecond, Count, Days};

/// Files of about one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// How many.
    pub files: u64,
    /// Their bytes together.
    pub bytes: u64,
}

/// What a file costs a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FileCosts {
    /// Parallel workers.
    pub workers: f64,
    /// Seconds per file before its first byte.
    pub per_file_s: f64,
    /// Bytes per second of one worker.
    pub stream_rate: f64,
    /// Files per second that the far end accepts.
    pub request_limit: f64,
}

/// What holds a transfer back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    /// The line.
    Link,
    /// TCP on this path.
    Tcp,
    /// Reading at the source.
    Source,
    /// A limit of the service.
    Service,
    /// Files per second, not bytes.
    Files,
    /// Connections at once, each as fast as one can be.
    Streams,
    /// Requests per second at the far end.
    Requests,
    /// The largest file on one stream.
    Tail,
    /// Writing to the device or drives.
    Device,
    /// How many devices or stations there are.
    Devices,
    /// Waiting: orders, parcels, bookings.
    Lead,
}

impl Binding {
    /// The limit in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Link => "the line",
            Self::Tcp => "TCP on this path",
            Self::Source => "reading at the source",
            Self::Service => "a limit of the service",
            Self::Files => "files per second",
            Self::Streams => "connections at once",
            Self::Requests => "requests per second",
            Self::Tail => "the largest file",
            Self::Device => "writing to the device",
            Self::Devices => "devices at once",
            Self::Lead => "waiting, not moving",
        }
    }
}

/// Seconds for all `buckets` at `rate` bytes per second, and which limit took most of them.
pub(crate) fn copy_seconds(buckets: &[Bucket], rate: f64, costs: &FileCosts) -> (f64, Option<Binding>) {
    let (mut by_rate, mut by_files, mut by_requests, mut in_streams) = (0.0, 0.0, 0.0, 0.0);
    for bucket in buckets.iter().filter(|bucket| bucket.files > 0) {
        let files = bucket.files as f64;
        let size = bucket.bytes as f64 / files;
        let byte_time = if bucket.bytes == 0 { 0.0 } else { bucket.bytes as f64 / rate };
        let file_time = files * (costs.per_file_s + size / costs.stream_rate) / costs.workers;
        let request_time = files / costs.request_limit;
        if byte_time >= file_time && byte_time >= request_time {
            by_rate += byte_time;
        } else if file_time >= request_time {
            by_files += file_time;
            in_streams += bucket.bytes as f64 / costs.stream_rate / costs.workers;
        } else {
            by_requests += request_time;
        }
    }
    let total = by_rate + by_files + by_requests;
    let binding = if by_files > by_rate.max(by_requests) {
        Some(if in_streams > 0.9 * by_files { Binding::Streams } else { Binding::Files })
    } else if by_requests > by_rate {
        Some(Binding::Requests)
    } else {
        None
    };
    (if total.is_nan() { f64::INFINITY } else { total }, binding)
}

/// Time of a constant cost per file, shared by workers.
pub fn per_file_time(files: Count, per_file: Days, workers: Count) -> Days {
    Days::new(files.get() as f64 * per_file.get() / workers.get().max(1) as f64)
}

/// Files per second of a run that took so long.
pub fn files_per_second(files: Count, elapsed: Days) -> f64 {
    if elapsed.secs() > 0.0 { files.get() as f64 / elapsed.secs() } else { 0.0 }
}

/// How long the rest of one file takes on its one stream.
pub fn tail_time(file: Bytes, done: crate::units::Share, stream: BytesPerSecond) -> Days {
    Days::from_secs(file.get() as f64 * (1.0 - done.get()) / stream.get())
}

/// One timed run for calibration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Files copied.
    pub files: Count,
    /// Bytes copied.
    pub bytes: Bytes,
    /// Time taken.
    pub elapsed: Days,
}

/// What timed runs say about files and bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    /// Seconds per file and worker.
    pub per_file: Days,
    /// Rate of bytes.
    pub rate: BytesPerSecond,
    /// Largest relative difference between a run and the fit, 0 for two runs.
    pub residual: f64,
}

/// Solves `T = files * t / workers + bytes / rate` for t and rate, exactly for two runs and by least squares for more.
/// `None` when the runs do not tell files from bytes, or the fit is negative.
pub fn calibrate(samples: &[Sample], workers: Count) -> Option<Calibration> {
    let workers = workers.get().max(1) as f64;
    let row = |s: &Sample| (s.files.get() as f64 / workers, s.bytes.get() as f64, s.elapsed.secs());
    let (mut ff, mut fb, mut bb, mut ft, mut bt) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (files, bytes, time) in samples.iter().map(row) {
        ff += files * files;
        fb += files * bytes;
        bb += bytes * bytes;
        ft += files * time;
        bt += bytes * time;
    }
    let determinant = ff * bb - fb * fb;
    if samples.len() < 2 || determinant <= 1e-9 * ff * bb {
        return None;
    }
    let per_file = (ft * bb - bt * fb) / determinant;
    let inverse_rate = (ff * bt - fb * ft) / determinant;
    if per_file < 0.0 || inverse_rate <= 0.0 {
        return None;
    }
    let residual = samples.iter().map(row).map(|(files, bytes, time)| {
        let fit = files * per_file + bytes * inverse_rate;
        if time > 0.0 { (fit - time).abs() / time } else { 0.0 }
    });
    let residual = residual.fold(0.0, f64::max);
    Some(Calibration { per_file: Days::from_secs(per_file), rate: BytesPerSecond::new(1.0 / inverse_rate), residual })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TB40: Bucket = Bucket { files: 12_000_000, bytes: 40_000_000_000_000 };

    fn days(workers: f64) -> (f64, Option<Binding>) {
        let costs = FileCosts { workers, per_file_s: 0.05, stream_rate: 30e6, request_limit: f64::INFINITY };
        let (seconds, binding) = copy_seconds(&[TB40], 50e6, &costs);
        (seconds / 86_400.0, binding)
    }

    #[test]
    fn one_worker_is_bound_by_files_and_four_by_the_line() {
        assert!((days(1.0).0 - 22.4).abs() < 0.05, "{:?}", days(1.0));
        assert_eq!(days(1.0).1, Some(Binding::Files));
        assert!((days(4.0).0 - 9.26).abs() < 0.005);
        assert_eq!(days(4.0).1, None);
        assert_eq!(days(4.0).0, days(64.0).0, "more workers change nothing");
    }

    #[test]
    fn two_timed_samples_give_file_cost_and_rate() {
        let truth = |files: u64, bytes: u64| Sample {
            files: Count::new(files),
            bytes: Bytes::new(bytes),
            elapsed: Days::from_secs(files as f64 * 0.02 / 4.0 + bytes as f64 / 1e8),
        };
        let fit = calibrate(&[truth(1_000_000, 1_000_000_000), truth(1000, 10_000_000_000_000)], Count::new(4))
            .expect("solvable");
        assert!((fit.per_file.secs() - 0.02).abs() < 1e-4 && (fit.rate.get() - 1e8).abs() < 1e4, "{fit:?}");
        assert_eq!(calibrate(&[truth(10, 1_000_000)], Count::new(4)), None);
        assert_eq!(calibrate(&[truth(1000, 1_000_000_000), truth(2000, 2_000_000_000)], Count::new(4)), None);
    }

    proptest! {
        #[test]
        fn more_of_anything_good_never_takes_longer(
            files in 1_u64..1_000_000_000, bytes in 0_u64..1_000_000_000_000_000, workers in 1.0_f64..64.0, rate in 1e3_f64..1e10,
        ) {
            let costs = FileCosts { workers, per_file_s: 0.02, stream_rate: 87.5e6, request_limit: 3500.0 };
            let bucket = [Bucket { files, bytes }];
            let (base, _) = copy_seconds(&bucket, rate, &costs);
            let (faster, _) = copy_seconds(&bucket, rate * 2.0, &costs);
            let (wider, _) = copy_seconds(&bucket, rate, &FileCosts { workers: workers * 2.0, ..costs });
            let (more, _) = copy_seconds(&[Bucket { files: files + 1, bytes }], rate, &costs);
            prop_assert!(faster <= base && wider <= base && base.is_finite());
            prop_assert!(more >= base * (1.0 - 1e-9));
        }
    }
}
