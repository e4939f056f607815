//! `packmule completions SHELL`: a completion script on standard output.

use clap::CommandFactory;

use crate::cli::{Cli, Exit};

/// Arguments of `packmule completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shell to write the script for
    shell: clap_complete::Shell,
}

/// Writes the script.
///
/// # Errors
/// Never; the signature is that of every command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    clap_complete::generate(args.shell, &mut Cli::command(), "packmule", &mut std::io::stdout());
    Ok(Exit::Done)
}
