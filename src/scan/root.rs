//! The sources that the user named, made absolute and checked.
//!
//! Owns: resolving roots, and turning a relative path back into one that can be opened. Does not own: what lies below.
//! Invariants: a root exists and is a directory or a regular file when the walk begins; no root lies inside another.
//! Callers: `walk`, `stage` (to open files), `cli`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::scan::Error;
use crate::sys::source::{self, Identity, SourceKind};

/// One source. A symbolic link is followed here, and only here: the user named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    given: PathBuf,
    path: PathBuf,
    identity: Identity,
}

impl Root {
    /// Resolves a path the user gave.
    ///
    /// # Errors
    /// `Root` if it does not exist or cannot be looked at, `RootKind` if it is a device, fifo or socket.
    pub fn resolve(given: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Root { path: given.to_path_buf(), source };
        let path = source::resolve(given).map_err(failed)?;
        let identity = source::identity_followed(&path).map_err(failed)?;
        match identity.kind {
            SourceKind::File | SourceKind::Dir => Ok(Self { given: given.to_path_buf(), path, identity }),
            _ => Err(Error::RootKind { path: given.to_path_buf() }),
        }
    }

    /// Resolves all sources of a command.
    ///
    /// # Errors
    /// As [`Root::resolve`]; `RootsOverlap` if one lies inside another or is named twice.
    pub fn resolve_all(given: &[PathBuf]) -> Result<Vec<Self>, Error> {
        let roots = given.iter().map(|path| Self::resolve(path)).collect::<Result<Vec<_>, _>>()?;
        for (index, inner) in roots.iter().enumerate() {
            let others = roots.iter().enumerate().filter(|(other, _)| *other != index);
            if let Some((_, outer)) = others.into_iter().find(|(_, outer)| inner.path.starts_with(&outer.path)) {
                return Err(Error::RootsOverlap { inner: inner.given.clone(), outer: outer.given.clone() });
            }
        }
        Ok(roots)
    }

    /// As the user gave it.
    pub fn given(&self) -> &Path {
        &self.given
    }

    /// Absolute path without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Facts about it, as it was when it was resolved.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the source is a single file.
    pub fn is_file(&self) -> bool {
        self.identity.kind == SourceKind::File
    }

    /// The path to open for a path relative to this root. The one entry of a single-file root is its file name.
    pub fn open_path(&self, relative: &[u8]) -> PathBuf {
        let relative = Path::new(OsStr::from_bytes(relative));
        match self.path.parent() {
            Some(parent) if self.is_file() => parent.join(relative),
            _ if relative.as_os_str().is_empty() => self.path.clone(),
            _ => self.path.join(relative),
        }
    }
}
