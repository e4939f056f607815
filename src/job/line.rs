//! What goes straight from the source to S3, without a volume.
//!
//! Its entries are `staged` like others, on a volume that does not exist: number 0. So every ledger, every report and every
//! upload treats them alike; no manifest lists them, and `recover` cannot bring them back (they are at the source).

use rusqlite::params;

use crate::format::record::Record;
use crate::job::error::{During, from_db, to_db};
use crate::job::{Batch, Committed, Error, Job, State, commit};

/// The volume number of what has no volume.
pub const LINE: u32 = 0;

/// Entries of the line that the server does not have yet.
const UNSENT: &str = "FROM staged AS s JOIN entries AS e ON e.id = s.id AND e.generation = s.generation \
                      LEFT JOIN objects AS o ON o.entry = s.id AND o.generation = s.generation \
                      WHERE s.volume = 0 AND e.state IN (?1, ?2) AND (o.entry IS NULL OR o.state < 10)";

impl Job {
    /// Takes note of what was read at the source to be sent from there, durably: ENTRY and EXTENT records, and deletions.
    ///
    /// # Errors
    /// When an entry is unknown, or the database fails; then nothing was recorded.
    pub fn record_read(&mut self, records: &[Record]) -> Result<Committed, Error> {
        self.batch_durable(|batch| {
            for record in records {
                commit::apply(batch, (LINE, 0), record)?;
            }
            commit::settle(batch)?;
            Ok(Committed { staged: batch.completed })
        })
    }

    /// Entries that go over the line and are not at the server, by id, after `after`; at most `limit` of them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unsent_page(&self, after: u64, limit: usize) -> Result<Vec<u64>, Error> {
        let doing = "look for what goes over the line";
        let sql = format!("SELECT s.id {UNSENT} AND s.id > ?3 ORDER BY s.id LIMIT ?4");
        let mut query = self.db.prepare_cached(&sql).during(doing)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let row = params![State::Staged.code(), State::Changed.code(), to_db("entry id", after)?, limit];
        let ids = query.query_map(row, |row| row.get::<_, i64>(0)).during(doing)?;
        ids.map(|id| from_db("entry id", id.during(doing)?)).collect()
    }

    /// How many entries of the line are not at the server, those that could not be read yet among them. `with_top`:
    /// whether the top of the dataset has an object.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unsent_of_line(&self, with_top: bool) -> Result<u64, Error> {
        let doing = "count what goes over the line";
        let top = if with_top { "" } else { " AND e.parent <> 0" };
        let sql = format!("SELECT count(*) {UNSENT}{top}");
        let row = params![State::Staged.code(), State::Changed.code()];
        let unsent: i64 = self.db.query_row(&sql, row, |row| row.get(0)).during(doing)?;
        Ok(from_db::<u64>("count of entries", unsent)? + self.ledger()?.state(State::Pending).entries)
    }
}

impl Batch<'_> {
    /// What was read of an entry is not what is there: it has to be read again.
    ///
    /// # Errors
    /// When there is no such entry, or the database fails.
    pub fn read_again(&mut self, id: u64) -> Result<(), Error> {
        let stored = self.stored(id)?;
        self.change(id, &stored.facts).map(drop)
    }
}
