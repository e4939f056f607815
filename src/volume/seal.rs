//! The sealing rule. manifests/formats/volume.md sections 4 to 6.

use std::path::Path;

use crate::crypto::{Purpose, SigningKey};
use crate::digest::Crc64;
use crate::format::{ReadBack, SealSignature, Sealed, SumLine, heads_digest, render_sums, sums_root};
use crate::sys::Access;
use crate::volume::carried::reader_files;
use crate::volume::create::write_atomically;
use crate::volume::custody::read_custody;
use crate::volume::error::{At, Error};
use crate::volume::open::Volume;
use crate::volume::pack_writer::PackState;
use crate::volume::paths::{MANIFEST, PACKS, README, SEALED, SUMS, VOLUME, pack_name, pack_path};
use crate::volume::reader::Window;

/// What a seal came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealReport {
    /// How the bytes were read back.
    pub read_back: ReadBack,
    /// Sum of the lengths of all files read back. Unit: bytes.
    pub bytes: u64,
    /// Packs on the volume.
    pub packs: u64,
    /// The contents of `SEALED`.
    pub sealed: Sealed,
}

/// Who seals, and when.
#[derive(Debug, Clone, Copy)]
pub struct SealBy<'a> {
    /// The key of the job; `None`: the seal is not signed.
    pub key: Option<&'a SigningKey>,
    /// The time of the seal.
    pub now: jiff::Timestamp,
}

/// Seals a volume whose packs are closed and whose `MANIFEST` is written: reads everything back from the medium,
/// compares with what was written, and only then says so.
///
/// ORDER, and why: `SHA256SUMS` is made from what was read back, so a sum can never be of bytes that did not reach the
/// medium; `SEALED` names the sum of `SHA256SUMS` and is written last, so its presence implies all of it. Power cut at
/// any point before leaves an open volume, whose unfinished seal is done again.
///
/// `progress` hears of every chunk read back. Unit: bytes.
///
/// # Errors
/// [`Error::ReadBack`] when the medium gives back anything else than was written.
pub fn seal(
    volume: &Volume,
    packs: &[PackState],
    manifest: &PackState,
    by: SealBy<'_>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<SealReport, Error> {
    let root = volume.root();
    let mut sums = Sums { volume, lines: Vec::new(), bytes: 0, read_back: ReadBack::Direct, progress };
    sums.add(&root.join(README), README.to_owned(), None)?;
    sums.add(&root.join(VOLUME), VOLUME.to_owned(), None)?;
    for name in reader_files(volume)? {
        sums.add(&root.join(&name), name, None)?;
    }
    for run in volume.slots()? {
        sums.add(&volume.slot_path(run), format!("slots/{run}.age"), None)?;
    }
    let present = volume.packs()?;
    let expected: Vec<u32> = packs.iter().map(|pack| pack.number).collect();
    if present != expected {
        let reason = format!("packs {present:?} are here where {expected:?} were written");
        return Err(Error::Damaged { path: root.join(PACKS), reason });
    }
    for pack in packs {
        let name = format!("{PACKS}/{}", pack_name(pack.number));
        sums.add(&pack_path(root, pack.number), name, Some((pack.file_bytes, pack.crc64)))?;
    }
    sums.add(&root.join(MANIFEST), MANIFEST.to_owned(), Some((manifest.file_bytes, manifest.crc64)))?;

    let text = render_sums(&sums.lines);
    let fs = volume.fs();
    write_atomically(&**fs, root, SUMS, text.as_bytes())?;
    let header = volume.header();
    let mut sealed = Sealed {
        job: header.job,
        volume: header.volume,
        number: header.number,
        packs: packs.len() as u64,
        bytes: sums.bytes,
        sealed_at: by.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        read_back: sums.read_back,
        sums_sha256: crate::digest::sha256(text.as_bytes()),
        signature: None,
    };
    if let Some(key) = by.key {
        let (merkle_root, custody) = (sums_root(&sums.lines), heads_digest(read_custody(volume)?.iter()));
        let signature = key.sign(Purpose::Seal, &sealed.signed_bytes(&merkle_root, &custody));
        sealed.signature = Some(SealSignature { merkle_root, custody, key: key.public(), signature });
    }
    write_atomically(&**fs, root, SEALED, sealed.encode().as_bytes())?;
    Ok(SealReport { read_back: sums.read_back, bytes: sums.bytes, packs: sealed.packs, sealed })
}

struct Sums<'a> {
    volume: &'a Volume,
    lines: Vec<SumLine>,
    bytes: u64,
    read_back: ReadBack,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Sums<'_> {
    /// Reads one file back from the medium; `written` is its length and CRC-64 as they left this program.
    fn add(&mut self, path: &Path, name: String, written: Option<(u64, Crc64)>) -> Result<(), Error> {
        let file = self.volume.fs().open_read(path, Access::Direct).at("open", path)?;
        let way = if file.access() == Access::Direct {
            ReadBack::Direct
        } else if file.drop_cache().is_ok() {
            ReadBack::DroppedCache
        } else {
            ReadBack::Cached
        };
        self.read_back = self.read_back.weaker(way);
        let length = file.len().at("measure", path)?;
        let mut window = Window::new(path.to_owned(), file, 4096, true);
        let mut position = 0;
        while position < length {
            window.bytes(position, 1)?;
            let next = length.min(position + (4 << 20));
            (self.progress)(next - position);
            position = next;
        }
        let found = window.crc64_to(length)?;
        if let Some((bytes, expected)) = written
            && (bytes != length || expected != found)
        {
            return Err(Error::ReadBack { path: path.to_owned(), expected: expected.0, found: found.0 });
        }
        let sha256 = window
            .sha256()
            .ok_or_else(|| Error::Damaged { path: path.to_owned(), reason: "no digest was taken of it".to_owned() })?;
        self.lines.push(SumLine { sha256, path: name });
        self.bytes += length;
        Ok(())
    }
}
