//! Files whose extents lie in several packs or volumes, put together again: no gaps, no overlaps, one CRC-64, one SHA-256.
//!
//! Memory: a file that is complete is judged and forgotten at once, so what is held is in proportion to the extents of
//! files that are not complete yet (some 150 bytes for each 8 MiB or more), not to the volumes. Whether an id was seen
//! before costs one bit per entry.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::digest::{CHAIN_START, ChainingValue, Crc64, Sha256, combine, sha256};
use crate::format::path::escape;
use crate::format::record::{Begin, Entry, EntryType, Extent};
use crate::verify::finding::{Finding, FindingKind};

/// Most pages of 64 ids remembered: dense ids, as every writer gives them, reach half a billion entries with that.
const SEEN_PAGES_MAX: usize = 8 << 20;
/// Ids seen twice that are compared afterwards.
const REPEATED_MAX: usize = 1 << 20;

/// SHA-256 of a part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartSha {
    /// The part is the whole file.
    Whole(Sha256),
    /// Chaining values around it; both were found right for its bytes.
    Chained {
        /// Before.
        start: ChainingValue,
        /// After, or the digest of the file.
        end: ChainingValue,
        /// Which of the two.
        ends_file: bool,
    },
}

/// A part of a file whose bytes fit its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) crc64: Crc64,
    pub(super) sha: PartSha,
}

/// Where a record was read.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) volume: u32,
    pub(super) file: Arc<str>,
}

/// What is known of the end of a file.
#[derive(Debug)]
struct Ended {
    size: u64,
    extent_count: u32,
    crc64: Crc64,
    sha256: Sha256,
    place: Place,
}

#[derive(Debug, Default)]
struct Gathering {
    path: Option<Vec<u8>>,
    ended: Option<Ended>,
    parts: Vec<Part>,
    /// Offsets of extents that are here but damaged; they are reported already.
    damaged: BTreeSet<u64>,
}

impl Gathering {
    /// Whether every extent that its entry counts was seen.
    fn is_complete(&self) -> bool {
        let Some(ended) = &self.ended else { return false };
        let wanted = u64::from(ended.extent_count);
        match (self.parts.len(), self.damaged.len()) {
            (here, 0) if here <= 1 => here as u64 >= wanted,
            (parts, damaged) => (parts + damaged) as u64 >= wanted && self.distinct_offsets() as u64 >= wanted,
        }
    }

    /// An extent may be here twice, when it was staged again.
    fn distinct_offsets(&self) -> usize {
        let offsets: BTreeSet<u64> = self.parts.iter().map(|part| part.offset).chain(self.damaged.clone()).collect();
        offsets.len()
    }
}

/// Everything that ties records of different packs together.
#[derive(Debug, Default)]
pub(super) struct Join {
    files: HashMap<(u64, u32), Gathering>,
    /// Highest generation of files that were judged and that had several extents or generations.
    judged: HashMap<u64, u32>,
    seen: HashMap<u64, u64>,
    pub(super) repeated: BTreeSet<u64>,
    pub(super) seen_overflow: bool,
    pub(super) findings: Vec<Finding>,
    pub(super) files_whole: u64,
    pub(super) files_bytes: u64,
    pub(super) others: u64,
}

impl Join {
    /// A path whose extents follow.
    pub(super) fn begin(&mut self, begin: &Begin) {
        if !self.is_judged(begin.id, begin.generation) {
            self.file(begin.id, begin.generation).path.get_or_insert_with(|| begin.path.clone());
        }
    }

    /// The last word about a path.
    pub(super) fn entry(&mut self, entry: &Entry, place: &Place) {
        let is_repeated = self.note_seen(entry.id);
        if entry.entry_type != EntryType::File {
            self.others += u64::from(!is_repeated);
            return;
        }
        if is_repeated && entry.generation == 1 && !self.files.contains_key(&(entry.id, 1)) {
            return; // judged already; whether the two records are equal is compared afterwards
        }
        let key = (entry.id, entry.generation);
        let mut file = self.files.remove(&key).unwrap_or_default();
        file.ended = Some(Ended {
            size: entry.size,
            extent_count: entry.extent_count,
            crc64: entry.crc64,
            sha256: entry.sha256,
            place: place.clone(),
        });
        if file.is_complete() {
            self.conclude(key, file, &entry.path);
        } else {
            file.path = Some(entry.path.clone());
            self.files.insert(key, file);
        }
    }

    /// An extent whose bytes are right.
    pub(super) fn part(&mut self, extent: &Extent, part: Part) {
        if self.is_judged(extent.id, extent.generation) {
            return; // staged a second time after the file was complete; its own digests are right
        }
        self.file(extent.id, extent.generation).parts.push(part);
        self.judge_if_complete(extent.id, extent.generation);
    }

    /// An extent that is here and damaged; the caller has reported it.
    pub(super) fn damaged(&mut self, extent: &Extent) {
        if !self.is_judged(extent.id, extent.generation) {
            self.file(extent.id, extent.generation).damaged.insert(extent.offset);
            self.judge_if_complete(extent.id, extent.generation);
        }
    }

