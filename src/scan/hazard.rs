//! What will bite: names and files that trouble other systems, S3, or the people who look for them later.
//!
//! Owns: the list of hazards and the rules that find them. Does not own: what is done about them; packmule itself takes
//! every name as it is.
//! Invariants: a hazard never excludes anything. Collisions are looked for within one batch, so two colliding names of a
//! directory with more than `BATCH_ENTRIES_MAX` entries can be missed. Callers: `summary`, `stage`.

use unicode_normalization::UnicodeNormalization;

use crate::scan::batch::{DirBatch, Entry, EntryKind};
use crate::sys::source::UnixTime;

/// Longest key of an S3 object. Unit: bytes of UTF-8. Source: Amazon S3 User Guide, "Naming Amazon S3 objects", 2026-10.
pub const S3_KEY_BYTES_MAX: usize = 1024;

/// Largest S3 object: 10,000 parts of 5 GiB. Unit: bytes. Source: Amazon S3, maximum object size 50 TB, since 2025-12.
pub const S3_OBJECT_BYTES_MAX: u64 = 10_000 * 5 * (1 << 30);

/// Longest name on almost all file systems. Unit: bytes. Source: Linux NAME_MAX.
const NAME_BYTES_MAX: usize = 255;

/// A file counts as sparse if at least this much of it is not on the medium. Unit: bytes. Ours: smaller gaps are
/// allocation detail and not worth a line.
const SPARSE_BYTES_MIN: u64 = 1 << 20;

/// A file counts as being changed if it was written within this time before the scan. Unit: seconds. Ours.
const RECENT_SECONDS: i64 = 60;

/// Something about an entry that will trouble somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hazard {
    /// This user may not read it.
    Unreadable,
    /// The name is no valid UTF-8, which S3 keys must be.
    NotUtf8,
    /// The name holds a control character, such as a newline.
    ControlCharacter,
    /// The name is longer than almost all file systems allow.
    NameTooLong,
    /// The path is longer than an S3 key can be, even without a prefix.
    KeyTooLong,
    /// Another name in the directory differs only in upper and lower case.
    CaseCollision,
    /// Another name in the directory is the same text in another Unicode normalisation.
    NormalizationCollision,
    /// The name ends in a space or a dot, which Windows drops.
    TrailingSpaceOrDot,
    /// The name starts with a dash, which programs take for an option.
    LeadingDash,
    /// A fifo, socket or device: there is nothing in it to store as an object.
    Special,
    /// Much of the file is a hole.
    Sparse,
    /// The file has several names; as objects they become copies.
    HardLinked,
    /// Larger than the largest S3 object.
    TooLargeForS3,
    /// Written within the last minute: it may change while it is read.
    RecentlyChanged,
}

impl Hazard {
    /// What it means, as a clause after a count.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Unreadable => "cannot be read by this user: they will be listed as failed",
            Self::NotUtf8 => "have names that are no UTF-8: their S3 keys will be escaped, reversibly",
            Self::ControlCharacter => "have control characters in their names (newlines and the like)",
            Self::NameTooLong => "have names over 255 bytes",
            Self::KeyTooLong => "have paths over 1,024 bytes, the longest S3 key",
            Self::CaseCollision => {
                "have names that differ only in case from a neighbour's (they merge on Windows, macOS)"
            }
            Self::NormalizationCollision => {
                "have names that look the same as a neighbour's (other Unicode normalisation)"
            }
            Self::TrailingSpaceOrDot => "have names that end in a space or dot (lost on Windows)",
            Self::LeadingDash => "have names that start with a dash (taken for options)",
            Self::Special => "are fifos, sockets or devices",
            Self::Sparse => "are sparse: in S3 the holes become zeros",
            Self::HardLinked => "share their contents with other names (hard links); each name becomes an object",
            Self::TooLargeForS3 => "are larger than the largest S3 object (53,687,091,200,000 bytes)",
            Self::RecentlyChanged => "were written within the last minute: they may change while being staged",
        }
    }
}

