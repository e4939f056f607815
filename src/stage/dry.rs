//! What a run would do, without doing it: the walk against the inventory, and how the volumes at hand would be filled.
//!
//! Owns: the sums of what is due, the fill map, what is missing. Does not own: the rule what is staged again (`merge`),
//! what a volume can take (`shelf`). Invariants: nothing is written, neither on a volume nor in the job; the worst case
//! (nothing compresses) is always told, the likely one only from samples of the content. Callers: `cli`.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use crate::census::{check_sources, facts, kind, needs_staging, source_roots};
use crate::format::record::EntryType;
use crate::job::{Count, Job, Known};
use crate::scan::{self, DirBatch, EntryKind, Root, SampleOptions, Sampler};
use crate::stage::lane::record_bytes;
use crate::stage::shelf::{self, Place};
use crate::stage::{Error, Options};
use crate::sys::World;

/// Blocks read to see how well the content compresses.
const SAMPLE_BLOCKS: usize = 256;

/// How the volumes at hand would be filled, one after another.
#[derive(Debug, Clone)]
pub struct FillMap {
    /// What is due.
    pub due: Count,
    /// What is staged already, and would not be read again.
    pub staged: Count,
    /// Names that could not be looked at.
    pub problems: u64,
    /// Room that is needed if nothing compresses. Unit: bytes.
    pub worst_bytes: u64,
    /// Room that is likely needed, by samples of the content. `None` when nothing could be sampled. Unit: bytes.
    pub likely_bytes: Option<u64>,
    /// The volumes, in the order given.
    pub volumes: Vec<Fill>,
}

/// One volume of a fill map.
#[derive(Debug, Clone)]
pub struct Fill {
    /// Where it is.
    pub place: Place,
    /// Its number in the job; `None`: it would be made.
    pub number: Option<u32>,
    /// Whether it is sealed, and takes nothing more.
    pub is_sealed: bool,
    /// What may still be written to it. Unit: bytes.
    pub room_bytes: u64,
    /// What would go there if nothing compresses. Unit: bytes.
    pub worst_bytes: u64,
    /// What would likely go there. Unit: bytes.
    pub likely_bytes: u64,
}

impl FillMap {
    /// What does not fit if nothing compresses, and what likely does not. Unit: bytes.
    pub fn missing_bytes(&self) -> (u64, u64) {
        let room: u64 = self.volumes.iter().map(|volume| volume.room_bytes).sum();
        let likely = self.likely_bytes.unwrap_or(self.worst_bytes);
        (self.worst_bytes.saturating_sub(room), likely.saturating_sub(room))
    }
}

