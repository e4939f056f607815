//! The threads of an extraction: one plans pack after pack, one reads the frames of the plan, the others open them and write
//! files.
//!
//! Owns: the channels between them, the memory under way, going on after a damaged frame. Does not own: what the frames mean.
//! Invariants: a frame under way is a permit of the budget; a damaged frame costs its pieces and nothing else; one worker
//! more or less changes nothing but the time; at most two plans are in memory, that of the pack being read and the next one.
//!
//! Why a plan may be made while files of the pack before are still written: a file is finished only when everything that was
//! expected of it has arrived, and one that is finished takes nothing more (`file`).

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::crypto::OpeningKey;
use crate::extract::error::Problem;
use crate::extract::file::FileJob;
use crate::extract::node::Sink;
use crate::extract::plan::{PackPlan, PieceJob};
use crate::format::record::Entry;
use crate::format::{PackHeader, stored_len};
use crate::sys::Access;
use crate::sys::budget::Permit;
use crate::volume::{self, RawFrame, Volume};

/// What is needed to open the frames of a pack.
pub(super) struct Pack {
    pub(super) key: OpeningKey,
    pub(super) header: PackHeader,
    pub(super) path: PathBuf,
}

/// What the reader is told.
enum Message<'v> {
    /// The packs that follow are this volume's: so many bytes.
    Begin(&'v Volume, u64),
    Pack(&'v Volume, Arc<Pack>, PackPlan),
    /// No more packs of it come.
    End(&'v Volume),
}

/// Work for any thread.
enum Task {
    Frame { raw: RawFrame, pack: Arc<Pack>, jobs: Vec<PieceJob>, _permit: Permit },
    Complete(Arc<FileJob>),
    Node(Box<Entry>),
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

/// The planner's end.
pub(super) struct Feeder<'v>(Sender<Message<'v>>);

impl<'v> Feeder<'v> {
    /// A volume is begun, of which so many bytes may be read.
    pub(super) fn begin(&self, volume: &'v Volume, bytes: u64) {
        self.send(Message::Begin(volume, bytes));
    }

    /// Waits until the pack before is read.
    pub(super) fn pack(&self, volume: &'v Volume, pack: Pack, plan: PackPlan) {
        self.send(Message::Pack(volume, Arc::new(pack), plan));
    }

    /// Everything of the volume has been handed over.
    pub(super) fn end(&self, volume: &'v Volume) {
        self.send(Message::End(volume));
    }

    fn send(&self, message: Message<'v>) {
        // The other side is gone only after a panic, which ends the scope.
        let _ = self.0.send(message);
    }
}

/// Memory of a frame under way: its stored body and its plain bytes.
pub(super) fn frame_cost_bytes(body_bytes: u32, plain_bytes: u32) -> u64 {
    u64::from(body_bytes) + u64::from(plain_bytes) + 4096
}

/// Runs `plan` beside a reader and the workers, and returns when everything that was handed over is done.
pub(super) fn beside<'v>(sink: &Sink<'_>, plan: impl FnOnce(&Feeder<'v>)) {
    let threads = sink.options.threads.max(1);
    std::thread::scope(|scope| {
        let (send, tasks) = bounded(threads * 2);
        for _ in 0..threads {
            let tasks = tasks.clone();
            scope.spawn(move || work(&tasks, sink));
        }
        drop(tasks); // or the reader would wait for workers that a panic has ended
        let (feed, messages) = bounded(0);
        scope.spawn(move || read_all(&messages, sink, &send));
        plan(&Feeder(feed));
    });
}

fn read_all(messages: &Receiver<Message<'_>>, sink: &Sink<'_>, send: &Sender<Task>) {
    for message in messages {
        match message {
            Message::Begin(volume, bytes) => {
                // The place that people know is the drive, not our directory on it.
                let drive = volume.root().parent().unwrap_or(volume.root());
                sink.monitor.begins(volume.header().number, drive, bytes);
            }
            Message::Pack(volume, pack, plan) => {
                // A closed channel would mean that all workers are gone, and a panic of theirs ends the scope anyway.
                for entry in plan.nodes {
                    let _ = send.send(Task::Node(Box::new(entry)));
                }
                for job in plan.complete {
                    let _ = send.send(Task::Complete(job));
                }
                read(volume, &pack, plan.frames.into(), sink, send);
            }
            Message::End(volume) => sink.monitor.ends(volume.header().number),
        }
    }
}

type Frames = VecDeque<(volume::FrameAt, Vec<PieceJob>)>;

/// Reads the frames of a plan in order. After a damaged frame it goes on with the next.
fn read(volume: &Volume, pack: &Arc<Pack>, mut left: Frames, sink: &Sink<'_>, send: &Sender<Task>) {
    let mut told = false;
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
