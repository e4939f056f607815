//! The engine of a run: one thread owns the job, the others walk, read and write.
//!
//! Threads: the walk; workers that read and digest; the cores that compress and seal; one writer per volume; and this one,
//! which merges the walk with the inventory, feeds the workers and records commits. It never blocks on a queue that
//! somebody needs it to empty: units wait in an outbox, and new directories are taken only while that is short, which is
//! what keeps memory flat however large the source is.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, select, unbounded};

use crate::census::Merge;
use crate::format::record::{EntryType, Problem, ProblemCode, Record};
use crate::job::{Count, Excluded, Job};
use crate::scan::{self, DirBatch, FileList, WalkTotals};
use crate::stage::Error;
use crate::stage::convert::{job_pack, pack_close};
use crate::stage::gauge::Gauge;
use crate::stage::item::{Gather, Item, Unit};
use crate::stage::lanes::Room;
use crate::stage::open_pack::Need;
use crate::stage::pace::Slowed;
use crate::stage::rack::Rack;
use crate::stage::readers::Readers;
use crate::stage::seal::Seals;
use crate::stage::shelf::Place;
use crate::stage::units::Outbox;
use crate::stage::worker::{self, Shared};
use crate::stage::writer::FromWriter;
use crate::volume::SealReport;

/// Entries merged in one transaction, and the last batch's beyond.
const MERGE_ENTRIES: usize = 4096;
/// Batches the walk may be ahead, for each of its threads.
const BATCHES_AHEAD: usize = 8;
/// How long the engine sleeps at most while units wait in the outbox.
const FEED_EVERY: Duration = Duration::from_millis(2);
/// How long it sleeps otherwise.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Due records put on a volume at once.
const DUE_AT_ONCE: usize = 4096;

/// To the engine.
pub(super) enum ToEngine {
    /// The walk has ended.
    Walked(WalkTotals),
    /// From the writer of a lane.
    Writer(FromWriter),
    /// An entry could not be staged.
    Problem(Problem),
    /// So many files were compared by content, and these differ.
    Compared(usize, Vec<Item>),
    /// All volumes are full, and somebody waits for a further one.
    NeedVolume,
    /// Where a further volume is; `None`: there is none.
    Place(Option<Place>),
    /// A full volume is sealed, or was not.
    Sealed(u32, Result<Option<SealReport>, Error>),
    /// The run cannot go on.
    Fatal(Box<Error>),
    /// A worker has ended.
    WorkerEnded,
}

/// What the run came to, before volumes are sealed.
#[derive(Debug)]
pub(super) struct Ran {
    /// Whether the walk saw everything and everything it found was taken up.
    pub(super) is_complete: bool,
    /// Whether no lane took any more.
    pub(super) out_of_volumes: bool,
    /// Lanes that failed, and why.
    pub(super) failed: Vec<(u32, crate::volume::Error)>,
    /// Problems met.
    pub(super) problems: u64,
    /// What became of the volumes that were full.
    pub(super) seals: Seals,
}

/// The engine's own state.
pub(super) struct Engine<'a> {
    pub(super) job: &'a mut Job,
    pub(super) rack: Rack,
    pub(super) shared: Arc<Shared>,
    pub(super) merge: Merge,
    pub(super) gather: Gather,
    pub(super) readers: Readers,
    pub(super) outbox: Outbox,
    pub(super) inbox: Receiver<ToEngine>,
    pub(super) fatal: Option<Error>,
    pub(super) failed: Vec<(u32, crate::volume::Error)>,
    pub(super) walked: Option<WalkTotals>,
    pub(super) workers_left: usize,
    pub(super) writers_left: usize,
    pub(super) problems: u64,
    pub(super) comparing: usize,
    pub(super) gauge: Gauge,
    pub(super) list: Option<Arc<FileList>>,
    pub(super) seals_left: usize,
    pub(super) seals: Seals,
}

