//! One run: passes over what is to be sent until nothing is left that another pass could help.
//!
//! Owns: the threads of a run and their end. Invariants: a run ends early only for a stop, the end of its slot, or an
//! error that concerns all of it; whatever was begun is on record before it ends.

use std::sync::Arc;
use std::time::Duration;

use crate::ingest::bundle::Bundler;
use crate::ingest::catalog::{Jobs, Pass, Plan};
use crate::ingest::error::Error;
use crate::ingest::flow::Flow;
use crate::ingest::record::{Recorder, Tally};
use crate::ingest::remote::{RemoteError, S3Store};
use crate::ingest::room::Room;
use crate::ingest::send::Sender;
use crate::ingest::session::Session;
use crate::ingest::slot::Slot;
use crate::ingest::source::{Finding, Medium, Reader};
use crate::ingest::tasks::{Spawner, Tasks};
use crate::ingest::{Monitor, Options};
use crate::job::Journal;
use crate::sys::World;
use crate::sys::process::StopFlag;

/// Frames being read and opened, requests, the job's cache: seen as 80 to 156 MiB beside the bodies. Unit: bytes.
const BESIDE_BODIES_BYTES: u64 = 176 << 20;
/// Most times everything is gone through in one run.
const ROUNDS_MAX: u32 = 3;

/// Why the rounds ended early.
pub(super) enum Stopped {
    Remote(RemoteError),
    Other(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// What the rounds came to.
pub(super) struct Ran {
    pub(super) tally: Tally,
    pub(super) findings: Vec<Finding>,
    pub(super) journal: Journal,
    /// Entries that did not fit into the slot, and their bytes.
    pub(super) deferred: (u64, u64),
}

pub(super) struct Run<'a, 'j> {
    pub(super) job: Jobs<'j>,
    pub(super) options: &'a Options,
    pub(super) world: &'a World,
    pub(super) monitor: &'a dyn Monitor,
    session: &'a Session,
    slot: Option<Slot>,
    command: &'static str,
}

/// What one pass works with.
pub(super) struct Working<'a, 'p, 'j> {
    pub(super) plan: &'a Plan<'p, 'j, S3Store>,
    pub(super) spawner: &'a Spawner<'a, S3Store>,
    pub(super) room: &'a Room,
    pub(super) halt: &'a StopFlag,
}

impl<'a, 'j> Run<'a, 'j> {
    pub(super) fn new(
        job: Jobs<'j>,
        options: &'a Options,
        world: &'a World,
        monitor: &'a dyn Monitor,
        session: &'a Session,
        command: &'static str,
    ) -> Self {
        let slot = options.until.map(|until| {
            let left = Duration::try_from(until - world.clock.now()).unwrap_or_default();
            let known = job.lock().ok().and_then(|job| job.journals().ok()).unwrap_or_default();
            let seen = known.iter().rev().find_map(Journal::bytes_per_second);
            Slot::new(world.clock.monotonic() + left, options.expected_rate.or(seen))
        });
        Self { job, options, world, monitor, session, slot, command }
    }

    /// Sends what is on volumes.
    pub(super) fn volumes(&self, media: &[Medium]) -> (Journal, Result<Ran, Stopped>) {
        self.rounds(&|pass, working| {
            let _ = pass;
            std::thread::scope(|scope| {
                let readers: Vec<_> = media
                    .iter()
                    .map(|medium| {
                        let Working { plan, spawner, room, halt } = *working;
                        let (prefix, bundle_bytes) = (self.options.prefix.as_str(), self.options.bundle_bytes);
                        scope.spawn(move || {
                            let deliver = Bundler::new(spawner, room, prefix, bundle_bytes);
                            let found = Reader::new(medium, plan, &deliver, room, halt).run();
                            deliver.flush();
                            found
                        })
                    })
                    .collect();
                readers.into_iter().map(join).collect()
            })
        })
    }

