//! Small files, many to an object: ordinary tar archives with an index.
//!
//! Owns: which bodies are gathered, the archive and its index. Does not own: sending. Forms: `packmule-bundle-ID.tar`, which
//! any tar reads, and beside it `packmule-bundle-ID.tar.jsonl`, one JSON object a line for each member: path, key it would
//! have had, offset and length in the archive (for a range GET), digests. The index goes first, so that no archive is
//! without one. Invariants: a member's checksum was compared with the source's before it was put in; the archive's own is
//! taken from the very bytes that are sent; the same members in the same order give the same name, so a repeated run meets
//! what a dead one left.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::digest::{crc64, sha256};
use crate::format::path::escape;
use crate::ingest::remote::Metadata;
use crate::ingest::remote::key::path_of;
use crate::ingest::remote::metadata::SHA256;
use crate::ingest::room::{Room, Seat};
use crate::ingest::send::Upload;
use crate::ingest::source::Deliver;
use crate::ingest::wanted::{Replace, Wanted};
use crate::sys::lock::lock;

/// Files from here on are objects of their own, whatever the size of bundles. Unit: bytes.
const BELOW_BYTES_MAX: u64 = 1 << 20;
/// A bundle holds at least so many of the largest files it takes.
const MEMBERS_MIN: u64 = 8;
/// What a member takes besides its bytes: header and padding. Unit: bytes.
const MEMBER_OVERHEAD_BYTES: u64 = 1536;

/// Files below this size are bundled. Unit: bytes.
pub(super) fn bundled_below(bundle_bytes: u64) -> u64 {
    (bundle_bytes / MEMBERS_MIN).min(BELOW_BYTES_MAX)
}

/// Bundles that so many files with so many bytes make, about.
pub(super) fn bundles_for(files: u64, bytes: u64, bundle_bytes: u64) -> u64 {
    (bytes + files * MEMBER_OVERHEAD_BYTES).div_ceil(bundle_bytes.max(1))
}

/// An archive that is complete, its index, and the entries in it.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) archive: (Arc<Wanted>, Bytes),
    pub(super) index: (Arc<Wanted>, Bytes),
    /// As they are recorded: under the archive's key.
    pub(super) members: Vec<Arc<Wanted>>,
}

struct Member {
    wanted: Arc<Wanted>,
    offset: u64,
}

struct Open {
    archive: tar::Builder<Vec<u8>>,
    members: Vec<Member>,
    seat: Seat,
}

/// Gathers small bodies of one reader, and passes everything else on.
pub(super) struct Bundler<'a, D> {
    inner: &'a D,
    room: &'a Room,
    prefix: &'a str,
    /// Size of a bundle; `None`: everything is an object of its own. Unit: bytes.
    bundle_bytes: Option<u64>,
    open: Mutex<Option<Open>>,
}

impl<'a, D: Deliver> Bundler<'a, D> {
    pub(super) fn new(inner: &'a D, room: &'a Room, prefix: &'a str, bundle_bytes: Option<u64>) -> Self {
        Self { inner, room, prefix, bundle_bytes, open: Mutex::new(None) }
    }

    /// Closes the bundle that is being gathered.
    pub(super) fn flush(&self) {
        let open = lock(&self.open).take();
        if let Some(open) = open {
            self.close(open);
        }
    }

    fn add(&self, bundle_bytes: u64, wanted: &Arc<Wanted>, body: &Bytes) -> std::io::Result<()> {
        let mut slot = lock(&self.open);
        let is_full =
            |open: &Open| open.archive.get_ref().len() as u64 + wanted.bytes + MEMBER_OVERHEAD_BYTES > bundle_bytes;
        if let Some(full) = slot.take_if(|open| is_full(open)) {
            self.close(full);
        }
        let open = slot.get_or_insert_with(|| Open {
            archive: tar::Builder::new(Vec::with_capacity(usize::try_from(bundle_bytes).unwrap_or(0))),
            members: Vec::new(),
            seat: self.room.enter(bundle_bytes),
        });
        let path = path_of(wanted.key.strip_prefix(self.prefix).unwrap_or(&wanted.key));
        use std::os::unix::ffi::OsStrExt;
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(&path));
        open.archive.append_data(&mut header(wanted), path, &body[..])?;
        let end = open.archive.get_ref().len() as u64;
        let offset = end - wanted.bytes.next_multiple_of(512);
        open.members.push(Member { wanted: wanted.clone(), offset });
        Ok(())
    }

    fn close(&self, open: Open) {
        let Open { archive, members, seat } = open;
        let (Some(first), Ok(archive)) = (members.first(), archive.into_inner()) else { return };
        let index: String = members.iter().map(|member| index_line(member, self.prefix)).collect();
        let id: String = sha256(index.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let keys = members.iter().map(|member| member.wanted.key.as_str());
        let key = format!("{}packmule-bundle-{id}.tar", common_directory(keys));
        let (archive, index) = (Bytes::from(archive), Bytes::from(index));
        let replace = first.wanted.replace;
        let as_recorded = |member: &Member| Arc::new(Wanted { key: key.clone(), ..(*member.wanted).clone() });
        let bundle = Bundle {
            members: members.iter().map(as_recorded).collect(),
            archive: (object(&key, &archive, &first.wanted, replace), archive),
            index: (object(&format!("{key}.jsonl"), &index, &first.wanted, replace), index),
        };
        seat.leave();
        self.inner.bundle(bundle, seat);
    }
}

