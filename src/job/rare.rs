//! Records that most entries do not have: BEGIN, PROBLEM, DELETED, and those of superseded generations.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::format::record::{Begin, Deleted, Problem, ProblemCode, Record, Records};
use crate::job::error::{During, from_db, to_db};
use crate::job::{Batch, Error, Job, KnownProblem, State, paths};

/// Kind of a superseded ENTRY record.
pub(super) const ENTRY: i64 = 1;
/// Kind of a BEGIN record.
pub(super) const BEGIN: i64 = 2;
/// Kind of a superseded EXTENT record.
pub(super) const EXTENT: i64 = 3;
/// Kind of a PROBLEM record.
pub(super) const PROBLEM: i64 = 4;
/// Kind of a DELETED record.
pub(super) const DELETED: i64 = 7;

/// Settings that number the walks over the source: of the one that began last, and of the last that saw everything.
const WALK_BEGUN: &str = "walk.begun";
const WALK_ENDED: &str = "walk.ended";

/// Keeps a record. `place` is volume and pack; `None`: it is due on a volume. A record that is due and comes back with
/// its place is no longer due; equal records on one volume are kept once.
pub(super) fn insert(
    batch: &mut Batch<'_>,
    entry: u64,
    generation: u32,
    place: Option<(u32, u32)>,
    record: &Record,
) -> Result<(), Error> {
    let doing = "keep a record";
    let (kind, bytes) = encode(record)?;
    let (volume, pack) = place.unzip();
    let entry = to_db("entry id", entry)?;
    let key = params![entry, kind, bytes, volume];
    // WHY the literal: with it the index of records without an entry is found, of which there may be many.
    let owner = if entry == 0 { "entry = 0 AND 0 = ?1" } else { "entry = ?1" };
    let sql =
        format!("SELECT EXISTS (SELECT 1 FROM rare WHERE {owner} AND kind = ?2 AND record = ?3 AND volume IS ?4)");
    let is_there: bool = batch.db.prepare_cached(&sql).during(doing)?.query_row(key, |row| row.get(0)).during(doing)?;
    let generation = if entry == 0 { last_met(batch.db, kind, &bytes, generation)? } else { generation };
    if place.is_some() {
        let sql = format!("DELETE FROM rare WHERE {owner} AND kind = ?2 AND record = ?3 AND volume IS NULL");
        let key = params![entry, kind, bytes];
        batch.db.prepare_cached(&sql).during(doing)?.execute(key).during(doing)?;
    }
    if is_there {
        let sql = "UPDATE rare SET generation = ?4 WHERE entry = 0 AND kind = ?1 AND record = ?2 AND volume IS ?3";
        let row = params![kind, bytes, volume, generation];
        return batch.db.prepare_cached(sql).during(doing)?.execute(row).map(drop).during(doing);
    }
    let sql = "INSERT INTO rare (entry, kind, generation, volume, pack, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let row = params![entry, kind, generation, volume, pack, bytes];
    batch.db.prepare_cached(sql).during(doing)?.execute(row).map(drop).during(doing)
}

/// A record without an entry has, in place of a generation, the number of the last walk that met it. The volume that it
/// comes to does not say that number; the row that was due does. One that only a volume tells of stands until the next walk.
fn last_met(db: &Connection, kind: i64, record: &[u8], met: u32) -> Result<u32, Error> {
    let doing = "see when a problem was met";
    let sql = "SELECT max(generation) FROM rare WHERE entry = 0 AND kind = ?1 AND record = ?2";
    let known: Option<u32> =
        db.prepare_cached(sql).during(doing)?.query_row(params![kind, record], |row| row.get(0)).during(doing)?;
    match known {
        Some(known) => Ok(known.max(met)),
        None => Ok(walk(db, WALK_BEGUN)?.max(met)),
    }
}

/// Number of a walk; 0: there was none.
fn walk(db: &Connection, which: &str) -> Result<u32, Error> {
    let sql = "SELECT value FROM meta WHERE key = 'setting.' || ?1";
    let query =
        db.prepare_cached(sql).during("see which walk this is")?.query_row([which], |row| row.get(0)).optional();
    let text: Option<String> = query.during("see which walk this is")?;
    let Some(text) = text else { return Ok(0) };
    text.parse().map_err(|_| Error::Corrupt { what: "number of a walk", found: text })
}

