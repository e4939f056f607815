//! What became of each entry in S3: objects, uploads, parts.
//!
//! An entry without a row here was not begun. The order of writes is the caller's, and it matters: an upload id is
//! recorded, durably, before its first part is sent, and a part when the server took it; so a killed run never
//! forgets an upload that costs money, nor sends a finished part again.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::digest::Crc64;
use crate::job::error::{During, from_db, to_db};
use crate::job::rows::{at_ns, timestamp};
use crate::job::{Batch, Count, Error, Job, State};

/// How far an object got. Codes below 10 are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectState {
    /// An upload is open.
    Uploading,
    /// It failed for good in the last run; the reason is on record.
    Failed,
    /// The server has it, and said nothing about its content.
    Arrived,
    /// The server compared it with the checksum taken at the source.
    Confirmed,
    /// It was read back from the server and is equal.
    ReadBack,
}

impl ObjectState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Uploading, Self::Failed, Self::Arrived, Self::Confirmed, Self::ReadBack];

    fn code(self) -> i64 {
        match self {
            Self::Uploading => 2,
            Self::Failed => 3,
            Self::Arrived => 10,
            Self::Confirmed => 11,
            Self::ReadBack => 12,
        }
    }

    fn from_code(code: i64) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|state| state.code() == code);
        found.ok_or_else(|| Error::Corrupt { what: "state of an object", found: code.to_string() })
    }
}

/// How well it is proved that the content of an entry is where it should be; in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// The path was seen.
    Seen,
    /// Committed on volumes.
    Staged,
    /// The volume it is on was read back from the medium.
    ReadBackFromVolume,
    /// The server has it.
    Arrived,
    /// The server compared it with the checksum taken at the source.
    Confirmed,
    /// It was read back from the server.
    ReadBackFromS3,
}

impl Evidence {
    /// All grades, lowest first.
    pub const ALL: [Self; 6] =
        [Self::Seen, Self::Staged, Self::ReadBackFromVolume, Self::Arrived, Self::Confirmed, Self::ReadBackFromS3];

    /// The grade's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Staged => "staged",
            Self::ReadBackFromVolume => "read back",
            Self::Arrived => "arrived",
            Self::Confirmed => "confirmed by the server",
            Self::ReadBackFromS3 => "read back from S3",
        }
    }

    /// The grade of an entry: of its object if that arrived in the entry's present generation, else of its volumes.
    pub fn of(state: State, is_read_back: bool, object: Option<ObjectState>) -> Self {
        match object {
            Some(ObjectState::ReadBack) => Self::ReadBackFromS3,
            Some(ObjectState::Confirmed) => Self::Confirmed,
            Some(ObjectState::Arrived) => Self::Arrived,
            _ if !state.is_staged() => Self::Seen,
            _ if is_read_back => Self::ReadBackFromVolume,
            _ => Self::Staged,
        }
    }
}

/// One entry on its way into S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The entry.
    pub entry: u64,
    /// Which reading of it.
    pub generation: u32,
    /// How far it got.
    pub state: ObjectState,
    /// Its key; `None`: the entry's path under the prefix of the ingest.
    pub key: Option<Vec<u8>>,
    /// The open upload.
    pub upload_id: Option<String>,
    /// Part size of that upload. Unit: bytes.
    pub part_bytes: Option<u64>,
    /// As the server gave it.
    pub etag: Option<String>,
    /// As the server gave it.
    pub version_id: Option<String>,
    /// CRC-64/NVME of the whole object, as the server gave it.
    pub crc64: Option<Crc64>,
    /// Attempts so far.
    pub attempts: u32,
    /// Why it failed.
    pub error: Option<String>,
    /// When this became so.
    pub changed: Timestamp,
}

/// One part that the server took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 1.
    pub number: u32,
    /// Its length.
    pub bytes: u64,
    /// CRC-64/NVME of it.
    pub crc64: Crc64,
    /// As the server gave it.
    pub etag: String,
}

/// Columns that [`object`] reads, in its order.
pub(super) const OBJECT: &str =
    "entry, generation, state, key, upload_id, part_bytes, etag, version_id, crc64, attempts, error, changed_ns";

impl Job {
    /// What is known of an entry's object.
    ///
    /// # Errors
    /// When the database fails.
    pub fn object(&self, entry: u64) -> Result<Option<Object>, Error> {
        load(&self.db, entry)
    }

