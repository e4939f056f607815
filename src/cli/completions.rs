//! `packmule completions SHELL`: a completion script on standard output.

use std::io::Write;

use crate::cli::{Exit, command};

/// Arguments of `packmule completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shell to write the script for
    shell: clap_complete::Shell,
}

/// Writes the script.
///
/// # Errors
/// When standard output is closed.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "packmule", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Exit::Done)
}
