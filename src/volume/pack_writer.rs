//! Writing one pack: frames in the order of their indexes, through one large aligned buffer.
//!
//! Workers seal frames in any order under tickets of the shared key; this writer puts them into the file in the order
//! of the tickets. It never reads and never seeks back. The commit itself is in `commit.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::crypto::{self, FrameTicket, RunKey, SealingKey};
use crate::digest::{Crc64, combine, crc64};
use crate::format::record::Record;
use crate::format::{
    BLOCK_BYTES, ENTRIES_PLAIN_BYTES_MAX, FRAME_ALIGN, FRAME_HEADER_BYTES, Footer, FooterReason, FrameHeader,
    FrameKind, Inner, JobId, PackHeader, PackKind, RunId, VolumeId, chain_start,
};
use crate::sys::aligned::AlignedBuf;
use crate::sys::pool::PooledBuf;
use crate::sys::{Access, Fs, FsFile, RandomSource};
use crate::volume::error::{At, Error, In};
use crate::volume::index::FRAMES_PER_PACK_MAX;

/// Size of the write buffer, and so of most writes. Unit: bytes. 4 MiB is where direct writes on the machines measured
/// stop gaining (see tests/bench/NOTES.md).
pub const WRITE_BYTES: usize = 4 << 20;
/// zstd level of entries frames: records are small beside the data and repeat themselves.
const ENTRIES_ZSTD_LEVEL: i32 = 3;

/// What a new pack is to be.
#[derive(Debug, Clone)]
pub struct PackParams {
    /// Pack or manifest.
    pub kind: PackKind,
    /// Job of the volume.
    pub job: JobId,
    /// The volume.
    pub volume: VolumeId,
    /// Its number.
    pub volume_number: u32,
    /// Number of the pack; 0 for `MANIFEST`.
    pub number: u32,
    /// Largest plain size of a data frame. Unit: bytes.
    pub frame_plain_bytes_max: u32,
    /// Nanoseconds since 1970.
    pub created_ns: u64,
    /// Direct I/O wanted or not.
    pub access: Access,
}

/// A sealed frame on its way to the file; owns its memory until it is there.
#[derive(Debug)]
pub struct SealedFrame {
    /// Its header.
    pub header: FrameHeader,
    /// Header and body; goes back to its pool when written.
    pub bytes: PooledBuf,
    /// Plain bytes, data frames only.
    pub data_plain_bytes: u32,
    /// Records, entries frames only.
    pub record_count: u32,
}

/// A pack as of its last commit: what the job database keeps of it, and what a resume needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackState {
    /// Number of the pack.
    pub number: u32,
    /// Run that wrote it.
    pub run: RunId,
    /// Length of the committed prefix. Unit: bytes.
    pub committed_bytes: u64,
    /// Index of the first frame after it.
    pub frames_next: u32,
    /// Commits in it.
    pub commits: u32,
    /// Chain after the last of them.
    pub chain: [u8; 32],
    /// CRC-64/NVME of the committed prefix; of the whole file once closed.
    pub crc64: Crc64,
    /// Plain bytes of its data frames.
    pub data_plain_bytes: u64,
    /// Records in it.
    pub records: u64,
    /// How it was closed; `None` while open.
    pub closed: Option<FooterReason>,
    /// Length of the closed file. Unit: bytes.
    pub file_bytes: u64,
}

/// Frames since the last commit.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) first_index: u32,
    pub(super) checksums: Vec<Crc64>,
    pub(super) data_plain_bytes: u64,
    pub(super) record_count: u32,
}

/// Writes one new pack.
pub struct PackWriter {
    pub(super) path: PathBuf,
    pub(super) fs: Arc<dyn Fs>,
    pub(super) file: Box<dyn FsFile>,
    pub(super) sealing: Arc<SealingKey>,
    pub(super) group: Group,
    pub(super) state: PackState,
    pub(super) commit_ticket: Option<(FrameTicket, Vec<Vec<Record>>)>,
    buffer: AlignedBuf,
    flushed_bytes: u64,
    flushed_crc64: Crc64,
    pending: BTreeMap<u32, SealedFrame>,
    next: u32,
    poisoned: bool,
}

