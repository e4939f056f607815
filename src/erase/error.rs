//! Why a volume was not erased.

use std::io;
use std::path::PathBuf;

use crate::format::{JobId, VolumeId};

/// A drive was not purged, or it is not known whether it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PurgeError {
    /// The drive tells no serial number.
    #[error("the drive tells no serial number, so nobody can say that it is the right one")]
    NoSerial,
    /// No volume of the job was on it.
    #[error("no volume of this job was on the drive with serial number {serial}")]
    OtherDrive {
        /// Its serial number.
        serial: String,
    },
    /// A volume on it is not erased yet.
    #[error("volume {volume} on this drive is not erased yet")]
    NotErased {
        /// Its number.
        volume: u32,
    },
    /// The drive has no means of its own.
    #[error("NOT PURGED: this drive, or the bridge it hangs on, offers no sanitize and no secure discard")]
    NoMethod,
    /// The drive or the system refused.
    #[error("cannot {doing} the drive")]
    Drive {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The drive says that it failed.
    #[error("NOT PURGED: {reason}")]
    Failed {
        /// In its words.
        reason: String,
    },
    /// The drive does not get any further.
    #[error("whether the drive is purged is unknown: it says that it is at it, and got no further for hours")]
    Stuck,
    /// A mark is there that should be gone.
    #[error(
        "NOT PURGED: what was written at byte {offset} before is still there, although the drive says that it is done"
    )]
    StillThere {
        /// Where.
        offset: u64,
    },
    /// Nothing can be read, so nothing was looked at.
    #[error("whether the drive is purged is unknown: it says so, but none of the places looked at can be read")]
    Unreadable,
}

impl PurgeError {
    pub(super) fn drive(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Drive { doing, source }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoSerial | Self::OtherDrive { .. } => {
                "name the drive that the volume was on, by itself and not through a hub that hides it"
            }
            Self::NotErased { .. } => "packmule erase VOLUME first, then unmount it",
            Self::NoMethod => {
                "it stays at Clear with cryptographic erase, as its certificate says; connect it directly (SATA, NVMe), use its maker's \
                 tool, or destroy it"
            }
            Self::Drive { .. } => "it must be unmounted, and this needs root; the same command goes on",
            Self::Failed { .. } | Self::StillThere { .. } => "do not trust this drive's own word; destroy it",
            Self::Stuck => "keep it powered and give the same command again: it goes on waiting",
            Self::Unreadable => "pull it out, plug it in, and give the same command again",
        }
    }
}

/// A volume was not erased, or not to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The drive was not purged.
    #[error(transparent)]
    Purge(#[from] PurgeError),
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
            Self::Purge(error) => Some(error.hint()),
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
