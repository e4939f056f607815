//! What a volume carries so that it can be read anywhere. manifests/formats/volume.md section 2.

use std::io;

use crate::volume::create::write_atomically;
use crate::volume::error::{At, Error};
use crate::volume::open::Volume;
use crate::volume::paths::{PART, READER};

/// Puts a file into the volume's `reader` directory, unless one of that name and length is there.
///
/// # Errors
/// When the medium refuses.
pub fn add_reader_file(volume: &Volume, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let fs = &**volume.fs();
    let dir = volume.root().join(READER);
    match fs.create_dir(&dir) {
        Ok(()) => fs.sync_dir(volume.root()).at("sync", volume.root())?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.at("create", &dir)?,
    }
    let path = dir.join(name);
    if fs.stat(&path).is_ok_and(|stat| stat.len == bytes.len() as u64) {
        return Ok(());
    }
    write_atomically(fs, &dir, name, bytes)
}

/// Names of those files, relative to `packmule/`, in order.
///
/// # Errors
/// When the directory is there and cannot be listed.
pub fn reader_files(volume: &Volume) -> Result<Vec<String>, Error> {
    let dir = volume.root().join(READER);
    let items = match volume.fs().list(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        items => items.at("list", &dir)?,
    };
    let names = items.iter().filter_map(|item| item.name.to_str()).filter(|name| !name.ends_with(PART));
    let mut names: Vec<String> = names.map(|name| format!("{READER}/{name}")).collect();
    names.sort();
    Ok(names)
}