/// Finds the hazards of one batch and reports each with the name it concerns.
pub fn hazards(batch: &DirBatch, now: UnixTime, report: &mut dyn FnMut(Hazard, &[u8])) {
    for entry in &batch.entries {
        let mut found = |hazard| report(hazard, &entry.name);
        name_hazards(batch.dir.len(), &entry.name, &mut found);
        file_hazards(entry, now, &mut found);
    }
    collisions(batch.entries.iter().map(|entry| entry.name.as_slice()), report);
}

fn name_hazards(dir_len: usize, name: &[u8], found: &mut dyn FnMut(Hazard)) {
    let separator = usize::from(dir_len > 0);
    let checks = [
        (std::str::from_utf8(name).is_err(), Hazard::NotUtf8),
        (has_control(name), Hazard::ControlCharacter),
        (name.len() > NAME_BYTES_MAX, Hazard::NameTooLong),
        (dir_len + separator + name.len() > S3_KEY_BYTES_MAX, Hazard::KeyTooLong),
        (matches!(name.last(), Some(b' ' | b'.')), Hazard::TrailingSpaceOrDot),
        (name.first() == Some(&b'-'), Hazard::LeadingDash),
    ];
    checks.into_iter().filter(|(is_found, _)| *is_found).for_each(|(_, hazard)| found(hazard));
}

/// ASCII control characters anywhere, or those of Latin-1 in valid text.
fn has_control(name: &[u8]) -> bool {
    name.iter().any(u8::is_ascii_control)
        || (!name.is_ascii() && name.utf8_chunks().any(|chunk| chunk.valid().chars().any(char::is_control)))
}

fn file_hazards(entry: &Entry, now: UnixTime, found: &mut dyn FnMut(Hazard)) {
    let id = &entry.identity;
    match entry.kind {
        EntryKind::Fifo | EntryKind::Socket | EntryKind::Block | EntryKind::Char => found(Hazard::Special),
        EntryKind::File => {
            let changed = id.mtime.seconds.max(id.ctime.seconds);
            let age_seconds = now.seconds.saturating_sub(changed);
            let checks = [
                (id.size.saturating_sub(id.allocated_bytes) >= SPARSE_BYTES_MIN, Hazard::Sparse),
                (id.nlink > 1, Hazard::HardLinked),
                (id.size > S3_OBJECT_BYTES_MAX, Hazard::TooLargeForS3),
                ((0..RECENT_SECONDS).contains(&age_seconds), Hazard::RecentlyChanged),
            ];
            checks.into_iter().filter(|(is_found, _)| *is_found).for_each(|(_, hazard)| found(hazard));
        }
        EntryKind::Dir | EntryKind::Symlink { .. } => {}
    }
}

/// Names of one directory that become one on a system that ignores case or normalises.
pub fn collisions<'a>(names: impl Iterator<Item = &'a [u8]>, report: &mut dyn FnMut(Hazard, &[u8])) {
    let mut folded: Vec<(String, &[u8])> = Vec::new();
    for name in names {
        if let Ok(text) = std::str::from_utf8(name) {
            folded.push((fold(text), name));
        }
    }
    folded.sort_unstable();
    for group in folded.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1) {
        for (_, name) in group {
            let twin = group.iter().any(|(_, other)| other != name && composed(other) == composed(name));
            report(if twin { Hazard::NormalizationCollision } else { Hazard::CaseCollision }, name);
        }
    }
}

fn fold(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { text.nfc().flat_map(char::to_lowercase).nfc().collect() }
}

