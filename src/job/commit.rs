//! What a commit on a volume means for the job: extents are placed, entries become staged.

use rusqlite::{Connection, OptionalExtension, params};

use jiff::Timestamp;

use crate::digest::Crc64;
use crate::format::RunId;
use crate::format::record::{Content, Entry, EntryState, EntryType, Extent, Piece, Record};
use crate::job::error::{During, to_db};
use crate::job::{
    Batch, Count, Error, Facts, Job, Placed, Read, State, Stored, export, extents, inventory, rare, rows,
};

/// A pack after one more commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackState {
    /// Its number on the volume.
    pub number: u32,
    /// The run that writes it.
    pub run: RunId,
    /// Offset after the commit and its padding. Unit: bytes.
    pub committed_bytes: u64,
    /// Index of the next frame.
    pub frames_next: u32,
    /// Commits so far.
    pub commits: u32,
    /// Chain after the last commit.
    pub chain: [u8; 32],
    /// CRC-64 of the committed bytes.
    pub crc64: Crc64,
    /// Plain bytes of all data frames so far.
    pub data_plain_bytes: u64,
    /// Records in all entries frames so far.
    pub records: u64,
}

/// What a commit made complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Committed {
    /// Entries that became staged by it, and their bytes.
    pub staged: Count,
}

impl Job {
    /// Takes note of one commit on a volume, durably: call it when the commit was synced, and before the next one of this
    /// volume is written (pack.md section 6). `records` are all records of the commit group, as they are in the pack.
    ///
    /// # Errors
    /// When volume or an entry is unknown, the pack did not come to this by one commit, or the database fails; then
    /// nothing was recorded.
    pub fn record_commit<'r>(
        &mut self,
        volume: u32,
        pack: &PackState,
        records: impl IntoIterator<Item = &'r Record>,
        at: Timestamp,
    ) -> Result<Committed, Error> {
        self.batch_durable(|batch| {
            batch.advance_pack(volume, pack, at)?;
            for record in records {
                apply(batch, (volume, pack.number), record)?;
            }
            settle(batch)?; // before the count is taken
            Ok(Committed { staged: batch.completed })
        })
    }
}

/// What one record, committed in a pack, means.
pub(super) fn apply(batch: &mut Batch<'_>, place: (u32, u32), record: &Record) -> Result<(), Error> {
    match record {
        Record::Entry(entry) => apply_entry(batch, place, entry),
        Record::Begin(begin) => {
            raise(batch, begin.id, begin.generation)?;
            rare::insert(batch, begin.id, begin.generation, Some(place), record)
        }
        Record::Extent(extent) => apply_extent(batch, place, extent),
        Record::Problem(problem) => {
            let old = if problem.id == 0 { None } else { Some(batch.stored(problem.id)?) };
            if let Some(old) = old.as_ref().filter(|old| old.state == State::Pending) {
                inventory::set_state(batch, old, State::Problem)?;
            }
            rare::insert(batch, problem.id, old.map_or(0, |old| old.generation), Some(place), record)
        }
        Record::Deleted(deleted) => {
            let old = batch.stored(deleted.id)?;
            if deleted.generation >= old.generation {
                inventory::supersede(batch, &old)?;
                inventory::update(batch, &old, State::Deleted, deleted.generation, &old.facts)?;
            }
            rare::insert(batch, deleted.id, deleted.generation, Some(place), record)
        }
        other => Err(Error::Conflict {
            what: "kind of a committed record",
            recorded: "none of its kind".into(),
            found: format!("{other:?}"),
        }),
    }
}

/// A reading of a higher generation has begun: what was staged of the lower one no longer counts.
fn raise(batch: &mut Batch<'_>, id: u64, generation: u32) -> Result<Stored, Error> {
    let old = batch.stored(id)?;
    if generation <= old.generation {
        return Ok(old);
    }
    inventory::supersede(batch, &old)?;
    inventory::update(batch, &old, State::Pending, generation, &old.facts)?;
    Ok(Stored { state: State::Pending, generation, ..old })
}

fn apply_extent(batch: &mut Batch<'_>, place: (u32, u32), extent: &Extent) -> Result<(), Error> {
    let pack = match extent.content {
        Content::Hole => 0,
        Content::Stored(_) if extent.pack != 0 => extent.pack, // from a `MANIFEST`
        Content::Stored(_) => place.1,
    };
    let is_small = extent.states.is_none() && matches!(&extent.content, Content::Stored(pieces) if pieces.len() == 1);
    let placed = Placed { volume: place.0, extent: Extent { pack, ..extent.clone() } };
    if is_small {
        return batch.held.insert(extent.id, placed).map_or(Ok(()), |earlier| keep(batch, &earlier));
    }
    keep(batch, &placed)
}

