//! The shelf: which volumes take part in a run, recognised by identity, recovered if an earlier run was interrupted.
//!
//! ORDER of making a volume: the medium first, the database second. A volume of this job without packs that the database
//! does not know is therefore one whose making was interrupted, and is taken in; one with packs means that the database is
//! old. ORDER of a run on a volume: its slot is durable before anything is written under its key.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::{VolumeHeader, VolumeId, hex};
use crate::job::{Job, NewVolume, Sealing, VolumeRow, VolumeState};
use crate::stage::convert::{pack_close, volume_pack};
use crate::stage::dry::Fill;
use crate::stage::monitor::VolumeEvent;
use crate::stage::rack::Rack;
use crate::stage::seal::put_log;
use crate::stage::{Error, readme};
use crate::sys::smart::{self, SmartFacts};
use crate::sys::{World, device};
use crate::volume::{self, Readme, Volume, add_slot, create, recover_packs};

/// A place for a volume, as the user gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Top of the medium, or a directory that stands for one.
    pub path: PathBuf,
    /// Most bytes to use of it; `None` for all that is free. Unit: bytes.
    pub limit_bytes: Option<u64>,
}

/// A volume that takes part.
pub(super) struct Shelved {
    pub(super) volume: Volume,
    /// Most bytes of packs on it. Unit: bytes.
    pub(super) capacity_bytes: u64,
    /// Bytes of packs already on it. Unit: bytes.
    pub(super) used_bytes: u64,
    pub(super) next_pack: u32,
}

/// Least room a volume must offer. Unit: bytes.
const CAPACITY_MIN_BYTES: u64 = 1 << 20;
/// Kept free for `README.txt`, slots, sums and what file systems round up: this much, or a sixteenth of a small volume.
/// Unit: bytes.
const RESERVE_BYTES: u64 = 16 << 20;

/// Opens, recovers or makes the volume at a place. A sealed one is passed over.
pub(super) fn open(job: &mut Job, rack: &mut Rack, place: &Place) -> Result<Option<Shelved>, Error> {
    let world = &rack.world;
    let (volume, is_new) = match Volume::open(Arc::clone(&world.fs), &place.path) {
        Ok(volume) => (volume, false),
        Err(volume::Error::NotAVolume { .. }) => (make(job, world, place)?, true),
        Err(error) => return Err(error.into()),
    };
    let header = volume.header().clone();
    if header.job != job.id() {
        return Err(volume::Error::OtherJob { path: place.path.clone(), expected: job.id(), found: header.job }.into());
    }
    if !rack.seen.insert(header.volume) {
        let reason = format!("volume {} is given twice", header.number);
        return Err(Error::UnusableVolume { path: place.path.clone(), reason });
    }
    let row = known(job, rack, &volume, place)?;
    if row.state == VolumeState::Lost {
        // It turned up again; what it held is elsewhere by now, or on its way there.
        let reason = "it was given up and takes nothing more".to_owned();
        rack.monitor.volume(header.number, &VolumeEvent::Failed { reason });
        return Ok(None);
    }
    if let Some(sealed) = volume.sealed()? {
        if row.state != VolumeState::Sealed {
            let at = sealed.sealed_at.parse().unwrap_or_else(|_| world.clock.now());
            record_seal(job, &volume, at, &sealed)?;
        }
        return Ok(None);
    }
    if row.state == VolumeState::Sealed {
        let reason = format!("volume {} was sealed and its SEALED file is gone", header.number);
        return Err(Error::UnusableVolume { path: place.path.clone(), reason });
    }
    if row.state == VolumeState::Damaged {
        // Nothing is written to a drive that was found damaged; what it lost goes onto others.
        let reason = "it was found damaged and takes nothing more".to_owned();
        rack.monitor.volume(header.number, &VolumeEvent::Failed { reason });
        return Ok(None);
    }
    job.batch(|tx| tx.set_volume_path(header.number, &place.path))?;
    take(job, rack, volume, place, is_new).map(Some)
}

