//! Progress of a staging run: bars on a terminal, a line a minute elsewhere.
//!
//! Figures never lie: what is shown as done is committed; the total grows while the walk goes on and says so; the time
//! left comes from bytes and entries both, whichever takes longer.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::format::record::Problem;
use crate::stage::{Monitor, VolumeEvent};
use crate::sys::{Clock, SystemClock};
use crate::units::Bytes;

/// Problems kept for the end; the job database has them all.
const PROBLEMS_KEPT: usize = 1000;
/// Without a terminal, a line this often.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Paints what a run tells.
pub(super) struct Painter {
    bars: Option<Bars>,
    clock: SystemClock,
    last_line: Mutex<Duration>,
    is_quiet: bool,
    found_bytes: AtomicU64,
    found_entries: AtomicU64,
    staged_bytes: AtomicU64,
    staged_entries: AtomicU64,
    read_bytes: AtomicU64,
    is_walked: AtomicBool,
    problems: Mutex<Vec<Problem>>,
}

struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    volumes: Mutex<BTreeMap<u32, ProgressBar>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl Painter {
    pub(super) fn new(is_quiet: bool) -> Self {
        let clock = SystemClock::new();
        let bars = (!is_quiet && std::io::stderr().is_terminal()).then(|| {
            let all = MultiProgress::new();
            let total = all.add(ProgressBar::new(0));
            total.set_style(style("{spinner} {bytes:>11} of {total_bytes:11} {wide_bar} {bytes_per_sec:>13} {msg}"));
            total.enable_steady_tick(Duration::from_millis(200));
            Bars { all, total, volumes: Mutex::default() }
        });
        let last_line = Mutex::new(clock.monotonic());
        Self {
            bars,
            clock,
            last_line,
            is_quiet,
            found_bytes: AtomicU64::new(0),
            found_entries: AtomicU64::new(0),
            staged_bytes: AtomicU64::new(0),
            staged_entries: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
            is_walked: AtomicBool::new(false),
            problems: Mutex::default(),
        }
    }

    /// Clears the bars.
    pub(super) fn finish(&self) {
        if let Some(bars) = &self.bars {
            bars.total.finish_and_clear();
            lock(&bars.volumes).values().for_each(ProgressBar::finish_and_clear);
        }
    }

    /// Problems met, the first thousand of them.
    pub(super) fn problems(&self) -> MutexGuard<'_, Vec<Problem>> {
        lock(&self.problems)
    }

    #[expect(clippy::print_stderr, reason = "the command line is the layer that prints")]
    fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => drop(bars.all.println(line)),
            None if !self.is_quiet => eprintln!("{line}"),
            None => {}
        }
    }

    fn paint(&self) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (entries, found) = (load(&self.staged_entries), load(&self.found_entries));
        let more = if self.is_walked.load(Ordering::Relaxed) { "" } else { "+" };
        if let Some(bars) = &self.bars {
            bars.total.set_length(load(&self.found_bytes));
            bars.total.set_position(load(&self.read_bytes).min(load(&self.found_bytes)));
            bars.total.set_message(format!("{entries}/{found}{more} entries committed"));
            return;
        }
        let now = self.clock.monotonic();
        let mut last = lock(&self.last_line);
        if now.saturating_sub(*last) >= LINE_EVERY {
            *last = now;
            let (staged, total) = (Bytes::new(load(&self.staged_bytes)), Bytes::new(load(&self.found_bytes)));
            drop(last);
            self.say(&format!("staged {entries} of {found}{more} entries, {staged} of {total}{more}"));
        }
    }

    fn bar(&self, number: u32, paint: impl FnOnce(&ProgressBar)) {
        if let Some(bars) = &self.bars {
            let mut volumes = lock(&bars.volumes);
            let bar = volumes.entry(number).or_insert_with(|| {
                let bar = bars.all.add(ProgressBar::new(0));
                bar.set_style(style(
                    "  volume {prefix:<3} {bytes:>11} of {total_bytes:11} {wide_bar} {bytes_per_sec:>13} {msg}",
                ));
                bar.set_prefix(number.to_string());
                bar
            });
            paint(bar);
        }
    }
}

impl Monitor for Painter {
    fn found(&self, entries: u64, bytes: u64) {
        self.found_entries.fetch_add(entries, Ordering::Relaxed);
        self.found_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.paint();
    }

    fn walked(&self) {
        self.is_walked.store(true, Ordering::Relaxed);
        self.paint();
    }

    fn read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(bars) = &self.bars {
            bars.total.set_position(self.read_bytes.load(Ordering::Relaxed));
        }
    }

    fn written(&self, volume: u32, bytes: u64) {
        self.bar(volume, |bar| bar.inc(bytes));
    }

    fn staged(&self, entries: u64, bytes: u64) {
        self.staged_entries.fetch_add(entries, Ordering::Relaxed);
        self.staged_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.paint();
    }

    fn problem(&self, problem: &Problem) {
        let mut problems = lock(&self.problems);
        if problems.len() < PROBLEMS_KEPT {
            problems.push(problem.clone());
        }
    }

    fn volume(&self, number: u32, event: &VolumeEvent) {
        match event {
            VolumeEvent::Open { path, capacity_bytes, is_new } => {
                let what = if *is_new { "new" } else { "goes on" };
                let capacity = Bytes::new(*capacity_bytes);
                self.say(&format!("volume {number} ({what}): {}, room for {capacity}", path.display()));
                self.bar(number, |bar| bar.set_length(*capacity_bytes));
            }
            VolumeEvent::Recovered { cut_bytes } => {
                let cut = Bytes::new(*cut_bytes);
                self.say(&format!("volume {number}: an interrupted run was tidied up; {cut} uncommitted were cut off"));
            }
            VolumeEvent::Full => self.say(&format!("volume {number} is full")),
            VolumeEvent::Sealing { total_bytes } => self.bar(number, |bar| {
                bar.reset();
                bar.set_length(*total_bytes);
                bar.set_message("reading back");
            }),
            VolumeEvent::ReadBack { bytes } => self.bar(number, |bar| bar.inc(*bytes)),
            VolumeEvent::Sealed(_) => self.bar(number, |bar| bar.set_message("sealed")),
            VolumeEvent::Failed { reason } => self.say(&format!("volume {number} failed: {reason}")),
        }
    }
}
