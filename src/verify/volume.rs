//! One volume: surface, slots, packs in order, `MANIFEST`. With a key, what the walk brings is opened beside it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::crypto::OpeningKey;
use crate::format::{PackHeader, ReadBack};
use crate::monitor::Monitor;
use crate::verify::finding::{Finding, FindingKind, chain};
use crate::verify::join::Join;
use crate::verify::manifest::{PackFacts, RecordSums, compare};
use crate::verify::memory::Memory;
use crate::verify::opened::{Nameless, PackCheck};
use crate::verify::pipeline::{Opened, ToOpener, beside};
use crate::verify::report::VolumeFacts;
use crate::verify::signed;
use crate::verify::surface::{Surface, check_slot};
use crate::verify::walk::{Walked, Walking, unreadable, walk};
use crate::volume::{CUSTODY, Chunks, Error, Keyring, MANIFEST, SEALED, SUMS, Volume, pack_name};

/// What every volume's check needs.
pub(super) struct Context<'a> {
    /// Run keys; `None`: without a key.
    pub(super) keyring: Option<&'a Keyring>,
    /// Whether the SHA-256 of packs and `MANIFEST` is compared.
    pub(super) pack_sums: bool,
    /// The key whose signature is expected, as the user was told it.
    pub(super) signed_by: Option<&'a str>,
    pub(super) join: &'a Mutex<Join>,
    pub(super) memory: Memory,
    pub(super) monitor: &'a dyn Monitor,
}

/// What one volume came to.
pub(super) struct Outcome {
    pub(super) facts: VolumeFacts,
    pub(super) findings: Vec<Finding>,
    pub(super) notes: Vec<String>,
    pub(super) problems: u64,
    pub(super) keys_missing: Vec<String>,
}

/// A file in pack form that was walked.
struct WalkedFile {
    /// Its header, or why it is not believed.
    header: Result<PackHeader, Error>,
    walked: Walked,
}

struct Check<'a> {
    volume: &'a Volume,
    context: &'a Context<'a>,
    surface: Surface,
    way: ReadBack,
    outcome: Outcome,
    packs: BTreeMap<u32, PackFacts>,
    sums: RecordSums,
    nameless: Vec<Nameless>,
    /// What packs are read into.
    chunks: Chunks,
}

/// Checks one volume.
///
/// # Errors
/// When the volume goes away; everything else is a finding.
pub(super) fn check(volume: &Volume, context: &Context<'_>) -> Result<Outcome, Error> {
    let surface = Surface::look(volume)?;
    let header = volume.header();
    let facts = VolumeFacts {
        number: header.number,
        volume: header.volume.to_string(),
        job: header.job.to_string(),
        path: volume.root().display().to_string(),
        sealed: surface.sealed.is_some(),
        packs: 0,
        bytes: 0,
        frames: 0,
        read: ReadBack::Direct.word(),
        pack_sums_compared: context.pack_sums && !surface.sums.is_empty(),
        opened: context.keyring.is_some(),
        signed_by: None,
        custody: Vec::new(),
    };
    let (mut findings, mut notes) = (surface.findings.clone(), surface.notes.clone());
    let vouched = signed::check(volume, surface.sealed.as_ref(), &surface.lines, context.signed_by);
    findings.extend(vouched.findings);
    notes.extend(vouched.notes);
    let facts = VolumeFacts { signed_by: vouched.signed_by, custody: vouched.custody, ..facts };
    let outcome = Outcome { facts, findings, notes, problems: 0, keys_missing: Vec::new() };
    let mut check = Check {
        volume,
        context,
        surface,
        way: ReadBack::Direct,
        outcome,
        packs: BTreeMap::new(),
        sums: RecordSums::default(),
        nameless: Vec::new(),
        chunks: context.memory.chunks(),
    };
    check.small_files();
    for run in volume.slots()? {
        check.outcome.findings.extend(check_slot(volume, run));
    }
    let numbers = check.pack_numbers()?;
    let (walked, mut opened) = beside(context.join, |opener| check.walk_packs(&numbers, opener));
    for (number, walked) in walked {
        check.pack(number, walked, &mut opened);
    }
    check.sums = opened.sums;
    check.chunks = Chunks::default(); // `MANIFEST` needs few; the comparison with it needs the memory
    check.manifest();
    check.outcome.facts.read = check.way.word();
    check.outcome.facts.packs = check.packs.len() as u64;
    Ok(check.outcome)
}

impl<'a> Check<'a> {
    fn number(&self) -> u32 {
        self.volume.header().number
    }

