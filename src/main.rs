//! The `packmule` program: everything lives in the library.

use std::process::ExitCode;

use packmule::sys::wiping::Wiping;

/// Large buffers come and go all the time; the system's allocator gives their pages back and clears them anew each time. Keys
/// pass through libraries; what they free is wiped.
#[global_allocator]
static ALLOCATOR: Wiping<mimalloc::MiMalloc> = Wiping(mimalloc::MiMalloc);

fn main() -> ExitCode {
    packmule::cli::main()
}
