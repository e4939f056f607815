//! Every entry with everything that is known of it, one after the other: what reports are made of.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, params};

use crate::format::record::{EntryType, Problem};
use crate::job::commit::{STAGED, Staged};
use crate::job::error::{During, from_db, to_db};
use crate::job::objects::{OBJECT, object};
use crate::job::rows::entry_type;
use crate::job::{Error, Job, Object, Read, State, paths, rare};

/// Columns of an entry that a list shows, before those of what was staged and of its object. Not all of them: a list is made
/// after each run, and owners, attributes and inodes are in none.
const ENTRY: &str =
    "e.id, e.parent, e.name, e.state, e.generation, e.type, e.size, e.mtime_s, e.mtime_ns, e.link_id, e.target";
const ENTRY_COLUMNS: usize = 11;
/// Columns of what was staged.
const STAGED_COLUMNS: usize = 9;

/// Whether no server has the entry `e` with the object `o`. The top directory is missing nowhere unless it has an object.
const MISSING: &str = "coalesce(o.state < 10, e.parent <> 0)";

/// How much of a volume's share has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrivals {
    /// Entries it holds anything of.
    pub entries: u64,
    /// How many of them no server has yet.
    pub missing: u64,
}

/// One entry and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: u64,
    /// Its stored path.
    pub path: Vec<u8>,
    /// Its state.
    pub state: State,
    /// Its current generation.
    pub generation: u32,
    /// What it is.
    pub entry_type: EntryType,
    /// Content bytes; 0 unless a file.
    pub bytes: u64,
    /// Seconds since 1970 of the modification time.
    pub mtime_s: i64,
    /// Nanoseconds of it.
    pub mtime_ns: u32,
    /// Where a symlink points to; empty for other types.
    pub target: Vec<u8>,
    /// The entry a hard link shares its content with; 0 for other types.
    pub link_id: u64,
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
        let object: Vec<String> = OBJECT.split(", ").map(|column| format!("o.{column}")).collect();
        let sql = format!(
            "SELECT {ENTRY}, {STAGED}, {} \
             FROM entries AS e LEFT JOIN staged AS s ON s.id = e.id AND s.generation = e.generation \
             LEFT JOIN objects AS o ON o.entry = e.id AND o.generation = e.generation \
             WHERE e.state <> ?1 ORDER BY e.id",
            object.join(", "),
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
        let get = |column: usize| row.get::<_, i64>(column).during(doing);
        let has =
            |column: usize| row.get_ref(column).during(doing).map(|value| value != rusqlite::types::ValueRef::Null);
        let generation: u32 = from_db("generation of an entry", get(4)?)?;
        let name = row.get_ref(2).during(doing)?.as_blob().map_err(rusqlite::Error::from).during(doing)?;
        let mut listed = Listed {
            id: from_db("id of an entry", get(0)?)?,
            path: paths::path_in(&self.db, &self.caches, get(1)?, name)?,
            state: State::from_code(get(3)?)?,
            generation,
            entry_type: entry_type(get(5)?)?,
            bytes: from_db("size of an entry", get(6)?)?,
            mtime_s: get(7)?,
            mtime_ns: from_db("mtime_ns of an entry", get(8)?)?,
            link_id: if has(9)? { from_db("link_id of an entry", get(9)?)? } else { 0 },
            target: row.get::<_, Option<Vec<u8>>>(10).during(doing)?.unwrap_or_default(),
            read: None,
            volumes: Vec::new(),
            object: None,
        };
        if has(ENTRY_COLUMNS)? {
            let staged = Staged::from_row(row, ENTRY_COLUMNS)?;
            let is_spread = staged.piece.is_none() && listed.entry_type == EntryType::File && listed.bytes > 0;
            let volumes = if is_spread { self.volumes_of(listed.id, generation)? } else { vec![staged.volume] };
            (listed.read, listed.volumes) = (Some(staged.read), volumes);
        }
        let first = ENTRY_COLUMNS + STAGED_COLUMNS;
        if has(first)? {
            listed.object = Some(object(row, first)?);
        }
        Ok(listed)
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

    /// What each volume holds of the entries that are at the source, in their present generation, and how much of that no
    /// server has yet. Volumes that hold nothing are left out. Looks at every entry once, however many volumes there are.
    ///
    /// # Errors
    /// When the database fails.
    pub fn arrivals(&self) -> Result<BTreeMap<u32, Arrivals>, Error> {
        let doing = "see what has arrived";
        let [gone, deleted] = [State::Gone, State::Deleted].map(State::code);
        let mut arrivals: BTreeMap<u32, Arrivals> = BTreeMap::new();
        let mut count = |volume: u32, is_missing: bool| {
            let of_volume = arrivals.entry(volume).or_default();
            of_volume.entries += 1;
            of_volume.missing += u64::from(is_missing);
        };
        // Where the record is; for small files that is where the content is.
        let sql = format!(
            "SELECT s.volume, {MISSING} FROM staged AS s JOIN entries AS e ON e.id = s.id \
             LEFT JOIN objects AS o ON o.entry = e.id AND o.generation = e.generation WHERE e.state NOT IN (?1, ?2)"
        );
        let mut query = self.db.prepare_cached(&sql).during(doing)?;
        let mut found = query.query([gone, deleted]).during(doing)?;
        while let Some(row) = found.next().during(doing)? {
            count(row.get(0).during(doing)?, row.get(1).during(doing)?);
        }
        // Where more of the content is.
        let sql = format!(
            "SELECT x.entry, x.volume, {MISSING} FROM extents AS x \
             JOIN entries AS e ON e.id = x.entry AND e.generation = x.generation LEFT JOIN staged AS s ON s.id = e.id \
             LEFT JOIN objects AS o ON o.entry = e.id AND o.generation = e.generation \
             WHERE e.state NOT IN (?1, ?2) AND s.volume IS NOT x.volume ORDER BY x.entry"
        );
        let mut query = self.db.prepare_cached(&sql).during(doing)?;
        let mut found = query.query([gone, deleted]).during(doing)?;
        let mut of_entry: (i64, Vec<u32>) = (0, Vec::new()); // a file of many extents counts once on each of its volumes
        while let Some(row) = found.next().during(doing)? {
            let (entry, volume): (i64, u32) = (row.get(0).during(doing)?, row.get(1).during(doing)?);
            if of_entry.0 != entry {
                of_entry = (entry, Vec::new());
            }
            if !of_entry.1.contains(&volume) {
                of_entry.1.push(volume);
                count(volume, row.get(2).during(doing)?);
            }
        }
        Ok(arrivals)
    }
}
