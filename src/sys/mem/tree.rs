//! The state behind `MemFs`: a tree that knows for every change whether it would survive a cut of power.
//!
//! Owns: live and durable contents of each file and directory, and the changes between them. Does not own: errors,
//! counting, locking (`sys::mem`).
//! Invariants: `durable` plus all of `pending`, in order, equals `live`. Callers: `sys::mem` only.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::sys::mem::CrashKeep;

/// Unit in which unsynced data reaches the medium or not, independently of its neighbours. Unit: bytes. Source: page size
/// of the page cache.
const PAGE_BYTES: usize = 4096;

/// Index of a node in its tree. Nodes are never freed: a removed file stays readable through its open handles.
pub(crate) type NodeId = usize;

/// The root directory.
pub(crate) const ROOT: NodeId = 0;

#[derive(Debug, Clone)]
pub(crate) enum Node {
    File(FileNode),
    Dir(DirNode),
}

/// A change that is not durable yet, with the operation that made it.
#[derive(Debug, Clone)]
struct Pending<T> {
    operation: u64,
    change: T,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct FileNode {
    pub(crate) live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending<DataChange>>,
    /// The write during which the power went, if it was one to this file.
    cut_off: Option<Pending<DataChange>>,
}

#[derive(Debug, Clone)]
enum DataChange {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct DirNode {
    pub(crate) live: BTreeMap<OsString, NodeId>,
    durable: BTreeMap<OsString, NodeId>,
    pending: Vec<Pending<NameChange>>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Put(OsString, NodeId),
    Remove(OsString),
}

impl FileNode {
    /// A file that has been durable from the start.
    pub(crate) fn durable(contents: Vec<u8>) -> Self {
        Self { live: contents.clone(), durable: contents, ..Self::default() }
    }

    pub(crate) fn write(&mut self, operation: u64, offset: usize, data: &[u8]) {
        self.change(operation, DataChange::Write { offset, data: data.to_vec() });
    }

    pub(crate) fn set_len(&mut self, operation: u64, len: usize) {
        self.change(operation, DataChange::SetLen(len));
    }

    /// Remembers a write that the power cut off: parts of it may be on the medium.
    pub(crate) fn cut_off_write(&mut self, operation: u64, offset: usize, data: &[u8]) {
        self.cut_off = Some(Pending { operation, change: DataChange::Write { offset, data: data.to_vec() } });
    }

    pub(crate) fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            pending.change.apply(&mut self.durable);
        }
    }

    fn change(&mut self, operation: u64, change: DataChange) {
        change.apply(&mut self.live);
        self.pending.push(Pending { operation, change });
    }

    /// Operation of the last write that is not durable.
    fn last_unsynced_write(&self) -> Option<u64> {
        let all = self.pending.iter().chain(&self.cut_off);
        all.filter(|pending| matches!(pending.change, DataChange::Write { .. })).map(|p| p.operation).max()
    }

    fn after_crash(&self, keep: CrashKeep, torn: Option<u64>) -> Self {
        let mut contents = self.durable.clone();
        for pending in &self.pending {
            match keep {
                CrashKeep::Synced => {}
                CrashKeep::All => pending.change.apply(&mut contents),
                CrashKeep::TornLast if torn == Some(pending.operation) => {
                    pending.change.apply_first_half(&mut contents)
                }
                CrashKeep::TornLast => pending.change.apply(&mut contents),
                CrashKeep::Random(seed) => pending.change.apply_some(&mut contents, seed, pending.operation),
            }
        }
        match (&self.cut_off, keep) {
            (Some(cut), CrashKeep::TornLast) => cut.change.apply_first_half(&mut contents),
            (Some(cut), CrashKeep::Random(seed)) => cut.change.apply_some(&mut contents, seed, cut.operation),
            _ => {}
        }
        Self::durable(contents)
    }
}

impl DataChange {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => contents.resize(*len, 0),
            Self::Write { offset, data } => put(contents, *offset, data),
        }
    }

    fn apply_first_half(&self, contents: &mut Vec<u8>) {
        match self {
            Self::SetLen(_) => self.apply(contents),
            Self::Write { offset, data } => put(contents, *offset, &data[..data.len() / 2]),
        }
    }

    /// Applies each page of a write, or a change of length, by the toss of a coin.
    fn apply_some(&self, contents: &mut Vec<u8>, seed: u64, operation: u64) {
        match self {
            Self::SetLen(_) if coin(seed, operation, 0) => self.apply(contents),
            Self::SetLen(_) => {}
            Self::Write { offset, data } => {
                let mut at = *offset;
                let mut rest = data.as_slice();
                while !rest.is_empty() {
                    let count = rest.len().min(PAGE_BYTES - at % PAGE_BYTES);
                    let (page, after) = rest.split_at(count);
                    if coin(seed, operation, (at / PAGE_BYTES) as u64) {
                        put(contents, at, page);
                    }
                    at += count;
                    rest = after;
                }
            }
        }
    }
}

impl DirNode {
    pub(crate) fn put(&mut self, operation: u64, name: OsString, node: NodeId) {
        self.change(operation, NameChange::Put(name, node));
    }

    pub(crate) fn remove(&mut self, operation: u64, name: OsString) {
        self.change(operation, NameChange::Remove(name));
    }

    /// Adds a name that has been durable from the start.
    pub(crate) fn put_durable(&mut self, name: OsString, node: NodeId) {
        self.live.insert(name.clone(), node);
        self.durable.insert(name, node);
    }

    pub(crate) fn sync(&mut self) {
        self.pending.clear();
        self.durable.clone_from(&self.live);
    }

    fn change(&mut self, operation: u64, change: NameChange) {
        change.apply(&mut self.live);
        self.pending.push(Pending { operation, change });
    }

    fn after_crash(&self, keep: CrashKeep) -> Self {
        let mut names = self.durable.clone();
        for pending in &self.pending {
            let kept = match keep {
                CrashKeep::Synced => false,
                CrashKeep::All | CrashKeep::TornLast => true,
                // One coin per operation: the two halves of a rename share its fate.
                CrashKeep::Random(seed) => coin(seed, pending.operation, u64::MAX),
            };
            if kept {
                pending.change.apply(&mut names);
            }
        }
        Self { live: names.clone(), durable: names, pending: Vec::new() }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<OsString, NodeId>) {
        match self {
            Self::Put(name, node) => names.insert(name.clone(), *node),
            Self::Remove(name) => names.remove(name),
        };
    }
}

/// What is on the medium after the power went.
pub(crate) fn after_crash(nodes: &[Node], keep: CrashKeep) -> Vec<Node> {
    let files = nodes.iter().filter_map(|node| match node {
        Node::File(file) => file.last_unsynced_write(),
        Node::Dir(_) => None,
    });
    let torn = files.max();
    nodes
        .iter()
        .map(|node| match node {
            Node::File(file) => Node::File(file.after_crash(keep, torn)),
            Node::Dir(dir) => Node::Dir(dir.after_crash(keep)),
        })
        .collect()
}

fn put(contents: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[offset..end].copy_from_slice(data);
}

/// A fair coin that always falls the same way for the same three numbers.
/// Source: the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn coin(seed: u64, operation: u64, part: u64) -> bool {
    let mut x = seed;
    for value in [operation, part] {
        x = x.wrapping_add(value).wrapping_add(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 31;
    }
    x & 1 == 1
}
