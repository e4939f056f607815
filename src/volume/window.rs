//! A window that slides over a file, by default forward; digests of the file are taken on the way.
//!
//! Invariants: going forward, every byte is read once; the bytes shown are contiguous, so that a frame never has to be put
//! together; memory is four chunks at most, besides those that are shared. From the second chunk in a row on the file is read
//! ahead. Digests are taken of what leaves the window, as far as nobody who had to take them anyway has told them before.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::{Crc64, Sha256, Sha256Stream, combine, crc64};
use crate::sys::FsFile;
use crate::sys::aligned::AlignedBuf;
use crate::sys::fs::DIRECT_ALIGN_BYTES;
use crate::volume::ahead::{Ahead, Filled, fill};
use crate::volume::chunk::{Chunk, Chunks, SharedBytes};
use crate::volume::error::{At, Error};

/// Chunks that are read or lie ready beside the one shown: one that waits and one the drive is at.
const CHUNKS_AHEAD: usize = 2;

/// How much of a file a check reads around before it gives the file up: then the drive is gone, not a sector. Unit: bytes.
const UNREADABLE_BYTES_MAX: u64 = 16 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Window {
    path: PathBuf,
    file: Arc<dyn FsFile>,
    /// A gap for what the chunk before left over, then a chunk, which is aligned as direct access asks.
    buffer: Arc<Chunk>,
    gap: usize,
    chunk_bytes: usize,
    /// What of the buffer is shown.
    view: Range<usize>,
    /// Place of the view in the file.
    start: u64,
    /// Whether the file ends with the view.
    at_end: bool,
    chunks_in_a_row: u32,
    ahead: Option<Ahead>,
    chunks: Chunks,
    /// The digests are those of the file up to here.
    digested: u64,
    crc64: Crc64,
    sha256: Option<Sha256Stream>,
    /// Ranges the medium did not give, when the window is to go on behind them; `None`: they are errors.
    unreadable: Option<Vec<(u64, u64)>>,
}

impl Window {
    /// `span` is the most bytes ever asked for at once.
    pub(super) fn new(path: PathBuf, file: Box<dyn FsFile>, span: usize, with_sha256: bool) -> Self {
        Self::with_chunks(path, file, span, with_sha256, Chunks::default())
    }

