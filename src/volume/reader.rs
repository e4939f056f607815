//! Reading packs: a sliding window over a file, the open pack, and its frames in order.

use std::path::{Path, PathBuf};

use crate::crypto::OpeningKey;
use crate::digest::{Crc64, Sha256, Sha256Stream, combine, crc64};
use crate::format::{
    ENTRIES_PLAIN_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_PLAIN_BYTES_MAX, FrameHeader, FrameKind, INNER_BYTES, Inner,
    PACK_BYTES_MAX, PACK_HEADER_BYTES, PackHeader, ReadBack, VolumeHeader,
};
use crate::sys::aligned::AlignedBuf;
use crate::sys::fs::{DIRECT_ALIGN_BYTES, PastCache};
use crate::sys::{Access, Fs, FsFile};
use crate::volume::error::{At, Error, In};
use crate::volume::index::{FrameAt, PackIndex};
use crate::volume::keyring::Keyring;
use crate::volume::walk::FrameWalk;

/// Bytes read at once where reading is sequential. Unit: bytes.
const READ_BYTES: usize = 4 << 20;

/// How much of a file a check reads around before it gives the file up: then the drive is gone, not a sector. Unit: bytes.
const UNREADABLE_BYTES_MAX: u64 = 16 << 20;

/// A window that slides over a file, by default forward, and reads every byte once on the way; digests of the file
/// are taken on the way too.
#[derive(Debug)]
pub(super) struct Window {
    path: PathBuf,
    file: Box<dyn FsFile>,
    buffer: AlignedBuf,
    start: u64,
    digested: u64,
    crc64: Crc64,
    sha256: Option<Sha256Stream>,
    /// Ranges the medium did not give, when the window is to go on behind them; `None`: they are errors.
    unreadable: Option<Vec<(u64, u64)>>,
}

impl Window {
    /// `span` is the most bytes ever asked for at once.
    pub(super) fn new(path: PathBuf, file: Box<dyn FsFile>, span: usize, with_sha256: bool) -> Self {
        let capacity = (READ_BYTES + span).next_multiple_of(DIRECT_ALIGN_BYTES) + DIRECT_ALIGN_BYTES;
        let sha256 = with_sha256.then(Sha256Stream::new);
        let buffer = AlignedBuf::with_capacity(capacity);
        Self { path, file, buffer, start: 0, digested: 0, crc64: Crc64::EMPTY, sha256, unreadable: None }
    }

    /// The bytes at `offset`, fewer than `count` only at the end of the file.
    pub(super) fn bytes(&mut self, offset: u64, count: usize) -> Result<&[u8], Error> {
        let end = self.start + self.buffer.len() as u64;
        if offset < self.start || offset + count as u64 > end {
            self.slide(offset)?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX).min(self.buffer.len());
        let to = from.saturating_add(count).min(self.buffer.len());
        Ok(&self.buffer[from..to])
    }

