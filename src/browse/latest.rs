//! The records of a set of volumes as a stream, and which generation of an entry holds.

use std::collections::HashMap;

use crate::browse::{Error, Opened};
use crate::format::record::Record;
use crate::sys::Access;
use crate::volume::{Keyring, ManifestReader, Volume};

/// Entries that were read more than once or deleted. All others hold as they are.
#[derive(Debug, Default)]
pub struct Latest {
    read: HashMap<u64, u32>,
    deleted: HashMap<u64, u32>,
}

impl Latest {
    /// Looks through all records once.
    ///
    /// # Errors
    /// When a volume cannot be read.
    pub fn of(volumes: &Opened) -> Result<Self, Error> {
        let mut latest = Self::default();
        each_record(volumes, |_, _, record| {
            latest.note(&record);
            Ok::<_, Error>(())
        })?;
        Ok(latest)
    }

    fn note(&mut self, record: &Record) {
        let (map, id, generation) = match record {
            Record::Entry(entry) if entry.generation > 1 => (&mut self.read, entry.id, entry.generation),
            Record::Deleted(gone) => (&mut self.deleted, gone.id, gone.generation),
            _ => return,
        };
        let known = map.entry(id).or_default();
        *known = generation.max(*known);
    }

    /// Whether this generation of an entry is the one that holds.
    pub fn holds(&self, id: u64, generation: u32) -> bool {
        self.read.get(&id).is_none_or(|latest| *latest == generation)
            && self.deleted.get(&id).is_none_or(|deleted| generation > *deleted)
    }
}

/// Hands every record to `take`, with the place of its volume in the list and the number of its pack. A sealed volume
/// tells everything in its manifest, an open one in its packs.
pub(super) fn each_record<E: From<Error>>(
    volumes: &Opened,
    mut take: impl FnMut(usize, u32, Record) -> Result<(), E>,
) -> Result<(), E> {
    for (at, (volume, keyring)) in volumes.iter().enumerate() {
        match volume.is_sealed().map_err(Error::Volume)? {
            true => sealed(volume, keyring, |pack, record| take(at, pack, record))?,
            false => open(volume, keyring, |pack, record| take(at, pack, record))?,
        }
    }
    Ok(())
}

/// The manifest's reader wants one error for its own trouble and the caller's.
enum Either<E> {
    Volume(crate::volume::Error),
    Caller(E),
}

impl<E> From<crate::volume::Error> for Either<E> {
    fn from(error: crate::volume::Error) -> Self {
        Self::Volume(error)
    }
}

fn sealed<E: From<Error>>(
    volume: &Volume,
    keyring: &Keyring,
    mut take: impl FnMut(u32, Record) -> Result<(), E>,
) -> Result<(), E> {
    let manifest = ManifestReader::open(volume, keyring).map_err(Error::Volume)?;
    let outcome = manifest.read(|record| {
        let pack = if let Record::Extent(extent) = &record { extent.pack } else { 0 };
        take(pack, record).map_err(Either::Caller)
    });
    match outcome {
        Ok(_) => Ok(()),
        Err(Either::Volume(error)) => Err(Error::Volume(error).into()),
        Err(Either::Caller(error)) => Err(error),
    }
}

fn open<E: From<Error>>(
    volume: &Volume,
    keyring: &Keyring,
    mut take: impl FnMut(u32, Record) -> Result<(), E>,
) -> Result<(), E> {
    for number in volume.packs().map_err(Error::Volume)? {
        let pack = volume.open_pack(number, Access::Buffered).map_err(Error::Volume)?;
        let index = pack.index(keyring).map_err(Error::Volume)?;
        index.records.into_iter().try_for_each(|record| take(number, record))?;
    }
    Ok(())
}
