//! Who vouches for a volume: the signature of its seal, and its custody log. Needs no secret.

use serde::Serialize;

use crate::crypto::{PublicKey, Purpose, fingerprint, is_named, is_signed};
use crate::format::{CustodyEntry, Sealed, SumLine, begins_with, hex, sums_root};
use crate::verify::finding::{Finding, FindingKind, chain};
use crate::volume::{CUSTODY, SEALED, Volume, read_custody};

/// The signature of a seal that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignedBy {
    /// The key, in hex digits.
    pub key: String,
    /// Its fingerprint, in words.
    pub fingerprint: String,
    /// Root of the Merkle tree over the files of the volume.
    pub merkle_root: String,
}

/// One entry of a custody log that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CustodyFact {
    /// When, RFC 3339.
    pub at: String,
    /// What.
    pub kind: String,
    /// Who says so.
    pub by: String,
    /// Details.
    pub detail: String,
    /// Fingerprint of the key that signed it.
    pub signed_by: String,
}

/// What was found out.
#[derive(Debug, Default)]
pub(super) struct Vouched {
    pub(super) signed_by: Option<SignedBy>,
    pub(super) custody: Vec<CustodyFact>,
    pub(super) findings: Vec<Finding>,
    pub(super) notes: Vec<String>,
}

/// Checks the signature of the seal and the custody log. `expected` is what the user was told the key is.
pub(super) fn check(volume: &Volume, sealed: Option<&Sealed>, sums: &[SumLine], expected: Option<&str>) -> Vouched {
    let mut vouched = Vouched::default();
    match read_custody(volume) {
        Ok(log) => {
            vouched.log(volume, &log);
            vouched.sealed_log(volume, sealed, &log);
        }
        Err(error) => vouched.find(volume, CUSTODY, chain(&error)),
    }
    if let Some(sealed) = sealed {
        vouched.seal(volume, sealed, sums, expected);
    } else if let Some(expected) = expected {
        vouched.find(volume, SEALED, format!("there is no believable seal, so nothing is signed by {expected}"));
    }
    vouched
}

impl Vouched {
    fn find(&mut self, volume: &Volume, file: &str, text: String) {
        let kind = if file == CUSTODY { FindingKind::Custody } else { FindingKind::Signature };
        self.findings.push(Finding::new(kind, volume.header().number, file, text));
    }

    fn seal(&mut self, volume: &Volume, sealed: &Sealed, sums: &[SumLine], expected: Option<&str>) {
        let (number, own) = (volume.header().number, volume.header().job_public_key);
        let Some(signed) = &sealed.signature else {
            match expected {
                Some(expected) => self.find(volume, SEALED, format!("it is not signed, and should be by {expected}")),
                None if own != PublicKey::default() => {
                    let text = "its seal is not signed, although VOLUME names a key that signs";
                    self.notes.push(format!("volume {number}: {text}: nothing says who sealed it"));
                }
                None => {}
            }
            return;
        };
        let root = sums_root(sums);
        if root != signed.merkle_root {
            let text =
                format!("it vouches for files of root {}, SHA256SUMS has {}", hex(&signed.merkle_root), hex(&root));
            return self.find(volume, SEALED, text);
        }
        let message = sealed.signed_bytes(&signed.merkle_root, &signed.custody);
        if !is_signed(&signed.key, Purpose::Seal, &message, &signed.signature) {
            return self.find(volume, SEALED, format!("its signature is not one of {}", fingerprint(&signed.key)));
        }
        if let Some(expected) = expected.filter(|expected| !is_named(&signed.key, expected)) {
            let text = format!("it is signed by {}, and should be by {expected}", fingerprint(&signed.key));
            return self.find(volume, SEALED, text);
        }
        if own != PublicKey::default() && own != signed.key {
            let (was, is) = (fingerprint(&own), fingerprint(&signed.key));
            self.notes.push(format!("volume {number}: made under key {was}, sealed by {is}: ask the sender why"));
        }
        self.signed_by = Some(SignedBy {
            key: hex(&signed.key),
            fingerprint: fingerprint(&signed.key),
            merkle_root: hex(&signed.merkle_root),
        });
    }

    fn log(&mut self, volume: &Volume, log: &[CustodyEntry]) {
        for (at, entry) in log.iter().enumerate() {
            if !is_signed(&entry.key, Purpose::Custody, &entry.hash(), &entry.signature) {
                let text = format!("entry {} ({}) is not signed by {}", at + 1, entry.kind, fingerprint(&entry.key));
                return self.find(volume, CUSTODY, text);
            }
            let when = jiff::Timestamp::from_nanosecond(entry.at_ns.into()).unwrap_or_default();
            self.custody.push(CustodyFact {
                at: when.to_string(),
                kind: entry.kind.clone(),
                by: entry.by.clone(),
                detail: entry.detail.clone(),
                signed_by: fingerprint(&entry.key),
            });
        }
    }

    /// The log that the seal vouches for is the beginning of the log that is there.
    fn sealed_log(&mut self, volume: &Volume, sealed: Option<&Sealed>, log: &[CustodyEntry]) {
        let Some(signed) = sealed.and_then(|sealed| sealed.signature.as_ref()) else { return };
        if !begins_with(log, &signed.custody) {
            self.find(volume, CUSTODY, "the log that the seal vouches for is not the beginning of it".to_owned());
        }
    }
}
