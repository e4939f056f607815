//! Taking back what the job believes of a volume, before the volume itself is asked; and taking back single extents that
//! a volume has lost.

use rusqlite::params;

use crate::format::record::{Content, Extent, Record};
use crate::job::error::{During, from_db, to_db};
use crate::job::{Batch, Error, State, extents, inventory, rare};

/// Entries looked at in one go. Unit: rows.
const AT_ONCE: i64 = 4096;

/// Which entries have anything on a volume, by id; as in the export, nothing is sorted for it.
const WHICH: &str = "SELECT id FROM staged WHERE volume = ?1 AND id > ?2 \
                     UNION ALL SELECT entry FROM extents WHERE volume = ?1 AND entry > ?2 \
                     UNION ALL SELECT entry FROM rare WHERE volume = ?1 AND entry > ?2 \
                     ORDER BY 1 LIMIT ?3";

impl Batch<'_> {
    /// Takes back everything that rests on one volume: its packs, and what was staged, begun, deleted or a problem by
    /// records on it. Entries that rested on it are pending until an import finds them again; what other volumes hold
    /// stays, and so does the volume's own row.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_volume(&mut self, volume: u32) -> Result<(), Error> {
        self.is_importing = true;
        let doing = "take back what is known of a volume";
        let mut after = 0_i64;
        loop {
            let mut query = self.db.prepare_cached(WHICH).during(doing)?;
            let ids = query.query_map(params![volume, after, AT_ONCE], |row| row.get::<_, i64>(0)).during(doing)?;
            let mut ids: Vec<i64> = ids.collect::<Result<_, _>>().during(doing)?;
            ids.dedup();
            let Some(last) = ids.last() else { break };
            after = *last;
            for id in ids {
                self.forget_entry(volume, from_db("entry id", id)?)?;
            }
        }
        for table in ["extents", "rare", "packs"] {
            self.db.execute(&format!("DELETE FROM {table} WHERE volume = ?1"), [volume]).during(doing)?;
        }
        let sql = "UPDATE volumes SET sealed_ns = NULL, read_back = NULL, sums_sha256 = NULL, file_bytes = 0 WHERE number = ?1";
        self.db.execute(sql, [volume]).during(doing)?;
        Ok(())
    }

    fn forget_entry(&mut self, volume: u32, id: u64) -> Result<(), Error> {
        let doing = "take back what is known of an entry";
        let key = to_db("entry id", id)?;
        self.db
            .prepare_cached("DELETE FROM staged WHERE id = ?1 AND volume = ?2")
            .during(doing)?
            .execute(params![key, volume])
            .during(doing)?;
        let old = self.stored(id)?;
        let state = match old.state {
            State::Staged | State::Changed => State::Pending,
            State::Problem if self.rests_on(volume, key, rare::PROBLEM)? => State::Pending,
            State::Deleted if self.rests_on(volume, key, rare::DELETED)? => State::Gone,
            _ => return Ok(()),
        };
        inventory::set_state(self, &old, state)
    }

    fn rests_on(&self, volume: u32, id: i64, kind: i64) -> Result<bool, Error> {
        let doing = "see what an entry rests on";
        let sql = "SELECT EXISTS (SELECT 1 FROM rare WHERE entry = ?1 AND kind = ?2 AND volume = ?3)";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        query.query_row(params![id, kind, volume], |row| row.get(0)).during(doing)
    }

    /// Takes note that a volume has lost bytes of the present reading of a file: those extents are to be staged again, on
    /// another volume, and no others. What the lost volume's own manifest says stays on record. An entry whose only extent is
    /// lost is read anew. Gives whether anything of the file is due now: an extent that another volume holds, or of an
    /// earlier reading, is no loss.
    ///
    /// # Errors
    /// When there is no such entry, or the database fails.
    pub fn lose_extent(&mut self, volume: u32, id: u64, generation: u32, offset: u64) -> Result<bool, Error> {
        let old = self.stored(id)?;
        if generation != old.generation || !(old.state.is_staged() || old.state == State::Pending) {
            return Ok(false);
        }
        let key = to_db("entry id", id)?;
        let staged = super::commit::staged(self.db, key)?;
        if let Some(own) = staged.as_ref().and_then(|staged| extents::own(&old, staged)) {
            if own.volume != volume || offset != 0 {
                return Ok(false);
            }
            self.change(id, &old.facts)?; // a new reading: its record is written anew as a whole
            return Ok(true);
        }
        let doing = "take back an extent";
        let sql = format!(
            "SELECT {} FROM extents WHERE entry = ?1 AND generation = ?2 AND offset = ?3 AND volume = ?4",
            extents::COLUMNS
        );
        let row = params![key, generation, to_db("offset", offset)?, volume];
        let Some(lost) = extents::collect(self.db, &sql, row, doing)?.pop() else { return Ok(false) };
        let Extent { pack, states, .. } = lost.extent;
        if states.is_none() {
            self.change(id, &old.facts)?;
            return Ok(true);
        }
        rare::insert(self, id, generation, Some((volume, pack)), &Record::Extent(lost.extent))?;
        let sql = "DELETE FROM extents WHERE entry = ?1 AND generation = ?2 AND offset = ?3";
        self.db.execute(sql, params![key, generation, to_db("offset", offset)?]).during(doing)?;
        if old.state.is_staged() {
            inventory::set_state(self, &old, State::Pending)?;
        }
        Ok(true)
    }

    /// Takes back an ENTRY record that a volume has lost. A file of several extents keeps those, and gets its record
    /// written again; anything else is read anew. Gives whether the record rested on that volume.
    ///
    /// # Errors
    /// When the database fails.
    pub fn lose_entry(&mut self, volume: u32, id: u64) -> Result<bool, Error> {
        let key = to_db("entry id", id)?;
        let Some(staged) = super::commit::staged(self.db, key)?.filter(|staged| staged.volume == volume) else {
            return Ok(false);
        };
        let old = self.stored(id)?;
        let has_states = {
            let doing = "see how a file is recorded";
            let sql =
                "SELECT EXISTS (SELECT 1 FROM extents WHERE entry = ?1 AND generation = ?2 AND sha_start IS NOT NULL)";
            self.db.query_row(sql, params![key, old.generation], |row| row.get::<_, bool>(0)).during(doing)?
        };
        if staged.piece.is_some() || !has_states {
            self.change(id, &old.facts)?;
            return Ok(true);
        }
        for (volume, pack, record) in super::export::staged_records(self.db, self.caches, &old)? {
            rare::insert(self, id, old.generation, Some((volume, pack)), &record)?;
        }
        self.db.execute("DELETE FROM staged WHERE id = ?1", [key]).during("take back an entry")?;
        if old.state.is_staged() {
            inventory::set_state(self, &old, State::Pending)?;
        }
        Ok(true)
    }

    /// Leaves a wide gap in the numbers of entries, so that what is added from now on cannot have the number of an entry
    /// that stands only on a volume nobody brought.
    ///
    /// # Errors
    /// When the database fails.
    pub fn skip_ids(&mut self) -> Result<(), Error> {
        /// Entries that volumes which are not here may hold. Unit: ids.
        const GAP: i64 = 1 << 32;
        let doing = "leave a gap in the numbers of entries";
        let highest: Option<i64> =
            self.db.query_row("SELECT max(id) FROM entries", [], |row| row.get(0)).during(doing)?;
        let next = highest.unwrap_or(0).max(0).checked_add(GAP);
        let next = next.ok_or(Error::Range { what: "entry id", value: u64::MAX })?;
        // SQLite numbers a new row one above the highest there is. No stored path has a zero byte, so nothing finds this one.
        let name = [b"\0ids below are taken ".as_slice(), next.to_string().as_bytes()].concat();
        let facts = super::paths::implied();
        inventory::insert(self, Some(next), 0, &name, State::Implied, 1, &facts).map(drop)
    }

    /// The highest number of an entry.
    ///
    /// # Errors
    /// When the database fails.
    pub fn highest_id(&self) -> Result<u64, Error> {
        let doing = "read the highest number of an entry";
        let highest: Option<i64> =
            self.db.query_row("SELECT max(id) FROM entries", [], |row| row.get(0)).during(doing)?;
        from_db("entry id", highest.unwrap_or(0).max(0))
    }
}

