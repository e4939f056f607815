//! Back to a directory, without S3: every committed entry of the given volumes, byte for byte, with its metadata.
//!
//! Owns: which generation of an entry holds, putting files together from extents of several packs and volumes, the order
//! in which metadata is set, what is done with what exists already. Does not own: opening frames (`volume`), writing
//! beneath a root (`sys::target`), progress bars (`cli`).
//! Invariants: nothing outside the target is ever touched, whatever the volumes say; nothing that exists is replaced unless
//! asked; a file stands under its name with its own mode only if every byte was checked against its CRC-64; trouble with
//! one entry does not stop the others; memory is bounded by the budget plus the records of two packs, the names of
//! directories and hard links, and files that span packs. Each pack's data are read once, in order.
//! Callers: `cli`.

mod engine;
mod error;
mod feed;
mod file;
mod flush;
mod last;
mod node;
mod plan;
mod retell;
mod survey;

use std::collections::BTreeMap;

pub use crate::extract::engine::extract;
pub use crate::extract::error::{Class, Error, Problem};
use crate::scan::Selection;
use crate::sys::budget::MemoryBudget;
use crate::sys::process::StopFlag;

/// How to extract.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to extract, as exclude rules that select; empty for everything.
    pub patterns: Selection,
    /// Replace files, links and special files that are there and differ.
    pub overwrite: bool,
    /// Restore set-uid and set-gid bits and file capabilities.
    pub set_id: bool,
    /// Make device nodes.
    pub devices: bool,
    /// Restore owner and group numbers; for root only.
    pub owner: bool,
    /// Threads that open frames and write files, at least 1.
    pub threads: usize,
    /// Memory for frames under way.
    pub budget: MemoryBudget,
    /// Looked at before each frame.
    pub stop: StopFlag,
    /// Only tell what would be done.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Entries by what they are and what was done.
    pub counts: BTreeMap<Done, u64>,
    /// Plain bytes of the files that were written. Unit: bytes.
    pub bytes: u64,
    /// Files whose set-uid or set-gid bits were left out, because nobody asked for them.
    pub set_id_left_out: u64,
    /// Entries that are not as they should be, and parts of volumes that could not be read.
    pub problems: Vec<Problem>,
    /// Whether it was stopped before the end.
    pub is_stopped: bool,
}

/// What was done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// A file was written and checked.
    File,
    /// A directory has its metadata.
    Directory,
    /// A symbolic link was made.
    Symlink,
    /// A further name was given to a file.
    HardLink,
    /// A fifo or device was made.
    Special,
    /// It was there already: for files, with the right size and modification time.
    AlreadyThere,
    /// A socket, or a device that was not asked for: left out by rule.
    LeftOut,
    /// It would have been written, but this is a dry run.
    WouldWrite,
}

impl Outcome {
    /// The gravest class among the problems.
    pub fn worst(&self) -> Option<Class> {
        self.problems.iter().map(|problem| problem.class).max()
    }

    /// How many entries ended in one way.
    pub fn count(&self, done: Done) -> u64 {
        self.counts.get(&done).copied().unwrap_or(0)
    }
}
