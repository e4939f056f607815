//! The records of the store: what a row means, and how it is read and written.
//!
//! Owns: the shape of the JSON in the index. Called by the store; its types by the operations.

use rusqlite::Row;
use s3s::dto::{ETag, ETagCondition};
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

use crate::s3d::attributes::Attributes;
use crate::s3d::store::internal;
use crate::s3d::sums::{Algorithm, Kind, Sums};

/// A stretch of an object's bytes that lies in one body: the whole of a single PUT, or one part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::s3d) struct Segment {
    pub(in crate::s3d) size: u64,
    /// File under `data/`; `None` when the body lies in the object's row.
    pub(in crate::s3d) blob: Option<String>,
    pub(in crate::s3d) etag: String,
    pub(in crate::s3d) sums: Sums,
}

/// Everything about an object but its bytes, bucket, key and time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::s3d) struct ObjectRecord {
    pub(in crate::s3d) size: u64,
    pub(in crate::s3d) etag: String,
    pub(in crate::s3d) attributes: Attributes,
    pub(in crate::s3d) sums: Sums,
    pub(in crate::s3d) kind: Kind,
    pub(in crate::s3d) multipart: bool,
    pub(in crate::s3d) segments: Vec<Segment>,
}

#[derive(Debug)]
pub(in crate::s3d) struct Object {
    pub(in crate::s3d) key: String,
    pub(in crate::s3d) modified_ms: i64,
    pub(in crate::s3d) record: ObjectRecord,
    pub(in crate::s3d) body: Option<Vec<u8>>,
}

/// What was asked when an upload was created.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::s3d) struct UploadRecord {
    pub(in crate::s3d) attributes: Attributes,
    pub(in crate::s3d) checksum: Option<(Algorithm, Kind)>,
}

#[derive(Debug)]
pub(in crate::s3d) struct Upload {
    pub(in crate::s3d) id: String,
    pub(in crate::s3d) key: String,
    pub(in crate::s3d) started_ms: i64,
    pub(in crate::s3d) record: UploadRecord,
}

#[derive(Debug)]
pub(in crate::s3d) struct Part {
    pub(in crate::s3d) number: i32,
    pub(in crate::s3d) modified_ms: i64,
    pub(in crate::s3d) segment: Segment,
}

/// `If-Match` and `If-None-Match` of a write.
#[derive(Debug, Default)]
pub(in crate::s3d) struct Precondition {
    pub(in crate::s3d) if_match: Option<ETagCondition>,
    pub(in crate::s3d) if_none_match: Option<ETagCondition>,
}

impl Precondition {
    pub(super) fn check(&self, etag: Option<&str>) -> S3Result<()> {
        let meets = |condition: &ETagCondition| match condition {
            ETagCondition::Any => etag.is_some(),
            ETagCondition::ETag(wanted) => etag.is_some_and(|etag| ETag::Strong(etag.to_owned()).strong_cmp(wanted)),
        };
        if self.if_none_match.as_ref().is_some_and(meets) {
            return Err(s3_error!(PreconditionFailed, "at least one of the pre-conditions you specified did not hold"));
        }
        match (&self.if_match, etag) {
            (Some(_), None) => Err(s3_error!(NoSuchKey, "the specified key does not exist")),
            (Some(condition), Some(_)) if !meets(condition) => {
                Err(s3_error!(PreconditionFailed, "at least one of the pre-conditions you specified did not hold"))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn to_json(value: &impl Serialize) -> S3Result<String> {
    serde_json::to_string(value).map_err(internal)
}

pub(super) fn json_column<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e)))
}

pub(super) fn key_column(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    String::from_utf8(row.get(column)?)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, Box::new(e)))
}

pub(super) fn read_object(row: &Row<'_>) -> rusqlite::Result<Object> {
    Ok(Object { key: key_column(row, 0)?, modified_ms: row.get(1)?, record: json_column(row, 2)?, body: row.get(3)? })
}

pub(super) fn read_upload(row: &Row<'_>) -> rusqlite::Result<Upload> {
    Ok(Upload { id: row.get(0)?, key: key_column(row, 1)?, started_ms: row.get(2)?, record: json_column(row, 3)? })
}

pub(super) fn read_part(row: &Row<'_>) -> rusqlite::Result<Part> {
    Ok(Part { number: row.get(0)?, modified_ms: row.get(1)?, segment: json_column(row, 2)? })
}
