//! The walk meets the inventory: what is new, changed, unchanged or gone, one directory at a time.
//!
//! Owns: the rule what is staged again. Invariants: names of one directory are compared in one pass over two sorted lists;
//! memory is one batch and the directories that wait for theirs. A directory that could not be listed makes nothing vanish.

use std::collections::{HashMap, HashSet};

use crate::census::{Error, Item, inode};
use crate::format::record::{EntryType, Problem, ProblemCode};
use crate::job::{Batch, Facts, Job, Known, State};
use crate::scan::{self, DirBatch, EntryKind, ProblemKind, Root};
use crate::sys::source::Identity;

/// Most known names read at once.
const KNOWN_AT_ONCE: usize = 16_384;

/// A directory whose batches are expected.
#[derive(Debug)]
struct Expected {
    id: u64,
    /// Last name that was compared.
    after: Vec<u8>,
    /// Some of its names could not be read.
    is_uncertain: bool,
}

/// One source, as merge needs it.
#[derive(Debug, Clone)]
pub struct Top {
    /// The source.
    pub root: Root,
    /// The entry of its top.
    pub entry: u64,
    /// Its stored path.
    pub prefix: Vec<u8>,
}

/// Compares batches with the inventory.
#[derive(Debug)]
pub struct Merge {
    tops: Vec<Top>,
    expected: HashMap<(usize, Vec<u8>), Expected>,
    /// Problems met since somebody took them.
    pub problems: Vec<Problem>,
    /// Names left out, by rule.
    pub excluded: HashMap<&'static str, u64>,
    special_files: bool,
}

impl Merge {
    /// A merge of walks of these sources.
    pub fn new(tops: Vec<Top>, special_files: bool) -> Self {
        let expected = tops.iter().enumerate().filter(|(_, top)| !top.root.is_file()).map(|(index, top)| {
            ((index, Vec::new()), Expected { id: top.entry, after: Vec::new(), is_uncertain: false })
        });
        let expected = expected.collect();
        Self { tops, expected, problems: Vec::new(), excluded: HashMap::new(), special_files }
    }

    /// Takes one batch; gives what is to be read.
    ///
    /// # Errors
    /// When the source is empty where it was not, or the database fails.
    pub fn take(&mut self, job: &mut Job, batch: DirBatch) -> Result<Vec<Item>, Error> {
        for problem in &batch.problems {
            let stored = stored_path(&self.tops[batch.root].prefix, &problem.path);
            let code = match problem.kind {
                ProblemKind::Vanished => ProblemCode::Vanished,
                _ => ProblemCode::Unreadable,
            };
            let errno = problem.source.raw_os_error().and_then(|errno| u32::try_from(errno).ok()).unwrap_or_default();
            let text = format!("{}: {}", problem.kind, problem.source);
            self.problems.push(Problem { id: 0, code, errno, path: stored, text });
        }
        for excluded in &batch.excluded {
            let rule = match excluded.by {
                scan::ExcludedBy::Rule => "rule",
                scan::ExcludedBy::OwnOutput => "own output",
            };
            *self.excluded.entry(rule).or_default() += 1;
        }
        if self.tops[batch.root].root.is_file() {
            return self.single_file(job, &batch);
        }
        let key = (batch.root, batch.dir.clone());
        let Some(mut place) = self.expected.remove(&key) else {
            return Err(Error::Disorder("a directory came that its parent did not announce"));
        };
        place.is_uncertain |= batch.problems.iter().any(|problem| problem.kind == ProblemKind::List);
        let known = known(job, &place, &batch)?;
        self.refuse_empty(&batch, &known, &place)?;
        let items = job.batch(|tx| self.merge(tx, &batch, &place, known))?;
        if !batch.is_last {
            place.after = batch.entries.last().map_or(place.after, |entry| entry.name.clone());
            self.expected.insert(key, place);
        }
        Ok(items)
    }

    /// An empty source where something was before, or from the start, is a missing mount until proven otherwise.
    fn refuse_empty(&self, batch: &DirBatch, known: &[Known], place: &Expected) -> Result<(), Error> {
        let names = batch.entries.len() + batch.excluded.len() + batch.problems.len();
        if batch.dir.is_empty() && names == 0 && place.after.is_empty() && batch.is_last {
            let known = known.iter().filter(|known| !known.state.is_deleted()).count() as u64;
            return Err(Error::EmptySource { path: self.tops[batch.root].root.given().to_owned(), known });
        }
        Ok(())
    }