/// Gives an extent a row of its own.
fn keep(batch: &mut Batch<'_>, placed: &Placed) -> Result<(), Error> {
    let id = placed.extent.id;
    // Recovery may meet the extents of an entry whose own record is lost, or comes later.
    if !batch.is_importing || rows::load(batch.db, batch.caches, to_db("entry id", id)?)?.is_some() {
        raise(batch, id, placed.extent.generation)?;
    }
    extents::put(batch, placed)
}

fn apply_entry(batch: &mut Batch<'_>, place: (u32, u32), entry: &Entry) -> Result<(), Error> {
    let old = raise(batch, entry.id, entry.generation)?;
    if entry.generation < old.generation {
        return apply_again(batch, place, entry, &old);
    }
    let piece = own_piece(batch, place, entry);
    let home = piece.map_or(place, |(pack, _)| (place.0, pack));
    let piece = piece.map(|(_, piece)| piece);
    if !insert_staged(batch, home, entry, piece)? {
        return apply_again(batch, place, entry, &old);
    }
    if piece.is_some() {
        batch.held.remove(&entry.id); // it shares the row now
    }
    let facts = Facts::of_record(entry).with_inode_of(&old.facts);
    let is_whole = piece.is_some() || entry.entry_type != EntryType::File || entry.size == 0;
    let is_as_known = facts == old.facts && !old.state.is_deleted() && old.state != State::Implied;
    match (is_as_known, is_whole) {
        (true, true) => complete(batch, &old, entry.state)?,
        // One change of the row, not two: for small files this is most of what the database does.
        (false, true) => {
            let state = if entry.state == EntryState::Changed { State::Changed } else { State::Staged };
            let bytes = facts.size;
            inventory::update(batch, &old, state, entry.generation, &facts)?;
            batch.completed = batch.completed + Count { entries: 1, bytes };
        }
        (_, false) => {
            if !is_as_known {
                inventory::update(batch, &old, State::Pending, entry.generation, &facts)?;
            }
            batch.touched.insert(entry.id);
        }
    }
    Ok(())
}

/// A superseded reading, or the present one recorded once more.
fn apply_again(batch: &mut Batch<'_>, place: (u32, u32), entry: &Entry, old: &Stored) -> Result<(), Error> {
    if entry.generation == old.generation {
        let records = export::staged_records(batch.db, batch.caches, old)?;
        let known = records.iter().find_map(|(volume, _, record)| match record {
            Record::Entry(known) => Some((*volume, known)),
            _ => None,
        });
        if let Some((_, known)) = known.filter(|(_, known)| *known != entry) {
            let (recorded, found) = (format!("{known:?}"), format!("{entry:?}"));
            return Err(Error::Conflict { what: "ENTRY of one generation", recorded, found });
        }
        if known.is_some_and(|(volume, _)| volume == place.0) {
            return Ok(());
        }
    }
    rare::insert(batch, entry.id, entry.generation, Some(place), &Record::Entry(entry.clone()))
}

/// The held extent that is the whole content of `entry`, if there is one, and says which pack it is in. `place`
/// has pack 0 when the record comes from a `MANIFEST`, which does not say.
fn own_piece(batch: &Batch<'_>, place: (u32, u32), entry: &Entry) -> Option<(u32, Piece)> {
    let placed = batch.held.get(&entry.id)?;
    let Content::Stored(pieces) = &placed.extent.content else { return None };
    let [piece] = pieces.as_slice() else { return None };
    let extent = &placed.extent;
    let is_whole = (extent.generation, extent.offset, extent.length) == (entry.generation, 0, entry.size);
    let is_here = placed.volume == place.0 && (place.1 == 0 || extent.pack == place.1);
    let is_same = extent.crc64 == entry.crc64 && entry.extent_count == 1;
    let found = (extent.pack, *piece);
    (is_whole && is_here && is_same).then_some(found)
}

