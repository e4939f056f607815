//! Finding the way again in a pack, behind damage: the next whole frame by its mark. manifests/formats/pack.md section 8.

use crate::format::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, MARK, padded_len};
use crate::sys::aligned::AlignedBuf;
use crate::sys::fs::DIRECT_ALIGN_BYTES;
use crate::volume::error::{At, Error};
use crate::volume::index::read_range;
use crate::volume::reader::PackFile;

/// Read at once while looking for a mark. Unit: bytes.
const SCAN_BYTES: usize = 1 << 20;
/// Marks with nothing behind them that are looked at in one pack. Each costs the reading of a body, and a hostile volume
/// can have one every 64 bytes; damage leaves one for each frame whose body is hit.
const CANDIDATES_MAX: u32 = 4096;

impl PackFile {
    /// The first whole frame at or behind `from` with that or a later index: where it begins, and its index. `None` when
    /// no frame follows. `candidates` counts over all calls for one pack.
    pub(super) fn next_frame(&self, from: u64, index: u32, candidates: &mut u32) -> Result<Option<(u64, u32)>, Error> {
        let align = DIRECT_ALIGN_BYTES as u64;
        let mut page = AlignedBuf::with_capacity(SCAN_BYTES);
        let mut at = padded_len(from);
        while at < self.length {
            let front = at / align * align;
            page.resize_dirty(SCAN_BYTES);
            let got = self.file.read_at(&mut page, front).at("read", &self.path)?;
            page.truncate(got);
            let end = front + got as u64;
            if at >= end {
                break;
            }
            // A header across the end of the page is looked at with the next one, which begins at a multiple of 4096.
            let whole_end = if end < self.length { end / align * align } else { end };
            if whole_end <= at {
                break; // the medium gives less than a block at a time: there is no way on
            }
            while at < whole_end {
                let head = &page[usize::try_from(at - front).expect("inside the page")..];
                if head.starts_with(&MARK)
                    && let Some(found) = self.whole_frame(head, at, index, candidates)?
                {
                    return Ok(Some((at, found)));
                }
                at += FRAME_ALIGN;
            }
            if *candidates >= CANDIDATES_MAX {
                tracing::debug!(path = %self.path.display(), "too many marks without a frame");
                break;
            }
        }
        Ok(None)
    }

    /// The index of the frame whose header begins `head`, when it is not an earlier one and its checksum is right.
    fn whole_frame(&self, head: &[u8], at: u64, index: u32, candidates: &mut u32) -> Result<Option<u32>, Error> {
        let head = &head[..head.len().min(FRAME_HEADER_BYTES)];
        let Ok(header) = FrameHeader::decode(head, self.header.frame_plain_bytes_max) else { return Ok(None) };
        if header.index < index || header.end(at) > self.length || *candidates >= CANDIDATES_MAX {
            return Ok(None);
        }
        let body = read_range(&*self.file, at + FRAME_HEADER_BYTES as u64, header.body_bytes as usize, &self.path);
        // A sector that cannot be read is as good as a wrong checksum: the next frame may be readable.
        let is_whole = body.is_ok_and(|body| header.check(&body).is_ok());
        *candidates += u32::from(!is_whole);
        Ok(is_whole.then_some(header.index))
    }
}
