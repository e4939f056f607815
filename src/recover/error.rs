//! What keeps a job from being rebuilt.

use std::path::PathBuf;

use crate::format::JobId;
use crate::{job, volume};

/// Why nothing was rebuilt. The database is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No volume was given.
    #[error("no volume is given")]
    NoVolume,
    /// Volumes of several jobs, or of another than the one in the job directory.
    #[error("volume {} belongs to job {found}, not to {expected}", path.display())]
    OtherJob {
        /// The volume.
        path: PathBuf,
        /// The job of the others, or of the directory.
        expected: JobId,
        /// Its own.
        found: JobId,
    },
    /// Two volumes have one number or identity.
    #[error("{} and {} are both volume {number}", first.display(), second.display())]
    Twice {
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// Their number.
        number: u32,
    },
    /// The job has another volume of that number.
    #[error("{} is volume {number}, and the job knows another volume of that number", path.display())]
    OtherVolume {
        /// Where it is.
        path: PathBuf,
        /// Its number.
        number: u32,
    },
    /// The volume was erased.
    #[error("volume {number} at {} was erased", path.display())]
    Erased {
        /// Where it is.
        path: PathBuf,
        /// Its number.
        number: u32,
    },
    /// The job database or directory refused.
    #[error("the job database cannot be rebuilt")]
    Job(#[from] job::Error),
    /// A volume cannot be read.
    #[error("a volume cannot be read")]
    Volume(#[from] volume::Error),
}

impl Error {
    /// What the user can do.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoVolume => "give every volume of the job",
            Self::OtherJob { .. } => "give the volumes of one job, and its own --job directory or a new one",
            Self::Twice { .. } => "give each volume once; a copy of a volume is no further volume",
            Self::OtherVolume { .. } | Self::Job(job::Error::Conflict { .. } | job::Error::Corrupt { .. }) => {
                "the database and the volumes contradict each other; --afresh puts the database aside and believes the volumes"
            }
            Self::Erased { .. } => "leave it out",
            Self::Job(job::Error::Database { .. }) => {
                "if the database is damaged, --afresh puts it aside and believes the volumes"
            }
            Self::Job(error) => return error.hint(),
            Self::Volume(_) => return None,
        })
    }
}