impl Batch<'_> {
    /// Number of the walk that goes on.
    pub(super) fn walk_number(&self) -> Result<u32, Error> {
        walk(self.db, WALK_BEGUN)
    }

    /// A new walk begins.
    pub(super) fn begin_walk(&mut self) -> Result<(), Error> {
        let number = self.walk_number()?.saturating_add(1);
        self.set_setting(WALK_BEGUN, &number.to_string())
    }

    /// The walk saw everything: what it did not meet is no problem any more.
    pub(super) fn forget_loose_problems(&mut self) -> Result<(), Error> {
        let number = self.walk_number()?;
        self.set_setting(WALK_ENDED, &number.to_string())?;
        let sql = "DELETE FROM rare WHERE volume IS NULL AND kind = ?1 AND entry = 0 AND generation < ?2";
        self.db.execute(sql, params![PROBLEM, number]).map(drop).during("forget problems that are overcome")
    }
}

/// Whether any volume says that the entry exists.
pub(super) fn is_on_a_volume(batch: &Batch<'_>, id: u64) -> Result<bool, Error> {
    let doing = "see whether an entry was recorded";
    let sql = "SELECT EXISTS (SELECT 1 FROM staged WHERE id = ?1) OR EXISTS (SELECT 1 FROM extents WHERE entry = ?1) \
               OR EXISTS (SELECT 1 FROM rare WHERE entry = ?1 AND kind IN (?2, ?3) AND volume IS NOT NULL)";
    let row = params![to_db("entry id", id)?, ENTRY, BEGIN];
    batch.db.prepare_cached(sql).during(doing)?.query_row(row, |row| row.get(0)).during(doing)
}

/// The identity of a file when its present reading began.
pub(super) fn begin(db: &Connection, id: i64, generation: u32) -> Result<Option<Begin>, Error> {
    let doing = "read how a reading began";
    let sql = "SELECT record FROM rare WHERE entry = ?1 AND kind = ?2 AND generation = ?3 ORDER BY number LIMIT 1";
    let mut query = db.prepare_cached(sql).during(doing)?;
    let found = query.query_row(params![id, BEGIN, generation], |row| row.get(0)).optional().during(doing)?;
    let Some(bytes): Option<Vec<u8>> = found else { return Ok(None) };
    match decode(&bytes)? {
        Record::Begin(begin) => Ok(Some(begin)),
        other => Err(Error::Corrupt { what: "kept BEGIN record", found: format!("{other:?}") }),
    }
}

fn encode(record: &Record) -> Result<(i64, Vec<u8>), Error> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes).map_err(Error::Record)?;
    let kind = match record {
        Record::Entry(_) => ENTRY,
        Record::Begin(_) => BEGIN,
        Record::Extent(_) => EXTENT,
        Record::Problem(_) => PROBLEM,
        Record::Deleted(_) => DELETED,
        other => {
            return Err(Error::Conflict {
                what: "kind of a record",
                recorded: "1, 2, 3, 4, 7".into(),
                found: format!("{other:?}"),
            });
        }
    };
    Ok((kind, bytes))
}

/// The one record in `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, Error> {
    let missing = || Error::Corrupt { what: "kept record", found: "empty".into() };
    Records::new(bytes).next().ok_or_else(missing)?.map_err(Error::Record)
}

/// The PROBLEM record in `bytes`.
pub(super) fn decode_problem(bytes: &[u8]) -> Result<Problem, Error> {
    match decode(bytes)? {
        Record::Problem(problem) => Ok(problem),
        other => Err(Error::Corrupt { what: "kept PROBLEM record", found: format!("{other:?}") }),
    }
}

