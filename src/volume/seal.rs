//! The sealing rule. manifests/formats/volume.md sections 4 to 6.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::crypto::{Purpose, SigningKey};
use crate::digest::{Crc64, Sha256};
use crate::format::{ReadBack, SealSignature, Sealed, SumLine, heads_digest, render_sums, sums_root};
use crate::volume::carried::reader_files;
use crate::volume::create::write_atomically;
use crate::volume::custody::read_custody;
use crate::volume::envelope::envelope_names;
use crate::volume::error::Error;
use crate::volume::open::Volume;
use crate::volume::pack_writer::PackState;
use crate::volume::paths::{MANIFEST, PACKS, README, SEALED, SUMS, VOLUME, pack_name, pack_path};
use crate::volume::reader::open_for_check;
use crate::volume::window::Window;

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

/// Who seals, when, and how.
#[derive(Debug, Clone, Copy)]
pub struct SealBy<'a> {
    /// The key of the job; `None`: the seal is not signed.
    pub key: Option<&'a SigningKey>,
    /// The time of the seal.
    pub now: jiff::Timestamp,
    /// Files that are read back at a time: more than one only where the medium does not spin.
    pub readers: usize,
}

/// Seals a volume whose packs are closed and whose `MANIFEST` is written: reads everything back from the medium,
/// compares with what was written, and only then says so.
///
/// ORDER, and why: `SHA256SUMS` is made from what was read back, so a sum can never be of bytes that did not reach the
/// medium; `SEALED` names the sum of `SHA256SUMS` and is written last, so its presence implies all of it. Power cut at
/// any point before leaves an open volume, whose unfinished seal is done again.
///
/// `progress` hears of every chunk read back (unit: bytes) and may break off: the volume then stays open, and `None` is
/// returned.
///
/// # Errors
/// [`Error::ReadBack`] when the medium gives back anything else than was written.
pub fn seal(
    volume: &Volume,
    packs: &[PackState],
    manifest: &PackState,
    by: SealBy<'_>,
    progress: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
) -> Result<Option<SealReport>, Error> {
    let root = volume.root();
    let files = files(volume, packs, manifest)?;
    let Some(sums) = read_all(volume, &files, by.readers, progress)? else { return Ok(None) };
    let bytes = sums.iter().map(|sum| sum.bytes).sum();
    let read_back = sums.iter().fold(ReadBack::Direct, |weakest, sum| weakest.weaker(sum.way));
    let lines: Vec<SumLine> =
        files.iter().zip(&sums).map(|(file, sum)| SumLine { sha256: sum.sha256, path: file.name.clone() }).collect();

    let text = render_sums(&lines);
    let fs = volume.fs();
    write_atomically(&**fs, root, SUMS, text.as_bytes())?;
    let header = volume.header();
    let mut sealed = Sealed {
        job: header.job,
        volume: header.volume,
        number: header.number,
        packs: packs.len() as u64,
        bytes,
        sealed_at: by.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        read_back,
        sums_sha256: crate::digest::sha256(text.as_bytes()),
        signature: None,
    };
    if let Some(key) = by.key {
        let (merkle_root, custody) = (sums_root(&lines), heads_digest(read_custody(volume)?.iter()));
        let signature = key.sign(Purpose::Seal, &sealed.signed_bytes(&merkle_root, &custody));
        sealed.signature = Some(SealSignature { merkle_root, custody, key: key.public(), signature });
    }
    write_atomically(&**fs, root, SEALED, sealed.encode().as_bytes())?;
    Ok(Some(SealReport { read_back, bytes, packs: sealed.packs, sealed }))
}

/// A file to read back.
struct File {
    path: PathBuf,
    name: String,
    /// Length and checksum as written, where they are known.
    written: Option<(u64, Crc64)>,
}

/// What one file gave back.
struct Sum {
    sha256: Sha256,
    bytes: u64,
    way: ReadBack,
}

/// All files of a volume that is to be sealed, in the order of its sums.
fn files(volume: &Volume, packs: &[PackState], manifest: &PackState) -> Result<Vec<File>, Error> {
    let root = volume.root();
    let plain = |name: &str| File { path: root.join(name), name: name.to_owned(), written: None };
    let mut files = vec![plain(README), plain(VOLUME)];
    files.extend(reader_files(volume)?.iter().map(|name| plain(name)));
    for run in volume.slots()? {
        files.push(File { path: volume.slot_path(run), name: format!("slots/{run}.age"), written: None });
    }
    for name in envelope_names(volume)? {
        files.push(plain(&name));
    }
    let present = volume.packs()?;
    let expected: Vec<u32> = packs.iter().map(|pack| pack.number).collect();
    if present != expected {
        let reason = format!("packs {present:?} are here where {expected:?} were written");
        return Err(Error::Damaged { path: root.join(PACKS), reason });
    }
    for pack in packs {
        let name = format!("{PACKS}/{}", pack_name(pack.number));
        files.push(File { path: pack_path(root, pack.number), name, written: Some((pack.file_bytes, pack.crc64)) });
    }
    files.push(File { written: Some((manifest.file_bytes, manifest.crc64)), ..plain(MANIFEST) });
    Ok(files)
}

/// Reads all files back; `None` when `progress` broke off.
fn read_all(
    volume: &Volume,
    files: &[File],
    readers: usize,
    progress: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
) -> Result<Option<Vec<Sum>>, Error> {
    let readers = readers.clamp(1, files.len().max(1));
    if readers == 1 {
        return files.iter().map(|file| read_back(volume, file, progress)).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let at = next.load(Ordering::Relaxed);
            let result = read_back(volume, file, progress);
            let goes_on = matches!(result, Ok(Some(_)));
            done.push((file.name.clone(), result));
            if !goes_on {
                next.fetch_max(at.max(files.len()), Ordering::Relaxed); // the others end after the file they have
            }
        }
        done
    };
    let mut results: HashMap<String, Result<Option<Sum>, Error>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..readers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    if let Some(failed) = results.values().position(Result::is_err) {
        let error = results.into_values().nth(failed).and_then(Result::err);
        return error.map_or(Ok(None), Err);
    }
    // A file without a result was not reached, because the read-back was broken off.
    files.iter().map(|file| results.remove(&file.name).unwrap_or(Ok(None))).collect()
}

/// Reads one file past the cache where possible and compares it with what was written.
fn read_back(
    volume: &Volume,
    expected: &File,
    progress: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
) -> Result<Option<Sum>, Error> {
    let path = &expected.path;
    let (file, length, way) = open_for_check(&**volume.fs(), path)?;
    let mut window = Window::new(path.clone(), file, 4096, true);
    let mut position = 0;
    while position < length {
        window.bytes(position, 1)?;
        let next = length.min(position + (4 << 20));
        if progress(next - position).is_break() {
            return Ok(None);
        }
        position = next;
    }
    let found = window.crc64_to(length)?;
    if let Some((bytes, written)) = expected.written
        && (bytes != length || written != found)
    {
        return Err(Error::ReadBack { path: path.clone(), expected: written.0, found: found.0 });
    }
    let missing = || Error::Damaged { path: path.clone(), reason: "no digest was taken of it".to_owned() };
    Ok(Some(Sum { sha256: window.sha256().ok_or_else(missing)?, bytes: length, way }))
}
