//! Into S3: what the volumes hold becomes objects, and the server itself confirms them against what was read at the
//! source.
//!
//! Owns: everything that speaks to an object store, and the order of work of an ingest. Does not own: the volume format,
//! the job database, reports. Invariants: no object counts as arrived before the server compared a checksum taken at the
//! source, or its bytes were read back; nothing that is finished is sent again; an object that is there already is never
//! replaced unless asked; the name of an upload is durable before its first part is sent. The only verb with asynchronous
//! code inside; what it offers to `cli` blocks.

mod bundle;
mod catalog;
mod contents;
mod direct;
mod error;
mod flow;
mod hours;
mod line;
#[cfg(feature = "notify")]
pub mod notify;
mod reach;
mod reconcile;
mod record;
pub mod remote;
mod room;
mod run;
mod send;
mod session;
mod slot;
mod source;
mod survey;
mod tasks;
mod wanted;

use std::sync::Mutex;

use jiff::Timestamp;

pub use crate::ingest::contents::{InBucket, Vouched, bucket_contents};
pub use crate::ingest::direct::{Sources, open_job, send};
pub use crate::ingest::error::Error;
pub use crate::ingest::hours::{Window, WindowError};
pub use crate::ingest::line::{Line, Sent, measure_line};
pub use crate::ingest::reach::reach;
pub use crate::ingest::reconcile::{By, Group, Reconciled, reconcile};
pub use crate::ingest::record::{Failure, Tally};
use crate::ingest::remote::Target;
use crate::ingest::remote::probe::Endpoint;
use crate::ingest::remote::retry::Patience;
use crate::ingest::remote::{Method, OpenUpload};
use crate::ingest::run::Run;
use crate::ingest::session::Session;
pub use crate::ingest::source::{Finding, Medium};
pub use crate::ingest::survey::{NameTrouble, Names, Survey, survey};
pub use crate::ingest::wanted::Replace;
use crate::job::{Job, Journal};
use crate::scan::Selection;
use crate::sys::World;
use crate::sys::process::StopFlag;

/// How to ingest.
#[derive(Debug, Clone)]
pub struct Options {
    /// Put in front of every key.
    pub prefix: String,
    /// What becomes of objects that are there and differ.
    pub replace: Replace,
    /// Entries that are left out of this run: those the rules cover.
    pub selection: Selection,
    /// Size of the archives that small files are packed into; `None`: each is an object of its own. Unit: bytes.
    pub bundle_bytes: Option<u64>,
    /// Whether uploads under the prefix that belong to nothing are aborted in the end.
    pub abort_orphans: bool,
    /// Most requests at a time.
    pub requests_max: usize,
    /// Memory for bodies. Unit: bytes.
    pub memory_bytes: u64,
    /// Insist on a method instead of the strongest that works.
    pub method: Option<Method>,
    /// Whether the server is asked again what it does, although that is on record.
    pub ask_again: bool,
    /// Hours in which sending is allowed.
    pub window: Option<Window>,
    /// End of a booked slot.
    pub until: Option<Timestamp>,
    /// What the line is believed to carry until it shows. Unit: bytes per second.
    pub expected_rate: Option<f64>,
    /// How long a failing request is repeated.
    pub patience: Patience,
    /// Asks for a stop.
    pub stop: StopFlag,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            replace: Replace::Never,
            selection: Selection::everything(),
            bundle_bytes: None,
            abort_orphans: false,
            requests_max: 64,
            memory_bytes: 512 << 20,
            method: None,
            ask_again: false,
            window: None,
            until: None,
            expected_rate: None,
            patience: Patience::default(),
            stop: StopFlag::new(),
        }
    }
}

/// Hears how far it is; called from several threads.
pub trait Monitor: Sync {
    /// What the server was found to do.
    fn endpoint(&self, endpoint: &Endpoint);
    /// Plain bytes were read from volumes, or at the source. Unit: bytes.
    fn read(&self, bytes: u64);
    /// Objects reached their end; `bytes` are those of the objects that are there now. Unit: bytes.
    fn objects(&self, objects: u64, bytes: u64);
    /// A part of a larger object is there. Unit: bytes.
    fn part(&self, bytes: u64);
    /// An object failed.
    fn failed(&self) {}
    /// There is more to send than was known. Unit: bytes.
    fn found(&self, _entries: u64, _bytes: u64) {}
    /// Everything there is to send is known.
    fn walked(&self) {}
    /// Nothing is sent for so long, because the allowed hours are over.
    fn closed(&self, _for_now: std::time::Duration) {}
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn endpoint(&self, _endpoint: &Endpoint) {}
    fn read(&self, _bytes: u64) {}
    fn objects(&self, _objects: u64, _bytes: u64) {}
    fn part(&self, _bytes: u64) {}
}

/// An upload that nobody will complete, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The upload.
    pub upload: OpenUpload,
    /// Bytes of its parts, which are paid for every month; `None` when the server does not tell.
    pub bytes: Option<u64>,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the server was found to do.
    pub endpoint: Endpoint,
    /// Counts of this run.
    pub tally: Tally,
    /// What was damaged on the volumes.
    pub findings: Vec<Finding>,
    /// Entries that are on volumes and not in the bucket yet, those left out by rules not counted.
    pub left: u64,
    /// Entries without an object that rules left out of this run.
    pub left_out: u64,
    /// Entries that did not fit into the slot, and their bytes.
    pub deferred: (u64, u64),
    /// Volumes of the job that were not given and may hold what is left.
    pub volumes_needed: Vec<u32>,
    /// Uploads under the prefix that belong to nothing in this job. Asked when nothing is left.
    pub orphans: Vec<Orphan>,
    /// Uploads that were aborted because that was asked for.
    pub aborted: u64,
    /// How it went.
    pub journal: Journal,
}

/// Sends everything that is on `media` and not in the bucket yet. The same call again resumes.
///
/// # Errors
/// When the run cannot go on: see [`Error`]. What arrived until then is on record.
pub fn ingest(
    job: &mut Job,
    media: &[Medium],
    target: Target,
    options: &Options,
    world: &World,
    monitor: &dyn Monitor,
) -> Result<Outcome, Error> {
    let session = Session::open(job, target, options, world)?;
    monitor.endpoint(&session.endpoint);
    let record = session.begin(job, "ingest", world)?;
    let result = {
        let run = Run::new(Mutex::new(job), options, world, monitor, &session, "ingest");
        run.volumes(media)
    };
    let outcome = session.end(job, record, result, world, |job, ran| {
        let (left, left_out) = session::left(job, options)?;
        let at_hand: Vec<u32> = media.iter().map(|medium| medium.volume.header().number).collect();
        session.outcome(job, ran, left, left_out, &at_hand, options)
    });
    session.close();
    outcome
}
