//! The end of a volume: its manifest from the job database, then the read-back and `SEALED`.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::crypto::{RunKey, SigningKey};
use crate::format::record::Record;
use crate::job::Job;
use crate::stage::convert::volume_pack;
use crate::stage::monitor::{Monitor, VolumeEvent};
use crate::stage::shelf::record_seal;
use crate::stage::{Error, Liar, engine};
use crate::sys::process::{self, StopFlag};
use crate::sys::{World, device};
use crate::volume::{self, ManifestWriter, SealBy, SealReport, Volume, read_custody, seal, write_custody};

/// Files of one volume read back at a time, where the drive does not spin.
const READERS_MAX: usize = 4;

/// What became of volumes that were to be sealed.
#[derive(Debug, Default)]
pub(super) struct Seals {
    /// Sealed ones.
    pub(super) done: Vec<(u32, SealReport)>,
    /// Those that did not give back what was written.
    pub(super) lied: Vec<Liar>,
    /// Why another could not be sealed.
    pub(super) failure: Option<Error>,
}

impl Seals {
    /// Keeps and tells how the sealing of one volume ended.
    pub(super) fn take(
        &mut self,
        job: &mut Job,
        world: &World,
        volume: &Volume,
        result: Result<Option<SealReport>, Error>,
        monitor: &dyn Monitor,
    ) -> Result<(), Error> {
        let number = volume.header().number;
        match result {
            Ok(None) => {}
            Ok(Some(report)) => {
                record_seal(job, volume, world.clock.now(), &report.sealed)?;
                monitor.volume(number, &VolumeEvent::Sealed(Box::new(report.clone())));
                self.done.push((number, report));
            }
            Err(error) => {
                monitor.volume(number, &VolumeEvent::Failed { reason: engine::chain(&error) });
                match error {
                    Error::Volume(error @ volume::Error::ReadBack { .. }) => {
                        let root = volume.root();
                        let root = root.parent().unwrap_or(root).to_owned();
                        self.lied.push(Liar { number, root, error });
                    }
                    error => drop(self.failure.get_or_insert(error)),
                }
            }
        }
        Ok(())
    }
}

/// Seals volumes side by side; each has its own reader of the job database. Volumes without packs stay open.
pub(super) fn all(
    job: &mut Job,
    world: &World,
    run: &Arc<RunKey>,
    volumes: &[&Volume],
    monitor: &Arc<dyn Monitor>,
    stop: &StopFlag,
    seals: &mut Seals,
) -> Result<(), Error> {
    for volume in volumes {
        record_staged(job, world, volume)?;
    }
    let dir = job.dir().to_owned();
    let key = job.signing_key().cloned();
    let results: Vec<Result<Option<SealReport>, Error>> = std::thread::scope(|scope| {
        let threads: Vec<_> = volumes
            .iter()
            .map(|volume| scope.spawn(|| one(&dir, world, run, volume, key.as_deref(), &**monitor, stop)))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|result| result.unwrap_or(Err(Error::Engine("a seal panicked")))).collect()
    });
    volumes.iter().zip(results).try_for_each(|(volume, result)| seals.take(job, world, volume, result, &**monitor))
}

/// Says in the log that the volume is filled, and puts the log on it: the seal vouches for it as it is then.
pub(super) fn record_staged(job: &mut Job, world: &World, volume: &Volume) -> Result<(), Error> {
    let number = volume.header().number;
    let packs = job.packs(number)?;
    if packs.is_empty() {
        return Ok(());
    }
    let bytes: u64 = packs.iter().filter_map(|pack| pack.close.map(|close| close.file_bytes)).sum();
    let detail = format!("{} packs, {bytes} bytes", packs.len());
    let said = job.custody(number)?.iter().any(|entry| entry.kind == "staged" && entry.detail == detail);
    if !said {
        job.batch_durable(|tx| tx.append_event(world.clock.now(), "staged", Some(number), &detail))?;
    }
    put_log(job, volume)
}

/// Joins the log on the volume with the job's: each has afterwards what either had.
pub(super) fn put_log(job: &mut Job, volume: &Volume) -> Result<(), Error> {
    let mut log = read_custody(volume)?;
    job.batch_durable(|tx| tx.take_custody(&log).map(drop))?;
    let known = job.custody(volume.header().number)?;
    log.extend(known.into_iter().filter(|entry| !log.contains(entry)).collect::<Vec<_>>());
    Ok(write_custody(volume, &log)?)
}

/// Seals one volume; `None` when there is nothing on it, or the user stopped it.
pub(super) fn one(
    dir: &Path,
    world: &World,
    run: &RunKey,
    volume: &Volume,
    key: Option<&SigningKey>,
    monitor: &dyn Monitor,
    stop: &StopFlag,
) -> Result<Option<SealReport>, Error> {
    let number = volume.header().number;
    let job = Job::open_read_only(dir)?;
    let packs: Vec<_> = job.packs(number)?.iter().map(volume_pack).collect();
    if packs.is_empty() {
        return Ok(None);
    }
    let total_bytes = packs.iter().map(|pack| pack.file_bytes).sum();
    monitor.volume(number, &VolumeEvent::Sealing { total_bytes });
    let created_ns = u64::try_from(world.clock.now().as_nanosecond()).unwrap_or_default();
    let mut manifest = ManifestWriter::create(volume, &packs, run, &*world.random, created_ns)?;
    job.read_ahead(
        |job, put| job.volume_records(number, put).map(drop),
        |record| match record {
            Record::Pack(_) | Record::Summary(_) => Ok(()), // the writer of the manifest makes these from what it wrote
            other => Ok::<(), Error>(manifest.add(other)?),
        },
    )?;
    let manifest = manifest.finish(run, &*world.random)?;
    let spins = device::facts(volume.root()).rotational == Some(true);
    let readers = if spins { 1 } else { process::parallelism().min(READERS_MAX) };
    let by = SealBy { key, now: world.clock.now(), readers };
    Ok(seal(volume, &packs, &manifest, by, &|bytes| {
        monitor.volume(number, &VolumeEvent::ReadBack { bytes });
        if stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?)
}
