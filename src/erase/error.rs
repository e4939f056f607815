//! Why a volume was not erased.

use std::io;
use std::path::PathBuf;

use crate::format::{JobId, VolumeId};

/// A volume was not erased, or not to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no completion report.
    #[error("volume {volume} is not erased: the job has no completion report")]
    NoReport {
        /// Its number.
        volume: u32,
    },
    /// The completion report is of another job, or does not name the volume.
    #[error("volume {volume} is not erased: the completion report does not cover it")]
    NotCovered {
        /// Its number.
        volume: u32,
    },
    /// The completion report says that the job is not complete.
    #[error("volume {volume} is not erased: the completion report says that the job is not complete")]
    NotComplete {
        /// Its number.
        volume: u32,
    },
    /// The completion report lists failures.
    #[error("volume {volume} is not erased: the completion report lists entries with problems")]
    Problems {
        /// Its number.
        volume: u32,
    },
    /// The job itself knows of entries that have not arrived.
    #[error("volume {volume} is not erased: {entries} of its entries have not arrived")]
    NotArrived {
        /// Its number.
        volume: u32,
        /// How many.
        entries: u64,
    },
    /// The number typed out is not that of the volume.
    #[error("the volume's number is {volume}, typed was {typed}")]
    OtherNumber {
        /// Its number.
        volume: u32,
        /// What was typed.
        typed: String,
    },
    /// It is no volume of this job.
    #[error("{} is volume {volume} of job {job}, not one of this job", path.display())]
    OtherJob {
        /// Where it is.
        path: PathBuf,
        /// The job it says it belongs to.
        job: JobId,
        /// What it says it is.
        volume: VolumeId,
    },
    /// The volume cannot be opened.
    #[error("the volume cannot be opened")]
    Volume(
        /// Why.
        #[source]
        crate::volume::Error,
    ),
    /// The medium refused.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The medium does not hold what was written over a file.
    #[error("{}: bytes {offset} to {} read back differ from what was written over them", path.display(), offset + bytes)]
    ReadBack {
        /// Which file.
        path: PathBuf,
        /// First byte of the sample.
        offset: u64,
        /// Its length.
        bytes: u64,
    },
    /// The certificate could not be rendered.
    #[error("the certificate could not be rendered")]
    Certificate(
        /// Why.
        #[source]
        serde_json::Error,
    ),
    /// The job database or the job directory failed.
    #[error("the job could not record it")]
    Job(
        /// Why.
        #[source]
        crate::job::Error,
    ),
}

impl Error {
    /// What to do about it, if there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoReport { .. } | Self::NotCovered { .. } | Self::NotComplete { .. } | Self::NotArrived { .. } => {
                Some("`packmule ingest` first, or type the volume's number after --abandon to lose what is on it")
            }
            Self::Problems { .. } => Some("read report/completion-failure.csv, then --accept-problems"),
            Self::OtherNumber { .. } => Some("look at the label: nothing was touched"),
            Self::OtherJob { .. } => Some("insert a volume of this job, or name the right --job"),
            Self::File { .. } => Some("the same command again continues"),
            Self::ReadBack { .. } => Some("do not reuse or return this drive; destroy it physically"),
            _ => None,
        }
    }
}

impl From<crate::job::Error> for Error {
    fn from(error: crate::job::Error) -> Self {
        Self::Job(error)
    }
}
