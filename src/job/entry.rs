//! What the job knows about one path.

use crate::digest::{Crc64, Sha256};
use crate::format::record::{Attribute, Entry, EntryState, EntryType};
use crate::format::record::{Extent, Problem};
use crate::job::Error;

/// The state of one path in the ledger. The codes are stored; those below 10 are open: somebody has to look at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Seen, not staged yet.
    Pending,
    /// Staged, but it changed while it was read, in every attempt.
    Changed,
    /// It could not be staged; the reason is on record.
    Problem,
    /// No longer at the source, and volumes still say it is: a DELETED record is due.
    Gone,
    /// Every byte of it is committed on volumes.
    Staged,
    /// No longer at the source, and no volume claims otherwise.
    Deleted,
    /// A directory above the sources that only exists so that they have a path. In no ledger.
    Implied,
}

impl State {
    /// All states.
    pub const ALL: [Self; 7] =
        [Self::Pending, Self::Changed, Self::Problem, Self::Gone, Self::Staged, Self::Deleted, Self::Implied];

    /// The stored number. All take one byte in SQLite, so that a change of state never moves a row.
    pub(super) fn code(self) -> i64 {
        match self {
            Self::Pending => 2,
            Self::Changed => 3,
            Self::Problem => 4,
            Self::Gone => 5,
            Self::Staged => 10,
            Self::Deleted => 11,
            Self::Implied => 12,
        }
    }

    pub(super) fn from_code(code: i64) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|state| state.code() == code);
        found.ok_or_else(|| Error::Corrupt { what: "state of an entry", found: code.to_string() })
    }

    /// Whether the content of the current generation is on volumes.
    pub fn is_staged(self) -> bool {
        matches!(self, Self::Staged | Self::Changed)
    }

    /// Whether the path no longer exists at the source.
    pub fn is_deleted(self) -> bool {
        matches!(self, Self::Gone | Self::Deleted)
    }
}

/// What the file system says about a path, and what is recorded of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What it is.
    pub entry_type: EntryType,
    /// Content bytes; 0 unless a file.
    pub size: u64,
    /// Seconds since 1970 of the modification time.
    pub mtime_s: i64,
    /// Nanoseconds of it.
    pub mtime_ns: u32,
    /// Where the inode is and when it changed; `None` when this is known from a volume only.
    pub inode: Option<Inode>,
    /// Number of names of the inode; 1 when unknown.
    pub nlink: u32,
    /// Permission bits, set-id and sticky bits among them.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Owner's name, or empty.
    pub user: Vec<u8>,
    /// Group's name, or empty.
    pub group: Vec<u8>,
    /// The entry a hard link shares its content with; 0 for other types.
    pub link_id: u64,
    /// Device numbers (major, minor); devices only.
    pub rdev: (u32, u32),
    /// Where a symlink points to; empty for other types (the target of a hard link follows from `link_id`).
    pub target: Vec<u8>,
    /// Extended attributes, birth time.
    pub attributes: Vec<Attribute>,
}

/// Identity of an inode, as far as it tells whether a file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Inode {
    /// Device number of the file system. It may change when a drive is mounted again.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Last change of the inode, nanoseconds since 1970 (wrapping outside the years 1677 to 2262: only compared).
    pub ctime_ns: i64,
}

impl Inode {
    /// From seconds and nanoseconds of the change time.
    pub fn new(dev: u64, ino: u64, ctime_s: i64, ctime_ns: u32) -> Self {
        Self { dev, ino, ctime_ns: ctime_s.wrapping_mul(1_000_000_000).wrapping_add(i64::from(ctime_ns)) }
    }
}

impl Facts {
    /// What an ENTRY record says.
    pub(super) fn of_record(entry: &Entry) -> Self {
        let target = if entry.entry_type == EntryType::HardLink { Vec::new() } else { entry.target.clone() };
        Self {
            entry_type: entry.entry_type,
            size: entry.size,
            mtime_s: entry.mtime_s,
            mtime_ns: entry.mtime_ns,
            inode: None,
            nlink: 1,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            user: entry.user.clone(),
            group: entry.group.clone(),
            link_id: entry.link_id,
            rdev: entry.rdev,
            target,
            attributes: entry.attributes.clone(),
        }
    }

    /// The same with the inode of `other`: an ENTRY record does not carry one.
    pub(super) fn with_inode_of(self, other: &Self) -> Self {
        Self { inode: other.inode, nlink: other.nlink, ..self }
    }