    /// Objects with an open upload, or failed ones, by id, after `after`; at most `limit` of them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn open_objects(&self, state: ObjectState, after: u64, limit: usize) -> Result<Vec<Object>, Error> {
        let doing = "read the open objects";
        let sql = format!(
            "SELECT {OBJECT} FROM objects INDEXED BY objects_open WHERE state < 10 AND state = ?1 AND entry > ?2 ORDER BY entry LIMIT ?3"
        );
        let mut query = self.db.prepare_cached(&sql).during(doing)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut found = query.query(params![state.code(), to_db("entry id", after)?, limit]).during(doing)?;
        let mut objects = Vec::new();
        while let Some(row) = found.next().during(doing)? {
            objects.push(object(row, 0)?);
        }
        Ok(objects)
    }

    /// Parts of an entry's upload that the server took, by number.
    ///
    /// # Errors
    /// When the database fails.
    pub fn parts(&self, entry: u64) -> Result<Vec<Part>, Error> {
        let doing = "read the parts of an upload";
        let sql = "SELECT number, bytes, crc64, etag FROM parts WHERE entry = ?1 ORDER BY number";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        let rows = query
            .query_map([to_db("entry id", entry)?], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?, row.get(3)?))
            })
            .during(doing)?;
        rows.map(|row| {
            let (number, bytes, crc64, etag) = row.during(doing)?;
            Ok(Part { number, bytes: from_db("length of a part", bytes)?, crc64: Crc64(crc64.cast_unsigned()), etag })
        })
        .collect()
    }

    /// Objects of present generations, per state. Its cost does not depend on their number.
    ///
    /// # Errors
    /// When the database fails.
    pub fn object_ledger(&self) -> Result<Vec<(ObjectState, Count)>, Error> {
        let doing = "read the ledger of objects";
        let sql = "SELECT state, entries, bytes FROM object_tally WHERE entries <> 0 ORDER BY state";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).during(doing)?;
        rows.map(|row| {
            let (state, entries, bytes): (i64, i64, i64) = row.during(doing)?;
            let count = Count { entries: from_db("count", entries)?, bytes: from_db("count", bytes)? };
            Ok((ObjectState::from_code(state)?, count))
        })
        .collect()
    }

    /// Records a part that the server took, durably.
    ///
    /// # Errors
    /// When no upload of the entry is on record, or the database fails.
    pub fn record_part(&mut self, entry: u64, part: &Part) -> Result<(), Error> {
        self.batch_durable(|batch| batch.put_part(entry, part))
    }
}

impl Batch<'_> {
    /// Records that an upload was begun; parts of an earlier upload of the entry are forgotten.
    ///
    /// # Errors
    /// When the object names no upload, or the database fails.
    pub fn begin_upload(&mut self, object: &Object) -> Result<(), Error> {
        self.forget_parts(object.entry)?;
        self.put_object(object)
    }

    /// Records how far an object got, replacing what was known.
    ///
    /// # Errors
    /// When there is no such entry, or the database fails.
    pub fn put_object(&mut self, object: &Object) -> Result<(), Error> {
        let doing = "record an object";
        let entry = self.stored(object.entry)?;
        let is_current = object.generation == entry.generation;
        let bytes = to_db("size of a file", entry.facts.size)?;
        uncount(self, to_db("entry id", object.entry)?)?;
        let row = params![
            to_db("entry id", object.entry)?,
            object.generation,
            object.state.code(),
            object.key,
            object.upload_id,
            object.part_bytes.map(|bytes| to_db("part size", bytes)).transpose()?,
            object.etag,
            object.version_id,
            object.crc64.map(|crc64| crc64.0.cast_signed()),
            object.attempts,
            object.error,
            at_ns(object.changed)?,
            is_current.then_some(bytes),
        ];
        let sql = format!(
            "INSERT OR REPLACE INTO objects ({OBJECT}, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
        );
        self.db.prepare_cached(&sql).during(doing)?.execute(row).during(doing)?;
        if is_current { count(self, object.state.code(), 1, bytes) } else { Ok(()) }
    }

    /// Records a part that the server took.
    ///
    /// # Errors
    /// When no upload of the entry is on record, or the database fails.
    pub fn put_part(&mut self, entry: u64, part: &Part) -> Result<(), Error> {
        let doing = "record a part";
        let is_open = load(self.db, entry)?.is_some_and(|object| object.upload_id.is_some());
        if !is_open {
            return Err(Error::Unknown { what: "upload of entry", number: entry });
        }
        let sql = "INSERT OR REPLACE INTO parts (entry, number, bytes, crc64, etag) VALUES (?1, ?2, ?3, ?4, ?5)";
        let bytes = to_db("length of a part", part.bytes)?;
        let row = params![to_db("entry id", entry)?, part.number, bytes, part.crc64.0.cast_signed(), part.etag];
        self.db.prepare_cached(sql).during(doing)?.execute(row).map(drop).during(doing)
    }

    /// Forgets the parts of an entry: its upload is complete, aborted or gone.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_parts(&mut self, entry: u64) -> Result<(), Error> {
        let doing = "forget the parts of an upload";
        let mut statement = self.db.prepare_cached("DELETE FROM parts WHERE entry = ?1").during(doing)?;
        statement.execute([to_db("entry id", entry)?]).map(drop).during(doing)
    }
}

