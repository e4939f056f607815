//! What became of every object, into the job database.
//!
//! Owns: the one thread that writes outcomes, in batches. Invariants: an object counts as done only after its proof; a
//! batch that is lost with the process costs a look at the server, never an object.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel as channel;

use crate::ingest::Monitor;
use crate::ingest::catalog::Jobs;
use crate::ingest::error::Error;
use crate::ingest::remote::RemoteError;
use crate::ingest::send::{Grade, Outcome, Report};
use crate::ingest::tasks::Tasks;
use crate::ingest::wanted::Wanted;
use crate::job::{Batch, Job, Object, ObjectState, Part};
use crate::sys::World;
use crate::sys::process::StopFlag;

/// Most reports in one transaction.
const BATCH_MAX: usize = 512;
/// Longest time a report waits for others to share its transaction.
const LINGER: Duration = Duration::from_millis(50);
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

#[derive(Debug, Default)]
struct State {
    tally: Tally,
    incomplete: u64,
    fatal: Option<RemoteError>,
}

pub(super) struct Recorder<'a, 'j> {
    job: &'a Jobs<'j>,
    incoming: channel::Receiver<Report>,
    world: &'a World,
    monitor: &'a dyn Monitor,
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
    ) -> Self {
        Self { job, incoming, world, monitor, state: Mutex::default(), failed: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Writes reports until all tasks are over; sets `halt` when the run has to end.
    pub(super) fn run(&self, tasks: &Tasks, halt: &StopFlag, stop: &StopFlag) -> Result<(), Error> {
        loop {
            // Asked before the channel is emptied: what ended before the question has reported.
            let over = tasks.are_over();
            let mut batch: Vec<_> = self.incoming.recv_timeout(LINGER).into_iter().collect();
            batch.extend(self.incoming.try_iter().take(BATCH_MAX - 1));
            if stop.is_set() {
                halt.set();
            }
            if !batch.is_empty() {
                if let Err(error) = self.write(batch) {
                    halt.set();
                    return Err(error);
                }
                if self.state().fatal.is_some() {
                    halt.set();
                    return Ok(());
                }
            } else if over {
                return Ok(());
            }
        }
    }

    fn write(&self, reports: Vec<Report>) -> Result<(), Error> {
        let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = Vec::new();
        let mut parts = Vec::new();
        for report in reports {
            match report {
                Report::Fatal(error) => drop(self.state().fatal.get_or_insert(error)),
                Report::Part { entry, plan, etag } => {
                    self.state().tally.parts += 1;
                    self.monitor.part(plan.bytes);
                    parts.push((entry, Part { number: plan.number, bytes: plan.bytes, crc64: plan.crc64, etag }));
                }
                Report::Object { wanted, outcome } => rows.extend(self.row(&job, &wanted, outcome)?),
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
        Ok(())
    }

    /// The row of an object after its report, and the counts.
    fn row(&self, job: &Job, wanted: &Arc<Wanted>, outcome: Outcome) -> Result<Option<Object>, Error> {
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
                let is_new = self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(wanted.entry);
                if is_new {
                    state.tally.failed += 1;
                    self.monitor.objects(1, 0);
                }
                if is_new && state.tally.failures.len() < FAILURES_KEPT {
                    state.tally.failures.push(Failure { key: wanted.key.clone(), reason: reason.clone() });
                }
                object.error = Some(reason);
            }
            Outcome::Proven { etag, grade, was_there } => {
                if was_there {
                    state.tally.present += 1;
                } else {
                    state.tally.sent += 1;
                    state.tally.sent_bytes += wanted.bytes;
                }
                drop(state);
                self.monitor.objects(1, wanted.bytes);
                object.state = match grade {
                    Grade::Confirmed => ObjectState::Confirmed,
                    Grade::ReadBack => ObjectState::ReadBack,
                };
                object.etag = Some(etag);
                object.crc64 = Some(wanted.crc64);
                object.upload_id = None;
                object.part_bytes = None;
            }
        }
        Ok(Some(object))
    }
}
