//! Erasing a volume once its content is proved to be elsewhere: keys first, then every byte, then a look, then a
//! certificate.
//!
//! Owns: when a volume may be erased, the order of destruction, the certificate. Does not own: proof of arrival (the
//! completion report has it), how a drive is spoken to below its file system (`sys::sanitize`). Invariants: nothing is touched before permission and the
//! inventory are on record; key slots go first, so that an interruption leaves ciphertext without keys; a file is removed
//! only after it was overwritten, synced and sampled past the cache; `VOLUME` goes last, so that the same command
//! again knows what it continues. Callers: `cli`.

mod certificate;
mod error;
mod page;
mod permission;
mod purge;
mod wipe;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::digest::Sha256;
use crate::format::{ReadBack, hex};
use crate::job::{self, Job, REPORT_DIR, VolumeRow, VolumeState, ensure_dir, replace_file};
use crate::sys::World;
use crate::volume::{self, PACKMULE, VOLUME, Volume};

pub use certificate::{Certificate, Inventory, check_certificate};
pub use error::{Error, PurgeError};
pub use permission::Proof;
pub use purge::{Purge, Wait, purge};

/// What the user asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Volume numbers typed out: these are erased without proof of arrival.
    pub abandon: Vec<u32>,
    /// Erase although the completion report lists entries that could not be staged.
    pub accept_problems: bool,
    /// Overwrite the free space of the volume's file system too.
    pub free_space: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is destroyed; the certificate is on file.
    Erased(Box<Certificate>, PathBuf),
    /// It was erased before.
    AlreadyErased(u32, Timestamp),
    /// What would be destroyed.
    WouldErase(u32, Inventory),
}

/// Hears how far it got. Unit of both: bytes.
pub trait Progress {
    /// `done` of `total` bytes are overwritten.
    fn overwritten(&mut self, done: u64, total: u64);
}

/// Progress that nobody hears.
impl Progress for () {
    fn overwritten(&mut self, _done: u64, _total: u64) {}
}

