//! Replacing key slots on a volume, sealed or not. manifests/formats/key-slots.md section 2.
//!
//! ORDER: envelopes that slots need, slots, envelopes that no slot needs any more, then `SHA256SUMS`, then `SEALED`, each
//! whole or not at all. If power goes in between, every slot still opens (the old one or the new one); only `SHA256SUMS`
//! may not fit the slots yet, which a check reports and the same command again repairs. Data, and what the signature
//! covers, is not touched.

use std::collections::BTreeSet;

use crate::digest::sha256;
use crate::format::{RunId, SumLine, parse_sums, render_sums};
use crate::volume::create::write_atomically;
use crate::volume::envelope::read_envelopes;
use crate::volume::error::{At, Error, In};
use crate::volume::open::Volume;
use crate::volume::paths::{SEALED, SLOTS, SUMS};

/// Puts these slots in place of those of the same runs. Envelopes whose names are not among `envelopes` go; those that
/// are must be on the volume already.
///
/// # Errors
/// When the medium refuses, or `SEALED` and `SHA256SUMS` contradict each other.
pub fn replace_slots(volume: &Volume, slots: &[(RunId, Vec<u8>)], envelopes: &BTreeSet<String>) -> Result<(), Error> {
    let fs = &**volume.fs();
    // Before anything is changed: is it a seal that can be believed?
    let sealed = volume.sealed_but_for_slots()?;
    let dir = volume.root().join(SLOTS);
    for (run, bytes) in slots {
        write_atomically(fs, &dir, &format!("{run}.age"), bytes)?;
    }
    for (path, _) in read_envelopes(volume)? {
        let is_needed = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| envelopes.contains(&format!("{SLOTS}/{name}")));
        if !is_needed {
            fs.remove_file(&path).at("remove", &path)?;
            fs.sync_dir(&dir).at("sync", &dir)?;
        }
    }
    let Some(mut sealed) = sealed else { return Ok(()) };
    let path = volume.root().join(SUMS);
    let mut lines = parse_sums(&volume.read_sums()?).within(&path)?;
    let mut bytes = sealed.bytes;
    for (run, slot) in slots {
        let name = format!("{SLOTS}/{run}.age");
        if let Some(line) = lines.iter_mut().find(|line| line.path == name) {
            line.sha256 = sha256(slot);
        }
    }
    list_envelopes(volume, &mut lines)?;
    bytes = bytes_now(volume, &lines, bytes)?;
    let text = render_sums(&lines);
    sealed.bytes = bytes;
    sealed.sums_sha256 = sha256(text.as_bytes());
    write_atomically(fs, volume.root(), SUMS, text.as_bytes())?;
    write_atomically(fs, volume.root(), SEALED, sealed.encode().as_bytes())
}

/// Makes the sums list the envelopes that are there, after the slots.
fn list_envelopes(volume: &Volume, lines: &mut Vec<SumLine>) -> Result<(), Error> {
    let is_slot = |line: &SumLine| line.path.starts_with(SLOTS);
    lines.retain(|line| !(is_slot(line) && line.path.ends_with(".kms")));
    let at = lines.iter().rposition(is_slot).map_or(lines.len(), |last| last + 1);
    let envelopes = read_envelopes(volume)?.into_iter().filter_map(|(path, bytes)| {
        let name = path.file_name()?.to_str()?;
        Some(SumLine { sha256: sha256(&bytes), path: format!("{SLOTS}/{name}") })
    });
    lines.splice(at..at, envelopes.collect::<Vec<_>>());
    Ok(())
}

/// Sum of the lengths of all listed files.
fn bytes_now(volume: &Volume, lines: &[SumLine], before: u64) -> Result<u64, Error> {
    let mut bytes = 0_u64;
    for line in lines {
        let path = volume.root().join(&line.path);
        match volume.fs().stat(&path) {
            Ok(stat) => bytes = bytes.saturating_add(stat.len),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(before),
            Err(source) => return Err(Error::Io { operation: "look at", path, source }),
        }
    }
    Ok(bytes)
}
