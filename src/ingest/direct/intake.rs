//! The walk, and the first reading of what it finds.
//!
//! Owns: the threads between the walk and the job. Invariants: an entry is offered for sending only after its digests are
//! durable in the job; one bad file is a problem on record, never the end.

use std::collections::VecDeque;

use crossbeam_channel as channel;

use crate::census::{Item, Merge, Top};
use crate::format::record::{Problem, Record};
use crate::ingest::direct::Sources;
use crate::ingest::direct::digest::{Digested, digest};
use crate::ingest::error::Error;
use crate::ingest::run::{Run, join};
use crate::job::{Count, Excluded};
use crate::scan::{self, DirBatch, WalkTotals};
use crate::sys::lock::lock;
use crate::sys::process::{StopFlag, parallelism};

/// Directories that may wait to be merged.
const DIRS_WAITING: usize = 8;
/// Items that may wait to be read.
const ITEMS_WAITING: usize = 256;
/// Entries recorded in one transaction.
const RECORDS_MAX: usize = 256;

/// Walks the sources to their end, and offers every entry that was read.
pub(super) fn run(
    run: &Run<'_, '_>,
    sources: &Sources,
    tops: &[Top],
    ready: &channel::Sender<u64>,
    halt: &StopFlag,
) -> Result<(), Error> {
    let (dirs_in, dirs) = channel::bounded::<DirBatch>(DIRS_WAITING);
    let (items_in, items) = channel::bounded::<Item>(ITEMS_WAITING);
    let (digested_in, digested) = channel::bounded::<Digested>(ITEMS_WAITING);
    std::thread::scope(|scope| {
        let walk = scope.spawn(move || {
            scan::walk(&sources.roots, &sources.walk, |batch| match dirs_in.send(batch) {
                Ok(()) => std::ops::ControlFlow::Continue(()),
                Err(_) => std::ops::ControlFlow::Break(()),
            })
        });
        for _ in 0..parallelism() {
            let (items, digested) = (items.clone(), digested_in.clone());
            scope.spawn(move || {
                for item in items {
                    if halt.is_set() || digested.send(digest(item, halt)).is_err() {
                        return;
                    }
                }
            });
        }
        drop((items, digested_in));
        let merging = scope.spawn(move || merge(run, sources, tops, &dirs, &items_in, halt));
        let recorded = record(run, &digested, ready, halt);
        drop(digested); // nobody waits for room in a queue that is no longer emptied
        let merged = join(merging);
        let totals = join(walk);
        recorded?;
        let merge = merged?;
        run.monitor.walked();
        finish(run, &merge, &totals)
    })
}

/// Compares the walk with the inventory; what is new or changed is to be read.
fn merge(
    run: &Run<'_, '_>,
    sources: &Sources,
    tops: &[Top],
    dirs: &channel::Receiver<DirBatch>,
    items: &channel::Sender<Item>,
    halt: &StopFlag,
) -> Result<Merge, Error> {
    let mut merge = Merge::new(tops.to_vec(), sources.special_files);
    for batch in dirs {
        let found = {
            let mut job = lock(&run.job);
            let found = merge.take(&mut job, batch)?;
            let problems = std::mem::take(&mut merge.problems);
            job.batch(|tx| problems.iter().try_for_each(|problem| tx.problem(problem)))?;
            found
        };
        run.monitor.found(found.len() as u64, found.iter().map(|item| item.facts.size).sum());
        for item in found {
            if halt.is_set() || items.send(item).is_err() {
                return Err(Error::Stopped);
            }
        }
    }
    Ok(merge)
}

/// Puts digests on record, and offers the entries.
fn record(
    run: &Run<'_, '_>,
    digested: &channel::Receiver<Digested>,
    ready: &channel::Sender<u64>,
    halt: &StopFlag,
) -> Result<(), Error> {
    while let Ok(first) = digested.recv() {
        let mut batch = vec![first];
        batch.extend(digested.try_iter().take(RECORDS_MAX - 1));
        let mut records: Vec<Record> = Vec::new();
        let mut problems: Vec<Problem> = Vec::new();
        let mut ids: VecDeque<u64> = VecDeque::new();
        for one in batch {
            match one {
                Digested::Read { id, records: read } => {
                    ids.push_back(id);
                    records.extend(read);
                }
                Digested::Problem(problem) => problems.push(problem),
                Digested::Stopped => return Err(Error::Stopped),
            }
        }
        {
            let mut job = lock(&run.job);
            job.record_read(&records)?;
            job.batch(|tx| problems.iter().try_for_each(|problem| tx.problem(problem)))?;
        }
        for id in ids {
            if halt.is_set() || ready.send(id).is_err() {
                return Err(Error::Stopped);
            }
        }
    }
    if halt.is_set() { Err(Error::Stopped) } else { Ok(()) }
}

/// What the walk as a whole says: what was excluded, and, where there are no volumes to say so, what is gone.
fn finish(run: &Run<'_, '_>, merge: &Merge, totals: &WalkTotals) -> Result<(), Error> {
    if !totals.is_complete {
        return Err(Error::Stopped);
    }
    let mut job = lock(&run.job);
    let rows: Vec<Excluded> = merge
        .excluded
        .iter()
        .map(|(rule, entries)| Excluded { rule: (*rule).to_owned(), count: Count { entries: *entries, bytes: 0 } })
        .collect();
    job.batch(|tx| tx.end_walk(&rows))?;
    if !job.volumes()?.is_empty() {
        return Ok(());
    }
    let mut after = 0;
    loop {
        let deleted = job.unrecorded_deletions(after, RECORDS_MAX)?;
        let Some(last) = deleted.last() else { return Ok(()) };
        after = last.id;
        let records: Vec<Record> = deleted.into_iter().map(Record::Deleted).collect();
        job.record_read(&records)?;
    }
}
