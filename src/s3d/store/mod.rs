//! Where the server keeps what it was given: `index.db` (SQLite) and one file per larger body under `data/`.
//!
//! Owns: the tables, the atomic moment at which an object, part or upload begins or ceases to exist, and the removal of
//! bodies that nothing names any more. Does not own: what S3 allows or answers. Invariants: a body file is complete before
//! a row names it; a row disappears before its body file does; so a kill at any instant leaves at worst a body that
//! nothing names, which the next start removes. Called by the other files of this folder only.
//!
//! Keys are stored as blobs: SQLite then compares them byte by byte, which is S3's listing order.

mod rows;
mod uploads;

pub(in crate::s3d) use self::rows::{Object, ObjectRecord, Part, Precondition, Segment, Upload, UploadRecord};

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use s3s::{S3Error, S3Result, s3_error};

use crate::s3d::Error;
use crate::s3d::store::rows::{read_object, to_json};
use crate::sys::lock::lock;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, created_ms INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS objects (
        bucket TEXT NOT NULL, key BLOB NOT NULL, modified_ms INTEGER NOT NULL, record TEXT NOT NULL, body BLOB,
        PRIMARY KEY (bucket, key));
    CREATE TABLE IF NOT EXISTS uploads (
        id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key BLOB NOT NULL, started_ms INTEGER NOT NULL, record TEXT NOT NULL
        ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS uploads_by_key ON uploads (bucket, key, id);
    CREATE TABLE IF NOT EXISTS parts (
        upload TEXT NOT NULL, number INTEGER NOT NULL, modified_ms INTEGER NOT NULL, record TEXT NOT NULL,
        PRIMARY KEY (upload, number)) WITHOUT ROWID;";
const NOW_MS: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

#[derive(Debug)]
pub(in crate::s3d) struct Store {
    db: Mutex<Connection>,
    pub(in crate::s3d) data: PathBuf,
}

fn internal(source: impl std::error::Error + Send + Sync + 'static) -> S3Error {
    S3Error::internal_error(source)
}

impl Store {
    pub(in crate::s3d) fn open(dir: &Path) -> Result<Self, Error> {
        let data = dir.join("data");
        let at = |operation, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { operation, path, source }
        };
        std::fs::create_dir_all(&data).map_err(at("create", &data))?;
        let index = |operation| move |source| Error::Index { operation, source };
        let db = Connection::open(dir.join("index.db")).map_err(index("open"))?;
        db.execute_batch(SCHEMA).map_err(index("create tables"))?;
        let store = Self { db: Mutex::new(db), data };
        let named = store.named_blobs().map_err(index("list bodies"))?;
        for entry in std::fs::read_dir(&store.data).map_err(at("list", &store.data))? {
            let entry = entry.map_err(at("list", &store.data))?;
            if !named.contains(entry.file_name().to_string_lossy().as_ref()) {
                std::fs::remove_file(entry.path()).map_err(at("remove", &entry.path()))?;
            }
        }
        Ok(store)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        lock(&self.db)
    }

    fn named_blobs(&self) -> rusqlite::Result<HashSet<String>> {
        let db = self.lock();
        let sql =
            "SELECT json_extract(segment.value, '$.blob') FROM objects, json_each(record, '$.segments') AS segment
                   UNION ALL SELECT json_extract(record, '$.blob') FROM parts";
        let mut statement = db.prepare(sql)?;
        let names = statement.query_map([], |row| row.get::<_, Option<String>>(0))?;
        names.filter_map(Result::transpose).collect()
    }

    /// A fresh random name for an upload.
    pub(in crate::s3d) fn new_id(&self) -> S3Result<String> {
        self.lock().query_row("SELECT lower(hex(randomblob(16)))", [], |row| row.get(0)).map_err(internal)
    }

    /// Removes bodies that no row names (any more).
    pub(in crate::s3d) fn remove_blobs(&self, segments: impl IntoIterator<Item = Segment>) {
        for blob in segments.into_iter().filter_map(|segment| segment.blob) {
            // A body that cannot be removed now is removed by the next start.
            let _ = std::fs::remove_file(self.data.join(blob));
        }
    }

    pub(in crate::s3d) fn create_bucket(&self, name: &str) -> S3Result<bool> {
        let sql = format!("INSERT OR IGNORE INTO buckets VALUES (?1, {NOW_MS})");
        Ok(self.lock().execute(&sql, [name]).map_err(internal)? == 1)
    }

    pub(in crate::s3d) fn delete_bucket(&self, name: &str) -> S3Result<()> {
        let db = self.lock();
        let full: bool = db
            .query_row("SELECT EXISTS (SELECT 1 FROM objects WHERE bucket = ?1)", [name], |row| row.get(0))
            .map_err(internal)?;
        if full {
            return Err(s3_error!(BucketNotEmpty, "the bucket you tried to delete is not empty"));
        }
        db.execute("DELETE FROM buckets WHERE name = ?1", [name]).map_err(internal)?;
        Ok(())
    }

    pub(in crate::s3d) fn buckets(&self) -> S3Result<Vec<(String, i64)>> {
        let db = self.lock();
        let mut statement =
            db.prepare_cached("SELECT name, created_ms FROM buckets ORDER BY name").map_err(internal)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(internal)?;
        rows.collect::<Result<_, _>>().map_err(internal)
    }

    pub(in crate::s3d) fn need_bucket(&self, name: &str) -> S3Result<()> {
        let known: bool = self
            .lock()
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM buckets WHERE name = ?1)")
            .and_then(|mut statement| statement.query_row([name], |row| row.get(0)))
            .map_err(internal)?;
        if known { Ok(()) } else { Err(s3_error!(NoSuchBucket, "the specified bucket does not exist")) }
    }

    pub(in crate::s3d) fn object(&self, bucket: &str, key: &str, with_body: bool) -> S3Result<Option<Object>> {
        let sql = "SELECT key, modified_ms, record, iif(?3, body, NULL) FROM objects WHERE bucket = ?1 AND key = ?2";
        self.lock()
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement.query_row(params![bucket, key.as_bytes(), with_body], read_object).optional()
            })
            .map_err(internal)
    }

    /// Objects whose key is at least `from`, in order, at most `limit`.
    pub(in crate::s3d) fn objects(&self, bucket: &str, from: &[u8], limit: u32) -> S3Result<Vec<Object>> {
        let sql = "SELECT key, modified_ms, record, NULL FROM objects WHERE bucket = ?1 AND key >= ?2
                   ORDER BY key LIMIT ?3";
        let db = self.lock();
        let mut statement = db.prepare_cached(sql).map_err(internal)?;
        let rows = statement.query_map(params![bucket, from, limit], read_object).map_err(internal)?;
        rows.collect::<Result<_, _>>().map_err(internal)
    }

    /// The moment an object appears: whole, or not at all.
    pub(in crate::s3d) fn put_object(
        &self,
        bucket: &str,
        key: &str,
        record: &ObjectRecord,
        body: Option<&[u8]>,
        condition: &Precondition,
    ) -> S3Result<()> {
        let old = {
            let mut db = self.lock();
            let transaction = db.transaction().map_err(internal)?;
            let old = replace_object(&transaction, bucket, key, record, body, condition)?;
            transaction.commit().map_err(internal)?;
            old
        };
        self.remove_blobs(old);
        Ok(())
    }

    /// Replaces what is known about an object without touching its bytes (tags).
    pub(in crate::s3d) fn update_record(&self, bucket: &str, key: &str, record: &ObjectRecord) -> S3Result<()> {
        let sql = "UPDATE objects SET record = ?3 WHERE bucket = ?1 AND key = ?2";
        self.lock().execute(sql, params![bucket, key.as_bytes(), to_json(record)?]).map_err(internal)?;
        Ok(())
    }

    pub(in crate::s3d) fn delete_object(&self, bucket: &str, key: &str) -> S3Result<()> {
        let Some(old) = self.object(bucket, key, false)? else {
            return Ok(());
        };
        let sql = "DELETE FROM objects WHERE bucket = ?1 AND key = ?2";
        self.lock().execute(sql, params![bucket, key.as_bytes()]).map_err(internal)?;
        self.remove_blobs(old.record.segments);
        Ok(())
    }
}

/// Checks the condition against what is there, writes the new row and returns the bodies of the old one.
fn replace_object(
    transaction: &Transaction<'_>,
    bucket: &str,
    key: &str,
    record: &ObjectRecord,
    body: Option<&[u8]>,
    condition: &Precondition,
) -> S3Result<Vec<Segment>> {
    let sql = "SELECT key, modified_ms, record, NULL FROM objects WHERE bucket = ?1 AND key = ?2";
    let old = transaction
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(params![bucket, key.as_bytes()], read_object).optional())
        .map_err(internal)?;
    condition.check(old.as_ref().map(|object| object.record.etag.as_str()))?;
    let json = to_json(record)?;
    let sql = format!("INSERT OR REPLACE INTO objects VALUES (?1, ?2, {NOW_MS}, ?3, ?4)");
    transaction
        .prepare_cached(&sql)
        .and_then(|mut s| s.execute(params![bucket, key.as_bytes(), json, body]))
        .map_err(internal)?;
    Ok(old.map_or_else(Vec::new, |object| object.record.segments))
}
