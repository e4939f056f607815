//! `--repair`: a volume that lost something is looked through without a key, and exactly what that costs is pending again.
//!
//! What a frame held is known from the job database, so the staging machine, which cannot open what it staged, can tell
//! what is missing. The damaged volume itself is not written. A volume that is gone altogether (`--lost`) is given up without
//! a look: everything on it is pending again.

use std::path::PathBuf;
use std::sync::Arc;

use crate::job::{Due, Job, PackRow, VolumeState};
use crate::stage::monitor::{Monitor, VolumeEvent};
use crate::stage::{Error, engine};
use crate::sys::World;
use crate::volume::{self, Chunks, Step, Volume, pack_name};

/// Looks through volumes and takes back what they no longer hold. Says how many damaged places were found.
pub(super) fn take_back(job: &mut Job, world: &World, dirs: &[PathBuf], monitor: &dyn Monitor) -> Result<usize, Error> {
    let mut places = 0;
    for dir in dirs {
        let volume = Volume::open(Arc::clone(&world.fs), dir)?;
        let header = volume.header();
        if header.job != job.id() {
            let (path, expected, found) = (dir.clone(), job.id(), header.job);
            return Err(volume::Error::OtherJob { path, expected, found }.into());
        }
        let row = job.volumes()?.into_iter().find(|row| row.volume.id == header.volume);
        let row = row.ok_or_else(|| volume::Error::NewerThanJob { path: dir.clone() })?;
        let number = header.number;
        let mut damage = Vec::new();
        let mut lost = Vec::new();
        for pack in job.packs(number)? {
            let ranges = look(&volume, &pack, &mut damage);
            if !ranges.is_empty() {
                lost.push((pack.state.number, ranges, pack.state.frames_next));
            }
        }
        let now = world.clock.now();
        let due = job.batch_durable(|tx| -> Result<Due, Error> {
            let mut due = Due::default();
            for (pack, ranges, frames_next) in &lost {
                let more = tx.lose_frames(number, *pack, ranges, *frames_next)?;
                due = Due { extents: due.extents + more.extents, entries: due.entries + more.entries };
            }
            if !damage.is_empty() {
                if row.state == VolumeState::Open {
                    tx.set_volume_state(number, VolumeState::Damaged)?;
                }
                let detail = format!("{} damaged places, {} entries due again", damage.len(), due.entries);
                tx.append_event(now, "damaged", Some(number), &detail)?;
            }
            Ok(due)
        })?;
        places += damage.len();
        monitor.volume(number, &VolumeEvent::Repaired { damage, due });
    }
    Ok(places)
}

/// Takes back everything on volumes that are gone: nobody can look at them any more.
pub(super) fn give_up(job: &mut Job, world: &World, numbers: &[u32], monitor: &dyn Monitor) -> Result<(), Error> {
    for &number in numbers {
        let row = job.volumes()?.into_iter().find(|row| row.volume.number == number);
        let row = row.ok_or(Error::UnknownVolume { number })?;
        let now = world.clock.now();
        let due = job.batch_durable(|tx| -> Result<Due, Error> {
            let due = tx.lose_volume(number)?;
            if row.state != VolumeState::Erased {
                tx.set_volume_state(number, VolumeState::Lost)?;
            }
            if due != Due::default() {
                let detail = format!("given up, {} entries due again", due.entries);
                tx.append_event(now, "lost", Some(number), &detail)?;
            }
            Ok(due)
        })?;
        monitor.volume(number, &VolumeEvent::GivenUp { due });
    }
    Ok(())
}

/// Frames that are lost, as first index and first index after, and what was seen, one clause each.
type Seen = (Vec<(u32, u32)>, Vec<String>);

/// Ranges of frames of a pack that are lost: first index, first index after.
fn look(volume: &Volume, pack: &PackRow, damage: &mut Vec<String>) -> Vec<(u32, u32)> {
    let number = pack.state.number;
    let file = format!("packs/{}", pack_name(number));
    match try_look(volume, pack) {
        Ok((ranges, found)) => {
            damage.extend(found.into_iter().map(|text| format!("{file}: {text}")));
            ranges
        }
        Err(error) => {
            damage.push(format!("{file}: {}", engine::chain(&error)));
            vec![(0, u32::MAX)]
        }
    }
}

/// The same, where the pack can be read at all.
fn try_look(volume: &Volume, pack: &PackRow) -> Result<Seen, volume::Error> {
    let checked = volume.check_pack(pack.state.number, false, &Chunks::default())?;
    checked.header?;
    let mut walk = checked.walk;
    let (mut ranges, mut found) = (Vec::new(), Vec::new());
    let mut position = 0;
    while let Some(step) = walk.advance()? {
        match step {
            Step::Frame { offset, header, .. } => position = header.end(offset),
            // What follows the last commit of an open pack is a torn tail.
            Step::Damage(place) if pack.close.is_none() && place.from >= pack.state.committed_bytes => break,
            Step::Damage(place) => {
                let next = place.next_index.unwrap_or(u32::MAX);
                if next > place.first_index {
                    ranges.push((place.first_index, next));
                }
                found.push(format!("bytes {} to {}: {}", place.from, place.to, place.reason));
            }
        }
    }
    if walk.expected_index() < pack.state.frames_next {
        found.push(format!("frames from {} on are not there", walk.expected_index()));
        ranges.push((walk.expected_index(), u32::MAX));
    }
    if let Some(close) = pack.close {
        let length = walk.file_bytes();
        let (crc64, _) = walk.finish()?;
        // Every frame is right, and yet this is not the file that was written: an older or another pack.
        if found.is_empty() && (length != close.file_bytes || crc64 != close.crc64) {
            found.push(format!("{length} bytes with another checksum than was written"));
            ranges.push((0, u32::MAX));
        }
    } else if found.is_empty() && position < pack.state.committed_bytes.saturating_sub(4096) {
        found.push(format!("it ends at byte {position} where {} were committed", pack.state.committed_bytes));
        ranges.push((0, u32::MAX));
    }
    Ok((ranges, found))
}
