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
    let sql = "SELECT EXISTS (SELECT 1 FROM rare WHERE entry = ?1 AND kind = ?2 AND record = ?3 AND volume IS ?4)";
    let is_there: bool = batch.db.prepare_cached(sql).during(doing)?.query_row(key, |row| row.get(0)).during(doing)?;
    if place.is_some() {
        let sql = "DELETE FROM rare WHERE entry = ?1 AND kind = ?2 AND record = ?3 AND volume IS NULL";
        let key = params![entry, kind, bytes];
        batch.db.prepare_cached(sql).during(doing)?.execute(key).during(doing)?;
    }
    if is_there {
        return Ok(());
    }
    let sql = "INSERT INTO rare (entry, kind, generation, volume, pack, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let row = params![entry, kind, generation, volume, pack, bytes];
    batch.db.prepare_cached(sql).during(doing)?.execute(row).map(drop).during(doing)
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
    /// and every problem without an entry. In the order they were met, after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn problems(&self, after: u64, limit: usize) -> Result<Vec<KnownProblem>, Error> {
        let doing = "read the problems";
        let sql = "SELECT r.number, r.record, e.state FROM rare AS r LEFT JOIN entries AS e ON e.id = r.entry \
                   WHERE r.kind = ?1 AND r.number > ?2 AND (r.entry = 0 OR NOT EXISTS \
                   (SELECT 1 FROM rare AS later WHERE later.entry = r.entry AND later.kind = ?1 AND later.number > r.number)) \
                   ORDER BY r.number";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        let mut found = query.query(params![PROBLEM, to_db("number", after)?]).during(doing)?;
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