    /// Files that are neither packs nor `MANIFEST`, against `SHA256SUMS`.
    fn small_files(&mut self) {
        let is_small =
            |file: &&String| !file.starts_with("packs/") && ![CUSTODY, MANIFEST, SEALED, SUMS].contains(&file.as_str());
        let files: Vec<String> = self.surface.files.iter().filter(is_small).cloned().collect();
        for file in files {
            if !self.surface.sums.contains_key(&file) {
                continue;
            }
            match self.volume.check_file(&file) {
                Ok((bytes, _, sha256, way)) => {
                    self.outcome.facts.bytes += bytes;
                    self.way = self.way.weaker(way);
                    self.context.monitor.volume_bytes(self.number(), bytes);
                    self.outcome.findings.extend(self.surface.compare_sum(self.number(), &file, &sha256));
                }
                Err(error) => self.outcome.findings.push(unreadable(self.number(), &file, &error)),
            }
        }
    }

    /// Packs that are there and packs that are listed, by number.
    fn pack_numbers(&mut self) -> Result<Vec<u32>, Error> {
        let present = self.volume.packs()?;
        let listed = self.surface.sums.keys().filter_map(|file| file.strip_prefix("packs/")?.strip_suffix(".pack"));
        let missing = listed.filter_map(|number| number.parse().ok()).filter(|number| !present.contains(number));
        for number in missing.collect::<Vec<u32>>() {
            self.lose_whole_pack(number);
        }
        Ok(present)
    }

    /// Nothing of the pack can be shown: `MANIFEST` is asked what it held.
    fn lose_whole_pack(&mut self, pack: u32) {
        let frames = crate::verify::finding::Span { from: 0, to: u64::MAX };
        self.nameless.push(Nameless { pack, frames, bytes: None, known: Default::default() });
    }

    /// Walks all packs, and has the opener open those whose key is at hand.
    fn walk_packs(&mut self, numbers: &[u32], opener: &ToOpener<'a>) -> Vec<(u32, Result<WalkedFile, Error>)> {
        let walk = |number: &u32| {
            let walked = self.walk_file(*number, &pack_file(*number), Some(opener));
            (*number, walked)
        };
        numbers.iter().map(walk).collect()
    }

    /// Takes what walking and opening a pack came to.
    fn pack(&mut self, number: u32, walked: Result<WalkedFile, Error>, opened: &mut Opened) {
        let file = pack_file(number);
        let WalkedFile { header, mut walked } = match walked {
            Ok(walked) => walked,
            Err(error) => {
                self.outcome.findings.push(unreadable(self.number(), &file, &error));
                return self.lose_whole_pack(number);
            }
        };
        let header = match header {
            Ok(header) => header,
            // The header of a pack reaches the medium with its first frames, and counts from its first commit on.
            Err(_) if !self.surface.has_seal && walked.commits == 0 && !walked.footer => {
                let note =
                    format!("volume {}, {file}: begun when its writer was interrupted, and empty", self.number());
                self.outcome.notes.push(note);
                return self.lose_whole_pack(number);
            }
            Err(error) => {
                self.bad_header(&file, &error);
                self.outcome.findings.extend(walked.findings);
                return self.lose_whole_pack(number);
            }
        };
        let opened = opened.packs.remove(&number).unwrap_or_default();
        self.nameless.extend(opened.nameless);
        self.outcome.problems += opened.problems;
        merge(&mut walked.findings, opened.findings);
        let facts = PackFacts {
            frames: walked.frames,
            file_bytes: walked.file_bytes,
            crc64: walked.crc64,
            commits: walked.commits,
            reason: opened.reason,
            run: header.run,
            damaged: walked.damaged || !walked.findings.is_empty(),
        };
        self.packs.insert(number, facts);
        self.outcome.findings.extend(walked.findings);
    }

    fn bad_header(&mut self, file: &str, error: &dyn std::error::Error) {
        let finding = Finding::new(FindingKind::Header, self.number(), file, chain(error)).bytes(0, 4096);
        self.outcome.findings.push(finding);
    }

