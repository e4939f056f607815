//! Reading packs: the open pack, its frames in order, and opening them.

use std::path::{Path, PathBuf};

use crate::crypto::OpeningKey;
use crate::format::{
    ENTRIES_PLAIN_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_PLAIN_BYTES_MAX, FrameHeader, FrameKind, PACK_BYTES_MAX,
    PACK_HEADER_BYTES, PackHeader, ReadBack, VolumeHeader,
};
use crate::sys::aligned::AlignedBuf;
use crate::sys::fs::{DIRECT_ALIGN_BYTES, PastCache};
use crate::sys::{Access, Fs, FsFile};
use crate::volume::ahead::fill;
use crate::volume::chunk::Chunks;
use crate::volume::error::{At, Error, In};
use crate::volume::index::{FrameAt, PackIndex};
use crate::volume::keyring::Keyring;
use crate::volume::opening::{Plain, open_plain};
use crate::volume::walk::FrameWalk;
use crate::volume::window::Window;

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
        window.without_digests(); // every frame has its own checksum; nobody asks for that of the file here
        for frame in frames {
            let head = window.bytes(frame.offset, FRAME_HEADER_BYTES)?;
            let header = FrameHeader::decode(head, self.header.frame_plain_bytes_max).within(&self.path)?;
            let body = window.bytes(frame.offset + FRAME_HEADER_BYTES as u64, header.body_bytes as usize)?.to_vec();
            take(checked(&self.path, frame, header, body)?)?;
        }
        Ok(())
    }

    /// Reads one frame, with its checksum compared, and nothing around it.
    ///
    /// # Errors
    /// When the medium cannot be read or the frame is damaged.
    pub fn read_frame(&self, frame: &FrameAt) -> Result<RawFrame, Error> {
        if self.file.access() == Access::Direct {
            return self.read_frame_aligned(frame);
        }
        let mut head = Vec::new();
        self.file.append_at(&mut head, FRAME_HEADER_BYTES, frame.offset).at("read", &self.path)?;
        let header = FrameHeader::decode(&head, self.header.frame_plain_bytes_max).within(&self.path)?;
        let (mut body, at) = (Vec::new(), frame.offset + FRAME_HEADER_BYTES as u64);
        self.file.append_at(&mut body, header.body_bytes as usize, at).at("read", &self.path)?;
        checked(&self.path, frame, header, body)
    }

    fn read_frame_aligned(&self, frame: &FrameAt) -> Result<RawFrame, Error> {
        let from = frame.offset - frame.offset % DIRECT_ALIGN_BYTES as u64;
        let before = usize::try_from(frame.offset - from).unwrap_or(usize::MAX);
        let body_bytes = (frame.body_bytes as usize).min(self.span());
        let bytes = (before + FRAME_HEADER_BYTES + body_bytes).next_multiple_of(DIRECT_ALIGN_BYTES);
        let mut buffer = AlignedBuf::with_capacity(bytes);
        buffer.resize_dirty(bytes);
        let filled = fill(&*self.file, &mut buffer, from);
        filled.error.map_or(Ok(()), Err).at("read", &self.path)?;
        let stored = buffer.get(before..filled.bytes).unwrap_or_default();
        let header = FrameHeader::decode(stored, self.header.frame_plain_bytes_max).within(&self.path)?;
        let rest = &stored[FRAME_HEADER_BYTES..];
        let body = &rest[..rest.len().min(header.body_bytes as usize)];
        checked(&self.path, frame, header, body.to_vec())
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
    chunks: &Chunks,
) -> Result<FrameWalk, Error> {
    let plain_bytes_max = header.map_or(FRAME_PLAIN_BYTES_MAX, |header| header.frame_plain_bytes_max);
    let span = plain_bytes_max.max(ENTRIES_PLAIN_BYTES_MAX) as usize + 2 * FRAME_HEADER_BYTES + 4096;
    let mut window = Window::with_chunks(path.clone(), file, span, with_sha256, chunks.clone());
    window.tolerate();
    window.bytes(0, 1)?; // so that the digests begin with the header, which the walk itself skips
    Ok(FrameWalk::new(path, window, length, plain_bytes_max))
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
