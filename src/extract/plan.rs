//! From the records of one pack to work: which bytes of which frame go where.
//!
//! Owns: the files under way, across packs and volumes. Does not own: reading frames, writing files.
//! Invariants: only current generations of selected entries get work; a frame nobody needs is not read. Callers: `engine`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::extract::Options;
use crate::extract::error::{Class, Problem};
use crate::extract::file::FileJob;
use crate::extract::last::Last;
use crate::extract::node::Sink;
use crate::extract::survey::{Survey, is_selected};
use crate::format::record::{Begin, Content, Entry, EntryType, Extent, Record};
use crate::volume::{FrameAt, PackIndex};

/// Some bytes of a frame on their way into a file.
#[derive(Debug)]
pub(super) struct PieceJob {
    pub(super) file: Arc<FileJob>,
    pub(super) part: usize,
    pub(super) piece: usize,
    /// First byte in the frame's plain bytes.
    pub(super) at: u32,
    /// How many.
    pub(super) bytes: u32,
}

/// The work in one pack.
#[derive(Debug, Default)]
pub(super) struct PackPlan {
    /// Frames that are needed, in the order of the pack, with what is taken from each.
    pub(super) frames: Vec<(FrameAt, Vec<PieceJob>)>,
    /// Files to look at although no byte of them is here.
    pub(super) complete: Vec<Arc<FileJob>>,
    /// Symbolic links and special files.
    pub(super) nodes: Vec<Entry>,
}

/// Makes plans, pack after pack.
pub(super) struct Planner<'a> {
    survey: &'a Survey,
    options: &'a Options,
    under_way: HashMap<u64, Arc<FileJob>>,
    pub(super) last: Last,
    /// Sealed volumes, by their numbers, of which packs have lost records.
    pub(super) damaged: BTreeSet<u32>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(survey: &'a Survey, options: &'a Options) -> Self {
        Self { survey, options, under_way: HashMap::new(), last: Last::default(), damaged: BTreeSet::new() }
    }

    /// Whether this reading of an entry is the one that holds.
    pub(super) fn is_current(&self, entry: &Entry) -> bool {
        self.survey.is_current(entry.id, entry.generation)
    }

    /// Takes a record that `MANIFEST` tells again for a file under way. What is told twice counts once.
    pub(super) fn retold(&self, record: &Record) {
        let (id, generation) = match record {
            Record::Entry(entry) if entry.entry_type == EntryType::File => (entry.id, entry.generation),
            Record::Extent(hole) if hole.content == Content::Hole => (hole.id, hole.generation),
            _ => return,
        };
        let Some(job) = self.under_way.get(&id).filter(|job| job.generation == generation && !job.is_done()) else {
            return;
        };
        match record {
            Record::Entry(entry) => job.set_entry(entry),
            Record::Extent(hole) => drop(job.expect(hole)),
            _ => {}
        }
    }

    /// Files that are not finished, in the order of their paths.
    pub(super) fn unfinished(&self) -> Vec<Arc<FileJob>> {
        let mut jobs: Vec<_> = self.under_way.values().filter(|job| !job.is_done()).map(Arc::clone).collect();
        jobs.sort_by(|a, b| a.path.cmp(&b.path));
        jobs
    }

    /// The work in a pack.
    pub(super) fn pack(&mut self, index: PackIndex, sink: &Sink<'_>) -> PackPlan {
        self.under_way.retain(|_, job| !job.is_done());
        let mut plan = PackPlan::default();
        let mut extents = Vec::new();
        let mut spoken_of = HashMap::new();
        for record in index.records {
            match record {
                Record::Begin(begin) => self.begin(&begin),
                Record::Entry(entry) => self.entry(entry, &mut plan, &mut spoken_of, sink),
                Record::Extent(extent) => extents.push(extent),
                _ => {}
            }
        }
        let mut frames: BTreeMap<u32, Vec<PieceJob>> = BTreeMap::new();
        for extent in extents {
            if let Some(job) = self.under_way.get(&extent.id).filter(|job| job.generation == extent.generation) {
                // The last stored piece finishes a file. What comes without pieces, an entry or a hole, would finish none:
                // the file is looked at for its sake, since its other extents may all have come from earlier packs.
                if extent.content == Content::Hole {
                    spoken_of.insert(extent.id, Arc::clone(job));
                } else {
                    spoken_of.remove(&extent.id);
                }
                take_extent(job, &extent, &mut frames);
            }
        }
        plan.complete = spoken_of.into_values().collect();
        let at: HashMap<u32, FrameAt> = index.data.into_iter().map(|frame| (frame.index, frame)).collect();
        for (number, jobs) in frames {
            match at.get(&number) {
                Some(frame) => plan.frames.push((*frame, jobs)),
                None => jobs.iter().for_each(|job| job.file.put(job.part, job.piece, None, sink)),
            }
        }
        plan
    }

    fn begin(&mut self, begin: &Begin) {
        let current = self.survey.is_current(begin.id, begin.generation);
        if current && is_selected(self.options, &begin.path, false) {
            let known_by = (begin.size, begin.mtime_s, begin.mtime_ns);
            let new = || Arc::new(FileJob::new(begin.generation, begin.path.clone(), known_by));
            let job = self.under_way.entry(begin.id).or_insert_with(new);
            if job.generation != begin.generation {
                *job = new();
            }
        }
    }

    fn entry(
        &mut self,
        entry: Entry,
        plan: &mut PackPlan,
        spoken_of: &mut HashMap<u64, Arc<FileJob>>,
        sink: &Sink<'_>,
    ) {
        let is_dir = entry.entry_type == EntryType::Directory;
        let is_selected = is_selected(self.options, &entry.path, is_dir);
        if !self.survey.is_current(entry.id, entry.generation) || !(is_selected || is_dir) {
            return;
        }
        match entry.entry_type {
            EntryType::File => {
                let known_by = (entry.size, entry.mtime_s, entry.mtime_ns);
                let new = || Arc::new(FileJob::new(entry.generation, entry.path.clone(), known_by));
                let job = self.under_way.entry(entry.id).or_insert_with(new);
                if job.path != entry.path || job.generation != entry.generation {
                    let message = "another path had the same number before";
                    return sink.problem(Problem::entry(Class::Integrity, &entry.path, message));
                }
                job.set_entry(&entry);
                spoken_of.insert(entry.id, Arc::clone(job));
            }
            EntryType::Directory => {
                if is_selected && let Err(error) = sink.target.make_dirs(&entry.path) {
                    return sink.problem(no_dir(&entry.path, error));
                }
                self.last.dirs.push((entry, is_selected));
            }
            EntryType::HardLink => self.last.links.push(entry),
            _ => plan.nodes.push(entry),
        }
    }
}

/// A directory that cannot be made.
pub(super) fn no_dir(path: &[u8], error: std::io::Error) -> Problem {
    Problem::entry(Class::Entry, path, "cannot be made").because(error)
}

fn take_extent(job: &Arc<FileJob>, extent: &Extent, frames: &mut BTreeMap<u32, Vec<PieceJob>>) {
    let part = job.expect(extent);
    let Content::Stored(pieces) = &extent.content else { return };
    for (index, piece) in pieces.iter().enumerate() {
        let (at, bytes) = (piece.at, piece.bytes);
        let place = PieceJob { file: Arc::clone(job), part, piece: index, at, bytes };
        frames.entry(piece.frame).or_default().push(place);
    }
}
