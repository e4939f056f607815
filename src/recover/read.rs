//! What one volume tells: a sealed one by its manifest, any other by its packs.

use crate::format::Sealed;
use crate::format::path::escape;
use crate::format::record::{Extent, Record};
use crate::job::{Batch, job_pack, pack_close};
use crate::monitor::Monitor;
use crate::recover::{Error, Given};
use crate::volume::{self, Chunks, Keyring, ManifestReader, pack_name};

/// Bytes of a file that the volume no longer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Path of the file, escaped; empty when no record names it.
    pub path: String,
    /// First byte.
    pub from: u64,
    /// First byte after.
    pub to: u64,
    id: u64,
}

/// What a volume told.
#[derive(Debug)]
pub struct Told {
    /// Its number.
    pub number: u32,
    /// Where it is.
    pub dir: std::path::PathBuf,
    /// Its seal, when it has one that is believed.
    pub sealed: Option<Sealed>,
    /// Whether it was read from its manifest rather than from its packs.
    pub by_manifest: bool,
    /// Packs on it.
    pub packs: u64,
    /// ENTRY records on it.
    pub entries: u64,
    /// What is damaged, one clause each.
    pub damage: Vec<String>,
    /// What that costs, as far as records name it.
    pub lost: Vec<Lost>,
}

impl Told {
    /// Whether more may be written to it: a drive that was found damaged once is not trusted with more.
    pub(super) fn takes_more(&self) -> bool {
        self.damage.is_empty()
    }

    /// For the custody log.
    pub(super) fn summary(&self) -> String {
        let way = if self.by_manifest { "manifest" } else { "packs" };
        format!("from its {way}: {} packs, {} entries, {} damaged places", self.packs, self.entries, self.damage.len())
    }
}

/// Puts what a volume holds into the database.
pub(super) fn take(tx: &mut Batch<'_>, given: &Given, keyring: &Keyring, monitor: &dyn Monitor) -> Result<Told, Error> {
    let mut told = Told {
        number: given.volume.header().number,
        dir: given.dir.clone(),
        sealed: None,
        by_manifest: false,
        packs: 0,
        entries: 0,
        damage: Vec::new(),
        lost: Vec::new(),
    };
    match given.volume.sealed() {
        Ok(sealed) => told.sealed = sealed,
        Err(error @ volume::Error::Io { .. }) => return Err(error.into()),
        Err(error) => told.damage.push(chain(&error)),
    }
    if told.sealed.is_some() {
        // Read to its end before a word of it is believed; a manifest is small beside what it lists.
        let whole = ManifestReader::open(&given.volume, keyring)
            .and_then(|manifest| manifest.read::<volume::Error>(|_| Ok(())));
        match whole {
            Ok(_) => {
                by_manifest(tx, given, keyring, &mut told)?;
                return Ok(told);
            }
            Err(error @ volume::Error::NoKey { .. }) => return Err(error.into()),
            Err(error) => told.damage.push(chain(&error)),
        }
    }
    by_packs(tx, given, keyring, monitor, &mut told)?;
    Ok(told)
}

fn by_manifest(tx: &mut Batch<'_>, given: &Given, keyring: &Keyring, told: &mut Told) -> Result<(), Error> {
    told.by_manifest = true;
    let number = told.number;
    let present = given.volume.packs()?;
    ManifestReader::open(&given.volume, keyring)?.read::<Error>(|record| {
        match &record {
            Record::Entry(_) => told.entries += 1,
            Record::Pack(pack) => {
                told.packs += 1;
                if !present.contains(&pack.number) {
                    told.damage.push(format!("packs/{} is gone", pack_name(pack.number)));
                }
            }
            _ => {}
        }
        Ok(tx.import_record(number, 0, &record)?)
    })?;
    Ok(())
}

fn by_packs(
    tx: &mut Batch<'_>,
    given: &Given,
    keyring: &Keyring,
    monitor: &dyn Monitor,
    told: &mut Told,
) -> Result<(), Error> {
    for number in given.volume.packs()? {
        let pack = match given.volume.rebuild_pack(number, keyring) {
            Ok(pack) => pack,
            Err(error @ (volume::Error::NoKey { .. } | volume::Error::Io { .. })) => return Err(error.into()),
            // A pack whose first commit never came may not even have a header; one that had commits is damaged. Which
            // of the two it is, nobody can tell without its header: only what is certain is reported.
            Err(error)
                if given.volume.check_pack(number, false, &Chunks::default()).is_ok_and(|pack| pack.has_nothing()) =>
            {
                tracing::debug!(pack = number, error = %chain(&error), "a pack that was only begun");
                continue;
            }
            Err(error) => {
                told.damage.push(chain(&error));
                continue;
            }
        };
        let bytes = if pack.state.closed.is_some() { pack.state.file_bytes } else { pack.state.committed_bytes };
        monitor.bytes(bytes);
        told.damage.extend(pack.damage.iter().map(|damage| format!("packs/{}: {damage}", pack_name(number))));
        told.lost.extend(pack.lost.iter().map(lost));
        if pack.state.commits == 0 {
            continue; // nothing in it was ever committed; the next run of stage removes it
        }
        told.packs += 1;
        tx.import_pack(told.number, &job_pack(&pack.state), pack_close(&pack.state).as_ref())?;
        for record in &pack.records {
            told.entries += u64::from(matches!(record, Record::Entry(_)));
            tx.import_record(told.number, number, record)?;
        }
    }
    Ok(())
}

fn lost(extent: &Extent) -> Lost {
    let to = extent.offset.saturating_add(extent.length);
    Lost { path: String::new(), from: extent.offset, to, id: extent.id }
}

/// Gives lost bytes the path of their file.
pub(super) fn name_lost(tx: &Batch<'_>, told: &mut [Told]) -> Result<(), Error> {
    for lost in told.iter_mut().flat_map(|told| &mut told.lost) {
        if tx.entry(lost.id)?.is_some() {
            lost.path = escape(&tx.path(lost.id)?);
        }
    }
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    let below = std::iter::successors(error.source(), |cause| cause.source());
    below.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
