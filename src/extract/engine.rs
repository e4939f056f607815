//! An extraction from beginning to end: what holds, pack by pack what goes where, what damage leaves, directories last.
//!
//! Owns: the order of these steps, going on after damage to a pack's records. Does not own: the threads that read and write
//! (`feed`), what the records mean (`plan`), what `MANIFEST` says instead (`retell`).
//! Invariants: a pack that cannot be read costs what is in it and nothing else. Callers: `extract`'s callers.

use std::path::Path;

use crate::extract::error::{Error, Problem};
use crate::extract::feed::{self, Feeder, Pack, frame_cost_bytes};
use crate::extract::node::Sink;
use crate::extract::plan::Planner;
use crate::extract::retell;
use crate::extract::survey::{Survey, is_selected};
use crate::extract::{Done, Options, Outcome};
use crate::format::record::{EntryType, Record};
use crate::format::{FRAME_PLAIN_BYTES_MAX, PACK_HEADER_BYTES};
use crate::monitor::Monitor;
use crate::sys::Access;
use crate::sys::target::TargetRoot;
use crate::volume::{self, Keyring, PackIndex, Volume};

/// Extracts what the volumes hold into `target`.
///
/// # Errors
/// Only when nothing can be done at all; everything else is a problem in the outcome.
pub fn extract(
    volumes: &[(Volume, Keyring)],
    target: &Path,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Outcome, Error> {
    check_jobs(volumes)?;
    // One frame, sealed and plain, must always fit, or nothing would ever move.
    let largest_bytes = frame_cost_bytes(FRAME_PLAIN_BYTES_MAX, FRAME_PLAIN_BYTES_MAX);
    options.budget.try_acquire(largest_bytes).map_err(|source| Error::Budget { source })?;
    let survey = Survey::of(volumes, options);
    monitor.expects(survey.files, survey.bytes);
    if options.dry_run {
        return Ok(dry_run(volumes, survey, options));
    }
    let root = TargetRoot::open(target).map_err(|source| Error::Target { path: target.to_path_buf(), source })?;
    let sink = Sink::new(&root, options, monitor);
    let (is_stopped, synced) =
        sink.flush.beside(|| root.sync(), || everything(volumes, Planner::new(&survey, options), &sink));
    if let Err(error) = synced {
        sink.problem(Problem::target(error));
    }
    let mut outcome = sink.into_outcome();
    outcome.problems.extend(survey.problems);
    outcome.is_stopped = is_stopped;
    Ok(outcome)
}

/// Writes all files, then what damage left of others, then what must come last. Returns whether it was stopped before.
fn everything(volumes: &[(Volume, Keyring)], mut planner: Planner<'_>, sink: &Sink<'_>) -> bool {
    run(volumes, &mut planner, sink);
    let is_stopped = sink.options.stop.is_set();
    let damaged: Vec<_> =
        volumes.iter().filter(|(volume, _)| planner.damaged.contains(&volume.header().number)).collect();
    for (volume, keyring) in damaged.iter().filter(|_| !is_stopped) {
        if let Err(error) = retell::unfinished(volume, keyring, &planner, sink) {
            sink.problem(Problem::volume(error));
        }
    }
    for job in planner.unfinished() {
        job.give_up(is_stopped, sink);
    }
    if !is_stopped {
        for (volume, keyring) in damaged {
            if let Err(error) = retell::without_bytes(volume, keyring, &mut planner, sink) {
                sink.problem(Problem::volume(error));
            }
        }
        planner.last.run(sink);
    }
    is_stopped
}

fn check_jobs(volumes: &[(Volume, Keyring)]) -> Result<(), Error> {
    let Some((first, _)) = volumes.first() else { return Ok(()) };
    let expected = first.header().job;
    match volumes.iter().find(|(volume, _)| volume.header().job != expected) {
        None => Ok(()),
        Some((other, _)) => {
            Err(Error::OtherJob { path: other.root().to_path_buf(), expected, found: other.header().job })
        }
    }
}

/// Plans all packs of all volumes, each while the one before is read and written.
fn run(volumes: &[(Volume, Keyring)], planner: &mut Planner<'_>, sink: &Sink<'_>) {
    feed::beside(sink, |feeder| {
        for (volume, keyring) in volumes {
            let packs = numbers(volume, sink);
            feeder.begin(volume, stored_bytes(volume, &packs));
            for number in packs {
                if sink.options.stop.is_set() {
                    return;
                }
                if let Err(error) = one_pack(volume, keyring, number, planner, sink, feeder) {
                    sink.problem(Problem::volume(error));
                    lose_pack(volume, keyring, number, planner, sink);
                }
            }
            feeder.end(volume);
        }
    });
}

/// Length of packs.
fn stored_bytes(volume: &Volume, packs: &[u32]) -> u64 {
    let size = |number: &u32| volume.fs().stat(&volume::pack_path(volume.root(), *number)).map_or(0, |stat| stat.len);
    packs.iter().map(size).sum()
}

/// A pack that cannot be read at all: `MANIFEST` names what was in it.
fn lose_pack(volume: &Volume, keyring: &Keyring, number: u32, planner: &mut Planner<'_>, sink: &Sink<'_>) {
    if !volume.is_sealed().unwrap_or(false) {
        return;
    }
    planner.damaged.insert(volume.header().number);
    let mut index = PackIndex::default();
    match retell::content(volume, keyring, number, &mut index) {
        // No frame of it is there, so this plan holds no work; files of several packs wait for other copies.
        Ok(()) => drop(planner.pack(index, sink)),
        Err(error) => sink.problem(Problem::volume(error)),
    }
}

fn numbers(volume: &Volume, sink: &Sink<'_>) -> Vec<u32> {
    volume.packs().unwrap_or_else(|error| {
        sink.problem(Problem::volume(error));
        Vec::new()
    })
}

/// Plans one pack and hands its work over.
fn one_pack<'v>(
    volume: &'v Volume,
    keyring: &Keyring,
    number: u32,
    planner: &mut Planner<'_>,
    sink: &Sink<'_>,
    feeder: &Feeder<'v>,
) -> Result<(), volume::Error> {
    let is_sealed = volume.is_sealed()?;
    let file = match volume.open_pack(number, Access::Buffered) {
        // Power went before its header was written: it holds nothing.
        Err(_) if !is_sealed && is_stub(volume, number) => return Ok(()),
        other => other?,
    };
    let mut index = file.index(keyring)?;
    let damaged = |reason: String| Problem::volume(volume::Error::Damaged { path: file.path().to_path_buf(), reason });
    index.damage.iter().for_each(|reason| sink.problem(damaged(reason.clone())));
    if index.closed.is_none() && is_sealed {
        let reason = "it cannot be read to its end, though the volume is sealed; what comes after is lost";
        sink.problem(damaged(reason.to_owned()));
    }
    if is_sealed && (index.closed.is_none() || !index.nameless.is_empty()) {
        planner.damaged.insert(volume.header().number);
        let retold = retell::content(volume, keyring, number, &mut index);
        retold.unwrap_or_else(|error| sink.problem(Problem::volume(error)));
    }
    let pack = Pack { key: file.opening_key(keyring)?, header: file.header().clone(), path: file.path().to_path_buf() };
    feeder.pack(volume, pack, planner.pack(index, sink));
    Ok(())
}

