//! Rows of `extents`, and the extents of one entry wherever they are kept.

use rusqlite::{Connection, Row, params};

use crate::digest::Crc64;
use crate::format::record::{Content, Extent, Piece, ShaStates};
use crate::job::commit::{self, Staged};
use crate::job::error::{During, array, from_db, to_db};
use crate::job::{Batch, Error, Job, Placed, Stored};

impl Job {
    /// Extents of an entry's current generation, by offset, from the byte `from` on; at most `limit` of them.
    ///
    /// # Errors
    /// When there is no such entry, or the database fails.
    pub fn extents(&self, id: u64, from: u64, limit: usize) -> Result<Vec<Placed>, Error> {
        let entry = self.entry(id)?.ok_or(Error::Unknown { what: "entry", number: id })?;
        let staged = commit::staged(&self.db, to_db("entry id", id)?)?;
        if let Some(extent) = staged.as_ref().and_then(|staged| own(&entry, staged)) {
            return Ok(if from == 0 { vec![extent] } else { Vec::new() });
        }
        let doing = "read the extents of an entry";
        let sql = format!(
            "SELECT {COLUMNS} FROM extents WHERE entry = ?1 AND generation = ?2 AND offset >= ?3 ORDER BY offset LIMIT ?4"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let row = params![to_db("entry id", id)?, entry.generation, to_db("offset", from)?, limit];
        collect(&self.db, &sql, row, doing)
    }
}

/// Extents that a query selects as [`COLUMNS`].
pub(super) fn collect(
    db: &Connection,
    sql: &str,
    row: impl rusqlite::Params,
    doing: &'static str,
) -> Result<Vec<Placed>, Error> {
    let mut query = db.prepare_cached(sql).during(doing)?;
    let mut found = query.query(row).during(doing)?;
    let mut extents = Vec::new();
    while let Some(row) = found.next().during(doing)? {
        extents.push(placed(row)?);
    }
    Ok(extents)
}

/// The only extent of an entry, when it shares the row of the entry.
pub(super) fn own(entry: &Stored, staged: &Staged) -> Option<Placed> {
    let (frame, at) = staged.piece?;
    let bytes = u32::try_from(entry.facts.size).ok()?; // one piece of one frame: far below 4 GiB
    let extent = Extent {
        id: entry.id,
        generation: staged.read.generation,
        offset: 0,
        length: entry.facts.size,
        crc64: staged.read.crc64,
        pack: staged.pack,
        states: None,
        content: Content::Stored(vec![Piece { frame, at, bytes }]),
    };
    Some(Placed { volume: staged.volume, extent })
}

/// Gives an extent a row. The same extent again changes nothing.
pub(super) fn put(batch: &mut Batch<'_>, placed: &Placed) -> Result<(), Error> {
    let doing = "record an extent";
    let extent = &placed.extent;
    let mut pieces = Vec::new();
    if let Content::Stored(stored) = &extent.content {
        for piece in stored {
            pieces.extend([piece.frame, piece.at, piece.bytes].iter().flat_map(|number| number.to_le_bytes()));
        }
    }
    let row = params![
        to_db("entry id", extent.id)?,
        extent.generation,
        to_db("offset", extent.offset)?,
        to_db("length", extent.length)?,
        placed.volume,
        extent.pack,
        extent.crc64.0.cast_signed(),
        pieces,
        extent.states.map(|states| states.start),
        extent.states.map(|states| states.end),
    ];
    let sql = "INSERT OR IGNORE INTO extents VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    if batch.db.prepare_cached(sql).during(doing)?.execute(row).during(doing)? == 0 {
        let sql = "SELECT volume, pack FROM extents WHERE (entry, generation, offset) = (?1, ?2, ?3)";
        let key = params![to_db("entry id", extent.id)?, extent.generation, to_db("offset", extent.offset)?];
        let there: (u32, u32) = batch.db.query_row(sql, key, |row| Ok((row.get(0)?, row.get(1)?))).during(doing)?;
        if there != (placed.volume, extent.pack) {
            let (recorded, found) = (format!("{there:?}"), format!("{:?}", (placed.volume, extent.pack)));
            return Err(Error::Conflict { what: "volume and pack of an extent", recorded, found });
        }
    }
    batch.touched.insert(extent.id);
    Ok(())
}

/// Columns that [`placed`] reads, in its order.
pub(super) const COLUMNS: &str = "entry, generation, offset, length, volume, pack, crc64, pieces, sha_start, sha_end";

/// A row of [`COLUMNS`].
fn placed(row: &Row<'_>) -> Result<Placed, Error> {
    let doing = "read an extent";
    let get = |column: usize| row.get::<_, i64>(column).during(doing);
    let sha = |column: usize| row.get::<_, Option<Vec<u8>>>(column).during(doing);
    let states = match (sha(8)?, sha(9)?) {
        (Some(start), Some(end)) => {
            Some(ShaStates { start: array("sha_start", &start)?, end: array("sha_end", &end)? })
        }
        _ => None,
    };
    let bytes: Vec<u8> = row.get(7).during(doing)?;
    let pieces: Vec<Piece> = bytes
        .as_chunks::<12>()
        .0
        .iter()
        .map(|piece| {
            let number = |at: usize| u32::from_le_bytes([piece[at], piece[at + 1], piece[at + 2], piece[at + 3]]);
            Piece { frame: number(0), at: number(4), bytes: number(8) }
        })
        .collect();
    let extent = Extent {
        id: from_db("entry of an extent", get(0)?)?,
        generation: from_db("generation of an extent", get(1)?)?,
        offset: from_db("offset of an extent", get(2)?)?,
        length: from_db("length of an extent", get(3)?)?,
        crc64: Crc64(get(6)?.cast_unsigned()),
        pack: from_db("pack of an extent", get(5)?)?,
        states,
        content: if pieces.is_empty() { Content::Hole } else { Content::Stored(pieces) },
    };
    Ok(Placed { volume: from_db("volume of an extent", get(4)?)?, extent })
}