/// What a run with these options would come to.
///
/// # Errors
/// As for [`super::stage`]: a source that is not there, a volume of another job.
pub fn dry_run(options: &Options, world: &World) -> Result<FillMap, Error> {
    let roots = Root::resolve_all(&options.sources)?;
    let job = match Job::open_read_only(&options.job) {
        Ok(job) => {
            check_sources(&job, &source_roots(&roots))?;
            Some(job)
        }
        Err(crate::job::Error::Missing { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let mut volumes = Vec::new();
    for place in &options.volumes {
        volumes.push(shelf::look(job.as_ref(), world, place)?);
    }
    let walk = super::round::walk_options(options);
    let mut survey = Survey::new(job, roots, Sampler::new(SAMPLE_BLOCKS, &*world.random))?;
    let mut failed = None;
    let totals = scan::walk(&survey.roots.clone(), &walk, |batch| match survey.take(&batch) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    if let Some(empty) = totals.names_per_root.iter().position(|names| *names == 0) {
        return Err(Error::EmptySource { path: survey.roots[empty].given().to_owned(), known: 0 });
    }
    Ok(survey.map(volumes, world))
}

/// The walk against the inventory, for reading only.
struct Survey {
    job: Option<Job>,
    roots: Vec<Root>,
    sampler: Sampler,
    /// Directories that the inventory knows and whose batches are expected.
    known: HashMap<(usize, Vec<u8>), u64>,
    /// Inodes with several names that were counted.
    linked: HashSet<(u64, u64)>,
    due: Count,
    staged: Count,
    problems: u64,
    records_bytes: u64,
}

impl Survey {
    fn new(job: Option<Job>, roots: Vec<Root>, sampler: Sampler) -> Result<Self, Error> {
        let sources = job.as_ref().map(Job::sources).transpose()?.unwrap_or_default();
        let known = sources.iter().enumerate().map(|(root, source)| ((root, Vec::new()), source.id)).collect();
        let (due, staged) = (Count::default(), Count::default());
        let linked = HashSet::new();
        Ok(Self { job, roots, sampler, known, linked, due, staged, problems: 0, records_bytes: 0 })
    }

    fn take(&mut self, batch: &DirBatch) -> Result<(), Error> {
        self.problems += batch.problems.len() as u64;
        let key = (batch.root, batch.dir.clone());
        let id = if batch.is_last { self.known.remove(&key) } else { self.known.get(&key).copied() };
        let mut names: HashMap<Vec<u8>, Known> = HashMap::new();
        if let (Some(job), Some(id)) = (&self.job, id) {
            let (first, last) = (batch.entries.first(), batch.entries.last());
            if let (Some(first), Some(last)) = (first, last) {
                names = job.children_between(id, &first.name, &last.name)?;
            }
        }
        for entry in &batch.entries {
            let below = scan::join(&batch.dir, &entry.name);
            let old = names.remove(&entry.name);
            if entry.is_entered
                && let Some(old) = &old
            {
                self.known.insert((batch.root, below.clone()), old.id);
            }
            self.entry(batch.root, entry, &below, old);
        }
        Ok(())
    }

    fn entry(&mut self, root: usize, entry: &scan::Entry, below: &[u8], old: Option<Known>) {
        let (entry_type, target) = kind(&entry.kind);
        let is_file = entry.kind == EntryKind::File;
        let again = is_file && entry.link_group().is_some_and(|inode| !self.linked.insert(inode));
        let bytes = if is_file && !again { entry.identity.size } else { 0 };
        let now = facts(&entry.identity, entry_type, 0, target);
        let is_same = |old: &Known| match old.entry_type {
            EntryType::HardLink => is_file, // its content is that of another name, which is compared on its own
            _ => old.is_unchanged(&now),
        };
        let is_staged = old.is_some_and(|old| is_same(&old) && !old.state.is_deleted() && !needs_staging(old.state));
        if is_staged {
            self.staged = self.staged + Count { entries: 1, bytes };
            return;
        }
        self.due = self.due + Count { entries: 1, bytes };
        self.records_bytes += record_bytes(below.len() as u64, 2);
        if bytes > 0 {
            let place = entry.place.clone().unwrap_or_else(|| self.roots[root].open_path(below));
            self.sampler.offer(&place, bytes);
        }
    }

    fn map(self, mut volumes: Vec<Fill>, world: &World) -> FillMap {
        let samples = self.sampler.read(&SampleOptions::default(), &*world.clock);
        let worst_bytes = self.due.bytes + self.records_bytes;
        let compressibility = samples.compressibility;
        let likely_bytes = (compressibility.plain_bytes > 0 && compressibility.stored_bytes > 0).then(|| {
            let share = u128::from(compressibility.stored_bytes) * u128::from(self.due.bytes);
            let content = share / u128::from(compressibility.plain_bytes);
            u64::try_from(content).unwrap_or(u64::MAX).min(self.due.bytes) + self.records_bytes
        });
        let (mut worst, mut likely) = (worst_bytes, likely_bytes.unwrap_or(worst_bytes));
        for volume in &mut volumes {
            (volume.worst_bytes, volume.likely_bytes) = (worst.min(volume.room_bytes), likely.min(volume.room_bytes));
            (worst, likely) = (worst - volume.worst_bytes, likely - volume.likely_bytes);
        }
        let (due, staged, problems) = (self.due, self.staged, self.problems);
        FillMap { due, staged, problems, worst_bytes, likely_bytes, volumes }
    }
}
