//! What a pack holds: the frames and records of its committed groups, found without reading the data.

use std::sync::Arc;

use crate::crypto::{self, OpeningKey, RunKey};
use crate::format::record::{Content, Extent, Record, Records};
use crate::format::{
    BLOCK_BYTES, Commit, ENTRIES_PLAIN_BYTES_MAX, FRAME_ALIGN, FRAME_HEADER_BYTES, Footer, FooterKeys, FooterReason,
    FrameHeader, FrameKind, PACK_HEADER_BYTES, PackHeader, chain_next, chain_start, padded_len,
};
use crate::sys::FsFile;
use crate::sys::aligned::AlignedBuf;
use crate::sys::fs::DIRECT_ALIGN_BYTES;
use crate::volume::error::{At, Error, In};
use crate::volume::keyring::Keyring;
use crate::volume::opening::open_plain;
use crate::volume::reader::PackFile;
use crate::volume::rebuild::cause;

/// Most frames in one pack. Source: pack.md section 3.
pub(super) const FRAMES_PER_PACK_MAX: u32 = 1 << 20;
/// Most records in one pack. Source: pack.md section 3.
pub const RECORDS_PER_PACK_MAX: u64 = 1 << 20;
/// Most plain bytes of entries frames in one pack. Source: pack.md section 3.
pub const RECORDS_PLAIN_BYTES_MAX: u64 = 256 << 20;

/// Where a data frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameAt {
    /// Its index.
    pub index: u32,
    /// Where it begins in the file.
    pub offset: u64,
    /// Length of its body. Unit: bytes.
    pub body_bytes: u32,
}

/// What the committed groups of a pack hold.
#[derive(Debug, Default)]
pub struct PackIndex {
    /// Data frames, in order.
    pub data: Vec<FrameAt>,
    /// Records, in order.
    pub records: Vec<Record>,
    /// How the pack was closed; `None` while it is open.
    pub closed: Option<FooterReason>,
    /// Length of the committed prefix, or of the closed file. Unit: bytes.
    pub good_bytes: u64,
    /// Commits.
    pub commits: u32,
    /// Damage that a commit or the footer stands behind, one clause each; a torn tail is none.
    pub damage: Vec<String>,
    /// Frames, as first index and first index after, of which some records cannot be read any more; on a sealed volume
    /// `MANIFEST` repeats them.
    pub nameless: Vec<(u32, u32)>,
}

impl PackIndex {
    pub(super) fn load(pack: &PackFile, keyring: &Keyring) -> Result<Self, Error> {
        let key = pack.opening_key(keyring)?;
        let mut loader = Loader::new(pack, keyring, key);
        loader.run()?;
        Ok(loader.index)
    }

    /// The extents among the records.
    pub fn extents(&self) -> impl Iterator<Item = &Extent> {
        self.records.iter().filter_map(|record| match record {
            Record::Extent(extent) => Some(extent),
            _ => None,
        })
    }

    /// Index of the last data frame any stored extent names; frames after it carry nothing.
    pub fn last_named_frame(&self) -> Option<u32> {
        let pieces = self.extents().filter_map(|extent| match &extent.content {
            Content::Stored(pieces) => pieces.iter().map(|piece| piece.frame).max(),
            Content::Hole => None,
        });
        pieces.max()
    }
}

struct Loader<'a> {
    pack: &'a PackFile,
    keyring: &'a Keyring,
    key: OpeningKey,
    index: PackIndex,
    chain: [u8; 32],
    total_data_plain_bytes: u64,
    records_plain_bytes: u64,
    group: LoadedGroup,
    page: AlignedBuf,
}

#[derive(Default)]
struct LoadedGroup {
    first_index: u32,
    checksums: Vec<crate::digest::Crc64>,
    data: Vec<FrameAt>,
    records: Vec<Record>,
    damage: Vec<String>,
}

impl<'a> Loader<'a> {
    fn new(pack: &'a PackFile, keyring: &'a Keyring, key: OpeningKey) -> Self {
        Self {
            pack,
            keyring,
            key,
            index: PackIndex::default(),
            chain: chain_start(&pack.header_bytes),
            total_data_plain_bytes: 0,
            records_plain_bytes: 0,
            group: LoadedGroup::default(),
            page: AlignedBuf::with_capacity(2 * DIRECT_ALIGN_BYTES),
        }
    }

