//! What the memory of one volume's check is for.
//!
//! Why nobody waits for memory that is waited for with: whoever reads waits for chunks that the opener gives back by itself,
//! and the opener never waits for any.

use crate::volume::Chunks;

/// Least and most bytes read at once. The more, the less of a chunk is a frame that two chunks share.
const READ_BYTES_MIN: u64 = 1 << 20;
const READ_BYTES_MAX: u64 = 8 << 20;

/// Memory of the check of one volume.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    total_bytes: u64,
}

impl Memory {
    pub(super) fn new(total_bytes: u64) -> Self {
        Self { total_bytes }
    }

    /// Frames of one group as they were read. The group that is read and the one that is opened share it, since what is
    /// opened is given back piece by piece; what of a group finds no room is read again.
    pub(super) fn group_bytes(self) -> u64 {
        self.total_bytes / 8 * 3
    }

    /// What was opened and is needed by a later group.
    pub(super) fn later_bytes(self) -> u64 {
        self.total_bytes / 4
    }

    /// What packs are read into.
    pub(super) fn chunks(self) -> Chunks {
        let read_bytes = (self.total_bytes / 64).clamp(READ_BYTES_MIN, READ_BYTES_MAX).next_multiple_of(READ_BYTES_MIN);
        let usize_of = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX / 2);
        Chunks::new(usize_of(read_bytes), usize_of(self.group_bytes()))
    }
}
