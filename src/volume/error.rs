//! What can go wrong with a volume: always with the path, and with what was expected and found.

use std::io;
use std::path::{Path, PathBuf};

use crate::format::{JobId, RunId};
use crate::{crypto, format};

/// A failure around a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no volume here.
    #[error("{} is not a packmule volume", path.display())]
    NotAVolume {
        /// The directory given.
        path: PathBuf,
    },
    /// The volume belongs to another job.
    #[error("volume {} belongs to job {found}, not to {expected}", path.display())]
    OtherJob {
        /// The directory given.
        path: PathBuf,
        /// This job.
        expected: JobId,
        /// The volume's job.
        found: JobId,
    },
    /// A file breaks the format.
    #[error("{} is damaged", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Which rule.
        #[source]
        source: format::Error,
    },
    /// A key does not open a file, or what it opens breaks the format.
    #[error("{} cannot be opened", path.display())]
    Crypto {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: crypto::Error,
    },
    /// No key of that run is at hand.
    #[error("no key for run {run}, which wrote {}", path.display())]
    NoKey {
        /// Which file needs it.
        path: PathBuf,
        /// The run.
        run: RunId,
    },
    /// A limit of the format would be passed, or is passed by what was read.
    #[error("{}: {what} of {found} passes the limit of {limit}", path.display())]
    Limit {
        /// Which file.
        path: PathBuf,
        /// What is limited.
        what: &'static str,
        /// How much there is.
        found: u64,
        /// How much there may be.
        limit: u64,
    },
    /// The medium gave back other bytes than were written.
    #[error("{}: read-back gives checksum {found:016x} where {expected:016x} was written", path.display())]
    ReadBack {
        /// Which file.
        path: PathBuf,
        /// CRC-64 of what was written.
        expected: u64,
        /// CRC-64 of what was read back.
        found: u64,
    },
    /// The medium has less than the job database saw committed.
    #[error("{} holds {found} bytes where {expected} were committed", path.display())]
    LostCommit {
        /// Which pack.
        path: PathBuf,
        /// Committed length.
        expected: u64,
        /// Length found.
        found: u64,
    },
    /// The volume holds commits the job database does not know.
    #[error("{} holds commits this job's database does not know", path.display())]
    NewerThanJob {
        /// Which pack, or the volume.
        path: PathBuf,
    },
    /// Something is wrong that only a bug or a hostile writer explains.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What.
        reason: String,
    },
}

/// Adds the place to a bare I/O error; `?` on one does not compile without it.
pub(crate) trait At<T> {
    /// `operation` is a verb: "read", "create".
    fn at(self, operation: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io { operation, path: path.to_owned(), source })
    }
}

/// Adds the file to a format or key error.
pub(crate) trait In<T> {
    /// The file the bytes came from.
    fn within(self, path: &Path) -> Result<T, Error>;
}

impl<T> In<T> for Result<T, format::Error> {
    fn within(self, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Format { path: path.to_owned(), source })
    }
}

impl<T> In<T> for Result<T, crypto::Error> {
    fn within(self, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Crypto { path: path.to_owned(), source })
    }
}

impl Error {
    /// Whether this says that the medium is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}
