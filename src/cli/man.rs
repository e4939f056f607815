//! `packmule man`: manual pages, made from the same definitions that parse the command line.

use std::io::Write as _;
use std::path::PathBuf;

use crate::cli::{Exit, command};
use crate::job::{self, ensure_dir, replace_file};
use crate::sys::World;

/// Arguments of `packmule man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write a page for every command into this directory, such as ~/.local/share/man/man1
    #[arg(short, long, value_name = "DIR", conflicts_with = "page")]
    output: Option<PathBuf>,
    /// Print the page of this command [default: the page of packmule itself]
    #[arg(value_name = "COMMAND")]
    page: Option<String>,
}

/// Prints one page, or writes all.
///
/// # Errors
/// When there is no such command, or the output does not take it.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut program = command();
    program.build();
    if let Some(dir) = &args.output {
        return write_all(program, dir);
    }
    let page = match &args.page {
        None => program,
        Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| super::suggest::no_such_command(name))?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    std::io::stdout().write_all(&text)?;
    Ok(Exit::Done)
}

/// Writes `packmule.1` and `packmule-COMMAND.1` for each command.
fn write_all(program: clap::Command, dir: &std::path::Path) -> anyhow::Result<Exit> {
    let fs = World::real().fs;
    ensure_dir(&*fs, dir)?;
    let commands: Vec<clap::Command> =
        program.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect();
    for command in std::iter::once(program).chain(commands) {
        let man = clap_mangen::Man::new(command);
        let mut page = Vec::new();
        man.render(&mut page)?;
        let path = dir.join(man.get_filename());
        replace_file(&*fs, &path, |out| {
            out.write_all(&page).map_err(|source| job::Error::File { path: path.clone(), doing: "write", source })
        })?;
    }
    Ok(Exit::Done)
}
