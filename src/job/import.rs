//! Rebuilding the database from what the volumes say.
//!
//! Volumes come in any order, and a directory may be known by the paths below it before its own record is met. Until
//! then it stands in the database under a provisional, negative id; [`Job::finish_import`] gives those that are left
//! ids of their own.

use rusqlite::params;

use crate::format::path;
use crate::format::record::{EntryType, Record};
use crate::job::error::{During, to_db};
use crate::job::{Batch, Error, Facts, Job, PackClose, PackState, State, commit, inventory, paths, rows};

impl Batch<'_> {
    /// Takes one record of a volume. `pack` is the pack it was read from, or 0 when it comes from `MANIFEST`. The same
    /// record again changes nothing.
    ///
    /// # Errors
    /// When it contradicts what other records said, or the database fails.
    pub fn import_record(&mut self, volume: u32, pack: u32, record: &Record) -> Result<(), Error> {
        self.is_importing = true;
        match record {
            Record::Pack(known) => {
                let state = PackState {
                    number: known.number,
                    run: known.run,
                    committed_bytes: known.file_bytes,
                    frames_next: known.frame_count.saturating_sub(1), // the footer is no frame a writer goes on after
                    commits: known.commit_count,
                    chain: [0; 32],
                    crc64: known.crc64,
                    data_plain_bytes: 0,
                    records: 0,
                };
                let close = PackClose {
                    reason: known.reason,
                    frame_count: known.frame_count,
                    file_bytes: known.file_bytes,
                    crc64: known.crc64,
                };
                return self.import_pack(volume, &state, Some(&close));
            }
            Record::Summary(_) => return Ok(()),
            Record::Extent(extent) => drop(id_of(extent.id)?),
            Record::Entry(entry) => {
                if entry.link_id != 0 {
                    admit(self, entry.link_id, &entry.target, &blank(EntryType::File, 0))?;
                }
                admit(self, entry.id, &entry.path, &Facts::of_record(entry))?;
            }
            Record::Begin(begin) => {
                let blank = blank(EntryType::File, begin.size);
                let facts = Facts { mtime_s: begin.mtime_s, mtime_ns: begin.mtime_ns, ..blank };
                admit(self, begin.id, &begin.path, &facts)?;
            }
            Record::Problem(problem) if problem.id != 0 => {
                admit(self, problem.id, &problem.path, &blank(EntryType::File, 0))?;
            }
            Record::Deleted(deleted) => admit(self, deleted.id, &deleted.path, &blank(EntryType::File, 0))?,
            _ => {}
        }
        commit::apply(self, (volume, pack), record)
    }

    /// Takes a pack as it was found on a volume.
    ///
    /// # Errors
    /// When the database fails.
    pub fn import_pack(&mut self, volume: u32, state: &PackState, close: Option<&PackClose>) -> Result<(), Error> {
        self.put_pack(volume, state)?;
        close.map_or(Ok(()), |close| self.close_pack(volume, state.number, close))
    }
}

impl Job {
    /// Ends an import: directories that no record named get ids of their own.
    ///
    /// # Errors
    /// When the database fails.
    pub fn finish_import(&mut self) -> Result<(), Error> {
        self.batch_durable(|batch| batch.finish_import())
    }
}

impl Batch<'_> {
    /// The same, as part of a larger transaction.
    ///
    /// # Errors
    /// When the database fails.
    pub fn finish_import(&mut self) -> Result<(), Error> {
        let doing = "number the directories above what was found";
        commit::settle(self)?; // extents that wait for an ENTRY may still bring up an entry
        loop {
            let sql = "SELECT (SELECT min(id) FROM entries), (SELECT max(id) FROM entries)";
            let ids: (Option<i64>, Option<i64>) =
                self.db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).during(doing)?;
            match ids {
                (Some(lowest), Some(highest)) if lowest < 0 => {
                    let next = highest.max(0).checked_add(1);
                    let next = next.ok_or(Error::Range { what: "entry id", value: u64::MAX })?;
                    renumber(self, lowest, next)?;
                }
                _ => return Ok(()),
            }
        }
    }
}

/// Sees to it that entry `id` is there, at `path`.
fn admit(batch: &mut Batch<'_>, id: u64, path: &[u8], facts: &Facts) -> Result<(), Error> {
    path::check(path, true).map_err(Error::Record)?;
    let key = id_of(id)?;
    if rows::load(batch.db, batch.caches, key)?.is_some() {
        let known = paths::path(batch.db, batch.caches, key)?;
        return if known == path { Ok(()) } else { Err(conflict("path of an entry", &known, path)) };
    }
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (provisional(batch, &path[..at])?, &path[at + 1..]),
        None if path.is_empty() => (0, path),
        None => (provisional(batch, b"")?, path),
    };
    match paths::child(batch.db, parent, name)? {
        None => {
            inventory::insert(batch, Some(key), parent, name, State::Pending, 1, facts)?;
        }
        // A directory that no record has named yet, in this import or in an earlier one with fewer volumes.
        Some(other) if other < 0 || is_implied(batch, other)? => {
            renumber(batch, other, key)?;
            let old = batch.stored(id)?;
            let facts = Facts { entry_type: EntryType::Directory, size: 0, ..facts.clone() };
            inventory::update(batch, &old, State::Pending, old.generation, &facts)?;
        }
        Some(other) => {
            return Err(conflict("id of a path", other.to_string().as_bytes(), id.to_string().as_bytes()));
        }
    }
    Ok(())
}

fn is_implied(batch: &Batch<'_>, id: i64) -> Result<bool, Error> {
    Ok(rows::load(batch.db, batch.caches, id)?.is_some_and(|entry| entry.state == State::Implied))
}

/// The directory at `path`; what is missing of it is made under provisional ids.
fn provisional(batch: &mut Batch<'_>, path: &[u8]) -> Result<i64, Error> {
    if let Some(id) = paths::lookup(batch.db, path)? {
        return Ok(id);
    }
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (provisional(batch, &path[..at])?, &path[at + 1..]),
        None if path.is_empty() => (0, path),
        None => (provisional(batch, b"")?, path),
    };
    let doing = "make a provisional id";
    let lowest: Option<i64> = batch.db.query_row("SELECT min(id) FROM entries", [], |row| row.get(0)).during(doing)?;
    paths::insert_implied(batch, Some(lowest.unwrap_or(0).min(0) - 1), parent, name)
}

fn renumber(batch: &mut Batch<'_>, from: i64, to: i64) -> Result<(), Error> {
    let doing = "give a directory its id";
    batch.db.execute("UPDATE entries SET id = ?2 WHERE id = ?1", params![from, to]).during(doing)?;
    batch.db.execute("UPDATE entries SET parent = ?2 WHERE parent = ?1", params![from, to]).during(doing)?;
    batch.db.execute("UPDATE sources SET entry = ?2 WHERE entry = ?1", params![from, to]).during(doing)?;
    batch.caches.paths.borrow_mut().forget(from);
    Ok(())
}

fn id_of(id: u64) -> Result<i64, Error> {
    to_db("entry id", id)
}

/// Facts of an entry of which only its kind and size are known.
fn blank(entry_type: EntryType, size: u64) -> Facts {
    Facts { entry_type, size, ..paths::implied() }
}

fn conflict(what: &'static str, recorded: &[u8], found: &[u8]) -> Error {
    Error::Conflict { what, recorded: path::escape(recorded), found: path::escape(found) }
}
