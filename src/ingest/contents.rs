//! What a bucket has under a prefix, and what the server says of it, without a job.
//!
//! Owns: the order of looking (a listing, one look at each object where asked for), and what bundles stand for. Does not
//! own: what it is compared with. Invariants: nothing is written; who vouches for a digest is never mixed up: a checksum
//! the server keeps of the whole object, or a note its sender made. Memory grows with the number of bundles only.

use std::collections::HashMap;
use std::ops::ControlFlow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::StreamExt as _;

use crate::digest::Crc64;
use crate::ingest::error::Error;
use crate::ingest::remote::key::path_of;
use crate::ingest::remote::metadata::SHA256;
use crate::ingest::remote::{
    Checksums, Head, ListedObject, Metadata, ObjectStore, RemoteError, S3Store, Target, connect,
};

/// Objects looked at at a time.
const LOOKS: usize = 64;
/// Longest index of a bundle that is read. Unit: bytes.
const INDEX_BYTES_MAX: u64 = 1 << 30;
/// Bytes of an index read at a time. Unit: bytes.
const READ_BYTES: u64 = 8 << 20;
/// The type in `st_mode`.
const TYPE_BITS: u32 = 0o170_000;

/// A digest of content, by who vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vouched {
    /// Nobody.
    Nobody,
    /// SHA-256 of the whole object, kept by the server.
    ServerSha256([u8; 32]),
    /// CRC-64/NVME of the whole object, kept by the server.
    ServerCrc64(Crc64),
    /// SHA-256 that the sender noted beside the object.
    NotedSha256([u8; 32]),
}

/// One file, link or directory as a bucket has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InBucket {
    /// Path below the prefix.
    pub path: Vec<u8>,
    /// Its type as in `st_mode`, where it is known: a listing tells directories only.
    pub type_bits: Option<u32>,
    /// Length. Unit: bytes.
    pub bytes: u64,
    /// What is said of its content.
    pub content: Vouched,
}

/// Hands everything under a prefix to `take`. With `asks` every object is looked at, else it is known by key and length.
///
/// # Errors
/// When the bucket cannot be listed, an object cannot be looked at, or the index of a bundle cannot be read.
pub fn bucket_contents(
    target: Target,
    prefix: &str,
    asks: bool,
    mut take: impl FnMut(InBucket) -> ControlFlow<()>,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(Error::Runtime)?;
    let place = format!("s3://{}/{prefix}", target.bucket);
    let unread = |source| Error::Unread { target: place.clone(), source: Box::new(source) };
    let store = runtime.block_on(connect(target));
    let (mut archives, mut after) = (HashMap::new(), None);
    loop {
        let (page, next) = runtime.block_on(store.list(prefix, after)).map_err(unread)?;
        let mut plain = Vec::new();
        for object in page {
            match bundle_part(&object.key) {
                Some(Part::Archive) => drop(archives.insert(object.key, object.bytes)),
                Some(Part::Index(archive)) if archives.contains_key(archive) => {
                    let archive_bytes = archives.remove(archive).unwrap_or_default();
                    let index = runtime.block_on(read(&store, &object)).map_err(unread)?;
                    for member in members(&index, prefix, archive_bytes) {
                        if take(member).is_break() {
                            return Ok(());
                        }
                    }
                }
                _ => plain.push(object),
            }
        }
        for object in runtime.block_on(seen(&store, prefix, plain, asks)).map_err(unread)? {
            if take(object).is_break() {
                return Ok(());
            }
        }
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    // An archive without its index says of nothing where it is.
    for (key, bytes) in archives {
        if take(of_listing(prefix, &ListedObject { key, bytes, etag: String::new() })).is_break() {
            break;
        }
    }
    Ok(())
}

enum Part<'k> {
    Archive,
    /// With the key of its archive.
    Index(&'k str),
}

/// Whether a key is that of a bundle, or of the index of one.
fn bundle_part(key: &str) -> Option<Part<'_>> {
    let archive = key.strip_suffix(".jsonl");
    let name = archive.unwrap_or(key).rsplit('/').next()?;
    let id = name.strip_prefix("packmule-bundle-")?.strip_suffix(".tar")?;
    let is_ours = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_ours.then_some(archive.map_or(Part::Archive, Part::Index))
}

async fn seen(
    store: &S3Store,
    prefix: &str,
    objects: Vec<ListedObject>,
    asks: bool,
) -> Result<Vec<InBucket>, RemoteError> {
    // The top of the dataset is what the prefix names.
    let objects = objects.into_iter().filter(|object| object.key != prefix);
    let look = |object: ListedObject| async move {
        let listed = of_listing(prefix, &object);
        if !asks {
            return Ok(Some(listed));
        }
        // `None`: it was removed between the listing and the look.
        Ok(store.head(&object.key).await?.map(|head| InBucket {
            type_bits: type_bits(&head.metadata).or(listed.type_bits),
            bytes: head.bytes,
            content: vouched(&head),
            ..listed
        }))
    };
    let found = futures::stream::iter(objects.map(look)).buffered(LOOKS).collect::<Vec<_>>().await;
    found.into_iter().filter_map(Result::transpose).collect()
}

fn of_listing(prefix: &str, object: &ListedObject) -> InBucket {
    let rest = object.key.strip_prefix(prefix).unwrap_or(&object.key);
    let (name, type_bits) = match rest.strip_suffix('/') {
        Some(name) => (name, Some(0o040_000)),
        None => (rest, None),
    };
    InBucket { path: path_of(name), type_bits, bytes: object.bytes, content: Vouched::Nobody }
}

