//! Into S3: what the volumes hold becomes objects, and the server itself confirms them against what was read at the
//! source.
//!
//! Owns: everything that speaks to an object store, and the order of work of an ingest. Does not own: the volume format,
//! the job database, reports. Invariants: no object counts as arrived before the server compared a checksum taken at the
//! source, or its bytes were read back; nothing that is finished is sent again; an object that is there already is never
//! replaced unless asked; the name of an upload is durable before its first part is sent. The only verb with asynchronous
//! code inside; what it offers to `cli` blocks.

mod catalog;
mod error;
mod line;
mod record;
pub mod remote;
mod room;
mod send;
mod source;
mod tasks;
mod wanted;

use std::sync::{Arc, Mutex};

use crate::format::JobId;
use crate::ingest::catalog::{Jobs, Pass, Plan};
pub use crate::ingest::error::Error;
pub use crate::ingest::line::{Line, Sent, measure_line};
use crate::ingest::record::Recorder;
pub use crate::ingest::record::{Failure, Tally};
use crate::ingest::remote::probe::{Endpoint, probe};
use crate::ingest::remote::retry::Patience;
use crate::ingest::remote::{Method, ObjectStore, OpenUpload, S3Store, Target, connect};
use crate::ingest::room::Room;
use crate::ingest::send::Sender;
use crate::ingest::source::Reader;
pub use crate::ingest::source::{Finding, Medium};
use crate::ingest::tasks::{Spawner, Tasks};
use crate::job::{self, Job};
use crate::sys::World;
use crate::sys::process::{StopFlag, parallelism};

/// Most times the volumes are gone through in one run.
const ROUNDS_MAX: u32 = 3;
/// Setting of the job that holds its destination.
const DESTINATION: &str = "ingest.destination";

/// How to ingest.
#[derive(Debug, Clone)]
pub struct Options {
    /// Put in front of every key.
    pub prefix: String,
    /// Whether objects that are there and differ are replaced.
    pub overwrite: bool,
    /// Whether uploads under the prefix that belong to nothing are aborted in the end.
    pub abort_orphans: bool,
    /// Most requests at a time.
    pub requests_max: usize,
    /// Memory for bodies. Unit: bytes.
    pub memory_bytes: u64,
    /// Insist on a method instead of the strongest that works.
    pub method: Option<Method>,
    /// How long a failing request is repeated.
    pub patience: Patience,
    /// Asks for a stop.
    pub stop: StopFlag,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            overwrite: false,
            abort_orphans: false,
            requests_max: 32,
            memory_bytes: 512 << 20,
            method: None,
            patience: Patience::default(),
            stop: StopFlag::new(),
        }
    }
}

/// Hears how far it is; called from several threads.
pub trait Monitor: Sync {
    /// What the server was found to do.
    fn endpoint(&self, endpoint: &Endpoint);
    /// Plain bytes were read from volumes. Unit: bytes.
    fn read(&self, bytes: u64);
    /// Objects reached their end; `bytes` are those of the objects that are there now. Unit: bytes.
    fn objects(&self, objects: u64, bytes: u64);
    /// A part of a larger object is there. Unit: bytes.
    fn part(&self, bytes: u64);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn endpoint(&self, _endpoint: &Endpoint) {}
    fn read(&self, _bytes: u64) {}
    fn objects(&self, _objects: u64, _bytes: u64) {}
    fn part(&self, _bytes: u64) {}
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the server was found to do.
    pub endpoint: Endpoint,
    /// Counts of this run.
    pub tally: Tally,
    /// What was damaged on the volumes.
    pub findings: Vec<Finding>,
    /// Entries that are on volumes and not in the bucket yet.
    pub left: u64,
    /// Volumes of the job that were not given and may hold what is left.
    pub volumes_needed: Vec<u32>,
    /// Uploads under the prefix that belong to nothing in this job; they may cost storage. Asked when nothing is left.
    pub orphans: Vec<OpenUpload>,
}

