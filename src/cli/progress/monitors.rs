//! What long runs tell, as counts.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::cli::events::Happening;
use crate::cli::progress::snapshot::{VolumeSnapshot, VolumeStanding};
use crate::cli::progress::{PROBLEMS_KEPT, Painter};
use crate::format::record::Problem;
use crate::ingest;
use crate::ingest::remote::probe::Endpoint;
use crate::monitor::Monitor;
use crate::stage::{self, Bottleneck, VolumeEvent};
use crate::sys::lock::lock;
use crate::units::Bytes;

impl Painter {
    /// What is known to be there, where a run knows it before it begins.
    pub(crate) fn expects(&self, entries: u64, bytes: u64) {
        self.board.found_entries.store(entries, Ordering::Relaxed);
        self.board.found_bytes.store(bytes, Ordering::Relaxed);
        self.board.is_counted.store(true, Ordering::Relaxed);
    }

    fn change(&self, number: u32, change: impl FnOnce(&mut VolumeSnapshot)) {
        let mut volumes = lock(&self.board.volumes);
        change(volumes.entry(number).or_insert_with(|| VolumeSnapshot {
            number,
            path: String::new(),
            state: VolumeStanding::Writing,
            bytes: 0,
            total_bytes: 0,
            bytes_per_s: 0,
            temperature_c: None,
            error: None,
        }));
    }
}