fn type_bits(metadata: &Metadata) -> Option<u32> {
    let mode = u32::from_str_radix(metadata.get("file-permissions")?, 8).ok()?;
    Some(mode & TYPE_BITS).filter(|bits| *bits != 0)
}

/// The best that is said of an object's content.
fn vouched(head: &Head) -> Vouched {
    of_server(&head.checksums).unwrap_or_else(|| noted(&head.metadata))
}

fn of_server(checksums: &Checksums) -> Option<Vouched> {
    // A composite SHA-256 ends in the number of parts and says nothing about the whole.
    let digest = |text: &String| STANDARD.decode(text).ok()?.try_into().ok();
    if let Some(sha256) = checksums.sha256.as_ref().filter(|text| !text.contains('-')).and_then(digest) {
        return Some(Vouched::ServerSha256(sha256));
    }
    let crc64: [u8; 8] = STANDARD.decode(checksums.crc64.as_ref()?).ok()?.try_into().ok()?;
    Some(Vouched::ServerCrc64(Crc64(u64::from_be_bytes(crc64))))
}

fn noted(metadata: &Metadata) -> Vouched {
    metadata.get(SHA256).and_then(|text| from_hex(text)).map_or(Vouched::Nobody, Vouched::NotedSha256)
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    (digits.len() == 64).then(|| bytes.try_into().ok())?
}

async fn read(store: &S3Store, object: &ListedObject) -> Result<Vec<u8>, RemoteError> {
    let all = object.bytes.min(INDEX_BYTES_MAX);
    let mut index = Vec::new();
    while (index.len() as u64) < all {
        let at = index.len() as u64;
        let some = store.get(&object.key, at, READ_BYTES.min(all - at)).await?;
        if some.is_empty() {
            break; // it became shorter; what it does not name is not there
        }
        index.extend_from_slice(&some);
    }
    Ok(index)
}

/// Members an index names that lie inside its archive. What the index says was noted by whoever sent it.
fn members(index: &[u8], prefix: &str, archive_bytes: u64) -> Vec<InBucket> {
    let lines = index.split(|byte| *byte == b'\n');
    let member = |line: &[u8]| {
        let line: serde_json::Value = serde_json::from_slice(line).ok()?;
        let key = line["key"].as_str()?;
        let (offset, bytes) = (line["offset"].as_u64()?, line["bytes"].as_u64()?);
        offset.checked_add(bytes).filter(|end| *end <= archive_bytes)?;
        let metadata: Metadata = serde_json::from_value(line["metadata"].clone()).unwrap_or_default();
        let path = path_of(key.strip_prefix(prefix).unwrap_or(key));
        Some(InBucket { path, type_bits: type_bits(&metadata), bytes, content: noted(&metadata) })
    };
    lines.filter_map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{crc64, sha256};
    use crate::ingest::remote::Claim;

    #[test]
    fn what_the_server_keeps_comes_before_what_a_sender_noted() {
        let hex: String = sha256(b"body").iter().map(|byte| format!("{byte:02x}")).collect();
        let mut head = Head {
            bytes: 4,
            etag: "e".to_owned(),
            checksums: Checksums::default(),
            metadata: Metadata::from([(SHA256.to_owned(), hex)]),
            version: None,
        };
        assert_eq!(vouched(&head), Vouched::NotedSha256(sha256(b"body")));
        head.checksums.sha256 = Some(format!("{}-2", Claim::Sha256([1; 32]).text()));
        assert_eq!(vouched(&head), Vouched::NotedSha256(sha256(b"body")), "of parts, not of the whole");
        head.checksums.crc64 = Some(Claim::Crc64(crc64(b"body")).text());
        assert_eq!(vouched(&head), Vouched::ServerCrc64(crc64(b"body")));
        head.checksums.sha256 = Some(Claim::Sha256(sha256(b"body")).text());
        assert_eq!(vouched(&head), Vouched::ServerSha256(sha256(b"body")));
        let nothing = Head { checksums: Checksums::default(), metadata: Metadata::new(), ..head };
        assert_eq!(vouched(&nothing), Vouched::Nobody);
    }

    #[test]
    fn only_bundles_are_taken_for_bundles() {
        let is = |key| match bundle_part(key) {
            Some(Part::Archive) => "archive".to_owned(),
            Some(Part::Index(archive)) => archive.to_owned(),
            None => String::new(),
        };
        assert_eq!(is("p/a/packmule-bundle-0123456789abcdef.tar"), "archive");
        assert_eq!(is("p/packmule-bundle-0123456789abcdef.tar.jsonl"), "p/packmule-bundle-0123456789abcdef.tar");
        for other in ["p/packmule-bundle-x.tar", "backup.tar", "p/packmule-bundle-0123456789abcdef.tar/x", "a.jsonl"] {
            assert_eq!(is(other), "", "{other}");
        }
    }

    #[test]
    fn a_member_beyond_the_end_of_its_archive_is_not_there() {
        let line = |path: &str, offset| format!("{{\"key\":\"p/{path}\",\"offset\":{offset},\"bytes\":10}}\n");
        let index = line("a%0Ab", 512) + &line("cut", 1015) + "nonsense\n" + &line("huge", u64::MAX);
        let found = members(index.as_bytes(), "p/", 1024);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((&found[0].path[..], found[0].bytes, found[0].content), (&b"a\nb"[..], 10, Vouched::Nobody));
    }
}
