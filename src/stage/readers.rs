//! How many files are read at once: what the source is made of decides.
//!
//! Owns: the number and the order. Does not own: finding out what the source is (`sys::device`). Pure.

use crate::census::Item;
use crate::sys::device::Medium;

/// Reads in flight that hide the round trips of a network mount.
const NETWORK_READERS: usize = 16;

/// How a source is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Readers {
    /// Files read at once.
    pub(super) count: usize,
    /// Whether files of one batch are read by inode number instead of by name: on most file systems that is near the order
    /// in which they lie on the platters.
    pub(super) in_disk_order: bool,
}

impl Readers {
    /// For sources on these media, with so many threads that compress; `asked`: the user says how many.
    ///
    /// A spinning disk read at two places at once spends its time between them, so each gets one reader; a network mount
    /// answers many questions at once, and each takes a round trip; anything else keeps the processors busy.
    pub(super) fn of(media: &[Medium], threads: usize, asked: Option<usize>) -> Self {
        let spinning = media.iter().filter(|medium| **medium == Medium::Spinning).count();
        let all_spin = spinning > 0 && spinning == media.len();
        let usual = threads.max(1) * 2;
        let count = if all_spin {
            spinning
        } else if media.contains(&Medium::Network) {
            usual.max(NETWORK_READERS)
        } else {
            usual
        };
        Self { count: asked.unwrap_or(count).max(1), in_disk_order: all_spin }
    }

    /// Puts a batch into the order in which it is read.
    pub(super) fn order(self, items: &mut [Item]) {
        if self.in_disk_order {
            items.sort_by_key(|item| item.facts.inode.map(|inode| (inode.dev, inode.ino)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_decides_how_many_files_are_read_at_once() {
        let of = |media: &[Medium]| Readers::of(media, 2, None);
        assert_eq!(of(&[Medium::Spinning]), Readers { count: 1, in_disk_order: true });
        assert_eq!(of(&[Medium::Spinning, Medium::Spinning]).count, 2, "one for each disk");
        assert_eq!(of(&[Medium::Spinning, Medium::Solid]), Readers { count: 4, in_disk_order: false });
        assert_eq!(of(&[Medium::Network]).count, NETWORK_READERS);
        assert_eq!(of(&[Medium::Solid, Medium::Unknown]).count, 4);
        assert_eq!(Readers::of(&[Medium::Network], 2, Some(3)).count, 3);
    }
}
