//! Envelopes of a key service on a volume. manifests/formats/key-slots.md section 3.

use std::path::PathBuf;

use crate::digest::sha256;
use crate::format::{SLOT_BYTES_MAX, hex};
use crate::volume::create::write_atomically;
use crate::volume::error::{At, Error};
use crate::volume::open::{Volume, read_small};
use crate::volume::paths::SLOTS;

/// Ending of an envelope's name.
const ENDING: &str = ".kms";
/// Most envelopes a reader takes. Source: key-slots.md section 3.
const ENVELOPES_MAX: usize = 64;

/// Makes an envelope durable; its name comes from the recipient it stands for.
///
/// # Errors
/// When the medium refuses.
pub fn add_envelope(volume: &Volume, recipient: &str, envelope: &[u8]) -> Result<(), Error> {
    let name = envelope_name(recipient);
    let name = name.rsplit('/').next().unwrap_or_default();
    write_atomically(&**volume.fs(), &volume.root().join(SLOTS), name, envelope)
}

/// Name of the envelope that stands for a recipient, relative to `packmule/`.
pub fn envelope_name(recipient: &str) -> String {
    format!("{SLOTS}/{}{ENDING}", hex(&sha256(recipient.as_bytes())[..16]))
}

/// Names of the envelopes, relative to `packmule/`, in order.
///
/// # Errors
/// When the directory cannot be listed or holds too many.
pub fn envelope_names(volume: &Volume) -> Result<Vec<String>, Error> {
    let dir = volume.root().join(SLOTS);
    let items = volume.fs().list(&dir).at("list", &dir)?;
    let names = items.iter().filter_map(|item| item.name.to_str()).filter(|name| name.ends_with(ENDING));
    let mut names: Vec<String> = names.map(|name| format!("{SLOTS}/{name}")).collect();
    if names.len() > ENVELOPES_MAX {
        let (found, limit) = (names.len() as u64, ENVELOPES_MAX as u64);
        return Err(Error::Limit { path: dir, what: "number of envelopes", found, limit });
    }
    names.sort();
    Ok(names)
}

/// All envelopes on the volume, with their paths.
///
/// # Errors
/// When one cannot be read or is too long to be one.
pub fn read_envelopes(volume: &Volume) -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
    let mut envelopes = Vec::new();
    for name in envelope_names(volume)? {
        let path = volume.root().join(name);
        let bytes = read_small(&**volume.fs(), &path, SLOT_BYTES_MAX)?;
        envelopes.push((path, bytes));
    }
    Ok(envelopes)
}