    /// Goes through everything until nothing is left that another round could help. `read` reads what there is to read in
    /// one pass, on as many threads as it likes.
    pub(super) fn rounds(&self, read: &ReadPass<'_>) -> (Journal, Result<Ran, Stopped>) {
        let (reports, incoming) = crossbeam_channel::unbounded();
        let clock = self.world.clock.clone();
        let closing = StopFlag::new();
        let requests_max = self.options.requests_max;
        let sender = Arc::new(Sender {
            store: self.session.store.clone(),
            endpoint: self.session.endpoint,
            patience: self.options.patience,
            flow: Flow::new(requests_max, self.options.window.clone(), clock.clone(), closing.clone()),
            clock,
            reports,
            unheard: StopFlag::new(),
        });
        let journal = Journal::new(self.command, self.world.clock.now().as_second());
        let recorder = Recorder::new(&self.job, incoming, self.world, self.monitor, self.slot.as_ref(), journal);
        let result = self.all_rounds(&sender, &recorder, read, &closing);
        let journal = Journal { requests_max: sender.flow.limit_seen(), ..recorder.journal() };
        let deferred = self.slot.as_ref().map_or((0, 0), Slot::deferred);
        let ran = result.map(|findings| Ran { tally: recorder.tally(), findings, journal: journal.clone(), deferred });
        (journal, ran)
    }

    fn all_rounds(
        &self,
        sender: &Arc<Sender<S3Store>>,
        recorder: &Recorder<'_, 'j>,
        read: &ReadPass<'_>,
        closing: &StopFlag,
    ) -> Result<Vec<Finding>, Stopped> {
        let mut findings: Vec<Finding> = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let handle = self.session.runtime.handle();
            let (failed, slot) = (recorder.failed(), self.slot.as_ref());
            let plan = Plan::new(&self.job, self.options, sender.clone(), handle, failed, slot);
            add(&mut findings, self.pass(&plan, Pass::Entries, sender, recorder, read, closing)?);
            if !self.is_over() && plan.find_links()? {
                add(&mut findings, self.pass(&plan, Pass::Links, sender, recorder, read, closing)?);
            }
            if recorder.take_incomplete() == 0 || self.is_over() {
                break;
            }
        }
        Ok(findings)
    }

    fn is_over(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.is_over(self.world.clock.monotonic()))
    }

    /// Reads everything once, and waits until all that was begun is on record.
    fn pass(
        &self,
        plan: &Plan<'_, 'j, S3Store>,
        pass: Pass,
        sender: &Arc<Sender<S3Store>>,
        recorder: &Recorder<'_, 'j>,
        read: &ReadPass<'_>,
        closing: &StopFlag,
    ) -> Result<Vec<Finding>, Stopped> {
        plan.begin(pass);
        let requests = {
            let sender = sender.clone();
            Box::new(move || sender.flow.limit())
        };
        let room = Room::new(for_bodies(self.options.memory_bytes), requests);
        let halt = StopFlag::new();
        let tasks = Tasks::default();
        let spawner = Spawner { handle: self.session.runtime.handle(), sender, tasks: &tasks, monitor: self.monitor };
        plan.attach(&tasks);
        let (read, recorded) = std::thread::scope(|scope| {
            let recording = scope.spawn(|| {
                let recorded = recorder.run(&tasks, &halt, &self.options.stop, closing, &sender.flow);
                // It ended before those who wait for a record: they are to know.
                if !tasks.are_over() {
                    sender.unheard.set();
                }
                recorded
            });
            let read = read(pass, &Working { plan, spawner: &spawner, room: &room, halt: &halt });
            tasks.no_more();
            (read, join(recording))
        });
        recorded?;
        if let Some(error) = recorder.take_fatal() {
            return Err(Stopped::Remote(error));
        }
        if self.options.stop.is_set() {
            return Err(Error::Stopped.into());
        }
        let mut findings = Vec::new();
        for result in read {
            match result {
                // The slot is over: what was begun is complete, and the rest is for another run.
                Err(Error::Stopped) if self.is_over() => {}
                result => findings.extend(result?),
            }
        }
        Ok(findings)
    }
}

/// What bodies may take of the memory of a run: all but what is read and opened before them and the requests around them,
/// and at least half.
fn for_bodies(memory_bytes: u64) -> u64 {
    memory_bytes.saturating_sub(BESIDE_BODIES_BYTES).max(memory_bytes / 2)
}

/// Reads what there is to read in one pass; one result a reader.
pub(super) type ReadPass<'r> = dyn Fn(Pass, &Working<'_, '_, '_>) -> Vec<Result<Vec<Finding>, Error>> + 'r;

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
pub(super) fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
