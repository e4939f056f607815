//! `MANIFEST` against the packs: the same packs, the same records; and the names of what damage in a pack has cost, which
//! only `MANIFEST` knows when the pack's own records are gone.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::digest::{Crc64, sha256};
use crate::format::path::escape;
use crate::format::record::{Content, Extent, PackRecord, Record};
use crate::format::{FooterReason, RunId};
use crate::sys::Access;
use crate::verify::extents::cause;
use crate::verify::finding::{Finding, FindingKind, Lost, Span, chain};
use crate::verify::opened::Nameless;
use crate::verify::report::LOST_MAX;
use crate::volume::{Error, Keyring, MANIFEST, ManifestReader, Volume};

/// Sums of records are kept in so many places, so that a difference leads to few records. A power of two.
const BUCKETS: usize = 4096;
/// Where the pack number of an EXTENT record stands. Source: manifest.md section 4.
const EXTENT_PACK_AT: usize = 48;
/// Records of a difference that are looked at one by one.
const DIFFERENCES_MAX: usize = 100_000;

/// What was seen of a pack without believing `MANIFEST`.
#[derive(Debug, Clone)]
pub(super) struct PackFacts {
    pub(super) frames: u64,
    pub(super) file_bytes: u64,
    pub(super) crc64: Crc64,
    pub(super) commits: u32,
    pub(super) reason: Option<FooterReason>,
    pub(super) run: RunId,
    /// Whether findings about it exist already.
    pub(super) damaged: bool,
}

/// A sum over ENTRY and EXTENT records that does not depend on their order.
#[derive(Debug)]
pub(super) struct RecordSums {
    buckets: Vec<u128>,
    prints: Fingerprints,
}

impl Default for RecordSums {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], prints: Fingerprints::default() }
    }
}

impl RecordSums {
    /// Adds a record of a pack, as `MANIFEST` would have it.
    pub(super) fn add_from_pack(&mut self, record: &Record, pack: u32) {
        self.add(record, Some(pack));
    }

    fn add(&mut self, record: &Record, pack: Option<u32>) {
        if let Some(fingerprint) = self.prints.of(record, pack) {
            let sum = &mut self.buckets[bucket(fingerprint)];
            *sum = sum.wrapping_add(fingerprint);
        }
    }
}

fn bucket(fingerprint: u128) -> usize {
    usize::try_from(fingerprint % BUCKETS as u128).expect("less than BUCKETS")
}

/// Takes fingerprints of records, all in the same memory: there are two for each entry of a volume.
#[derive(Debug, Default)]
struct Fingerprints(Vec<u8>);

impl Fingerprints {
    /// 128 bits of the SHA-256 of a record, with an extent's pack filled in; `None` for records that are not compared.
    fn of(&mut self, record: &Record, pack: Option<u32>) -> Option<u128> {
        let is_stored = match record {
            Record::Entry(_) => false,
            Record::Extent(extent) => extent.content != Content::Hole,
            _ => return None,
        };
        let bytes = &mut self.0;
        bytes.clear();
        record.encode(bytes).ok()?;
        if matches!(record, Record::Extent(_)) {
            let number = if is_stored { pack } else { Some(0) };
            if let (Some(number), Some(field)) = (number, bytes.get_mut(EXTENT_PACK_AT..EXTENT_PACK_AT + 4)) {
                field.copy_from_slice(&number.to_le_bytes());
            }
        }
        let digest = sha256(bytes);
        digest.first_chunk::<16>().map(|half| u128::from_le_bytes(*half))
    }
}

/// What the comparison came to.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) findings: Vec<Finding>,
    pub(super) problems: u64,
    /// For each nameless range, what it cost.
    pub(super) named: Vec<Vec<Lost>>,
}

/// Reads `MANIFEST` and compares it with what the packs hold.
pub(super) fn compare(
    volume: &Volume,
    keyring: &Keyring,
    packs: &BTreeMap<u32, PackFacts>,
    sums: &RecordSums,
    nameless: &[Nameless],
) -> Compared {
    let number = volume.header().number;
    let find = |kind, text: String| Finding::new(kind, number, MANIFEST, text);
    let mut compared = Compared { named: nameless.iter().map(|_| Vec::new()).collect(), ..Compared::default() };
    let mut own = RecordSums::default();
    let mut said = BTreeMap::new();
    let mut texts = Vec::new();
    let read = ManifestReader::open(volume, keyring).and_then(|reader| {
        reader.read::<Error>(|record| {
            own.add(&record, None);
            match record {
                Record::Pack(pack) => {
                    texts.extend(compare_pack(&pack, packs.get(&pack.number)));
                    said.insert(pack.number, ());
                }
                Record::Extent(extent) => name_extent(&extent, nameless, &mut compared.named),
                Record::Problem(_) => compared.problems += 1,
                _ => {}
            }
            Ok(())
        })
    });
    if let Err(error) = read {
        compared.findings.push(find(FindingKind::Manifest, cause(&error)));
        return compared;
    }
    texts.extend(packs.keys().filter(|pack| !said.contains_key(*pack)).map(|pack| format!("pack {pack} is not in it")));
    compared.findings.extend(texts.into_iter().map(|text| find(FindingKind::Manifest, text)));
    if own.buckets != sums.buckets && nameless.is_empty() {
        let differing: Vec<bool> = own.buckets.iter().zip(&sums.buckets).map(|(a, b)| a != b).collect();
        match differences(volume, keyring, packs, &differing) {
            Ok(texts) => compared.findings.extend(texts.into_iter().map(|text| find(FindingKind::Manifest, text))),
            Err(error) => compared.findings.push(find(FindingKind::Manifest, chain(&error))),
        }
    }
    give_names(volume, keyring, &mut compared.named);
    compared
}

