//! Purge in the sense of NIST SP 800-88: the whole drive erased by its own means, after its volumes were cleared.
//!
//! ORDER: what will be looked for afterwards is on record before it is written to the drive; only then the drive is told
//! to erase itself; the certificate is written when the drive has said that it is done and none of the marks is found.
//! The same call again goes on waiting for a drive that is still at it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::sha256;
use crate::erase::certificate::Certificate;
use crate::erase::error::PurgeError;
use crate::erase::{Error, certificate, write_forms};
use crate::job::{Job, VolumeState};
use crate::sys::World;
use crate::sys::sanitize::{Drive, Method, PIECE_BYTES, Progress};

/// Kind of the event that says a purge was begun; its detail is the [`Marks`].
const BEGUN: &str = "purge-begun";
/// Kind of the event that says it ended; its detail is the certificate.
const ENDED: &str = "purged";
/// Marks written and looked for.
const MARKS: u64 = 256;
/// Between two questions how far a drive is.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// A drive whose own word of its progress does not change for so long is given up, and what it did is unknown.
const STUCK_AFTER: Duration = Duration::from_secs(4 * 3600);

/// How a drive was purged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purge {
    /// How it erased itself.
    pub method: String,
    /// When it was begun.
    pub begun: String,
    /// When the drive said it was done.
    pub ended: String,
    /// Marks of 4096 random bytes written all over the drive before.
    pub marks: u64,
    /// Of them looked for afterwards and not found.
    pub gone: u64,
    /// Places of them that the drive refuses to read, as drives may that were purged.
    pub unreadable: u64,
}

/// What is written before and looked for afterwards, so that a later run can look too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Marks {
    begun: String,
    method: String,
    seed: String,
    places: Vec<u64>,
}

impl Marks {
    fn piece(&self, place: u64) -> Vec<u8> {
        let block = |at: u64| sha256(format!("{} {place} {at}", self.seed).as_bytes());
        (0..PIECE_BYTES as u64 / 32).flat_map(block).collect()
    }
}

/// Waits and hears how far the drive is.
pub trait Wait {
    /// Waits so long. `of_65536`: how far the drive says it is.
    fn wait(&mut self, time: Duration, of_65536: u16);
}

/// Purges the drive whose erased volumes the job knows by its serial number. Gives their certificates.
///
/// # Errors
/// When it is not a drive of erased volumes of this job, offers nothing, fails, or a mark is found afterwards.
pub fn purge(
    job: &mut Job,
    world: &World,
    drive: &mut dyn Drive,
    wait: &mut dyn Wait,
) -> Result<Vec<Certificate>, Error> {
    let volumes = erased_on(job, drive)?;
    let (marks, is_begun) = begin(job, world, drive, &volumes)?;
    let method = Method::of(&marks.method).ok_or(PurgeError::NoMethod)?;
    let is_running = is_begun && matches!(drive.progress(method), Ok(Progress::Running(_)));
    if !is_running {
        for place in &marks.places {
            drive.write(*place, &marks.piece(*place)).map_err(PurgeError::drive("write marks to"))?;
        }
        drive.start(method).map_err(PurgeError::drive("start the erasure of"))?;
    }
    follow(world, drive, method, wait)?;
    let purge = look(world, drive, &marks)?;
    record(job, world, &volumes, &purge)
}

/// Numbers of the volumes on that drive, all of them erased.
fn erased_on(job: &Job, drive: &dyn Drive) -> Result<Vec<u32>, Error> {
    let serial = drive.facts().serial.ok_or(PurgeError::NoSerial)?;
    let all = job.volumes()?;
    let here: Vec<_> = all.iter().filter(|row| row.volume.serial.as_ref() == Some(&serial)).collect();
    if here.is_empty() {
        return Err(PurgeError::OtherDrive { serial }.into());
    }
    if let Some(row) = here.iter().find(|row| row.state != VolumeState::Erased) {
        return Err(PurgeError::NotErased { volume: row.volume.number }.into());
    }
    Ok(here.iter().map(|row| row.volume.number).collect())
}

