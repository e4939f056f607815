//! `MemFs`: a file system in memory that knows what is synced, counts operations, and loses power on demand.
//!
//! Owns: the crash model for tests. Contents and length of a file are durable after `sync_data`; its name is durable
//! after `sync_dir` of its directory; everything else may or may not survive, in any combination (`CrashKeep`). That
//! is harsher than journaling file systems and about as harsh as FAT.
//! Does not own: errors of a living system (`sys::fault`).
//! Invariants: passes the conformance suite that `RealFs` passes; equal calls give equal results.
//! Callers: tests and the crash sweep.

mod state;
mod tree;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::io::Errno;

use crate::sys::fs::{Access, DirItem, Fs, FsFile, Kind, OpKind, Space, Stat, check_aligned};
use crate::sys::lock::lock;
use crate::sys::mem::state::{PowerLost, State, components};
use crate::sys::mem::tree::{DirNode, FileNode, Node, NodeId, ROOT, after_crash};

/// Largest file, so that a wild offset is an error and not an allocation. Unit: bytes.
const FILE_BYTES_MAX: u64 = 1 << 36;

/// What of the unsynced changes survives a cut of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashKeep {
    /// Everything that was written, synced or not.
    All,
    /// Only what was synced.
    Synced,
    /// Each page, length and name by the toss of a coin with this seed; parts of a write the cut fell into as well.
    Random(u64),
    /// Everything, but of the last unsynced write only the first half.
    TornLast,
}

/// One recorded operation that changes something or makes it durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Position in the sequence, from 0.
    pub index: u64,
    /// What was done.
    pub kind: OpKind,
    /// To which path (as it was when the file was opened).
    pub path: PathBuf,
    /// New name of a rename.
    pub to: Option<PathBuf>,
    /// Offset of a write, else 0. Unit: bytes.
    pub offset: u64,
    /// Length of a write or new length of a file, else 0. Unit: bytes.
    pub len: u64,
}

/// Whether an error came from [`MemFs::cut_power_at`].
pub fn is_power_lost(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<PowerLost>())
}

/// A file system in memory. Clones share the same files.
#[derive(Debug, Clone, Default)]
pub struct MemFs {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct MemFile {
    state: Arc<Mutex<State>>,
    node: NodeId,
    path: PathBuf,
    access: Access,
    writable: bool,
}

impl MemFs {
    /// An empty file system of unlimited size; only the root directory exists.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits the sum of all file lengths; a write beyond it fails with `ENOSPC`. Unit: bytes.
    pub fn set_capacity(&self, capacity_bytes: u64) {
        self.lock().capacity_bytes = capacity_bytes;
    }

    /// Makes every open fall back to buffered access, as tmpfs once did.
    pub fn refuse_direct(&self) {
        self.lock().refuse_direct = true;
    }

    /// Cuts the power when the operation with this index (from 0) is about to run: it fails, and so does every call
    /// after it.
    pub fn cut_power_at(&self, index: u64) {
        self.lock().power_off_at = Some(index);
    }

    /// How many operations have run: those that change something or make it durable; reading does not count.
    pub fn operation_count(&self) -> u64 {
        self.lock().operations.len() as u64
    }

    /// All operations so far, in order.
    pub fn operations(&self) -> Vec<Operation> {
        self.lock().operations.clone()
    }

    /// The file system after a cut of power now, with the power back on: a new one, in which all there is is durable.
    /// This one is unchanged, so that several outcomes can be looked at.
    pub fn crash(&self, keep: CrashKeep) -> MemFs {
        let state = self.lock();
        let nodes = after_crash(&state.nodes, keep);
        let (capacity_bytes, refuse_direct) = (state.capacity_bytes, state.refuse_direct);
        MemFs { state: Arc::new(Mutex::new(State { nodes, capacity_bytes, refuse_direct, ..State::default() })) }
    }

    /// Sets the scene: makes a directory and its parents, durable and uncounted.
    ///
    /// # Errors
    /// If a part of the path is a file.
    pub fn make_dirs(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let mut at = ROOT;
        for name in components(path)? {
            let found = state.dir(at)?.live.get(&name).copied();
            at = match found {
                Some(node) => node,
                None => state.add_durable(at, name, Node::Dir(DirNode::default()))?,
            };
        }
        state.dir(at).map(|_| ())
    }

    /// Sets the scene: creates or replaces a file, durable and uncounted. Its directory must exist.
    ///
    /// # Errors
    /// If the directory does not exist.
    pub fn put_file(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let (dir, name) = state.parent(path)?;
        state.add_durable(dir, name, Node::File(FileNode::durable(contents.to_vec())))?;
        Ok(())
    }