/// Records in the job what `SEALED` on a volume says, and on the volume what the job's log says of it.
pub(super) fn record_seal(
    job: &mut Job,
    volume: &Volume,
    at: jiff::Timestamp,
    sealed: &crate::format::Sealed,
) -> Result<(), Error> {
    let number = volume.header().number;
    let sealing = Sealing {
        at,
        read_back: sealed.read_back.word().to_owned(),
        file_bytes: sealed.bytes,
        sums_sha256: sealed.sums_sha256,
    };
    let root = sealed
        .signature
        .as_ref()
        .map_or_else(String::new, |signed| format!("; Merkle root {}", hex(&signed.merkle_root)));
    job.batch_durable(|tx| {
        tx.seal_volume(number, &sealing)?;
        tx.append_event(at, "sealed", Some(number), &format!("read back: {}{root}", sealing.read_back))
    })?;
    put_log(job, volume)
}

fn make(job: &Job, world: &World, place: &Place) -> Result<Volume, Error> {
    let number = job.volumes()?.iter().map(|row| row.volume.number).max().unwrap_or(0) + 1;
    // A rebuilt job may not know of all its volumes, and a number names one volume for ever.
    let from = job.setting(crate::job::VOLUME_NUMBERS_FROM)?.and_then(|from| from.parse().ok()).unwrap_or(1);
    let number = number.max(from);
    let mut id = [0; 16];
    world.random.fill(&mut id);
    let header = VolumeHeader {
        may_ignore: 0,
        job: job.id(),
        volume: VolumeId(id),
        number,
        created_ns: u64::try_from(world.clock.now().as_nanosecond()).unwrap_or_default(),
        job_salt: job.salt(),
        job_public_key: job.public_key().unwrap_or_default(),
    };
    let text = readme::text(&header, job.setting("contact")?.as_deref());
    Ok(create(&world.fs, &place.path, &volume::NewVolume { header }, Readme(&text))?)
}

/// The job's row of a volume; a volume without packs that the job does not know yet is taken in.
fn known(job: &mut Job, rack: &Rack, volume: &Volume, place: &Place) -> Result<VolumeRow, Error> {
    let world = &rack.world;
    let header = volume.header();
    let find = |job: &Job| -> Result<Option<VolumeRow>, Error> {
        Ok(job.volumes()?.into_iter().find(|row| row.volume.id == header.volume))
    };
    if let Some(row) = find(job)? {
        return Ok(row);
    }
    if !volume.packs()?.is_empty() {
        return Err(volume::Error::NewerThanJob { path: place.path.clone() }.into());
    }
    let (facts, health) = (device::facts(&place.path), smart::facts(&place.path));
    let space = world.fs.space(&place.path).map_err(|source| volume::Error::Io {
        operation: "measure",
        path: place.path.clone(),
        source,
    })?;
    let now = world.clock.now();
    let new = NewVolume {
        number: header.number,
        id: header.volume,
        path: place.path.clone(),
        capacity_bytes: place.limit_bytes.map_or(space.total_bytes, |limit| limit.min(space.total_bytes)),
        created: now,
        model: facts.model,
        serial: facts.serial,
    };
    job.batch_durable(|tx| {
        tx.add_volume(&new)?;
        tx.append_event(now, "created", Some(new.number), &drive(&new, health.as_ref()))
    })?;
    if let Some(health) = health.filter(SmartFacts::is_failing) {
        rack.monitor.volume(new.number, &VolumeEvent::Failing { says: health.to_string() });
    }
    find(job)?.ok_or(Error::Engine("a volume that was just recorded is not in the job"))
}

/// What the log says of the drive: it travels in the open, so nothing of the machine it was made on.
fn drive(new: &NewVolume, health: Option<&SmartFacts>) -> String {
    let told = |what: &Option<String>| what.clone().unwrap_or_else(|| "not told".to_owned());
    let health = health.map(|health| format!("; it says of itself: {health}")).unwrap_or_default();
    format!("drive {}, serial number {}{health}", told(&new.model), told(&new.serial))
}

