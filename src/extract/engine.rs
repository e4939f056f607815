//! The threads of an extraction: one reads packs in order, the others open frames and write files.
//!
//! Owns: the channel between them, the memory under way, going on after damage. Does not own: what the frames mean.
//! Invariants: a frame under way is a permit of the budget; a damaged frame costs its pieces and nothing else; one worker
//! more or less changes nothing but the time. Callers: `extract`'s callers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::crypto::OpeningKey;
use crate::extract::error::{Error, Problem};
use crate::extract::file::FileJob;
use crate::extract::node::Sink;
use crate::extract::plan::{PieceJob, Planner};
use crate::extract::retell;
use crate::extract::survey::{Survey, is_selected};
use crate::extract::{Done, Options, Outcome};
use crate::format::record::{Entry, EntryType, Record};
use crate::format::{FRAME_PLAIN_BYTES_MAX, PACK_HEADER_BYTES, PackHeader, stored_len};
use crate::monitor::Monitor;
use crate::sys::Access;
use crate::sys::budget::Permit;
use crate::sys::target::TargetRoot;
use crate::volume::{self, Keyring, PackIndex, RawFrame, Volume};

/// Work for any thread.
enum Task {
    Frame { raw: RawFrame, pack: Arc<Pack>, jobs: Vec<PieceJob>, _permit: Permit },
    Complete(Arc<FileJob>),
    Node(Box<Entry>),
}

/// What is needed to open the frames of a pack.
struct Pack {
    key: OpeningKey,
    header: PackHeader,
    path: PathBuf,
}

/// Why reading a pack breaks off.
enum Halt {
    Stopped,
    Volume(volume::Error),
}

impl From<volume::Error> for Halt {
    fn from(error: volume::Error) -> Self {
        Self::Volume(error)
    }
}

/// Extracts what the volumes hold into `target`.
///
/// # Errors
/// Only when nothing can be done at all; everything else is a problem in the outcome.
pub fn extract(
    volumes: &[(Volume, Keyring)],
    target: &Path,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Outcome, Error> {
    check_jobs(volumes)?;
    // One frame, sealed and plain, must always fit, or nothing would ever move.
    let largest_bytes = frame_cost_bytes(FRAME_PLAIN_BYTES_MAX, FRAME_PLAIN_BYTES_MAX);
    options.budget.try_acquire(largest_bytes).map_err(|source| Error::Budget { source })?;
    let survey = Survey::of(volumes, options);
    monitor.expects(survey.files, survey.bytes);
    if options.dry_run {
        return Ok(dry_run(volumes, survey, options));
    }
    let root = TargetRoot::open(target).map_err(|source| Error::Target { path: target.to_path_buf(), source })?;
    let sink = Sink::new(&root, options, monitor);
    let mut planner = Planner::new(&survey, options);
    run(volumes, &mut planner, &sink);
    let is_stopped = options.stop.is_set();
    let damaged: Vec<_> =
        volumes.iter().filter(|(volume, _)| planner.damaged.contains(&volume.header().number)).collect();
    for (volume, keyring) in damaged.iter().filter(|_| !is_stopped) {
        if let Err(error) = retell::unfinished(volume, keyring, &planner, &sink) {
            sink.problem(Problem::volume(error));
        }
    }
    for job in planner.unfinished() {
        job.give_up(is_stopped, &sink);
    }
    if !is_stopped {
        for (volume, keyring) in damaged {
            if let Err(error) = retell::without_bytes(volume, keyring, &mut planner, &sink) {
                sink.problem(Problem::volume(error));
            }
        }
        planner.last.run(&sink);
    }
    let mut outcome = sink.into_outcome();
    outcome.problems.extend(survey.problems);
    outcome.is_stopped = is_stopped;
    Ok(outcome)
}

fn check_jobs(volumes: &[(Volume, Keyring)]) -> Result<(), Error> {
    let Some((first, _)) = volumes.first() else { return Ok(()) };
    let expected = first.header().job;
    match volumes.iter().find(|(volume, _)| volume.header().job != expected) {
        None => Ok(()),
        Some((other, _)) => {
            Err(Error::OtherJob { path: other.root().to_path_buf(), expected, found: other.header().job })
        }
    }
}

/// Memory of a frame under way: its stored body and its plain bytes.
fn frame_cost_bytes(body_bytes: u32, plain_bytes: u32) -> u64 {
    u64::from(body_bytes) + u64::from(plain_bytes) + 4096
}

/// Starts the threads and reads all packs of all volumes.
fn run(volumes: &[(Volume, Keyring)], planner: &mut Planner<'_>, sink: &Sink<'_>) {
    let threads = sink.options.threads.max(1);
    let (send, tasks) = crossbeam_channel::bounded(threads * 2);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let tasks = tasks.clone();
            scope.spawn(move || work(&tasks, sink));
        }
        drop(tasks);
        for (volume, keyring) in volumes {
            let packs = numbers(volume, sink);
            // The place that people know is the drive, not our directory on it.
            let drive = volume.root().parent().unwrap_or(volume.root());
            sink.monitor.begins(volume.header().number, drive, stored_bytes(volume, &packs));
            for number in packs {
                if sink.options.stop.is_set() {
                    return;
                }
                if let Err(error) = one_pack(volume, keyring, number, planner, sink, &send) {
                    sink.problem(Problem::volume(error));
                    lose_pack(volume, keyring, number, planner, sink);
                }
            }
            sink.monitor.ends(volume.header().number);
        }
        drop(send);
    });
}

