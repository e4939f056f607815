//! An allocator that wipes small memory when it is given back.
//!
//! Keys pass through libraries (age, bech32, the SDK) that do not all wipe their buffers. What was freed here holds zeros,
//! so neither a later read of this process's memory nor a swapped page shows them. Large buffers hold the data being
//! moved, not keys, and are left alone: wiping them would cost a pass over every byte.
//! Callers: the program installs it; the library works with any allocator.

use std::alloc::{GlobalAlloc, Layout};

/// Longest allocation that is wiped. age seals and opens slots in chunks of 64 KiB. Unit: bytes.
const WIPED_BYTES_MAX: usize = 128 << 10;

/// Another allocator, with the wiping.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wiping<A>(pub A);

#[expect(unsafe_code, reason = "the trait is unsafe; every call is handed on to the allocator below as it came")]
// SAFETY: memory comes from and goes back to the allocator below with the layout the caller gave; it is written to only while the
// caller gives it up, within its size.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if layout.size() <= WIPED_BYTES_MAX {
            // SAFETY: the block is `layout.size()` bytes long and still the caller's.
            unsafe { at.write_bytes(0, layout.size()) };
            std::hint::black_box(at); // the zeros may be looked at, as far as the compiler knows
        }
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { self.0.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.size() > WIPED_BYTES_MAX {
            // SAFETY: the caller keeps the contract of `realloc`.
            return unsafe { self.0.realloc(at, layout, new_size) };
        }
        // SAFETY: the caller promises that `new_size`, rounded up to the alignment, is a valid size.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: the layout is valid and not empty, as the caller of `realloc` promises.
        let new = unsafe { self.0.alloc(new_layout) };
        if !new.is_null() {
            // SAFETY: both blocks are at least that long, and they are different blocks.
            unsafe { std::ptr::copy_nonoverlapping(at, new, layout.size().min(new_size)) };
            // SAFETY: the old block is still the caller's, who gives it up.
            unsafe { self.dealloc(at, layout) };
        }
        new
    }
}
