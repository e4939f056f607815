//! What a check came to: facts once, for people and programs alike.

use serde::Serialize;

use crate::verify::finding::{Finding, Lost};
use crate::verify::signed::{CustodyFact, SignedBy};

/// Findings kept; further ones are only counted. One record of a hostile volume costs a few bytes, a finding a few
/// hundred, so without a limit the report would be the largest thing in memory.
pub const FINDINGS_MAX: usize = 10_000;
/// Lost ranges listed in one finding; further ones are only counted in its text.
pub(super) const LOST_MAX: usize = 10_000;

/// One volume of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VolumeFacts {
    /// Its number in the job.
    pub number: u32,
    /// Its identity.
    pub volume: String,
    /// Its job.
    pub job: String,
    /// Where it was.
    pub path: String,
    /// Whether `SEALED` is there and believed.
    pub sealed: bool,
    /// Packs on it.
    pub packs: u64,
    /// Bytes read from it.
    pub bytes: u64,
    /// Frames whose checksums were compared.
    pub frames: u64,
    /// Weakest way in which its bytes came from the medium: `direct`, `dropped-cache` or `cached`.
    pub read: &'static str,
    /// Whether the SHA-256 of every pack was compared with `SHA256SUMS` (else its frames were authenticated instead).
    pub pack_sums_compared: bool,
    /// Whether its frames were opened with a key.
    pub opened: bool,
    /// Whose signature the seal bears; `None`: no signature that holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<SignedBy>,
    /// The custody log, as far as its signatures hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub custody: Vec<CustodyFact>,
}

/// What a check came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether a key was used.
    pub keyed: bool,
    /// The volumes, in the order given.
    pub volumes: Vec<VolumeFacts>,
    /// Files (entries of type file) whose whole content was checked against its SHA-256.
    pub files_whole: u64,
    /// Their bytes. Unit: bytes.
    pub files_bytes: u64,
    /// Other entries: directories, links, special files.
    pub others: u64,
    /// Paths recorded as not staged.
    pub problems: u64,
    /// Files of which extents are on volumes that were not given.
    pub not_here: u64,
    /// Some of them, by path, escaped.
    pub not_here_paths: Vec<String>,
    /// Things worth knowing that are no damage.
    pub notes: Vec<String>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Findings beyond the limit of the list.
    pub findings_unlisted: u64,
    /// Runs whose key is missing: what they wrote was checked without a key only.
    pub keys_missing: Vec<String>,
}

impl Report {
    /// Adds a finding, within the limits.
    pub(super) fn find(&mut self, mut finding: Finding) {
        if self.findings.len() >= FINDINGS_MAX {
            self.findings_unlisted += 1;
            return;
        }
        let more = finding.lost.len().saturating_sub(LOST_MAX);
        if more > 0 {
            finding.lost.truncate(LOST_MAX);
            finding.text.push_str(&format!(" ({more} more lost ranges)"));
        }
        self.findings.push(finding);
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.findings_unlisted == 0
    }

    /// Everything the findings cost.
    pub fn lost(&self) -> impl Iterator<Item = &Lost> {
        self.findings.iter().flat_map(|finding| &finding.lost)
    }
}
