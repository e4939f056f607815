//! What the walk delivers: one directory at a time.
//!
//! Owns: the types of entries, exclusions and problems. Does not own: how they come about (`walk`, `select`).
//! Invariants: names are bytes and never empty; entries of one directory are sorted by name bytes across its batches.
//! Callers: everybody above; nothing here touches the outside.

use std::io;
use std::path::PathBuf;

use crate::sys::source::Identity;

/// One directory, or a stretch of a very large one.
#[derive(Debug)]
pub struct DirBatch {
    /// Which root this is under: index into the roots of the walk.
    pub root: usize,
    /// Path relative to the root, components separated by `/`; empty for the root itself.
    pub dir: Vec<u8>,
    /// Facts about the directory; `None` for a root that is a single file.
    pub identity: Option<Identity>,
    /// Selected entries, sorted by name bytes.
    pub entries: Vec<Entry>,
    /// Names that a rule or an option left out. Nothing below an excluded directory was looked at.
    pub excluded: Vec<Excluded>,
    /// Names that could not be taken, and why.
    pub problems: Vec<Problem>,
    /// Whether this is the last batch of the directory.
    pub is_last: bool,
}

/// A selected name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, byte for byte.
    pub name: Vec<u8>,
    /// What the kernel said about it.
    pub identity: Identity,
    /// What it is.
    pub kind: EntryKind,
    /// For a directory: whether the walk goes into it. `false` at the border of the file system, if it is to stay in one.
    pub is_entered: bool,
    /// Where it is, when it is what a followed link leads to.
    pub place: Option<PathBuf>,
}

/// What a selected name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// Regular file.
    File,
    /// Directory; its contents come in batches of their own.
    Dir,
    /// Symbolic link.
    Symlink {
        /// Where it points, byte for byte; not looked at.
        target: Vec<u8>,
    },
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
    /// Block device; its numbers are in `identity.rdev`.
    Block,
    /// Character device; its numbers are in `identity.rdev`.
    Char,
}

/// A name that was left out on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// The name, byte for byte.
    pub name: Vec<u8>,
    /// Whether it is a directory, whose contents were left out with it unseen.
    pub is_dir: bool,
    /// Why.
    pub by: ExcludedBy,
}

/// Why a name was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExcludedBy {
    /// A rule of the user.
    Rule,
    /// It is a directory this very run writes to (a volume or the job).
    OwnOutput,
    /// It is not on the list of what to take.
    NotListed,
}

/// A name that could not be taken. The walk goes on.
#[derive(Debug)]
pub struct Problem {
    /// Path relative to the root.
    pub path: Vec<u8>,
    /// What could not be done.
    pub kind: ProblemKind,
    /// Why.
    pub source: io::Error,
}

/// What could not be done with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The directory could not be listed, or not to its end.
    List,
    /// The kernel gave no facts about it.
    Stat,
    /// The target of a symbolic link could not be read.
    ReadLink,
    /// It was there when the directory was listed, and gone a moment later.
    Vanished,
    /// It is of a kind that this program does not know.
    UnknownKind,
}

impl std::fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::List => "directory cannot be listed",
            Self::Stat => "nothing can be learned about it",
            Self::ReadLink => "link target cannot be read",
            Self::Vanished => "vanished while being looked at",
            Self::UnknownKind => "is of an unknown kind",
        })
    }
}

impl Entry {
    /// The hard-link group this entry belongs to: device and inode, shared by all its names. `None` for directories and
    /// for entries with one name.
    pub fn link_group(&self) -> Option<(u64, u64)> {
        let linked = self.identity.nlink > 1 && self.kind != EntryKind::Dir;
        linked.then_some((self.identity.dev, self.identity.ino))
    }
}

/// A path below a root: directory and name joined by `/`.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}