impl<D: Deliver> Deliver for Bundler<'_, D> {
    fn whole(&self, wanted: &Arc<Wanted>, body: Bytes, seat: Seat) {
        let bundle_bytes = self.bundle_bytes.filter(|bytes| wanted.is_file && wanted.bytes < bundled_below(*bytes));
        match bundle_bytes {
            // What no archive can name goes by itself.
            Some(bundle_bytes) if self.add(bundle_bytes, wanted, &body).is_ok() => {}
            _ => self.inner.whole(wanted, body, seat),
        }
    }

    fn part(&self, upload: &Arc<Upload>, part: u32, body: Bytes, seat: Seat) {
        self.inner.part(upload, part, body, seat);
    }

    fn bundle(&self, bundle: Bundle, seat: Seat) {
        self.inner.bundle(bundle, seat);
    }

    fn read(&self, bytes: u64) {
        self.inner.read(bytes);
    }
}

/// An object that is no entry of its own.
fn object(key: &str, body: &Bytes, like: &Wanted, replace: Replace) -> Arc<Wanted> {
    let digest = sha256(body).iter().map(|byte| format!("{byte:02x}")).collect();
    Arc::new(Wanted {
        entry: like.entry,
        generation: like.generation,
        key: key.to_owned(),
        bytes: body.len() as u64,
        crc64: crc64(body),
        metadata: Metadata::from([(SHA256.to_owned(), digest)]),
        replace,
        is_file: true,
    })
}

fn number(wanted: &Wanted, name: &str, radix: u32) -> u64 {
    let text = wanted.metadata.get(name).map(String::as_str).unwrap_or_default();
    u64::from_str_radix(text.trim_end_matches("ns"), radix).unwrap_or(0)
}

fn header(wanted: &Wanted) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(wanted.bytes);
    header.set_mode(u32::try_from(number(wanted, "file-permissions", 8)).unwrap_or(0) & 0o7777);
    header.set_uid(number(wanted, "file-owner", 10));
    header.set_gid(number(wanted, "file-group", 10));
    header.set_mtime(number(wanted, "file-mtime", 10) / 1_000_000_000);
    header
}

fn index_line(member: &Member, prefix: &str) -> String {
    let wanted = &member.wanted;
    let path = path_of(wanted.key.strip_prefix(prefix).unwrap_or(&wanted.key));
    let line = serde_json::json!({
        "path": escape(&path),
        "key": wanted.key,
        "offset": member.offset,
        "bytes": wanted.bytes,
        "crc64nvme": wanted.crc64.to_string(),
        "metadata": wanted.metadata,
    });
    format!("{line}\n")
}

/// The longest directory that all keys share, with its slash.
fn common_directory<'k>(mut keys: impl Iterator<Item = &'k str>) -> &'k str {
    let directory = |key: &'k str| key.rfind('/').map_or("", |end| &key[..=end]);
    let mut common = keys.next().map(directory).unwrap_or_default();
    for key in keys {
        while !key.starts_with(common) {
            common = directory(common.strip_suffix('/').unwrap_or_default());
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_lies_in_the_directory_its_members_share() {
        let common = |keys: &[&'static str]| common_directory(keys.iter().copied());
        assert_eq!(common(&["p/a/x", "p/a/y"]), "p/a/");
        assert_eq!(common(&["p/a/x", "p/ab/y"]), "p/");
        assert_eq!(common(&["p/a/x", "p/a/b/y"]), "p/a/");
        assert_eq!(common(&["x", "y/z"]), "");
        assert_eq!(common(&["p/a/x"]), "p/a/");
    }

    #[test]
    fn only_what_is_small_beside_the_bundle_is_bundled() {
        assert_eq!(bundled_below(64 << 20), 1 << 20);
        assert_eq!(bundled_below(1 << 20), 128 << 10);
        assert_eq!(bundles_for(1000, 64 << 20, 64 << 20), 2);
    }
}
