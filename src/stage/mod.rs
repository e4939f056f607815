//! `stage`: from the source onto volumes, compressed, encrypted, checksummed, manifested; again is resume.
//!
//! Owns: the engine of a run and its rules. Does not own: bytes on a volume (`volume`), the inventory (`job`), the terminal
//! (`cli`). Invariants: the source is never written; what is called staged is committed on a volume and in the database;
//! each path seen is in one state of the ledger; one bad file never ends a run.

mod convert;
mod engine;
mod error;
mod extent;
mod item;
mod lane;
mod large;
mod monitor;
mod reader;
mod readme;
mod repair;
mod seal;
mod shelf;
mod small;
mod squeeze;
mod worker;
mod writer;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use zeroize::Zeroizing;

use crate::census::{self, Merge, Top};
use crate::crypto::{
    Recipients, RunKey, SlotRecipient, UnlockCode, identity_from_passphrase, identity_from_unlock_code, seal_slot,
};
use crate::format::{FRAME_PLAIN_BYTES_DEFAULT, JobId, PACK_BYTES_DEFAULT};
use crate::job::{Count, Job, Ledger, Run, State};
use crate::scan::{Root, Selection, WalkOptions};
use crate::sys::World;
use crate::sys::budget::MemoryBudget;
use crate::sys::pool::BufferPool;
use crate::sys::process::{self, StopFlag};
use crate::volume::{SealReport, WRITE_BYTES};

pub use error::Error;
pub use monitor::{Monitor, Silent, VolumeEvent};
pub use shelf::Place;
pub use squeeze::Compression;

/// Memory a run may use for buffers unless asked otherwise. Unit: bytes.
pub const MEMORY_DEFAULT_BYTES: u64 = 512 << 20;

/// What to stage, where to, and how.
pub struct Options {
    /// Sources, as the user gave them.
    pub sources: Vec<PathBuf>,
    /// Where volumes are.
    pub volumes: Vec<Place>,
    /// The job directory.
    pub job: PathBuf,
    /// age recipients, added to the job's.
    pub recipients: Vec<String>,
    /// A passphrase whose identity becomes a recipient.
    pub passphrase: Option<Zeroizing<Vec<u8>>>,
    /// An unlock code whose identity becomes a recipient.
    pub unlock_code: Option<UnlockCode>,
    /// Memory for buffers. Unit: bytes.
    pub memory_bytes: u64,
    /// Threads that compress and seal; the readers are twice as many.
    pub threads: usize,
    /// How content is compressed.
    pub compression: Compression,
    /// Largest pack. Unit: bytes.
    pub pack_bytes_max: u64,
    /// Plain bytes of a full frame.
    pub frame_bytes: u32,
    /// Which names are taken.
    pub selection: Selection,
    /// Whether to stay on the file system of each source.
    pub one_file_system: bool,
    /// Whether fifos, sockets and devices are recorded instead of listed as skipped.
    pub special_files: bool,
    /// Whether volumes are sealed when all is staged.
    pub seals: bool,
    /// Whom to call about a drive, for its `README.txt` and label; the job keeps it.
    pub contact: Option<String>,
    /// Whether volumes carry this program and the documents of the format.
    pub self_carrying: bool,
    /// Volumes that lost something: what that costs is staged again, onto others.
    pub repair: Vec<PathBuf>,
    /// Set by the user to stop.
    pub stop: StopFlag,
}