fn take(job: &mut Job, rack: &Rack, volume: Volume, place: &Place, is_new: bool) -> Result<Shelved, Error> {
    let Rack { world, run, wrap, monitor, .. } = rack;
    let number = volume.header().number;
    // ORDER: the slot and the envelopes it needs are durable before anything is written under the run's key.
    let slot = wrap.slot(job, run, &volume)?;
    add_slot(&volume, run.run(), &slot)?;
    let packs: Vec<_> = job.packs(number)?.iter().map(volume_pack).collect();
    let recovered = recover_packs(&volume, &packs, run, &*world.random)?;
    for state in &recovered.closed {
        if let Some(close) = pack_close(state) {
            job.batch_durable(|tx| tx.close_pack(number, state.number, &close))?;
        }
    }
    if recovered.cut_bytes > 0 || !recovered.removed.is_empty() {
        monitor.volume(number, &VolumeEvent::Recovered { cut_bytes: recovered.cut_bytes });
    }
    let packs = job.packs(number)?;
    let used_bytes = packs.iter().filter_map(|pack| pack.close.map(|close| close.file_bytes)).sum();
    let next_pack = packs.iter().map(|pack| pack.state.number).chain(recovered.removed).max().unwrap_or(0) + 1;
    let capacity_bytes = capacity(world, place, used_bytes)?;
    if is_new && capacity_bytes < CAPACITY_MIN_BYTES {
        let reason = format!("only {capacity_bytes} bytes can be used, and {CAPACITY_MIN_BYTES} are needed");
        return Err(Error::UnusableVolume { path: place.path.clone(), reason });
    }
    monitor.volume(number, &VolumeEvent::Open { path: place.path.clone(), capacity_bytes, is_new });
    Ok(Shelved { volume, capacity_bytes, used_bytes, next_pack })
}

/// What packs and `MANIFEST` together may take.
fn capacity(world: &World, place: &Place, used_bytes: u64) -> Result<u64, Error> {
    let io = |source| volume::Error::Io { operation: "measure", path: place.path.clone(), source };
    let free = world.fs.space(&place.path).map_err(io)?.free_bytes;
    let whole = place.limit_bytes.unwrap_or(u64::MAX).min(used_bytes.saturating_add(free));
    Ok(whole - RESERVE_BYTES.min(whole / 16))
}

/// What is at a place and what it may still take, for reading only.
pub(super) fn look(job: Option<&Job>, world: &World, place: &Place) -> Result<Fill, Error> {
    let fill = |number, is_sealed, room_bytes| Fill {
        place: place.clone(),
        number,
        is_sealed,
        room_bytes,
        worst_bytes: 0,
        likely_bytes: 0,
    };
    let volume = match Volume::open(Arc::clone(&world.fs), &place.path) {
        Ok(volume) => volume,
        Err(volume::Error::NotAVolume { .. }) => return Ok(fill(None, false, capacity(world, place, 0)?)),
        Err(error) => return Err(error.into()),
    };
    let header = volume.header();
    let job = job.filter(|job| job.id() == header.job).ok_or_else(|| volume::Error::OtherJob {
        path: place.path.clone(),
        expected: job.map_or(crate::format::JobId([0; 16]), Job::id),
        found: header.job,
    })?;
    if volume.is_sealed()? {
        return Ok(fill(Some(header.number), true, 0));
    }
    let used_bytes =
        job.packs(header.number)?.iter().map(|pack| pack.close.map_or(0, |close| close.file_bytes)).sum::<u64>();
    let room = capacity(world, place, used_bytes)?.saturating_sub(used_bytes);
    Ok(fill(Some(header.number), false, room))
}

/// Directories that the walk must not enter: those this run writes to.
pub(super) fn own_output(places: &[Place], job_dir: &Path) -> HashSet<(u64, u64)> {
    let dirs = places.iter().map(|place| place.path.join(volume::PACKMULE)).chain([job_dir.to_owned()]);
    let identities = dirs.filter_map(|dir| crate::sys::source::identity_followed(&dir).ok());
    identities.map(|identity| (identity.dev, identity.ino)).collect()
}