fn compare_pack(said: &PackRecord, found: Option<&PackFacts>) -> Option<String> {
    let number = said.number;
    let Some(found) = found else { return Some(format!("it lists pack {number}, which is not there")) };
    if found.damaged {
        return None; // a damaged pack differs, and that is reported where the damage is
    }
    let field = |field: &str, said: String, found: String| {
        (said != found).then(|| format!("pack {number}: {field} is {found}, MANIFEST says {said}"))
    };
    field("number of frames", said.frame_count.to_string(), found.frames.to_string())
        .or_else(|| field("length", said.file_bytes.to_string(), found.file_bytes.to_string()))
        .or_else(|| field("CRC-64", said.crc64.to_string(), found.crc64.to_string()))
        .or_else(|| field("number of commits", said.commit_count.to_string(), found.commits.to_string()))
        .or_else(|| field("run", said.run.to_string(), found.run.to_string()))
        .or_else(|| field("reason", format!("{:?}", said.reason), format!("{:?}", found.reason.unwrap_or(said.reason))))
}

/// Notes which bytes of an extent lie in a nameless range.
fn name_extent(extent: &Extent, nameless: &[Nameless], named: &mut [Vec<Lost>]) {
    let Content::Stored(pieces) = &extent.content else { return };
    for (range, lost) in nameless.iter().zip(named) {
        let is_known = range.known.contains(&(extent.id, extent.generation, extent.offset));
        if range.pack != extent.pack || is_known || lost.len() > LOST_MAX {
            continue;
        }
        let mut at = extent.offset;
        for piece in pieces {
            let bytes = Span { from: at, to: at.saturating_add(piece.bytes.into()) };
            at = bytes.to;
            if (range.frames.from..range.frames.to).contains(&piece.frame.into()) {
                lost.push(Lost { id: extent.id, path: String::new(), bytes });
            }
        }
    }
}

/// Finds the paths of what was lost, by a second reading.
fn give_names(volume: &Volume, keyring: &Keyring, named: &mut [Vec<Lost>]) {
    let wanted: HashSet<u64> = named.iter().flatten().map(|lost| lost.id).collect();
    if wanted.is_empty() {
        return;
    }
    let mut paths: HashMap<u64, String> = HashMap::new();
    let read = ManifestReader::open(volume, keyring).and_then(|reader| {
        reader.read::<Error>(|record| {
            let (id, path) = match &record {
                Record::Entry(entry) => (entry.id, &entry.path),
                Record::Begin(begin) => (begin.id, &begin.path),
                _ => return Ok(()),
            };
            if wanted.contains(&id) {
                paths.insert(id, escape(path));
            }
            Ok(())
        })
    });
    if read.is_ok() {
        for lost in named.iter_mut().flatten() {
            lost.path = paths.get(&lost.id).cloned().unwrap_or_default();
        }
    }
}

/// Which records are in `MANIFEST` or in the packs only. Records that a later generation in `MANIFEST` replaces are no
/// difference: `MANIFEST` need not repeat them.
fn differences(
    volume: &Volume,
    keyring: &Keyring,
    packs: &BTreeMap<u32, PackFacts>,
    differing: &[bool],
) -> Result<Vec<String>, Error> {
    let mut prints = Fingerprints::default();
    let mut only_there: HashMap<u128, (u64, u32, String)> = HashMap::new();
    let mut generations: HashMap<u64, u32> = HashMap::new();
    for number in packs.keys() {
        let index = volume.open_pack(*number, Access::Buffered)?.index(keyring)?;
        for record in &index.records {
            let Some(print) = prints.of(record, Some(*number)) else { continue };
            if differing[bucket(print)] && only_there.len() < DIFFERENCES_MAX {
                let (id, generation, name) = describe(record);
                generations.insert(id, 0);
                only_there.insert(print, (id, generation, format!("{name}, in pack {number}")));
            }
        }
    }
    let mut only_here = Vec::new();
    ManifestReader::open(volume, keyring)?.read::<Error>(|record| {
        let (id, generation, name) = describe(&record);
        if let Some(highest) = generations.get_mut(&id) {
            *highest = generation.max(*highest);
        }
        if let Some(print) = prints.of(&record, None).filter(|print| differing[bucket(*print)])
            && only_there.remove(&print).is_none()
            && only_here.len() < DIFFERENCES_MAX
        {
            only_here.push(format!("it holds {name}, which no pack has"));
        }
        Ok(())
    })?;
    let mut missing: Vec<String> = only_there
        .into_values()
        .filter(|(id, generation, _)| generations.get(id).is_none_or(|highest| highest <= generation))
        .map(|(_, _, name)| format!("it lacks {name}"))
        .collect();
    missing.sort();
    only_here.extend(missing);
    Ok(only_here)
}

fn describe(record: &Record) -> (u64, u32, String) {
    match record {
        Record::Entry(entry) => (entry.id, entry.generation, format!("the entry of {}", escape(&entry.path))),
        Record::Extent(extent) => {
            let name = format!("the extent at byte {} of entry {}", extent.offset, extent.id);
            (extent.id, extent.generation, name)
        }
        _ => (0, 0, "a record".to_owned()),
    }
}
