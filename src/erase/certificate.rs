//! What was destroyed, and how: for the file of whoever has to answer for the drive.

use std::fmt::Write;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::crypto::{Purpose, SigningKey, fingerprint, is_signed};
use crate::erase::Error;
use crate::erase::purge::Purge;
use crate::erase::wipe::Doomed;
use crate::format::{hex, parse_hex};
use crate::job::Job;
use crate::units;

/// Kind of the event that says an erasure was begun; its detail is the [`Inventory`].
pub(super) const BEGUN: &str = "erase-begun";

/// What was on the volume when its erasure began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// When, RFC 3339.
    pub begun: String,
    /// Key slots.
    pub slots: u64,
    /// Files, key slots among them.
    pub files: u64,
    /// Their length.
    pub bytes: u64,
}

impl Inventory {
    pub(super) fn of(files: &[Doomed], now: Timestamp) -> Self {
        Self {
            begun: now.to_string(),
            slots: files.iter().filter(|file| file.is_slot).count() as u64,
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.len).sum(),
        }
    }

    pub(super) fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(Error::Certificate)
    }
}

/// What the custody log says of an erasure that was begun.
pub(super) fn begun(job: &Job, volume: u32) -> Result<Option<Inventory>, Error> {
    let events = job.events()?;
    let event = events.iter().find(|event| event.kind == BEGUN && event.volume == Some(volume));
    Ok(event.and_then(|event| serde_json::from_str(&event.detail).ok()))
}

/// What an overwriting of files comes to, in the words of NIST SP 800-88.
pub(super) const LEVEL: &str = "Clear, after destruction of the keys (cryptographic erase) of all that was encrypted";
/// What it comes to when the drive was purged after that.
pub(super) const PURGED: &str =
    "Purge: the drive erased itself by its own means, after Clear and destruction of the keys (cryptographic erase)";
/// What must be said beside it.
pub(super) const LIMITS: &str = "Flash drives may keep old copies of overwritten blocks out of reach of any program; those are \
ciphertext whose keys were destroyed here. Other volumes of the job that are not erased may hold slots of the same keys.";

/// What was destroyed, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Version of this document.
    pub packmule_erasure: u32,
    /// Level of NIST SP 800-88.
    pub level: String,
    /// The job.
    pub job: String,
    /// The volume's number.
    pub volume: u32,
    /// Its identity.
    pub volume_id: String,
    /// The drive's model, as it told it when it joined the job.
    pub model: Option<String>,
    /// The drive's serial number, likewise.
    pub serial: Option<String>,
    /// Size of its file system. Unit: bytes.
    pub capacity_bytes: u64,
    /// SHA-256 of the completion report that allowed it; `None`: abandoned without proof of arrival.
    pub completion_report_sha256: Option<String>,
    /// When it was begun.
    pub begun: String,
    /// When it ended.
    pub ended: String,
    /// Key slots destroyed.
    pub slots: u64,
    /// Files destroyed, key slots among them.
    pub files: u64,
    /// Bytes overwritten.
    pub bytes: u64,
    /// Bytes of them read back in the last run. Unit: bytes.
    pub sampled_bytes: u64,
    /// How they were read back, as in `SEALED`.
    pub read_back: String,
    /// Free space overwritten; `None`: it was not asked for.
    pub free_space_bytes: Option<u64>,
    /// How the drive was purged after that; `None`: it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge: Option<Purge>,
    /// The program and its version.
    pub program: String,
    /// Fingerprint of the key that signed.
    pub signed_by: String,
    /// That key, 64 hex digits.
    pub key: String,
    /// Ed25519 signature over this document as `to_json` gives it with an empty `signature`; 128 hex digits.
    pub signature: String,
}

/// Reads a certificate and checks its signature. `None` when it is not one, or not signed by the key it names.
pub fn check_certificate(bytes: &[u8]) -> Option<Certificate> {
    let certificate: Certificate = serde_json::from_slice(bytes).ok()?;
    let (key, signature) = (parse_hex(&certificate.key)?, parse_hex(&certificate.signature)?);
    let blank = Certificate { signature: String::new(), ..certificate.clone() };
    let message = blank.to_json().ok()?;
    let holds = certificate.packmule_erasure == 1
        && certificate.signed_by == fingerprint(&key)
        && is_signed(&key, Purpose::Erasure, message.as_bytes(), &signature);
    holds.then_some(certificate)
}

impl Certificate {
    pub(super) fn sign(&mut self, key: &SigningKey) -> Result<(), Error> {
        self.signature.clear();
        self.signed_by = fingerprint(&key.public());
        self.key = hex(&key.public());
        self.signature = hex(&key.sign(Purpose::Erasure, self.to_json()?.as_bytes()));
        Ok(())
    }

    /// The certificate as one JSON document.
    pub(super) fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string_pretty(self).map_err(Error::Certificate).map(|text| text + "\n")
    }

    /// The certificate for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let _ = self.body(&mut text); // writing to a String cannot fail
        text
    }

    fn body(&self, out: &mut String) -> std::fmt::Result {
        let unknown = || "not told by the drive".to_owned();
        let size = |bytes| units::Bytes::new(bytes).decimal();
        writeln!(out, "CERTIFICATE OF ERASURE\n")?;
        writeln!(out, "Job            {}", self.job)?;
        writeln!(out, "Volume         {} ({})", self.volume, self.volume_id)?;
        writeln!(out, "Drive          {}", self.model.clone().unwrap_or_else(unknown))?;
        writeln!(out, "Serial         {}", self.serial.clone().unwrap_or_else(unknown))?;
        writeln!(out, "File system    {}", size(self.capacity_bytes))?;
        writeln!(out, "Begun          {}", self.begun)?;
        writeln!(out, "Ended          {}", self.ended)?;
        writeln!(out, "Program        {}\n", self.program)?;
        match &self.completion_report_sha256 {
            Some(digest) => writeln!(out, "Allowed by     completion report, SHA-256 {digest}")?,
            None => writeln!(out, "Allowed by     the user, WITHOUT PROOF OF ARRIVAL (abandoned)")?,
        }
        writeln!(out, "\nDone")?;
        writeln!(
            out,
            "  1. {} key slots overwritten, synced, removed; everything on the drive is encrypted",
            self.slots
        )?;
        writeln!(out, "     (AES-256-GCM) under the keys they held.")?;
        writeln!(
            out,
            "  2. {} files, {} ({} bytes), overwritten once with random bytes, synced.",
            self.files,
            size(self.bytes),
            self.bytes
        )?;
        writeln!(out, "  3. {} of them read back and compared: {}.", size(self.sampled_bytes), self.read_back)?;
        match self.free_space_bytes {
            Some(bytes) => writeln!(out, "  4. Free space overwritten: {}.", size(bytes))?,
            None => writeln!(out, "  4. Free space was not overwritten.")?,
        }
        writeln!(out, "  5. All files removed.\n")?;
        if let Some(purge) = &self.purge {
            writeln!(out, "Then the whole drive: {}, {} to {}.", purge.method, purge.begun, purge.ended)?;
            writeln!(
                out,
                "  Of {} marks written all over it before, {} were looked for and are gone; {} places cannot be read.\n",
                purge.marks, purge.gone, purge.unreadable
            )?;
        }
        writeln!(out, "Level of NIST SP 800-88: {}.", self.level)?;
        if self.purge.is_none() {
            writeln!(out, "{LIMITS}\n")?;
        }
        writeln!(out, "Signed by      {}", self.signed_by)?;
        writeln!(out, "Signature      {} (of the JSON form)", self.signature)
    }
}
