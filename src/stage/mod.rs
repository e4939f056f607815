//! `stage`: from the source onto volumes, compressed, encrypted, checksummed, manifested; again is resume.
//!
//! Owns: the engine of a run and its rules. Does not own: bytes on a volume (`volume`), the inventory (`job`), the terminal
//! (`cli`). Invariants: the source is never written; what is called staged is committed on a volume and in the database;
//! each path seen is in one state of the ledger; one bad file never ends a run.

mod compare;
mod convert;
mod dry;
mod engine;
mod error;
mod extent;
mod gauge;
mod item;
mod lane;
mod lanes;
mod large;
mod monitor;
mod moving;
mod open_pack;
mod pace;
mod rack;
mod reader;
mod readers;
mod readme;
mod repair;
mod round;
mod seal;
mod shelf;
mod small;
mod squeeze;
mod swap;
mod units;
mod worker;
mod wrap;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::census;
use crate::crypto::{
    KeyService, Recipients, SlotRecipient, UnlockCode, identity_from_passphrase, identity_from_unlock_code,
};
use crate::format::{FRAME_PLAIN_BYTES_DEFAULT, JobId, PACK_BYTES_DEFAULT};
use crate::job::{Count, Job, Ledger};
use crate::scan::{FileList, Root, Selection};
use crate::sys::World;
use crate::sys::process::{self, StopFlag};
use crate::volume::SealReport;

pub use dry::{Fill, FillMap, dry_run};
pub use error::Error;
pub use gauge::Bottleneck;
pub use monitor::{Monitor, Silent, VolumeEvent};
pub use moving::{Moving, OnChange};
pub use rack::{NextVolume, Wanted};
pub use shelf::Place;
pub use squeeze::Compression;

/// Memory a run may use for buffers unless asked otherwise. Unit: bytes.
pub const MEMORY_DEFAULT_BYTES: u64 = 512 << 20;

/// Changed files looked at at once.
const CHANGED_AT_ONCE: usize = 4096;

/// What to stage, where to, and how.
pub struct Options {
    /// Sources, as the user gave them.
    pub sources: Vec<PathBuf>,
    /// Where volumes are.
    pub volumes: Vec<Place>,
    /// Whether they are filled one after another, in this order, instead of all at once.
    pub one_by_one: bool,
    /// Asked for a further volume when all are full. Without it the run ends then.
    pub next_volume: Option<NextVolume>,
    /// The job directory.
    pub job: PathBuf,
    /// age recipients, added to the job's.
    pub recipients: Vec<String>,
    /// A passphrase whose identity becomes a recipient.
    pub passphrase: Option<Zeroizing<Vec<u8>>>,
    /// An unlock code whose identity becomes a recipient.
    pub unlock_code: Option<UnlockCode>,
    /// Memory for buffers. Unit: bytes.
    pub memory_bytes: u64,
    /// Threads that compress and seal.
    pub threads: usize,
    /// Files read at once; `None`: as many as suit what the sources are on.
    pub readers: Option<usize>,
    /// How content is compressed.
    pub compression: Compression,
    /// Largest pack. Unit: bytes.
    pub pack_bytes_max: u64,
    /// Plain bytes of a full frame.
    pub frame_bytes: u32,
    /// Which names are taken.
    pub selection: Selection,
    /// Whether to stay on the file system of each source.
    pub one_file_system: bool,
    /// Whether links are followed instead of kept.
    pub follow_links: bool,
    /// What to take of the only source; `None`: everything.
    pub list: Option<Arc<FileList>>,
    /// Whether files that look unchanged are read and compared with what was staged.
    pub by_content: bool,
    /// What is done with files that change while they are read.
    pub moving: Moving,
    /// Ceiling on reading at the source. Unit: bytes per second.
    pub read_rate_max: Option<u64>,
    /// Whether fifos, sockets and devices are recorded instead of listed as skipped.
    pub special_files: bool,
    /// Whether volumes are sealed when all is staged.
    pub seals: bool,
    /// Whom to call about a drive, for its `README.txt` and label; the job keeps it.
    pub contact: Option<String>,
    /// Keys of the key service that slots are wrapped for; the job keeps them.
    pub kms_keys: Vec<String>,
    /// The key service.
    pub key_service: Option<Arc<dyn KeyService>>,
    /// Whether volumes carry this program and the documents of the format.
    pub self_carrying: bool,
    /// Volumes that lost something: what that costs is staged again, onto others.
    pub repair: Vec<PathBuf>,
    /// Numbers of volumes that are gone: everything on them is staged again, onto others.
    pub lost: Vec<u32>,
    /// Set by the user to stop.
    pub stop: StopFlag,
}

impl Options {
    /// Defaults for everything but what and where.
    pub fn new(sources: Vec<PathBuf>, volumes: Vec<Place>, job: PathBuf) -> Self {
        Self {
            sources,
            volumes,
            one_by_one: false,
            next_volume: None,
            job,
            recipients: Vec::new(),
            passphrase: None,
            unlock_code: None,
            memory_bytes: MEMORY_DEFAULT_BYTES,
            threads: process::parallelism(),
            readers: None,
            compression: Compression::Auto,
            pack_bytes_max: PACK_BYTES_DEFAULT,
            frame_bytes: FRAME_PLAIN_BYTES_DEFAULT,
            selection: Selection::everything(),
            one_file_system: false,
            follow_links: false,
            list: None,
            by_content: false,
            moving: Moving::default(),
            read_rate_max: None,
            special_files: true,
            seals: true,
            contact: None,
            kms_keys: Vec::new(),
            key_service: None,
            self_carrying: false,
            repair: Vec::new(),
            lost: Vec::new(),
            stop: StopFlag::new(),
        }
    }
}

