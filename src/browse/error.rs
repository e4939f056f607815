//! What can go wrong while one looks into volumes.

use std::path::PathBuf;

use crate::{job, scan, volume};

/// Why something cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A volume cannot be read.
    #[error("a volume cannot be read")]
    Volume(#[from] volume::Error),
    /// A job database cannot be read.
    #[error("the job cannot be read")]
    Job(#[from] job::Error),
    /// The source cannot be looked at.
    #[error("the source cannot be compared")]
    Source(#[from] scan::Error),
    /// The temporary index failed.
    #[error("cannot {doing} in the temporary index; is there room for temporary files?")]
    Index {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
    /// A source file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Some bytes are not on the volumes at hand.
    #[error("bytes {from} to {to} of the file are not on the volumes given")]
    NotHere {
        /// First byte.
        from: u64,
        /// Byte after the last.
        to: u64,
    },
    /// The whole is not what was read at the source.
    #[error("{path} is not what was read at the source: its {what} differs")]
    Digest {
        /// Which entry, escaped.
        path: String,
        /// Which digest.
        what: &'static str,
    },
    /// The system does not let us mount.
    #[error("cannot mount at {}", path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The other side of a comparison cannot be read.
    #[error("the other side cannot be read")]
    Elsewhere(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Wherever it was to go did not take it.
    #[error("cannot write the output")]
    Output(#[source] std::io::Error),
}
