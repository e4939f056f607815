//! The state that all handles of one `MemFs` share: nodes, the record of operations, the power switch.
//!
//! Owns: path lookup, creation, and the one place where an operation is counted, recorded or cut off. Does not own: what
//! survives a crash (`tree`), the traits (`mod`).
//! Invariants: an operation is recorded if and only if it ran. Callers: `sys::mem` only.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path};

use crate::sys::fs::OpKind;
use crate::sys::mem::Operation;
use crate::sys::mem::tree::{DirNode, FileNode, Node, NodeId, ROOT};

/// Marker inside the error of every call after the power went.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the power went")]
pub(crate) struct PowerLost;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) nodes: Vec<Node>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) power_off_at: Option<u64>,
    pub(crate) power_is_off: bool,
    pub(crate) capacity_bytes: u64,
    pub(crate) refuse_direct: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            nodes: vec![Node::Dir(DirNode::default())],
            operations: Vec::new(),
            power_off_at: None,
            power_is_off: false,
            capacity_bytes: u64::MAX,
            refuse_direct: false,
        }
    }
}

impl State {
    pub(crate) fn power(&self) -> io::Result<()> {
        if self.power_is_off { Err(io::Error::other(PowerLost)) } else { Ok(()) }
    }

    /// Counts and records an operation that is about to run, unless the power goes first.
    pub(crate) fn begin(
        &mut self,
        kind: OpKind,
        path: &Path,
        to: Option<&Path>,
        offset: u64,
        len: u64,
    ) -> io::Result<u64> {
        let index = self.operations.len() as u64;
        if self.power_off_at.is_some_and(|at| index >= at) {
            self.power_is_off = true;
        }
        self.power()?;
        let (path, to) = (path.to_path_buf(), to.map(Path::to_path_buf));
        self.operations.push(Operation { index, kind, path, to, offset, len });
        Ok(index)
    }

    pub(crate) fn find(&mut self, path: &Path) -> io::Result<NodeId> {
        components(path)?.into_iter().try_fold(ROOT, |at, name| {
            self.dir(at)?.live.get(&name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    /// Directory and last name of a path; the name itself need not exist.
    pub(crate) fn parent(&mut self, path: &Path) -> io::Result<(NodeId, OsString)> {
        self.power()?;
        let name = components(path)?.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.find(path.parent().unwrap_or(Path::new("")))?;
        self.dir(dir)?;
        Ok((dir, name))
    }

    pub(crate) fn create(&mut self, kind: OpKind, path: &Path, node: Node) -> io::Result<NodeId> {
        let (dir, name) = self.parent(path)?;
        if self.dir(dir)?.live.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let index = self.begin(kind, path, None, 0, 0)?;
        let id = self.nodes.len();
        self.nodes.push(node);
        self.dir(dir)?.put(index, name, id);
        Ok(id)
    }

    pub(crate) fn add_durable(&mut self, dir: NodeId, name: OsString, node: Node) -> io::Result<NodeId> {
        let id = self.nodes.len();
        self.nodes.push(node);
        self.dir(dir)?.put_durable(name, id);
        Ok(id)
    }

    pub(crate) fn dir(&mut self, node: NodeId) -> io::Result<&mut DirNode> {
        match &mut self.nodes[node] {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(crate) fn file(&mut self, node: NodeId) -> io::Result<&mut FileNode> {
        match &mut self.nodes[node] {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
    }

    /// Sum of the lengths of all files that still have a name.
    pub(crate) fn used_bytes(&self) -> u64 {
        let named = self.nodes.iter().filter_map(|node| match node {
            Node::Dir(dir) => Some(dir.live.values()),
            Node::File(_) => None,
        });
        let len = |&node: &NodeId| match &self.nodes[node] {
            Node::File(file) => file.live.len() as u64,
            Node::Dir(_) => 0,
        };
        named.flatten().map(len).sum()
    }
}

/// Names of a path from the root; a leading `/` means nothing here, `..` is refused.
pub(crate) fn components(path: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_os_string()),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(names)
}