/// Erases the volume in `dir`. `proof` is what the completion report on file says. The same call again continues after an interruption.
///
/// # Errors
/// When it may not be erased, is of another job, the medium refuses, or does not give back what was written over it.
pub fn erase(
    job: &mut Job,
    world: &World,
    dir: &Path,
    proof: Option<&Proof>,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Outcome, Error> {
    let (row, root) = identify(job, world, dir)?;
    let number = row.volume.number;
    if let (VolumeState::Erased, Some(at)) = (row.state, row.erased) {
        return Ok(Outcome::AlreadyErased(number, at));
    }
    let proof = permission::ask(job, proof, number, options)?;
    let files = wipe::files(&*world.fs, &root)?;
    let begun = certificate::begun(job, number)?;
    let is_first = begun.is_none();
    let inventory = begun.unwrap_or_else(|| Inventory::of(&files, world.clock.now()));
    if options.dry_run {
        return Ok(Outcome::WouldErase(number, inventory));
    }
    if is_first {
        let detail = inventory.to_json()?;
        job.batch_durable(|batch| {
            batch.set_volume_path(number, dir)?;
            batch.append_event(world.clock.now(), certificate::BEGUN, Some(number), &detail)
        })?;
    }
    let wiped = wipe::all(world, &root, files, options.free_space, progress)?;
    finish(job, world, &row, &inventory, proof, options, &wiped)
}

/// Which volume of the job is in `dir`, and its `packmule` directory.
fn identify(job: &Job, world: &World, dir: &Path) -> Result<(VolumeRow, PathBuf), Error> {
    let volumes = job.volumes()?;
    match Volume::open(Arc::clone(&world.fs), dir) {
        Ok(volume) => {
            let header = volume.header();
            let known = volumes.into_iter().find(|row| row.volume.id == header.volume);
            match known.filter(|_| header.job == job.id()) {
                Some(row) => Ok((row, volume.root().to_owned())),
                None => Err(Error::OtherJob { path: dir.to_owned(), job: header.job, volume: header.volume }),
            }
        }
        Err(error @ (volume::Error::NotAVolume { .. } | volume::Error::Format { .. })) => {
            unfinished(job, world, dir, volumes)?.ok_or(Error::Volume(error))
        }
        Err(error) => Err(Error::Volume(error)),
    }
}

/// The volume whose erasure was all but finished in `dir`: `VOLUME` goes last, so nothing but what is left of it may be
/// there, and the job must have seen the erasure begin at that very place.
fn unfinished(
    job: &Job,
    world: &World,
    dir: &Path,
    volumes: Vec<VolumeRow>,
) -> Result<Option<(VolumeRow, PathBuf)>, Error> {
    let root = dir.join(PACKMULE);
    let left = wipe::files(&*world.fs, &root)?;
    if left.iter().any(|file| file.path != root.join(VOLUME)) {
        return Ok(None);
    }
    for row in volumes {
        let is_ending = row.state == VolumeState::Erased || certificate::begun(job, row.volume.number)?.is_some();
        if row.volume.path == dir && is_ending {
            return Ok(Some((row, root)));
        }
    }
    Ok(None)
}

/// ORDER: certificate on file, then the job says "erased": whoever reads that finds the certificate.
fn finish(
    job: &mut Job,
    world: &World,
    row: &VolumeRow,
    inventory: &Inventory,
    proof: Option<Sha256>,
    options: &Options,
    wiped: &wipe::Wiped,
) -> Result<Outcome, Error> {
    let number = row.volume.number;
    let key = job.signing_key().cloned();
    let mut certificate = Certificate {
        packmule_erasure: 1,
        level: certificate::LEVEL.to_owned(),
        job: job.id().to_string(),
        volume: number,
        volume_id: row.volume.id.to_string(),
        model: row.volume.model.clone(),
        serial: row.volume.serial.clone(),
        capacity_bytes: row.volume.capacity_bytes,
        completion_report_sha256: proof.map(|digest| hex(&digest)),
        begun: inventory.begun.clone(),
        ended: world.clock.now().to_string(),
        slots: inventory.slots,
        files: inventory.files,
        bytes: inventory.bytes,
        sampled_bytes: wiped.sampled_bytes,
        read_back: wiped.read_back.map_or("nothing was left to read back", ReadBack::word).to_owned(),
        free_space_bytes: options.free_space.then_some(wiped.free_space_bytes),
        program: format!("packmule {}", env!("CARGO_PKG_VERSION")),
        purge: None,
        signed_by: String::new(),
        key: String::new(),
        signature: String::new(),
    };
    if let Some(key) = key {
        certificate.sign(&key)?;
    }
    let text_path = write_forms(job, world, &certificate)?;
    let detail = certificate.to_json()?;
    let at = world.clock.now();
    job.batch_durable(|batch| {
        batch.erase_volume(number, at)?;
        batch.append_event(at, "erased", Some(number), &detail)
    })?;
    write_batch(job, world)?;
    Ok(Outcome::Erased(Box::new(certificate), text_path))
}

/// Puts a certificate on file in all its forms. Gives where the text is.
fn write_forms(job: &Job, world: &World, certificate: &Certificate) -> Result<PathBuf, Error> {
    let dir = job.dir().join(REPORT_DIR);
    ensure_dir(&*world.fs, &dir)?;
    let text_path = dir.join(format!("erased-volume-{}.txt", certificate.volume));
    let forms = [
        (text_path.clone(), certificate.to_text()),
        (text_path.with_extension("html"), page::certificate(certificate)),
        (text_path.with_extension("json"), certificate.to_json()?),
    ];
    for (path, text) in &forms {
        put(world, path, text)?;
    }
    Ok(text_path)
}

/// One page about all drives, each as its last certificate says.
fn write_batch(job: &Job, world: &World) -> Result<(), Error> {
    let mut all: BTreeMap<u32, Certificate> = BTreeMap::new();
    for event in job.events()?.iter().filter(|event| ["erased", "purged"].contains(&event.kind.as_str())) {
        if let Ok(certificate) = serde_json::from_str::<Certificate>(&event.detail) {
            all.insert(certificate.volume, certificate);
        }
    }
    let all: Vec<Certificate> = all.into_values().collect();
    put(world, &job.dir().join(REPORT_DIR).join("erased-drives.html"), &page::batch(&job.id().to_string(), &all))
}

fn put(world: &World, path: &Path, text: &str) -> Result<(), Error> {
    replace_file(&*world.fs, path, |out| {
        let failed = |source| job::Error::File { path: path.to_owned(), doing: "write", source };
        out.write_all(text.as_bytes()).map_err(failed)
    })?;
    Ok(())
}
