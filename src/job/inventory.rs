//! The inventory: what a walk sees, merged with what earlier walks saw.

use std::collections::HashMap;

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params, params_from_iter};

use crate::digest::Sha256;
use crate::format::record::{EntryType, Problem, Record};
use crate::job::error::{During, from_db, to_db};
use crate::job::rows::{self, KNOWN};
use crate::job::{Batch, Error, Facts, Inode, Job, Known, State, Stored, rare};

/// Largest stored number of generations: what fits the record's field.
const GENERATION_MAX: u32 = u32::MAX - 1;

impl Job {
    /// What the job knows of the names in a directory, by name, after `after`; at most `limit` of them. Deleted names
    /// are among them: one that comes back keeps its id.
    ///
    /// # Errors
    /// When the database fails.
    pub fn children(&self, directory: u64, after: Option<&[u8]>, limit: usize) -> Result<Vec<Known>, Error> {
        let doing = "read a directory";
        let sql = format!("SELECT {KNOWN} FROM entries WHERE parent = ?1 AND name > ?2 ORDER BY name LIMIT ?3");
        let mut query = self.db.prepare_cached(&sql).during(doing)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let after = after.unwrap_or_default();
        let mut found = query.query(params![to_db("entry id", directory)?, after, limit]).during(doing)?;
        let mut children = Vec::new();
        while let Some(row) = found.next().during(doing)? {
            children.push(rows::known(row)?);
        }
        Ok(children)
    }

    /// Children of a directory whose names lie between two, both included, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub fn children_between(&self, directory: u64, from: &[u8], to: &[u8]) -> Result<HashMap<Vec<u8>, Known>, Error> {
        let doing = "read a directory";
        let sql = format!("SELECT {KNOWN} FROM entries WHERE parent = ?1 AND name BETWEEN ?2 AND ?3");
        let mut query = self.db.prepare_cached(&sql).during(doing)?;
        let mut found = query.query(params![to_db("entry id", directory)?, from, to]).during(doing)?;
        let mut children = HashMap::new();
        while let Some(row) = found.next().during(doing)? {
            let known = rows::known(row)?;
            children.insert(known.name.clone(), known);
        }
        Ok(children)
    }

    /// One entry; `None` if there is none with this id.
    ///
    /// # Errors
    /// When the database fails.
    pub fn entry(&self, id: u64) -> Result<Option<Stored>, Error> {
        rows::load(&self.db, &self.caches, to_db("entry id", id)?)
    }
}

