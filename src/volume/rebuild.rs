//! What a pack says about itself when no database remembers it: its state after the last commit, the records of its
//! committed groups, and what of them is lost to damage. manifests/formats/pack.md sections 7 and 8.
//!
//! Every byte up to the last commit is read and its checksum compared, so nothing is believed that the medium no longer
//! holds. What follows the last commit is a torn tail and no damage, as for every reader.

use crate::crypto::{self, OpeningKey};
use crate::digest::{Crc64, combine, crc64};
use crate::format::record::{Content, Extent, Record, Records};
use crate::format::{
    BLOCK_BYTES, Commit, ENTRIES_PLAIN_BYTES_MAX, FooterKeys, FrameHeader, FrameKind, chain_next, chain_start,
};
use crate::sys::Access;
use crate::sys::aligned::AlignedBuf;
use crate::sys::fs::DIRECT_ALIGN_BYTES;
use crate::volume::chunk::Chunks;
use crate::volume::error::{At, Error, In};
use crate::volume::index::{FRAMES_PER_PACK_MAX, RECORDS_PER_PACK_MAX, RECORDS_PLAIN_BYTES_MAX};
use crate::volume::keyring::Keyring;
use crate::volume::open::Volume;
use crate::volume::opening::open_plain;
use crate::volume::pack_writer::PackState;
use crate::volume::paths::pack_path;
use crate::volume::walk::{Damage, Step};

/// Read at once where only a checksum is wanted. Unit: bytes.
const READ_BYTES: usize = 1 << 20;

/// A pack as it stands.
#[derive(Debug)]
pub struct RebuiltPack {
    /// After its last commit, or as it was closed. Without a commit there is nothing in it: `commits` is 0.
    pub state: PackState,
    /// Records of the committed groups, those of lost extents not among them.
    pub records: Vec<Record>,
    /// Extents of which a frame is damaged.
    pub lost: Vec<Extent>,
    /// Damage before the last commit or in a closed pack, one clause each.
    pub damage: Vec<String>,
}

impl Volume {
    /// Reads a pack from its first frame to its end and says what stands in it.
    ///
    /// # Errors
    /// When it cannot be read at all, its header is not believable, keys are missing, or a limit of the format is passed.
    pub fn rebuild_pack(&self, number: u32, keyring: &Keyring) -> Result<RebuiltPack, Error> {
        let path = pack_path(self.root(), number);
        let checked = self.check_pack(number, false, &Chunks::default())?;
        let header = checked.header?;
        let run = keyring.get(header.run, &path)?;
        let key = OpeningKey::from_header(run, &header).within(&path)?;
        let mut rebuild = Rebuild {
            volume: self,
            keyring,
            key,
            state: PackState {
                number,
                run: header.run,
                committed_bytes: 0,
                frames_next: 0,
                commits: 0,
                chain: chain_start(&checked.header_bytes),
                crc64: Crc64::EMPTY,
                data_plain_bytes: 0,
                records: 0,
                closed: None,
                file_bytes: 0,
            },
            header,
            length: checked.walk.file_bytes(),
            group: Group::default(),
            records: Vec::new(),
            records_plain_bytes: 0,
            lost_frames: Vec::new(),
            damage: Vec::new(),
        };
        let mut walk = checked.walk;
        while let Some(step) = walk.advance()? {
            match step {
                Step::Damage(damage) => rebuild.group.damage.push(damage),
                Step::Frame { offset, header, body } => {
                    if !rebuild.frame(offset, &header, body.to_vec())? {
                        break;
                    }
                }
            }
        }
        let mut pack = rebuild.end();
        let good_bytes = if pack.state.closed.is_some() { pack.state.file_bytes } else { pack.state.committed_bytes };
        pack.state.crc64 = self.prefix_crc64(number, good_bytes)?;
        Ok(pack)
    }