/// A volume that did not give back what was written.
#[derive(Debug)]
pub struct Liar {
    /// Its number.
    pub number: u32,
    /// Where it is mounted.
    pub root: PathBuf,
    /// What was read.
    pub error: crate::volume::Error,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The job.
    pub job: JobId,
    /// Where every path stands.
    pub ledger: Ledger,
    /// Volumes sealed in this run.
    pub sealed: Vec<(u32, SealReport)>,
    /// Whether everything seen is on volumes, on record as a problem, or excluded.
    pub is_complete: bool,
    /// Whether a further volume is needed, and for how much. Unit: bytes.
    pub needs_volume: Option<Count>,
    /// Whether the user stopped it.
    pub is_stopped: bool,
    /// Volumes that failed, and why.
    pub failed: Vec<(u32, crate::volume::Error)>,
    /// Volumes that did not give back what was written; what they lost is staged again, or pending.
    pub lied: Vec<Liar>,
    /// Files on volumes that changed while they were read, and for which the rules of this run say that this is as expected.
    pub accepted: u64,
    /// Problems met in this run, those of paths without an entry among them.
    pub problems: u64,
}

/// Stages. The same call again goes on where this one stopped.
///
/// THE RULE FOR A DRIVE THAT LIED: a volume whose read-back gives anything else than was written is not sealed and takes
/// nothing more. What it lost is known from the job database frame by frame, so exactly that is pending again, and a
/// further round of the same engine puts it onto other volumes, before those are sealed. A round ends the run when no
/// volume lied in it; a volume lies once only, so there are at most as many rounds as volumes, and one.
///
/// # Errors
/// When the run cannot go on at all; trouble with single entries is in the ledger.
pub fn stage(options: Options, world: &World, monitor: Arc<dyn Monitor>) -> Result<Outcome, Error> {
    let roots = Root::resolve_all(&options.sources)?;
    let mut job = open_job(&options, &roots, world)?;
    repair::give_up(&mut job, world, &options.lost, &*monitor)?;
    repair::take_back(&mut job, world, &options.repair, &*monitor)?;
    let (mut sealed, mut failed, mut lied) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let mut outcome = round::round(&options, &mut job, world, &roots, &monitor)?;
        sealed.append(&mut outcome.sealed);
        failed.append(&mut outcome.failed);
        let new = std::mem::take(&mut outcome.lied);
        if new.is_empty() || options.stop.is_set() {
            lied.extend(new);
            return Ok(Outcome { sealed, failed, lied, ..outcome });
        }
        for liar in new {
            let places = repair::take_back(&mut job, world, std::slice::from_ref(&liar.root), &*monitor)?;
            if places == 0 {
                // Its packs read well now, so nothing can be said to be lost; and it is not trusted with a seal unasked.
                return Err(liar.error.into());
            }
            lied.push(liar);
        }
    }
}

/// Changed files that the rules accept.
fn accepted(job: &Job, moving: &Moving) -> Result<u64, Error> {
    let (mut after, mut count) = (0, 0);
    loop {
        let some = job.changed(after, CHANGED_AT_ONCE)?;
        let Some(last) = some.last() else { return Ok(count) };
        after = last.entry.id;
        count += some.iter().filter(|work| moving.of(&work.path) == OnChange::Accept).count() as u64;
    }
}

/// Opens the job, or makes it on the first run; adds what recipients are new.
fn open_job(options: &Options, roots: &[Root], world: &World) -> Result<Job, Error> {
    let mut job = census::open_job(&options.job, roots, world)?;
    let mut recipients: Vec<SlotRecipient> = options.recipients.iter().map(|text| SlotRecipient::of(text)).collect();
    let mut add = |kind: &str, text: String| recipients.push(SlotRecipient { kind: kind.to_owned(), text });
    if let Some(passphrase) = &options.passphrase {
        add("passphrase", identity_from_passphrase(passphrase, &job.salt())?.recipient);
    }
    if let Some(code) = &options.unlock_code {
        add("unlock-code", identity_from_unlock_code(code, &job.salt())?.recipient);
    }
    Recipients::of(&recipients)?; // before any of them is kept
    if !options.kms_keys.is_empty() {
        let mut keys = job.kms_keys()?;
        keys.extend(options.kms_keys.iter().filter(|key| !keys.contains(key)).cloned().collect::<Vec<_>>());
        job.batch_durable(|tx| tx.set_kms_keys(&keys))?;
    }
    if let Some(contact) = &options.contact {
        job.batch_durable(|tx| tx.set_setting("contact", contact))?;
    }
    job.batch_durable(|tx| recipients.iter().try_for_each(|recipient| tx.add_recipient_as(recipient)))?;
    Ok(job)
}