    /// Hops from frame header to frame header; reads the bodies of everything but data. Where the way is lost it is
    /// found again by the marks of frames. Whether that was damage or the torn tail of an open pack shows behind it: a
    /// commit or a footer is only ever written when everything before it is durable (pack.md sections 6 to 8).
    fn run(&mut self) -> Result<(), Error> {
        let mut position = PACK_HEADER_BYTES as u64;
        let mut expected = 0_u32;
        let mut believed = position;
        let mut candidates = 0;
        while position < self.pack.length {
            let wrong = match self.header_at(position, expected)? {
                Found::Padding => {
                    position = (position + 1).next_multiple_of(BLOCK_BYTES);
                    continue;
                }
                Found::Nothing(reason) => reason,
                Found::Frame(header) => match self.frame(&header, position)? {
                    Taken::End => return Ok(()),
                    Taken::Whole => {
                        expected += 1;
                        believed = position + FRAME_ALIGN;
                        position = padded_len(header.end(position));
                        continue;
                    }
                    Taken::Not(reason) => {
                        believed = position + FRAME_ALIGN;
                        reason
                    }
                },
            };
            // A length in a header that was believed may be what is wrong, so the next frame may stand before this place.
            let next = self.pack.next_frame(believed, expected, &mut candidates)?;
            let Some((at, index)) = next else {
                tracing::debug!(path = %self.pack.path.display(), reason = wrong, "pack ends at its last commit");
                return Ok(());
            };
            self.group.damage.push(format!("bytes {believed} to {at}: {wrong}"));
            (position, expected) = (at, index);
        }
        Ok(())
    }

    /// Takes one frame.
    fn frame(&mut self, header: &FrameHeader, position: u64) -> Result<Taken, Error> {
        if header.end(position) > self.pack.length || header.index >= FRAMES_PER_PACK_MAX {
            return Ok(Taken::Not(format!("frame {} does not fit the file", header.index)));
        }
        if header.kind == FrameKind::Data {
            let at = FrameAt { index: header.index, offset: position, body_bytes: header.body_bytes };
            self.group.data.push(at);
            self.group.checksums.push(header.crc64);
            return Ok(Taken::Whole);
        }
        let body = match self.body(header, position) {
            Ok(body) => body,
            Err(error) => return reason_of(error).map(Taken::Not),
        };
        match header.kind {
            FrameKind::Commit => match self.commit(header, position, body) {
                Ok(()) => Ok(Taken::Whole),
                Err(error) => self.contradicts(error),
            },
            FrameKind::Footer => match self.footer(header, position, &body) {
                Ok(()) => Ok(Taken::End),
                Err(error) => self.contradicts(error),
            },
            _ => match self.entries(header, body) {
                Ok(()) => Ok(Taken::Whole),
                Err(error) => reason_of(error).map(Taken::Not),
            },
        }
    }

    /// Stored bytes are right and say something else than what stands before them: the pack ends before that.
    fn contradicts(&self, error: Error) -> Result<Taken, Error> {
        let reason = reason_of(error)?;
        tracing::debug!(path = %self.pack.path.display(), %reason, "pack ends at its last commit");
        Ok(Taken::End)
    }

    fn header_at(&mut self, position: u64, expected: u32) -> Result<Found, Error> {
        let block = position / BLOCK_BYTES * BLOCK_BYTES;
        self.page.resize_dirty(2 * DIRECT_ALIGN_BYTES);
        let got = self.pack.file.read_at(&mut self.page, block).at("read", &self.pack.path)?;
        self.page.truncate(got);
        let from = usize::try_from(position - block).expect("less than a block");
        let head = self.page.get(from..).unwrap_or_default();
        let head = &head[..head.len().min(FRAME_HEADER_BYTES)];
        if head.len() >= 8 && head[..8].iter().all(|byte| *byte == 0) {
            return Ok(Found::Padding);
        }
        Ok(match FrameHeader::decode(head, self.pack.header.frame_plain_bytes_max) {
            Ok(header) if header.index == expected => Found::Frame(header),
            Ok(header) => Found::Nothing(format!("frame {} stands where frame {expected} should", header.index)),
            Err(error) => Found::Nothing(error.to_string()),
        })
    }

