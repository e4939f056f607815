//! An S3 server in this process, on loopback, for `demo` and for tests.
//!
//! Owns: a directory that behaves like a small S3 region (buckets, objects, unfinished uploads), the HTTP front and the
//! thread it runs on. Protocol, signatures and XML come from the `s3s` crate; everything behind them is here.
//!
//! Does not own: any client. Nothing here knows jobs, volumes or packs.
//!
//! Invariants: every checksum a client gives is compared with the bytes that arrived, and a wrong one stores nothing;
//! an object appears whole or not at all; what was answered with success is still there after the process was killed
//! (not after a power cut: bodies are not synced, this is no place for the only copy of anything); a body of any size
//! needs a constant amount of memory; only 127.0.0.1 is listened on.
//!
//! Called by `cli` (for `demo`) and by tests. Tests may also make it lie: see [`FaultPlan`] and [`Quirks`].

mod attributes;
mod backend;
mod body;
mod bucket;
mod fault;
mod gate;
mod listing;
mod object;
mod read;
mod server;
mod store;
mod sums;
mod upload;

pub use self::fault::{Fault, FaultPlan, Operation, Quirks};
pub use self::server::{Credentials, HOST_NAME, Options, Server};

use std::path::PathBuf;

/// Why the embedded server could not start or could not do what its owner asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation under the server's directory failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The index refused.
    #[error("cannot {operation} in the object index")]
    Index {
        /// What was attempted.
        operation: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The loopback address could not be listened on.
    #[error("cannot listen on 127.0.0.1 port {port}")]
    Listen {
        /// The port asked for; 0 means any.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// A bucket name that S3 does not allow.
    #[error("{name:?} is not a bucket name")]
    BucketName {
        /// The name as given.
        name: String,
    },
}
