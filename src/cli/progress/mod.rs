//! Progress of a long run: bars on a terminal, a line a minute elsewhere, lines of JSON or a metrics file if asked for.
//!
//! The run only counts; a thread of its own looks at the counts and paints, so that painting never slows the work.
//! Figures never lie: what is shown as done is committed or proved; a total that still grows says so with a plus; the time
//! left comes from bytes and entries both, whichever takes longer, over the last minute.

mod bars;
mod monitors;
#[cfg(feature = "screen")]
mod screen;
mod snapshot;
mod text;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::cli::events::{Events, Happening};
use crate::cli::progress::bars::Bars;
#[cfg(feature = "screen")]
use crate::cli::progress::screen::Screen;
use crate::cli::progress::snapshot::{Pace, Snapshot, VolumeSnapshot, Volumes, eta};
use crate::format::record::Problem;
use crate::job::replace_file;
use crate::sys::device::temperature_c;
use crate::sys::lock::lock;
use crate::sys::process::terminal_columns;
use crate::sys::{Clock, SystemClock, World};

/// Problems kept for the end; the job database has them all.
const PROBLEMS_KEPT: usize = 1000;
/// Between two looks at the counts.
const TICK: Duration = Duration::from_millis(200);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// Bars on a terminal, else lines
    Auto,
    /// Bars
    Bars,
    /// A full-screen view with a tile for every drive
    #[cfg(feature = "screen")]
    Screen,
    /// A line a minute
    Lines,
    /// A line of JSON a second, on standard error
    Json,
    /// Nothing
    None,
}

/// Options of long runs.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Progress")]
pub struct ProgressArgs {
    /// Print nothing on the way: only errors and how it ended
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// How progress is shown, on standard error
    #[arg(long, value_enum, default_value_t = Form::Auto)]
    progress: Form,
    /// Seconds between two lines [default: 60, json: 1]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    progress_every: Option<u64>,
    /// Keep this file up to date for the textfile collector of Prometheus' node exporter; its name ends in .prom
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) events: super::events::EventArgs,
}

/// Counts of a run. Any thread adds to them.
pub(super) struct Board {
    progress: &'static str,
    clock: SystemClock,
    began: Duration,
    found_entries: AtomicU64,
    found_bytes: AtomicU64,
    is_counted: AtomicBool,
    done_entries: AtomicU64,
    done_bytes: AtomicU64,
    read_bytes: AtomicU64,
    problem_count: AtomicU64,
    problems: Mutex<Vec<Problem>>,
    volumes: Mutex<Volumes>,
    pace: Mutex<Pace>,
    volume_paces: Mutex<BTreeMap<u32, Pace>>,
    /// Somebody is asked something: nothing is painted over the question.
    asks: AtomicBool,
    says: Mutex<Vec<String>>,
    bottleneck: Mutex<Option<String>>,
    events: Events,
}

impl Board {
    fn new(progress: &'static str, events: Events) -> Self {
        let clock = SystemClock::new();
        Self {
            progress,
            began: clock.monotonic(),
            clock,
            found_entries: AtomicU64::new(0),
            found_bytes: AtomicU64::new(0),
            is_counted: AtomicBool::new(false),
            done_entries: AtomicU64::new(0),
            done_bytes: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
            problem_count: AtomicU64::new(0),
            problems: Mutex::default(),
            volumes: Mutex::default(),
            pace: Mutex::default(),
            volume_paces: Mutex::default(),
            asks: AtomicBool::new(false),
            says: Mutex::default(),
            bottleneck: Mutex::default(),
            events,
        }
    }

    /// Something for people to read now.
    fn say(&self, line: String) {
        lock(&self.says).push(line);
    }