impl Batch<'_> {
    /// Adds a name that was not known to a directory, as pending. Gives its id.
    ///
    /// # Errors
    /// When the name is known, or the database fails.
    pub fn add(&mut self, directory: u64, name: &[u8], facts: &Facts) -> Result<u64, Error> {
        let id = insert(self, None, to_db("entry id", directory)?, name, State::Pending, 1, facts)?;
        from_db("entry id", id)
    }

    /// Takes a known entry as pending again, under new facts and a new generation, which it gives.
    ///
    /// # Errors
    /// When there is no such entry, or the database fails.
    pub fn change(&mut self, id: u64, facts: &Facts) -> Result<u32, Error> {
        let old = self.stored(id)?;
        let is_first = old.state == State::Implied; // nothing was ever recorded about it
        let generation = if is_first { 1 } else { next_generation(&old)? };
        supersede(self, &old)?;
        update(self, &old, State::Pending, generation, facts)?;
        Ok(generation)
    }

    /// Takes note that an unchanged file sits elsewhere (remounted, linked once more), without a new generation.
    ///
    /// # Errors
    /// When the database fails.
    pub fn refresh(&mut self, id: u64, inode: &Inode, nlink: u32) -> Result<(), Error> {
        let doing = "refresh an entry";
        let sql = "UPDATE entries SET dev = ?2, ino = ?3, ctime_ns = ?4, nlink = ?5 WHERE id = ?1";
        let row =
            params![to_db("entry id", id)?, inode.dev.cast_signed(), inode.ino.cast_signed(), inode.ctime_ns, nlink];
        self.db.prepare_cached(sql).during(doing)?.execute(row).map(drop).during(doing)
    }

    /// Takes note that a path is no longer at the source, and with a directory all below it. Gives how many paths that
    /// were.
    ///
    /// # Errors
    /// When there is no such entry, or the database fails.
    pub fn vanish(&mut self, id: u64) -> Result<u64, Error> {
        let doing = "follow a directory that vanished";
        let mut left = vec![id];
        let mut count = 0;
        while let Some(id) = left.pop() {
            let old = self.stored(id)?;
            if old.facts.entry_type == EntryType::Directory {
                let mut query = self.db.prepare_cached("SELECT id FROM entries WHERE parent = ?1").during(doing)?;
                let below = query.query_map([to_db("entry id", id)?], |row| row.get::<_, i64>(0)).during(doing)?;
                for child in below {
                    left.push(from_db("entry id", child.during(doing)?)?);
                }
            }
            if old.state.is_deleted() || old.state == State::Implied {
                continue;
            }
            let state = if rare::is_on_a_volume(self, id)? { State::Gone } else { State::Deleted };
            let generation = next_generation(&old)?;
            supersede(self, &old)?;
            update(self, &old, state, generation, &old.facts)?;
            count += 1;
        }
        Ok(count)
    }

    /// Takes note that an entry cannot be staged. `problem.id` names it; 0 for a path without an entry. The record is
    /// due on a volume (see [`Job::unrecorded_problems`]). An entry that is staged stays staged.
    ///
    /// # Errors
    /// When there is no such entry, or the database fails.
    pub fn problem(&mut self, problem: &Problem) -> Result<(), Error> {
        let generation = match problem.id {
            0 => self.walk_number()?,
            id => {
                let old = self.stored(id)?;
                if old.state == State::Pending {
                    set_state(self, &old, State::Problem)?;
                }
                old.generation
            }
        };
        rare::insert(self, problem.id, generation, None, &Record::Problem(problem.clone()))
    }

    /// Begins a new run over the source: every entry with a problem is pending again, under a new generation. A problem
    /// without an entry stands until a walk that saw everything has ended without meeting it ([`Batch::end_walk`]). Gives how
    /// many entries are pending again.
    ///
    /// # Errors
    /// When the database fails.
    pub fn retry_problems(&mut self) -> Result<u64, Error> {
        let doing = "take the problems up again";
        let sql =
            "SELECT id FROM entries INDEXED BY entries_open WHERE state < 10 AND state = ?1 AND id > ?2 LIMIT 1000";
        let (mut last, mut count) = (0_i64, 0);
        loop {
            let mut query = self.db.prepare_cached(sql).during(doing)?;
            let ids = query.query_map([State::Problem.code(), last], |row| row.get(0)).during(doing)?;
            let ids: Vec<i64> = ids.collect::<Result<_, _>>().during(doing)?;
            let Some(end) = ids.last() else { break };
            last = *end;
            for id in ids {
                let old = self.stored(from_db("entry id", id)?)?;
                update(self, &old, State::Pending, next_generation(&old)?, &old.facts)?;
                count += 1;
            }
        }
        let sql = "DELETE FROM rare WHERE volume IS NULL AND kind = ?1 AND entry <> 0";
        self.db.execute(sql, [rare::PROBLEM]).during(doing)?;
        self.begin_walk()?;
        Ok(count)
    }

    /// What the job knows of the file with this inode, for files with several names: the first of them that is not
    /// deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub fn linked(&self, dev: u64, ino: u64) -> Result<Option<Known>, Error> {
        let doing = "look a hard link up";
        let sql = format!(
            "SELECT {KNOWN} FROM entries INDEXED BY entries_links WHERE dev = ?1 AND ino = ?2 AND nlink > 1 \
             AND type = ?3 AND state NOT IN (?4, ?5) ORDER BY id LIMIT 1"
        );
        let [gone, deleted] = [State::Gone, State::Deleted].map(State::code);
        let row = params![dev.cast_signed(), ino.cast_signed(), EntryType::File.code(), gone, deleted];
        let mut query = self.db.prepare_cached(&sql).during(doing)?;
        let found = query.query_row(row, |row| Ok(rows::known(row))).optional().during(doing)?;
        found.transpose()
    }

    /// One entry, as this transaction sees it; `None` if there is none with this id.
    ///
    /// # Errors
    /// When the database fails.
    pub fn entry(&self, id: u64) -> Result<Option<Stored>, Error> {
        rows::load(self.db, self.caches, to_db("entry id", id)?)
    }

    /// SHA-256 of the content of a staged file; `None` for anything else.
    ///
    /// # Errors
    /// When the database fails.
    pub fn content_sha256(&self, id: u64) -> Result<Option<Sha256>, Error> {
        let doing = "read what was staged";
        let mut query = self.db.prepare_cached("SELECT sha256 FROM staged WHERE id = ?1").during(doing)?;
        let found = query.query_row([to_db("entry id", id)?], |row| row.get::<_, Option<[u8; 32]>>(0)).optional();
        found.map(Option::flatten).during(doing)
    }

    pub(super) fn stored(&self, id: u64) -> Result<Stored, Error> {
        let found = rows::load(self.db, self.caches, to_db("entry id", id)?)?;
        found.ok_or(Error::Unknown { what: "entry", number: id })
    }
}

