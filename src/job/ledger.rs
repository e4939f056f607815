//! The ledger: each path seen is in exactly one state, and the sums of the states equal what was seen.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use crate::format::record::EntryType;
use crate::job::error::{During, from_db};
use crate::job::{Batch, Error, Job, State};

/// Paths and content bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Paths.
    pub entries: u64,
    /// Content bytes of the files among them.
    pub bytes: u64,
}

impl std::ops::Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { entries: self.entries + other.entries, bytes: self.bytes + other.bytes }
    }
}

impl std::iter::Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), std::ops::Add::add)
    }
}

/// What a rule left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// The rule, as the user wrote it.
    pub rule: String,
    /// What it left out. A directory that is left out counts once.
    pub count: Count,
}

/// Where everything stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    rows: Vec<(State, EntryType, Count)>,
    excluded: Vec<Excluded>,
}

impl Ledger {
    /// Paths in one state.
    pub fn state(&self, state: State) -> Count {
        self.sum(|row_state, _| row_state == state)
    }

    /// Paths in one state, of one type.
    pub fn state_and_type(&self, state: State, entry_type: EntryType) -> Count {
        self.sum(|row_state, row_type| (row_state, row_type) == (state, entry_type))
    }

    /// Paths no longer at the source.
    pub fn deleted(&self) -> Count {
        self.sum(|state, _| state.is_deleted())
    }

    /// Paths whose content is on volumes, those that changed while they were read among them.
    pub fn staged(&self) -> Count {
        self.sum(|state, _| state.is_staged())
    }

    /// Paths that exist at the source and are not excluded.
    pub fn present(&self) -> Count {
        self.sum(|state, _| !state.is_deleted())
    }

    /// What the rules left out, rule by rule.
    pub fn excluded(&self) -> &[Excluded] {
        &self.excluded
    }

    /// What all rules together left out.
    pub fn left_out(&self) -> Count {
        self.excluded.iter().map(|rule| rule.count).sum()
    }

    /// Everything ever seen: the sum of all states and of what was excluded.
    pub fn seen(&self) -> Count {
        self.sum(|_, _| true) + self.left_out()
    }

    fn sum(&self, keep: impl Fn(State, EntryType) -> bool) -> Count {
        self.rows.iter().filter(|(state, kind, _)| keep(*state, *kind)).map(|(_, _, count)| *count).sum()
    }
}

/// What one transaction changes in the ledger.
#[derive(Debug, Default)]
pub(super) struct Deltas(HashMap<(State, EntryType), (i64, i64)>);

impl Deltas {
    /// A path of `bytes` enters a state.
    pub(super) fn enter(&mut self, state: State, entry_type: EntryType, bytes: i64) {
        self.change(state, entry_type, 1, bytes);
    }

    /// A path of `bytes` leaves a state.
    pub(super) fn leave(&mut self, state: State, entry_type: EntryType, bytes: i64) {
        self.change(state, entry_type, -1, -bytes);
    }

    fn change(&mut self, state: State, entry_type: EntryType, entries: i64, bytes: i64) {
        let cell = self.0.entry((state, entry_type)).or_default();
        *cell = (cell.0 + entries, cell.1 + bytes);
    }

    /// Adds the changes to the stored ledger.
    pub(super) fn store(&self, db: &Connection) -> Result<(), Error> {
        let doing = "bring the ledger up to date";
        let sql = "INSERT INTO tally (state, type, entries, bytes) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT DO UPDATE SET entries = entries + excluded.entries, bytes = bytes + excluded.bytes";
        let mut statement = db.prepare_cached(sql).during(doing)?;
        for ((state, kind), (entries, bytes)) in &self.0 {
            statement.execute(params![state.code(), kind.code(), entries, bytes]).during(doing)?;
        }
        Ok(())
    }
}

impl Job {
    /// Where everything stands. Its cost does not depend on the number of entries.
    ///
    /// # Errors
    /// When the database fails.
    pub fn ledger(&self) -> Result<Ledger, Error> {
        let sql = "SELECT state, type, entries, bytes FROM tally WHERE entries <> 0 ORDER BY state, type";
        Ok(Ledger { rows: tally(&self.db, sql)?, excluded: self.excluded()? })
    }

    /// The same, counted from the entries themselves: for tests, and for `status --check`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn recount(&self) -> Result<Ledger, Error> {
        let sql = "SELECT state, type, count(*), sum(size) FROM entries GROUP BY state, type ORDER BY state, type";
        Ok(Ledger { rows: tally(&self.db, sql)?, excluded: self.excluded()? })
    }

    fn excluded(&self) -> Result<Vec<Excluded>, Error> {
        let doing = "read what was excluded";
        let mut query =
            self.db.prepare_cached("SELECT rule, entries, bytes FROM excluded ORDER BY rule").during(doing)?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).during(doing)?;
        rows.map(|row| {
            let (rule, entries, bytes) = row.during(doing)?;
            Ok(Excluded { rule, count: count(entries, bytes)? })
        })
        .collect()
    }
}

impl Batch<'_> {
    /// Ends a walk that saw everything. What the rules left out replaces what they left out in earlier walks, and problems
    /// without an entry that it did not meet stand no more.
    ///
    /// # Errors
    /// When the database fails.
    pub fn end_walk(&mut self, excluded: &[Excluded]) -> Result<(), Error> {
        self.forget_loose_problems()?;
        let doing = "keep what was excluded";
        self.db.execute("DELETE FROM excluded", []).during(doing)?;
        let mut insert = self.db.prepare_cached("INSERT INTO excluded VALUES (?1, ?2, ?3)").during(doing)?;
        for Excluded { rule, count } in excluded {
            let [entries, bytes] = [count.entries, count.bytes].map(|value| super::error::to_db("count", value));
            insert.execute(params![rule, entries?, bytes?]).during(doing)?;
        }
        Ok(())
    }
}

fn tally(db: &Connection, sql: &str) -> Result<Vec<(State, EntryType, Count)>, Error> {
    let doing = "read the ledger";
    let mut query = db.prepare_cached(sql).during(doing)?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).during(doing)?;
    let mut cells = Vec::new();
    for row in rows {
        let (state, kind, entries, bytes) = row.during(doing)?;
        let state = State::from_code(state)?;
        if state != State::Implied {
            cells.push((state, super::rows::entry_type(kind)?, count(entries, bytes)?));
        }
    }
    Ok(cells)
}

fn count(entries: i64, bytes: i64) -> Result<Count, Error> {
    Ok(Count { entries: from_db("count of entries", entries)?, bytes: from_db("count of bytes", bytes)? })
}
