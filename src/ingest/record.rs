//! What became of every object, into the job database.
//!
//! Owns: the one thread that writes outcomes, in batches. Invariants: an object counts as done only after its proof; a
//! batch that is lost with the process costs a look at the server, never an object.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel as channel;

use crate::format::layout::part_bytes;
use crate::ingest::Monitor;
use crate::ingest::catalog::Jobs;
use crate::ingest::error::Error;
use crate::ingest::flow::Flow;
use crate::ingest::remote::RemoteError;
use crate::ingest::send::{Grade, Outcome, Report};
use crate::ingest::slot::Slot;
use crate::ingest::tasks::Tasks;
use crate::ingest::wanted::Wanted;
use crate::job::{Batch, Effort, Job, Journal, Object, ObjectState, Part};
use crate::sys::World;
use crate::sys::lock::lock;
use crate::sys::process::StopFlag;

/// Most reports in one transaction.
const BATCH_MAX: usize = 512;
/// Longest time a report waits for others to share its transaction.
const LINGER: Duration = Duration::from_millis(50);
/// How long a run that cannot go on hears what is still on its way.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Most failures kept for the summary; all of them are in the job.
const FAILURES_KEPT: usize = 100;

/// Counts of a run. Unit of the byte fields: bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Objects sent and proved.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Objects that were there already and are the right ones.
    pub present: u64,
    /// Bundles among the objects sent; their members are counted as objects.
    pub bundles: u64,
    /// Parts sent, of finished and unfinished objects.
    pub parts: u64,
    /// Objects that failed.
    pub failed: u64,
    /// The first of them.
    pub failures: Vec<Failure>,
}

/// An object that could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its key.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// Whether an object in that state needs nothing more.
pub(super) fn is_done(state: ObjectState) -> bool {
    matches!(state, ObjectState::Arrived | ObjectState::Confirmed | ObjectState::ReadBack)
}

#[derive(Debug)]
struct State {
    journal: Journal,
    /// What the parts of uploads took that are not complete yet.
    parts: HashMap<u64, (Duration, u32)>,
    tally: Tally,
    incomplete: u64,
    fatal: Option<RemoteError>,
}

pub(super) struct Recorder<'a, 'j> {
    job: &'a Jobs<'j>,
    incoming: channel::Receiver<Report>,
    world: &'a World,
    monitor: &'a dyn Monitor,
    slot: Option<&'a Slot>,
    began: Duration,
    state: Mutex<State>,
    /// Entries that failed for good in this run: they are not tried again before the next.
    failed: Arc<Mutex<HashSet<u64>>>,
}

impl<'a, 'j> Recorder<'a, 'j> {
    pub(super) fn new(
        job: &'a Jobs<'j>,
        incoming: channel::Receiver<Report>,
        world: &'a World,
        monitor: &'a dyn Monitor,
        slot: Option<&'a Slot>,
        journal: Journal,
    ) -> Self {
        let state = State { journal, parts: HashMap::new(), tally: Tally::default(), incomplete: 0, fatal: None };
        let began = world.clock.monotonic();
        Self { job, incoming, world, monitor, slot, began, state: Mutex::new(state), failed: Arc::default() }
    }

