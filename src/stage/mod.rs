//! `stage`: from the source onto volumes, compressed, encrypted, checksummed, manifested; again is resume.
//!
//! Owns: the engine of a run and its rules. Does not own: bytes on a volume (`volume`), the inventory (`job`), the terminal
//! (`cli`). Invariants: the source is never written; what is called staged is committed on a volume and in the database;
//! each path seen is in one state of the ledger; one bad file never ends a run.

mod compare;
mod convert;
mod dry;
mod engine;
mod error;
mod extent;
mod gauge;
mod item;
mod lane;
mod lanes;
mod large;
mod monitor;
mod moving;
mod pace;
mod rack;
mod reader;
mod readers;
mod readme;
mod repair;
mod seal;
mod shelf;
mod small;
mod squeeze;
mod swap;
mod worker;
mod wrap;
mod writer;

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::census::{self, Merge, Top};
use crate::crypto::{
    KeyService, Recipients, RunKey, SlotRecipient, UnlockCode, identity_from_passphrase, identity_from_unlock_code,
};
use crate::format::{FRAME_PLAIN_BYTES_DEFAULT, JobId, PACK_BYTES_DEFAULT};
use crate::job::{Count, Job, Ledger, Run, State};
use crate::scan::{FileList, Root, Selection, WalkOptions};
use crate::sys::World;
use crate::sys::budget::MemoryBudget;
use crate::sys::device;
use crate::sys::pool::BufferPool;
use crate::sys::process::{self, StopFlag};
use crate::sys::throttle::Throttle;
use crate::volume::{SealReport, WRITE_BYTES};

pub use dry::{Fill, FillMap, dry_run};
pub use error::Error;
pub use gauge::Bottleneck;
pub use monitor::{Monitor, Silent, VolumeEvent};
pub use moving::{Moving, OnChange};
pub use rack::{NextVolume, Wanted};
pub use shelf::Place;
pub use squeeze::Compression;

/// Memory a run may use for buffers unless asked otherwise. Unit: bytes.
pub const MEMORY_DEFAULT_BYTES: u64 = 512 << 20;

/// Changed files looked at at once.
const CHANGED_AT_ONCE: usize = 4096;

/// What to stage, where to, and how.
pub struct Options {
    /// Sources, as the user gave them.
    pub sources: Vec<PathBuf>,
    /// Where volumes are.
    pub volumes: Vec<Place>,
    /// Whether they are filled one after another, in this order, instead of all at once.
    pub one_by_one: bool,
    /// Asked for a further volume when all are full. Without it the run ends then.
    pub next_volume: Option<NextVolume>,
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
    /// Threads that compress and seal.
    pub threads: usize,
    /// Files read at once; `None`: as many as suit what the sources are on.
    pub readers: Option<usize>,
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
    /// Whether links are followed instead of kept.
    pub follow_links: bool,
    /// What to take of the only source; `None`: everything.
    pub list: Option<Arc<FileList>>,
    /// Whether files that look unchanged are read and compared with what was staged.
    pub by_content: bool,
    /// What is done with files that change while they are read.
    pub moving: Moving,
    /// Ceiling on reading at the source. Unit: bytes per second.
    pub read_rate_max: Option<u64>,
    /// Whether fifos, sockets and devices are recorded instead of listed as skipped.
    pub special_files: bool,
    /// Whether volumes are sealed when all is staged.
    pub seals: bool,
    /// Whom to call about a drive, for its `README.txt` and label; the job keeps it.
    pub contact: Option<String>,
    /// Keys of the key service that slots are wrapped for; the job keeps them.
    pub kms_keys: Vec<String>,
    /// The key service.
    pub key_service: Option<Arc<dyn KeyService>>,
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
            one_by_one: false,
            next_volume: None,
            job,
            recipients: Vec::new(),
            passphrase: None,
            unlock_code: None,
            memory_bytes: MEMORY_DEFAULT_BYTES,
            threads: process::parallelism(),
            readers: None,
            compression: Compression::Auto,
            pack_bytes_max: PACK_BYTES_DEFAULT,
            frame_bytes: FRAME_PLAIN_BYTES_DEFAULT,
            selection: Selection::everything(),
            one_file_system: false,
            follow_links: false,
            list: None,
            by_content: false,
            moving: Moving::default(),
            read_rate_max: None,
            special_files: true,
            seals: true,
            contact: None,
            kms_keys: Vec::new(),
            key_service: None,
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
    /// Files on volumes that changed while they were read, and for which the rules of this run say that this is as expected.
    pub accepted: u64,
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
    let wrap = wrap::Wrap::of(&job, &run, options.key_service.clone())?; // before any volume is touched
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
    let (ran, volumes) = run_engine(&options, &mut job, world, &run, roots, wrap, &monitor)?;

