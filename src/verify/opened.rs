//! One pack with its key: every frame opens, commits and footer fit, records decode, extents are what they say.

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::crypto::{self, OpeningKey};
use crate::digest::Crc64;
use crate::format::path::escape;
use crate::format::record::{Extent, Record, Records};
use crate::format::{
    Commit, ENTRIES_PLAIN_BYTES_MAX, Footer, FooterKeys, FooterReason, FrameKind, PackHeader, chain_next, chain_start,
};
use crate::sys::lock::lock;
use crate::verify::extents::{Opener, Outcome, cause, frame_kind, open_data, whole};
use crate::verify::finding::{Finding, FindingKind, Lost, Span, chain};
use crate::verify::join::{Join, Place};
use crate::verify::manifest::RecordSums;
use crate::verify::pipeline::OpenedPack;
use crate::verify::walk::{Group, Stored};
use crate::volume::{Keyring, Openings, OpeningsPool, Plain, RECORDS_PER_PACK_MAX, RECORDS_PLAIN_BYTES_MAX, Volume};

/// A range of frames whose records cannot be read, so that only `MANIFEST` can say what they held.
#[derive(Debug)]
pub(super) struct Nameless {
    pub(super) pack: u32,
    pub(super) frames: Span,
    /// Bytes of the finding it explains; `None`: the first finding about the pack.
    pub(super) bytes: Option<Span>,
    /// Extents of that range that were read all the same: id, generation, offset.
    pub(super) known: HashSet<(u64, u32, u64)>,
}

/// What a keyed check of one pack gathers.
pub(super) struct PackCheck<'a> {
    volume: &'a Volume,
    keyring: &'a Keyring,
    header: PackHeader,
    key: OpeningKey,
    place: Place,
    chain: [u8; 32],
    commits: u32,
    data_plain_bytes: u64,
    records: u64,
    records_plain_bytes: u64,
    next_index: u32,
    /// Data frames of earlier groups, without their bodies, and what was kept of them for extents that end later.
    earlier: Vec<Stored>,
    kept: Vec<Option<Arc<Plain>>>,
    keep_bytes_max: u64,
    /// Whether the last commit could not be opened, so that the next one cannot be compared with it.
    chain_lost: bool,
    /// Whether anything was damaged, so that sums over the file cannot be compared any more.
    damaged: bool,
    reason: Option<FooterReason>,
    problems: u64,
    findings: Vec<Finding>,
    nameless: Vec<Nameless>,
}

impl<'a> PackCheck<'a> {
    pub(super) fn new(
        volume: &'a Volume,
        keyring: &'a Keyring,
        header: PackHeader,
        header_bytes: &[u8],
        key: OpeningKey,
        keep_bytes_max: u64,
        file: &str,
    ) -> Self {
        let place = Place { volume: volume.header().number, file: file.into() };
        Self {
            volume,
            keyring,
            header,
            key,
            place,
            chain: chain_start(header_bytes),
            commits: 0,
            data_plain_bytes: 0,
            records: 0,
            records_plain_bytes: 0,
            next_index: 0,
            earlier: Vec::new(),
            kept: Vec::new(),
            keep_bytes_max,
            chain_lost: false,
            damaged: false,
            reason: None,
            problems: 0,
            findings: Vec::new(),
            nameless: Vec::new(),
        }
    }

    /// What it came to.
    pub(super) fn finish(&mut self) -> OpenedPack {
        OpenedPack {
            reason: self.reason,
            problems: self.problems,
            findings: std::mem::take(&mut self.findings),
            nameless: std::mem::take(&mut self.nameless),
        }
    }

