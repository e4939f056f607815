//! Entries on the target: making them, finishing them, and what is done with what is there already.
//!
//! Owns: the one rule for names that are taken, which metadata is restored, and the ledger of what was done. Does not
//! own: file contents (`file`), order (`engine`, `last`).
//! Invariants: an entry is counted once, as done or as a problem; what is there is replaced only if it is the unfinished
//! rest of an earlier run or the user asked for it, and a directory never. Callers: `file`, `engine`, `last`.

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::extract::error::{Class, Problem};
use crate::extract::flush::Flush;
use crate::extract::{Done, Options, Outcome};
use crate::format::record::{Attribute, Entry, EntryType};
use crate::monitor::Monitor;
use crate::sys::lock::lock;
use crate::sys::source::{Identity, SourceKind, UnixTime, Xattr};
use crate::sys::target::{Meta, MetaProblem, Special, TargetFile, TargetRoot, is_unfinished};

/// Where everything goes: the target, the ledger, the counters.
pub(super) struct Sink<'a> {
    pub(super) target: &'a TargetRoot,
    pub(super) options: &'a Options,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) flush: Flush,
    outcome: Mutex<Outcome>,
}

/// What makes an entry that is there the one that is wanted.
pub(super) enum Standing<'a> {
    /// A finished file with this size and modification time.
    File((u64, i64, u32)),
    /// A symbolic link that points there.
    Symlink(&'a [u8]),
    /// Another name of the file at this path.
    HardLink(&'a [u8]),
    /// A special file of this kind.
    Special(SourceKind, u64),
}

impl<'a> Sink<'a> {
    pub(super) fn new(target: &'a TargetRoot, options: &'a Options, monitor: &'a dyn Monitor) -> Self {
        Self { target, options, monitor, flush: Flush::default(), outcome: Mutex::default() }
    }

    pub(super) fn into_outcome(self) -> Outcome {
        self.outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, done: Done) {
        self.with(|outcome| *outcome.counts.entry(done).or_default() += 1);
    }

    pub(super) fn problem(&self, problem: Problem) {
        self.with(|outcome| outcome.problems.push(problem));
    }

    /// Entries that are told as not as they should be.
    pub(super) fn paths_with_problems(&self) -> HashSet<Vec<u8>> {
        let outcome = lock(&self.outcome);
        outcome.problems.iter().filter_map(|problem| problem.path.clone()).collect()
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.monitor.bytes(bytes);
    }

    /// Makes an entry. `None` if the wanted one is there already.
    pub(super) fn make<T>(
        &self,
        path: &[u8],
        create: impl Fn(&TargetRoot) -> io::Result<T>,
        wanted: &Standing<'_>,
    ) -> Result<Option<T>, Problem> {
        let failed = |error: io::Error| Problem::entry(Class::Entry, path, "cannot be made").because(error);
        match create(self.target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(Some).map_err(failed),
        }
        let found = self.target.identity(path).map_err(failed)?;
        let unfinished = is_unfinished(&found);
        if !unfinished && self.is_wanted(path, &found, wanted) {
            return Ok(None);
        }
        let replace = found.kind != SourceKind::Dir && (unfinished || self.options.overwrite);
        if !replace {
            return Err(Problem::entry(Class::Entry, path, "something else is there, and it is kept"));
        }
        self.target.remove(path).map_err(failed)?;
        create(self.target).map(Some).map_err(failed)
    }

    /// Removes what must not stay; if even that fails it still carries the unfinished mark.
    pub(super) fn remove(&self, path: &[u8]) {
        if let Err(error) = self.target.remove(path) {
            tracing::debug!(%error, "an unfinished file stays");
        }
    }

    /// Sets the metadata of a file whose bytes are all there, and counts it.
    pub(super) fn finish_file(&self, file: &TargetFile, entry: &Entry) {
        let xattrs = xattrs(entry, self.options);
        let problems = file.finish(&meta(entry, self.options, &xattrs));
        self.monitor.files(1);
        let lost = u64::from(!self.options.set_id && entry.mode & SET_ID != 0);
        self.with(|outcome| {
            outcome.bytes = outcome.bytes.saturating_add(entry.size);
            outcome.set_id_left_out += lost;
        });
        self.settle(Done::File, &entry.path, problems);
    }

    /// Makes a symbolic link or special file.
    pub(super) fn make_node(&self, entry: &Entry) {
        let result = match entry.entry_type {
            EntryType::Symlink => self.make_symlink(entry),
            EntryType::Fifo => self.make_special(entry, Special::Fifo, SourceKind::Fifo),
            EntryType::CharDevice if self.options.devices => {
                self.make_special(entry, Special::Char(entry.rdev.0, entry.rdev.1), SourceKind::Char)
            }
            EntryType::BlockDevice if self.options.devices => {
                self.make_special(entry, Special::Block(entry.rdev.0, entry.rdev.1), SourceKind::Block)
            }
            _ => {
                self.count(Done::LeftOut);
                Ok(())
            }
        };
        if let Err(problem) = result {
            self.problem(problem);
        }
    }

    /// Counts an entry as done, or as a problem if not all its metadata could be set.
    pub(super) fn settle(&self, done: Done, path: &[u8], problems: Vec<MetaProblem>) {
        let names: Vec<&str> = problems.iter().map(|problem| problem.what.as_str()).collect();
        let message = format!("is there, but could not get its {}", names.join(", "));
        match problems.into_iter().next() {
            None => self.count(done),
            Some(first) => self.problem(Problem::entry(Class::Entry, path, message).because(first.source)),
        }
    }

    fn make_symlink(&self, entry: &Entry) -> Result<(), Problem> {
        let create = |target: &TargetRoot| target.symlink(&entry.target, &entry.path);
        let made = self.make(&entry.path, create, &Standing::Symlink(&entry.target))?;
        self.finish_other(made, entry, SourceKind::Symlink, Done::Symlink)
    }

    fn make_special(&self, entry: &Entry, special: Special, kind: SourceKind) -> Result<(), Problem> {
        let device = crate::sys::source::device_number(entry.rdev.0, entry.rdev.1);
        let create = |target: &TargetRoot| target.special(special, &entry.path);
        let made = self.make(&entry.path, create, &Standing::Special(kind, device))?;
        self.finish_other(made, entry, kind, Done::Special)
    }

    fn finish_other(&self, made: Option<()>, entry: &Entry, kind: SourceKind, done: Done) -> Result<(), Problem> {
        if made.is_none() {
            self.count(Done::AlreadyThere);
            return Ok(());
        }
        let failed = |error| Problem::entry(Class::Entry, &entry.path, "cannot be finished").because(error);
        let problems = self.target.finish_other(&entry.path, kind, &meta(entry, self.options, &[])).map_err(failed)?;
        self.settle(done, &entry.path, problems);
        Ok(())
    }

    fn is_wanted(&self, path: &[u8], found: &Identity, wanted: &Standing<'_>) -> bool {
        match wanted {
            Standing::File((size, seconds, nanos)) => {
                let mtime = UnixTime { seconds: *seconds, nanos: *nanos };
                found.kind == SourceKind::File && found.size == *size && found.mtime == mtime
            }
            Standing::Symlink(points_to) => {
                found.kind == SourceKind::Symlink && self.target.link_target(path).is_ok_and(|to| to == *points_to)
            }
            Standing::HardLink(other) => {
                self.target.identity(other).is_ok_and(|other| (other.dev, other.ino) == (found.dev, found.ino))
            }
            Standing::Special(kind, device) => found.kind == *kind && found.rdev == *device,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Outcome) -> T) -> T {
        change(&mut lock(&self.outcome))
    }
}

/// The set-uid and set-gid bits of a mode.
const SET_ID: u32 = 0o6000;

/// The metadata of an entry that is to be restored.
pub(super) fn meta<'x>(entry: &Entry, options: &Options, xattrs: &'x [Xattr]) -> Meta<'x> {
    // On a directory set-gid means inheritance, not privilege.
    let keep = options.set_id || entry.entry_type == EntryType::Directory;
    Meta {
        owner: options.owner.then_some((entry.uid, entry.gid)),
        mode: if keep { entry.mode } else { entry.mode & !SET_ID },
        mtime: UnixTime { seconds: entry.mtime_s, nanos: entry.mtime_ns },
        xattrs,
    }
}

/// The extended attributes that are to be restored: those of users and ACLs always, `trusted.` for root, capabilities
/// with the set-id bits. Labels of security modules belong to the machine, not to the data.
pub(super) fn xattrs(entry: &Entry, options: &Options) -> Vec<Xattr> {
    let wanted = |name: &[u8]| {
        name.starts_with(b"user.")
            || name.starts_with(b"system.posix_acl_")
            || (options.owner && name.starts_with(b"trusted."))
            || (options.owner && options.set_id && name == b"security.capability")
    };
    let of = |attribute: &Attribute| match attribute {
        Attribute::Xattr { name, value } if wanted(name) => Some(Xattr { name: name.clone(), value: value.clone() }),
        _ => None,
    };
    entry.attributes.iter().filter_map(of).collect()
}