    fn snapshot(&self) -> Snapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let now = self.clock.monotonic().saturating_sub(self.began);
        let (done_entries, done_bytes, read_bytes) =
            (load(&self.done_entries), load(&self.done_bytes), load(&self.read_bytes));
        let (found_entries, found_bytes) = (load(&self.found_entries), load(&self.found_bytes));
        let (bytes_per_s, entries_per_s) = lock(&self.pace).note(now, read_bytes, done_entries);
        // What has a problem is not waited for.
        let settled = done_entries + load(&self.problem_count);
        let left = (found_bytes.saturating_sub(read_bytes), found_entries.saturating_sub(settled));
        Snapshot {
            progress: self.progress,
            elapsed_s: now.as_secs(),
            found_entries,
            found_bytes,
            is_counted: self.is_counted.load(Ordering::Relaxed),
            done_entries,
            done_bytes,
            read_bytes,
            problems: load(&self.problem_count),
            bytes_per_s: bytes_per_s as u64,
            entries_per_s,
            eta_s: eta(left.0, bytes_per_s, left.1, entries_per_s),
            bottleneck: lock(&self.bottleneck).clone(),
            volumes: self.volumes_at(now),
        }
    }

    fn volumes_at(&self, now: Duration) -> Vec<VolumeSnapshot> {
        let mut volumes: Vec<VolumeSnapshot> = lock(&self.volumes).values().cloned().collect();
        let mut paces = lock(&self.volume_paces);
        for volume in &mut volumes {
            let pace = paces.entry(volume.number).or_default();
            volume.bytes_per_s = pace.note(now, volume.bytes, 0).0 as u64;
            volume.temperature_c = temperature_c(std::path::Path::new(&volume.path));
        }
        volumes
    }
}

/// Counts a run and paints it until it is finished.
pub(super) struct Painter {
    board: Arc<Board>,
    is_over: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
    metrics_file: Option<PathBuf>,
}

impl Painter {
    /// Begins to paint. `is_quiet` wins over everything but JSON that was asked for.
    pub(super) fn new(progress: &'static str, args: &ProgressArgs, events: Events, is_quiet: bool) -> Self {
        let board = Arc::new(Board::new(progress, events));
        let is_over = Arc::new(AtomicBool::new(false));
        let canvas = Canvas::new(args, is_quiet || args.quiet);
        let metrics_file = args.metrics_file.clone();
        let (seen, over) = (Arc::clone(&board), Arc::clone(&is_over));
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || canvas.run(&seen, &over));
        Self { board, is_over, thread: Mutex::new(thread.ok()), metrics_file }
    }

    /// Clears the bars; what was still to be said is said.
    pub(super) fn finish(&self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = lock(&self.thread).take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }

    /// Tells everyone who wants to know how it ended, and waits until they were told.
    pub(super) fn ended(&self, exit: super::Exit, message: &str) {
        self.finish();
        if let Some(path) = &self.metrics_file {
            write_metrics(path, &text::metrics(&self.board.snapshot(), Some(exit.code())));
        }
        self.board.events.ended(exit, message);
    }

    /// Tells everyone that the run failed; gives the failure back.
    pub(super) fn failed(&self, failure: super::Failure) -> super::Failure {
        self.ended(failure.exit, &super::exit::chain(&failure));
        failure
    }

    /// Problems met, the first thousand of them.
    pub(super) fn problems(&self) -> MutexGuard<'_, Vec<Problem>> {
        lock(&self.board.problems)
    }

    /// Takes the bars away while somebody is asked something.
    pub(super) fn asking<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.board.asks.store(true, Ordering::Release);
        let answer = ask();
        self.board.asks.store(false, Ordering::Release);
        answer
    }

    /// Says a line beside the bars.
    pub(super) fn say(&self, line: String) {
        self.board.say(line);
    }

    fn happened(&self, happening: Happening, volume: Option<u32>, message: &str) {
        self.board.events.tell(happening, volume, message);
    }
}

/// Where and how a thread paints.
struct Canvas {
    form: Form,
    every: Duration,
    is_quiet: bool,
    metrics_file: Option<PathBuf>,
}

impl Canvas {
    fn new(args: &ProgressArgs, is_quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let form = match args.progress {
            Form::Json => Form::Json,
            _ if is_quiet => Form::None,
            Form::Auto if is_terminal => Form::Bars,
            Form::Auto => Form::Lines,
            form => form,
        };
        let usual = if form == Form::Json { 1 } else { 60 };
        let every = Duration::from_secs(args.progress_every.unwrap_or(usual));
        Self { form, every, is_quiet, metrics_file: args.metrics_file.clone() }
    }