    /// The same, with memory that goes round among several files.
    pub(super) fn with_chunks(
        path: PathBuf,
        file: Box<dyn FsFile>,
        span: usize,
        with_sha256: bool,
        chunks: Chunks,
    ) -> Self {
        let gap = span.next_multiple_of(DIRECT_ALIGN_BYTES);
        // A small file does not need large buffers. One whose length is not told is read all the same.
        let whole = file.len().ok().and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX / 2);
        let whole = whole.next_multiple_of(DIRECT_ALIGN_BYTES) + DIRECT_ALIGN_BYTES;
        // What is asked for fits into one chunk, wherever in its first block it begins.
        let chunk_bytes = chunks.read_bytes().max(gap + DIRECT_ALIGN_BYTES).min(whole);
        Self {
            path,
            file: Arc::from(file),
            buffer: chunks.share(AlignedBuf::with_capacity(0)),
            gap: gap.min(whole),
            chunk_bytes,
            view: 0..0,
            start: 0,
            at_end: false,
            chunks_in_a_row: 0,
            ahead: None,
            chunks,
            digested: 0,
            crc64: Crc64::EMPTY,
            sha256: with_sha256.then(Sha256Stream::new),
            unreadable: None,
        }
    }

    fn new_buffer(&self) -> AlignedBuf {
        self.chunks.buffer(self.gap + self.chunk_bytes)
    }

    fn end(&self) -> u64 {
        self.start + self.view.len() as u64
    }

    /// The bytes at `offset`, fewer than `count` only at the end of the file.
    pub(super) fn bytes(&mut self, offset: u64, count: usize) -> Result<&[u8], Error> {
        let range = self.show(offset, count)?;
        Ok(&self.buffer[range])
    }

    /// The same, for longer than the window shows them.
    pub(super) fn share(&mut self, offset: u64, count: usize) -> Result<SharedBytes, Error> {
        let range = self.show(offset, count)?;
        Ok(SharedBytes::new(&self.buffer, range))
    }

    /// Where in the buffer the bytes at `offset` are.
    fn show(&mut self, offset: u64, count: usize) -> Result<Range<usize>, Error> {
        if offset < self.start || (offset + count as u64 > self.end() && !self.at_end) {
            self.slide(offset)?;
        }
        let shown = usize::try_from(offset - self.start).unwrap_or(usize::MAX).min(self.view.len());
        let from = self.view.start + shown;
        Ok(from..from.saturating_add(count).min(self.view.end))
    }

    /// Shows the file from `offset`, or from the block it lies in, on.
    fn slide(&mut self, offset: u64) -> Result<(), Error> {
        let align = DIRECT_ALIGN_BYTES as u64;
        let end = self.end();
        let left = end.checked_sub(offset).filter(|_| offset >= self.start && end.is_multiple_of(align));
        let left = left.and_then(|left| usize::try_from(left).ok()).filter(|left| *left <= self.gap);
        let (chunk_at, left) = match left {
            Some(left) => (end, left),
            None => {
                self.call_back();
                (offset / align * align, 0)
            }
        };
        self.digest_to(end - left as u64);
        let (mut buffer, filled) = self.chunk(chunk_at);
        buffer[self.gap - left..self.gap].copy_from_slice(&self.buffer[self.view.end - left..self.view.end]);
        let (mut bytes, mut at_end) = (filled.bytes, filled.at_end);
        let failed = match filled.error {
            Some(error) if self.unreadable.is_none() => Some(error),
            Some(_) => {
                (bytes, at_end) = self.salvage(&mut buffer, filled.bytes, chunk_at).at("read", &self.path)?;
                None
            }
            None => None,
        };
        self.buffer = self.chunks.share(buffer);
        self.start = chunk_at - left as u64;
        self.view = self.gap - left..self.gap + bytes;
        self.at_end = at_end;
        failed.map_or(Ok(()), Err).at("read", &self.path)?;
        self.chunks_in_a_row = self.chunks_in_a_row.saturating_add(1);
        self.read_ahead();
        Ok(())
    }

    /// The chunk at `offset`: the one that was asked for, else it is read now.
    fn chunk(&mut self, offset: u64) -> (AlignedBuf, Filled) {
        while let Some((at, buffer, filled)) = self.ahead.as_mut().and_then(Ahead::take) {
            if at == offset {
                return (buffer, filled);
            }
            self.chunks.give_back(buffer);
        }
        let mut buffer = self.new_buffer();
        let filled = fill(&*self.file, &mut buffer[self.gap..], offset);
        (buffer, filled)
    }

    /// Asks for the chunks behind the view, once it is clear that they will be wanted.
    fn read_ahead(&mut self) {
        if self.at_end || self.chunks_in_a_row < 2 {
            return;
        }
        if self.ahead.is_none() {
            self.ahead = Ahead::start(Arc::clone(&self.file), self.gap);
        }
        let (end, chunk_bytes) = (self.end(), self.chunk_bytes as u64);
        while let Some(pending) = self.ahead.as_ref().map(Ahead::pending).filter(|pending| *pending < CHUNKS_AHEAD) {
            let buffer = self.new_buffer();
            let Some(ahead) = &mut self.ahead else { return };
            ahead.ask(end + pending as u64 * chunk_bytes, buffer);
            if ahead.pending() == pending {
                return; // its thread is gone; chunks are read where they are wanted
            }
        }
    }

    /// What was asked for is not wanted any more.
    fn call_back(&mut self) {
        while let Some((_, buffer, _)) = self.ahead.as_mut().and_then(Ahead::take) {
            self.chunks.give_back(buffer);
        }
        self.chunks_in_a_row = 0;
    }

    /// Goes on behind what cannot be read, instead of failing.
    pub(super) fn tolerate(&mut self) {
        self.unreadable = Some(Vec::new());
    }

    /// Ranges that could not be read so far: first byte, first byte after.
    pub(super) fn unreadable(&self) -> &[(u64, u64)] {
        self.unreadable.as_deref().unwrap_or_default()
    }

    /// Reads block by block where one large read failed, with zeros for blocks that cannot be read. A drive that is
    /// dying gives up single sectors; the frames beside them are worth having. `done` bytes of the chunk at `chunk_at` are
    /// there already. Returns how many are there then, and whether the file ends with them.
    fn salvage(&mut self, buffer: &mut AlignedBuf, mut done: usize, chunk_at: u64) -> std::io::Result<(usize, bool)> {
        let length = self.file.len()?;
        let chunk_bytes = self.chunk_bytes;
        while done < chunk_bytes && chunk_at + (done as u64) < length {
            let at = chunk_at + done as u64;
            let to = (done + DIRECT_ALIGN_BYTES).min(chunk_bytes);
            let block = &mut buffer[self.gap + done..self.gap + to];
            let left = usize::try_from(length - at).unwrap_or(usize::MAX).min(block.len());
            match self.file.read_at(block, at) {
                Ok(0) => break,
                Ok(got) => done += got,
                Err(error) => {
                    block.fill(0);
                    done += left;
                    let bad = self.unreadable.get_or_insert_default();
                    if bad.iter().map(|(from, to)| to - from).sum::<u64>() >= UNREADABLE_BYTES_MAX {
                        return Err(error);
                    }
                    match bad.last_mut().filter(|last| last.1 >= at) {
                        Some(last) => last.1 = last.1.max(at + left as u64),
                        None => bad.push((at, at + left as u64)),
                    }
                }
            }
        }
        Ok((done, chunk_at + done as u64 >= length))
    }

    /// Takes no digests of the file.
    pub(super) fn without_digests(&mut self) {
        self.digested = u64::MAX;
    }

    /// Tells the CRC-64 of bytes that are shown, by whoever had to take it anyway: it is not taken a second time.
    pub(super) fn tell_crc64(&mut self, offset: u64, bytes: u64, crc64: Crc64) {
        self.digest_to(offset);
        let end = offset.saturating_add(bytes);
        if self.digested != offset || offset < self.start || end > self.end() {
            return; // it is taken when the bytes leave
        }
        self.crc64 = combine(self.crc64, crc64, bytes);
        let range = self.view_range(offset, end);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&self.buffer[range]);
        }
        self.digested = end;
    }

    /// Takes digests of what is shown before `end`, if they are those of everything before it.
    fn digest_to(&mut self, end: u64) {
        let end = end.min(self.end());
        if self.digested >= self.start && self.digested < end {
            let range = self.view_range(self.digested, end);
            let new = &self.buffer[range];
            self.crc64 = combine(self.crc64, crc64(new), new.len() as u64);
            if let Some(sha256) = &mut self.sha256 {
                sha256.update(new);
            }
            self.digested = end;
        }
    }

    /// Where in the buffer these bytes of the view are.
    fn view_range(&self, from: u64, to: u64) -> Range<usize> {
        let place = |at: u64| self.view.start + usize::try_from(at - self.start).expect("inside the view");
        place(from)..place(to)
    }

    /// CRC-64 of the file up to its end at `length`; reads what was not read yet.
    pub(super) fn crc64_to(&mut self, length: u64) -> Result<Crc64, Error> {
        while self.digested < length {
            let before = self.digested;
            self.bytes(before, 1)?;
            self.digest_to(length);
            if self.digested == before {
                let (expected, found) = (length, self.digested);
                return Err(Error::LostCommit { path: self.path.clone(), expected, found });
            }
        }
        Ok(self.crc64)
    }

    /// SHA-256 of the file, if it was asked for and the file was read to its end.
    pub(super) fn sha256(self) -> Option<Sha256> {
        self.sha256.map(Sha256Stream::finish)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::digest::sha256;
    use crate::sys::fault::{Fault, FaultFs, FaultRule};
    use crate::sys::fs::{Access, Fs, OpKind};
    use crate::sys::mem::MemFs;

    const SPAN: usize = 100_000;
    const EIO: i32 = 5;

    /// Bytes that differ from place to place.
    fn contents(bytes: usize) -> Vec<u8> {
        (0..bytes as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
    }

    fn window(contents: &[u8], access: Access, rule: Option<FaultRule>) -> (Window, FaultFs) {
        let mem = MemFs::new();
        mem.put_file(Path::new("/file"), contents).expect("there is room");
        let faults = FaultFs::new(Arc::new(mem));
        rule.into_iter().for_each(|rule| faults.add(rule));
        let file = faults.open_read(Path::new("/file"), access).expect("it is there");
        (Window::new("/file".into(), file, SPAN, true), faults)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn shows_what_the_file_holds_wherever_it_is_asked_and_sums_what_it_passed(
            length in 0_usize..20 << 20,
            is_direct in any::<bool>(),
            steps in proptest::collection::vec((0_u64..22 << 20, 1_usize..SPAN, any::<bool>()), 1..24),
        ) {
            let contents = contents(length);
            let access = if is_direct { Access::Direct } else { Access::Buffered };
            let (mut window, _) = window(&contents, access, None);
            let mut forward = 0_u64;
            for (offset, count, is_jump) in steps {
                let offset = if is_jump { offset } else { forward };
                forward = offset + count as u64;
                let from = usize::try_from(offset).expect("small").min(length);
                let expected = &contents[from..from.saturating_add(count).min(length)];
                prop_assert!(window.bytes(offset, count).expect("nothing fails") == expected);
            }
        }

        #[test]
        fn digests_are_those_of_the_file_however_it_is_passed(
            length in 0_usize..20 << 20,
            is_direct in any::<bool>(),
            strides in proptest::collection::vec((1_usize..SPAN, any::<bool>()), 1..5),
            short in proptest::option::of((1_u64..8, 1_usize..5 << 20)),
        ) {
            let contents = contents(length);
            let access = if is_direct { Access::Direct } else { Access::Buffered };
            let rule = short.map(|(nth, bytes)| FaultRule::new(OpKind::Read, Fault::ShortRead(bytes)).nth(nth).times(3));
            let (mut window, _) = window(&contents, access, rule);
            let mut at = 0_u64;
            for (count, is_told) in strides.iter().cycle() {
                if at >= length as u64 {
                    break;
                }
                let from = usize::try_from(at).expect("small");
                let shown = window.share(at, *count).expect("nothing fails");
                prop_assert!(*shown == contents[from..(from + count).min(length)]);
                if *is_told {
                    window.tell_crc64(at, shown.len() as u64, crc64(&shown));
                }
                at += *count as u64;
            }
            prop_assert_eq!(window.crc64_to(length as u64).expect("nothing fails"), crc64(&contents));
            prop_assert_eq!(window.sha256(), Some(sha256(&contents)));
        }
    }

    /// What a caller sees who goes through the file in steps of 64 KiB: bytes until the first error.
    fn pass(window: &mut Window, length: usize) -> Result<Vec<u8>, Error> {
        let mut seen = Vec::new();
        while seen.len() < length {
            let shown = window.bytes(seen.len() as u64, 65536)?;
            seen.extend_from_slice(shown);
        }
        Ok(seen)
    }

    #[test]
    fn a_chunk_that_the_drive_does_not_give_is_an_error_wherever_it_is_read() {
        let contents = contents(26 << 20);
        for nth in 1..=6 {
            let rule = FaultRule::new(OpKind::Read, Fault::Errno(EIO)).nth(nth);
            let (mut window, faults) = window(&contents, Access::Direct, Some(rule));
            let error = pass(&mut window, contents.len()).expect_err("a chunk is not there");
            assert!(matches!(error, Error::Io { .. }), "{error}");
            faults.assert_all_exercised();
        }
    }

    #[test]
    fn a_bad_block_reads_as_zeros_for_a_check_and_everything_beside_it_as_it_is() {
        let contents = contents(26 << 20);
        for nth in 1..=6_u64 {
            // The large read fails, and then the first block of those that are read one by one.
            let rule = FaultRule::new(OpKind::Read, Fault::Errno(EIO)).nth(nth).times(2);
            let (mut window, faults) = window(&contents, Access::Direct, Some(rule));
            window.tolerate();
            let mut seen = pass(&mut window, contents.len()).expect("a check goes on");
            faults.assert_all_exercised();
            // Chunks after the third call may be read ahead, so that the second failure may hit another large read.
            let bad = window.unreadable().to_vec();
            assert!(bad.len() <= 1 && (nth > 2 || bad.len() == 1), "{bad:?}");
            for (from, to) in bad {
                assert_eq!((from % 4096, to - from), (0, 4096));
                let span = usize::try_from(from).expect("small")..usize::try_from(to).expect("small");
                assert!(seen[span.clone()].iter().all(|byte| *byte == 0));
                seen[span.clone()].copy_from_slice(&contents[span]);
            }
            assert!(seen == contents, "call {nth}: bytes beside the bad block differ");
        }
    }

    #[test]
    fn the_file_is_closed_when_the_window_is_dropped_in_the_middle() {
        let contents = contents(40 << 20);
        let (mut window, faults) = window(&contents, Access::Direct, None);
        faults.add(FaultRule::new(OpKind::Read, Fault::Delay(std::time::Duration::from_millis(20))).nth(3).times(2));
        for at in [0, 5 << 20, 9 << 20] {
            window.bytes(at, 4096).expect("nothing fails");
        }
        let file = Arc::downgrade(&window.file);
        drop(window);
        assert!(file.upgrade().is_none(), "the thread that reads ahead still has it");
    }
}