/// Whether a pack ends within its header.
fn is_stub(volume: &Volume, number: u32) -> bool {
    let path = volume::pack_path(volume.root(), number);
    volume.fs().stat(&path).is_ok_and(|stat| stat.len < PACK_HEADER_BYTES as u64)
}

/// Counts what would be done.
fn dry_run(volumes: &[(Volume, Keyring)], survey: Survey, options: &Options) -> Outcome {
    let mut outcome = Outcome::default();
    for (volume, keyring) in volumes {
        for number in volume.packs().unwrap_or_default() {
            let index = volume.open_pack(number, Access::Buffered).and_then(|pack| pack.index(keyring));
            let records = match index {
                Ok(index) => index.records,
                Err(error) => {
                    outcome.problems.push(Problem::volume(error));
                    continue;
                }
            };
            for record in &records {
                let Record::Entry(entry) = record else { continue };
                let is_dir = entry.entry_type == EntryType::Directory;
                if survey.is_current(entry.id, entry.generation) && is_selected(options, &entry.path, is_dir) {
                    *outcome.counts.entry(Done::WouldWrite).or_default() += 1;
                    outcome.bytes = outcome.bytes.saturating_add(entry.size);
                }
            }
        }
    }
    outcome.problems.extend(survey.problems);
    outcome
}
