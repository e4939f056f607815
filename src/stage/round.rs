//! One round of a run: the engine over the whole source, then the seals.
//!
//! Owns: putting the engine together, and what is sealed after it. Does not own: what a volume that lied costs, and whether
//! a further round mends it (`stage`).

use std::collections::HashSet;
use std::sync::Arc;

use crate::census::{Merge, Top};
use crate::crypto::RunKey;
use crate::job::{Count, Job, Run, State};
use crate::scan::{Root, WalkOptions};
use crate::stage::{
    Error, Monitor, Options, Outcome, engine, gauge, item, lanes, rack, readers, seal, shelf, units, worker, wrap,
};
use crate::sys::budget::MemoryBudget;
use crate::sys::pool::BufferPool;
use crate::sys::throttle::Throttle;
use crate::sys::{World, device, process};
use crate::volume::WRITE_BYTES;

/// Frames that may wait for one volume: more do not make a drive faster, and whatever the budget allows is filled before a
/// drive that is slower than the source; memory that was never touched costs more than what a longer queue could win. Unit:
/// bytes.
const WAITING_BYTES: u64 = 64 << 20;
/// Buffers that whoever reads, compresses or seals has at hand.
const BUFFERS_AT_WORK: usize = 4;

/// Stages what is pending, and seals what is full or done.
pub(super) fn round(
    options: &Options,
    job: &mut Job,
    world: &World,
    roots: &[Root],
    monitor: &Arc<dyn Monitor>,
) -> Result<Outcome, Error> {
    let run = Arc::new(RunKey::fresh(&*world.random));
    let wrap = wrap::Wrap::of(job, &run, options.key_service.clone())?; // before any volume is touched
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
    let (mut ran, volumes) = run_engine(options, job, world, &run, roots.to_vec(), wrap, monitor)?;

    let ledger = job.ledger()?;
    let is_whole = ran.is_complete && ledger.state(State::Pending) == Count::default();
    // What a volume that lied has lost goes onto those that are open still, so they are not sealed before.
    if ran.seals.lied.is_empty() && ((is_whole && options.seals) || ran.out_of_volumes) {
        // A volume that failed in this run is poisoned for all of it: what its cache holds is unknown until it is recovered.
        let failed = ran.failed.iter().map(|(number, _)| *number);
        let done: HashSet<u32> = ran.seals.done.iter().map(|(number, _)| *number).chain(failed).collect();
        let rest: Vec<_> = volumes.iter().filter(|volume| !done.contains(&volume.header().number)).collect();
        seal::all(job, world, &run, &rest, monitor, &options.stop, &mut ran.seals)?;
    }
    if let Some(error) = ran.seals.failure {
        return Err(error);
    }
    let outcome = Outcome {
        job: job.id(),
        needs_volume: ran.out_of_volumes.then(|| ledger.state(State::Pending)),
        ledger,
        sealed: ran.seals.done,
        is_complete: is_whole && ran.seals.lied.is_empty(),
        is_stopped: options.stop.is_set(),
        failed: ran.failed,
        lied: ran.seals.lied,
        problems: ran.problems,
        accepted: super::accepted(job, &options.moving)?,
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

/// How the sources are walked.
pub(super) fn walk_options(options: &Options) -> WalkOptions {
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
    let media: Vec<device::Medium> = roots.iter().map(|root| device::medium(root.path())).collect();
    let readers = readers::Readers::of(&media, options.threads, options.readers);
    tracing::info!(?media, ?readers, "how the sources are read");
    let at_work = ((readers.count + options.threads) * BUFFERS_AT_WORK * buffer) as u64;
    let useful_bytes = at_once.max(1) as u64 * WAITING_BYTES + at_work; // a volume may be brought later
    let budget = Arc::new(MemoryBudget::new((options.memory_bytes - lanes_bytes).min(useful_bytes)));
    let (to_engine, inbox) = engine::inbox();
    let mut rack = rack(options, world, run, wrap, monitor, &to_engine);
    let first = rack.open_first(job, options.one_by_one)?;
    let shared = shared(options, world, BufferPool::new(budget, buffer), monitor, to_engine)?;
    let writers_left = first.len();
    first.into_iter().for_each(|lane| shared.lanes.add(lane));
    let walk = walk_options(options);
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
        outbox: units::Outbox::default(),
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
        seals: seal::Seals::default(),
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
