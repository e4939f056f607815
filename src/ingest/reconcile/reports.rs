//! Completion reports of S3 Batch Operations, above all those of "Compute checksum": S3 reads every object anew and tells
//! its checksum, without anything being downloaded.
//!
//! Owns: reading them. Source of the form: Amazon S3 user guide, "Examples: S3 Batch Operations completion reports": CSV of
//! Bucket, Key, VersionId, TaskStatus, ErrorCode, HTTPStatusCode, ResultMessage; for this operation the last is JSON.

use std::path::{Path, PathBuf};

use crate::ingest::error::Error;
use crate::ingest::reconcile::read::{ReportRead, malformed, unreadable};
use crate::ingest::reconcile::verdict::Found;
use crate::ingest::remote::Checksums;
use crate::sys::Fs;

/// Hands every object of the reports to `each`.
pub(super) fn read_report(
    fs: &dyn Fs,
    files: &[PathBuf],
    bucket: &str,
    mut each: impl FnMut(Found) -> Result<(), Error>,
) -> Result<(), Error> {
    for path in files {
        let file = ReportRead::open(fs, path)?;
        let mut lines = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(file);
        for line in lines.records() {
            let line = line.map_err(|error| unreadable(path, error))?;
            if line.get(0).is_some_and(|found| found == bucket) {
                each(object(&line, path)?)?;
            }
        }
    }
    Ok(())
}

fn object(line: &csv::StringRecord, path: &Path) -> Result<Found, Error> {
    let field = |at: usize| line.get(at).filter(|text| !text.is_empty());
    let key = field(1).ok_or_else(|| malformed(path, "a line has no key"))?;
    let key = percent_encoding::percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned();
    let message = field(6).unwrap_or_default();
    if field(3) != Some("succeeded") {
        let code = field(4).unwrap_or("no error code");
        let trouble = Some(format!("S3 could not read it: {code} {message}"));
        return Ok(Found { key, trouble, ..Found::default() });
    }
    let told: serde_json::Value = serde_json::from_str(message).unwrap_or_default();
    let text = |name: &str| told[name].as_str().map(ToOwned::to_owned);
    let algorithm = text("checksumAlgorithm").unwrap_or_default().to_uppercase();
    let value = text("checksum_base64").filter(|_| told["checksumType"].as_str() != Some("COMPOSITE"));
    let of = |name: &str| value.clone().filter(|_| algorithm == name);
    Ok(Found {
        key,
        bytes: None,
        etag: text("etag").map(|etag| etag.trim_matches('"').to_owned()),
        checksums: Checksums { crc64: of("CRC64NVME"), crc32c: of("CRC32C"), sha256: of("SHA256") },
        trouble: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_and_failures_of_a_report() {
        let text = "b,k%20x,,succeeded,,200,\"{\"\"checksum_base64\"\":\"\"rosUhgp5mIg=\"\",\"\"etag\"\":\"\"e\"\",\
                    \"\"checksumAlgorithm\"\":\"\"CRC64NVME\"\",\"\"checksumType\"\":\"\"FULL_OBJECT\"\"}\"\n\
                    b,lost,,failed,NoSuchKey,404,gone\n";
        let mut lines = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        let found: Vec<Found> =
            lines.records().map(|line| object(&line.expect("CSV"), Path::new("r.csv")).expect("a line")).collect();
        assert_eq!((found[0].key.as_str(), found[0].checksums.crc64.as_deref()), ("k x", Some("rosUhgp5mIg=")));
        assert!(found[1].trouble.as_ref().is_some_and(|trouble| trouble.contains("NoSuchKey")));
    }
}
