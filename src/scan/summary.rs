//! The sum of a scan: counts, sizes, hazards and problems with examples.
//!
//! Owns: adding up batches in flat memory. Does not own: how the sum is shown (`cli`) or planned with (`plan`).
//! Invariants: equal trees give equal summaries, whatever the order of batches; names seen = entries + excluded +
//! problems that stand for a name. Callers: `cli`, `probe`.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::path::escape;
use crate::scan::batch::{DirBatch, Entry, EntryKind, ExcludedBy, ProblemKind, join};
use crate::scan::hazard::{Hazard, hazards};
use crate::scan::histogram::Histogram;
use crate::sys::source::UnixTime;

/// Examples kept of each hazard and kind of problem: the first by path. Ours: one screen.
const EXAMPLES_MAX: usize = 20;

/// What is there, and what will bite.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Regular files; each name of a hard-linked file counts.
    pub files: u64,
    /// Directories, without the roots.
    pub dirs: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Fifos, sockets, devices.
    pub specials: u64,
    /// Sum of the sizes of all files. Unit: bytes.
    pub bytes: u64,
    /// Sum of the sizes with hard-linked files counted once, if all their names are inside. Unit: bytes.
    pub unique_bytes: u64,
    /// Space that the files take on the medium. Unit: bytes.
    pub allocated_bytes: u64,
    /// Size of the largest file. Unit: bytes.
    pub largest_bytes: u64,
    /// Names left out by rules; directories among them were not looked into.
    pub excluded_by_rule: u64,
    /// Directories left out because this run writes there.
    pub excluded_own_output: u64,
    /// Directories not entered because another file system begins there.
    pub not_entered: u64,
    /// Sizes of files by powers of two.
    pub sizes: Histogram,
    /// Hazards.
    pub hazards: BTreeMap<Hazard, Finding>,
    /// Names that could not be taken.
    pub problems: BTreeMap<ProblemKind, Finding>,
}

/// How often something was found, and where first.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How many entries.
    pub count: u64,
    /// The first of them by path, escaped reversibly, at most 20.
    pub examples: BTreeSet<String>,
}

impl Finding {
    fn add(&mut self, root: &str, path: &[u8]) {
        self.count += 1;
        let example = format!("{root}{}", escape(path));
        if self.examples.len() < EXAMPLES_MAX || self.examples.last().is_some_and(|last| example < *last) {
            self.examples.insert(example);
        }
        if self.examples.len() > EXAMPLES_MAX {
            self.examples.pop_last();
        }
    }
}

impl Summary {
    /// Adds one batch. `root` is put before the paths of examples; `now` is the moment of the scan.
    pub fn add(&mut self, root: &str, batch: &DirBatch, now: UnixTime) {
        for entry in &batch.entries {
            self.add_entry(entry);
        }
        for excluded in &batch.excluded {
            match excluded.by {
                ExcludedBy::Rule | ExcludedBy::NotListed => self.excluded_by_rule += 1,
                ExcludedBy::OwnOutput => self.excluded_own_output += 1,
            }
        }
        for problem in &batch.problems {
            self.problems.entry(problem.kind).or_default().add(root, &problem.path);
        }
        hazards(batch, now, &mut |hazard, name| self.add_hazard(hazard, root, &join(&batch.dir, name)));
    }

    /// Adds a hazard that only the caller can see, such as a file that cannot be opened.
    pub fn add_hazard(&mut self, hazard: Hazard, root: &str, path: &[u8]) {
        self.hazards.entry(hazard).or_default().add(root, path);
    }

    /// Number of names that could not be taken.
    pub fn problem_count(&self) -> u64 {
        self.problems.values().map(|finding| finding.count).sum()
    }

    fn add_entry(&mut self, entry: &Entry) {
        match entry.kind {
            EntryKind::File => {
                let id = &entry.identity;
                self.files += 1;
                self.bytes = self.bytes.saturating_add(id.size);
                self.unique_bytes = self.unique_bytes.saturating_add(id.size / u64::from(id.nlink.max(1)));
                self.allocated_bytes = self.allocated_bytes.saturating_add(id.allocated_bytes);
                self.largest_bytes = self.largest_bytes.max(id.size);
                self.sizes.add(id.size);
            }
            EntryKind::Dir => {
                self.dirs += 1;
                self.not_entered += u64::from(!entry.is_entered);
            }
            EntryKind::Symlink { .. } => self.symlinks += 1,
            EntryKind::Fifo | EntryKind::Socket | EntryKind::Block | EntryKind::Char => self.specials += 1,
        }
    }
}