/// Sends everything that is on `media` and not in the bucket yet. The same call again resumes.
///
/// # Errors
/// When the run cannot go on: see [`Error`]. What arrived until then is on record.
pub fn ingest(
    job: &mut Job,
    media: &[Medium],
    target: Target,
    options: &Options,
    world: &World,
    monitor: &dyn Monitor,
) -> Result<Outcome, Error> {
    let destination = format!("s3://{}/{}", target.bucket, options.prefix);
    claim_destination(job, &destination)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(parallelism())
        .thread_name("ingest")
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let remote = |source| Error::Remote { target: destination.clone(), source };
    let store = runtime.block_on(connect(target));
    let endpoint = match remembered(job, &store, options.method)? {
        Some(endpoint) => endpoint,
        None => {
            let found = runtime.block_on(ask(&store, options, job.id())).map_err(remote)?;
            remember(job, &store, &found, world)?;
            found
        }
    };
    monitor.endpoint(&endpoint);
    let (tally, findings) = {
        let run = Run { job: Mutex::new(job), media, options, world, monitor, runtime: &runtime };
        run.rounds(store.clone(), endpoint).map_err(|error| match error {
            Stopped::Remote(source) => remote(source),
            Stopped::Other(error) => error,
        })?
    };
    let (left, volumes_needed) = left(job, media, &options.prefix)?;
    let orphans = if left == 0 { runtime.block_on(orphans(&store, options)).map_err(remote)? } else { Vec::new() };
    // What is still on its way belongs to a run that was stopped; the next one looks at it.
    runtime.shutdown_background();
    Ok(Outcome { endpoint, tally, findings, left, volumes_needed, orphans })
}

/// The destination of a job is part of its record: an object that arrived elsewhere has not arrived here.
fn claim_destination(job: &mut Job, asked: &str) -> Result<(), Error> {
    match job.setting(DESTINATION)? {
        None => Ok(job.batch_durable(|batch| batch.set_setting(DESTINATION, asked))?),
        Some(recorded) if recorded == asked => Ok(()),
        Some(recorded) => Err(Error::OtherDestination { recorded, asked: asked.to_owned() }),
    }
}

fn remembered(job: &Job, store: &S3Store, pinned: Option<Method>) -> Result<Option<Endpoint>, Error> {
    let Some(known) = job.endpoint(store.endpoint(), store.bucket())? else { return Ok(None) };
    let endpoint: Endpoint = serde_json::from_str(&known.facts).map_err(Error::Remembered)?;
    Ok(Some(endpoint).filter(|endpoint| pinned.is_none_or(|method| method == endpoint.method)))
}

fn remember(job: &mut Job, store: &S3Store, endpoint: &Endpoint, world: &World) -> Result<(), Error> {
    let facts = serde_json::to_string(endpoint).map_err(Error::Remembered)?;
    let (url, bucket) = (store.endpoint().to_owned(), store.bucket().to_owned());
    let known = job::Endpoint { url, bucket, probed: world.clock.now(), facts };
    Ok(job.batch(|batch| batch.put_endpoint(&known))?)
}

async fn ask(store: &S3Store, options: &Options, job: JobId) -> Result<Endpoint, remote::RemoteError> {
    let scratch = format!("{}.packmule-probe-{job}/", options.prefix);
    let pinned = options.method.map(|method| [method]);
    let allowed: &[Method] = pinned.as_ref().map_or(&Method::LADDER, |one| one);
    probe(store, &scratch, allowed).await
}

