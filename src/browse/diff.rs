//! What differs between volumes and another place.

use serde::Serialize;

use crate::browse::other::{Other, Seen};
use crate::browse::{Error, Index, Node};
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
    /// Files among them that were compared by content.
    pub same_content: u64,
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
                sides.same_content += u64::from(seen.sha256.is_some());
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
    let entry_type = if node.entry_type == EntryType::HardLink { EntryType::File } else { node.entry_type };
    if entry_type != seen.entry_type {
        return Some(Difference::Type);
    }
    if seen.target.as_ref().is_some_and(|target| *target != node.target) {
        return Some(Difference::Target);
    }
    if let Some(size) = seen.size.filter(|size| *size != node.size) {
        return Some(Difference::Size(node.size, size));
    }
    match (seen.sha256, seen.mtime) {
        (Some(sha256), _) if sha256 != node.sha256 => Some(Difference::Content),
        (None, Some(mtime)) if mtime != (node.mtime_s, node.mtime_ns) => Some(Difference::Time),
        _ => None,
    }
}
