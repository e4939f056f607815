//! How one object of the bucket compares with what the job sent: the strongest thing both sides know decides.

use crate::ingest::remote::{Checksums, Claim};
use crate::job::Object;

/// An object as a listing or report has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) key: String,
    pub(super) bytes: Option<u64>,
    pub(super) etag: Option<String>,
    pub(super) checksums: Checksums,
    /// It could not be read, says the report.
    pub(super) trouble: Option<String>,
}

/// How one object compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// By checksum, or by the tag the server gave when it compared the checksum.
    Same,
    /// Its length is right, and nothing else was told.
    SameLength,
    Different(String),
}

/// Compares an object with what was sent: its checksum, else the tag the server gave for it, else its length.
pub(super) fn verdict(found: &Found, object: &Object, bytes: Option<u64>, sha256: Option<[u8; 32]>) -> Verdict {
    if let Some(trouble) = &found.trouble {
        return Verdict::Different(trouble.clone());
    }
    if let (Some(there), Some(sent)) = (found.bytes, bytes)
        && there != sent
    {
        return Verdict::Different(format!("{there} bytes, {sent} were sent"));
    }
    if let (Some(there), Some(sent)) = (&found.checksums.crc64, object.crc64) {
        let sent = Claim::Crc64(sent).text();
        return match *there == sent {
            true => Verdict::Same,
            false => Verdict::Different(format!("CRC-64/NVME {there}, {sent} was sent")),
        };
    }
    // A composite SHA-256 ends in the number of parts and says nothing about the whole.
    if let (Some(there), Some(sent)) = (found.checksums.sha256.as_ref().filter(|text| !text.contains('-')), sha256) {
        let sent = Claim::Sha256(sent).text();
        return if *there == sent {
            Verdict::Same
        } else {
            Verdict::Different("another SHA-256 than was sent".to_owned())
        };
    }
    match (&found.etag, &object.etag) {
        (Some(there), Some(sent)) if there == sent => Verdict::Same,
        (Some(there), Some(sent)) => Verdict::Different(format!("tag {there}, {sent} was sent")),
        _ => Verdict::SameLength,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::crc64;
    use crate::job::ObjectState;

    fn object(etag: &str) -> Object {
        Object {
            entry: 1,
            generation: 1,
            state: ObjectState::Confirmed,
            key: None,
            upload_id: None,
            part_bytes: None,
            etag: Some(etag.to_owned()),
            version_id: None,
            crc64: Some(crc64(b"body")),
            attempts: 1,
            error: None,
            changed: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_checksum_decides_before_a_tag_and_a_tag_before_a_length() {
        let found = |crc64: Option<&[u8]>, etag: Option<&str>| Found {
            bytes: Some(4),
            etag: etag.map(ToOwned::to_owned),
            checksums: Checksums {
                crc64: crc64.map(|b| Claim::Crc64(crate::digest::crc64(b)).text()),
                ..Checksums::default()
            },
            ..Found::default()
        };
        let judge = |found: &Found| verdict(found, &object("e"), Some(4), None);
        assert_eq!(judge(&found(Some(b"body"), Some("other"))), Verdict::Same);
        assert!(matches!(judge(&found(Some(b"bodY"), Some("e"))), Verdict::Different(_)));
        assert_eq!(judge(&found(None, Some("e"))), Verdict::Same);
        assert!(matches!(judge(&found(None, Some("f"))), Verdict::Different(_)));
        assert_eq!(judge(&found(None, None)), Verdict::SameLength);
        let longer = Found { bytes: Some(5), ..found(Some(b"body"), Some("e")) };
        assert!(matches!(judge(&longer), Verdict::Different(_)));
    }
}
