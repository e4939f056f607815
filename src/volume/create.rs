//! Making a volume, and adding a run's slot to it. volume.md section 6, steps 1 and 2.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::format::{RunId, VolumeHeader};
use crate::sys::{Access, Fs};
use crate::volume::error::{At, Error};
use crate::volume::open::{Volume, exists};
use crate::volume::paths::{PACKMULE, PACKS, PART, README, SLOTS, VOLUME};

/// The letter to whoever finds the drive.
#[derive(Debug, Clone, Copy)]
pub struct Readme<'a>(pub &'a str);

/// What a new volume is to be.
#[derive(Debug, Clone)]
pub struct NewVolume {
    /// Its header.
    pub header: VolumeHeader,
}

/// Makes a volume in `dir`, which must exist. Remains of an interrupted making are made anew: until `VOLUME` is
/// durable there is no volume, and nothing refers to one.
///
/// # Errors
/// When a volume is already there, or the medium refuses.
pub fn create(fs: &Arc<dyn Fs>, dir: &Path, new: &NewVolume, readme: Readme<'_>) -> Result<Volume, Error> {
    let root = dir.join(PACKMULE);
    if exists(&**fs, &root.join(VOLUME))? {
        return Err(Error::Damaged { path: root, reason: "a volume is already here".to_owned() });
    }
    for made in [root.clone(), root.join(SLOTS), root.join(PACKS)] {
        match fs.create_dir(&made) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.at("create", &made)?,
        }
    }
    // ORDER: README first, VOLUME last. A directory without VOLUME is not a volume.
    write_atomically(&**fs, &root, README, readme.0.as_bytes())?;
    fs.sync_dir(dir).at("sync", dir)?;
    write_atomically(&**fs, &root, VOLUME, &new.header.encode())?;
    Volume::open(Arc::clone(fs), dir)
}

/// Makes a run's slot durable. Must happen before the first frame under that run's key is written.
///
/// # Errors
/// When the medium refuses.
pub fn add_slot(volume: &Volume, run: RunId, slot: &[u8]) -> Result<(), Error> {
    let dir = volume.root().join(SLOTS);
    write_atomically(&**volume.fs(), &dir, &format!("{run}.age"), slot)
}

/// Writes a small file so that under its name there is all of it or nothing: temporary name, sync, rename, sync of
/// the directory. A finished file of that name is replaced only by the same step done again after a crash.
pub(super) fn write_atomically(fs: &dyn Fs, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let part = dir.join(format!("{name}{PART}"));
    let path = dir.join(name);
    if exists(fs, &part)? {
        fs.remove_file(&part).at("remove", &part)?;
    }
    let file = fs.create_new(&part, Access::Buffered).at("create", &part)?;
    file.write_all_at(bytes, 0).at("write", &part)?;
    file.sync_data().at("sync", &part)?;
    drop(file);
    fs.rename_replace(&part, &path).at("rename to", &path)?;
    fs.sync_dir(dir).at("sync", dir)
}
