//! The object store as this program sees it: a few operations, with every checksum explicit.
//!
//! Owns: the [`ObjectStore`] trait, its values, the client for S3 and compatible servers, the probe that finds out what a
//! server really checks, the mapping of paths to keys, and the state machine of one upload. Does not own: where bodies
//! come from, what is recorded where. Invariants: a body is in memory and its checksum known before a request begins, so
//! that any request can be repeated; every request ends within a bound. Called by the rest of `ingest`.

pub mod checksum;
pub mod connect;
pub mod error;
pub mod key;
pub mod metadata;
pub mod pace;
pub mod probe;
pub mod retry;
pub mod s3;
pub mod storage;
pub mod upload;

use std::collections::BTreeMap;

use bytes::Bytes;

pub use crate::ingest::remote::checksum::{Checksums, Claim, Method};
pub use crate::ingest::remote::connect::{Target, connect};
pub use crate::ingest::remote::error::{Class, RemoteError};
pub use crate::ingest::remote::s3::S3Store;

/// User metadata of an object: names without the `x-amz-meta-` prefix, in lower case.
pub type Metadata = BTreeMap<String, String>;

/// One whole object in one request.
#[derive(Debug, Clone)]
pub struct Put {
    /// Key in the bucket.
    pub key: String,
    /// All of its bytes.
    pub body: Bytes,
    /// The checksum the server is asked to compare; `None` sends none.
    pub claim: Option<Claim>,
    /// User metadata.
    pub metadata: Metadata,
    /// Whether an object that is there already may be replaced.
    pub overwrite: bool,
}

/// One part of an upload.
#[derive(Debug, Clone)]
pub struct PutPart {
    /// Key in the bucket.
    pub key: String,
    /// The upload it belongs to.
    pub upload: String,
    /// Part number, from 1.
    pub number: u32,
    /// All of its bytes.
    pub body: Bytes,
    /// The checksum the server is asked to compare; `None` sends none.
    pub claim: Option<Claim>,
}

/// A part that the server accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentPart {
    /// Part number, from 1.
    pub number: u32,
    /// Length. Unit: bytes.
    pub bytes: u64,
    /// The server's entity tag, without quotes.
    pub etag: String,
    /// The checksum that was sent, in S3's text form.
    pub checksum: Option<String>,
}

/// A part as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPart {
    /// Part number, from 1.
    pub number: u32,
    /// Length. Unit: bytes.
    pub bytes: u64,
    /// The server's entity tag, without quotes.
    pub etag: String,
    /// What the server recorded of its checksums.
    pub checksums: Checksums,
}

/// What the server says of an object that it took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// Entity tag, without quotes.
    pub etag: String,
    /// Version, in buckets that keep them.
    pub version: Option<String>,
}

/// The end of an upload.
#[derive(Debug, Clone)]
pub struct Complete {
    /// Key in the bucket.
    pub key: String,
    /// The upload.
    pub upload: String,
    /// Every part, in order.
    pub parts: Vec<SentPart>,
    /// How parts and whole are checked.
    pub method: Method,
    /// The checksum of the whole object, where the method has one.
    pub claim: Option<Claim>,
    /// Length of the whole object, which the server is asked to compare. Unit: bytes.
    pub bytes: u64,
    /// Whether an object that is there already may be replaced.
    pub overwrite: bool,
}

/// What the server says about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Length. Unit: bytes.
    pub bytes: u64,
    /// Entity tag, without quotes.
    pub etag: String,
    /// Checksums the server keeps.
    pub checksums: Checksums,
    /// User metadata.
    pub metadata: Metadata,
    /// Version, in buckets that keep them.
    pub version: Option<String>,
}

impl Head {
    /// What names this object at the server.
    pub fn stored(&self) -> Stored {
        Stored { etag: self.etag.clone(), version: self.version.clone() }
    }
}

/// An object as a listing has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// Length. Unit: bytes.
    pub bytes: u64,
    /// Entity tag, without quotes; empty when the server tells none.
    pub etag: String,
}

/// An upload that was begun and neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// Key it is meant for.
    pub key: String,
    /// Its name at the server.
    pub upload: String,
    /// When it was begun, in seconds since 1970, if the server says so.
    pub started_s: Option<i64>,
}

/// A bucket somewhere. Used generically, never as a trait object; every method may be called again after a failure.
pub trait ObjectStore: Send + Sync + 'static {
    /// Stores an object.
    fn put(&self, put: Put) -> impl Future<Output = Result<Stored, RemoteError>> + Send;
    /// Describes an object; `None` if there is none.
    fn head(&self, key: &str) -> impl Future<Output = Result<Option<Head>, RemoteError>> + Send;
    /// Reads a stretch of an object. Unit: bytes.
    fn get(&self, key: &str, first: u64, bytes: u64) -> impl Future<Output = Result<Bytes, RemoteError>> + Send;
    /// Deletes an object; it is no error if there is none.
    fn delete(&self, key: &str) -> impl Future<Output = Result<(), RemoteError>> + Send;
    /// Begins an upload; gives its name.
    fn create_upload(
        &self,
        key: &str,
        method: Method,
        metadata: &Metadata,
    ) -> impl Future<Output = Result<String, RemoteError>> + Send;
    /// Sends one part.
    fn put_part(&self, part: PutPart) -> impl Future<Output = Result<SentPart, RemoteError>> + Send;
    /// All parts the server has of an upload, in order; `None` if it does not know the upload.
    fn list_parts(
        &self,
        key: &str,
        upload: &str,
    ) -> impl Future<Output = Result<Option<Vec<ListedPart>>, RemoteError>> + Send;
    /// Makes the object out of its parts.
    fn complete(&self, complete: Complete) -> impl Future<Output = Result<Stored, RemoteError>> + Send;
    /// Ends an upload without an object; it is no error if there is none.
    fn abort(&self, key: &str, upload: &str) -> impl Future<Output = Result<(), RemoteError>> + Send;
    /// Uploads under a prefix that were neither completed nor aborted.
    fn open_uploads(&self, prefix: &str) -> impl Future<Output = Result<Vec<OpenUpload>, RemoteError>> + Send;
}
