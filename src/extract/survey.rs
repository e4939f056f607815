//! The first look at all volumes: which generation of each entry holds, and how much there is.
//!
//! Owns: the few entries that were read more than once or deleted. Does not own: the entries themselves, which are read
//! again pack by pack.
//! Invariants: memory grows with the number of changed and deleted entries only. Callers: `engine`.

use std::collections::{BTreeSet, HashMap};

use crate::extract::Options;
use crate::extract::error::Problem;
use crate::format::record::{EntryType, Record};
use crate::sys::Access;
use crate::volume::{self, Keyring, ManifestReader, Volume};

/// What the first look found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    latest: HashMap<u64, u32>,
    deleted: HashMap<u64, u32>,
    /// Plain bytes of all selected files, other generations of changed files among them. Unit: bytes.
    pub(super) bytes: u64,
    /// How many files these are.
    pub(super) files: u64,
    /// Volumes that are missing packs their manifest names, or have none that can be read.
    pub(super) problems: Vec<Problem>,
}

impl Survey {
    pub(super) fn of(volumes: &[(Volume, Keyring)], options: &Options) -> Self {
        let mut survey = Self::default();
        for (volume, keyring) in volumes {
            if options.stop.is_set() {
                break;
            }
            match volume.is_sealed() {
                Ok(true) => survey.sealed(volume, keyring, options),
                Ok(false) => survey.open(volume, keyring, options, true),
                Err(error) => survey.problems.push(Problem::volume(error)),
            }
        }
        survey
    }

    /// Whether this generation of an entry is the one that holds.
    pub(super) fn is_current(&self, id: u64, generation: u32) -> bool {
        self.latest.get(&id).is_none_or(|latest| *latest == generation)
            && self.deleted.get(&id).is_none_or(|deleted| generation > *deleted)
    }

    /// A sealed volume tells everything in its manifest; the packs it names must be there.
    fn sealed(&mut self, volume: &Volume, keyring: &Keyring, options: &Options) {
        let mut named = BTreeSet::new();
        let read = ManifestReader::open(volume, keyring).and_then(|manifest| {
            manifest.read(|record| {
                if let Record::Pack(pack) = &record {
                    named.insert(pack.number);
                }
                self.note(&record, options);
                Ok::<_, volume::Error>(())
            })
        });
        let present: BTreeSet<u32> = match volume.packs() {
            Ok(packs) => packs.into_iter().collect(),
            Err(error) => return self.problems.push(Problem::volume(error)),
        };
        for number in named.difference(&present) {
            let path = volume::pack_path(volume.root(), *number);
            let reason = "the manifest names this pack, and it is not there".to_owned();
            self.problems.push(Problem::volume(volume::Error::Damaged { path, reason }));
        }
        if let Err(error) = read {
            self.problems.push(Problem::volume(error));
            // What the damaged manifest told may be too little: the packs tell it again.
            self.open(volume, keyring, options, false);
        }
    }

    fn open(&mut self, volume: &Volume, keyring: &Keyring, options: &Options, counts: bool) {
        let (bytes, files) = (self.bytes, self.files);
        for number in volume.packs().unwrap_or_default() {
            let index = volume.open_pack(number, Access::Buffered).and_then(|pack| pack.index(keyring));
            // What cannot be read here cannot be read later either, and is told there.
            for record in index.iter().flat_map(|index| &index.records) {
                self.note(record, options);
            }
        }
        if !counts {
            (self.bytes, self.files) = (bytes, files);
        }
    }

    fn note(&mut self, record: &Record, options: &Options) {
        match record {
            Record::Entry(entry) => {
                if entry.generation > 1 {
                    let latest = self.latest.entry(entry.id).or_default();
                    *latest = entry.generation.max(*latest);
                }
                if entry.entry_type == EntryType::File && is_selected(options, &entry.path, false) {
                    self.bytes = self.bytes.saturating_add(entry.size);
                    self.files += 1;
                }
            }
            Record::Deleted(gone) => {
                let deleted = self.deleted.entry(gone.id).or_default();
                *deleted = gone.generation.max(*deleted);
            }
            _ => {}
        }
    }
}

/// Whether the patterns select a path.
pub(super) fn is_selected(options: &Options, path: &[u8], is_dir: bool) -> bool {
    options.patterns.is_empty() || options.patterns.covers(path, is_dir)
}