/// Uploads under the prefix that nobody will complete: asked once everything is there, so none of them is this job's. A
/// process that dies between the server's answer and the job's record of it leaves one, without parts.
async fn orphans(store: &S3Store, options: &Options) -> Result<Vec<OpenUpload>, remote::RemoteError> {
    let open = match store.open_uploads(&options.prefix).await {
        Ok(open) => open,
        // A server that cannot list them, or does not let us, does not make the ingest fail.
        Err(remote::RemoteError::Refused { .. } | remote::RemoteError::Auth { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if !options.abort_orphans {
        return Ok(open);
    }
    for upload in &open {
        store.abort(&upload.key, &upload.upload).await?;
    }
    Ok(Vec::new())
}

/// Entries staged and without a finished object, and the volumes of the job that are not at hand.
fn left(job: &Job, media: &[Medium], prefix: &str) -> Result<(u64, Vec<u32>), Error> {
    let staged = job.ledger()?.staged().entries;
    let arrived: u64 =
        job.object_ledger()?.iter().filter(|(state, _)| record::is_done(*state)).map(|(_, c)| c.entries).sum();
    // Without a prefix the top of the dataset has no name in a bucket, and needs no object.
    let top = if prefix.is_empty() { job.find(b"")? } else { None };
    let top = top.map(|id| job.entry(id)).transpose()?.flatten();
    let nameless = u64::from(top.is_some_and(|top| top.state.is_staged()));
    let left = staged.saturating_sub(arrived + nameless);
    let at_hand: Vec<u32> = media.iter().map(|medium| medium.volume.header().number).collect();
    let absent = job.volumes()?.into_iter().map(|row| row.volume.number).filter(|number| !at_hand.contains(number));
    Ok((left, if left == 0 { Vec::new() } else { absent.collect() }))
}

/// Why the rounds ended early.
enum Stopped {
    Remote(remote::RemoteError),
    Other(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

struct Run<'a> {
    job: Jobs<'a>,
    media: &'a [Medium],
    options: &'a Options,
    world: &'a World,
    monitor: &'a dyn Monitor,
    runtime: &'a tokio::runtime::Runtime,
}

impl Run<'_> {
    /// Goes through the volumes until nothing is left that another round could help.
    fn rounds<S: ObjectStore>(&self, store: S, endpoint: Endpoint) -> Result<(Tally, Vec<Finding>), Stopped> {
        let (reports, incoming) = crossbeam_channel::unbounded();
        let sender = Arc::new(Sender {
            store,
            endpoint,
            patience: self.options.patience,
            requests: tokio::sync::Semaphore::new(self.options.requests_max.max(1)),
            reports,
        });
        let recorder = Recorder::new(&self.job, incoming, self.world, self.monitor);
        let mut findings: Vec<Finding> = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let plan = Plan::new(&self.job, self.options, sender.clone(), self.runtime.handle(), recorder.failed());
            add(&mut findings, self.pass(&plan, Pass::Entries, &sender, &recorder)?);
            if plan.find_links()? {
                add(&mut findings, self.pass(&plan, Pass::Links, &sender, &recorder)?);
            }
            if recorder.take_incomplete() == 0 {
                break;
            }
        }
        Ok((recorder.tally(), findings))
    }

    /// Reads every volume once, in parallel, and waits until all that was begun is on record.
    fn pass<S: ObjectStore>(
        &self,
        plan: &Plan<'_, '_, S>,
        pass: Pass,
        sender: &Arc<Sender<S>>,
        recorder: &Recorder<'_, '_>,
    ) -> Result<Vec<Finding>, Stopped> {
        plan.begin(pass);
        let room = Room::new(self.options.memory_bytes);
        let halt = StopFlag::new();
        let tasks = Tasks::default();
        let spawner = Spawner { handle: self.runtime.handle(), sender, tasks: &tasks, monitor: self.monitor };
        plan.attach(&tasks);
        let results = std::thread::scope(|scope| {
            let recording = scope.spawn(|| recorder.run(&tasks, &halt, &self.options.stop));
            let readers: Vec<_> = self
                .media
                .iter()
                .map(|medium| scope.spawn(|| Reader::new(medium, plan, &spawner, &room, &halt).run()))
                .collect();
            let results: Vec<_> = readers.into_iter().map(join).collect();
            tasks.no_more();
            (results, join(recording))
        });
        results.1?;
        if let Some(error) = recorder.take_fatal() {
            return Err(Stopped::Remote(error));
        }
        if self.options.stop.is_set() {
            return Err(Error::Stopped.into());
        }
        let mut findings = Vec::new();
        for result in results.0 {
            findings.extend(result?);
        }
        Ok(findings)
    }
}

/// Adds what was found; the same damage found again only adds to what it cost.
fn add(findings: &mut Vec<Finding>, found: Vec<Finding>) {
    for new in found {
        let same = |known: &&mut Finding| {
            (known.volume, known.pack, known.frame, &known.what) == (new.volume, new.pack, new.frame, &new.what)
        };
        match findings.iter_mut().find(same) {
            None => findings.push(new),
            Some(known) => {
                known.keys.extend(new.keys);
                known.keys.sort();
                known.keys.dedup();
            }
        }
    }
}

/// The value of a thread; its panic goes on here.
fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