impl Job {
    /// Problems that are on no volume yet, in the order they were met, after `after`; each with its number.
    /// Committing the record takes it off this list.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unrecorded_problems(&self, after: u64, limit: usize) -> Result<Vec<(u64, Problem)>, Error> {
        let doing = "read the problems that are due";
        let sql = "SELECT number, record FROM rare INDEXED BY rare_unrecorded WHERE volume IS NULL AND number > ?1 ORDER BY number LIMIT ?2";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        let row = params![to_db("number", after)?, i64::try_from(limit).unwrap_or(i64::MAX)];
        let rows = query.query_map(row, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))).during(doing)?;
        rows.map(|row| {
            let (number, bytes) = row.during(doing)?;
            Ok((from_db("number of a problem", number)?, decode_problem(&bytes)?))
        })
        .collect()
    }

    /// Deletions that are on no volume yet, by id, after `after`. Committing the record takes it off this list.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unrecorded_deletions(&self, after: u64, limit: usize) -> Result<Vec<Deleted>, Error> {
        let doing = "read the deletions that are due";
        let sql = "SELECT id, generation, parent, name FROM entries INDEXED BY entries_open \
                   WHERE state < 10 AND state = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut found = query.query(params![State::Gone.code(), to_db("entry id", after)?, limit]).during(doing)?;
        let mut deletions = Vec::new();
        while let Some(row) = found.next().during(doing)? {
            let get = |column| row.get::<_, i64>(column).during(doing);
            let name: Vec<u8> = row.get(3).during(doing)?;
            let path = paths::path_in(&self.db, &self.caches, get(2)?, &name)?;
            let (id, generation) = (from_db("entry id", get(0)?)?, from_db("generation of an entry", get(1)?)?);
            deletions.push(Deleted { id, generation, path });
        }
        Ok(deletions)
    }

    /// What is wrong now: the latest problem of each entry that could not be staged, or was staged with a reservation,
    /// and every problem without an entry that the last walk met. In the order they were met, after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn problems(&self, after: u64, limit: usize) -> Result<Vec<KnownProblem>, Error> {
        let doing = "read the problems";
        let sql = "SELECT r.number, r.record, e.state FROM rare AS r LEFT JOIN entries AS e ON e.id = r.entry \
                   WHERE r.kind = ?1 AND r.number > ?2 AND (r.entry = 0 AND r.generation >= ?3 OR r.entry <> 0 AND NOT EXISTS \
                   (SELECT 1 FROM rare AS later WHERE later.entry = r.entry AND later.kind = ?1 AND later.number > r.number)) \
                   ORDER BY r.number";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        let mut found =
            query.query(params![PROBLEM, to_db("number", after)?, walk(&self.db, WALK_ENDED)?]).during(doing)?;
        let mut problems = Vec::new();
        while let Some(row) = found.next().during(doing)?
            && problems.len() < limit
        {
            let problem = known_problem(row)?;
            if stands(&problem) {
                problems.push(problem);
            }
        }
        Ok(problems)
    }
}

impl Job {
    /// Hands over every problem without an entry that stands: paths that could not even be looked at, each of them once.
    ///
    /// # Errors
    /// When the database fails.
    pub fn loose_problems(&self, mut each: impl FnMut(&Problem)) -> Result<(), Error> {
        let doing = "read problems without an entry";
        let sql = "SELECT DISTINCT record FROM rare INDEXED BY rare_entry WHERE entry = 0 AND kind = ?1 AND generation >= ?2 \
                   ORDER BY record";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        let mut found = query.query(params![PROBLEM, walk(&self.db, WALK_ENDED)?]).during(doing)?;
        while let Some(row) = found.next().during(doing)? {
            let bytes: Vec<u8> = row.get(0).during(doing)?;
            each(&decode_problem(&bytes)?);
        }
        Ok(())
    }
}

fn known_problem(row: &Row<'_>) -> Result<KnownProblem, Error> {
    let doing = "read a problem";
    let number = from_db("number of a problem", row.get(0).during(doing)?)?;
    let state: Option<i64> = row.get(2).during(doing)?;
    let bytes: Vec<u8> = row.get(1).during(doing)?;
    Ok(KnownProblem { number, state: state.map(State::from_code).transpose()?, problem: decode_problem(&bytes)? })
}

/// Whether a problem was not overcome since: a later reading that went well overcomes it, unless it is a reservation
/// about that reading.
fn stands(known: &KnownProblem) -> bool {
    match known.state {
        None | Some(State::Problem) => true,
        Some(State::Changed) => known.problem.code == ProblemCode::Changed,
        Some(State::Staged) => known.problem.code == ProblemCode::Metadata,
        Some(_) => false,
    }
}
