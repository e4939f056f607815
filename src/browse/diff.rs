//! What differs between volumes and another place.

use serde::Serialize;

use crate::browse::other::{Other, Seen, Told};
use crate::browse::{Error, Index, Node};
use crate::digest::{crc64, sha256};
use crate::format::record::EntryType;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "difference", content = "detail")]
pub enum Difference {
    /// On the volumes only.
    OnVolumesOnly,
    /// There only.
    ThereOnly,
    /// Another kind of thing.
    Type,
    /// Another length: on the volumes, there.
    Size(u64, u64),
    /// The same length, another content.
    Content,
    /// The same length, and the modification time differs: the content may or may not.
    Time,
    /// A symbolic link points elsewhere.
    Target,
}

/// How many paths both sides have, and how many differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Sides {
    /// Paths that are the same.
    pub same: u64,
    /// Among them, compared by the SHA-256 of their content.
    pub same_content: u64,
    /// Among them, compared by a CRC-64/NVME of their content that the other side keeps.
    pub same_crc64: u64,
    /// Among them, compared by a SHA-256 that was noted on the other side, and that nobody there compared.
    pub same_noted: u64,
    /// Paths that differ.
    pub different: u64,
}

/// Who is handed each difference, with its path.
pub type Take<'a> = dyn FnMut(&[u8], &Difference) -> Result<(), Error> + 'a;

/// Compares, and hands each difference to `take`: those the other side has in its order, then what it does not have.
///
/// # Errors
/// When a side cannot be read, or `take` fails.
pub fn compare(index: &Index, other: &dyn Other, take: &mut Take<'_>) -> Result<Sides, Error> {
    let mut sides = Sides::default();
    other.each(&mut |seen| {
        let Some(node) = index.at(&seen.path)?.filter(|node| node.id > 0) else {
            sides.different += 1;
            return take(&seen.path, &Difference::ThereOnly);
        };
        index.mark_seen(node.ino)?;
        let file = match node.entry_type {
            EntryType::HardLink => index.linked(&node)?,
            _ => None,
        };
        match difference(file.as_ref().unwrap_or(&node), &seen) {
            Some(difference) => {
                sides.different += 1;
                take(&seen.path, &difference)
            }
            None => {
                sides.same += 1;
                match seen.content {
                    Told::Nothing => {}
                    Told::Sha256(_) => sides.same_content += 1,
                    Told::Crc64(_) => sides.same_crc64 += 1,
                    Told::Noted(_) => sides.same_noted += 1,
                }
                Ok(())
            }
        }
    })?;
    index.each_unseen(|path, _| {
        sides.different += 1;
        take(path, &Difference::OnVolumesOnly)
    })?;
    Ok(sides)
}

fn difference(node: &Node, seen: &Seen) -> Option<Difference> {
    let is_file = is_file(node);
    let entry_type = if node.entry_type == EntryType::HardLink { EntryType::File } else { node.entry_type };
    if seen.entry_type.is_some_and(|there| there != entry_type) {
        return Some(Difference::Type);
    }
    if seen.target.as_ref().is_some_and(|target| *target != node.target) {
        return Some(Difference::Target);
    }
    let here = content_bytes(node);
    if let Some(size) = seen.size.filter(|size| *size != here) {
        return Some(Difference::Size(here, size));
    }
    let is_same = match seen.content {
        Told::Nothing => {
            let is_touched = seen.mtime.is_some_and(|mtime| mtime != (node.mtime_s, node.mtime_ns));
            return is_touched.then_some(Difference::Time);
        }
        Told::Sha256(there) | Told::Noted(there) => there == if is_file { node.sha256 } else { sha256(bare(node)) },
        Told::Crc64(there) => there == if is_file { node.crc64 } else { crc64(bare(node)).to_be_bytes() },
    };
    (!is_same).then_some(Difference::Content)
}

/// Length of what would be an object's content.
fn content_bytes(node: &Node) -> u64 {
    if is_file(node) { node.size } else { bare(node).len() as u64 }
}

fn is_file(node: &Node) -> bool {
    matches!(node.entry_type, EntryType::File | EntryType::HardLink)
}

/// Content of what is no file: where a link points, or nothing.
fn bare(node: &Node) -> &[u8] {
    if node.entry_type == EntryType::Symlink { &node.target } else { &[] }
}