/// The marks on record of a purge that was begun, or new ones.
fn begin(job: &mut Job, world: &World, drive: &mut dyn Drive, volumes: &[u32]) -> Result<(Marks, bool), Error> {
    let events = job.events()?;
    let of_them = |volume: Option<u32>| volume.is_some_and(|number| volumes.contains(&number));
    // One that ended is over: a drive that is purged again gets marks, and a beginning in its certificate, of its own.
    let is_step = |kind: &str| kind == BEGUN || kind == ENDED;
    let last = events.iter().rev().find(|event| is_step(&event.kind) && of_them(event.volume));
    if let Some(marks) =
        last.filter(|event| event.kind == BEGUN).and_then(|event| serde_json::from_str(&event.detail).ok())
    {
        return Ok((marks, true));
    }
    let method = drive.methods().map_err(PurgeError::drive("ask"))?.into_iter().min().ok_or(PurgeError::NoMethod)?;
    let pieces = drive.size_bytes().map_err(PurgeError::drive("measure"))? / PIECE_BYTES as u64;
    let mut seed = [0; 16];
    world.random.fill(&mut seed);
    // Evenly over the drive, the first and the last piece among them.
    let step = (pieces.saturating_sub(1) / (MARKS - 1)).max(1);
    let last = pieces.saturating_sub(1);
    let places = (0..MARKS).map(|n| n * step).take_while(|piece| *piece < last).chain([last]);
    let now = world.clock.now();
    let marks = Marks {
        begun: now.to_string(),
        method: method.word().to_owned(),
        seed: crate::format::hex(&seed),
        places: places.map(|piece| piece * PIECE_BYTES as u64).collect(),
    };
    let detail = serde_json::to_string(&marks).map_err(Error::Certificate)?;
    job.batch_durable(|batch| {
        volumes.iter().try_for_each(|number| batch.append_event(now, BEGUN, Some(*number), &detail))
    })?;
    Ok((marks, false))
}

/// Asks until the drive says that it is done.
fn follow(world: &World, drive: &mut dyn Drive, method: Method, wait: &mut dyn Wait) -> Result<(), Error> {
    let (mut last, mut since) = (None, world.clock.now());
    loop {
        match drive.progress(method).map_err(PurgeError::drive("ask how far it is"))? {
            Progress::Done => return Ok(()),
            Progress::Failed(reason) => return Err(PurgeError::Failed { reason }.into()),
            Progress::Never => {
                let reason = "it was told to, and says that it never was".to_owned();
                return Err(PurgeError::Failed { reason }.into());
            }
            Progress::Running(now) => {
                if last != Some(now) {
                    (last, since) = (Some(now), world.clock.now());
                }
                if world.clock.now().duration_since(since).unsigned_abs() > STUCK_AFTER {
                    return Err(PurgeError::Stuck.into());
                }
                wait.wait(ASK_EVERY, now);
            }
        }
    }
}

/// Looks for the marks.
fn look(world: &World, drive: &mut dyn Drive, marks: &Marks) -> Result<Purge, Error> {
    let ended: Timestamp = world.clock.now();
    let (mut gone, mut unreadable) = (0, 0);
    for place in &marks.places {
        match drive.read(*place) {
            Ok(piece) if piece == marks.piece(*place) => return Err(PurgeError::StillThere { offset: *place }.into()),
            Ok(_) => gone += 1,
            Err(_) => unreadable += 1,
        }
    }
    let marks = Purge {
        method: marks.method.clone(),
        begun: marks.begun.clone(),
        ended: ended.to_string(),
        marks: marks.places.len() as u64,
        gone,
        unreadable,
    };
    if gone == 0 {
        return Err(PurgeError::Unreadable.into());
    }
    Ok(marks)
}

/// New certificates for the volumes of the drive.
fn record(job: &mut Job, world: &World, volumes: &[u32], purge: &Purge) -> Result<Vec<Certificate>, Error> {
    let events = job.events()?;
    let mut certificates = Vec::new();
    for number in volumes {
        let erased = events.iter().rev().find(|event| event.kind == "erased" && event.volume == Some(*number));
        let mut certificate: Certificate = match erased {
            Some(event) => serde_json::from_str(&event.detail).map_err(Error::Certificate)?,
            None => return Err(PurgeError::NotErased { volume: *number }.into()),
        };
        certificate.level = certificate::PURGED.to_owned();
        certificate.purge = Some(purge.clone());
        if let Some(key) = job.signing_key().cloned() {
            certificate.sign(&key)?;
        }
        write_forms(job, world, &certificate)?;
        let detail = certificate.to_json()?;
        job.batch_durable(|batch| batch.append_event(world.clock.now(), ENDED, Some(*number), &detail))?;
        certificates.push(certificate);
    }
    super::write_batch(job, world)?;
    Ok(certificates)
}
