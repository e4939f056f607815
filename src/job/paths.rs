//! Paths of entries, from their chains of parents.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use crate::format::record::EntryType;
use crate::job::error::{During, from_db, to_db};
use crate::job::{Batch, Caches, Error, Facts, Job, State};

/// Directories whose paths are kept in memory. Unit: paths.
const CACHE_MAX: usize = 8192;

/// Deepest chain of parents that is followed: a path has at most 32,767 bytes, so no valid one is deeper.
const DEPTH_MAX: usize = 32_768;

/// Paths of directories met lately.
#[derive(Debug, Default)]
pub(super) struct Cache(HashMap<i64, Arc<[u8]>>);

impl Cache {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn forget(&mut self, id: i64) {
        self.0.remove(&id);
    }

    fn keep(&mut self, id: i64, path: &Arc<[u8]>) {
        if self.0.len() >= CACHE_MAX {
            self.0.clear();
        }
        self.0.insert(id, Arc::clone(path));
    }
}

/// `name` inside the directory `parent`.
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

/// Stored path of `name` in the directory with id `parent` (0: of the top itself).
pub(super) fn path_in(db: &Connection, caches: &Caches, parent: i64, name: &[u8]) -> Result<Vec<u8>, Error> {
    Ok(if parent == 0 { name.to_vec() } else { join(&directory(db, caches, parent)?, name) })
}

/// Stored path of any entry.
pub(super) fn path(db: &Connection, caches: &Caches, id: i64) -> Result<Vec<u8>, Error> {
    let (parent, name) = link(db, id)?;
    path_in(db, caches, parent, &name)
}

fn directory(db: &Connection, caches: &Caches, id: i64) -> Result<Arc<[u8]>, Error> {
    let mut missing = Vec::new(); // from the directory upwards, up to the first whose path is known
    let mut at = id;
    let mut path: Arc<[u8]> = loop {
        if let Some(path) = caches.paths.borrow().0.get(&at) {
            break Arc::clone(path);
        }
        let (parent, name) = link(db, at)?;
        missing.push((at, name));
        if parent == 0 {
            break Arc::from(&b""[..]);
        }
        if missing.len() > DEPTH_MAX {
            return Err(Error::Corrupt { what: "chain of parents", found: format!("endless at entry {id}") });
        }
        at = parent;
    };
    for (at, name) in missing.into_iter().rev() {
        path = join(&path, &name).into();
        caches.paths.borrow_mut().keep(at, &path);
    }
    Ok(path)
}

fn link(db: &Connection, id: i64) -> Result<(i64, Vec<u8>), Error> {
    let doing = "read a path";
    let mut query = db.prepare_cached("SELECT parent, name FROM entries WHERE id = ?1").during(doing)?;
    let found = query.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional().during(doing)?;
    found.ok_or(Error::Unknown { what: "entry", number: id.unsigned_abs() })
}

/// The entry `name` in the directory `parent`.
pub(super) fn child(db: &Connection, parent: i64, name: &[u8]) -> Result<Option<i64>, Error> {
    let doing = "look a name up";
    let mut query = db.prepare_cached("SELECT id FROM entries WHERE parent = ?1 AND name = ?2").during(doing)?;
    query.query_row(params![parent, name], |row| row.get(0)).optional().during(doing)
}

/// Names on the way to a path, from the top: the top has the empty name.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let rest = (!path.is_empty()).then(|| path.split(|byte| *byte == b'/'));
    std::iter::once(&b""[..]).chain(rest.into_iter().flatten())
}

/// The entry at `path`.
pub(super) fn lookup(db: &Connection, path: &[u8]) -> Result<Option<i64>, Error> {
    let mut at = 0;
    for name in names(path) {
        match child(db, at, name)? {
            Some(id) => at = id,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// The entry at `path`, made with all above it as an implied directory where it is not there.
pub(super) fn ensure(batch: &mut Batch<'_>, path: &[u8]) -> Result<u64, Error> {
    let mut at = 0;
    for name in names(path) {
        at = match child(batch.db, at, name)? {
            Some(id) => id,
            None => insert_implied(batch, None, at, name)?,
        };
    }
    from_db("entry id", at)
}

/// Makes an implied directory, under a given id where recovery wants a provisional one.
pub(super) fn insert_implied(batch: &mut Batch<'_>, id: Option<i64>, parent: i64, name: &[u8]) -> Result<i64, Error> {
    super::inventory::insert(batch, id, parent, name, State::Implied, 1, &implied())
}

/// Facts of a directory of which nothing is known.
pub(super) fn implied() -> Facts {
    Facts {
        entry_type: EntryType::Directory,
        size: 0,
        mtime_s: 0,
        mtime_ns: 0,
        inode: None,
        nlink: 1,
        mode: 0,
        uid: 0,
        gid: 0,
        user: Vec::new(),
        group: Vec::new(),
        link_id: 0,
        rdev: (0, 0),
        target: Vec::new(),
        attributes: Vec::new(),
    }
}

impl Batch<'_> {
    /// Stored path of an entry, as this transaction sees it.
    ///
    /// # Errors
    /// When there is no such entry, or the database fails.
    pub fn path(&self, id: u64) -> Result<Vec<u8>, Error> {
        path(self.db, self.caches, to_db("entry id", id)?)
    }
}

impl Job {
    /// Stored path of an entry.
    ///
    /// # Errors
    /// When there is no such entry, or the database fails.
    pub fn path(&self, id: u64) -> Result<Vec<u8>, Error> {
        path(&self.db, &self.caches, to_db("entry id", id)?)
    }

    /// The entry at a stored path.
    ///
    /// # Errors
    /// When the database fails.
    pub fn find(&self, path: &[u8]) -> Result<Option<u64>, Error> {
        lookup(&self.db, path)?.map(|id| from_db("entry id", id)).transpose()
    }
}