    /// Brings `offset` to the front of the buffer and fills the buffer behind it.
    fn slide(&mut self, offset: u64) -> Result<(), Error> {
        let align = DIRECT_ALIGN_BYTES as u64;
        let front = offset / align * align;
        let end = self.start + self.buffer.len() as u64;
        let at_end = !self.buffer.len().is_multiple_of(DIRECT_ALIGN_BYTES);
        if front >= self.start && front < end && !at_end {
            self.buffer.drain_front(usize::try_from(front - self.start).expect("inside the buffer"));
        } else {
            self.buffer.clear();
        }
        self.start = front;
        while self.buffer.room() > 0 {
            let had = self.buffer.len();
            let want = self.buffer.capacity().min(had + READ_BYTES);
            self.buffer.resize_dirty(want);
            let got = match self.file.read_at(&mut self.buffer[had..], front + had as u64) {
                Err(_) if self.unreadable.is_some() => self.salvage(had, front + had as u64),
                other => other,
            };
            let got = got.inspect_err(|_| self.buffer.truncate(had)).at("read", &self.path)?;
            self.buffer.truncate(had + got);
            // With direct access nothing can follow an unaligned rest; a buffered read may simply be short.
            let is_end = self.file.access() == Access::Direct && !got.is_multiple_of(DIRECT_ALIGN_BYTES);
            if got == 0 || is_end {
                break;
            }
        }
        self.digest();
        Ok(())
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
    /// dying gives up single sectors; the frames beside them are worth having.
    fn salvage(&mut self, from: usize, offset: u64) -> std::io::Result<usize> {
        let length = self.file.len()?;
        let mut done = 0;
        while from + done < self.buffer.len() && offset + (done as u64) < length {
            let at = offset + done as u64;
            let to = (from + done + DIRECT_ALIGN_BYTES).min(self.buffer.len());
            let block = &mut self.buffer[from + done..to];
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
        Ok(done)
    }

    fn digest(&mut self) {
        let end = self.start + self.buffer.len() as u64;
        if self.digested >= self.start && self.digested < end {
            let new = &self.buffer[usize::try_from(self.digested - self.start).expect("inside the buffer")..];
            self.crc64 = combine(self.crc64, crc64(new), new.len() as u64);
            if let Some(sha256) = &mut self.sha256 {
                sha256.update(new);
            }
            self.digested = end;
        }
    }

    /// CRC-64 of the file up to its end at `length`; reads what was not read yet.
    pub(super) fn crc64_to(&mut self, length: u64) -> Result<Crc64, Error> {
        while self.digested < length {
            let before = self.digested;
            self.bytes(before, 1)?;
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

/// A frame as it is stored.
#[derive(Debug)]
pub struct RawFrame {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its header; the checksum has been compared.
    pub header: FrameHeader,
    /// Its body, still sealed.
    pub body: Vec<u8>,
}

/// A pack whose header was read and believed.
#[derive(Debug)]
pub struct PackFile {
    pub(super) path: PathBuf,
    pub(super) file: Box<dyn FsFile>,
    pub(super) header: PackHeader,
    pub(super) header_bytes: Vec<u8>,
    pub(super) length: u64,
}

impl PackFile {
    pub(super) fn open(
        fs: &dyn Fs,
        path: PathBuf,
        access: Access,
        volume: &VolumeHeader,
        number: u32,
    ) -> Result<Self, Error> {
        let file = fs.open_read(&path, access).at("open", &path)?;
        let length = file.len().at("measure", &path)?;
        if number != 0 && length > PACK_BYTES_MAX {
            return Err(Error::Limit { path, what: "length in bytes", found: length, limit: PACK_BYTES_MAX });
        }
        let mut head = AlignedBuf::with_capacity(PACK_HEADER_BYTES);
        head.resize_zeroed(PACK_HEADER_BYTES);
        let got = file.read_at(&mut head, 0).at("read", &path)?;
        head.truncate(got);
        let header = PackHeader::decode(&head).within(&path)?;
        header.belongs_to(volume.job, volume.volume, volume.number, number).within(&path)?;
        Ok(Self { path, file, header, header_bytes: head.to_vec(), length })
    }

    /// Its header.
    pub fn header(&self) -> &PackHeader {
        &self.header
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file. Unit: bytes.
    pub fn file_bytes(&self) -> u64 {
        self.length
    }

    /// Whether reads really bypass the page cache.
    pub fn access(&self) -> Access {
        self.file.access()
    }

    fn span(&self) -> usize {
        let largest = self.header.frame_plain_bytes_max.max(crate::format::ENTRIES_PLAIN_BYTES_MAX) as usize;
        largest + 2 * FRAME_HEADER_BYTES + 4096
    }

    /// Walks all frames without a key.
    pub fn walk(self) -> FrameWalk {
        let span = self.span();
        let window = Window::new(self.path.clone(), self.file, span, false);
        FrameWalk::new(self.path, window, self.length, self.header.frame_plain_bytes_max)
    }

    /// The bytes of its header as they are on the medium, from which the chain of commits starts.
    pub fn header_bytes(&self) -> &[u8] {
        &self.header_bytes
    }

    /// The key of this pack.
    ///
    /// # Errors
    /// When the run's key is not in the ring, or is not this pack's.
    pub fn opening_key(&self, keyring: &Keyring) -> Result<OpeningKey, Error> {
        let run = keyring.get(self.header.run, &self.path)?;
        OpeningKey::from_header(run, &self.header).within(&self.path)
    }

    /// What the pack holds, from its committed groups only.
    ///
    /// # Errors
    /// When keys are missing or the pack is damaged where the index needs it.
    pub fn index(&self, keyring: &Keyring) -> Result<PackIndex, Error> {
        PackIndex::load(self, keyring)
    }

    /// Reads the given frames, which must be in the order of the file, each byte once, in large reads. Hands each to
    /// `take`, with its checksum compared.
    ///
    /// # Errors
    /// When the medium cannot be read, a frame is damaged, or `take` fails.
    pub fn read_frames<E: From<Error>>(
        self,
        frames: &[FrameAt],
        mut take: impl FnMut(RawFrame) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.file.access() == Access::Buffered {
            return frames.iter().try_for_each(|frame| take(self.read_frame(frame)?));
        }
        let span = self.span();
        let mut window = Window::new(self.path.clone(), self.file, span, false);
        window.digested = u64::MAX; // every frame has its own checksum; nobody asks for that of the file here
        for frame in frames {
            let head = window.bytes(frame.offset, FRAME_HEADER_BYTES)?;
            let header = FrameHeader::decode(head, self.header.frame_plain_bytes_max).within(&self.path)?;
            let body = window.bytes(frame.offset + FRAME_HEADER_BYTES as u64, header.body_bytes as usize)?.to_vec();
            take(checked(&self.path, frame, header, body)?)?;
        }
        Ok(())
    }

    /// Reads one frame into memory of its own: the page cache reads ahead, and a window would only be one more copy.
    fn read_frame(&self, frame: &FrameAt) -> Result<RawFrame, Error> {
        let mut head = Vec::new();
        self.file.append_at(&mut head, FRAME_HEADER_BYTES, frame.offset).at("read", &self.path)?;
        let header = FrameHeader::decode(&head, self.header.frame_plain_bytes_max).within(&self.path)?;
        let (mut body, at) = (Vec::new(), frame.offset + FRAME_HEADER_BYTES as u64);
        self.file.append_at(&mut body, header.body_bytes as usize, at).at("read", &self.path)?;
        checked(&self.path, frame, header, body)
    }
}

/// A frame that is what the index says, and undamaged.
fn checked(path: &Path, frame: &FrameAt, header: FrameHeader, body: Vec<u8>) -> Result<RawFrame, Error> {
    header.check(&body).within(path)?;
    if header.index != frame.index {
        let reason = format!("frame {} stands where frame {} should", header.index, frame.index);
        return Err(Error::Damaged { path: path.to_owned(), reason });
    }
    Ok(RawFrame { offset: frame.offset, header, body })
}

/// The format's word for how a file is read.
pub fn read_back(way: PastCache) -> ReadBack {
    match way {
        PastCache::Direct => ReadBack::Direct,
        PastCache::Dropped => ReadBack::DroppedCache,
        PastCache::No => ReadBack::Cached,
    }
}

/// A file of a volume on its way through a check: the facts a check begins with, whatever state the header is in.
pub(super) fn open_for_check(fs: &dyn Fs, path: &Path) -> Result<(Box<dyn FsFile>, u64, ReadBack), Error> {
    let file = fs.open_read(path, Access::Direct).at("open", path)?;
    let way = read_back(file.pass_cache());
    let length = file.len().at("measure", path)?;
    Ok((file, length, way))
}

/// Walks a file in pack form whose header may be damaged: then frames are limited only by the format.
pub(super) fn walk_for_check(
    file: Box<dyn FsFile>,
    path: PathBuf,
    length: u64,
    header: Option<&PackHeader>,
    with_sha256: bool,
) -> Result<FrameWalk, Error> {
    let plain_bytes_max = header.map_or(FRAME_PLAIN_BYTES_MAX, |header| header.frame_plain_bytes_max);
    let span = plain_bytes_max.max(ENTRIES_PLAIN_BYTES_MAX) as usize + 2 * FRAME_HEADER_BYTES + 4096;
    let mut window = Window::new(path.clone(), file, span, with_sha256);
    window.tolerate();
    window.bytes(0, 1)?; // so that the digests begin with the header, which the walk itself skips
    Ok(FrameWalk::new(path, window, length, plain_bytes_max))
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
    let wrong = |reason: String| Error::Damaged { path: path.to_owned(), reason };
    let plain = zstd::bulk::decompress(payload, inner.plain_bytes as usize)
        .map_err(|error| wrong(format!("frame {} does not decompress: {error}", header.index)))?;
    if plain.len() != inner.plain_bytes as usize {
        let (got, want) = (plain.len(), inner.plain_bytes);
        return Err(wrong(format!("frame {} decompresses to {got} bytes instead of {want}", header.index)));
    }
    Ok(Plain { bytes: plain, from: 0 })
}

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

impl RawFrame {
    /// Plain bytes of a data frame.
    ///
    /// # Errors
    /// As for any frame that does not authenticate or decompress.
    pub fn open(self, key: &OpeningKey, pack: &PackHeader, path: &Path) -> Result<Plain, Error> {
        debug_assert_eq!(self.header.kind, FrameKind::Data);
        open_plain(key, &self.header, self.body, pack.frame_plain_bytes_max, path)
    }
}
