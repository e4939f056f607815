//! The `packmule` program: everything lives in the library.

use std::process::ExitCode;

use packmule::sys::wiping::Wiping;

/// Large buffers come and go all the time; the system's allocator gives their pages back and clears them anew each time. Keys
/// pass through libraries; what they free is wiped.
#[global_allocator]
static ALLOCATOR: Wiping<mimalloc::MiMalloc> = Wiping(mimalloc::MiMalloc);

/// `mi_option_purge_delay` of mimalloc 3: its place in `mi_option_t`, for which the binding has no name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// What that option is unless somebody said otherwise. Unit: milliseconds.
const PURGE_DELAY_USUAL: std::ffi::c_long = 1000;
/// How long freed pages stay with the program. Buffers of a frame come and go, and a page that was given back is cleared
/// when it is next touched: that was half of the processor time of a check of large files. Unit: milliseconds.
const PURGE_DELAY_HERE: std::ffi::c_long = 60_000;

/// Keeps freed pages for a while. Whoever set `MIMALLOC_PURGE_DELAY` has the word, and an allocator that does not have the
/// option in that place is left alone.
#[expect(unsafe_code, reason = "options of the allocator are functions of C; they take and give numbers")]
fn keep_freed_pages() {
    // SAFETY: both functions take any number, and may be called at any time.
    unsafe {
        if libmimalloc_sys::mi_option_get(PURGE_DELAY) == PURGE_DELAY_USUAL {
            libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_HERE);
        }
    }
}

fn main() -> ExitCode {
    keep_freed_pages();
    packmule::cli::main()
}
