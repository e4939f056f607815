//! Everything that is committed on one volume, as the records its `MANIFEST` holds.

use rusqlite::{Connection, params};

use crate::format::FooterReason;
use crate::format::record::{EntryType, PackRecord, Record, Summary};
use crate::job::commit::{STAGED, Staged, staged};
use crate::job::error::{During, from_db, to_db};
use crate::job::rows::STORED;
use crate::job::{Caches, Error, Job, PackRow, Stored, extents, paths, rare, rows};

/// What there is of an entry on the volume beside its ENTRY record, in the order it is written, before that.
const RARE: i64 = 1;
const EXTENTS: i64 = 2;

/// Which entries have such on a volume, by id, repeated for each row. Each arm comes in the order of its key, so that
/// nothing is sorted in memory or on disk (which DISTINCT would do).
const BESIDE: &str = "SELECT entry, 2 AS what FROM extents WHERE volume = ?1 \
                      UNION ALL SELECT entry, 1 FROM rare WHERE volume = ?1 ORDER BY 1, 2";

/// Columns of an entry, before those of what was staged, in a query for both.
const STORED_COLUMNS: usize = 19;

impl Job {
    /// Hands all records of a volume's `MANIFEST` to `sink`, in their order there: its packs, then everything else by
    /// id, the counts last. Memory does not grow with the volume.
    ///
    /// # Errors
    /// When a pack is still open, the database fails, or `sink` does.
    pub fn volume_records<E: From<Error>>(
        &self,
        volume: u32,
        mut sink: impl FnMut(Record) -> Result<(), E>,
    ) -> Result<Summary, E> {
        let mut summary = Summary::default();
        for pack in self.packs(volume)? {
            let record = pack_record(&pack)?;
            summary.packs += 1;
            summary.pack_bytes += record.file_bytes;
            sink(Record::Pack(record))?;
        }
        let mut put = |record: Record| {
            match &record {
                Record::Entry(_) => summary.entries += 1,
                Record::Problem(_) => summary.problems += 1,
                Record::Extent(extent) => {
                    summary.extents += 1;
                    summary.content_bytes += extent.length;
                }
                _ => {}
            }
            sink(record)
        };
        let doing = "read what is on a volume";
        let mut beside = self.db.prepare_cached(BESIDE).during(doing)?;
        let mut beside = Beside { job: self, volume, rows: beside.query([volume]).during(doing)?, next: None };
        beside.advance()?;
        let columns: Vec<String> = STORED.split(", ").map(|column| format!("e.{}", column.trim())).collect();
        let sql = format!(
            "SELECT {}, {STAGED} \
             FROM staged AS s LEFT JOIN entries AS e ON e.id = s.id WHERE s.volume = ?1 ORDER BY s.id",
            columns.join(", "),
        );
        let mut query = self.db.prepare_cached(&sql).during(doing)?;
        let mut found = query.query([volume]).during(doing)?;
        while let Some(row) = found.next().during(doing)? {
            let entry = rows::stored(&self.db, &self.caches, row)?;
            beside.up_to(to_db("entry id", entry.id)?, &mut put)?;
            let staged = Staged::from_row(row, STORED_COLUMNS)?;
            if let Some(placed) = extents::own(&entry, &staged) {
                put(Record::Extent(placed.extent))?;
            }
            put(Record::Entry(entry_record(&self.db, &self.caches, &entry, &staged)?))?;
        }
        beside.up_to(i64::MAX, &mut put)?;
        sink(Record::Summary(summary))?;
        Ok(summary)
    }

    /// The ENTRY record of an entry, if it is on a volume.
    ///
    /// # Errors
    /// When the database fails.
    pub fn staged_entry(&self, id: u64) -> Result<Option<crate::format::record::Entry>, Error> {
        let Some(entry) = self.entry(id)? else { return Ok(None) };
        let staged = staged(&self.db, to_db("entry id", id)?)?;
        staged.map(|staged| entry_record(&self.db, &self.caches, &entry, &staged)).transpose()
    }

    /// Entries of a type that are on volumes, by id, after `after`; at most `limit` of them. Looks at every entry.
    ///
    /// # Errors
    /// When the database fails.
    pub fn staged_of_type(&self, entry_type: EntryType, after: u64, limit: usize) -> Result<Vec<u64>, Error> {
        let doing = "look for entries of a type";
        let sql = "SELECT entries.id FROM entries JOIN staged USING (id) \
                   WHERE type = ?1 AND id > ?2 ORDER BY entries.id LIMIT ?3";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let row = params![entry_type.code(), to_db("entry id", after)?, limit];
        let ids = query.query_map(row, |row| row.get::<_, i64>(0)).during(doing)?;
        ids.map(|id| from_db("entry id", id.during(doing)?)).collect()
    }

