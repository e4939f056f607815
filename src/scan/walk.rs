//! The parallel walk: directories from one stack, each delivered as one batch, sorted.
//!
//! Owns: listing, looking at every name, deciding by rules, descending. Does not own: what the batches are for.
//! Invariants: see `scan`. With one thread the order is that of a depth-first walk by name bytes, always the same; with
//! more, only the order of directories varies. A batch is delivered on the caller's thread.
//! Callers: `stage`, `cli` (scan).

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use walkdir::WalkDir;

use crate::scan::batch::{DirBatch, Entry, EntryKind, Excluded, ExcludedBy, Problem, ProblemKind, join};
use crate::scan::list::{FileList, Wanted};
use crate::scan::root::Root;
use crate::scan::select::Selection;
use crate::scan::todo::{Above, Dir, Taken, Todo};
use crate::sys::process::StopFlag;
use crate::sys::source::{self, SourceKind};

/// Most entries in one batch: a larger directory comes in several. Bounds memory at about 300 bytes an entry.
pub const BATCH_ENTRIES_MAX: usize = 4096;

/// How to walk.
#[derive(Debug, Clone)]
pub struct WalkOptions {
    /// Threads that list and look; 0 and 1 walk on the caller's thread, in a fixed order.
    pub threads: usize,
    /// Whether to stay on the file system of each root.
    pub one_file_system: bool,
    /// What is taken.
    pub selection: Selection,
    /// Whether links are followed: what they lead to is taken in their place. A link that leads nowhere, to something
    /// other than a file or directory, or to a directory it lies in, stays a link.
    pub follow_links: bool,
    /// What to take of the only root; `None`: everything.
    pub list: Option<Arc<FileList>>,
    /// Directories by device and inode that are left out: the volumes and the job of this very run.
    pub own_output: HashSet<(u64, u64)>,
    /// Looked at before each directory.
    pub stop: StopFlag,
}

impl Default for WalkOptions {
    /// One thread, everything, across file systems.
    fn default() -> Self {
        Self {
            threads: 1,
            one_file_system: false,
            selection: Selection::everything(),
            follow_links: false,
            list: None,
            own_output: HashSet::new(),
            stop: StopFlag::new(),
        }
    }
}

/// What a walk came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkTotals {
    /// Names seen below each root: entries, excluded and problems. Zero for an empty root, which the caller must report:
    /// it may be a mount point without its mount.
    pub names_per_root: Vec<u64>,
    /// Whether the walk reached its end: not stopped by the flag or by the receiver.
    pub is_complete: bool,
}

/// Walks all roots and hands each batch to `receive`, until that breaks off.
pub fn walk(roots: &[Root], options: &WalkOptions, mut receive: impl FnMut(DirBatch) -> ControlFlow<()>) -> WalkTotals {
    let mut totals = WalkTotals { names_per_root: vec![0; roots.len()], is_complete: true };
    let mut count = |batch: DirBatch| {
        let names = batch.entries.len() + batch.excluded.len() + batch.problems.len();
        if let Some(total) = totals.names_per_root.get_mut(batch.root) {
            *total += names as u64;
        }
        receive(batch)
    };
    let mut broken_off = false;
    let mut dirs = Vec::new();
    for (root, place) in roots.iter().enumerate() {
        if place.is_file() {
            broken_off |= count(single_file(root, place)).is_break();
        } else {
            dirs.push(Dir { root, path: Vec::new(), identity: *place.identity(), above: None });
        }
    }
    dirs.reverse();
    let todo = Todo::new(dirs);
    let walker = Walker { roots, options, todo: &todo };
    if !broken_off {
        broken_off = if options.threads > 1 { walker.parallel(&mut count) } else { walker.inline(&mut count) };
    }
    totals.is_complete = !broken_off && !options.stop.is_set();
    totals
}

struct Walker<'a> {
    roots: &'a [Root],
    options: &'a WalkOptions,
    todo: &'a Todo,
}