impl PackWriter {
    /// Creates the file under a fresh salt and writes its header into the buffer. Nothing is durable before the first
    /// commit. `path` must not exist.
    ///
    /// # Errors
    /// When the medium refuses.
    pub fn create(
        fs: Arc<dyn Fs>,
        path: PathBuf,
        params: &PackParams,
        run: &RunKey,
        random: &dyn RandomSource,
    ) -> Result<Self, Error> {
        let header = PackHeader {
            kind: params.kind,
            may_ignore: 0,
            job: params.job,
            volume: params.volume,
            volume_number: params.volume_number,
            number: params.number,
            run: run.run(),
            frame_plain_bytes_max: params.frame_plain_bytes_max,
            created_ns: params.created_ns,
            salt: [0; 32],
            key_commitment: [0; 32],
        };
        let sealing = SealingKey::fresh(run, header, random);
        let file = fs.create_new(&path, params.access).at("create", &path)?;
        let bytes = sealing.header().encode();
        let state = PackState {
            number: params.number,
            run: run.run(),
            committed_bytes: 0,
            frames_next: 0,
            commits: 0,
            chain: chain_start(&bytes),
            crc64: Crc64::EMPTY,
            data_plain_bytes: 0,
            records: 0,
            closed: None,
            file_bytes: 0,
        };
        let mut buffer = AlignedBuf::with_capacity(WRITE_BYTES);
        buffer.push(&bytes);
        Ok(Self {
            path,
            fs,
            file,
            sealing: Arc::new(sealing),
            group: Group::default(),
            state,
            commit_ticket: None,
            buffer,
            flushed_bytes: 0,
            flushed_crc64: Crc64::EMPTY,
            pending: BTreeMap::new(),
            next: 0,
            poisoned: false,
        })
    }

    /// The key workers seal this pack's frames with.
    pub fn sealing(&self) -> &Arc<SealingKey> {
        &self.sealing
    }

    /// The pack as of its last commit.
    pub fn state(&self) -> &PackState {
        &self.state
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in the file and the buffer, frames that wait for earlier ones not among them.
    pub fn position(&self) -> u64 {
        self.flushed_bytes + self.buffer.len() as u64
    }

    /// Bytes put into the file since the last commit.
    pub fn uncommitted_bytes(&self) -> u64 {
        self.position().saturating_sub(self.state.committed_bytes)
    }

    /// Whether every index that was handed out has its frame in the file.
    pub fn is_caught_up(&self) -> bool {
        let commit = u32::from(self.commit_ticket.is_some());
        self.pending.is_empty() && self.next + commit == self.sealing.next_index()
    }

    /// Whether frames are here that no commit covers.
    pub fn has_uncommitted(&self) -> bool {
        !self.group.checksums.is_empty() || !self.pending.is_empty()
    }

    /// Whether a commit was begun and waits for frames before it.
    pub fn commit_is_pending(&self) -> bool {
        self.commit_ticket.is_some()
    }

    /// Takes a sealed frame and writes all that is next in line. Gives the outcome of a commit if one became due.
    ///
    /// # Errors
    /// When the medium refuses. The writer is of no use afterwards: a failed write or sync is never tried again on the
    /// same descriptor.
    pub fn push(&mut self, frame: SealedFrame) -> Result<Option<super::Committed>, Error> {
        self.pending.insert(frame.header.index, frame);
        self.drain()
    }

    /// Begins a commit of `records` (in batches, as they were made), which describe data frames that have their tickets already: seals the entries
    /// frames and takes the commit's place in the order. It is carried out when all frames before it are in the file.
    ///
    /// # Errors
    /// When a record does not fit an entries frame, or the medium refuses.
    pub fn begin_commit(&mut self, records: Vec<Vec<Record>>) -> Result<Option<super::Committed>, Error> {
        self.append_records(records.iter().flatten())?;
        let ticket = self.sealing.ticket().within(&self.path)?;
        self.commit_ticket = Some((ticket, records));
        self.drain()
    }

    /// Seals records into entries frames and puts them in line, without a commit. For `MANIFEST`, which streams.
    ///
    /// # Errors
    /// When a record does not fit an entries frame, or the medium refuses.
    pub fn append_records<'r>(&mut self, records: impl IntoIterator<Item = &'r Record>) -> Result<(), Error> {
        let mut plain = Vec::new();
        let mut count = 0;
        for record in records {
            let before = plain.len();
            record.encode(&mut plain).within(&self.path)?;
            if plain.len() > ENTRIES_PLAIN_BYTES_MAX as usize {
                let rest = plain.split_off(before);
                self.seal_entries(&plain, count)?;
                plain = rest;
                count = 0;
            }
            count += 1;
        }
        if count > 0 {
            self.seal_entries(&plain, count)?;
        }
        Ok(())
    }