impl stage::Monitor for Painter {
    fn found(&self, entries: u64, bytes: u64) {
        self.board.found_entries.fetch_add(entries, Ordering::Relaxed);
        self.board.found_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn walked(&self) {
        self.board.is_counted.store(true, Ordering::Relaxed);
    }

    fn read(&self, bytes: u64) {
        self.board.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn written(&self, volume: u32, bytes: u64) {
        self.change(volume, |volume| volume.bytes += bytes);
    }

    fn staged(&self, entries: u64, bytes: u64) {
        self.board.done_entries.fetch_add(entries, Ordering::Relaxed);
        self.board.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn problem(&self, problem: &Problem) {
        self.board.problem_count.fetch_add(1, Ordering::Relaxed);
        let mut problems = lock(&self.board.problems);
        if problems.len() < PROBLEMS_KEPT {
            problems.push(problem.clone());
        }
    }

    fn bottleneck(&self, bottleneck: Bottleneck) {
        *lock(&self.board.bottleneck) = Some(match bottleneck {
            Bottleneck::Source => "the source is the bottleneck".to_owned(),
            Bottleneck::Cpu => "the processors are the bottleneck".to_owned(),
            Bottleneck::Volume(number) => format!("volume {number} is the bottleneck"),
        });
    }

    fn message(&self, text: &str) {
        self.board.say(text.to_owned());
    }

    fn volume(&self, number: u32, event: &VolumeEvent) {
        match event {
            VolumeEvent::Open { path, capacity_bytes, is_new } => {
                let what = if *is_new { "new" } else { "goes on" };
                let (shown, capacity) = (path.display(), Bytes::new(*capacity_bytes));
                self.board.say(format!("volume {number} ({what}): {shown}, room for {capacity}"));
                self.change(number, |volume| {
                    volume.path = shown.to_string();
                    volume.total_bytes = *capacity_bytes;
                });
            }
            VolumeEvent::Recovered { cut_bytes } => {
                let cut = Bytes::new(*cut_bytes);
                let what = format!("volume {number}: an interrupted run was tidied up; {cut} uncommitted were cut off");
                self.board.say(what);
            }
            VolumeEvent::Failing { says } => {
                let what = format!(
                    "volume {number}: the drive says of itself that it is failing ({says}); put the data on another one"
                );
                self.board.say(what.clone());
                self.happened(Happening::Trouble, Some(number), &what);
            }
            VolumeEvent::Slowed { best_bytes_per_second, now_bytes_per_second } => {
                self.board.say(slowed(number, *best_bytes_per_second, *now_bytes_per_second));
            }
            VolumeEvent::Full => {
                let what =
                    format!("volume {number} is full; it is being sealed and read back, do not take it away yet");
                self.board.say(what);
                self.change(number, |volume| volume.state = VolumeStanding::Full);
            }
            VolumeEvent::TooSmall { capacity_bytes, needs_bytes } => {
                let (room, needs) = (Bytes::new(*capacity_bytes), Bytes::new(*needs_bytes));
                self.board.say(format!(
                    "volume {number} has room for {room}; what comes next needs {needs} in one place, so only smaller files \
                     are put on it"
                ));
            }
            VolumeEvent::Refused { path, reason } => {
                self.board.say(format!("{} cannot be used: {reason}", path.display()));
            }
            VolumeEvent::Sealing { total_bytes } => self.change(number, |volume| {
                volume.state = VolumeStanding::ReadingBack;
                volume.bytes = 0;
                volume.total_bytes = *total_bytes;
            }),
            VolumeEvent::ReadBack { bytes } => self.change(number, |volume| volume.bytes += bytes),
            VolumeEvent::Sealed(report) => {
                self.change(number, |volume| volume.state = VolumeStanding::Sealed);
                let read = crate::cli::stage::read_back(report.read_back);
                self.board.say(format!("volume {number} is sealed, read back {read}, and can be taken away"));
                let what = format!("volume {number} is sealed and may be taken away: {}", Bytes::new(report.bytes));
                self.happened(Happening::Sealed, Some(number), &what);
            }
            VolumeEvent::Repaired { damage, due } => {
                damage.iter().take(10).for_each(|place| self.board.say(format!("volume {number}: damaged: {place}")));
                self.board.say(format!(
                    "volume {number}: {} damaged places; {} extents of {} entries are staged again",
                    damage.len(),
                    due.extents,
                    due.entries
                ));
            }
            VolumeEvent::GivenUp { due } => self.board.say(format!(
                "volume {number} is given up: {} extents of {} entries are staged again",
                due.extents, due.entries
            )),
            VolumeEvent::Failed { reason } => {
                self.board.say(format!("volume {number} failed: {reason}"));
                self.change(number, |volume| {
                    volume.state = VolumeStanding::Failed;
                    volume.error = Some(reason.clone());
                });
                self.happened(Happening::Trouble, Some(number), &format!("volume {number} failed: {reason}"));
            }
        }
    }
}

/// That a drive has become slow. Rates in bytes per second.
fn slowed(number: u32, best: u64, now: u64) -> String {
    format!(
        "volume {number} has become slow: {} a second, it was {}; a full cache or shingled platters do that, and so does a \
         drive that is not what it says",
        Bytes::new(now).decimal(),
        Bytes::new(best).decimal()
    )
}

impl ingest::Monitor for Painter {
    fn endpoint(&self, endpoint: &Endpoint) {
        tracing::info!(%endpoint, "the server was asked what it does");
    }

    fn read(&self, bytes: u64) {
        self.board.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn objects(&self, objects: u64, bytes: u64) {
        self.board.done_entries.fetch_add(objects, Ordering::Relaxed);
        self.board.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn part(&self, _bytes: u64) {}

    fn failed(&self) {
        self.board.problem_count.fetch_add(1, Ordering::Relaxed);
    }

    fn found(&self, entries: u64, bytes: u64) {
        self.board.found_entries.fetch_add(entries, Ordering::Relaxed);
        self.board.found_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn walked(&self) {
        self.board.is_counted.store(true, Ordering::Relaxed);
    }

    fn closed(&self, for_now: Duration) {
        let minutes = for_now.as_secs().div_ceil(60);
        self.board.say(format!("outside the allowed hours; sending goes on in {minutes} minutes"));
    }
}

impl Monitor for Painter {
    fn expects(&self, files: u64, bytes: u64) {
        Self::expects(self, files, bytes);
    }

    fn begins(&self, volume: u32, path: &Path, bytes: u64) {
        self.change(volume, |volume| {
            volume.path = path.display().to_string();
            volume.state = VolumeStanding::Reading;
            volume.total_bytes = bytes;
        });
    }

    fn medium(&self, volume: u32, bytes: u64) {
        self.change(volume, |volume| volume.bytes += bytes);
    }

    fn ends(&self, volume: u32) {
        self.change(volume, |volume| {
            volume.state = VolumeStanding::Read;
            volume.bytes = volume.total_bytes;
        });
    }

    fn bytes(&self, count: u64) {
        self.board.read_bytes.fetch_add(count, Ordering::Relaxed);
        self.board.done_bytes.fetch_add(count, Ordering::Relaxed);
    }

    fn volume_bytes(&self, volume: u32, count: u64) {
        Monitor::bytes(self, count);
        self.change(volume, |volume| {
            volume.bytes += count;
            if volume.bytes >= volume.total_bytes {
                volume.state = VolumeStanding::Read;
            }
        });
    }

    fn files(&self, count: u64) {
        self.board.done_entries.fetch_add(count, Ordering::Relaxed);
    }

    fn message(&self, text: &str) {
        self.board.say(text.to_owned());
    }
}