    fn body(&self, header: &FrameHeader, position: u64) -> Result<Vec<u8>, Error> {
        let body = read_range(
            &*self.pack.file,
            position + FRAME_HEADER_BYTES as u64,
            header.body_bytes as usize,
            &self.pack.path,
        )?;
        header.check(&body).within(&self.pack.path)?;
        Ok(body)
    }

    fn entries(&mut self, header: &FrameHeader, body: Vec<u8>) -> Result<(), Error> {
        let path = &self.pack.path;
        let plain = open_plain(&self.key, header, body, ENTRIES_PLAIN_BYTES_MAX, path)?;
        self.records_plain_bytes += plain.len() as u64;
        let limit = |what, found, limit| Err(Error::Limit { path: path.clone(), what, found, limit });
        if self.records_plain_bytes > RECORDS_PLAIN_BYTES_MAX {
            return limit("size of all records", self.records_plain_bytes, RECORDS_PLAIN_BYTES_MAX);
        }
        for record in Records::new(&plain) {
            self.group.records.push(record.within(path)?);
            let found = (self.index.records.len() + self.group.records.len()) as u64;
            if found > RECORDS_PER_PACK_MAX {
                return limit("number of records", found, RECORDS_PER_PACK_MAX);
            }
        }
        self.group.checksums.push(header.crc64);
        Ok(())
    }

    fn commit(&mut self, header: &FrameHeader, position: u64, mut body: Vec<u8>) -> Result<(), Error> {
        let path = &self.pack.path;
        self.key.open(header, &mut body).within(path)?;
        let commit = Commit::decode(&body).within(path)?;
        if commit.number <= self.index.commits {
            let reason = format!("the commit at byte {position} has a number that was there before");
            return Err(Error::Damaged { path: path.clone(), reason });
        }
        let mut group = std::mem::take(&mut self.group);
        let seen = Commit {
            first_index: group.first_index,
            frame_count: header.index.saturating_sub(group.first_index),
            at: position,
            // The data are not read here; the writer's own sum is taken over, and `verify` compares it.
            data_plain_bytes: commit.data_plain_bytes,
            record_count: u32::try_from(group.records.len()).unwrap_or(u32::MAX),
            number: self.index.commits + 1,
            chain: chain_next(&self.chain, &group.checksums),
        };
        if let Err(error) = commit.check(&seen)
            && group.damage.is_empty()
        {
            // A header of a data frame may be damaged in a way that only its body shows.
            group.damage = self.bad_frames(&group.data);
            if group.damage.is_empty() {
                return Err(error).within(path);
            }
        }
        // With frames of its group gone, the key alone vouches for a commit; records that are gone are missed by count.
        let lacks = group.first_index != commit.first_index || seen.record_count != commit.record_count;
        self.take(group, header.index, lacks);
        self.index.commits = commit.number;
        self.index.good_bytes = header.end(position).next_multiple_of(BLOCK_BYTES);
        self.chain = commit.chain;
        self.total_data_plain_bytes = self.total_data_plain_bytes.saturating_add(commit.data_plain_bytes);
        self.group.first_index = header.index + 1;
        Ok(())
    }

    /// Those of the frames whose stored bytes are not what was written, one clause each.
    fn bad_frames(&self, frames: &[FrameAt]) -> Vec<String> {
        let bad = |frame: &&FrameAt| {
            let body_at = frame.offset + FRAME_HEADER_BYTES as u64;
            let head = read_range(&*self.pack.file, frame.offset, FRAME_HEADER_BYTES, &self.pack.path);
            let body = read_range(&*self.pack.file, body_at, frame.body_bytes as usize, &self.pack.path);
            let header = head.map(|head| FrameHeader::decode(&head, self.pack.header.frame_plain_bytes_max));
            !matches!((header, body), (Ok(Ok(header)), Ok(body)) if header.check(&body).is_ok())
        };
        let name = |frame: &FrameAt| format!("frame {} at byte {} is not what was written", frame.index, frame.offset);
        frames.iter().filter(bad).map(name).collect()
    }

