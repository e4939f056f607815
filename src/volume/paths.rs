//! Names of the files on a volume.

use std::path::{Path, PathBuf};

/// Directory at the top of the medium that holds everything.
pub const PACKMULE: &str = "packmule";
/// Plain header of the volume.
pub const VOLUME: &str = "VOLUME";
/// Letter to the finder.
pub const README: &str = "README.txt";
/// Directory of key slots.
pub const SLOTS: &str = "slots";
/// Directory of what the volume can be read with, if it carries it.
pub const READER: &str = "reader";
/// Directory of packs.
pub const PACKS: &str = "packs";
/// Consolidated manifest.
pub const MANIFEST: &str = "MANIFEST";
/// Custody log, as far as this volume is concerned.
pub const CUSTODY: &str = "CUSTODY";
/// SHA-256 sums.
pub const SUMS: &str = "SHA256SUMS";
/// Presence means complete.
pub const SEALED: &str = "SEALED";
/// Ending of a file that is not finished.
pub(super) const PART: &str = ".part";

/// File name of a pack.
pub fn pack_name(number: u32) -> String {
    format!("{number:08}.pack")
}

/// Path of a pack below the `packmule` directory `root`.
pub fn pack_path(root: &Path, number: u32) -> PathBuf {
    root.join(PACKS).join(pack_name(number))
}

/// Number of a pack from its file name; `None` for any other name.
pub(super) fn pack_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".pack")?.parse().ok()?;
    (number > 0 && pack_name(number) == name).then_some(number)
}