/// Makes the row of an entry in `staged`; `false` if there is one.
fn insert_staged(batch: &mut Batch<'_>, place: (u32, u32), entry: &Entry, piece: Option<Piece>) -> Result<bool, Error> {
    let doing = "record an entry as staged";
    let is_file = entry.entry_type == EntryType::File;
    let row = params![
        to_db("entry id", entry.id)?,
        entry.generation,
        place.0,
        place.1,
        entry.state == EntryState::Changed,
        entry.extent_count,
        is_file.then(|| entry.crc64.0.cast_signed()),
        is_file.then_some(entry.sha256),
        piece.map(|piece| piece.frame),
        piece.map(|piece| piece.at),
    ];
    let sql = "INSERT OR IGNORE INTO staged VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    batch.db.prepare_cached(sql).during(doing)?.execute(row).map(|rows| rows > 0).during(doing)
}

fn complete(batch: &mut Batch<'_>, old: &Stored, read: EntryState) -> Result<(), Error> {
    let state = if read == EntryState::Changed { State::Changed } else { State::Staged };
    if old.state != state {
        inventory::set_state(batch, old, state)?;
    }
    batch.completed = batch.completed + Count { entries: 1, bytes: old.facts.size };
    Ok(())
}

/// Ends a batch: extents that no ENTRY claimed get rows of their own, and entries whose last extent came become staged.
pub(super) fn settle(batch: &mut Batch<'_>) -> Result<(), Error> {
    for placed in std::mem::take(&mut batch.held).into_values() {
        keep(batch, &placed)?;
    }
    let doing = "see whether an entry is complete";
    let sql = "SELECT s.changed, s.extents, s.generation, count(x.offset), coalesce(sum(x.length), 0) FROM staged AS s \
               LEFT JOIN extents AS x ON x.entry = s.id AND x.generation = s.generation WHERE s.id = ?1 GROUP BY s.id";
    for id in std::mem::take(&mut batch.touched) {
        let Some(old) = rows::load(batch.db, batch.caches, to_db("entry id", id)?)? else {
            continue; // recovery may meet the extents of an entry whose record is lost
        };
        let mut query = batch.db.prepare_cached(sql).during(doing)?;
        let found = query
            .query_row([to_db("entry id", id)?], |row| {
                Ok((
                    row.get::<_, bool>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, u32>(2)?,
                    row.get::<_, i64>(3)?,
                    row.get::<_, i64>(4)?,
                ))
            })
            .optional()
            .during(doing)?;
        let Some((changed, extents, generation, count, bytes)) = found else { continue };
        let is_whole = count == extents && bytes == to_db("size of a file", old.facts.size)?;
        if is_whole && generation == old.generation && !old.state.is_staged() {
            complete(batch, &old, if changed { EntryState::Changed } else { EntryState::Stable })?;
        }
    }
    Ok(())
}

/// Reads one `staged` row: where, and what was read.
pub(super) fn staged(db: &Connection, id: i64) -> Result<Option<Staged>, Error> {
    let doing = "read what was staged";
    let mut query = db.prepare_cached(&format!("SELECT {STAGED} FROM staged AS s WHERE id = ?1")).during(doing)?;
    let found = query.query_row([id], |row| Ok(Staged::from_row(row, 0))).optional().during(doing)?;
    found.transpose()
}

/// Columns that [`Staged::from_row`] reads, of the table `s`.
pub(super) const STAGED: &str =
    "s.generation, s.volume, s.pack, s.changed, s.extents, s.crc64, s.sha256, s.frame, s.at";

/// One row of `staged`.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    pub(super) volume: u32,
    pub(super) pack: u32,
    pub(super) read: Read,
    /// Frame and place in it, when the only extent has no row of its own.
    pub(super) piece: Option<(u32, u32)>,
}

impl Staged {
    /// From the columns of [`STAGED`], the first at `first`.
    pub(super) fn from_row(row: &rusqlite::Row<'_>, first: usize) -> Result<Self, Error> {
        let doing = "read what was staged";
        let get = |column: usize| row.get::<_, u32>(first + column).during(doing);
        let crc64: Option<i64> = row.get(first + 5).during(doing)?;
        let sha256: Option<[u8; 32]> = row.get(first + 6).during(doing)?;
        let frame: Option<u32> = row.get(first + 7).during(doing)?;
        let at: Option<u32> = row.get(first + 8).during(doing)?;
        let state = if get(3)? == 0 { EntryState::Stable } else { EntryState::Changed };
        let read = Read {
            generation: get(0)?,
            state,
            extent_count: get(4)?,
            crc64: Crc64(crc64.unwrap_or_default().cast_unsigned()),
            sha256: sha256.unwrap_or_default(),
        };
        Ok(Self { volume: get(1)?, pack: get(2)?, read, piece: frame.zip(at) })
    }
}