    /// How the run went so far.
    pub(super) fn journal(&self) -> Journal {
        let took = self.world.clock.monotonic().saturating_sub(self.began);
        Journal { took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX), ..self.state().journal.clone() }
    }

    fn arrived(&self, state: &mut State, bytes: u64) {
        state.journal.arrived(self.world.clock.monotonic().saturating_sub(self.began), bytes);
        if let Some(slot) = self.slot {
            slot.settled(bytes);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn failed(&self) -> Arc<Mutex<HashSet<u64>>> {
        self.failed.clone()
    }

    pub(super) fn tally(&self) -> Tally {
        self.state().tally.clone()
    }

    /// Objects that another round may finish, counted since the last call.
    pub(super) fn take_incomplete(&self) -> u64 {
        std::mem::take(&mut self.state().incomplete)
    }

    pub(super) fn take_fatal(&self) -> Option<RemoteError> {
        self.state().fatal.take()
    }

    /// Writes reports until all tasks are over; sets `halt` and `closing` when the run has to end.
    pub(super) fn run(
        &self,
        tasks: &Tasks,
        halt: &StopFlag,
        stop: &StopFlag,
        closing: &StopFlag,
        flow: &Flow,
    ) -> Result<(), Error> {
        let mut was_closed = false;
        let mut last_word = None;
        loop {
            let closed = flow.closed_for();
            if !closed.is_zero() && !was_closed {
                self.monitor.closed(closed);
            }
            was_closed = !closed.is_zero();
            // Asked before the channel is emptied: what ended before the question has reported.
            let over = tasks.are_over();
            let batch = self.gather();
            let is_over = self.slot.is_some_and(|slot| slot.is_over(self.world.clock.monotonic()));
            if stop.is_set() || is_over {
                // Nothing new is read, and what waits for its turn gives up.
                halt.set();
                closing.set();
            }
            if !batch.is_empty() {
                if let Err(error) = self.write(batch) {
                    halt.set();
                    return Err(error);
                }
            } else if over {
                return Ok(());
            }
            if self.state().fatal.is_some() {
                // Nothing more can succeed. What the server was asked before is heard to its end all the same: an upload
                // that it began and nobody recorded would be paid for and never found again.
                halt.set();
                closing.set();
                let now = self.world.clock.monotonic();
                if now >= *last_word.get_or_insert(now + LAST_WORDS) {
                    return Ok(());
                }
            }
        }
    }

    /// Reports that share a transaction. A server that is slow sends them one by one, and a transaction for each costs as
    /// much as its request; but what somebody waits for is written at once.
    fn gather(&self) -> Vec<Report> {
        let clock = &self.world.clock;
        let until = clock.monotonic() + LINGER;
        let mut batch: Vec<Report> = Vec::new();
        let is_urgent = |report: &Report| matches!(report, Report::Begun { .. } | Report::Fatal(_));
        while batch.len() < BATCH_MAX
            && !batch.last().is_some_and(is_urgent)
            && let Ok(report) = self.incoming.recv_timeout(until.saturating_sub(clock.monotonic()))
        {
            batch.push(report);
        }
        batch.extend(self.incoming.try_iter().take(BATCH_MAX - batch.len()));
        batch
    }

    fn write(&self, reports: Vec<Report>) -> Result<(), Error> {
        let mut job = lock(self.job);
        let mut rows = Vec::new();
        let mut parts = Vec::new();
        let mut begun = Vec::new();
        for report in reports {
            match report {
                Report::Bundle => self.state().tally.bundles += 1,
                Report::Fatal(error) => drop(self.state().fatal.get_or_insert(error)),
                Report::Part { entry, plan, etag, effort } => {
                    let mut state = self.state();
                    state.tally.parts += 1;
                    self.arrived(&mut state, plan.bytes);
                    let began = self.world.clock.monotonic().saturating_sub(effort.took);
                    let so_far = state.parts.entry(entry).or_insert((began, 0));
                    so_far.1 += effort.retries;
                    drop(state);
                    self.monitor.part(plan.bytes);
                    parts.push((entry, Part { number: plan.number, bytes: plan.bytes, crc64: plan.crc64, etag }));
                }
                Report::Begun { wanted, upload, durable } => begun.push((self.uploading(&wanted, upload), durable)),
                Report::Object { wanted, outcome, effort } => rows.extend(self.row(&job, &wanted, outcome, effort)?),
            }
        }
        job.batch(|batch: &mut Batch<'_>| -> Result<(), crate::job::Error> {
            for (entry, part) in &parts {
                batch.put_part(*entry, part)?;
            }
            for object in &rows {
                if is_done(object.state) {
                    batch.forget_parts(object.entry)?;
                }
                batch.put_object(object)?;
            }
            Ok(())
        })?;
        if begun.is_empty() {
            return Ok(());
        }
        // Only now may parts be sent under these names. Those that waited together share one sync of the disk.
        job.batch_durable(|batch: &mut Batch<'_>| -> Result<(), crate::job::Error> {
            begun.iter().try_for_each(|(object, _)| batch.begin_upload(object))
        })?;
        for (_, durable) in begun {
            // Whoever waited may have been stopped.
            let _ = durable.send(());
        }
        Ok(())
    }

    /// The row of an object whose upload was begun.
    fn uploading(&self, wanted: &Wanted, upload: String) -> Object {
        Object {
            entry: wanted.entry,
            generation: wanted.generation,
            state: ObjectState::Uploading,
            key: Some(wanted.key.clone().into_bytes()),
            upload_id: Some(upload),
            part_bytes: Some(part_bytes(wanted.bytes)),
            etag: None,
            version_id: None,
            crc64: None,
            attempts: 0,
            error: None,
            changed: self.world.clock.now(),
        }
    }

    /// The row of an object after its report, and the counts.
    fn row(&self, job: &Job, wanted: &Arc<Wanted>, outcome: Outcome, effort: Effort) -> Result<Option<Object>, Error> {
        let before = job.object(wanted.entry)?.filter(|object| object.generation == wanted.generation);
        let attempts = before.as_ref().map_or(0, |object| object.attempts).saturating_add(1);
        let mut object = Object {
            entry: wanted.entry,
            generation: wanted.generation,
            state: ObjectState::Failed,
            key: Some(wanted.key.clone().into_bytes()),
            upload_id: before.as_ref().and_then(|object| object.upload_id.clone()),
            part_bytes: before.as_ref().and_then(|object| object.part_bytes),
            etag: None,
            version_id: None,
            crc64: None,
            attempts,
            error: None,
            changed: self.world.clock.now(),
        };
        let mut state = self.state();
        match outcome {
            Outcome::Incomplete => {
                state.incomplete += 1;
                return Ok(None);
            }
            Outcome::Failed { reason } => {
                // Several parts of one object may fail: it is one failure.
                let is_new = lock(&self.failed).insert(wanted.entry);
                if is_new {
                    if let Some(slot) = self.slot {
                        slot.settled(wanted.bytes);
                    }
                    state.tally.failed += 1;
                    self.monitor.failed();
                }
                if is_new && state.tally.failures.len() < FAILURES_KEPT {
                    state.tally.failures.push(Failure { key: wanted.key.clone(), reason: reason.clone() });
                }
                object.error = Some(reason);
            }
            Outcome::Proven { stored, grade, was_there } => {
                if was_there {
                    state.tally.present += 1;
                } else {
                    state.tally.sent += 1;
                    state.tally.sent_bytes += wanted.bytes;
                }
                let parts = state.parts.remove(&wanted.entry);
                let whole = parts.map_or(effort, |(began, retries)| Effort {
                    retries: retries + effort.retries,
                    took: self.world.clock.monotonic().saturating_sub(began),
                });
                state.journal.object(&wanted.key, wanted.bytes, whole);
                if parts.is_none() && !wanted.in_parts() {
                    // What was there already cost no time on the line.
                    let bytes = if was_there { 0 } else { wanted.bytes };
                    self.arrived(&mut state, bytes);
                    if let Some(slot) = self.slot.filter(|_| was_there) {
                        slot.settled(wanted.bytes);
                    }
                }
                drop(state);
                self.monitor.objects(1, wanted.bytes);
                object.state = match grade {
                    Grade::Confirmed => ObjectState::Confirmed,
                    Grade::ReadBack => ObjectState::ReadBack,
                };
                object.etag = Some(stored.etag);
                object.version_id = stored.version;
                object.crc64 = Some(wanted.crc64);
                object.upload_id = None;
                object.part_bytes = None;
            }
        }
        Ok(Some(object))
    }
}
