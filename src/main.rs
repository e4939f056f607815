//! The `packmule` program: everything lives in the library.

use std::process::ExitCode;

use packmule::sys::wiping::Wiping;

/// Keys pass through libraries; what they free is wiped.
#[global_allocator]
static ALLOCATOR: Wiping<std::alloc::System> = Wiping(std::alloc::System);

fn main() -> ExitCode {
    packmule::cli::main()
}