impl Walker<'_> {
    /// Returns whether the receiver broke off.
    fn inline(&self, receive: &mut dyn FnMut(DirBatch) -> ControlFlow<()>) -> bool {
        let mut broken_off = false;
        while let Some(taken) = self.next() {
            self.walk_dir(&taken, &mut |batch| {
                broken_off = receive(batch).is_break();
                broken_off
            });
            if broken_off {
                break;
            }
        }
        broken_off
    }

    /// Returns whether the receiver broke off.
    fn parallel(&self, receive: &mut dyn FnMut(DirBatch) -> ControlFlow<()>) -> bool {
        let threads = self.options.threads;
        // Two batches per thread keep everybody busy and the memory small.
        let (send, batches) = crossbeam_channel::bounded(threads * 2);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let send = send.clone();
                scope.spawn(move || {
                    while let Some(taken) = self.next() {
                        // A closed channel means that the receiver broke off.
                        self.walk_dir(&taken, &mut |batch| send.send(batch).is_err());
                    }
                });
            }
            drop(send);
            let broken_off = batches.iter().any(|batch| receive(batch).is_break());
            if broken_off {
                self.todo.stop();
            }
            drop(batches);
            broken_off
        })
    }

    fn next(&self) -> Option<Taken<'_>> {
        if self.options.stop.is_set() {
            self.todo.stop();
        }
        self.todo.take()
    }

    /// Lists one directory, delivers it, and adds its subdirectories. `deliver` returns whether to stop.
    fn walk_dir(&self, taken: &Taken<'_>, deliver: &mut dyn FnMut(DirBatch) -> bool) {
        let dir = &taken.dir;
        let Some(root) = self.roots.get(dir.root) else { return };
        let mut batch = self.empty_batch(dir);
        let names = list(&root.open_path(&dir.path), self.options.follow_links, &mut batch);
        let chain = self.options.follow_links.then(|| dir.chain());
        let mut subdirs = Vec::new();
        for name in names {
            if batch.entries.len() + batch.excluded.len() >= BATCH_ENTRIES_MAX {
                let full = std::mem::replace(&mut batch, self.empty_batch(dir));
                if deliver(full) {
                    return;
                }
            }
            self.look_at(root, dir, chain.as_ref(), name, &mut batch, &mut subdirs);
        }
        batch.is_last = true;
        // ORDER: deliver first, so that a directory is known before anything below it with one thread.
        if !deliver(batch) {
            subdirs.reverse();
            self.todo.add(subdirs);
        }
    }

    fn empty_batch(&self, dir: &Dir) -> DirBatch {
        DirBatch {
            root: dir.root,
            dir: dir.path.clone(),
            identity: Some(dir.identity),
            entries: Vec::new(),
            excluded: Vec::new(),
            problems: Vec::new(),
            is_last: false,
        }
    }

    /// Looks at one name and puts it where it belongs.
    fn look_at(
        &self,
        root: &Root,
        dir: &Dir,
        chain: Option<&Arc<Above>>,
        listed: Listed,
        batch: &mut DirBatch,
        subdirs: &mut Vec<Dir>,
    ) {
        let path = join(&dir.path, &listed.name);
        let wanted = self.options.list.as_ref().map_or(Wanted::Yes, |list| list.look(&path));
        if wanted == Wanted::No {
            let by = ExcludedBy::NotListed;
            batch.excluded.push(Excluded { name: listed.name, is_dir: listed.is_dir, by });
            return;
        }
        if self.options.selection.excludes(&path, listed.is_dir) {
            batch.excluded.push(Excluded { name: listed.name, is_dir: listed.is_dir, by: ExcludedBy::Rule });
            return;
        }
        let found = look(&root.open_path(&path), listed.name).map(|entry| match chain {
            Some(chain) => follow(entry, &root.open_path(&path), chain),
            None => entry,
        });
        match found {
            Ok(entry) if self.options.own_output.contains(&(entry.identity.dev, entry.identity.ino)) => {
                let is_dir = entry.kind == EntryKind::Dir;
                batch.excluded.push(Excluded { name: entry.name, is_dir, by: ExcludedBy::OwnOutput });
            }
            Ok(mut entry) => {
                let same_fs = entry.identity.dev == root.identity().dev;
                entry.is_entered = entry.kind == EntryKind::Dir && (same_fs || !self.options.one_file_system);
                if entry.is_entered {
                    let above = chain.cloned();
                    subdirs.push(Dir { root: dir.root, path, identity: entry.identity, above });
                }
                batch.entries.push(entry);
            }
            Err((kind, source)) => batch.problems.push(Problem { path, kind, source }),
        }
    }
}

