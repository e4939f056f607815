//! What of a volume can be checked without a key besides its packs: `SEALED`, `SHA256SUMS`, the files that are there,
//! the slots.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::{Sha256, sha256};
use crate::format::{Error as FormatError, Sealed, SumLine, hex, parse_sums};
use crate::verify::finding::{Finding, FindingKind, chain};
use crate::volume::{CUSTODY, Error, MANIFEST, README, SEALED, SUMS, VOLUME, Volume};

/// First line of every age file. Source: the age file format, version 1.
const AGE_INTRO: &[u8] = b"age-encryption.org/v1\n";
/// How every age file's header ends: a line of three hyphens and a MAC.
const AGE_MAC: &[u8] = b"\n--- ";

/// What the surface of a volume says.
#[derive(Debug, Default)]
pub(super) struct Surface {
    /// `SEALED`, when it is there and believed.
    pub(super) sealed: Option<Sealed>,
    /// Whether a file `SEALED` is there at all.
    pub(super) has_seal: bool,
    /// What `SHA256SUMS` says of each file.
    pub(super) sums: BTreeMap<String, Sha256>,
    /// The same in the order of the file.
    pub(super) lines: Vec<SumLine>,
    /// Files present that a volume may have.
    pub(super) files: BTreeSet<String>,
    pub(super) findings: Vec<Finding>,
    pub(super) notes: Vec<String>,
}

impl Surface {
    /// Looks at a volume.
    ///
    /// # Errors
    /// When its directories cannot be listed.
    pub(super) fn look(volume: &Volume) -> Result<Self, Error> {
        let mut surface = Self::default();
        let number = volume.header().number;
        for file in volume.files()? {
            if file.ends_with(".part") {
                surface.notes.push(format!("volume {number}: {file} is the remains of an interrupted step"));
            } else {
                surface.files.insert(file);
            }
        }
        surface.has_seal = surface.files.contains(SEALED);
        surface.read_sums(volume);
        surface.read_seal(volume);
        surface.compare_names(number);
        if !surface.has_seal {
            let of = if surface.files.contains(SUMS) { " although SHA256SUMS is there" } else { "" };
            surface
                .notes
                .push(format!("volume {number} is open{of}: not sealed, so nothing says how much it should hold"));
        }
        Ok(surface)
    }

    fn find(&mut self, kind: FindingKind, number: u32, file: &str, text: impl Into<String>) {
        self.findings.push(Finding::new(kind, number, file, text));
    }

    fn read_sums(&mut self, volume: &Volume) {
        let number = volume.header().number;
        if !self.files.contains(SUMS) {
            return;
        }
        let parsed = volume.read_sums().map_err(|error| chain(&error));
        match parsed.and_then(|bytes| parse_sums(&bytes).map_err(|error| chain(&error))) {
            Ok(lines) => {
                self.sums = lines.iter().map(|line| (line.path.clone(), line.sha256)).collect();
                self.lines = lines;
            }
            Err(text) => self.find(FindingKind::Seal, number, SUMS, text),
        }
    }

    fn read_seal(&mut self, volume: &Volume) {
        let number = volume.header().number;
        if !self.has_seal {
            return;
        }
        match volume.sealed() {
            Ok(sealed) => self.sealed = sealed,
            // SEALED carries a checksum of its own: if that is right and the sum is not, it is SHA256SUMS that differs.
            Err(Error::Format { source: FormatError::Field { field: "sums-sha256", found, .. }, .. }) => {
                let differs = volume.read_sums().map(|bytes| hex(&sha256(&bytes)));
                let text = format!("its SHA-256 is {}, SEALED says {found}", differs.unwrap_or_default());
                self.find(FindingKind::Seal, number, SUMS, text);
            }
            Err(error) => {
                let missing = !self.files.contains(SUMS);
                let (kind, file) = if missing { (FindingKind::Missing, SUMS) } else { (FindingKind::Seal, SEALED) };
                self.find(kind, number, file, chain(&error));
            }
        }
    }

    /// Files listed and missing, present and not listed; names no volume has.
    fn compare_names(&mut self, number: u32) {
        let own = [CUSTODY, SEALED, SUMS];
        for file in self.files.clone() {
            let is_listed = self.sums.contains_key(&file);
            if !is_listed && !own.contains(&file.as_str()) && (!self.sums.is_empty() || !is_known(&file)) {
                self.find(FindingKind::Unlisted, number, &file, "it is there and not listed in SHA256SUMS");
            }
        }
        for file in self.sums.keys().cloned().collect::<Vec<_>>() {
            if !self.files.contains(&file) {
                self.find(FindingKind::Missing, number, &file, "SHA256SUMS lists it, and it is not there");
            }
        }
        for file in [README, VOLUME] {
            if !self.files.contains(file) && !self.sums.contains_key(file) {
                self.find(FindingKind::Missing, number, file, "every volume has it, and it is not there");
            }
        }
        if self.has_seal && !self.files.contains(MANIFEST) && !self.sums.contains_key(MANIFEST) {
            self.find(FindingKind::Missing, number, MANIFEST, "every sealed volume has it, and it is not there");
        }
        if let Some(sealed) = &self.sealed {
            let packs = self.files.iter().filter(|file| file.starts_with("packs/")).count() as u64;
            if packs != sealed.packs {
                let text = format!("it says {} packs, {packs} are there", sealed.packs);
                self.find(FindingKind::Seal, number, SEALED, text);
            }
        }
    }

    /// Compares a file's SHA-256 with the list.
    pub(super) fn compare_sum(&self, number: u32, file: &str, found: &Sha256) -> Option<Finding> {
        let expected = self.sums.get(file)?;
        let text = || format!("its SHA-256 is {}, SHA256SUMS says {}", hex(found), hex(expected));
        (expected != found).then(|| Finding::new(FindingKind::Sum, number, file, text()))
    }
}

/// Whether a slot looks like an age file from outside: its first line, a header that ends, and something behind.
pub(super) fn check_slot(volume: &Volume, run: crate::format::RunId) -> Option<Finding> {
    let file = format!("slots/{run}.age");
    let number = volume.header().number;
    let bytes = match volume.read_slot(run) {
        Ok(bytes) => bytes,
        Err(error) => return Some(super::walk::unreadable(number, &file, &error)),
    };
    let has_header = bytes.starts_with(AGE_INTRO) && bytes.windows(AGE_MAC.len()).any(|window| window == AGE_MAC);
    (!has_header).then(|| Finding::new(FindingKind::Slot, number, file, "it is not an age file"))
}

/// Whether a volume of this format has files of that name.
fn is_known(file: &str) -> bool {
    let is_slot =
        file.strip_prefix("slots/").and_then(|name| name.strip_suffix(".age").or_else(|| name.strip_suffix(".kms")));
    let is_pack = file.strip_prefix("packs/").and_then(|name| name.strip_suffix(".pack"));
    file.starts_with("reader/")
        || [README, VOLUME, MANIFEST, SUMS, SEALED, CUSTODY].contains(&file)
        || is_slot.is_some_and(|run| crate::format::RunId::parse(run).is_ok())
        || is_pack.is_some_and(|pack| pack.len() == 8 && pack.parse::<u32>().is_ok_and(|number| number > 0))
}
