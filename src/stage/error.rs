//! What ends a run. Trouble with one file never does; it is a problem on record.

use std::path::PathBuf;

use crate::{crypto, format, job, scan, volume};

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A source cannot be walked.
    #[error("the source cannot be staged")]
    Scan(#[from] scan::Error),
    /// The job database or directory refused.
    #[error("the job cannot go on")]
    Job(#[from] job::Error),
    /// A volume refused.
    #[error("a volume cannot be used")]
    Volume(#[from] volume::Error),
    /// Keys cannot be made or wrapped.
    #[error("the run's key cannot be wrapped")]
    Crypto(#[from] crypto::Error),
    /// A buffer is larger than the whole memory budget.
    #[error("a buffer does not fit the memory budget")]
    Buffer(#[from] crate::sys::budget::BudgetError),
    /// A record cannot be formed.
    #[error("a record cannot be formed")]
    Format(#[from] format::Error),
    /// The source holds nothing where it should hold something.
    #[error("{} is empty{}", path.display(), if *known > 0 { format!(", but {known} entries were seen there before") } else { String::new() })]
    EmptySource {
        /// The source.
        path: PathBuf,
        /// Entries an earlier run saw directly below it.
        known: u64,
    },
    /// The job was made for other sources.
    #[error("this job stages {expected}, not {found}")]
    OtherSources {
        /// Sources of the job.
        expected: String,
        /// Sources given.
        found: String,
    },
    /// A new volume needs a data key, and no key service was named.
    #[error("a new volume needs a data key of the key service")]
    NoKeyService,
    /// There is nobody to wrap keys for.
    #[error("no recipient is given, and the job has none")]
    NoRecipient,
    /// A volume is given twice, or is sealed, or cannot take anything.
    #[error("{}: {reason}", path.display())]
    UnusableVolume {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There is no volume of that number.
    #[error("this job has no volume {number}")]
    UnknownVolume {
        /// The number.
        number: u32,
    },
    /// The memory budget is too small for one task.
    #[error("a memory budget of {budget_bytes} bytes is too small; at least {needed_bytes} are needed")]
    Memory {
        /// What was given.
        budget_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// A thread could not be started.
    #[error("cannot start a worker thread")]
    Thread(#[source] std::io::Error),
    /// A thread of the engine ended without a word: a bug.
    #[error("the engine stopped unexpectedly ({0})")]
    Engine(&'static str),
}

impl Error {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Scan(error) => error.hint().to_owned(),
            Self::Job(error) => return error.hint().map(str::to_owned),
            Self::EmptySource { .. } => {
                "check that the file system is mounted; an empty source is never taken for a deletion of everything"
                    .into()
            }
            Self::OtherSources { .. } => "give the same sources, or a new --job directory".into(),
            Self::NoRecipient => {
                "give --recipient, --recipients-file, --passphrase-file, --unlock-code-file or --kms-key".into()
            }
            Self::UnknownVolume { .. } => "packmule report --job DIR lists the volumes of a job".into(),
            Self::UnusableVolume { .. } => "give another directory or drive with --volume".into(),
            Self::Memory { needed_bytes, .. } => format!("give --memory {needed_bytes} or more"),
            Self::Volume(error) => return volume_hint(error),
            _ => return None,
        })
    }
}

fn volume_hint(error: &volume::Error) -> Option<String> {
    let text = match error {
        volume::Error::OtherJob { .. } => "use the volume's own job directory, or an empty drive",
        volume::Error::NewerThanJob { .. } => {
            "this job's database is older than the volume (a restored backup?); run `packmule recover` with the key, nothing was changed"
        }
        volume::Error::LostCommit { .. } => {
            "the drive lost data it had confirmed; do not trust it: the same command with --repair DRIVE, and another --volume in its place, stages again what it lost"
        }
        volume::Error::ReadBack { .. } => {
            "the drive does not hold what was written; replace it: the same command with --repair DRIVE, and another --volume in its place, stages again what it lost"
        }
        error if error.is_full() => "run the same command with a further --volume",
        volume::Error::Io { .. } => {
            "check the drive and its cable; the same command goes on where it stopped (a drive that is gone for good: --lost NUMBER)"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

impl From<crate::census::Error> for Error {
    fn from(error: crate::census::Error) -> Self {
        use crate::census::Error as Census;
        match error {
            Census::Job(error) => Self::Job(error),
            Census::EmptySource { path, known } => Self::EmptySource { path, known },
            Census::OtherSources { expected, found } => Self::OtherSources { expected, found },
            Census::Disorder(what) => Self::Engine(what),
        }
    }
}
