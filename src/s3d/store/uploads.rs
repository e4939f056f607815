//! Uploads and their parts in the store.
//!
//! Owns: the moments at which an upload, a part, or the object made of them begins or ceases to exist. The invariants are
//! those of the store.

use std::collections::HashSet;

use rusqlite::{OptionalExtension as _, Transaction, params};
use s3s::{S3Result, s3_error};

use crate::s3d::store::rows::{read_part, read_upload, to_json};
use crate::s3d::store::{
    NOW_MS, ObjectRecord, Part, Precondition, Segment, Store, Upload, UploadRecord, internal, replace_object,
};

impl Store {
    pub(in crate::s3d) fn create_upload(
        &self,
        id: &str,
        bucket: &str,
        key: &str,
        record: &UploadRecord,
    ) -> S3Result<()> {
        let sql = format!("INSERT INTO uploads VALUES (?1, ?2, ?3, {NOW_MS}, ?4)");
        self.lock().execute(&sql, params![id, bucket, key.as_bytes(), to_json(record)?]).map_err(internal)?;
        Ok(())
    }

    pub(in crate::s3d) fn upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<Upload> {
        let sql = "SELECT id, key, started_ms, record FROM uploads WHERE id = ?1 AND bucket = ?2 AND key = ?3";
        let found = self
            .lock()
            .prepare_cached(sql)
            .and_then(|mut s| s.query_row(params![id, bucket, key.as_bytes()], read_upload).optional())
            .map_err(internal)?;
        found.ok_or_else(|| s3_error!(NoSuchUpload, "the specified multipart upload does not exist"))
    }

    /// Unfinished uploads after (`key`, `id`), in order.
    pub(in crate::s3d) fn uploads(&self, bucket: &str, after: (&str, &str), limit: u32) -> S3Result<Vec<Upload>> {
        let sql = "SELECT id, key, started_ms, record FROM uploads WHERE bucket = ?1 AND (key, id) > (?2, ?3)
                   ORDER BY key, id LIMIT ?4";
        let db = self.lock();
        let mut statement = db.prepare_cached(sql).map_err(internal)?;
        let rows =
            statement.query_map(params![bucket, after.0.as_bytes(), after.1, limit], read_upload).map_err(internal)?;
        rows.collect::<Result<_, _>>().map_err(internal)
    }

    /// The moment a part counts. A part sent again replaces the earlier one.
    pub(in crate::s3d) fn put_part(&self, upload: &str, number: i32, segment: &Segment) -> S3Result<()> {
        let old = {
            let mut db = self.lock();
            let transaction = db.transaction().map_err(internal)?;
            // The upload may have been completed or aborted while the body was on its way.
            let alive: bool = transaction
                .query_row("SELECT EXISTS (SELECT 1 FROM uploads WHERE id = ?1)", [upload], |row| row.get(0))
                .map_err(internal)?;
            if !alive {
                return Err(s3_error!(NoSuchUpload, "the specified multipart upload does not exist"));
            }
            let old = transaction
                .query_row(
                    "SELECT number, modified_ms, record FROM parts WHERE upload = ?1 AND number = ?2",
                    params![upload, number],
                    read_part,
                )
                .optional()
                .map_err(internal)?;
            let sql = format!("INSERT OR REPLACE INTO parts VALUES (?1, ?2, {NOW_MS}, ?3)");
            transaction.execute(&sql, params![upload, number, to_json(segment)?]).map_err(internal)?;
            transaction.commit().map_err(internal)?;
            old
        };
        self.remove_blobs(old.map(|part| part.segment));
        Ok(())
    }

    /// Parts with a number above `after`, in order, at most `limit`.
    pub(in crate::s3d) fn parts(&self, upload: &str, after: i32, limit: u32) -> S3Result<Vec<Part>> {
        let sql = "SELECT number, modified_ms, record FROM parts WHERE upload = ?1 AND number > ?2
                   ORDER BY number LIMIT ?3";
        let db = self.lock();
        let mut statement = db.prepare_cached(sql).map_err(internal)?;
        let rows = statement.query_map(params![upload, after, limit], read_part).map_err(internal)?;
        rows.collect::<Result<_, _>>().map_err(internal)
    }

    /// Turns an upload into an object in one transaction. Parts the object does not name are dropped.
    pub(in crate::s3d) fn complete(
        &self,
        bucket: &str,
        upload: &Upload,
        record: &ObjectRecord,
        condition: &Precondition,
    ) -> S3Result<()> {
        let parts = self.parts(&upload.id, 0, u32::MAX)?;
        let old = {
            let mut db = self.lock();
            let transaction = db.transaction().map_err(internal)?;
            let old = replace_object(&transaction, bucket, &upload.key, record, None, condition)?;
            remove_upload(&transaction, &upload.id)?;
            transaction.commit().map_err(internal)?;
            old
        };
        let kept: HashSet<_> = record.segments.iter().filter_map(|segment| segment.blob.clone()).collect();
        let unused = parts.into_iter().map(|part| part.segment);
        let unused = unused.filter(|segment| segment.blob.as_ref().is_some_and(|blob| !kept.contains(blob)));
        self.remove_blobs(old.into_iter().chain(unused));
        Ok(())
    }

    pub(in crate::s3d) fn abort(&self, upload: &str) -> S3Result<()> {
        let parts = self.parts(upload, 0, u32::MAX)?;
        {
            let mut db = self.lock();
            let transaction = db.transaction().map_err(internal)?;
            remove_upload(&transaction, upload)?;
            transaction.commit().map_err(internal)?;
        }
        self.remove_blobs(parts.into_iter().map(|part| part.segment));
        Ok(())
    }
}

fn remove_upload(transaction: &Transaction<'_>, upload: &str) -> S3Result<()> {
    let gone = transaction.execute("DELETE FROM uploads WHERE id = ?1", [upload]).map_err(internal)?;
    transaction.execute("DELETE FROM parts WHERE upload = ?1", [upload]).map_err(internal)?;
    if gone == 1 { Ok(()) } else { Err(s3_error!(NoSuchUpload, "the specified multipart upload does not exist")) }
}
