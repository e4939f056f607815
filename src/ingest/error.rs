//! What ends an ingest before its time.

use crate::ingest::remote::RemoteError;
use crate::{job, volume};

/// Why nothing more can be done in this run. Everything that arrived until then is on record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The job database failed.
    #[error("the job cannot go on")]
    Job(#[from] job::Error),
    /// The source and the job do not go together.
    #[error("the source cannot be sent")]
    Source(#[from] crate::census::Error),
    /// A volume cannot be read at all.
    #[error("a volume cannot be used")]
    Volume(#[from] volume::Error),
    /// The other end refused, or cannot be reached.
    #[error("{target} cannot be written")]
    Remote {
        /// Bucket and prefix.
        target: String,
        /// Why.
        #[source]
        source: RemoteError,
    },
    /// The other end does not let us look, or cannot be reached.
    #[error("{target} cannot be read")]
    Unread {
        /// Bucket and prefix.
        target: String,
        /// Why.
        #[source]
        source: Box<RemoteError>,
    },
    /// The job was begun with another destination.
    #[error("this job goes to {recorded}, not to {asked}")]
    OtherDestination {
        /// What the job knows.
        recorded: String,
        /// What was asked for.
        asked: String,
    },
    /// What the job remembers of the server is not readable.
    #[error("what the job remembers of the server is not valid")]
    Remembered(#[source] serde_json::Error),
    /// The threads that send could not be started.
    #[error("cannot start the threads that send")]
    Runtime(#[source] std::io::Error),
    /// The list of names cannot be written.
    #[error("the list of names cannot be written")]
    List(#[source] csv::Error),
    /// The job has sent nothing yet.
    #[error("the job has no destination: nothing was sent yet")]
    NothingSent,
    /// An inventory or report cannot be read.
    #[error("{} cannot be read", path.display())]
    Report {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The user stopped it.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Job(error) => error.hint(),
            Self::Source(error) => error.hint(),
            Self::Remote { source, .. } => source.hint(),
            Self::Unread { source, .. } => source.hint(),
            Self::OtherDestination { .. } => Some("one job has one destination; give the same --to"),
            Self::NothingSent => Some("packmule ingest or packmule send comes first"),
            Self::Stopped => Some("the same command resumes"),
            _ => None,
        }
    }
}