impl Engine<'_> {
    /// Runs to the end: everything walked, read, written and recorded, or stopped.
    pub(super) fn run(&mut self, roots: Vec<scan::Root>, options: scan::WalkOptions) -> Result<Ran, Error> {
        let workers = self.readers.count;
        let (dirs_in, dirs) = bounded::<DirBatch>(options.threads.max(1) * BATCHES_AHEAD);
        let to_engine = self.shared.engine.clone();
        spawn("walk", move || {
            let totals = scan::walk(&roots, &options, |batch| match dirs_in.send(batch) {
                Ok(()) => std::ops::ControlFlow::Continue(()),
                Err(_) => std::ops::ControlFlow::Break(()),
            });
            drop(dirs_in); // all batches are in the queue before the totals are
            let _ = to_engine.send(ToEngine::Walked(totals));
        })?;
        let units = self.outbox.open();
        for _ in 0..workers {
            let (shared, units) = (Arc::clone(&self.shared), units.clone());
            spawn("worker", move || {
                worker::run(&shared, units);
                let _ = shared.engine.send(ToEngine::WorkerEnded);
            })?;
        }
        self.workers_left = workers;
        drop(units);

        self.feed(&dirs)?;
        if self.fatal.is_some() {
            self.shared.lanes.abandon(); // nobody waits for a volume that will not come
        }
        self.outbox.close();
        drop(dirs); // and so does the walk, if it was not done
        while self.workers_left > 0 {
            self.wait(LOOK_EVERY)?;
        }
        self.due_records()?;
        for lane in self.shared.lanes.all() {
            if self.fatal.is_some() {
                lane.fail(); // a frame may be missing that its pack waits for
            }
            lane.finish();
        }
        while self.writers_left > 0 {
            self.wait(LOOK_EVERY)?;
        }
        while self.seals_left > 0 {
            self.wait(LOOK_EVERY)?;
        }
        if let Some(error) = self.fatal.take() {
            return Err(error);
        }
        if self.walked.as_ref().is_some_and(|totals| totals.is_complete) {
            let count = |entries: &u64| Count { entries: *entries, bytes: 0 };
            let rows = self.merge.excluded.iter();
            let rows: Vec<Excluded> =
                rows.map(|(rule, entries)| Excluded { rule: (*rule).to_owned(), count: count(entries) }).collect();
            self.job.batch(|tx| tx.end_walk(&rows))?;
        }
        let is_closed = self.shared.lanes.is_closed();
        // Lanes are also closed when every one of them failed: then drives must be looked at, not added.
        let out_of_volumes = is_closed && !self.all_lanes_failed();
        let is_whole = self.walked.as_ref().is_some_and(|totals| totals.is_complete);
        let is_complete = is_whole && !is_closed && !self.shared.stop.is_set() && self.failed.is_empty();
        Ok(Ran {
            is_complete,
            out_of_volumes,
            failed: std::mem::take(&mut self.failed),
            problems: self.problems,
            seals: std::mem::take(&mut self.seals),
        })
    }

    /// Merges, gathers and hands out until the walk has ended and nothing waits, or the run is over.
    fn feed(&mut self, dirs: &Receiver<DirBatch>) -> Result<(), Error> {
        let idle = never();
        let mut dirs_open = true;
        loop {
            self.outbox.hand_out();
            if self.fatal.is_some() || self.shared.is_over() || self.all_lanes_failed() {
                return Ok(());
            }
            self.look_around();
            if !dirs_open && self.walked.is_some() {
                self.outbox.extend(self.gather.finish());
                self.outbox.hand_out();
                if self.outbox.is_empty() && self.comparing == 0 {
                    return Ok(());
                }
            }
            let takes_dirs = dirs_open && self.outbox.has_room();
            let pause = if self.outbox.is_empty() { LOOK_EVERY } else { FEED_EVERY };
            let message = select! {
                recv(self.inbox) -> message => message.ok(),
                recv(if takes_dirs { dirs } else { &idle }) -> batch => {
                    match batch {
                        Ok(batch) => self.directories(batch, dirs),
                        Err(_) => dirs_open = false,
                    }
                    None
                }
                default(pause) => None,
            };
            if let Some(message) = message {
                self.take(message)?;
            }
        }
    }

    pub(super) fn all_lanes_failed(&self) -> bool {
        // No lanes at all is no failure: with every volume sealed, a run may still find that nothing is left to do.
        let lanes = self.shared.lanes.all();
        !lanes.is_empty() && lanes.iter().all(|lane| lane.has_failed())
    }

    /// Takes a directory, and with it what else has come, in one transaction: a transaction for each small directory would
    /// cost more than its entries.
    fn directories(&mut self, first: DirBatch, more: &Receiver<DirBatch>) {
        let (mut entries, mut batches) = (first.entries.len(), vec![first]);
        while entries < MERGE_ENTRIES
            && let Ok(batch) = more.try_recv()
        {
            entries += batch.entries.len();
            batches.push(batch);
        }
        let merged = self.merge.take_all(self.job, batches).map_err(Error::from).and_then(|items| {
            self.compare_all();
            self.gather_all(items)?;
            self.note_problems()
        });
        if let Err(error) = merged {
            self.fatal.get_or_insert(error);
        }
    }

    fn gather_all(&mut self, mut items: Vec<Item>) -> Result<(), Error> {
        self.readers.order(&mut items);
        let bytes = items.iter().map(|item| item.facts.size).sum();
        self.shared.monitor.found(items.len() as u64, bytes);
        for item in items {
            if item.facts.entry_type == EntryType::File && !self.gather.is_small(item.facts.size) {
                let resume = self.job.resume_point(item.id)?.filter(|point| point.generation == item.generation);
                self.outbox.extend([Unit::Large(Box::new(item), resume.map(Box::new))]);
            } else {
                self.outbox.extend(self.gather.add(item));
            }
        }
        Ok(())
    }

    /// Files that look unchanged go to the workers to be compared.
    fn compare_all(&mut self) {
        let compare = std::mem::take(&mut self.merge.compare);
        self.comparing += compare.len();
        for one in compare {
            self.outbox.extend(self.gather.add_compare(one));
        }
    }

    /// What differs is a new reading.
    fn compared(&mut self, count: usize, differing: Vec<Item>) -> Result<(), Error> {
        self.comparing = self.comparing.saturating_sub(count);
        let items = self.job.batch(|tx| {
            let changed = differing.into_iter().map(|item| {
                let generation = tx.change(item.id, &item.facts)?;
                Ok(Item { generation, ..item })
            });
            changed.collect::<Result<Vec<_>, crate::job::Error>>()
        })?;
        self.gather_all(items)
    }

    /// Listed paths that are not there are problems, each by name.
    fn note_missed(&mut self) -> Result<(), Error> {
        let Some(list) = self.list.clone() else { return Ok(()) };
        let text = "is listed, and is not at the source (or lies in a directory that is left out)";
        let missed = list.missed().map(|path| Problem {
            id: 0,
            code: ProblemCode::Vanished,
            errno: 0,
            path: path.to_vec(),
            text: text.to_owned(),
        });
        self.merge.problems.extend(missed);
        self.note_problems()
    }

    fn note_problems(&mut self) -> Result<(), Error> {
        let problems = std::mem::take(&mut self.merge.problems);
        if problems.is_empty() {
            return Ok(());
        }
        self.problems += problems.len() as u64;
        problems.iter().for_each(|problem| self.shared.monitor.problem(problem));
        self.job.batch(|tx| problems.iter().try_for_each(|problem| tx.problem(problem)))?;
        Ok(())
    }

    fn wait(&mut self, pause: Duration) -> Result<(), Error> {
        self.look_around();
        match self.inbox.recv_timeout(pause) {
            Ok(message) => self.take(message),
            Err(_) => Ok(()),
        }
    }

    fn take(&mut self, message: ToEngine) -> Result<(), Error> {
        match message {
            ToEngine::Walked(totals) => {
                let is_complete = totals.is_complete;
                self.walked = Some(totals);
                self.shared.monitor.walked();
                if is_complete {
                    self.note_missed()?;
                }
            }
            ToEngine::Problem(problem) => {
                self.problems += 1;
                self.job.batch(|tx| tx.problem(&problem))?;
            }
            ToEngine::Compared(count, differing) => self.compared(count, differing)?,
            ToEngine::NeedVolume => self.next_volume(None)?,
            ToEngine::Place(place) => self.place(place)?,
            ToEngine::Sealed(volume, result) => self.seal_ended(volume, result)?,
            ToEngine::Fatal(error) => {
                self.fatal.get_or_insert(*error);
                self.shared.stop.set();
            }
            ToEngine::WorkerEnded => self.workers_left = self.workers_left.saturating_sub(1),
            ToEngine::Writer(message) => self.heard_from(message)?,
        }
        Ok(())
    }

    fn heard_from(&mut self, message: FromWriter) -> Result<(), Error> {
        match message {
            FromWriter::Committed(volume, committed) => {
                // ORDER: the commit's sync has returned. Only now may the database say so, and only then may the writer
                // begin the next commit of this volume.
                let pack = job_pack(&committed.state);
                let now = self.rack.world.clock.now();
                let recorded = self.job.record_commit(volume, &pack, committed.records.iter().flatten(), now)?;
                self.shared.monitor.staged(recorded.staged.entries, recorded.staged.bytes);
                if let Some(lane) = self.shared.lanes.of(volume) {
                    lane.recorded();
                }
            }
            FromWriter::Closed(volume, state) => {
                if let Some(close) = pack_close(&state) {
                    self.job.batch_durable(|tx| tx.close_pack(volume, state.number, &close))?;
                }
            }
            FromWriter::Slowed(volume, Slowed { best, now }) => {
                let event =
                    super::VolumeEvent::Slowed { best_bytes_per_second: best as u64, now_bytes_per_second: now as u64 };
                self.shared.monitor.volume(volume, &event);
            }
            FromWriter::Failed(volume, error) => {
                let reason = chain(&error);
                self.shared.monitor.volume(volume, &super::VolumeEvent::Failed { reason });
                self.failed.push((volume, error));
            }
            FromWriter::Ended(volume) => {
                self.writers_left = self.writers_left.saturating_sub(1);
                self.lane_ended(volume)?;
            }
        }
        Ok(())
    }

    /// Problems and deletions that are on no volume yet go onto one, so that drives alone tell the whole story.
    fn due_records(&mut self) -> Result<(), Error> {
        if self.fatal.is_some() || self.shared.is_over() {
            return Ok(());
        }
        let mut after = 0;
        loop {
            let problems = self.job.unrecorded_problems(after, DUE_AT_ONCE)?;
            let Some((last, _)) = problems.last() else { break };
            after = *last;
            self.put(problems.into_iter().map(|(_, problem)| Record::Problem(problem)).collect())?;
        }
        let mut after = 0;
        loop {
            let deleted = self.job.unrecorded_deletions(after, DUE_AT_ONCE)?;
            let Some(last) = deleted.last() else { return Ok(()) };
            after = last.id;
            self.put(deleted.into_iter().map(Record::Deleted).collect())?;
        }
    }

    fn put(&mut self, records: Vec<Record>) -> Result<(), Error> {
        let count = records.len() as u64;
        // Not the hold that waits: this thread is the one that would bring a further volume.
        let room = Room { bytes: 0, path_bytes: count * 64, records: count };
        let Some(hold) = self.shared.lanes.try_hold(room) else { return Ok(()) };
        let lane = Arc::clone(hold.lane());
        let slot = lane.slot(&hold, Need { bytes: 0, frames: 0, records: count })?;
        slot.record(records);
        Ok(())
    }
}

/// Starts a thread of the engine.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(Error::Thread)
}

/// An error with everything below it, for messages.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        text = format!("{text}: {cause}");
        below = cause.source();
    }
    text
}

/// The engine's inbox and the sending end everybody gets.
pub(super) fn inbox() -> (Sender<ToEngine>, Receiver<ToEngine>) {
    unbounded()
}
