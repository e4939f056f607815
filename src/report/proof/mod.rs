//! The proof of transfer: one signed document from source digests to S3 checksums, checked offline without any secret.
//! manifests/formats/proof.md.
//!
//! Owns: the document, its tree, what a reader checks. Does not own: what counts as proof of an entry (`grade`).
//! Invariants: written and read as a stream, so memory does not grow with the job; one entry can be shown without the
//! others, whose salted digests tell nothing; nothing is shown that is not below the signed root.

mod entry;
mod pick;
mod read;
mod write;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;

pub use entry::ProofEntry;
pub use pick::pick;
pub use read::{Checked, check_proof};
pub use write::write_proof;

/// Version of the document.
const VERSION: u32 = 1;

/// Why a proof was not made or not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The job could not be read, or the output not written.
    #[error("cannot make the proof")]
    Report(
        /// Why.
        #[source]
        crate::report::Error,
    ),
    /// The job has no key to sign with.
    #[error("the job is open for reading only, so nothing can be signed")]
    NoKey,
    /// The document cannot be read.
    #[error("cannot read the proof")]
    Input(
        /// Why.
        #[source]
        std::io::Error,
    ),
    /// The document is not a proof, or breaks its rules.
    #[error("the document is not a proof that can be believed: {0}")]
    Broken(String),
    /// An entry that was asked for is not in it.
    #[error("the proof has no entry {0}")]
    NoEntry(String),
}

impl From<crate::report::Error> for ProofError {
    fn from(error: crate::report::Error) -> Self {
        Self::Report(error)
    }
}

impl From<crate::job::Error> for ProofError {
    fn from(error: crate::job::Error) -> Self {
        Self::Report(error.into())
    }
}

/// A volume as the proof names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofVolume {
    /// Its number.
    pub number: u32,
    /// Its identity.
    pub volume: String,
    /// When it was sealed; empty: not yet.
    pub sealed: String,
    /// How it was read back.
    pub read_back: String,
    /// SHA-256 of its `SHA256SUMS` when it was sealed.
    pub sums_sha256: String,
    /// Digest of its custody log.
    pub custody: String,
}

/// Entries of one evidence grade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradeCount {
    /// The grade's name.
    pub evidence: String,
    /// How many.
    pub entries: u64,
    /// Their content. Unit: bytes.
    pub bytes: u64,
}

/// What the document says besides its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Claims {
    job: String,
    created: String,
    program: String,
    target: String,
    volumes: Vec<ProofVolume>,
    count: u64,
    grades: Vec<GradeCount>,
    root: Sha256,
}

impl Claims {
    /// The bytes that are signed: each text with its length before it.
    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut text = |text: &str| {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        [&self.job, &self.created, &self.program, &self.target].into_iter().for_each(|value| text(value));
        text(&self.volumes.len().to_string());
        for volume in &self.volumes {
            text(&volume.number.to_string());
            let values = [&volume.volume, &volume.sealed, &volume.read_back, &volume.sums_sha256, &volume.custody];
            values.into_iter().for_each(|value| text(value));
        }
        text(&self.grades.len().to_string());
        for grade in &self.grades {
            text(&grade.evidence);
            text(&grade.entries.to_string());
            text(&grade.bytes.to_string());
        }
        text(&self.count.to_string());
        bytes.extend_from_slice(&self.root);
        bytes
    }
}
