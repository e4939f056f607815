//! `AlignedBuf`: a reusable byte buffer whose contents start at a multiple of 4096, as direct I/O asks.
//!
//! Owns: the alignment, by taking one page more and starting inside; no unsafe code. Does not own: who may hold how much
//! memory (`sys::budget`).
//! Invariants: the contents start aligned at all times; the capacity given at creation is fixed, because a reallocation
//! could move the start. Callers: pack writers and readers.
//!
//! A large buffer is memory of its own from the kernel, in huge pages where it has them: a drive is told where every piece
//! of memory is, and read back at half its speed when those are pages of 4 KiB (1.0 beside 2.1 GB/s on a virtio disk).

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

use crate::sys::fs::DIRECT_ALIGN_BYTES;

/// Buffers from here on are memory of their own. Unit: bytes.
const MAPPED_BYTES_MIN: usize = 1 << 20;
/// Length and alignment of a huge page: that of x86-64, and of arm64 with pages of 4 KiB. Unit: bytes.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A byte buffer of fixed capacity, aligned for direct I/O. Works like a `Vec<u8>` that never grows past its capacity.
pub struct AlignedBuf {
    store: Store,
    start: usize,
    len: usize,
    capacity: usize,
}

/// Where the bytes are.
enum Store {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

impl Store {
    /// Zeros that start anywhere.
    fn zeroed(bytes: usize) -> Self {
        if bytes < MAPPED_BYTES_MIN {
            return Self::Heap(vec![0; bytes]);
        }
        match MmapMut::map_anon(bytes) {
            Ok(map) => {
                #[cfg(target_os = "linux")]
                let _ = map.advise(memmap2::Advice::HugePage); // a kernel without them has none to give
                Self::Mapped(map)
            }
            Err(_) => Self::Heap(vec![0; bytes]), // ends the process if there is none there either
        }
    }
}

impl Deref for Store {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

impl DerefMut for Store {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

impl AlignedBuf {
    /// An empty buffer for up to `capacity` bytes. The memory is zeroed pages of the kernel, touched when written.
    pub fn with_capacity(capacity: usize) -> Self {
        let align = if capacity < MAPPED_BYTES_MIN { DIRECT_ALIGN_BYTES } else { HUGE_PAGE_BYTES };
        let store = Store::zeroed(capacity.next_multiple_of(align).saturating_add(align));
        let start = store.as_ptr().addr().wrapping_neg() % align;
        Self { store, start, len: 0, capacity }
    }

    /// Most bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.capacity - self.len
    }

    /// Forgets the contents; keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Shortens to `len` bytes; does nothing if it is shorter already.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Appends as much of `bytes` as fits and returns how much that was.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        let at = self.start + self.len;
        self.store[at..at + count].copy_from_slice(&bytes[..count]);
        self.len += count;
        count
    }

    /// Sets the length; bytes that come into view are zero. Panics if `len` is over the capacity.
    pub fn resize_zeroed(&mut self, len: usize) {
        let old = self.len;
        self.resize_dirty(len);
        if len > old {
            self[old..].fill(0);
        }
    }

    /// Sets the length; bytes that come into view are whatever was there before (zero or earlier contents), for a read
    /// that overwrites them. Panics if `len` is over the capacity.
    pub fn resize_dirty(&mut self, len: usize) {
        assert!(len <= self.capacity, "an aligned buffer of {} bytes cannot hold {len}", self.capacity);
        self.len = len;
    }

    /// Appends zeros up to the next multiple of the alignment, and returns how many. Panics if they do not fit.
    pub fn pad_to_alignment(&mut self) -> usize {
        let padded = self.len.next_multiple_of(DIRECT_ALIGN_BYTES);
        let added = padded - self.len;
        self.resize_zeroed(padded);
        added
    }

    /// Removes the first `count` bytes by moving the rest to the (aligned) front. Panics if there are fewer.
    pub fn drain_front(&mut self, count: usize) {
        let rest = self.len - count;
        self.store.copy_within(self.start + count..self.start + self.len, self.start);
        self.len = rest;
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.store[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.store[self.start..self.start + self.len]
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for AlignedBuf {
    /// Never the contents: they may be plain text of somebody's file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlignedBuf").field("len", &self.len).field("capacity", &self.capacity).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn starts_aligned_and_behaves_like_a_vector(
            capacity in 0usize..20_000,
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5000), 0..6),
        ) {
            let mut buf = AlignedBuf::with_capacity(capacity);
            let mut model = Vec::new();
            for part in &parts {
                let count = buf.push(part);
                model.extend_from_slice(&part[..count]);
                prop_assert!(count == part.len() || buf.room() == 0);
            }
            prop_assert_eq!(&buf[..], &model[..]);
            prop_assert_eq!(buf.as_ptr().addr() % DIRECT_ALIGN_BYTES, 0);
            let half = model.len() / 2;
            buf.drain_front(half);
            prop_assert_eq!(&buf[..], &model[half..]);
            prop_assert_eq!(buf.as_ptr().addr() % DIRECT_ALIGN_BYTES, 0);
        }
    }

    #[test]
    fn padding_is_zero_even_over_old_contents() {
        let mut buf = AlignedBuf::with_capacity(8192);
        buf.push(&[7; 8192]);
        buf.clear();
        buf.push(&[1; 10]);
        assert_eq!(buf.pad_to_alignment(), 4086);
        assert_eq!(buf.len(), 4096);
        assert!(buf[10..].iter().all(|&byte| byte == 0));
        assert_eq!(buf.pad_to_alignment(), 0);
    }

    #[test]
    fn a_large_buffer_starts_at_a_huge_page_holds_what_it_says_and_is_zero_at_first() {
        for capacity in [MAPPED_BYTES_MIN - 1, MAPPED_BYTES_MIN, HUGE_PAGE_BYTES, 2 * HUGE_PAGE_BYTES + 1] {
            let mut buf = AlignedBuf::with_capacity(capacity);
            let align = if capacity < MAPPED_BYTES_MIN { DIRECT_ALIGN_BYTES } else { HUGE_PAGE_BYTES };
            buf.resize_dirty(capacity);
            assert_eq!(buf.as_ptr().addr() % align, 0, "{capacity}");
            assert!(buf.iter().all(|byte| *byte == 0));
            buf.fill(7);
            buf.clear();
            assert_eq!((buf.push(&vec![9; capacity + 1]), buf.room()), (capacity, 0));
            assert!(buf.iter().all(|byte| *byte == 9));
        }
    }

    #[test]
    fn debug_shows_no_contents() {
        let mut buf = AlignedBuf::with_capacity(16);
        buf.push(b"secret");
        assert_eq!(format!("{buf:?}"), "AlignedBuf { len: 6, capacity: 16 }");
    }
}