    /// Shows a group that something stands behind.
    fn take(&mut self, group: LoadedGroup, end_index: u32, lacks_records: bool) {
        if lacks_records {
            self.index.nameless.push((group.first_index, end_index));
        }
        self.index.data.extend(group.data);
        self.index.records.extend(group.records);
        self.index.damage.extend(group.damage);
    }

    fn footer(&mut self, header: &FrameHeader, position: u64, body: &[u8]) -> Result<(), Error> {
        let path = &self.pack.path;
        let (keys, _) = FooterKeys::split(body).within(path)?;
        let run: &Arc<RunKey> = self.keyring.get(keys.run, path)?;
        let footer = crypto::open_footer(run, &self.pack.header, header, body).within(path)?;
        let seen = Footer {
            frame_count: header.index,
            commit_count: self.index.commits,
            at: position,
            data_plain_bytes: self.total_data_plain_bytes,
            record_count: self.index.records.len() as u64,
            chain: self.chain,
            reason: footer.reason,
        };
        let mut group = std::mem::take(&mut self.group);
        if self.index.damage.is_empty() && group.damage.is_empty() {
            let reason = "frames stand between the last commit and the footer".to_owned();
            let whole = match footer.check(&seen).within(path) {
                Ok(()) if !group.checksums.is_empty() => Err(Error::Damaged { path: path.clone(), reason }),
                other => other,
            };
            if let Err(error) = whole {
                // One flipped bit makes a commit pass for data, which is not read here; only its checksum shows it.
                group.damage = self.bad_frames(&group.data);
                if group.damage.is_empty() {
                    return Err(error);
                }
            }
        }
        // Behind damage, frames without a commit mean that the commit itself is gone: a footer only ever follows one.
        let is_left = !group.data.is_empty() || !group.records.is_empty();
        let lacks = !group.damage.is_empty() || is_left;
        self.take(group, header.index, lacks);
        self.index.closed = Some(footer.reason);
        self.index.good_bytes = header.end(position).next_multiple_of(BLOCK_BYTES);
        Ok(())
    }
}

/// What became of a frame.
enum Taken {
    Whole,
    /// Nothing of this pack comes after it.
    End,
    /// It is not what it should be, and why.
    Not(String),
}

enum Found {
    Frame(FrameHeader),
    Padding,
    Nothing(String),
}

/// Why a frame is not what it should be. Keys that are missing and limits that are passed stay errors: they say nothing
/// about damage or a torn tail.
fn reason_of(error: Error) -> Result<String, Error> {
    match error {
        Error::Format { .. } | Error::Crypto { .. } | Error::Damaged { .. } => Ok(cause(&error)),
        other => Err(other),
    }
}

/// Reads `count` bytes at `offset` by aligned reads, whatever the access of the file.
pub(super) fn read_range(
    file: &dyn FsFile,
    offset: u64,
    count: usize,
    path: &std::path::Path,
) -> Result<Vec<u8>, Error> {
    let align = DIRECT_ALIGN_BYTES as u64;
    let front = offset / align * align;
    let skip = usize::try_from(offset - front).expect("less than a block");
    let mut buffer = AlignedBuf::with_capacity((skip + count).next_multiple_of(DIRECT_ALIGN_BYTES));
    while buffer.len() < skip + count {
        let had = buffer.len();
        let want = buffer.capacity();
        buffer.resize_dirty(want);
        let got = file.read_at(&mut buffer[had..], front + had as u64).at("read", path)?;
        buffer.truncate(had + got);
        if got == 0 || !got.is_multiple_of(DIRECT_ALIGN_BYTES) {
            break;
        }
    }
    let missing = || Error::Damaged { path: path.to_owned(), reason: "the file is shorter than it was".to_owned() };
    buffer.get(skip..skip + count).map(<[u8]>::to_vec).ok_or_else(missing)
}

/// The header of a pack, for callers that hold only the index.
impl AsRef<PackHeader> for PackFile {
    fn as_ref(&self) -> &PackHeader {
        &self.header
    }
}