    fn records_beside(&self, volume: u32, id: i64, what: i64) -> Result<Vec<Record>, Error> {
        if what == RARE {
            let doing = "read the records of an entry";
            let sql = "SELECT record FROM rare WHERE entry = ?1 AND volume = ?2 ORDER BY number";
            let mut query = self.db.prepare_cached(sql).during(doing)?;
            let rows = query.query_map(params![id, volume], |row| row.get::<_, Vec<u8>>(0)).during(doing)?;
            return rows.map(|bytes| rare::decode(&bytes.during(doing)?)).collect();
        }
        let doing = "read the extents of an entry";
        let columns = extents::COLUMNS;
        let sql = format!("SELECT {columns} FROM extents WHERE entry = ?1 AND volume = ?2 ORDER BY generation, offset");
        let placed = extents::collect(&self.db, &sql, params![id, volume], doing)?;
        Ok(placed.into_iter().map(|placed| Record::Extent(placed.extent)).collect())
    }
}

/// A cursor over what entries have on a volume beside their ENTRY records.
struct Beside<'j, 'r> {
    job: &'j Job,
    volume: u32,
    rows: rusqlite::Rows<'r>,
    /// Entry and kind it stands at.
    next: Option<(i64, i64)>,
}

impl Beside<'_, '_> {
    /// Goes on to what is next: each entry and kind once.
    fn advance(&mut self) -> Result<(), Error> {
        let doing = "read what is on a volume";
        let last = self.next.take();
        while let Some(row) = self.rows.next().during(doing)? {
            let at = (row.get(0).during(doing)?, row.get(1).during(doing)?);
            if last != Some(at) {
                self.next = Some(at);
                break;
            }
        }
        Ok(())
    }

    /// Hands over what there is of entries up to `id`, it included.
    fn up_to<E: From<Error>>(&mut self, id: i64, put: &mut impl FnMut(Record) -> Result<(), E>) -> Result<(), E> {
        while let Some((entry, what)) = self.next.filter(|(entry, _)| *entry <= id) {
            debug_assert!(what == RARE || what == EXTENTS);
            self.job.records_beside(self.volume, entry, what)?.into_iter().try_for_each(&mut *put)?;
            self.advance()?;
        }
        Ok(())
    }
}

/// The records that the `staged` row of an entry stands for, each with its volume and pack.
pub(super) fn staged_records(
    db: &Connection,
    caches: &Caches,
    entry: &Stored,
) -> Result<Vec<(u32, u32, Record)>, Error> {
    let Some(staged) = staged(db, to_db("entry id", entry.id)?)? else { return Ok(Vec::new()) };
    let mut records = Vec::new();
    if let Some(placed) = extents::own(entry, &staged) {
        records.push((staged.volume, staged.pack, Record::Extent(placed.extent)));
    }
    records.push((staged.volume, staged.pack, Record::Entry(entry_record(db, caches, entry, &staged)?)));
    Ok(records)
}

fn entry_record(
    db: &Connection,
    caches: &Caches,
    entry: &Stored,
    staged: &Staged,
) -> Result<crate::format::record::Entry, Error> {
    let path = paths::path_in(db, caches, entry.parent, &entry.name)?;
    let link_path = match entry.facts.entry_type {
        EntryType::HardLink => Some(paths::path(db, caches, to_db("entry id", entry.facts.link_id)?)?),
        _ => None,
    };
    Ok(entry.facts.to_record(entry.id, path, link_path, &staged.read))
}

fn pack_record(pack: &PackRow) -> Result<PackRecord, Error> {
    let close = pack.close.ok_or(Error::Conflict {
        what: "packs of a volume that is sealed",
        recorded: "all closed".into(),
        found: format!("pack {} is open", pack.state.number),
    })?;
    Ok(PackRecord {
        number: pack.state.number,
        frame_count: close.frame_count,
        file_bytes: close.file_bytes,
        crc64: close.crc64,
        commit_count: pack.state.commits,
        reason: close.reason,
        run: pack.state.run,
    })
}

/// Stored number of a footer's reason.
pub(super) fn reason_code(reason: FooterReason) -> u8 {
    match reason {
        FooterReason::Complete => 1,
        FooterReason::Cut => 2,
    }
}

/// The reason with that stored number.
pub(super) fn reason(code: i64) -> Result<FooterReason, Error> {
    match from_db::<u8>("reason of a footer", code)? {
        1 => Ok(FooterReason::Complete),
        2 => Ok(FooterReason::Cut),
        other => Err(Error::Corrupt { what: "reason of a footer", found: other.to_string() }),
    }
}