impl Options {
    /// Defaults for everything but what and where.
    pub fn new(sources: Vec<PathBuf>, volumes: Vec<Place>, job: PathBuf) -> Self {
        Self {
            sources,
            volumes,
            job,
            recipients: Vec::new(),
            passphrase: None,
            unlock_code: None,
            memory_bytes: MEMORY_DEFAULT_BYTES,
            threads: process::parallelism(),
            compression: Compression::Auto,
            pack_bytes_max: PACK_BYTES_DEFAULT,
            frame_bytes: FRAME_PLAIN_BYTES_DEFAULT,
            selection: Selection::everything(),
            one_file_system: false,
            special_files: true,
            seals: true,
            contact: None,
            self_carrying: false,
            repair: Vec::new(),
            stop: StopFlag::new(),
        }
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The job.
    pub job: JobId,
    /// Where every path stands.
    pub ledger: Ledger,
    /// Volumes sealed in this run.
    pub sealed: Vec<(u32, SealReport)>,
    /// Whether everything seen is on volumes, on record as a problem, or excluded.
    pub is_complete: bool,
    /// Whether a further volume is needed, and for how much. Unit: bytes.
    pub needs_volume: Option<Count>,
    /// Whether the user stopped it.
    pub is_stopped: bool,
    /// Volumes that failed, and why.
    pub failed: Vec<(u32, crate::volume::Error)>,
    /// Problems met in this run, those of paths without an entry among them.
    pub problems: u64,
}

/// Stages. The same call again goes on where this one stopped.
///
/// # Errors
/// When the run cannot go on at all; trouble with single entries is in the ledger.
pub fn stage(options: Options, world: &World, monitor: Arc<dyn Monitor>) -> Result<Outcome, Error> {
    let roots = Root::resolve_all(&options.sources)?;
    let mut job = open_job(&options, &roots, world)?;
    repair::take_back(&mut job, world, &options.repair, &*monitor)?;
    let run = Arc::new(RunKey::fresh(&*world.random));
    let recipients = job.slot_recipients()?;
    if recipients.is_empty() {
        return Err(Error::NoRecipient);
    }
    let recipients = Recipients::of(&recipients)?;
    let slot = seal_slot(job.id(), &run, &recipients)?;
    let started = Run {
        id: run.run(),
        command: "stage".to_owned(),
        started: world.clock.now(),
        ended: None,
        outcome: None,
        host: process::host_name(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    job.batch_durable(|tx| tx.put_run(&started))?;
    job.batch(|tx| tx.retry_problems())?;
    let shelf = shelf::open(&mut job, world, &run, &slot, &options.volumes, &*monitor)?;
    if options.self_carrying {
        shelf.iter().try_for_each(|shelved| reader::carry(&shelved.volume))?;
    }
    let ran = run_engine(&options, &mut job, world, &run, roots, shelf, &monitor)?;
    let (ran, volumes) = ran;

    let ledger = job.ledger()?;
    let is_whole = ran.is_complete && ledger.state(State::Pending) == Count::default();
    let mut sealed = Vec::new();
    if (is_whole && options.seals) || ran.out_of_volumes {
        sealed = seal::all(&mut job, world, &run, &volumes, &monitor)?;
    }
    let outcome = Outcome {
        job: job.id(),
        needs_volume: ran.out_of_volumes.then(|| ledger.state(State::Pending)),
        ledger,
        sealed,
        is_complete: is_whole,
        is_stopped: options.stop.is_set(),
        failed: ran.failed,
        problems: ran.problems,
    };
    let word = match &outcome {
        outcome if outcome.is_complete => "complete",
        outcome if outcome.is_stopped => "stopped",
        outcome if outcome.needs_volume.is_some() => "needs a volume",
        _ => "failed",
    };
    let ended = Run { ended: Some(world.clock.now()), outcome: Some(word.to_owned()), ..started };
    job.batch_durable(|tx| tx.put_run(&ended))?;
    Ok(outcome)
}

/// Opens the job, or makes it on the first run; adds what recipients are new.
fn open_job(options: &Options, roots: &[Root], world: &World) -> Result<Job, Error> {
    let mut job = census::open_job(&options.job, roots, world)?;
    let mut recipients: Vec<SlotRecipient> = options.recipients.iter().map(|text| SlotRecipient::of(text)).collect();
    let mut add = |kind: &str, text: String| recipients.push(SlotRecipient { kind: kind.to_owned(), text });
    if let Some(passphrase) = &options.passphrase {
        add("passphrase", identity_from_passphrase(passphrase, &job.salt())?.recipient);
    }
    if let Some(code) = &options.unlock_code {
        add("unlock-code", identity_from_unlock_code(code, &job.salt())?.recipient);
    }
    Recipients::of(&recipients)?; // before any of them is kept
    if let Some(contact) = &options.contact {
        job.batch_durable(|tx| tx.set_setting("contact", contact))?;
    }
    job.batch_durable(|tx| recipients.iter().try_for_each(|recipient| tx.add_recipient_as(recipient)))?;
    Ok(job)
}

fn run_engine(
    options: &Options,
    job: &mut Job,
    world: &World,
    run: &Arc<RunKey>,
    roots: Vec<Root>,
    shelf: Vec<shelf::Shelved>,
    monitor: &Arc<dyn Monitor>,
) -> Result<(engine::Ran, Vec<crate::volume::Volume>), Error> {
    let buffer = options.frame_bytes as usize + 4096;
    let lanes_bytes = (shelf.len() * 2 * WRITE_BYTES) as u64;
    let needed_bytes = 4 * buffer as u64 + lanes_bytes;
    if options.memory_bytes < needed_bytes {
        return Err(Error::Memory { budget_bytes: options.memory_bytes, needed_bytes });
    }
    let budget = Arc::new(MemoryBudget::new(options.memory_bytes - lanes_bytes));
    let (to_engine, inbox) = engine::inbox();
    let squeeze = Arc::new(squeeze::Squeeze::new(options.compression));
    let mut lanes = Vec::new();
    let mut volumes = Vec::new();
    for shelved in shelf {
        volumes.push(shelved.volume.clone());
        lanes.push(open_lane(options, world, run, shelved, &to_engine, &squeeze, monitor)?);
    }
    let cpus = rayon::ThreadPoolBuilder::new().num_threads(options.threads.max(1)).build();
    let shared = Arc::new(worker::Shared {
        lanes: Mutex::new(lanes.clone()),
        pool: BufferPool::new(budget, buffer),
        cpus: cpus.map_err(|error| Error::Thread(std::io::Error::other(error)))?,
        squeeze,
        monitor: Arc::clone(monitor),
        engine: to_engine,
        stop: options.stop.clone(),
        frame_bytes: options.frame_bytes,
        out_of_volumes: AtomicBool::new(false),
        owners: crate::sys::owners::Owners::of_this_machine(),
    });
    let walk = WalkOptions {
        threads: options.threads.max(1),
        one_file_system: options.one_file_system,
        selection: options.selection.clone(),
        own_output: shelf::own_output(&options.volumes, &options.job),
        stop: options.stop.clone(),
    };
    let tops = job
        .sources()?
        .into_iter()
        .zip(&roots)
        .map(|(source, root)| Top { root: root.clone(), entry: source.id, prefix: source.root.prefix })
        .collect();
    let engine = engine::Engine {
        job,
        world: world.clone(),
        shared,
        merge: Merge::new(tops, options.special_files),
        gather: item::Gather::new(options.frame_bytes),
        outbox: VecDeque::new(),
        writers_left: lanes.len(),
        lanes: lanes.clone(),
        inbox,
        fatal: None,
        failed: Vec::new(),
        walked: None,
        workers_left: 0,
        problems: 0,
    };
    let result = engine.run(roots, walk, options.threads.max(1) * 2);
    if result.is_err() {
        for lane in &lanes {
            lane.fail();
            lane.finish();
        }
    }
    result.map(|ran| (ran, volumes))
}

/// A lane and the thread of its writer.
fn open_lane(
    options: &Options,
    world: &World,
    run: &Arc<RunKey>,
    shelved: shelf::Shelved,
    to_engine: &crossbeam_channel::Sender<engine::ToEngine>,
    squeeze: &Arc<squeeze::Squeeze>,
    monitor: &Arc<dyn Monitor>,
) -> Result<Arc<lane::Lane>, Error> {
    let (writer, inbox) = crossbeam_channel::unbounded();
    let lane = lane::Lane::new(lane::LaneSetup {
        volume: shelved.volume,
        capacity_bytes: shelved.capacity_bytes,
        used_bytes: shelved.used_bytes,
        next_pack: shelved.next_pack,
        writer,
        world: world.clone(),
        run: Arc::clone(run),
        pack_bytes_max: options.pack_bytes_max,
        frame_bytes: options.frame_bytes,
    });
    let (number, tell, heard) = (lane.number(), to_engine.clone(), Arc::clone(monitor));
    writer::spawn(writer::LaneWriter::new(
        Arc::clone(&lane),
        inbox,
        move |message| drop(tell.send(engine::ToEngine::Writer(message))),
        Arc::clone(squeeze),
        Box::new(move |bytes| heard.written(number, bytes)),
    ))
    .map_err(Error::Thread)?;
    Ok(lane)
}
