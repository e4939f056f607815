//! Walking the source: what is there, what of it is selected, and what will bite.
//!
//! Owns: the parallel walk in batches of one directory, selection by rules, hazards, the size histogram and the samples
//! of compressibility. Does not own: reading files for staging (`stage`), the inventory database (`job`), the dataset
//! document (`plan`), printing (`cli`).
//! Invariants: the source is never written; symbolic links are never followed below a root, so no loop is possible;
//! every name seen is in exactly one batch, as an entry, as excluded, or as a problem; memory does not grow with the
//! number of files. Callers: `stage`, `send`, `cli`.

mod batch;
mod hazard;
mod histogram;
mod list;
mod root;
mod sample;
mod select;
mod summary;
mod todo;
mod walk;

pub(crate) use crate::scan::batch::join;
pub use crate::scan::batch::{DirBatch, Entry, EntryKind, Excluded, ExcludedBy, Problem, ProblemKind};
pub use crate::scan::hazard::{Hazard, S3_KEY_BYTES_MAX, S3_OBJECT_BYTES_MAX, collisions, hazards};
pub use crate::scan::histogram::{BUCKET_COUNT, Histogram};
pub use crate::scan::list::{FileList, Wanted};
pub use crate::scan::root::Root;
pub use crate::scan::sample::{Compressibility, SampleOptions, Sampler, Samples};
pub use crate::scan::select::{Rule, Selection};
pub use crate::scan::summary::{Finding, Summary};
pub use crate::scan::walk::{BATCH_ENTRIES_MAX, WalkOptions, WalkTotals, walk};

use std::path::PathBuf;

/// Why a scan cannot even begin. Trouble with single entries is a [`Problem`], not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A source that the user named cannot be looked at.
    #[error("source {} cannot be read", path.display())]
    Root {
        /// As the user gave it.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A source that is neither a file nor a directory.
    #[error("source {} is neither a file nor a directory", path.display())]
    RootKind {
        /// As the user gave it.
        path: PathBuf,
    },
    /// One source lies inside another, so that its files would be taken twice.
    #[error("source {} lies inside source {}", inner.display(), outer.display())]
    RootsOverlap {
        /// The source inside.
        inner: PathBuf,
        /// The source around it.
        outer: PathBuf,
    },
    /// A listed path that cannot be meant.
    #[error("listed path {} cannot be taken: {why}", crate::format::path::escape(path))]
    List {
        /// As it stands in the list.
        path: Vec<u8>,
        /// Why not.
        why: &'static str,
    },
    /// An include or exclude rule that cannot be understood.
    #[error("rule {rule:?} is not a pattern in the style of gitignore")]
    Rule {
        /// The rule as given.
        rule: String,
        /// What is wrong with it.
        #[source]
        source: ignore::Error,
    },
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Root { .. } => "check the path, and whether what it is on is mounted and readable for this user",
            Self::RootKind { .. } => "name a directory or a regular file",
            Self::RootsOverlap { .. } => "leave out the inner source: it is taken with the outer one",
            Self::List { .. } => "list paths below the source, relative to it or absolute",
            Self::Rule { .. } => "patterns are those of gitignore: *.tmp, /top/only, cache/, **/deep",
        }
    }
}