    fn merge(
        &mut self,
        tx: &mut Batch<'_>,
        batch: &DirBatch,
        place: &Expected,
        known: Vec<Known>,
    ) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        if batch.dir.is_empty()
            && place.after.is_empty()
            && let Some(identity) = &batch.identity
        {
            items.extend(self.top(tx, batch.root, identity)?);
        }
        let excluded: HashSet<&[u8]> = batch.excluded.iter().map(|excluded| excluded.name.as_slice()).collect();
        let failed: HashSet<&[u8]> = batch.problems.iter().map(|problem| last_component(&problem.path)).collect();
        let mut known = known.into_iter().peekable();
        let gone = |tx: &mut Batch<'_>, old: &Known| -> Result<(), Error> {
            let spared =
                place.is_uncertain || excluded.contains(old.name.as_slice()) || failed.contains(old.name.as_slice());
            if !spared && !old.state.is_deleted() {
                tx.vanish(old.id)?;
            }
            Ok(())
        };
        for entry in &batch.entries {
            while let Some(old) = known.next_if(|old| old.name < entry.name) {
                gone(tx, &old)?;
            }
            let old = known.next_if(|old| old.name == entry.name);
            items.extend(self.entry(tx, batch, place.id, entry, old)?);
        }
        for old in known {
            gone(tx, &old)?;
        }
        Ok(items)
    }

    fn top(&mut self, tx: &mut Batch<'_>, root: usize, identity: &Identity) -> Result<Option<Item>, Error> {
        let top = &self.tops[root];
        let facts = facts(identity, EntryType::Directory, 0, Vec::new());
        let old = tx.entry(top.entry)?;
        let id = top.entry;
        let (generation, is_due) = match old {
            Some(old) if old.is_as_before(&facts) => (old.generation, needs_staging(old.state)),
            _ => (tx.change(id, &facts)?, true),
        };
        Ok(is_due.then_some(Item {
            id,
            generation,
            path: top.prefix.clone(),
            place: top.root.open_path(b""),
            facts,
            link_path: None,
        }))
    }

    fn single_file(&mut self, job: &mut Job, batch: &DirBatch) -> Result<Vec<Item>, Error> {
        let Some(entry) = batch.entries.first() else { return Ok(Vec::new()) };
        let (id, path) = (self.tops[batch.root].entry, self.tops[batch.root].prefix.clone());
        let place = self.tops[batch.root].root.open_path(&entry.name);
        let facts = facts(&entry.identity, EntryType::File, 0, Vec::new());
        job.batch(|tx| {
            let (generation, is_due) = match tx.entry(id)? {
                Some(old) if old.is_as_before(&facts) => (old.generation, needs_staging(old.state)),
                _ => (tx.change(id, &facts)?, true),
            };
            Ok(is_due.then_some(Item { id, generation, path, place, facts, link_path: None }).into_iter().collect())
        })
    }

    /// One name that is there.
    fn entry(
        &mut self,
        tx: &mut Batch<'_>,
        batch: &DirBatch,
        directory: u64,
        entry: &scan::Entry,
        old: Option<Known>,
    ) -> Result<Option<Item>, Error> {
        let below = join(&batch.dir, &entry.name);
        let path = stored_path(&self.tops[batch.root].prefix, &below);
        if let Err(error) = crate::format::path::check(&path, false) {
            let problem = Problem { id: 0, code: ProblemCode::Name, errno: 0, path, text: error.to_string() };
            self.problems.push(problem);
            return Ok(None);
        }
        let (entry_type, target) = kind(&entry.kind);
        let is_special =
            matches!(entry_type, EntryType::Socket | EntryType::Fifo | EntryType::CharDevice | EntryType::BlockDevice);
        let own_id = old.as_ref().map(|old| old.id);
        let (entry_type, link_id) = self.link(tx, entry, entry_type, own_id)?;
        let facts = Facts { link_id, target, ..facts(&entry.identity, entry_type, link_id, Vec::new()) };
        let (id, generation, is_due) = match old {
            Some(old) if old.is_unchanged(&facts) && !old.state.is_deleted() => {
                if old.inode != facts.inode
                    && let Some(inode) = &facts.inode
                {
                    tx.refresh(old.id, inode, facts.nlink)?;
                }
                (old.id, old.generation, needs_staging(old.state))
            }
            Some(old) => {
                if old.entry_type == EntryType::Directory && entry_type != EntryType::Directory {
                    tx.vanish(old.id)?; // with everything that was below it
                }
                (old.id, tx.change(old.id, &facts)?, true)
            }
            None => (tx.add(directory, &entry.name, &facts)?, 1, true),
        };
        if entry_type == EntryType::Directory && entry.is_entered {
            self.expected.insert((batch.root, below.clone()), Expected { id, after: Vec::new(), is_uncertain: false });
        }
        if !is_due {
            return Ok(None);
        }
        if is_special && !self.special_files {
            let text = "special files are skipped, as --skip-special asks".to_owned();
            self.problems.push(Problem { id, code: ProblemCode::Skipped, errno: 0, path, text });
            return Ok(None);
        }
        let link_path = if link_id == 0 { None } else { Some(tx.path(link_id)?) };
        let place = self.tops[batch.root].root.open_path(&below);
        Ok(Some(Item { id, generation, path, place, facts, link_path }))
    }

    /// The first name of an inode is the file; further names are hard links to it.
    fn link(
        &self,
        tx: &Batch<'_>,
        entry: &scan::Entry,
        entry_type: EntryType,
        own_id: Option<u64>,
    ) -> Result<(EntryType, u64), Error> {
        if entry_type != EntryType::File {
            return Ok((entry_type, 0));
        }
        let Some((dev, ino)) = entry.link_group() else { return Ok((entry_type, 0)) };
        match tx.linked(dev, ino)? {
            Some(first) if Some(first.id) != own_id => Ok((EntryType::HardLink, first.id)),
            _ => Ok((entry_type, 0)),
        }
    }
}

