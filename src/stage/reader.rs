//! What a drive carries so that it can be read anywhere: the program and the documents of its format.

use crate::stage::Error;
use crate::sys::process::own_program;
use crate::volume::{self, READER, Volume, add_reader_file};

/// Documents of the format, as this program follows them.
const DOCUMENTS: [(&str, &str); 6] = [
    ("volume.md", include_str!("../../manifests/formats/volume.md")),
    ("pack.md", include_str!("../../manifests/formats/pack.md")),
    ("manifest.md", include_str!("../../manifests/formats/manifest.md")),
    ("key-slots.md", include_str!("../../manifests/formats/key-slots.md")),
    ("custody.md", include_str!("../../manifests/formats/custody.md")),
    ("proof.md", include_str!("../../manifests/formats/proof.md")),
];

/// Puts program and documents on the volume, unless they are there.
pub(super) fn carry(volume: &Volume) -> Result<(), Error> {
    let program = own_program().map_err(|source| volume::Error::Io {
        operation: "read the program for",
        path: volume.root().join(READER),
        source,
    })?;
    let name = format!("packmule-{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    add_reader_file(volume, &name, &program)?;
    for (name, text) in DOCUMENTS {
        add_reader_file(volume, name, text.as_bytes())?;
    }
    Ok(())
}
