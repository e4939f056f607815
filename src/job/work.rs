//! What is left to stage, and where an interrupted reading continues.

use rusqlite::params;

use crate::digest::{CHAIN_START, ChainingValue, Crc64, combine};
use crate::format::record::{Begin, EntryType};
use crate::job::error::{During, to_db};
use crate::job::rows::{self, STORED};
use crate::job::{Error, Job, State, Work, extents, paths, rare};

/// Extents read at a time. Unit: rows.
const EXTENTS_AT_ONCE: i64 = 1000;

/// How far the present reading of a large file got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumePoint {
    /// Which reading.
    pub generation: u32,
    /// First byte that is not committed. Unit: bytes.
    pub offset: u64,
    /// SHA-256 state there; for a file that is whole, its SHA-256.
    pub sha_state: ChainingValue,
    /// CRC-64/NVME of everything before.
    pub crc64: Crc64,
    /// Extents before.
    pub extent_count: u32,
    /// Extents committed after a gap, as (offset, length): in them nothing is to be written again.
    pub beyond: Vec<(u64, u64)>,
    /// The file as it was when the reading began; `None` when no volume recorded it.
    pub begin: Option<Begin>,
}

impl Job {
    /// Entries that are still to be staged, by id, after `after`; at most `limit` of them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn pending(&self, after: u64, limit: usize) -> Result<Vec<Work>, Error> {
        self.open_in(State::Pending, after, limit)
    }

    /// Entries that changed while they were read, by id, after `after`; at most `limit` of them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn changed(&self, after: u64, limit: usize) -> Result<Vec<Work>, Error> {
        self.open_in(State::Changed, after, limit)
    }

    fn open_in(&self, state: State, after: u64, limit: usize) -> Result<Vec<Work>, Error> {
        let doing = "read what is open";
        let sql = format!(
            "SELECT {STORED} FROM entries INDEXED BY entries_open \
             WHERE state < 10 AND state = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
        );
        let mut query = self.db.prepare_cached(&sql).during(doing)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut found = query.query(params![state.code(), to_db("entry id", after)?, limit]).during(doing)?;
        let mut work = Vec::new();
        while let Some(row) = found.next().during(doing)? {
            work.push(self.work(rows::stored(&self.db, &self.caches, row)?)?);
        }
        Ok(work)
    }

    /// An entry with its paths.
    fn work(&self, entry: super::Stored) -> Result<Work, Error> {
        let path = paths::path_in(&self.db, &self.caches, entry.parent, &entry.name)?;
        let link_path = match entry.facts.entry_type {
            EntryType::HardLink => Some(self.path(entry.facts.link_id)?),
            _ => None,
        };
        Ok(Work { entry, path, link_path })
    }

    /// How far the present reading of an entry got: the end of its contiguous committed extents, byte 0 when only later
    /// ones are committed. `None` when none is.
    ///
    /// # Errors
    /// When there is no such entry, or the database fails.
    pub fn resume_point(&self, id: u64) -> Result<Option<ResumePoint>, Error> {
        let entry = self.entry(id)?.ok_or(Error::Unknown { what: "entry", number: id })?;
        let key = to_db("entry id", id)?;
        let sql = format!(
            "SELECT {} FROM extents WHERE entry = ?1 AND generation = ?2 AND offset >= ?3 ORDER BY offset LIMIT ?4",
            extents::COLUMNS
        );
        let mut point: Option<ResumePoint> = None;
        let (mut next, mut beyond) = (0_i64, Vec::new());
        loop {
            let row = params![key, entry.generation, next, EXTENTS_AT_ONCE];
            let extents = extents::collect(&self.db, &sql, row, "read how far a reading got")?;
            let Some(last) = extents.last() else { break };
            next = to_db("offset", last.extent.offset + 1)?;
            for extent in extents.into_iter().map(|placed| placed.extent) {
                let (offset, crc64, count) = point
                    .as_ref()
                    .map_or((0, Crc64::EMPTY, 0), |point| (point.offset, point.crc64, point.extent_count));
                match extent.states {
                    Some(states) if extent.offset == offset && beyond.is_empty() => {
                        point = Some(ResumePoint {
                            generation: entry.generation,
                            offset: offset + extent.length,
                            sha_state: states.end,
                            crc64: combine(crc64, extent.crc64, extent.length),
                            extent_count: count + 1,
                            beyond: Vec::new(),
                            begin: None,
                        });
                    }
                    _ => beyond.push((extent.offset, extent.length)),
                }
            }
        }
        let begin = rare::begin(&self.db, key, entry.generation)?;
        if point.is_none() && !beyond.is_empty() {
            // The gap is at the very beginning: extents are sealed side by side, and a later one may be committed first.
            point = Some(ResumePoint {
                generation: entry.generation,
                offset: 0,
                sha_state: CHAIN_START,
                crc64: Crc64::EMPTY,
                extent_count: 0,
                beyond: Vec::new(),
                begin: None,
            });
        }
        Ok(point.map(|point| ResumePoint { beyond, begin, ..point }))
    }
}
