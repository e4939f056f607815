//! `recover`: the job database rebuilt from what volumes hold.
//!
//! Owns: the rule that of a volume that is given, only the volume is believed. Does not own: reading packs (`volume`), the
//! statements (`job`). Invariants: lost, older or newer, the database ends in the truth that the given volumes tell, and keeps
//! what only it can know: sources, recipients, uploads, custody, volumes that were not given. Everything happens in one
//! transaction, or nothing does; no volume is written.

mod error;
mod read;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::job::{Job, Ledger, NewJob, NewVolume, Sealing, VOLUME_NUMBERS_FROM, VolumeRow, VolumeState};
use crate::monitor::Monitor;
use crate::sys::{World, device};
use crate::volume::{Keyring, Volume, read_custody};

pub use error::Error;
pub use read::{Lost, Told};

/// New volumes of a job that was rebuilt without a database get numbers after the next multiple of this, so that none has
/// the number of a volume nobody brought.
const NUMBERS_STEP: u32 = 100;

/// A volume to be read.
#[derive(Debug, Clone)]
pub struct Given {
    /// The volume.
    pub volume: Volume,
    /// Where the user says it is.
    pub dir: PathBuf,
}

/// How to rebuild.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The job directory; made if it is not there.
    pub job: PathBuf,
    /// age recipients for a job that has none yet, so that the same `stage` command goes on.
    pub recipients: Vec<String>,
    /// Put a database that is there aside instead of believing anything it says.
    pub afresh: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The job, in hexadecimal.
    pub job: String,
    /// Whether there was no database to go on from.
    pub is_new: bool,
    /// Where a database that was there is now.
    pub put_aside: Option<PathBuf>,
    /// What each volume told, in the order given.
    pub volumes: Vec<Told>,
    /// Numbers of volumes below the highest that neither were given nor are known.
    pub unknown: Vec<u32>,
    /// Numbers of volumes that were not given, of which the database is still believed.
    pub believed: Vec<u32>,
    /// Where every path stands now.
    pub ledger: Ledger,
}

/// Rebuilds.
///
/// # Errors
/// When the volumes or the database do not allow it; then the database is as it was.
pub fn recover(
    given: &[Given],
    keyring: &Keyring,
    options: &Options,
    world: &World,
    monitor: &dyn Monitor,
) -> Result<Outcome, Error> {
    check(given)?;
    let put_aside = if options.afresh { Job::put_aside(&*world.fs, &options.job)? } else { None };
    let (mut job, is_new) = open(given, options, world)?;
    let known = job.volumes()?;
    check_known(given, &known)?;
    let now = world.clock.now();
    let volumes = job.batch_durable(|tx| -> Result<Vec<Told>, Error> {
        let highest = tx.highest_id()?;
        // ORDER: everything is taken back before anything is put in. A file whose parts lie on several volumes would
        // otherwise meet what the database wrongly says of the next one.
        for one in given {
            tx.forget_volume(one.volume.header().number)?;
        }
        let mut told = Vec::new();
        for one in given {
            let number = one.volume.header().number;
            if !known.iter().any(|row| row.volume.number == number) {
                tx.add_volume(&new_volume(one, world)?)?;
            }
            let said = read::take(tx, one, keyring, monitor)?;
            tx.set_volume_path(number, &one.dir)?;
            tx.set_volume_state(number, if said.takes_more() { VolumeState::Open } else { VolumeState::Damaged })?;
            if let Some(sealed) = &said.sealed {
                let sealing = Sealing {
                    at: sealed.sealed_at.parse().unwrap_or(now),
                    read_back: sealed.read_back.word().to_owned(),
                    file_bytes: sealed.bytes,
                    sums_sha256: sealed.sums_sha256,
                };
                tx.seal_volume(number, &sealing)?;
            }
            match read_custody(&one.volume) {
                Ok(log) => match tx.take_custody(&log) {
                    Err(error @ crate::job::Error::Corrupt { .. }) => {
                        tracing::warn!(volume = number, %error, "the rest of its custody log is not taken over");
                    }
                    other => drop(other?),
                },
                Err(error) => tracing::warn!(volume = number, %error, "its custody log is not taken over"),
            }
            tx.append_event(now, "recovered", Some(number), &said.summary())?;
            told.push(said);
        }
        tx.finish_import()?;
        read::name_lost(tx, &mut told)?;
        if is_new || tx.highest_id()? > highest {
            tx.skip_ids()?;
        }
        if is_new {
            let highest = given.iter().map(|one| one.volume.header().number).max().unwrap_or(0);
            let from = (highest / NUMBERS_STEP).saturating_add(1).saturating_mul(NUMBERS_STEP).saturating_add(1);
            tx.set_setting(VOLUME_NUMBERS_FROM, &from.to_string())?;
        }
        Ok(told)
    })?;
    let here: BTreeSet<u32> = volumes.iter().map(|told| told.number).collect();
    let known: BTreeSet<u32> = known.iter().map(|row| row.volume.number).collect();
    let highest = here.iter().chain(&known).max().copied().unwrap_or(0);
    let unknown = (1..=highest).filter(|number| !here.contains(number) && !known.contains(number));
    Ok(Outcome {
        job: job.id().to_string(),
        is_new,
        put_aside,
        unknown: unknown.take(1000).collect(),
        believed: known.difference(&here).copied().collect(),
        volumes,
        ledger: job.ledger()?,
    })
}