    /// The ENTRY record of these facts and what was read. `path` and `link_path` are stored paths.
    pub fn to_record(&self, id: u64, path: Vec<u8>, link_path: Option<Vec<u8>>, read: &Read) -> Entry {
        Entry {
            id,
            generation: read.generation,
            entry_type: self.entry_type,
            state: read.state,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime_s: self.mtime_s,
            mtime_ns: self.mtime_ns,
            size: self.size,
            extent_count: read.extent_count,
            rdev: self.rdev,
            crc64: read.crc64,
            sha256: read.sha256,
            link_id: self.link_id,
            path,
            target: link_path.unwrap_or_else(|| self.target.clone()),
            user: self.user.clone(),
            group: self.group.clone(),
            attributes: self.attributes.clone(),
        }
    }
}

/// What one reading of an entry gave. Everything but files has no content: zero digests, no extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Which reading.
    pub generation: u32,
    /// Stable or changed while read.
    pub state: EntryState,
    /// Extents on all volumes.
    pub extent_count: u32,
    /// CRC-64/NVME of the content.
    pub crc64: Crc64,
    /// SHA-256 of the content.
    pub sha256: Sha256,
}

impl Read {
    /// The reading of something without content.
    pub fn nothing(generation: u32) -> Self {
        Self { generation, state: EntryState::Stable, extent_count: 0, crc64: Crc64::EMPTY, sha256: [0; 32] }
    }
}

/// What the job knows of one name in a directory, for the comparison with what is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The entry.
    pub id: u64,
    /// Its name in the directory.
    pub name: Vec<u8>,
    /// What it was.
    pub entry_type: EntryType,
    /// Its state.
    pub state: State,
    /// Its current generation.
    pub generation: u32,
    /// Content bytes.
    pub size: u64,
    /// Seconds since 1970 of the modification time.
    pub mtime_s: i64,
    /// Nanoseconds of it.
    pub mtime_ns: u32,
    /// The inode; `None` when known from a volume only.
    pub inode: Option<Inode>,
    /// Permission bits.
    pub mode: u32,
    /// The entry a hard link shares its content with; 0 for other types.
    pub link_id: u64,
}

impl Known {
    /// Whether `now` is what was seen before: same type, length, times, permissions and inode number.
    /// The device number is left out: it changes when a drive is mounted again. Owner, links and attributes cannot
    /// change without the inode's change time. What came from a volume has no inode; then size and mtime decide.
    pub fn is_unchanged(&self, now: &Facts) -> bool {
        let inode = match (self.inode, now.inode) {
            (Some(then), Some(now)) => (then.ino, then.ctime_ns) == (now.ino, now.ctime_ns),
            _ => true,
        };
        let then = (self.entry_type, self.size, self.mtime_s, self.mtime_ns, self.mode, self.link_id);
        inode && then == (now.entry_type, now.size, now.mtime_s, now.mtime_ns, now.mode, now.link_id)
    }
}

impl Stored {
    /// Whether `now` is what was seen before, by the same rule as [`Known::is_unchanged`].
    pub fn is_as_before(&self, now: &Facts) -> bool {
        let known = Known {
            id: self.id,
            name: Vec::new(),
            entry_type: self.facts.entry_type,
            state: self.state,
            generation: self.generation,
            size: self.facts.size,
            mtime_s: self.facts.mtime_s,
            mtime_ns: self.facts.mtime_ns,
            inode: self.facts.inode,
            mode: self.facts.mode,
            link_id: self.facts.link_id,
        };
        known.is_unchanged(now)
    }
}

/// One entry with everything that is known of its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The entry.
    pub id: u64,
    /// The directory it is in; 0 for the top, negative while an import has not met its record.
    pub(super) parent: i64,
    /// Its name in its directory.
    pub name: Vec<u8>,
    /// Its state.
    pub state: State,
    /// Its current generation.
    pub generation: u32,
    /// What the source says.
    pub facts: Facts,
}

/// An entry to be staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The entry.
    pub entry: Stored,
    /// Its stored path.
    pub path: Vec<u8>,
    /// Stored path of the entry a hard link shares its content with.
    pub link_path: Option<Vec<u8>>,
}

/// One extent and the pack it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Volume number.
    pub volume: u32,
    /// The extent, its `pack` field filled with the pack number (0 for a hole).
    pub extent: Extent,
}

/// A problem on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownProblem {
    /// Which one, for [`crate::job::Job::problems`] to continue after.
    pub number: u64,
    /// State of the entry now; `None` for a problem without an entry.
    pub state: Option<State>,
    /// The problem.
    pub problem: Problem,
}