    /// Contents of a file as a process would read them now.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidInput` for a directory.
    pub fn contents(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.lock();
        let node = state.find(path)?;
        Ok(state.file(node)?.live.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn open(&self, path: &Path, access: Access, writable: bool) -> io::Result<Box<dyn FsFile>> {
        let mut state = self.lock();
        state.power()?;
        let node = state.find(path)?;
        state.file(node)?;
        Ok(self.handle(&state, node, path, access, writable))
    }

    fn handle(&self, state: &State, node: NodeId, path: &Path, access: Access, writable: bool) -> Box<dyn FsFile> {
        let access = if state.refuse_direct { Access::Buffered } else { access };
        Box::new(MemFile { state: Arc::clone(&self.state), node, path: path.to_path_buf(), access, writable })
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        let mut state = self.lock();
        let (from_dir, from_name) = state.parent(from)?;
        let (to_dir, to_name) = state.parent(to)?;
        let node = state.find(from)?;
        let taken = state.dir(to_dir)?.live.get(&to_name).copied();
        match taken {
            Some(_) if !replace => return Err(io::ErrorKind::AlreadyExists.into()),
            Some(old) if matches!(state.nodes[old], Node::Dir(_)) => {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            _ => {}
        }
        let index = state.begin(OpKind::Rename, from, Some(to), 0, 0)?;
        // ORDER: remove before put, so that a rename onto itself keeps the file.
        state.dir(from_dir)?.remove(index, from_name);
        state.dir(to_dir)?.put(index, to_name, node);
        Ok(())
    }
}

impl Fs for MemFs {
    fn create_new(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        let mut state = self.lock();
        let node = state.create(OpKind::CreateNew, path, Node::File(FileNode::default()))?;
        Ok(self.handle(&state, node, path, access, true))
    }

    fn open_read(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        self.open(path, access, false)
    }

    fn open_write(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        self.open(path, access, true)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirItem>> {
        let mut state = self.lock();
        state.power()?;
        let at = state.find(dir)?;
        let names = state.dir(at)?.live.clone();
        let item = |(name, node): (OsString, NodeId)| match &state.nodes[node] {
            Node::Dir(_) => DirItem { name, is_dir: true, len: 0 },
            Node::File(file) => DirItem { name, is_dir: false, len: file.live.len() as u64 },
        };
        Ok(names.into_iter().map(item).collect())
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let mut state = self.lock();
        state.power()?;
        let node = state.find(path)?;
        Ok(match &state.nodes[node] {
            Node::Dir(_) => Stat { kind: Kind::Dir, len: 0 },
            Node::File(file) => Stat { kind: Kind::File, len: file.live.len() as u64 },
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.lock().create(OpKind::CreateDir, path, Node::Dir(DirNode::default())).map(|_| ())
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename(from, to, false)
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename(from, to, true)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let (dir, name) = state.parent(path)?;
        let node = state.find(path)?;
        if matches!(state.nodes[node], Node::Dir(_)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let index = state.begin(OpKind::RemoveFile, path, None, 0, 0)?;
        state.dir(dir)?.remove(index, name);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.find(dir)?;
        state.dir(node)?;
        state.begin(OpKind::SyncDir, dir, None, 0, 0)?;
        state.dir(node)?.sync();
        Ok(())
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let mut state = self.lock();
        state.power()?;
        state.find(dir)?;
        Ok(Space {
            free_bytes: state.capacity_bytes.saturating_sub(state.used_bytes()),
            total_bytes: state.capacity_bytes,
            block_bytes: 1,
            type_name: "memfs".into(),
            device_id: Arc::as_ptr(&self.state).addr() as u64,
        })
    }
}

impl MemFile {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Checks that the file may grow to `end`, and by which index the operation is known.
    fn begin_change(&self, state: &mut State, kind: OpKind, offset: u64, len: u64) -> io::Result<u64> {
        state.power()?;
        if !self.writable {
            return Err(Errno::BADF.into());
        }
        let end = if kind == OpKind::Write { offset.saturating_add(len) } else { len };
        if end > FILE_BYTES_MAX {
            return Err(Errno::FBIG.into());
        }
        let grown = end.saturating_sub(state.file(self.node)?.live.len() as u64);
        if state.used_bytes().saturating_add(grown) > state.capacity_bytes {
            return Err(Errno::NOSPC.into());
        }
        state.begin(kind, &self.path, None, offset, len)
    }
}

impl FsFile for MemFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        check_aligned(self.access, buf, offset)?;
        let mut state = self.lock();
        state.power()?;
        let live = &state.file(self.node)?.live;
        let rest = usize::try_from(offset).ok().and_then(|offset| live.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        check_aligned(self.access, buf, offset)?;
        let mut state = self.lock();
        let at = usize::try_from(offset).map_err(|_| Errno::FBIG)?;
        let power_was_on = !state.power_is_off;
        match self.begin_change(&mut state, OpKind::Write, offset, buf.len() as u64) {
            Ok(index) => state.file(self.node)?.write(index, at, buf),
            Err(error) => {
                if power_was_on && state.power_is_off {
                    let index = state.operations.len() as u64;
                    state.file(self.node)?.cut_off_write(index, at, buf);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        let index = self.begin_change(&mut state, OpKind::SetLen, 0, len)?;
        let len = usize::try_from(len).map_err(|_| Errno::FBIG)?;
        state.file(self.node)?.set_len(index, len);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.power()?;
        state.begin(OpKind::SyncData, &self.path, None, 0, 0)?;
        state.file(self.node)?.sync();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.lock();
        state.power()?;
        Ok(state.file(self.node)?.live.len() as u64)
    }

    fn access(&self) -> Access {
        self.access
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.lock().power()
    }
}
