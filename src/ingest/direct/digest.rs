//! The first reading of an entry: its digests, extent by extent.
//!
//! Owns: what counts as a good reading. Invariants: a short read, an error or a file that changed while it was read never
//! becomes a valid entry; a file that will not hold still is recorded as changed, with what was read last.

use std::io;
use std::os::unix::ffi::OsStrExt;

use crate::census::{Item, inode};
use crate::digest::{Crc64, Sha256Stream, combine, crc64};
use crate::format::layout::extent_bytes;
use crate::format::path::escape;
use crate::format::record::{Content, EntryState, EntryType, Extent, Piece, Problem, ProblemCode, Record};
use crate::job::{Facts, Read};
use crate::sys::process::StopFlag;
use crate::sys::source::{self, Identity, SourceFile};

/// Readings of a file that keeps changing, the first included.
const READINGS_MAX: u32 = 3;
/// Bytes read at once. Unit: bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// What became of an item.
pub(super) enum Digested {
    /// Its records, for the job.
    Read { id: u64, records: Vec<Record> },
    /// It could not be read.
    Problem(Problem),
    /// The run ended first.
    Stopped,
}

enum Trouble {
    Problem(ProblemCode, Option<u32>, String),
    Stopped,
}

impl Trouble {
    fn io(what: &str, item: &Item, error: &io::Error) -> Self {
        let code =
            if error.kind() == io::ErrorKind::NotFound { ProblemCode::Vanished } else { ProblemCode::Unreadable };
        let errno = error.raw_os_error().and_then(|errno| u32::try_from(errno).ok());
        Self::Problem(code, errno, format!("{}: {what}: {error}", escape(item.place.as_os_str().as_bytes())))
    }
}

/// Reads an item once, or as often as it takes for it to hold still.
pub(super) fn digest(item: Item, halt: &StopFlag) -> Digested {
    match read(&item, halt) {
        Ok(records) => Digested::Read { id: item.id, records },
        Err(Trouble::Stopped) => Digested::Stopped,
        Err(Trouble::Problem(code, errno, text)) => {
            let (id, path) = (item.id, item.path);
            Digested::Problem(Problem { id, code, errno: errno.unwrap_or_default(), path, text })
        }
    }
}

fn read(item: &Item, halt: &StopFlag) -> Result<Vec<Record>, Trouble> {
    if item.facts.entry_type != EntryType::File {
        let now = source::identity(&item.place).map_err(|error| Trouble::io("cannot be looked at", item, &error))?;
        return Ok(vec![entry(item, &now, &Read::nothing(item.generation))]);
    }
    let file = SourceFile::open(&item.place).map_err(|error| Trouble::io("cannot be opened", item, &error))?;
    let look = || file.identity().map_err(|error| Trouble::io("cannot be looked at", item, &error));
    for reading in 1..=READINGS_MAX {
        let before = look()?;
        let (records, mut read, bytes) = extents(item, &file, &before, halt)?;
        let after = look()?;
        let is_stable = !after.changed_since(&before);
        if is_stable && bytes < before.size {
            let text = format!("ended after {bytes} bytes where the file system says {}", before.size);
            return Err(Trouble::Problem(ProblemCode::EndedEarly, None, text));
        }
        if is_stable || (reading == READINGS_MAX && bytes == before.size) {
            read.state = if is_stable { EntryState::Stable } else { EntryState::Changed };
            let mut records = records;
            // Its length is what was read, whatever became of it since.
            records.push(entry(item, &Identity { size: bytes, ..after }, &read));
            return Ok(records);
        }
    }
    let text = "changed in every reading; run again when it is at rest".to_owned();
    Err(Trouble::Problem(ProblemCode::Changed, None, text))
}

/// Records of the extents, what was read, and how many bytes that were.
fn extents(
    item: &Item,
    file: &SourceFile,
    before: &Identity,
    halt: &StopFlag,
) -> Result<(Vec<Record>, Read, u64), Trouble> {
    let (mut records, mut sha, mut whole) = (Vec::new(), Sha256Stream::new(), Crc64::EMPTY);
    let mut buffer = vec![0; CHUNK_BYTES.min(usize::try_from(before.size).unwrap_or(CHUNK_BYTES)).max(1)];
    let mut position = 0;
    while position < before.size {
        let start = position;
        let end = (start + extent_bytes(before.size)).min(before.size);
        let mut crc = Crc64::EMPTY;
        while position < end {
            if halt.is_set() {
                return Err(Trouble::Stopped);
            }
            let want = buffer.len().min(usize::try_from(end - position).unwrap_or(buffer.len()));
            let got = file.read_full_at(&mut buffer[..want], position);
            let got = got.map_err(|error| Trouble::io("cannot be read", item, &error))?;
            if got == 0 {
                return Ok((Vec::new(), Read::nothing(item.generation), position));
            }
            sha.update(&buffer[..got]);
            crc = combine(crc, crc64(&buffer[..got]), got as u64);
            position += got as u64;
        }
        let length = end - start;
        whole = combine(whole, crc, length);
        let bytes = u32::try_from(length).unwrap_or(u32::MAX); // an extent is at most 64 MiB
        records.push(Record::Extent(Extent {
            id: item.id,
            generation: item.generation,
            offset: start,
            length,
            crc64: crc,
            pack: 0,
            states: None,
            content: Content::Stored(vec![Piece { frame: 0, at: 0, bytes }]),
        }));
    }
    let extent_count = u32::try_from(records.len()).unwrap_or(u32::MAX);
    let (generation, state) = (item.generation, EntryState::Stable);
    Ok((records, Read { generation, state, extent_count, crc64: whole, sha256: sha.finish() }, position))
}

/// The ENTRY record: what the walk saw, with what the file itself says now.
fn entry(item: &Item, now: &Identity, read: &Read) -> Record {
    let is_file = item.facts.entry_type == EntryType::File;
    let facts = Facts {
        size: if is_file { now.size } else { 0 },
        mtime_s: now.mtime.seconds,
        mtime_ns: now.mtime.nanos,
        inode: Some(inode(now)),
        nlink: now.nlink,
        mode: now.mode,
        uid: now.uid,
        gid: now.gid,
        ..item.facts.clone()
    };
    Record::Entry(facts.to_record(item.id, item.path.clone(), item.link_path.clone(), read))
}