    /// CRC-64/NVME of the first bytes of a pack.
    fn prefix_crc64(&self, number: u32, bytes: u64) -> Result<Crc64, Error> {
        let path = pack_path(self.root(), number);
        let file = self.fs().open_read(&path, Access::Direct).at("open", &path)?;
        let mut buffer = AlignedBuf::with_capacity(READ_BYTES);
        let (mut position, mut sum) = (0, Crc64::EMPTY);
        while position < bytes {
            buffer.resize_dirty(READ_BYTES);
            let got = file.read_at(&mut buffer, position).at("read", &path)?;
            let left = usize::try_from(bytes - position).unwrap_or(usize::MAX);
            let taken = &buffer[..got.min(left)];
            sum = combine(sum, crc64(taken), taken.len() as u64);
            position += taken.len() as u64;
            // An unaligned rest is the end of the file: nothing can follow it with direct access.
            let is_end = file.access() == Access::Direct && !got.is_multiple_of(DIRECT_ALIGN_BYTES);
            if position < bytes && (got == 0 || is_end) {
                return Err(Error::LostCommit { path, expected: bytes, found: position });
            }
        }
        Ok(sum)
    }
}

/// Frames since the last commit.
#[derive(Default)]
struct Group {
    first_index: u32,
    checksums: Vec<Crc64>,
    records: Vec<Record>,
    record_count: u32,
    damage: Vec<Damage>,
    /// Why records of a frame that is there are not.
    unopened: Vec<String>,
}

struct Rebuild<'a> {
    volume: &'a Volume,
    keyring: &'a Keyring,
    key: OpeningKey,
    header: crate::format::PackHeader,
    /// Length of the file. Unit: bytes.
    length: u64,
    state: PackState,
    group: Group,
    records: Vec<Record>,
    records_plain_bytes: u64,
    /// First index, first index after.
    lost_frames: Vec<(u32, u32)>,
    damage: Vec<String>,
}