    fn seal_entries(&mut self, plain: &[u8], record_count: u32) -> Result<(), Error> {
        let packed = zstd::bulk::compress(plain, ENTRIES_ZSTD_LEVEL).at("compress records of", &self.path)?;
        let (zstd, payload) = if packed.len() < plain.len() { (true, packed.as_slice()) } else { (false, plain) };
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + 8 + payload.len() + 16);
        bytes.resize(FRAME_HEADER_BYTES, 0);
        let plain_bytes = u32::try_from(plain.len()).expect("at most ENTRIES_PLAIN_BYTES_MAX");
        bytes.extend_from_slice(&Inner { zstd, plain_bytes }.encode());
        bytes.extend_from_slice(payload);
        let ticket = self.sealing.ticket().within(&self.path)?;
        let header = self.sealing.seal(ticket, FrameKind::Entries, &mut bytes).within(&self.path)?;
        let frame = SealedFrame { header, bytes: bytes.into(), data_plain_bytes: 0, record_count };
        self.pending.insert(header.index, frame);
        self.drain_frames()
    }

    fn drain(&mut self) -> Result<Option<super::Committed>, Error> {
        self.drain_frames()?;
        let due = self.commit_ticket.as_ref().is_some_and(|(ticket, _)| ticket.index() == self.next);
        if !due {
            return Ok(None);
        }
        let committed = super::commit::carry_out(self)?;
        self.drain_frames()?;
        Ok(committed)
    }

    fn drain_frames(&mut self) -> Result<(), Error> {
        while let Some(frame) = self.pending.remove(&self.next) {
            self.group.checksums.push(frame.header.crc64);
            self.group.data_plain_bytes += u64::from(frame.data_plain_bytes);
            self.group.record_count += frame.record_count;
            self.place(&frame.bytes)?;
        }
        Ok(())
    }

    /// Appends one frame at the next multiple of 64.
    pub(super) fn place(&mut self, frame: &[u8]) -> Result<(), Error> {
        if self.next >= FRAMES_PER_PACK_MAX {
            let (found, limit) = (u64::from(self.next) + 1, u64::from(FRAMES_PER_PACK_MAX));
            return Err(Error::Limit { path: self.path.clone(), what: "number of frames", found, limit });
        }
        self.pad(FRAME_ALIGN)?;
        let mut rest = frame;
        while !rest.is_empty() {
            let taken = self.buffer.push(rest);
            rest = &rest[taken..];
            if self.buffer.room() == 0 {
                self.flush()?;
            }
        }
        self.next += 1;
        Ok(())
    }

    /// Zeros up to the next multiple of `align`, which divides the buffer's size.
    fn pad(&mut self, align: u64) -> Result<(), Error> {
        let missing = self.position().next_multiple_of(align) - self.position();
        let padded = self.buffer.len() + usize::try_from(missing).expect("less than a block");
        self.buffer.resize_zeroed(padded);
        if self.buffer.room() == 0 {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the buffer, which is a whole number of blocks whenever this is called.
    fn flush(&mut self) -> Result<(), Error> {
        if self.poisoned {
            let reason = "an earlier write or sync failed; nothing more is written here in this run".to_owned();
            return Err(Error::Damaged { path: self.path.clone(), reason });
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        let result = self.file.write_all_at(&self.buffer, self.flushed_bytes);
        self.poisoned = result.is_err();
        result.at("write", &self.path)?;
        let bytes = self.buffer.len() as u64;
        self.flushed_crc64 = combine(self.flushed_crc64, crc64(&self.buffer), bytes);
        self.flushed_bytes += bytes;
        self.buffer.clear();
        Ok(())
    }

    /// Everything placed so far, padded to a block, is on the medium when this returns.
    pub(super) fn make_durable(&mut self) -> Result<(), Error> {
        self.pad(BLOCK_BYTES)?;
        self.flush()?;
        let result = self.file.sync_data();
        self.poisoned = result.is_err();
        result.at("sync", &self.path)
    }

    /// CRC-64/NVME and length of everything made durable so far.
    pub(super) fn durable_prefix(&self) -> (u64, Crc64) {
        (self.flushed_bytes, self.flushed_crc64)
    }

    /// Removes a pack into which nothing was ever put.
    ///
    /// # Errors
    /// When something was committed, or the medium refuses.
    pub fn abandon(self) -> Result<(), Error> {
        if self.state.commits > 0 {
            let reason = "a pack that holds something cannot be abandoned".to_owned();
            return Err(Error::Damaged { path: self.path, reason });
        }
        drop(self.file);
        self.fs.remove_file(&self.path).at("remove", &self.path)
    }

    /// Closes the pack with a footer. Everything must be committed.
    ///
    /// # Errors
    /// When the medium refuses.
    pub fn finish(mut self, run: &RunKey, random: &dyn RandomSource) -> Result<PackState, Error> {
        if !self.pending.is_empty() || !self.group.checksums.is_empty() || self.commit_ticket.is_some() {
            let reason = "frames are left that no commit covers".to_owned();
            return Err(Error::Damaged { path: self.path, reason });
        }
        let footer = footer_of(&self.state, self.position(), FooterReason::Complete);
        let (_, frame) = crypto::seal_footer(run, self.sealing.header(), &footer, random).within(&self.path)?;
        self.place(&frame)?;
        self.make_durable()?;
        let (file_bytes, crc64) = self.durable_prefix();
        Ok(PackState { crc64, closed: Some(FooterReason::Complete), file_bytes, ..self.state })
    }
}

/// The footer that ends a pack in that state at that offset.
pub(super) fn footer_of(state: &PackState, at: u64, reason: FooterReason) -> Footer {
    Footer {
        frame_count: state.frames_next,
        commit_count: state.commits,
        at,
        data_plain_bytes: state.data_plain_bytes,
        record_count: state.records,
        chain: state.chain,
        reason,
    }
}
