//! The end of a volume: its manifest from the job database, then the read-back and `SEALED`.

use std::path::Path;
use std::sync::Arc;

use crate::crypto::RunKey;
use crate::format::record::Record;
use crate::job::Job;
use crate::stage::Error;
use crate::stage::convert::volume_pack;
use crate::stage::monitor::{Monitor, VolumeEvent};
use crate::stage::shelf::record_seal;
use crate::sys::World;
use crate::volume::{ManifestWriter, SealReport, Volume, seal};

/// Seals volumes side by side; each has its own reader of the job database. Volumes without packs stay open.
pub(super) fn all(
    job: &mut Job,
    world: &World,
    run: &Arc<RunKey>,
    volumes: &[Volume],
    monitor: &Arc<dyn Monitor>,
) -> Result<Vec<(u32, SealReport)>, Error> {
    let dir = job.dir().to_owned();
    let results: Vec<Result<Option<(u32, SealReport)>, Error>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            volumes.iter().map(|volume| scope.spawn(|| one(&dir, world, run, volume, &**monitor))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|result| result.unwrap_or(Err(Error::Engine("a seal panicked")))).collect()
    });
    let mut reports = Vec::new();
    let mut failed = None;
    for result in results {
        match result {
            Ok(None) => {}
            Ok(Some((number, report))) => {
                record_seal(job, number, world.clock.now(), &report.sealed)?;
                monitor.volume(number, &VolumeEvent::Sealed(Box::new(report.clone())));
                reports.push((number, report));
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(reports), Err)
}

fn one(
    dir: &Path,
    world: &World,
    run: &RunKey,
    volume: &Volume,
    monitor: &dyn Monitor,
) -> Result<Option<(u32, SealReport)>, Error> {
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
    job.volume_records::<Error>(number, |record| match record {
        Record::Pack(_) | Record::Summary(_) => Ok(()), // the writer of the manifest makes these from what it wrote
        other => Ok(manifest.add(other)?),
    })?;
    let manifest = manifest.finish(run, &*world.random)?;
    let report = seal(volume, &packs, &manifest, world.clock.now(), &|bytes| {
        monitor.volume(number, &VolumeEvent::ReadBack { bytes });
    })?;
    Ok(Some((number, report)))
}
