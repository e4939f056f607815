//! From an entry of the manifest to the object it becomes.
//!
//! Owns: keys, metadata and bodies of everything that is not a regular file. Pure. Names and forms are those AWS FSx for
//! Lustre uses for directories (a key that ends in a slash), symbolic links (the target is the body) and types (in
//! `file-permissions`), so that it brings the tree back.

use std::sync::Arc;

use bytes::Bytes;

use crate::digest::{Crc64, crc64, sha256};
use crate::format::layout::part_bytes;
use crate::format::record::{Entry, EntryType};
use crate::ingest::remote::key::{KEY_BYTES_MAX, KeyError, key_of};
use crate::ingest::remote::metadata::{Attributes, describe};
use crate::ingest::remote::{Metadata, Method, Put};

/// What becomes of an object that is there already and differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replace {
    /// It stays, and the entry fails.
    #[default]
    Never,
    /// It is looked at first; only one that differs is replaced.
    IfChanged,
    /// It is replaced without being looked at.
    Always,
}

/// An object as it has to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) entry: u64,
    pub(super) generation: u32,
    pub(super) key: String,
    pub(super) bytes: u64,
    pub(super) crc64: Crc64,
    pub(super) metadata: Metadata,
    /// What becomes of an object that is there under the key already.
    pub(super) replace: Replace,
    /// Whether it is a regular file's content.
    pub(super) is_file: bool,
}

impl Wanted {
    pub(super) fn put(&self, body: Bytes, method: Method, overwrite: bool) -> Put {
        let claim = method.claim(&body, self.crc64);
        let (key, metadata) = (self.key.clone(), self.metadata.clone());
        Put { key, body, claim, metadata, overwrite }
    }

    /// Whether it goes as an upload of parts.
    pub(super) fn in_parts(&self) -> bool {
        self.bytes > part_bytes(self.bytes)
    }
}

/// File type bits of `st_mode`. Source: POSIX, `<sys/stat.h>` as on Linux.
fn type_bits(entry_type: EntryType) -> u32 {
    match entry_type {
        EntryType::File | EntryType::HardLink => 0o100_000,
        EntryType::Directory => 0o040_000,
        EntryType::Symlink => 0o120_000,
        EntryType::Fifo => 0o010_000,
        EntryType::Socket => 0o140_000,
        EntryType::CharDevice => 0o020_000,
        EntryType::BlockDevice => 0o060_000,
    }
}

/// The body of an entry that needs no extents; `None` for files and hard links with content.
pub(super) fn bare_body(entry: &Entry) -> Option<Bytes> {
    match entry.entry_type {
        EntryType::HardLink => None,
        EntryType::File => (entry.size == 0).then(Bytes::new),
        EntryType::Symlink => Some(Bytes::from(entry.target.clone())),
        _ => Some(Bytes::new()),
    }
}

/// Key of the entry at `path`; a directory's ends in a slash.
pub(super) fn key_for(prefix: &str, path: &[u8], is_directory: bool) -> Result<String, KeyError> {
    let mut key = match path {
        // The top of the dataset is what the prefix names; without a prefix it has no name in a bucket.
        [] if !prefix.is_empty() => return Ok(prefix.to_owned()),
        path => key_of(prefix, path)?,
    };
    if is_directory {
        key.push('/');
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(KeyError::TooLong { key_bytes: key.len() });
    }
    Ok(key)
}

/// The object of an entry. `content` is the entry that has the bytes: for a hard link the file it shares them with, else
/// the entry itself.
///
/// # Errors
/// When its path has no key.
pub(super) fn wanted(prefix: &str, entry: &Entry, content: &Entry, replace: Replace) -> Result<Arc<Wanted>, KeyError> {
    let key = key_for(prefix, &entry.path, entry.entry_type == EntryType::Directory)?;
    let bare = bare_body(content);
    let (bytes, crc, sha) = match &bare {
        Some(body) => (body.len() as u64, crc64(body), sha256(body)),
        None => (content.size, content.crc64, content.sha256),
    };
    let attributes = Attributes {
        mode: type_bits(entry.entry_type) | entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime_ns: i128::from(entry.mtime_s) * 1_000_000_000 + i128::from(entry.mtime_ns),
        atime_ns: None,
    };
    let metadata = describe(&attributes, &sha);
    let is_file = matches!(entry.entry_type, EntryType::File | EntryType::HardLink);
    let (entry, generation) = (entry.id, entry.generation);
    Ok(Arc::new(Wanted { entry, generation, key, bytes, crc64: crc, metadata, replace, is_file }))
}