impl Rebuild<'_> {
    /// Takes one frame; `false` where what stands in the pack ends.
    fn frame(&mut self, offset: u64, header: &FrameHeader, body: Vec<u8>) -> Result<bool, Error> {
        // A commit or footer is synced with its whole block. Where the file ends within the block that sync had not
        // returned, nobody was told, and nothing could be written behind it: it counts as torn (pack.md section 7).
        let ends_something = matches!(header.kind, FrameKind::Commit | FrameKind::Footer);
        if ends_something && header.end(offset).next_multiple_of(BLOCK_BYTES) > self.length {
            return Ok(false);
        }
        if header.index >= FRAMES_PER_PACK_MAX {
            return Err(self.limit("number of frames", u64::from(header.index) + 1, FRAMES_PER_PACK_MAX.into()));
        }
        match header.kind {
            FrameKind::Data => self.group.checksums.push(header.crc64),
            FrameKind::Entries => self.entries(header, body)?,
            FrameKind::Commit => return self.commit(offset, header, body),
            FrameKind::Footer => {
                self.footer(offset, header, &body)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn entries(&mut self, header: &FrameHeader, body: Vec<u8>) -> Result<(), Error> {
        self.group.checksums.push(header.crc64);
        let path = pack_path(self.volume.root(), self.state.number);
        let plain = match open_plain(&self.key, header, body, ENTRIES_PLAIN_BYTES_MAX, &path) {
            Ok(plain) => plain,
            Err(error) => {
                self.group.unopened.push(format!("frame {}: {}", header.index, cause(&error)));
                return Ok(());
            }
        };
        self.records_plain_bytes += plain.len() as u64;
        if self.records_plain_bytes > RECORDS_PLAIN_BYTES_MAX {
            return Err(self.limit("size of all records", self.records_plain_bytes, RECORDS_PLAIN_BYTES_MAX));
        }
        for record in Records::new(&plain) {
            match record {
                Ok(record) => self.group.records.push(record),
                Err(error) => {
                    self.group.unopened.push(format!("frame {}: {error}", header.index));
                    break;
                }
            }
            self.group.record_count += 1;
            let found = (self.records.len() + self.group.records.len()) as u64;
            if found > RECORDS_PER_PACK_MAX {
                return Err(self.limit("number of records", found, RECORDS_PER_PACK_MAX));
            }
        }
        Ok(())
    }

    fn commit(&mut self, offset: u64, header: &FrameHeader, mut body: Vec<u8>) -> Result<bool, Error> {
        let path = pack_path(self.volume.root(), self.state.number);
        let opened = self.key.open(header, &mut body).within(&path).and_then(|()| Commit::decode(&body).within(&path));
        let commit = match opened {
            Ok(commit) => commit,
            Err(error) => {
                self.damage.push(format!("the commit at byte {offset} does not open: {}", cause(&error)));
                return Ok(false);
            }
        };
        if commit.number <= self.state.commits {
            self.damage.push(format!("the commit at byte {offset} has a number that was there before"));
            return Ok(false);
        }
        let group = std::mem::take(&mut self.group);
        let is_whole = group.damage.is_empty() && group.unopened.is_empty();
        let seen = Commit {
            first_index: group.first_index,
            frame_count: header.index - group.first_index.min(header.index),
            at: offset,
            data_plain_bytes: commit.data_plain_bytes,
            record_count: group.record_count,
            number: self.state.commits + 1,
            chain: chain_next(&self.state.chain, &group.checksums),
        };
        // A commit vouches for all frames of its group; with some of them gone, the key alone vouches for the commit.
        if is_whole && let Err(error) = commit.check(&seen) {
            self.damage.push(format!("the commit at byte {offset} does not fit what is before it: {error}"));
            return Ok(false);
        }
        self.note(group.damage, group.unopened);
        self.records.extend(group.records);
        self.state.commits = commit.number;
        self.state.committed_bytes = header.end(offset).next_multiple_of(BLOCK_BYTES);
        self.state.frames_next = header.index + 1;
        self.state.chain = commit.chain;
        self.state.data_plain_bytes = self.state.data_plain_bytes.saturating_add(commit.data_plain_bytes);
        self.state.records += u64::from(commit.record_count);
        self.group.first_index = header.index + 1;
        Ok(true)
    }

    fn footer(&mut self, offset: u64, header: &FrameHeader, body: &[u8]) -> Result<(), Error> {
        let path = pack_path(self.volume.root(), self.state.number);
        let Ok((keys, _)) = FooterKeys::split(body) else {
            self.damage.push(format!("the footer at byte {offset} is none"));
            return Ok(());
        };
        let run = self.keyring.get(keys.run, &path)?;
        let group = std::mem::take(&mut self.group);
        let leads_here = group.checksums.is_empty();
        match crypto::open_footer(run, &self.header, header, body) {
            Ok(footer) if leads_here => {
                self.note(group.damage, group.unopened);
                self.state.closed = Some(footer.reason);
                self.state.file_bytes = header.end(offset).next_multiple_of(BLOCK_BYTES);
            }
            Ok(_) => self.damage.push("frames stand between the last commit and the footer".to_owned()),
            Err(error) => self.damage.push(format!("the footer at byte {offset} does not open: {error}")),
        }
        Ok(())
    }

    /// Damage that a commit or footer stands behind is damage indeed.
    fn note(&mut self, damage: Vec<Damage>, unopened: Vec<String>) {
        for damage in damage {
            let next = damage.next_index.unwrap_or(u32::MAX);
            if next > damage.first_index {
                self.lost_frames.push((damage.first_index, next));
            }
            self.damage.push(format!("bytes {} to {}: {}", damage.from, damage.to, damage.reason));
        }
        self.damage.extend(unopened);
    }

    fn end(self) -> RebuiltPack {
        let is_lost = |extent: &Extent| match &extent.content {
            Content::Hole => false,
            Content::Stored(pieces) => {
                pieces.iter().any(|piece| self.lost_frames.iter().any(|(from, to)| (*from..*to).contains(&piece.frame)))
            }
        };
        let (mut records, mut lost) = (Vec::new(), Vec::new());
        for record in self.records {
            match record {
                Record::Extent(extent) if is_lost(&extent) => lost.push(extent),
                other => records.push(other),
            }
        }
        RebuiltPack { state: self.state, records, lost, damage: self.damage }
    }

    fn limit(&self, what: &'static str, found: u64, limit: u64) -> Error {
        Error::Limit { path: pack_path(self.volume.root(), self.state.number), what, found, limit }
    }
}

/// What is wrong, without the path.
pub(super) fn cause(error: &Error) -> String {
    match error {
        Error::Damaged { reason, .. } => reason.clone(),
        other => std::error::Error::source(other).map_or_else(|| other.to_string(), ToString::to_string),
    }
}
