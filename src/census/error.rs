//! Why the source and the job do not go together.

use std::path::PathBuf;

use crate::job;

/// What ends a merge. Trouble with single entries is a problem on record instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The job database or directory refused.
    #[error("the job cannot go on")]
    Job(#[from] job::Error),
    /// The source holds nothing where it should hold something.
    #[error("{} is empty{}", path.display(), if *known > 0 { format!(", but {known} entries were seen there before") } else { String::new() })]
    EmptySource {
        /// The source.
        path: PathBuf,
        /// Entries an earlier run saw directly below it.
        known: u64,
    },
    /// The job was made for other sources.
    #[error("this job has {expected}, not {found}")]
    OtherSources {
        /// Sources of the job.
        expected: String,
        /// Sources given.
        found: String,
    },
    /// The walk broke its own order. A defect of this program.
    #[error("{0}")]
    Disorder(&'static str),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Job(error) => error.hint(),
            Self::EmptySource { .. } => Some("is it mounted? An empty source is taken for a mistake"),
            Self::OtherSources { .. } => Some("give the same sources, or another --job"),
            Self::Disorder(_) => None,
        }
    }
}