    let ledger = job.ledger()?;
    let is_whole = ran.is_complete && ledger.state(State::Pending) == Count::default();
    let mut sealed = ran.sealed;
    if (is_whole && options.seals) || ran.out_of_volumes {
        // A volume that failed in this run is poisoned for all of it: what its cache holds is unknown until it is recovered.
        let failed = ran.failed.iter().map(|(number, _)| *number);
        let done: HashSet<u32> = sealed.iter().map(|(number, _)| *number).chain(failed).collect();
        let rest: Vec<_> = volumes.iter().filter(|volume| !done.contains(&volume.header().number)).collect();
        sealed.extend(seal::all(&mut job, world, &run, &rest, &monitor, &options.stop)?);
    }
    if let Some(error) = ran.seal_failure {
        return Err(error);
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
        accepted: accepted(&job, &options.moving)?,
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

/// Changed files that the rules accept.
fn accepted(job: &Job, moving: &Moving) -> Result<u64, Error> {
    let (mut after, mut count) = (0, 0);
    loop {
        let some = job.changed(after, CHANGED_AT_ONCE)?;
        let Some(last) = some.last() else { return Ok(count) };
        after = last.entry.id;
        count += some.iter().filter(|work| moving.of(&work.path) == OnChange::Accept).count() as u64;
    }
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
    if !options.kms_keys.is_empty() {
        let mut keys = job.kms_keys()?;
        keys.extend(options.kms_keys.iter().filter(|key| !keys.contains(key)).cloned().collect::<Vec<_>>());
        job.batch_durable(|tx| tx.set_kms_keys(&keys))?;
    }
    if let Some(contact) = &options.contact {
        job.batch_durable(|tx| tx.set_setting("contact", contact))?;
    }
    job.batch_durable(|tx| recipients.iter().try_for_each(|recipient| tx.add_recipient_as(recipient)))?;
    Ok(job)
}

/// How the sources are walked.
fn walk_options(options: &Options) -> WalkOptions {
    WalkOptions {
        threads: options.threads.max(1),
        one_file_system: options.one_file_system,
        selection: options.selection.clone(),
        follow_links: options.follow_links,
        list: options.list.clone(),
        own_output: shelf::own_output(&options.volumes, &options.job),
        stop: options.stop.clone(),
    }
}

/// The volumes that were named, none of them open yet.
fn rack(
    options: &Options,
    world: &World,
    run: &Arc<RunKey>,
    wrap: wrap::Wrap,
    monitor: &Arc<dyn Monitor>,
    to_engine: &crossbeam_channel::Sender<engine::ToEngine>,
) -> rack::Rack {
    rack::Rack {
        world: world.clone(),
        run: Arc::clone(run),
        wrap,
        monitor: Arc::clone(monitor),
        engine: to_engine.clone(),
        pack_bytes_max: options.pack_bytes_max,
        frame_bytes: options.frame_bytes,
        compression: options.compression,
        carries: options.self_carrying,
        next: options.next_volume.clone(),
        waiting: options.volumes.iter().cloned().collect(),
        seen: HashSet::new(),
        volumes: Vec::new(),
    }
}

/// What the workers share.
fn shared(
    options: &Options,
    world: &World,
    pool: Arc<BufferPool>,
    monitor: &Arc<dyn Monitor>,
    to_engine: crossbeam_channel::Sender<engine::ToEngine>,
) -> Result<Arc<worker::Shared>, Error> {
    let cpus = rayon::ThreadPoolBuilder::new().num_threads(options.threads.max(1)).build();
    Ok(Arc::new(worker::Shared {
        lanes: lanes::Lanes::default(),
        pool,
        cpus: cpus.map_err(|error| Error::Thread(std::io::Error::other(error)))?,
        monitor: Arc::clone(monitor),
        engine: to_engine,
        stop: options.stop.clone(),
        frame_bytes: options.frame_bytes,
        owners: crate::sys::owners::Owners::of_this_machine(),
        moving: options.moving.clone(),
        throttle: options.read_rate_max.map(Throttle::new),
        clock: Arc::clone(&world.clock),
    }))
}

fn run_engine(
    options: &Options,
    job: &mut Job,
    world: &World,
    run: &Arc<RunKey>,
    roots: Vec<Root>,
    wrap: wrap::Wrap,
    monitor: &Arc<dyn Monitor>,
) -> Result<(engine::Ran, Vec<crate::volume::Volume>), Error> {
    let buffer = options.frame_bytes as usize + 4096;
    // One by one, the next volume is begun while the last packs of a full one are written.
    let at_once = if options.one_by_one { 2 } else { options.volumes.len() };
    let lanes_bytes = (at_once * 2 * WRITE_BYTES) as u64;
    let needed_bytes = 4 * buffer as u64 + lanes_bytes;
    if options.memory_bytes < needed_bytes {
        return Err(Error::Memory { budget_bytes: options.memory_bytes, needed_bytes });
    }
    let budget = Arc::new(MemoryBudget::new(options.memory_bytes - lanes_bytes));
    let (to_engine, inbox) = engine::inbox();
    let mut rack = rack(options, world, run, wrap, monitor, &to_engine);
    let first = rack.open_first(job, options.one_by_one)?;
    let shared = shared(options, world, BufferPool::new(budget, buffer), monitor, to_engine)?;
    let writers_left = first.len();
    first.into_iter().for_each(|lane| shared.lanes.add(lane));
    let walk = walk_options(options);
    let media: Vec<device::Medium> = roots.iter().map(|root| device::medium(root.path())).collect();
    let readers = readers::Readers::of(&media, options.threads, options.readers);
    tracing::info!(?media, ?readers, "how the sources are read");
    let tops = job
        .sources()?
        .into_iter()
        .zip(&roots)
        .map(|(source, root)| Top { root: root.clone(), entry: source.id, prefix: source.root.prefix })
        .collect();
    let mut merge = Merge::new(tops, options.special_files);
    merge.by_content = options.by_content;
    let mut engine = engine::Engine {
        job,
        rack,
        shared: Arc::clone(&shared),
        merge,
        gather: item::Gather::new(options.frame_bytes),
        readers,
        outbox: VecDeque::new(),
        writers_left,
        inbox,
        fatal: None,
        failed: Vec::new(),
        walked: None,
        workers_left: 0,
        problems: 0,
        comparing: 0,
        gauge: gauge::Gauge::default(),
        list: options.list.clone(),
        seals_left: 0,
        sealed: Vec::new(),
        seal_failure: None,
    };
    let result = engine.run(roots, walk);
    if result.is_err() {
        shared.lanes.abandon();
        for lane in shared.lanes.all() {
            lane.fail();
            lane.finish();
        }
    }
    let volumes = std::mem::take(&mut engine.rack.volumes);
    result.map(|ran| (ran, volumes))
}