fn composed(name: &[u8]) -> String {
    String::from_utf8_lossy(name).nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::source::{Identity, SourceKind};

    fn file(name: &[u8]) -> Entry {
        let identity = Identity {
            kind: SourceKind::File,
            dev: 1,
            ino: 1,
            size: 100,
            allocated_bytes: 4096,
            mtime: UnixTime::default(),
            ctime: UnixTime::default(),
            birth: None,
            mode: 0o644,
            uid: 0,
            gid: 0,
            nlink: 1,
            rdev: 0,
        };
        Entry { name: name.to_vec(), identity, kind: EntryKind::File, is_entered: false, place: None }
    }

    fn found(dir: &[u8], entries: Vec<Entry>) -> Vec<(Hazard, Vec<u8>)> {
        let (excluded, problems) = (Vec::new(), Vec::new());
        let batch = DirBatch { root: 0, dir: dir.to_vec(), identity: None, entries, excluded, problems, is_last: true };
        let mut all = Vec::new();
        hazards(&batch, UnixTime { seconds: 1_000_000, nanos: 0 }, &mut |hazard, name| {
            all.push((hazard, name.to_vec()))
        });
        all
    }

    fn of_name(name: &[u8]) -> Vec<Hazard> {
        found(b"", vec![file(name)]).into_iter().map(|(hazard, _)| hazard).collect()
    }

    #[test]
    fn ordinary_names_are_no_hazard() {
        for name in ["a", "report 2024.final.pdf", "\u{e9}t\u{e9}", ".hidden", "a-b", "\u{1f600}"] {
            assert_eq!(of_name(name.as_bytes()), [], "{name}");
        }
    }

    #[test]
    fn each_hostile_name_is_told_for_what_it_is() {
        assert_eq!(of_name(b"\xff"), [Hazard::NotUtf8]);
        assert_eq!(of_name(b"a\nb"), [Hazard::ControlCharacter]);
        assert_eq!(of_name("a\u{85}b".as_bytes()), [Hazard::ControlCharacter]);
        assert_eq!(of_name(&[b'x'; 256]), [Hazard::NameTooLong]);
        assert_eq!(of_name(&[b'x'; 255]), []);
        assert_eq!(of_name(b"a."), [Hazard::TrailingSpaceOrDot]);
        assert_eq!(of_name(b"-rf "), [Hazard::TrailingSpaceOrDot, Hazard::LeadingDash]);
    }

    #[test]
    fn a_path_of_1024_bytes_is_a_key_and_one_more_is_not() {
        let dir = [b'd'; 1000];
        assert_eq!(found(&dir, vec![file(&[b'x'; 23])]), []);
        assert_eq!(found(&dir, vec![file(&[b'x'; 24])])[0].0, Hazard::KeyTooLong);
    }

    #[test]
    fn colliding_names_are_told_apart_by_how_they_collide() {
        let (nfc, nfd) = ("\u{e9}".as_bytes(), "e\u{301}".as_bytes());
        let entries = [b"README", b"Readme", b"readmf"].map(|name| file(name)).into_iter().collect();
        let case = [(Hazard::CaseCollision, b"README".to_vec()), (Hazard::CaseCollision, b"Readme".to_vec())];
        assert_eq!(found(b"", entries), case);
        let mut both = found(b"", vec![file(nfd), file(nfc), file("\u{c9}".as_bytes())]);
        both.sort();
        let twins = [(Hazard::NormalizationCollision, nfd.to_vec()), (Hazard::NormalizationCollision, nfc.to_vec())];
        assert_eq!(both[0], (Hazard::CaseCollision, "\u{c9}".as_bytes().to_vec()));
        assert_eq!(both[1..], twins);
    }

    #[test]
    fn files_tell_holes_links_size_and_recent_writes() {
        let mut entry = file(b"f");
        entry.identity.size = 3 << 20;
        entry.identity.nlink = 2;
        entry.identity.ctime.seconds = 999_990;
        let all: Vec<_> = found(b"", vec![entry.clone()]).into_iter().map(|(hazard, _)| hazard).collect();
        assert_eq!(all, [Hazard::Sparse, Hazard::HardLinked, Hazard::RecentlyChanged]);
        entry.identity.ctime.seconds = 1_000_500;
        entry.identity.nlink = 1;
        entry.identity.size = S3_OBJECT_BYTES_MAX + 1;
        entry.identity.allocated_bytes = u64::MAX;
        assert_eq!(found(b"", vec![entry]), [(Hazard::TooLargeForS3, b"f".to_vec())], "the future is not recent");
    }
}