/// Whether the job's own rows allow it.
fn check_known(given: &[Given], known: &[VolumeRow]) -> Result<(), Error> {
    for one in given {
        let header = one.volume.header();
        let row = known.iter().find(|row| row.volume.number == header.number || row.volume.id == header.volume);
        match row {
            Some(row) if row.volume.id != header.volume || row.volume.number != header.number => {
                return Err(Error::OtherVolume { path: one.dir.clone(), number: header.number });
            }
            Some(row) if row.state == VolumeState::Erased => {
                return Err(Error::Erased { path: one.dir.clone(), number: header.number });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether volumes can be rebuilt from together: of one job, each once.
///
/// # Errors
/// Says which do not go together.
pub fn check(given: &[Given]) -> Result<(), Error> {
    let first = given.first().ok_or(Error::NoVolume)?;
    let expected = first.volume.header().job;
    for (at, one) in given.iter().enumerate() {
        let header = one.volume.header();
        if header.job != expected {
            return Err(Error::OtherJob { path: one.dir.clone(), expected, found: header.job });
        }
        let same = |other: &&Given| {
            let other = other.volume.header();
            other.number == header.number || other.volume == header.volume
        };
        if let Some(other) = given[..at].iter().find(same) {
            return Err(Error::Twice { first: other.dir.clone(), second: one.dir.clone(), number: header.number });
        }
    }
    Ok(())
}

/// The job that is there, or a new one with the identity the volumes carry.
fn open(given: &[Given], options: &Options, world: &World) -> Result<(Job, bool), Error> {
    let header = given.first().ok_or(Error::NoVolume)?.volume.header();
    match Job::open(&options.job) {
        Ok(job) if job.id() == header.job => Ok((job, false)),
        Ok(job) => Err(Error::OtherJob { path: given[0].dir.clone(), expected: job.id(), found: header.job }),
        Err(crate::job::Error::Missing { .. }) => {
            let new = NewJob {
                id: header.job,
                salt: header.job_salt,
                created: created(given, world),
                sources: Vec::new(),
                recipients: options.recipients.clone(),
                settings: Vec::new(),
            };
            Ok((Job::create(&*world.fs, &options.job, &new)?, true))
        }
        Err(error) => Err(error.into()),
    }
}

fn created(given: &[Given], world: &World) -> jiff::Timestamp {
    let earliest = given.iter().map(|one| one.volume.header().created_ns).min().unwrap_or(0);
    jiff::Timestamp::from_nanosecond(earliest.into()).unwrap_or_else(|_| world.clock.now())
}

fn new_volume(one: &Given, world: &World) -> Result<NewVolume, Error> {
    let header = one.volume.header();
    let facts = device::facts(&one.dir);
    Ok(NewVolume {
        number: header.number,
        id: header.volume,
        path: one.dir.clone(),
        capacity_bytes: space(world, &one.dir),
        created: jiff::Timestamp::from_nanosecond(header.created_ns.into()).unwrap_or_else(|_| world.clock.now()),
        model: facts.model,
        serial: facts.serial,
    })
}

/// Size of the file system, as far as it tells.
fn space(world: &World, dir: &Path) -> u64 {
    world.fs.space(dir).map_or(0, |space| space.total_bytes.min(i64::MAX.cast_unsigned()))
}
