//! The walk meets the inventory: what is new, changed, unchanged or gone, one directory at a time.
//!
//! Owns: the rule what is staged again. Invariants: names of one directory are compared in one pass over two sorted lists;
//! memory is one batch and the directories that wait for theirs. A directory that could not be listed makes nothing vanish.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::census::{Error, Item, inode};
use crate::digest::Sha256;
use crate::format::record::{Attribute, EntryType, Problem, ProblemCode};
use crate::job::{Batch, Facts, Inode, Job, Known, State};
use crate::scan::{self, DirBatch, EntryKind, ProblemKind, Root, join};
use crate::sys::owners::Owners;
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
    /// It lies on another device than before: something was mounted there, or is no longer.
    is_remounted: bool,
}

/// A batch with what the job knows of its names.
struct Prepared {
    batch: DirBatch,
    place: Expected,
    known: Vec<Known>,
}

/// A file that looks unchanged, and what was read on the trip before.
#[derive(Debug)]
pub struct Compare {
    /// The file.
    pub item: Item,
    /// SHA-256 of its content then.
    pub sha256: Sha256,
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
    owners: Owners,
    /// Whether files that look unchanged are put in line to be compared by content.
    pub by_content: bool,
    /// Those, since somebody took them.
    pub compare: Vec<Compare>,
}

impl Merge {
    /// A merge of walks of these sources.
    pub fn new(tops: Vec<Top>, special_files: bool) -> Self {
        let expected = tops.iter().enumerate().filter(|(_, top)| !top.root.is_file()).map(|(index, top)| {
            let is_remounted = false; // looked up when its batch comes
            ((index, Vec::new()), Expected { id: top.entry, after: Vec::new(), is_uncertain: false, is_remounted })
        });
        let expected = expected.collect();
        let (problems, excluded, compare) = (Vec::new(), HashMap::new(), Vec::new());
        let owners = Owners::of_this_machine();
        Self { tops, expected, problems, excluded, special_files, owners, by_content: false, compare }
    }

    /// Takes one batch; gives what is to be read.
    ///
    /// # Errors
    /// When the source is empty where it was not, or the database fails.
    pub fn take(&mut self, job: &mut Job, batch: DirBatch) -> Result<Vec<Item>, Error> {
        self.take_all(job, vec![batch])
    }

    /// Takes batches, as many as possible in one transaction; gives what is to be read.
    ///
    /// # Errors
    /// As for [`Self::take`].
    pub fn take_all(&mut self, job: &mut Job, batches: Vec<DirBatch>) -> Result<Vec<Item>, Error> {
        let (mut items, mut group) = (Vec::new(), Vec::new());
        for batch in batches {
            self.note(&batch);
            if self.tops[batch.root].root.is_file() {
                items.extend(self.single_file(job, &batch)?);
                continue;
            }
            if !self.expected.contains_key(&(batch.root, batch.dir.clone())) {
                items.extend(self.merge_group(job, &mut group)?); // its parent, or the batch before it, is among them
            }
            group.push(self.prepare(job, batch)?);
        }
        items.extend(self.merge_group(job, &mut group)?);
        Ok(items)
    }