/// Whether a path in that state is still to be staged.
fn needs_staging(state: State) -> bool {
    matches!(state, State::Pending | State::Implied | State::Problem)
}

/// What the job knows of the names this batch covers.
fn known(job: &Job, place: &Expected, batch: &DirBatch) -> Result<Vec<Known>, Error> {
    let end = batch.entries.last().map(|entry| entry.name.clone()).unwrap_or_default();
    let mut all: Vec<Known> = Vec::new();
    let mut after = place.after.clone();
    loop {
        let some = job.children(place.id, Some(&after), KNOWN_AT_ONCE)?;
        let is_end = some.len() < KNOWN_AT_ONCE;
        after = some.last().map(|known| known.name.clone()).unwrap_or_default();
        let is_past = !batch.is_last && after > end;
        all.extend(some.into_iter().filter(|known| batch.is_last || known.name <= end));
        if is_end || is_past {
            return Ok(all);
        }
    }
}

fn facts(identity: &Identity, entry_type: EntryType, link_id: u64, target: Vec<u8>) -> Facts {
    let is_device = matches!(entry_type, EntryType::CharDevice | EntryType::BlockDevice);
    Facts {
        entry_type,
        size: if entry_type == EntryType::File { identity.size } else { 0 },
        mtime_s: identity.mtime.seconds,
        mtime_ns: identity.mtime.nanos,
        inode: Some(inode(identity)),
        nlink: identity.nlink,
        mode: identity.mode,
        uid: identity.uid,
        gid: identity.gid,
        user: Vec::new(),
        group: Vec::new(),
        link_id,
        rdev: if is_device { crate::sys::source::device_numbers(identity.rdev) } else { (0, 0) },
        target,
        attributes: Vec::new(),
    }
}

fn kind(kind: &EntryKind) -> (EntryType, Vec<u8>) {
    match kind {
        EntryKind::File => (EntryType::File, Vec::new()),
        EntryKind::Dir => (EntryType::Directory, Vec::new()),
        EntryKind::Symlink { target } => (EntryType::Symlink, target.clone()),
        EntryKind::Fifo => (EntryType::Fifo, Vec::new()),
        EntryKind::Socket => (EntryType::Socket, Vec::new()),
        EntryKind::Block => (EntryType::BlockDevice, Vec::new()),
        EntryKind::Char => (EntryType::CharDevice, Vec::new()),
    }
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

/// Path in the dataset of a path below a source.
fn stored_path(prefix: &[u8], below: &[u8]) -> Vec<u8> {
    if below.is_empty() { prefix.to_vec() } else { join(prefix, below) }
}

fn last_component(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}
