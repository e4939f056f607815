//! What can go wrong with the job directory.

use std::io;
use std::path::PathBuf;

/// An operation on the job directory or its database failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// SQLite refused.
    #[error("job database: cannot {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The directory could not be read or made.
    #[error("job directory {}: cannot {doing}", path.display())]
    Directory {
        /// Which one.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the job directory, or one made from it, could not be written.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no job where one was expected.
    #[error("{} is no job directory: it has no job.db", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is a job where a new one was to be made.
    #[error("{} already holds a job", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// Another process works on this job.
    #[error("job {} is in use by another packmule process", path.display())]
    InUse {
        /// Which one.
        path: PathBuf,
    },
    /// The file is no job database, or one of a later program.
    #[error("job database has schema {found}, this program knows {known}")]
    Schema {
        /// What the file says.
        found: i64,
        /// The latest this program knows.
        known: i64,
    },
    /// A value in the database contradicts what this program writes.
    #[error("job database: {what} is {found}")]
    Corrupt {
        /// Which value.
        what: &'static str,
        /// What it is.
        found: String,
    },
    /// A number does not fit the database.
    #[error("{what} of {value} is out of range")]
    Range {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// An entry, volume or pack that the job does not know.
    #[error("the job knows no {what} {number}")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// Under which number.
        number: u64,
    },
    /// What is to be recorded contradicts what is recorded.
    #[error("{what}: recorded is {recorded}, now comes {found}")]
    Conflict {
        /// About what.
        what: &'static str,
        /// What the job knows.
        recorded: String,
        /// What was given.
        found: String,
    },
    /// The thread that reads the job ended without a word: a bug.
    #[error("reading the job stopped unexpectedly")]
    Reader,
    /// A record kept in the database does not decode or encode.
    #[error("job database: a kept record is not valid")]
    Record(
        /// Why.
        #[source]
        crate::format::Error,
    ),
}

impl Error {
    /// What to do about it, if there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } => {
                Some("check --job; `packmule stage` makes a new job, `packmule recover` rebuilds one")
            }
            Self::InUse { .. } => Some("wait for the other process, or end it; `packmule status` works meanwhile"),
            Self::Schema { .. } => Some("use the program version that wrote the job, or a later one"),
            Self::Corrupt { .. } | Self::Conflict { .. } => {
                Some("the volumes are the other truth: `packmule recover` rebuilds the database from them")
            }
            _ => None,
        }
    }
}

/// Names what was being done when SQLite refused.
pub(super) trait During<T> {
    /// Attaches `doing` to a failure: it completes the sentence "cannot ...".
    fn during(self, doing: &'static str) -> Result<T, Error>;
}

impl<T> During<T> for rusqlite::Result<T> {
    fn during(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Database { doing, source })
    }
}

/// A number as SQLite keeps it.
pub(super) fn to_db(what: &'static str, value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| Error::Range { what, value })
}

/// A number that this program stored, back.
pub(super) fn from_db<T: TryFrom<i64>>(what: &'static str, value: i64) -> Result<T, Error> {
    T::try_from(value).map_err(|_| Error::Corrupt { what, found: value.to_string() })
}

/// A blob of fixed length that this program stored, back.
pub(super) fn array<const N: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| Error::Corrupt { what, found: format!("{} bytes long, not {N}", bytes.len()) })
}