    /// Walks one file in pack form; with an opener and its key, what it holds is opened on the way.
    fn walk_file(&mut self, number: u32, file: &str, opener: Option<&ToOpener<'a>>) -> Result<WalkedFile, Error> {
        let with_sha256 = self.context.pack_sums && self.surface.sums.contains_key(file);
        let checked = self.volume.check_pack(number, with_sha256, &self.chunks)?;
        self.way = self.way.weaker(checked.way);
        self.outcome.facts.bytes += checked.walk.file_bytes();
        let key = checked.header.as_ref().ok().and_then(|header| self.key_of(header, file));
        let opens = match (opener, key, &checked.header, self.context.keyring) {
            (Some(opener), Some(key), Ok(header), Some(keyring)) => {
                let header_bytes = &checked.header_bytes;
                let keep = self.context.memory.later_bytes();
                let check = PackCheck::new(self.volume, keyring, header.clone(), header_bytes, key, keep, file);
                opener.begin(number, check);
                Some(opener)
            }
            _ => None,
        };
        let walking = Walking {
            volume: self.number(),
            file: file.to_owned(),
            is_manifest: number == 0,
            sealed: self.surface.has_seal,
            keep_bytes_max: opens.map(|_| self.context.memory.group_bytes()),
            monitor: self.context.monitor,
        };
        let walked = walk(checked.walk, &walking, |group| {
            if let Some(opener) = opens {
                opener.group(group);
            }
        });
        if let Some(opener) = opens {
            opener.end(walked.as_ref().is_ok_and(|walked| !walked.footer && walking.sealed));
        }
        let mut walked = walked?;
        self.outcome.facts.frames += walked.frames;
        self.context.monitor.files(1);
        self.outcome.notes.append(&mut walked.notes);
        if let Some(sha256) = &walked.sha256 {
            walked.findings.extend(self.surface.compare_sum(self.number(), file, sha256));
        }
        Ok(WalkedFile { header: checked.header, walked })
    }

    /// The key of a file, or a note that it is missing, or a finding that it does not fit.
    fn key_of(&mut self, header: &PackHeader, file: &str) -> Option<OpeningKey> {
        let keyring = self.context.keyring?;
        let Ok(run) = keyring.get(header.run, self.volume.root()) else {
            self.outcome.keys_missing.push(format!("volume {}, {file}: run {}", self.number(), header.run));
            return None;
        };
        match OpeningKey::from_header(run, header) {
            Ok(key) => Some(key),
            Err(error) => {
                self.bad_header(file, &error);
                None
            }
        }
    }

    fn manifest(&mut self) {
        if !self.surface.files.contains(MANIFEST) {
            return;
        }
        if !self.surface.has_seal {
            return; // an unfinished seal leaves one, and nothing refers to it
        }
        match self.walk_file(0, MANIFEST, None) {
            Err(error) => self.outcome.findings.push(unreadable(self.number(), MANIFEST, &error)),
            Ok(WalkedFile { header, walked }) => {
                let is_whole = walked.findings.is_empty();
                let header = header.map_err(|error| self.bad_header(MANIFEST, &error));
                self.outcome.findings.extend(walked.findings);
                let Ok(header) = header else { return };
                let opens =
                    self.context.keyring.is_some_and(|keyring| keyring.get(header.run, self.volume.root()).is_ok());
                if let Some(keyring) = self.context.keyring.filter(|_| is_whole && opens) {
                    self.compare_manifest(keyring);
                }
            }
        }
    }

    fn compare_manifest(&mut self, keyring: &Keyring) {
        if !self.outcome.keys_missing.is_empty() {
            return; // packs that were not opened cannot be compared
        }
        let compared = compare(self.volume, keyring, &self.packs, &self.sums, &self.nameless);
        self.outcome.problems = self.outcome.problems.max(compared.problems);
        let number = self.number();
        for (range, lost) in self.nameless.iter().zip(compared.named) {
            let is_cause = |finding: &&mut Finding| {
                finding.volume == number
                    && finding.pack == Some(range.pack)
                    && (range.bytes.is_none() || finding.bytes == range.bytes)
            };
            if let Some(finding) = self.outcome.findings.iter_mut().find(is_cause) {
                finding.lost.extend(lost);
            }
        }
        self.outcome.findings.extend(compared.findings);
    }
}

/// A pack's path below `packmule/`.
fn pack_file(number: u32) -> String {
    format!("packs/{}", pack_name(number))
}

/// Adds the findings of the opener to those of the walker; one that is already there only gains what it cost.
fn merge(walked: &mut Vec<Finding>, opened: Vec<Finding>) {
    for finding in opened {
        let same =
            |there: &&mut Finding| there.kind == finding.kind && there.bytes == finding.bytes && there.bytes.is_some();
        match walked.iter_mut().find(same) {
            Some(there) => there.lost.extend(finding.lost),
            None => walked.push(finding),
        }
    }
}
