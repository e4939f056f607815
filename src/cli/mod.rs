//! The command line: one file per command turns arguments into options, calls a verb and prints the outcome.
//!
//! Owns: argument parsing, rendering, exit codes. Nothing below this layer prints or exits.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Parsed command line of the `packmule` program.
#[derive(Debug, Parser)]
#[command(name = "packmule", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {}

/// Parses the process arguments, runs the command and returns the documented exit code.
pub fn main() -> ExitCode {
    match Cli::parse().command {}
}
