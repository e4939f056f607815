//! The custody log on a volume: who had it, as far as they wrote it down. manifests/formats/custody.md section 3.
//!
//! It is the one file that grows after the seal, so `SHA256SUMS` does not list it; the seal vouches for the log as it
//! was then, and every later entry for all before it.

use crate::format::{CustodyEntry, parse_custody, render_custody};
use crate::volume::create::write_atomically;
use crate::volume::error::{Error, In};
use crate::volume::open::{Volume, exists, read_small};
use crate::volume::paths::CUSTODY;

/// Longest custody log a reader takes into memory. Unit: bytes. Source: custody.md section 4.
const CUSTODY_BYTES_MAX: u64 = 16 << 20;

/// The entries on the volume; none when it has no log.
///
/// # Errors
/// When the file cannot be read, or is not what was written.
pub fn read_custody(volume: &Volume) -> Result<Vec<CustodyEntry>, Error> {
    let path = volume.root().join(CUSTODY);
    if !exists(&**volume.fs(), &path)? {
        return Ok(Vec::new());
    }
    let bytes = read_small(&**volume.fs(), &path, CUSTODY_BYTES_MAX)?;
    let header = volume.header();
    parse_custody(&bytes, header.job, header.number).within(&path)
}

/// Puts these entries on the volume. The caller gives all that were there, and adds to them.
///
/// # Errors
/// When the medium refuses, or what is there would be lost by it.
pub fn write_custody(volume: &Volume, entries: &[CustodyEntry]) -> Result<(), Error> {
    let there = read_custody(volume)?;
    if there == entries {
        return Ok(());
    }
    if let Some(lost) = there.iter().find(|entry| !entries.contains(entry)) {
        let reason = format!("it holds an entry ({}) that would be lost", lost.kind);
        return Err(Error::Damaged { path: volume.root().join(CUSTODY), reason });
    }
    let text = render_custody(entries.iter());
    write_atomically(&**volume.fs(), volume.root(), CUSTODY, text.as_bytes())
}