/// What damage to a pack costs: what is due again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Due {
    /// Extents that are to be staged again.
    pub extents: u64,
    /// Entries that are pending because of it.
    pub entries: u64,
}

/// An extent in a pack: entry, generation, offset, frames.
type InPack = (u64, u32, u64, Vec<u32>);

impl Batch<'_> {
    /// Takes note that frames of a pack are lost: extents with a piece in one of them are due again, and no others. Frames
    /// that no extent names held records; which ones, nobody can tell without a key, so then everything in the pack is due.
    /// `lost` are first indexes and first indexes after; `frames_next` is how many frames were written before the footer.
    ///
    /// # Errors
    /// When the database fails.
    pub fn lose_frames(&mut self, volume: u32, pack: u32, lost: &[(u32, u32)], frames_next: u32) -> Result<Due, Error> {
        let small = self.small_in(volume, pack)?;
        let large = self.extents_in(volume, pack)?;
        let is_lost = |frame: u32| lost.iter().any(|(from, to)| (*from..*to).contains(&frame));
        let mut named: std::collections::HashSet<u32> = small.iter().filter_map(|(_, frame)| *frame).collect();
        named.extend(large.iter().flat_map(|(.., frames)| frames));
        named.extend(self.superseded_frames(volume, pack)?);
        let all_lost = lost.iter().flat_map(|(from, to)| *from..(*to).min(frames_next));
        let records_are_lost = all_lost.into_iter().any(|frame| !named.contains(&frame));
        // Which pack a hole is recorded in is not kept: where records are lost, any of the volume's may be among them.
        let holes = if records_are_lost { self.extents_in(volume, 0)? } else { Vec::new() };
        let mut due = Due::default();
        let mut entries = std::collections::BTreeSet::new();
        for (id, generation, offset, frames) in large.into_iter().chain(holes) {
            if (records_are_lost || frames.iter().any(|frame| is_lost(*frame)))
                && self.lose_extent(volume, id, generation, offset)?
            {
                due.extents += 1;
                entries.insert(id);
            }
        }
        for (id, frame) in small {
            if frame.is_some_and(is_lost) && self.lose_entry(volume, id)? {
                due.extents += 1;
                entries.insert(id);
            } else if records_are_lost && self.lose_entry(volume, id)? {
                entries.insert(id);
            }
        }
        due.entries = entries.len() as u64;
        Ok(due)
    }

    /// Takes note that a whole volume is lost: everything in its packs is due again, and so are the deletions it recorded.
    ///
    /// # Errors
    /// When the database fails.
    pub fn lose_volume(&mut self, volume: u32) -> Result<Due, Error> {
        let mut due = Due::default();
        for pack in self.packs_of(volume)? {
            let more = self.lose_frames(volume, pack, &[(0, u32::MAX)], u32::MAX)?;
            due = Due { extents: due.extents + more.extents, entries: due.entries + more.entries };
        }
        let doing = "take back what a volume said of deletions";
        let ids: Vec<i64> = {
            let sql = "SELECT entry FROM rare WHERE kind = ?1 AND volume = ?2";
            let mut query = self.db.prepare_cached(sql).during(doing)?;
            let rows = query.query_map(params![rare::DELETED, volume], |row| row.get(0)).during(doing)?;
            rows.collect::<Result<_, _>>().during(doing)?
        };
        for id in ids {
            let old = self.stored(from_db("entry id", id)?)?;
            if old.state == State::Deleted {
                inventory::set_state(self, &old, State::Gone)?;
                due.entries += 1;
            }
        }
        let sql = "DELETE FROM rare WHERE kind = ?1 AND volume = ?2";
        self.db.execute(sql, params![rare::DELETED, volume]).during(doing)?;
        Ok(due)
    }

    fn packs_of(&self, volume: u32) -> Result<Vec<u32>, Error> {
        let doing = "read the packs of a volume";
        let mut query =
            self.db.prepare_cached("SELECT number FROM packs WHERE volume = ?1 ORDER BY number").during(doing)?;
        let rows = query.query_map([volume], |row| row.get(0)).during(doing)?;
        rows.collect::<Result<_, _>>().during(doing)
    }

    /// Entries whose record is in a pack, each with the frame of its only extent where that shares the row.
    fn small_in(&self, volume: u32, pack: u32) -> Result<Vec<(u64, Option<u32>)>, Error> {
        let doing = "read what is in a pack";
        let mut query =
            self.db.prepare_cached("SELECT id, frame FROM staged WHERE volume = ?1 AND pack = ?2").during(doing)?;
        let rows = query.query_map([volume, pack], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?))).during(doing)?;
        rows.map(|row| {
            let (id, frame) = row.during(doing)?;
            Ok((from_db("entry id", id)?, frame))
        })
        .collect()
    }

    /// Frames in a pack that extents of earlier readings, or extents that were staged again, lie in.
    fn superseded_frames(&self, volume: u32, pack: u32) -> Result<Vec<u32>, Error> {
        let doing = "read what was in a pack";
        let sql = "SELECT record FROM rare WHERE volume = ?1 AND pack = ?2 AND kind = ?3";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        let rows =
            query.query_map(params![volume, pack, rare::EXTENT], |row| row.get::<_, Vec<u8>>(0)).during(doing)?;
        let mut frames = Vec::new();
        for bytes in rows {
            if let Record::Extent(extent) = rare::decode(&bytes.during(doing)?)? {
                frames.extend(frames_of(&extent));
            }
        }
        Ok(frames)
    }

    /// Extents in a pack: entry, generation, offset, frames.
    fn extents_in(&self, volume: u32, pack: u32) -> Result<Vec<InPack>, Error> {
        let sql = format!("SELECT {} FROM extents WHERE volume = ?1 AND pack = ?2", extents::COLUMNS);
        let placed = extents::collect(self.db, &sql, [volume, pack], "read the extents of a pack")?;
        let extents = placed.iter().map(|placed| &placed.extent);
        Ok(extents.map(|extent| (extent.id, extent.generation, extent.offset, frames_of(extent))).collect())
    }
}

fn frames_of(extent: &Extent) -> Vec<u32> {
    match &extent.content {
        Content::Hole => Vec::new(),
        Content::Stored(pieces) => pieces.iter().map(|piece| piece.frame).collect(),
    }
}