/// Length of packs.
fn stored_bytes(volume: &Volume, packs: &[u32]) -> u64 {
    let size = |number: &u32| volume.fs().stat(&volume::pack_path(volume.root(), *number)).map_or(0, |stat| stat.len);
    packs.iter().map(size).sum()
}

/// A pack that cannot be read at all: `MANIFEST` names what was in it.
fn lose_pack(volume: &Volume, keyring: &Keyring, number: u32, planner: &mut Planner<'_>, sink: &Sink<'_>) {
    if !volume.is_sealed().unwrap_or(false) {
        return;
    }
    planner.damaged.insert(volume.header().number);
    let mut index = PackIndex::default();
    match retell::content(volume, keyring, number, &mut index) {
        // No frame of it is there, so this plan holds no work; files of several packs wait for other copies.
        Ok(()) => drop(planner.pack(index, sink)),
        Err(error) => sink.problem(Problem::volume(error)),
    }
}

fn numbers(volume: &Volume, sink: &Sink<'_>) -> Vec<u32> {
    volume.packs().unwrap_or_else(|error| {
        sink.problem(Problem::volume(error));
        Vec::new()
    })
}

/// Plans one pack and sends all its work.
fn one_pack(
    volume: &Volume,
    keyring: &Keyring,
    number: u32,
    planner: &mut Planner<'_>,
    sink: &Sink<'_>,
    send: &Sender<Task>,
) -> Result<(), volume::Error> {
    let is_sealed = volume.is_sealed()?;
    let file = match volume.open_pack(number, Access::Buffered) {
        // Power went before its header was written: it holds nothing.
        Err(_) if !is_sealed && is_stub(volume, number) => return Ok(()),
        other => other?,
    };
    let mut index = file.index(keyring)?;
    let damaged = |reason: String| Problem::volume(volume::Error::Damaged { path: file.path().to_path_buf(), reason });
    index.damage.iter().for_each(|reason| sink.problem(damaged(reason.clone())));
    if index.closed.is_none() && is_sealed {
        let reason = "it cannot be read to its end, though the volume is sealed; what comes after is lost";
        sink.problem(damaged(reason.to_owned()));
    }
    if is_sealed && (index.closed.is_none() || !index.nameless.is_empty()) {
        planner.damaged.insert(volume.header().number);
        let retold = retell::content(volume, keyring, number, &mut index);
        retold.unwrap_or_else(|error| sink.problem(Problem::volume(error)));
    }
    let pack = Arc::new(Pack {
        key: file.opening_key(keyring)?,
        header: file.header().clone(),
        path: file.path().to_path_buf(),
    });
    let plan = planner.pack(index, sink);
    // A closed channel would mean that all workers are gone, and a panic of theirs ends the scope anyway.
    for entry in plan.nodes {
        let _ = send.send(Task::Node(Box::new(entry)));
    }
    for job in plan.complete {
        let _ = send.send(Task::Complete(job));
    }
    read(volume, &pack, plan.frames, sink, send);
    Ok(())
}

/// Whether a pack ends within its header.
fn is_stub(volume: &Volume, number: u32) -> bool {
    let path = volume::pack_path(volume.root(), number);
    volume.fs().stat(&path).is_ok_and(|stat| stat.len < PACK_HEADER_BYTES as u64)
}

type Frames = Vec<(volume::FrameAt, Vec<PieceJob>)>;