/// An entry changed or is gone: what is known of its object is of an earlier generation, and no longer counts. It
/// stays on record: an open upload has to be aborted, and what this job put there itself it may replace.
pub(super) fn outdate(batch: &Batch<'_>, entry: i64) -> Result<(), Error> {
    let doing = "take note that an object is outdated";
    uncount(batch, entry)?;
    let mut update = batch.db.prepare_cached("UPDATE objects SET bytes = NULL WHERE entry = ?1").during(doing)?;
    update.execute([entry]).map(drop).during(doing)
}

/// Takes an object out of the ledger of objects.
fn uncount(batch: &Batch<'_>, entry: i64) -> Result<(), Error> {
    let doing = "read an object";
    let sql = "SELECT state, bytes FROM objects WHERE entry = ?1 AND bytes IS NOT NULL";
    let mut query = batch.db.prepare_cached(sql).during(doing)?;
    let found = query.query_row([entry], |row| Ok((row.get(0)?, row.get(1)?))).optional().during(doing)?;
    found.map_or(Ok(()), |(state, bytes)| count(batch, state, -1, bytes))
}

fn count(batch: &Batch<'_>, state: i64, entries: i64, bytes: i64) -> Result<(), Error> {
    let doing = "bring the ledger of objects up to date";
    let sql = "INSERT INTO object_tally VALUES (?1, ?2, ?3) \
               ON CONFLICT DO UPDATE SET entries = entries + excluded.entries, bytes = bytes + excluded.bytes";
    let mut update = batch.db.prepare_cached(sql).during(doing)?;
    update.execute([state, entries, entries * bytes]).map(drop).during(doing)
}

fn load(db: &Connection, entry: u64) -> Result<Option<Object>, Error> {
    let doing = "read an object";
    let mut query = db.prepare_cached(&format!("SELECT {OBJECT} FROM objects WHERE entry = ?1")).during(doing)?;
    let found = query.query_row([to_db("entry id", entry)?], |row| Ok(object(row, 0))).optional().during(doing)?;
    found.transpose()
}

/// An object from the columns of [`OBJECT`], the first at `first`.
pub(super) fn object(row: &rusqlite::Row<'_>, first: usize) -> Result<Object, Error> {
    let doing = "read an object";
    let get = |column: usize| row.get::<_, i64>(first + column).during(doing);
    let optional = |column: usize| row.get::<_, Option<i64>>(first + column).during(doing);
    let text = |column: usize| row.get::<_, Option<String>>(first + column).during(doing);
    Ok(Object {
        entry: from_db("entry of an object", get(0)?)?,
        generation: from_db("generation of an object", get(1)?)?,
        state: ObjectState::from_code(get(2)?)?,
        key: row.get(first + 3).during(doing)?,
        upload_id: text(4)?,
        part_bytes: optional(5)?.map(|bytes| from_db("part size", bytes)).transpose()?,
        etag: text(6)?,
        version_id: text(7)?,
        crc64: optional(8)?.map(|crc64| Crc64(crc64.cast_unsigned())),
        attempts: from_db("attempts of an object", get(9)?)?,
        error: text(10)?,
        changed: timestamp(get(11)?)?,
    })
}
