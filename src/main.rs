//! The `packmule` program: everything lives in the library.

use std::process::ExitCode;

/// Large buffers come and go all the time; the system's allocator gives their pages back and clears them anew each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    packmule::cli::main()
}