    fn find(&mut self, kind: FindingKind, text: impl Into<String>) -> &mut Finding {
        self.findings.push(Finding::new(kind, self.place.volume, &*self.place.file, text));
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    fn find_at(&mut self, kind: FindingKind, at: &Stored, text: impl Into<String>) {
        let (index, from, to) = (at.at.index, at.at.offset, at.header.end(at.at.offset));
        let finding = self.find(kind, text);
        *finding = finding.clone().frames(index, index.saturating_add(1)).bytes(from, to);
    }

    /// Checks a group: records first, since they say where the extents are.
    pub(super) fn group(
        &mut self,
        group: Group,
        pool: &OpeningsPool,
        join: &std::sync::Mutex<Join>,
        sums: &mut RecordSums,
    ) {
        let group = &group;
        let before = self.findings.len();
        let first_index = self.next_index;
        let group_damaged = !group.damages.is_empty();
        let (records, records_bad) = pool.with(|openings| self.read_records(group, openings));
        let earlier = std::mem::take(&mut self.earlier);
        let own = group.frames.iter().filter(|frame| frame.at_kind() == FrameKind::Data);
        let data: Vec<&Stored> = earlier.iter().chain(own).collect();
        let extents: Vec<&Extent> = records.iter().filter_map(as_extent).collect();
        let opener = Opener {
            volume: self.volume,
            number: self.header.number,
            header: &self.header,
            key: &self.key,
            pool,
            keep_bytes_max: self.keep_bytes_max,
        };
        let known = |index: u32| group.frames.binary_search_by_key(&index, |frame| frame.at.index).is_ok();
        let end_index = group.end.as_ref().map_or(u32::MAX, |end| end.at.index);
        let is_lost = |index: u32| index < end_index && !known(index);
        let opened = open_data(&opener, &data, std::mem::take(&mut self.kept), &extents, &is_lost);
        self.kept = opened.kept;
        for bad in &opened.bad_frames {
            self.find_at(bad.kind, data[bad.at], bad.text.clone());
        }
        let bodiless: Vec<Stored> = data[earlier.len()..].iter().map(|stored| stored.without_body()).collect();
        let frames_bad = !opened.bad_frames.is_empty();
        self.take_records(&records, opened.outcomes, join, sums, &group.damages, before);
        if records_bad || (group_damaged && may_have_lost_records(group)) {
            let known = extents.iter().map(|extent| (extent.id, extent.generation, extent.offset)).collect();
            self.name_later(group, first_index, before, known);
        }
        self.earlier = earlier;
        self.earlier.extend(bodiless);
        let is_whole = !group_damaged && !frames_bad && !records_bad;
        if let Some(end) = &group.end {
            self.next_index = end.at.index.saturating_add(1);
            match end.header.kind {
                FrameKind::Commit => self.commit(group, end, records.len(), opened.plain_bytes, is_whole),
                _ => self.footer(end),
            }
        }
        self.damaged |= !is_whole;
    }

    fn read_records(&mut self, group: &Group, openings: &mut Openings) -> (Vec<Record>, bool) {
        let (mut records, mut bad) = (Vec::new(), false);
        for stored in group.frames.iter().filter(|frame| frame.at_kind() == FrameKind::Entries) {
            let body = stored.take_body().unwrap_or_default();
            let root = self.volume.root();
            let plain = match openings.open(&self.key, &stored.header, &body, ENTRIES_PLAIN_BYTES_MAX, root) {
                Ok(plain) => plain,
                Err(error) => {
                    self.find_at(frame_kind(&error), stored, cause(&error));
                    bad = true;
                    continue;
                }
            };
            self.records_plain_bytes += plain.len() as u64;
            if self.records_plain_bytes > RECORDS_PLAIN_BYTES_MAX || self.records > RECORDS_PER_PACK_MAX {
                self.find_at(FindingKind::Content, stored, "more records than a pack may hold");
                return (records, true);
            }
            for record in Records::new(&plain) {
                match record {
                    Ok(record) => records.push(record),
                    Err(error) => {
                        self.find_at(FindingKind::Content, stored, error.to_string());
                        bad = true;
                    }
                }
            }
            openings.give_back(plain);
        }
        self.records += records.len() as u64;
        (records, bad)
    }

    fn take_records(
        &mut self,
        records: &[Record],
        outcomes: Vec<Outcome>,
        join: &std::sync::Mutex<Join>,
        sums: &mut RecordSums,
        damages: &[crate::volume::Damage],
        before: usize,
    ) {
        let mut join = lock(join);
        let mut outcomes = outcomes.into_iter();
        let mut lost = Vec::new();
        // Asked for only where something is damaged.
        let names = LazyCell::new(|| records.iter().filter_map(as_name).collect::<HashMap<u64, &[u8]>>());
        for record in records {
            sums.add_from_pack(record, self.header.number);
            match record {
                Record::Begin(begin) => join.begin(begin),
                Record::Entry(entry) => join.entry(entry, &self.place),
                Record::Problem(_) => self.problems += 1,
                Record::Pack(_) | Record::Summary(_) => {
                    self.find(FindingKind::Content, "a record that only MANIFEST may hold");
                }
                Record::Extent(extent) => {
                    let outcome = outcomes.next();
                    if let (0, Some(Outcome::Good(part))) = (extent.pack, &outcome) {
                        join.part(extent, *part);
                        continue;
                    }
                    let path = names.get(&extent.id).copied().or_else(|| join.path(extent.id, extent.generation));
                    let path = path.map(escape).unwrap_or_default();
                    match outcome {
                        _ if extent.pack != 0 => {
                            join.damaged(extent);
                            self.bad_extent(extent, path, "it names another pack");
                        }
                        Some(Outcome::Lost(spans)) => {
                            join.damaged(extent);
                            let lose = |bytes| Lost { id: extent.id, path: path.clone(), bytes };
                            lost.push((extent, spans.into_iter().map(lose).collect::<Vec<_>>()));
                        }
                        Some(Outcome::Bad(text)) => {
                            join.damaged(extent);
                            self.bad_extent(extent, path, &text);
                        }
                        Some(Outcome::Good(_)) | None => {}
                    }
                }
                _ => {}
            }
        }
        drop(join);
        self.place_losses(lost, damages, before);
    }

    fn bad_extent(&mut self, extent: &Extent, path: String, text: &str) {
        let bytes = whole(extent);
        let text = format!("{path}, extent at byte {}: {text}", extent.offset);
        let finding = self.find(FindingKind::Extent, text);
        finding.lost.push(Lost { id: extent.id, path, bytes });
    }

    /// Gives each loss to the finding of the first frame that caused it.
    fn place_losses(&mut self, lost: Vec<(&Extent, Vec<Lost>)>, damages: &[crate::volume::Damage], before: usize) {
        if lost.is_empty() {
            return;
        }
        let mut of_damage: Vec<Vec<Lost>> = damages.iter().map(|_| Vec::new()).collect();
        for (extent, ranges) in lost {
            let pieces = match &extent.content {
                crate::format::record::Content::Stored(pieces) => pieces.as_slice(),
                crate::format::record::Content::Hole => &[],
            };
            let needs = |from: u32, to: u64| pieces.iter().any(|p| p.frame >= from && u64::from(p.frame) < to);
            let own = self.findings[before..].iter_mut().find(|finding| {
                finding.frames.is_some_and(|span| needs(u32::try_from(span.from).unwrap_or(u32::MAX), span.to))
            });
            if let Some(finding) = own {
                finding.lost.extend(ranges);
                continue;
            }
            let hit = damages
                .iter()
                .position(|damage| needs(damage.first_index, damage.next_index.map_or(u64::MAX, u64::from)));
            if let Some(at) = hit {
                of_damage[at].extend(ranges);
            } else {
                self.find(FindingKind::Extent, "frames it needs are not there").lost.extend(ranges);
            }
        }
        for (damage, lost) in damages.iter().zip(of_damage) {
            if !lost.is_empty() {
                let next = damage.next_index.unwrap_or(damage.first_index.saturating_add(1));
                let finding = self.find(FindingKind::Frame, damage.reason.clone());
                let placed = finding.clone().frames(damage.first_index, next).bytes(damage.from, damage.to);
                *finding = Finding { lost, ..placed };
            }
        }
    }

    /// Records of this group are gone: what its frames held is asked of `MANIFEST` afterwards.
    fn name_later(&mut self, group: &Group, first_index: u32, before: usize, known: HashSet<(u64, u32, u64)>) {
        let to = group.end.as_ref().map_or(u64::MAX, |end| end.at.index.into());
        let frames = Span { from: first_index.into(), to };
        let of_damage = group.damages.first().map(|damage| Span { from: damage.from, to: damage.to });
        let bytes = of_damage.or_else(|| self.findings.get(before).and_then(|finding| finding.bytes));
        self.nameless.push(Nameless { pack: self.header.number, frames, bytes, known });
    }

    /// The file ends too early: what its missing groups held is asked of `MANIFEST` afterwards.
    pub(super) fn lose_the_rest(&mut self) {
        let is_asked = self.nameless.last().is_some_and(|range| range.frames.to == u64::MAX);
        if !is_asked {
            let frames = Span { from: self.next_index.into(), to: u64::MAX };
            self.nameless.push(Nameless { pack: self.header.number, frames, bytes: None, known: HashSet::new() });
        }
    }

    fn commit(&mut self, group: &Group, end: &Stored, records: usize, plain_bytes: u64, is_whole: bool) {
        let mut body = end.take_body().unwrap_or_default().to_vec();
        if let Err(error) = self.key.open(&end.header, &mut body) {
            self.find_at(FindingKind::Authentication, end, error.to_string());
            (self.chain_lost, self.damaged) = (true, true);
            return;
        }
        let commit = match Commit::decode(&body) {
            Ok(commit) => commit,
            Err(error) => {
                self.find_at(FindingKind::Commit, end, error.to_string());
                return;
            }
        };
        let first_index = self.first_of(group, end);
        let checksums: Vec<Crc64> = group.frames.iter().map(|frame| frame.header.crc64).collect();
        let seen = Commit {
            first_index,
            frame_count: end.at.index.saturating_sub(first_index),
            at: end.at.offset,
            data_plain_bytes: plain_bytes,
            record_count: u32::try_from(records).unwrap_or(u32::MAX),
            number: self.commits.saturating_add(1),
            chain: chain_next(&self.chain, &checksums),
        };
        if is_whole
            && !self.chain_lost
            && let Err(error) = commit.check(&seen)
        {
            self.find_at(FindingKind::Commit, end, error.to_string());
        }
        // Behind damage the commit's own word is taken over, so that the groups after it are checked as far as they can.
        self.chain_lost = false;
        self.chain = commit.chain;
        self.commits = commit.number;
        self.data_plain_bytes = self.data_plain_bytes.saturating_add(commit.data_plain_bytes);
    }

    fn first_of(&self, group: &Group, end: &Stored) -> u32 {
        group.frames.first().map_or(end.at.index, |frame| frame.at.index)
    }

    fn footer(&mut self, end: &Stored) {
        let body = end.take_body().unwrap_or_default();
        let keys = match FooterKeys::split(&body) {
            Ok((keys, _)) => keys,
            Err(error) => return self.find_at(FindingKind::Footer, end, error.to_string()),
        };
        let run = match self.keyring.get(keys.run, self.volume.root()) {
            Ok(run) => run,
            Err(error) => return self.find_at(FindingKind::Footer, end, error.to_string()),
        };
        let footer = match crypto::open_footer(run, &self.header, &end.header, &body) {
            Ok(footer) => footer,
            Err(error) => return self.find_at(FindingKind::Authentication, end, chain(&error)),
        };
        self.reason = Some(footer.reason);
        let own = Footer { frame_count: end.at.index, at: end.at.offset, ..footer };
        let seen = if self.damaged {
            own // behind damage the sums over the file cannot be compared
        } else {
            Footer {
                commit_count: self.commits,
                data_plain_bytes: self.data_plain_bytes,
                record_count: self.records,
                chain: self.chain,
                ..own
            }
        };
        if let Err(error) = footer.check(&seen) {
            self.find_at(FindingKind::Footer, end, error.to_string());
        }
    }
}

fn as_extent(record: &Record) -> Option<&Extent> {
    match record {
        Record::Extent(extent) => Some(extent),
        _ => None,
    }
}

fn as_name(record: &Record) -> Option<(u64, &[u8])> {
    match record {
        Record::Entry(entry) => Some((entry.id, &entry.path)),
        Record::Begin(begin) => Some((begin.id, &begin.path)),
        _ => None,
    }
}

/// Whether an entries frame of the group may be among the damaged frames: it may unless the entries frames that are there
/// close the group without a gap before them.
fn may_have_lost_records(group: &Group) -> bool {
    let Some(end) = &group.end else { return true };
    let entries: Vec<u32> =
        group.frames.iter().filter(|frame| frame.at_kind() == FrameKind::Entries).map(|frame| frame.at.index).collect();
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return true };
    let is_run = (last - first) as usize + 1 == entries.len() && last.saturating_add(1) == end.at.index;
    // A frame missing directly before the first entries frame may have been one of them.
    let before = first.checked_sub(1);
    let has_before = before.is_none_or(|index| group.frames.iter().any(|frame| frame.at.index == index));
    !(is_run && has_before)
}
