//! Every entry with everything that is known of it, one after the other: what reports are made of.

use rusqlite::{OptionalExtension, params};

use crate::format::record::{EntryType, Problem};
use crate::job::commit::Staged;
use crate::job::error::{During, from_db, to_db};
use crate::job::objects::{OBJECT, object};
use crate::job::rows::{STORED, stored};
use crate::job::{Error, Job, Object, Read, State, Stored, paths, rare};

/// Columns of an entry, before those of what was staged and of its object.
const STORED_COLUMNS: usize = 19;
/// Columns of what was staged.
const STAGED_COLUMNS: usize = 9;

/// One entry and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The entry as the source has it.
    pub entry: Stored,
    /// Its stored path.
    pub path: Vec<u8>,
    /// What was read; `None` until an ENTRY record of the present generation is committed.
    pub read: Option<Read>,
    /// Volumes that hold its content, or its record where it has none. Empty until then.
    pub volumes: Vec<u32>,
    /// Its object, if it belongs to the present generation.
    pub object: Option<Object>,
}

impl Job {
    /// Hands every entry to `each`, by id; the directories that only lead to a source are left out. Memory does not
    /// grow with their number.
    ///
    /// # Errors
    /// When the database fails, or `each` does.
    pub fn list<E: From<Error>>(&self, mut each: impl FnMut(Listed) -> Result<(), E>) -> Result<(), E> {
        let doing = "list the entries";
        let prefixed = |table: &str, columns: &str| {
            let columns: Vec<String> = columns.split(", ").map(|column| format!("{table}.{}", column.trim())).collect();
            columns.join(", ")
        };
        let sql = format!(
            "SELECT {}, s.generation, s.volume, s.pack, s.changed, s.extents, s.crc64, s.sha256, s.frame, s.at, {} \
             FROM entries AS e LEFT JOIN staged AS s ON s.id = e.id AND s.generation = e.generation \
             LEFT JOIN objects AS o ON o.entry = e.id AND o.generation = e.generation \
             WHERE e.state <> ?1 ORDER BY e.id",
            prefixed("e", STORED),
            prefixed("o", OBJECT),
        );
        let mut query = self.db.prepare_cached(&sql).during(doing)?;
        let mut found = query.query([State::Implied.code()]).during(doing)?;
        while let Some(row) = found.next().during(doing)? {
            each(self.listed(row)?)?;
        }
        Ok(())
    }

    fn listed(&self, row: &rusqlite::Row<'_>) -> Result<Listed, Error> {
        let doing = "list the entries";
        let entry = stored(&self.db, &self.caches, row)?;
        let path = paths::path_in(&self.db, &self.caches, entry.parent, &entry.name)?;
        let has =
            |column: usize| row.get_ref(column).during(doing).map(|value| value != rusqlite::types::ValueRef::Null);
        let staged = if has(STORED_COLUMNS)? { Some(Staged::from_row(row, STORED_COLUMNS)?) } else { None };
        let first = STORED_COLUMNS + STAGED_COLUMNS;
        let object = if has(first)? { Some(object(row, first)?) } else { None };
        let volumes = match &staged {
            Some(staged)
                if staged.piece.is_none() && entry.facts.entry_type == EntryType::File && entry.facts.size > 0 =>
            {
                self.volumes_of(entry.id, entry.generation)?
            }
            staged => staged.iter().map(|staged| staged.volume).collect(),
        };
        Ok(Listed { path, read: staged.map(|staged| staged.read), volumes, object, entry })
    }

    fn volumes_of(&self, id: u64, generation: u32) -> Result<Vec<u32>, Error> {
        let doing = "see which volumes hold an entry";
        let sql = "SELECT DISTINCT volume FROM extents WHERE entry = ?1 AND generation = ?2 ORDER BY volume";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        let rows = query.query_map(params![to_db("entry id", id)?, generation], |row| row.get(0)).during(doing)?;
        rows.collect::<Result<_, _>>().during(doing)
    }

    /// The latest problem of an entry.
    ///
    /// # Errors
    /// When the database fails.
    pub fn problem_of(&self, id: u64) -> Result<Option<Problem>, Error> {
        let doing = "read the problem of an entry";
        let sql = "SELECT record FROM rare WHERE entry = ?1 AND kind = ?2 ORDER BY number DESC LIMIT 1";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        let row = params![to_db("entry id", id)?, rare::PROBLEM];
        let bytes: Option<Vec<u8>> = query.query_row(row, |row| row.get(0)).optional().during(doing)?;
        bytes.map(|bytes| rare::decode_problem(&bytes)).transpose()
    }

    /// How many entries of their present generation a volume holds anything of, and how many of them no server has yet.
    /// The top directory is missing nowhere unless it has an object.
    ///
    /// # Errors
    /// When the database fails.
    pub fn not_arrived(&self, volume: u32) -> Result<(u64, u64), Error> {
        let doing = "see what of a volume has arrived";
        let sql = "SELECT count(*), count(*) FILTER (WHERE (o.entry IS NULL AND e.parent <> 0) OR o.state < 10) FROM entries AS e \
                   LEFT JOIN staged AS s ON s.id = e.id \
                   LEFT JOIN objects AS o ON o.entry = e.id AND o.generation = e.generation \
                   WHERE e.state NOT IN (?2, ?3) AND (s.volume = ?1 OR EXISTS (SELECT 1 \
                   FROM extents AS x WHERE x.entry = e.id AND x.generation = e.generation AND x.volume = ?1))";
        let [gone, deleted] = [State::Gone, State::Deleted].map(State::code);
        let row = params![volume, gone, deleted];
        let (held, missing): (i64, i64) =
            self.db.query_row(sql, row, |row| Ok((row.get(0)?, row.get(1)?))).during(doing)?;
        Ok((from_db("count of entries", held)?, from_db("count of entries", missing)?))
    }
}
