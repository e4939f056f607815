//! Walking the frames of a file without a key: structure, checksums, padding, and finding the way again after damage.
//! manifests/formats/pack.md sections 3 and 8.

use std::path::PathBuf;

use crate::digest::{Crc64, Sha256};
use crate::format::{
    BLOCK_BYTES, FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, FrameKind, MARK, PACK_HEADER_BYTES, padded_len,
};
use crate::volume::chunk::SharedBytes;
use crate::volume::error::Error;
use crate::volume::window::Window;

/// Bytes that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// First byte in the file.
    pub from: u64,
    /// First byte after.
    pub to: u64,
    /// Index of the first frame that should have been there.
    pub first_index: u32,
    /// Index of the next good frame; equal to `first_index` when only padding is damaged; `None` when no good frame
    /// follows.
    pub next_index: Option<u32>,
    /// What is wrong.
    pub reason: String,
}

/// What comes next in a file.
#[derive(Debug)]
pub enum Step {
    /// A frame whose checksum is right.
    Frame {
        /// Where it begins.
        offset: u64,
        /// Its header.
        header: FrameHeader,
        /// Its body, still sealed, where it was read.
        body: SharedBytes,
    },
    /// Something is wrong; the walk goes on behind it.
    Damage(Damage),
}

/// Walks the frames of one file from front to back, reading every byte once.
#[derive(Debug)]
pub struct FrameWalk {
    path: PathBuf,
    window: Window,
    length: u64,
    frame_plain_bytes_max: u32,
    position: u64,
    expected: u32,
    footer_seen: bool,
}

impl FrameWalk {
    pub(super) fn new(path: PathBuf, window: Window, length: u64, frame_plain_bytes_max: u32) -> Self {
        let position = PACK_HEADER_BYTES as u64;
        Self { path, window, length, frame_plain_bytes_max, position, expected: 0, footer_seen: false }
    }

    /// The next step, or `None` at the end of the file.
    ///
    /// # Errors
    /// When the medium cannot be read at all; damage is a step, not an error.
    pub fn advance(&mut self) -> Result<Option<Step>, Error> {
        loop {
            if self.position >= self.length {
                return Ok(None);
            }
            if self.footer_seen && !self.position.is_multiple_of(BLOCK_BYTES) {
                if let Some(damage) = self.padding(BLOCK_BYTES)? {
                    return Ok(Some(damage));
                }
                continue;
            }
            if self.footer_seen {
                let (from, to) = (self.position, self.length);
                self.position = to;
                return Ok(Some(self.damage(from, to, None, "bytes follow the footer".to_owned())));
            }
            let mark = self.window.bytes(self.position, MARK.len())?;
            if mark.is_empty() || mark.iter().any(|byte| *byte != 0) {
                return self.frame().map(Some);
            }
            if let Some(damage) = self.padding(BLOCK_BYTES)? {
                return Ok(Some(damage));
            }
        }
    }

    /// Index the next frame should have.
    pub fn expected_index(&self) -> u32 {
        self.expected
    }

    /// Length of the file. Unit: bytes.
    pub fn file_bytes(&self) -> u64 {
        self.length
    }

    /// Ranges of the file that the medium did not give so far: first byte, first byte after. They read as zeros.
    pub fn unreadable(&self) -> &[(u64, u64)] {
        self.window.unreadable()
    }

    /// Digests of the whole file, taken on the same pass; reads what the walk has not read yet. The SHA-256 is there
    /// when the walk was asked for it.
    ///
    /// # Errors
    /// When the medium cannot be read to the end.
    pub fn finish(mut self) -> Result<(Crc64, Option<Sha256>), Error> {
        let crc64 = self.window.crc64_to(self.length)?;
        Ok((crc64, self.window.sha256()))
    }

    fn frame(&mut self) -> Result<Step, Error> {
        let offset = self.position;
        match self.read_frame(offset)? {
            Ok((header, body, body_crc64)) if header.index == self.expected => {
                let stored = header.stored_crc64(body_crc64);
                self.window.tell_crc64(offset, header.end(offset) - offset, stored);
                self.expected = header.index.saturating_add(1);
                self.footer_seen = header.kind == FrameKind::Footer;
                self.position = header.end(offset);
                let step = Step::Frame { offset, header, body };
                // The zeros up to the next place belong to this frame; damage there is reported on the next call.
                self.skip_small_padding()?;
                Ok(step)
            }
            Ok((header, ..)) => {
                let reason = format!("frame {} stands where frame {} should", header.index, self.expected);
                self.resynchronise(offset, reason)
            }
            Err(reason) => self.resynchronise(offset, reason),
        }
    }

    /// Moves to the next multiple of 64 when the bytes between are zero, else stays, so that `advance` sees them.
    fn skip_small_padding(&mut self) -> Result<(), Error> {
        let next = padded_len(self.position).min(self.length);
        let bytes = usize::try_from(next - self.position).expect("less than 64");
        if self.window.bytes(self.position, bytes)?.iter().all(|byte| *byte == 0) {
            self.position = next;
        }
        Ok(())
    }

    /// Checks zeros up to the next multiple of `align`, and moves there.
    fn padding(&mut self, align: u64) -> Result<Option<Step>, Error> {
        let from = self.position;
        let to = (from + 1).next_multiple_of(align).min(self.length);
        let bytes = usize::try_from(to - from).expect("at most one block");
        let zero = self.window.bytes(from, bytes)?.iter().all(|byte| *byte == 0);
        if zero {
            self.position = to;
            return Ok(None);
        }
        self.resynchronise(from, "bytes that should be zero are not".to_owned()).map(Some)
    }

    /// A frame at `offset` with a good checksum and the CRC-64 of its body, or why there is none.
    fn read_frame(&mut self, offset: u64) -> Result<Result<(FrameHeader, SharedBytes, Crc64), String>, Error> {
        let head = self.window.bytes(offset, FRAME_HEADER_BYTES)?;
        let header = match FrameHeader::decode(head, self.frame_plain_bytes_max) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let body_at = offset + FRAME_HEADER_BYTES as u64;
        let wanted = header.body_bytes as usize;
        let body = self.window.share(body_at, wanted)?;
        if body.len() < wanted {
            return Ok(Err(format!("frame {} is cut off at the end of the file", header.index)));
        }
        Ok(match header.check(&body) {
            Ok(crc64) => Ok((header, body, crc64)),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Finds the next good frame with the expected or a later index and reports what lies between.
    fn resynchronise(&mut self, from: u64, reason: String) -> Result<Step, Error> {
        let mut at = padded_len(from);
        while at < self.length {
            if self.window.bytes(at, MARK.len())? == MARK
                && let Ok((header, ..)) = self.read_frame(at)?
                && header.index >= self.expected
            {
                let damage = self.damage(from, at, Some(header.index), reason);
                self.expected = header.index;
                self.position = at;
                return Ok(damage);
            }
            at += FRAME_ALIGN;
        }
        self.position = self.length;
        Ok(self.damage(from, self.length, None, reason))
    }

    fn damage(&self, from: u64, to: u64, next_index: Option<u32>, reason: String) -> Step {
        tracing::debug!(path = %self.path.display(), from, to, %reason, "damage");
        Step::Damage(Damage { from, to, first_index: self.expected, next_index, reason })
    }
}