    /// The path of an id, if a record named it and the file is not complete yet.
    pub(super) fn path(&self, id: u64, generation: u32) -> Option<&[u8]> {
        self.files.get(&(id, generation)).and_then(|file| file.path.as_deref())
    }

    fn file(&mut self, id: u64, generation: u32) -> &mut Gathering {
        self.files.entry((id, generation)).or_default()
    }

    fn is_judged(&self, id: u64, generation: u32) -> bool {
        self.judged.get(&id).is_some_and(|judged| *judged >= generation)
    }

    /// Whether an entry of that id was seen before.
    fn note_seen(&mut self, id: u64) -> bool {
        let (page, bit) = (id / 64, 1_u64 << (id % 64));
        if self.seen.len() >= SEEN_PAGES_MAX && !self.seen.contains_key(&page) {
            self.seen_overflow = true;
            return false;
        }
        let bits = self.seen.entry(page).or_default();
        let is_repeated = *bits & bit != 0;
        if is_repeated {
            if self.repeated.len() < REPEATED_MAX {
                self.repeated.insert(id);
            } else {
                self.seen_overflow = true;
            }
        }
        *bits |= bit;
        is_repeated
    }

    fn judge_if_complete(&mut self, id: u64, generation: u32) {
        if let Slot::Occupied(slot) = self.files.entry((id, generation))
            && slot.get().is_complete()
        {
            let mut file = slot.remove();
            let path = file.path.take().unwrap_or_default();
            self.conclude((id, generation), file, &path);
        }
    }

    /// Judges a file that is complete.
    fn conclude(&mut self, (id, generation): (u64, u32), mut file: Gathering, path: &[u8]) {
        if file.parts.len() > 1 || generation > 1 {
            let judged = self.judged.entry(id).or_default();
            *judged = generation.max(*judged);
        }
        let Some(ended) = file.ended.take() else { return };
        file.damaged.retain(|offset| file.parts.iter().all(|part| part.offset != *offset)); // another copy is good
        if !file.damaged.is_empty() {
            return; // what is lost of it is reported where it is lost
        }
        match judge(&ended, &mut file.parts) {
            Ok(()) => {
                self.files_whole += 1;
                self.files_bytes = self.files_bytes.saturating_add(ended.size);
            }
            Err(text) => {
                let Place { volume, file } = ended.place;
                let text = format!("{}: {text}", escape(path));
                self.findings.push(Finding::new(FindingKind::File, volume, &*file, text));
            }
        }
    }

    /// What is left when every pack was read: files of which extents, or the entry, are on volumes not given. Returns
    /// their paths; ids whose every other extent is damaged are not among them.
    pub(super) fn left_over(&mut self) -> Vec<(u64, Vec<u8>)> {
        let mut left: Vec<_> = std::mem::take(&mut self.files).into_iter().collect();
        left.retain(|((id, generation), _)| !self.is_judged(*id, *generation));
        left.sort_by_key(|(key, _)| *key);
        left.into_iter().map(|((id, _), file)| (id, file.path.unwrap_or_default())).collect()
    }
}

/// Whether the parts give the file: sorted, equal ones counted once, without gap or overlap, with its digests.
fn judge(ended: &Ended, parts: &mut Vec<Part>) -> Result<(), String> {
    parts.sort_by_key(|part| part.offset);
    parts.dedup();
    if ended.size == 0 {
        let empty = parts.is_empty() && ended.crc64 == Crc64::EMPTY && ended.sha256 == sha256(&[]);
        return if empty { Ok(()) } else { Err("an empty file with extents or digests of something".to_owned()) };
    }
    let (mut at, mut crc64, mut state) = (0, Crc64::EMPTY, CHAIN_START);
    let mut whole = None;
    for part in parts.iter() {
        if part.offset != at {
            let what = if part.offset > at { "a gap" } else { "an overlap" };
            return Err(format!("{what} between its extents at bytes {at} and {}", part.offset));
        }
        match part.sha {
            PartSha::Whole(digest) if parts.len() == 1 => whole = Some(digest),
            PartSha::Whole(_) => return Err(format!("its extent at byte {at} carries no SHA-256 states")),
            PartSha::Chained { start, end, ends_file } => {
                if start != state {
                    return Err(format!("the SHA-256 states of its extents do not meet at byte {at}"));
                }
                state = end;
                whole = ends_file.then_some(end);
            }
        }
        crc64 = combine(crc64, part.crc64, part.length);
        at = at.saturating_add(part.length);
    }
    if at != ended.size {
        return Err(format!("its extents give {at} bytes, its entry says {}", ended.size));
    }
    if crc64 != ended.crc64 {
        return Err(format!("the CRC-64 of its extents is {crc64}, its entry says {}", ended.crc64));
    }
    if whole != Some(ended.sha256) {
        return Err("its SHA-256 is not the one its entry says".to_owned());
    }
    Ok(())
}
