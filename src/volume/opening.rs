//! Opening frames: from the sealed body to the plain bytes. manifests/formats/pack.md section 5.1.

use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use zstd::bulk::Decompressor;

use crate::crypto::OpeningKey;
use crate::format::{FrameHeader, INNER_BYTES, Inner};
use crate::sys::lock::lock;
use crate::volume::error::{Error, In};

/// The plain bytes of a frame. What was stored as it is stays where it was decrypted: moving it cost as much as a checksum.
#[derive(Debug)]
pub struct Plain {
    bytes: Vec<u8>,
    from: usize,
}

impl AsRef<[u8]> for Plain {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::ops::Deref for Plain {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.from..]
    }
}

/// Opens a data or entries frame down to its plain bytes. `body` is consumed; `plain_bytes_max` is the limit of the
/// frame's kind. A decompressor is stopped at the promised size.
///
/// # Errors
/// When the tag does not verify, the prefix breaks the format, or the payload does not decompress to its size.
pub fn open_plain(
    key: &OpeningKey,
    header: &FrameHeader,
    mut body: Vec<u8>,
    plain_bytes_max: u32,
    path: &Path,
) -> Result<Plain, Error> {
    key.open(header, &mut body).within(path)?;
    let (inner, payload) = Inner::split(&body, plain_bytes_max).within(path)?;
    if !inner.zstd {
        return Ok(Plain { bytes: body, from: INNER_BYTES });
    }
    let plain = zstd::bulk::decompress(payload, inner.plain_bytes as usize);
    decompressed(plain, header, inner, path)
}

/// Opens one frame after the other in the same memory; the bodies stay as they are.
#[derive(Default)]
pub struct Openings {
    decrypted: Vec<u8>,
    /// Of a frame that is not needed any more.
    spare: Vec<u8>,
    decompressor: Option<Decompressor<'static>>,
}

impl Openings {
    /// Does what [`open_plain`] does.
    ///
    /// # Errors
    /// The same.
    pub fn open(
        &mut self,
        key: &OpeningKey,
        header: &FrameHeader,
        body: &[u8],
        plain_bytes_max: u32,
        path: &Path,
    ) -> Result<Plain, Error> {
        let mut decrypted = std::mem::take(&mut self.decrypted);
        key.open_into(header, body, &mut decrypted).within(path)?;
        let (inner, payload) = Inner::split(&decrypted, plain_bytes_max).within(path)?;
        if !inner.zstd {
            return Ok(Plain { bytes: decrypted, from: INNER_BYTES });
        }
        let plain = self.decompress(payload, inner.plain_bytes as usize);
        self.decrypted = decrypted;
        decompressed(plain, header, inner, path)
    }

    fn decompress(&mut self, payload: &[u8], plain_bytes: usize) -> std::io::Result<Vec<u8>> {
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new()?),
        };
        // Not more than promised is decompressed: only so much is there to write to.
        let mut plain = std::mem::take(&mut self.spare);
        plain.clear();
        if plain.capacity() != plain_bytes {
            plain = Vec::with_capacity(plain_bytes);
        }
        decompressor.decompress_to_buffer(payload, &mut plain)?;
        Ok(plain)
    }

    /// Takes back the memory of a frame that was opened.
    pub fn give_back(&mut self, plain: Plain) {
        let place = if plain.from == 0 { &mut self.spare } else { &mut self.decrypted };
        *place = plain.bytes;
    }
}

/// Memory for opening frames on several threads.
#[derive(Default)]
pub struct OpeningsPool(Mutex<Vec<Openings>>);

impl OpeningsPool {
    /// Calls `work` with memory that nobody uses now.
    pub fn with<T>(&self, work: impl FnOnce(&mut Openings) -> T) -> T {
        let mut openings = self.lock().pop().unwrap_or_default();
        let result = work(&mut openings);
        self.lock().push(openings);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Openings>> {
        lock(&self.0)
    }
}

fn decompressed(
    plain: std::io::Result<Vec<u8>>,
    header: &FrameHeader,
    inner: Inner,
    path: &Path,
) -> Result<Plain, Error> {
    let wrong = |reason: String| Error::Damaged { path: path.to_owned(), reason };
    let plain = plain.map_err(|error| wrong(format!("frame {} does not decompress: {error}", header.index)))?;
    if plain.len() != inner.plain_bytes as usize {
        let (got, want) = (plain.len(), inner.plain_bytes);
        return Err(wrong(format!("frame {} decompresses to {got} bytes instead of {want}", header.index)));
    }
    Ok(Plain { bytes: plain, from: 0 })
}