/// Adds a row; the only place that does.
pub(super) fn insert(
    batch: &mut Batch<'_>,
    id: Option<i64>,
    parent: i64,
    name: &[u8],
    state: State,
    generation: u32,
    facts: &Facts,
) -> Result<i64, Error> {
    let doing = "add an entry";
    let sql = "INSERT INTO entries VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19)";
    let head = [
        id.map_or(Value::Null, Value::Integer),
        Value::Integer(parent),
        Value::Blob(name.to_vec()),
        Value::Integer(state.code()),
        Value::Integer(generation.into()),
    ];
    let facts_row = rows::facts_row(batch.db, batch.caches, facts)?;
    let mut statement = batch.db.prepare_cached(sql).during(doing)?;
    let id = statement.insert(params_from_iter(head.into_iter().chain(facts_row))).during(doing)?;
    batch.deltas.enter(state, facts.entry_type, to_db("size of a file", facts.size)?);
    Ok(id)
}

/// Changes a row; with [`set_state`] the only place that does.
pub(super) fn update(
    batch: &mut Batch<'_>,
    old: &Stored,
    state: State,
    generation: u32,
    facts: &Facts,
) -> Result<(), Error> {
    let doing = "change an entry";
    let sql = "UPDATE entries SET state = ?2, generation = ?3, type = ?4, size = ?5, mtime_s = ?6, mtime_ns = ?7, \
               ctime_ns = ?8, dev = ?9, ino = ?10, nlink = ?11, mode = ?12, owner = ?13, link_id = ?14, rdev = ?15, \
               target = ?16, attributes = ?17 WHERE id = ?1";
    let head = [to_db("entry id", old.id)?, state.code(), i64::from(generation)].map(Value::Integer);
    let facts_row = rows::facts_row(batch.db, batch.caches, facts)?;
    let mut statement = batch.db.prepare_cached(sql).during(doing)?;
    statement.execute(params_from_iter(head.into_iter().chain(facts_row))).during(doing)?;
    batch.deltas.leave(old.state, old.facts.entry_type, to_db("size of a file", old.facts.size)?);
    batch.deltas.enter(state, facts.entry_type, to_db("size of a file", facts.size)?);
    Ok(())
}

/// Changes the state of a row and nothing else.
pub(super) fn set_state(batch: &mut Batch<'_>, old: &Stored, state: State) -> Result<(), Error> {
    let doing = "change the state of an entry";
    let mut statement = batch.db.prepare_cached("UPDATE entries SET state = ?2 WHERE id = ?1").during(doing)?;
    statement.execute([to_db("entry id", old.id)?, state.code()]).during(doing)?;
    let bytes = to_db("size of a file", old.facts.size)?;
    batch.deltas.leave(old.state, old.facts.entry_type, bytes);
    batch.deltas.enter(state, old.facts.entry_type, bytes);
    Ok(())
}

pub(super) fn next_generation(old: &Stored) -> Result<u32, Error> {
    if old.generation >= GENERATION_MAX {
        return Err(Error::Range { what: "generation", value: old.generation.into() });
    }
    Ok(old.generation + 1)
}

/// Keeps the records of the generation that ends as they are on their volume, and frees its row in `staged`.
pub(super) fn supersede(batch: &mut Batch<'_>, old: &Stored) -> Result<(), Error> {
    for (volume, pack, record) in super::export::staged_records(batch.db, batch.caches, old)? {
        rare::insert(batch, old.id, old.generation, Some((volume, pack)), &record)?;
    }
    super::objects::outdate(batch, to_db("entry id", old.id)?)?;
    let doing = "supersede an entry";
    let mut statement = batch.db.prepare_cached("DELETE FROM staged WHERE id = ?1").during(doing)?;
    statement.execute([to_db("entry id", old.id)?]).map(drop).during(doing)
}
