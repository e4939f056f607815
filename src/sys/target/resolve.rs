//! From a relative path to a directory handle, without ever leaving the root.
//!
//! Owns: `openat2` with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, the walk by single components where that is missing or the
//! path is longer than the kernel takes, a cache of handles.
//! Invariants: a component is never `.`, `..`, empty, or a symbolic link. Callers: `sys::target` only.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::sys::lock::lock;

/// Most directory handles kept open. Ours: half of the usual limit of 1024 descriptors is left to files.
const HANDLES_MAX: usize = 512;

#[derive(Debug)]
pub(super) struct Resolver {
    root: Arc<OwnedFd>,
    handles: Mutex<HashMap<Vec<u8>, Arc<OwnedFd>>>,
    /// Cleared when the kernel turns out not to have `openat2`.
    has_openat2: AtomicBool,
}

/// Directory part and last name of a path, both checked.
pub(super) fn split(path: &[u8]) -> io::Result<(&[u8], &[u8])> {
    check(path)?;
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => Ok((&path[..at], &path[at + 1..])),
        None if path.is_empty() => Err(refused("an empty path")),
        None => Ok((b"", path)),
    }
}

fn check(path: &[u8]) -> io::Result<()> {
    let bad = |name: &[u8]| matches!(name, b"" | b"." | b"..") || name.contains(&0);
    if !path.is_empty() && path.split(|byte| *byte == b'/').any(bad) {
        return Err(refused("a path with an empty, . or .. component"));
    }
    Ok(())
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what} is never written to"))
}

impl Resolver {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Self { root: Arc::new(root), handles: Mutex::default(), has_openat2: AtomicBool::new(true) })
    }

    /// Handle of an existing directory, for use as a starting point only.
    pub(super) fn existing(&self, path: &[u8]) -> io::Result<Arc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        if let Some(handle) = self.lock().get(path) {
            return Ok(Arc::clone(handle));
        }
        let handle = Arc::new(self.open_dir(path, OFlags::PATH)?);
        let mut handles = self.lock();
        if handles.len() >= HANDLES_MAX {
            handles.clear();
        }
        handles.insert(path.to_vec(), Arc::clone(&handle));
        Ok(handle)
    }

    /// Handle of an existing directory whose metadata can be changed.
    pub(super) fn readable(&self, path: &[u8]) -> io::Result<OwnedFd> {
        if path.is_empty() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            return Ok(rustix::fs::openat(&*self.root, ".", flags, Mode::empty())?);
        }
        self.open_dir(path, OFlags::RDONLY)
    }

    fn open_dir(&self, path: &[u8], how: OFlags) -> io::Result<OwnedFd> {
        check(path)?;
        let flags = how | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if self.has_openat2.load(Ordering::Relaxed) {
            let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&*self.root, path, flags, Mode::empty(), beneath) {
                // Kernels before 5.6, and sandboxes that refuse what they do not know.
                Err(Errno::NOSYS | Errno::PERM) => self.has_openat2.store(false, Ordering::Relaxed),
                // Too long for one call, or raced with a rename.
                Err(Errno::NAMETOOLONG | Errno::AGAIN) => {}
                other => return Ok(other?),
            }
        }
        by_components(&self.root, path, flags)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, Arc<OwnedFd>>> {
        lock(&self.handles)
    }
}

/// One step at a time: a symbolic link as a component is `ENOTDIR` or `ELOOP`.
fn by_components(root: &OwnedFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let step = |at: &dyn AsFd, name: &[u8], flags: OFlags| {
        rustix::fs::openat(at.as_fd(), name, flags | OFlags::NOFOLLOW, Mode::empty())
    };
    let mut names = path.split(|byte| *byte == b'/').peekable();
    let on_the_way = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        let flags = if names.peek().is_some() { on_the_way } else { flags };
        at = Some(match &at {
            Some(dir) => step(dir, name, flags)?,
            None => step(root, name, flags)?,
        });
    }
    at.ok_or_else(|| refused("an empty path"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn resolvers(dir: &Path) -> [Resolver; 2] {
        let with = Resolver::open(dir).expect("a directory");
        let without = Resolver::open(dir).expect("a directory");
        without.has_openat2.store(false, Ordering::Relaxed);
        [with, without]
    }

    #[test]
    fn both_ways_to_resolve_refuse_what_leads_out() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(dir.path().join("root/a/b")).expect("directories");
        std::fs::create_dir(dir.path().join("outside")).expect("a directory");
        let root = dir.path().join("root");
        symlink(dir.path().join("outside"), root.join("absolute")).expect("a link");
        symlink("../../outside", root.join("a/relative")).expect("a link");
        symlink("b", root.join("a/inside")).expect("a link");
        std::fs::write(root.join("file"), "").expect("a file");
        for resolver in resolvers(&root) {
            assert!(resolver.existing(b"a/b").is_ok());
            assert!(resolver.readable(b"a/b").is_ok() && resolver.readable(b"").is_ok());
            for path in ["absolute", "a/relative", "a/inside", "file", "a/..", "..", "/", "a//b", "./a", "a/b/", "a\0"]
            {
                assert!(resolver.existing(path.as_bytes()).is_err(), "{path:?}");
                assert!(resolver.readable(path.as_bytes()).is_err(), "{path:?}");
            }
        }
    }

    #[test]
    fn a_path_longer_than_the_kernel_takes_is_walked() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let resolver = Resolver::open(dir.path()).expect("a directory");
        let name = "d".repeat(200);
        let mut path = name.clone();
        let mut at = rustix::fs::openat(CWD, dir.path(), OFlags::PATH, Mode::empty()).expect("a directory");
        for depth in 0..25 {
            rustix::fs::mkdirat(&at, name.as_str(), Mode::from_raw_mode(0o700)).expect("a directory");
            at = rustix::fs::openat(&at, name.as_str(), OFlags::PATH, Mode::empty()).expect("a directory");
            assert!(resolver.existing(path.as_bytes()).is_ok(), "depth {depth}");
            path = format!("{path}/{name}");
        }
    }

    #[test]
    fn paths_are_split_at_their_last_slash() {
        assert_eq!(split(b"a").expect("fine"), (&b""[..], &b"a"[..]));
        assert_eq!(split(b"a/b/c").expect("fine"), (&b"a/b"[..], &b"c"[..]));
        for path in ["", "/a", "a/", "a/../b", "."] {
            assert!(split(path.as_bytes()).is_err(), "{path:?}");
        }
    }
}