    fn run(self, board: &Board, is_over: &AtomicBool) {
        let mut surface = Surface::open(self.form, self.is_quiet);
        let mut last = board.clock.monotonic();
        loop {
            let ends = is_over.load(Ordering::Acquire);
            let asks = board.asks.load(Ordering::Acquire);
            if asks {
                surface.hide();
            }
            std::mem::take(&mut *lock(&board.says)).into_iter().for_each(|line| surface.say(line));
            let now = board.snapshot();
            if !asks {
                surface.paint(&now);
            }
            let is_due = board.clock.monotonic().saturating_sub(last) >= self.every;
            if is_due || ends {
                self.write(&now, is_due);
            }
            if is_due {
                last = board.clock.monotonic();
            }
            if ends {
                return surface.close();
            }
            std::thread::park_timeout(TICK);
        }
    }

    /// What is written line by line, or into a file. The last line of JSON is written in any case.
    #[expect(clippy::print_stderr, reason = "the command line is the layer that prints")]
    fn write(&self, now: &Snapshot, is_due: bool) {
        match self.form {
            Form::Lines if is_due => eprintln!("{}", text::line(now)),
            Form::Json => eprintln!("{}", text::json(now)),
            _ => {}
        }
        if let Some(path) = &self.metrics_file {
            write_metrics(path, &text::metrics(now, None));
        }
    }
}

/// Where messages and pictures go.
enum Surface {
    Bars(Bars),
    #[cfg(feature = "screen")]
    Screen(Box<Screen>),
    Plain,
    Silent,
}

impl Surface {
    fn open(form: Form, is_quiet: bool) -> Self {
        match form {
            Form::Bars => Self::Bars(Bars::new(terminal_columns(std::io::stderr()).unwrap_or(80))),
            #[cfg(feature = "screen")]
            Form::Screen => Screen::open().map_or(Self::Plain, |screen| Self::Screen(Box::new(screen))),
            Form::Json => Self::Silent,
            _ if is_quiet => Self::Silent,
            _ => Self::Plain,
        }
    }

    #[expect(clippy::print_stderr, reason = "the command line is the layer that prints")]
    fn say(&mut self, line: String) {
        match self {
            Self::Bars(bars) => bars.say(&line),
            #[cfg(feature = "screen")]
            Self::Screen(screen) => screen.say(line),
            Self::Plain => eprintln!("{line}"),
            Self::Silent => {}
        }
    }

    fn paint(&mut self, now: &Snapshot) {
        match self {
            Self::Bars(bars) => bars.paint(now),
            #[cfg(feature = "screen")]
            Self::Screen(screen) => screen.paint(now),
            Self::Plain | Self::Silent => {}
        }
    }

    /// Takes away what would be painted over.
    fn hide(&mut self) {
        if let Self::Bars(bars) = self {
            bars.hide();
        }
    }

    /// Gives the terminal back; what was said on a screen that is gone is said again.
    #[cfg_attr(feature = "screen", expect(clippy::print_stderr, reason = "the command line is the layer that prints"))]
    fn close(self) {
        match self {
            Self::Bars(bars) => bars.clear(),
            #[cfg(feature = "screen")]
            Self::Screen(screen) => screen.close().iter().for_each(|line| eprintln!("{line}")),
            Self::Plain | Self::Silent => {}
        }
    }
}

/// A collector must never see half a file. That it cannot be written is told and stops nothing.
fn write_metrics(path: &std::path::Path, text: &str) {
    let written = replace_file(&*World::real().fs, path, |out| {
        std::io::Write::write_all(out, text.as_bytes()).map_err(|source| crate::job::Error::File {
            path: path.to_owned(),
            doing: "write",
            source,
        })
    });
    if let Err(error) = written {
        tracing::warn!(error = %super::exit::chain(&error), "metrics are not written");
    }
}
