//! Looking into volumes without putting anything back: what is there, one file's content, what differs from elsewhere.
//!
//! Owns: which generation of an entry is shown, reading any stretch of a file, the index on disk that comparisons and
//! mounts need. Does not own: opening frames (`volume`), printing (`cli`). Invariants: nothing is written to a volume;
//! memory does not grow with the number of entries (the index is a temporary database on disk); bytes are handed out
//! only from frames that authenticated. Callers: `cli`.

mod content;
mod diff;
mod error;
mod index;
mod latest;
#[cfg(feature = "mount")]
mod mount;
mod other;

pub use content::{Place, Reader};
pub use diff::{Difference, Sides, compare};
pub use error::Error;
pub use index::{Index, Node};
pub use latest::Latest;
#[cfg(feature = "mount")]
pub use mount::{Mounted, mount};
pub use other::{JobSide, Other, Seen, SourceSide, Told, VolumesSide};

use std::sync::Arc;

use crate::format::record::{Entry, EntryType, Record};
use crate::volume::{Keyring, Volume};

/// Volumes of one job with their keys.
pub type Opened = Arc<Vec<(Volume, Keyring)>>;

/// Hands every entry that holds to `take`, volume after volume, in the order it was staged. Two passes over the records;
/// memory grows with the entries that were read more than once or deleted, not with the others.
///
/// # Errors
/// When a volume cannot be read, or `take` fails.
pub fn list<E: From<Error>>(volumes: &Opened, mut take: impl FnMut(&Entry) -> Result<(), E>) -> Result<(), E> {
    let latest = Latest::of(volumes)?;
    latest::each_record(volumes, |_, _, record| match record {
        Record::Entry(entry) if latest.holds(entry.id, entry.generation) => take(&entry),
        _ => Ok(()),
    })
}

/// Finds an entry by its path.
///
/// # Errors
/// When a volume cannot be read.
pub fn find(volumes: &Opened, path: &[u8]) -> Result<Option<Entry>, Error> {
    let mut found = None;
    list(volumes, |entry| {
        if entry.path == path {
            found = Some(entry.clone());
        }
        Ok::<_, Error>(())
    })?;
    Ok(found)
}

/// The letter `ls -l` shows for a type.
pub fn type_letter(entry_type: EntryType) -> char {
    match entry_type {
        EntryType::File | EntryType::HardLink => '-',
        EntryType::Directory => 'd',
        EntryType::Symlink => 'l',
        EntryType::Fifo => 'p',
        EntryType::Socket => 's',
        EntryType::CharDevice => 'c',
        EntryType::BlockDevice => 'b',
    }
}