/// A name as the directory has it.
struct Listed {
    name: Vec<u8>,
    is_dir: bool,
}

/// Names of a directory, sorted by their bytes; trouble goes into the batch.
fn list(path: &Path, follow_root: bool, batch: &mut DirBatch) -> Vec<Listed> {
    let mut names = Vec::new();
    let listing = WalkDir::new(path).min_depth(1).max_depth(1).follow_links(false).follow_root_links(follow_root);
    for item in listing {
        match item {
            Ok(item) => {
                let is_dir = item.file_type().is_dir();
                names.push(Listed { name: item.file_name().as_bytes().to_vec(), is_dir });
            }
            Err(error) => {
                // walkdir names the entry when only the type of one could not be learned.
                let name = error.path().filter(|at| *at != path).and_then(Path::file_name);
                let (place, otherwise) = match name {
                    Some(name) => (join(&batch.dir, name.as_bytes()), ProblemKind::Stat),
                    None => (batch.dir.clone(), ProblemKind::List),
                };
                let source = error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into());
                let kind = problem_kind(&source, otherwise);
                batch.problems.push(Problem { path: place, kind, source });
            }
        }
    }
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    names
}

/// Facts about one name, or what could not be done.
fn look(path: &Path, name: Vec<u8>) -> Result<Entry, (ProblemKind, io::Error)> {
    let identity = source::identity(path).map_err(|error| (problem_kind(&error, ProblemKind::Stat), error))?;
    let kind = match identity.kind {
        SourceKind::File => EntryKind::File,
        SourceKind::Dir => EntryKind::Dir,
        SourceKind::Symlink => {
            let failed = |error: io::Error| (problem_kind(&error, ProblemKind::ReadLink), error);
            EntryKind::Symlink { target: source::link_target(path).map_err(failed)? }
        }
        SourceKind::Fifo => EntryKind::Fifo,
        SourceKind::Socket => EntryKind::Socket,
        SourceKind::Block => EntryKind::Block,
        SourceKind::Char => EntryKind::Char,
        SourceKind::Unknown => return Err((ProblemKind::UnknownKind, io::ErrorKind::Unsupported.into())),
    };
    Ok(Entry { name, identity, kind, is_entered: false, place: None })
}

/// What a link leads to, in its place, if that can be taken; otherwise the link itself.
fn follow(link: Entry, path: &Path, chain: &Above) -> Entry {
    if !matches!(link.kind, EntryKind::Symlink { .. }) {
        return link;
    }
    let (Ok(place), Ok(identity)) = (source::resolve(path), source::identity_followed(path)) else { return link };
    let kind = match identity.kind {
        SourceKind::File => EntryKind::File,
        SourceKind::Dir if !chain.holds((identity.dev, identity.ino)) => EntryKind::Dir,
        _ => return link,
    };
    Entry { name: link.name, identity, kind, is_entered: false, place: Some(place) }
}

fn problem_kind(error: &io::Error, otherwise: ProblemKind) -> ProblemKind {
    if error.kind() == io::ErrorKind::NotFound { ProblemKind::Vanished } else { otherwise }
}

/// The batch of a root that is a single file.
fn single_file(root: usize, place: &Root) -> DirBatch {
    let mut batch = DirBatch {
        root,
        dir: Vec::new(),
        identity: None,
        entries: Vec::new(),
        excluded: Vec::new(),
        problems: Vec::new(),
        is_last: true,
    };
    let name = place.path().file_name().map(|name| name.to_os_string().into_vec()).unwrap_or_default();
    match look(place.path(), name.clone()) {
        Ok(entry) => batch.entries.push(entry),
        Err((kind, source)) => batch.problems.push(Problem { path: name, kind, source }),
    }
    batch
}
