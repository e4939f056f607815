//! The `packmule` program: everything lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    packmule::cli::main()
}