/// Reads the frames of a plan in order. After a damaged frame it goes on with the next.
fn read(volume: &Volume, pack: &Arc<Pack>, frames: Frames, sink: &Sink<'_>, send: &Sender<Task>) {
    let mut told = false;
    let mut left = frames.into_iter().collect::<std::collections::VecDeque<_>>();
    while !left.is_empty() {
        let places: Vec<volume::FrameAt> = left.iter().map(|(frame, _)| *frame).collect();
        let opened = volume.open_pack(pack.header.number, Access::Buffered);
        let is_gone = opened.is_err();
        let result = opened.map_err(Halt::Volume).and_then(|file| {
            file.read_frames(&places, |raw| {
                let jobs = left.pop_front().map(|(_, jobs)| jobs).unwrap_or_default();
                forward(raw, jobs, pack, sink, send)
            })
        });
        match result {
            Ok(()) | Err(Halt::Stopped) => return,
            Err(Halt::Volume(error)) => {
                if !std::mem::replace(&mut told, true) {
                    sink.problem(Problem::volume(error));
                }
                let lost = if is_gone { left.len() } else { 1 };
                for (_, jobs) in left.drain(..lost.min(left.len())) {
                    jobs.iter().for_each(|job| job.file.put(job.part, job.piece, None, sink));
                }
            }
        }
    }
}

fn forward(
    raw: RawFrame,
    jobs: Vec<PieceJob>,
    pack: &Arc<Pack>,
    sink: &Sink<'_>,
    send: &Sender<Task>,
) -> Result<(), Halt> {
    if sink.options.stop.is_set() {
        return Err(Halt::Stopped);
    }
    let cost_bytes = frame_cost_bytes(raw.header.body_bytes, pack.header.frame_plain_bytes_max);
    let permit = sink.options.budget.acquire(cost_bytes).map_err(|error| {
        let limit = sink.options.budget.total_bytes();
        tracing::debug!(%error, "a frame passes the budget");
        volume::Error::Limit { path: pack.path.clone(), what: "memory for one frame", found: cost_bytes, limit }
    })?;
    sink.monitor.medium(pack.header.volume_number, stored_len(raw.header.body_bytes));
    let task = Task::Frame { raw, pack: Arc::clone(pack), jobs, _permit: permit };
    send.send(task).map_err(|_| Halt::Stopped)
}

fn work(tasks: &Receiver<Task>, sink: &Sink<'_>) {
    for task in tasks {
        match task {
            Task::Node(entry) => sink.make_node(&entry),
            Task::Complete(job) => job.check_complete(sink),
            Task::Frame { raw, pack, jobs, _permit } => write_frame(raw, &pack, &jobs, sink),
        }
    }
}

/// Opens a frame and puts its pieces where they belong.
fn write_frame(raw: RawFrame, pack: &Pack, jobs: &[PieceJob], sink: &Sink<'_>) {
    let plain = match raw.open(&pack.key, &pack.header, &pack.path) {
        Ok(plain) => Some(plain),
        Err(error) => {
            sink.problem(Problem::volume(error));
            None
        }
    };
    for job in jobs {
        let (at, count) = (job.at as usize, job.bytes as usize);
        // A piece outside its frame is a lie of the record, and the same as a damaged frame.
        let bytes = plain.as_deref().and_then(|plain| plain.get(at..)?.get(..count));
        job.file.put(job.part, job.piece, bytes, sink);
    }
}

/// Counts what would be done.
fn dry_run(volumes: &[(Volume, Keyring)], survey: Survey, options: &Options) -> Outcome {
    let mut outcome = Outcome::default();
    for (volume, keyring) in volumes {
        for number in volume.packs().unwrap_or_default() {
            let index = volume.open_pack(number, Access::Buffered).and_then(|pack| pack.index(keyring));
            let records = match index {
                Ok(index) => index.records,
                Err(error) => {
                    outcome.problems.push(Problem::volume(error));
                    continue;
                }
            };
            for record in &records {
                let Record::Entry(entry) = record else { continue };
                let is_dir = entry.entry_type == EntryType::Directory;
                if survey.is_current(entry.id, entry.generation) && is_selected(options, &entry.path, is_dir) {
                    *outcome.counts.entry(Done::WouldWrite).or_default() += 1;
                    outcome.bytes = outcome.bytes.saturating_add(entry.size);
                }
            }
        }
    }
    outcome.problems.extend(survey.problems);
    outcome
}
