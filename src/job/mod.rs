//! The job directory: one SQLite database with the inventory, the ledger, where every byte lies, uploads and custody.
//!
//! Owns: the schema of `job.db` and every statement run on it; the lock that keeps a second process out. Does not own:
//! walking, packs, S3: it is told what happened, by whoever did it. Invariants: each path seen is in exactly one state
//! and the ledger's sums equal a recount; an entry is staged only when every extent of its generation is committed;
//! ids name one path for ever; what [`Job::record_commit`] and the upload calls return from is durable; nothing here holds
//! more than a bounded number of rows in memory. Callers: the verbs and `report`. One thread owns a [`Job`].
//!
//! Durability: bulk work (the walk, confirmations) runs under `synchronous=NORMAL`: a power cut may lose the latest
//! transactions, never mix them up, and the next run sees the same paths again. Where something outside depends on the
//! database (a commit on a volume, an upload id) the transaction runs under `synchronous=FULL`. The write-ahead log is
//! one sequence, so a durable transaction makes all before it durable.

mod ahead;
mod batch;
mod commit;
mod convert;
mod custody;
mod entry;
mod error;
mod export;
mod extents;
mod files;
mod forget;
mod import;
mod inventory;
mod journal;
mod ledger;
mod line;
mod listing;
mod objects;
mod open;
mod paths;
mod rare;
mod rows;
mod schema;
mod signing;
mod volumes;
mod work;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::crypto::{PublicKey, SigningKey};
use crate::format::JobId;

pub use ahead::Ended;
pub use batch::Batch;
pub use commit::{Committed, PackState};
pub use convert::{job_pack, pack_close, volume_pack};
pub use custody::{Endpoint, Event};
pub use entry::{Facts, Inode, Known, KnownProblem, Placed, Read, State, Stored, Work};
pub use error::Error;
pub use files::{Replacing, WrittenFile, ensure_dir, replace_file};
pub use forget::Due;
pub use journal::{Effort, Journal, Notable};
pub use ledger::{Count, Excluded, Ledger};
pub use line::LINE;
pub use listing::{Arrivals, Listed};
pub use objects::{Evidence, Object, ObjectState, Part};
pub use open::{NewJob, Source, SourceRoot};
pub use signing::SIGNING_KEY;
pub use volumes::{NewVolume, PackClose, PackRow, Run, Sealing, VolumeRow, VolumeState};
pub use work::ResumePoint;

/// Directory of reports and certificates in the job directory.
pub const REPORT_DIR: &str = "report";

/// Setting: lowest number of a new volume, in a job that may not know of all its volumes.
pub const VOLUME_NUMBERS_FROM: &str = "volume-numbers-from";

/// An open job.
#[derive(Debug)]
pub struct Job {
    db: Connection,
    dir: PathBuf,
    id: JobId,
    salt: [u8; 32],
    created: Timestamp,
    /// Signs for the job; `None` when it is open for reading only.
    signer: Option<Arc<SigningKey>>,
    public_key: Option<PublicKey>,
    caches: Caches,
    /// Held, not used: SQLite's lock on it ends with the process, however that ends.
    _lock: Option<Connection>,
}

/// What saves a query per entry; never more than a bounded number of rows.
#[derive(Debug, Default)]
struct Caches {
    paths: RefCell<paths::Cache>,
    owners: RefCell<rows::OwnerCache>,
    /// What was last set; nothing at first, so that it is set once.
    synchronous: Cell<&'static str>,
}

impl Job {
    /// The job's identity.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Salt of the passphrase and unlock-code derivations.
    pub fn salt(&self) -> [u8; 32] {
        self.salt
    }

    /// When the job was made.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// The job directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}