    /// Problems and what was left out.
    fn note(&mut self, batch: &DirBatch) {
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
                scan::ExcludedBy::NotListed => "not listed",
                scan::ExcludedBy::OwnOutput => "own output",
            };
            *self.excluded.entry(rule).or_default() += 1;
        }
    }

    /// Looks up what the job knows of the names of a batch.
    fn prepare(&mut self, job: &Job, batch: DirBatch) -> Result<Prepared, Error> {
        let Some(mut place) = self.expected.remove(&(batch.root, batch.dir.clone())) else {
            return Err(Error::Disorder("a directory came that its parent did not announce"));
        };
        place.is_uncertain |= batch.problems.iter().any(|problem| problem.kind == ProblemKind::List);
        let known = known(job, &place, &batch)?;
        if batch.dir.is_empty()
            && let (Some(now), Some(before)) = (&batch.identity, job.entry(place.id)?)
        {
            place.is_remounted = before.facts.inode.is_some_and(|inode| inode.dev != now.dev);
        }
        self.refuse_empty(&batch, &known, &place)?;
        Ok(Prepared { batch, place, known })
    }

    fn merge_group(&mut self, job: &mut Job, group: &mut Vec<Prepared>) -> Result<Vec<Item>, Error> {
        if group.is_empty() {
            return Ok(Vec::new());
        }
        job.batch(|tx| {
            let mut items = Vec::new();
            for Prepared { batch, place, known } in group.drain(..) {
                items.extend(self.merge(tx, &batch, &place, known)?);
                if place.is_remounted
                    && let Some(identity) = &batch.identity
                {
                    tx.refresh(place.id, &inode(identity), identity.nlink)?;
                }
                if !batch.is_last {
                    let after = batch.entries.last().map_or(place.after, |entry| entry.name.clone());
                    self.expected.insert((batch.root, batch.dir), Expected { after, ..place });
                }
            }
            Ok(items)
        })
    }

    /// An empty source where something was before, or from the start, is a missing mount until proven otherwise; so is a
    /// directory on another device than before that has none of the names it had.
    fn refuse_empty(&self, batch: &DirBatch, known: &[Known], place: &Expected) -> Result<(), Error> {
        if !place.after.is_empty() || !batch.is_last {
            return Ok(());
        }
        let names = batch.entries.len() + batch.excluded.len() + batch.problems.len();
        let live = known.iter().filter(|known| !known.state.is_deleted());
        let is_there = |old: &&Known| {
            let found = batch.entries.binary_search_by(|entry| entry.name.as_slice().cmp(&old.name)).is_ok();
            found || batch.excluded.iter().any(|excluded| excluded.name == old.name)
        };
        let is_empty_root = batch.dir.is_empty() && names == 0;
        let has_lost_all =
            place.is_remounted && live.clone().next().is_some() && !live.clone().any(|old| is_there(&old));
        if is_empty_root || has_lost_all {
            let root = &self.tops[batch.root].root;
            let path = if batch.dir.is_empty() { root.given().to_owned() } else { root.open_path(&batch.dir) };
            return Err(Error::EmptySource { path, known: live.count() as u64 });
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
        let device = old.as_ref().and_then(|old| old.inode).map(|inode| inode.dev);
        let is_remounted = entry_type == EntryType::Directory && device.is_some_and(|dev| dev != entry.identity.dev);
        // ORDER: the new device is recorded only once the directory's own names are seen and accepted; until then every
        // run must find again that it lies on another one.
        let seen = facts.inode.map(|now| Inode { dev: device.filter(|_| is_remounted).unwrap_or(now.dev), ..now });
        let mut facts = Facts { inode: seen, ..facts };
        let (id, generation, is_due) = match old {
            Some(old) if old.is_unchanged(&facts) && !old.state.is_deleted() => {
                self.compare_later(tx, batch, entry, &old, &facts, &path)?;
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
                facts = complete(facts, &self.owners, birth(&entry.identity));
                (old.id, tx.change(old.id, &facts)?, true)
            }
            None => {
                facts = complete(facts, &self.owners, birth(&entry.identity));
                (tx.add(directory, &entry.name, &facts)?, 1, true)
            }
        };
        if entry_type == EntryType::Directory && entry.is_entered {
            let expected = Expected { id, after: Vec::new(), is_uncertain: false, is_remounted };
            self.expected.insert((batch.root, below.clone()), expected);
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
        let place = self.place(batch.root, entry, &below);
        Ok(Some(Item { id, generation, path, place, facts, link_path }))
    }

    /// Where to open an entry.
    fn place(&self, root: usize, entry: &scan::Entry, below: &[u8]) -> PathBuf {
        entry.place.clone().unwrap_or_else(|| self.tops[root].root.open_path(below))
    }

    /// Puts a file that looks unchanged in line to be compared, if that is asked for.
    fn compare_later(
        &mut self,
        tx: &Batch<'_>,
        batch: &DirBatch,
        entry: &scan::Entry,
        old: &Known,
        facts: &Facts,
        path: &[u8],
    ) -> Result<(), Error> {
        let is_content = facts.entry_type == EntryType::File && facts.size > 0;
        if !self.by_content || !is_content || !old.state.is_staged() {
            return Ok(());
        }
        let Some(sha256) = tx.content_sha256(old.id)? else { return Ok(()) };
        let (id, generation, path) = (old.id, old.generation, path.to_vec());
        let place = self.place(batch.root, entry, &join(&batch.dir, &entry.name));
        let item = Item { id, generation, path, place, facts: facts.clone(), link_path: None };
        self.compare.push(Compare { item, sha256 });
        Ok(())
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
pub fn needs_staging(state: State) -> bool {
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

/// What the walk says of an entry, in the terms of the job.
pub fn facts(identity: &Identity, entry_type: EntryType, link_id: u64, target: Vec<u8>) -> Facts {
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

/// Birth time of an entry, where the file system keeps it, as records have it.
pub fn birth(identity: &Identity) -> Option<Attribute> {
    identity.birth.map(|birth| Attribute::BirthTime { s: birth.seconds, ns: birth.nanos })
}

/// Adds names of owners and attributes. The walk and the reader of an entry both do: one that has no attributes but its birth
/// time and stays as it is then has the same row when it is staged, but for its state, and a row costs.
pub fn complete(facts: Facts, owners: &Owners, attributes: impl IntoIterator<Item = Attribute>) -> Facts {
    let name = |name: Option<&str>| name.unwrap_or_default().as_bytes().to_vec();
    let (user, group) = (name(owners.user(facts.uid)), name(owners.group(facts.gid)));
    Facts { user, group, attributes: attributes.into_iter().collect(), ..facts }
}

/// Type and target of what the walk found.
pub fn kind(kind: &EntryKind) -> (EntryType, Vec<u8>) {
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

/// Path in the dataset of a path below a source.
fn stored_path(prefix: &[u8], below: &[u8]) -> Vec<u8> {
    if below.is_empty() { prefix.to_vec() } else { join(prefix, below) }
}

fn last_component(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}
