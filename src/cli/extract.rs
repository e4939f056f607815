//! `packmule extract VOLUME... --to DIR [PATTERN]...`: back to a directory, without S3.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::cli::events::Events;
use crate::cli::key::KeyArgs;
use crate::cli::progress::{Painter, ProgressArgs};
use crate::cli::{Exit, Failure};
use crate::extract::{self, Class, Options, Outcome, Problem};
use crate::format::path::escape;
use crate::scan::{Rule, Selection};
use crate::sys::World;
use crate::sys::budget::MemoryBudget;
use crate::sys::process::{StopFlag, is_root, parallelism};
use crate::units::{Bytes, Count};

/// Problems shown without `--json`; that has all of them.
const PROBLEMS_SHOWN: usize = 50;

/// Arguments of `packmule extract`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Volumes of one job, in any order
    volume: Vec<PathBuf>,
    /// Directory to write to, made if it is missing; then patterns in the style of gitignore, for a part only
    #[arg(long, required = true, num_args = 1.., value_names = ["DIR", "PATTERN"])]
    to: Vec<PathBuf>,
    /// Replace files that are there and differ
    #[arg(long)]
    overwrite: bool,
    /// Restore set-uid and set-gid bits, and capabilities
    #[arg(long)]
    set_id: bool,
    /// Make device nodes
    #[arg(long)]
    devices: bool,
    /// Do not restore owners, which root otherwise does
    #[arg(long)]
    no_owner: bool,
    /// Threads that decrypt and write [default: one for each processor]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Memory for data under way
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    memory: Bytes,
    /// Tell what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    progress: ProgressArgs,
}

/// Extracts and tells what came of it.
///
/// # Errors
/// When nothing can be extracted at all: no volume, no key, no target.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let stop = StopFlag::new();
    stop.arm()?;
    let Some((target, patterns)) = args.to.split_first() else { return Ok(Exit::Usage) };
    if args.volume.is_empty() {
        let hint = "volumes stand before --to; what stands after its directory are patterns";
        return Err(Failure::new(Exit::Usage, "no volume is given", hint).into());
    }
    // Asked for once: all volumes are of one job, which is checked before anything is written.
    let volumes = args.key.open_volumes(&World::real(), &args.volume)?;
    let options = Options {
        patterns: select(patterns)?,
        overwrite: args.overwrite,
        set_id: args.set_id,
        devices: args.devices,
        owner: is_root() && !args.no_owner,
        threads: args.threads.unwrap_or_else(parallelism),
        budget: MemoryBudget::new(args.memory.get()),
        stop,
        dry_run: args.dry_run,
    };
    let events = Events::new("extract", Path::new(""), &args.progress.events);
    let painter = Painter::new("extract", &args.progress, events, args.json || args.dry_run);
    let outcome = extract::extract(&volumes, target, &options, &painter);
    painter.finish();
    let outcome = outcome.map_err(|error| painter.failed(failure(error)))?;
    let text = if args.json { json(target, &outcome)? } else { text(target, &outcome)? };
    std::io::stdout().write_all(text.as_bytes())?;
    let exit = exit(&outcome);
    painter.ended(exit, &format!("{} is {}", target.display(), exit.word()));
    Ok(exit)
}

fn select(patterns: &[PathBuf]) -> Result<Selection, Failure> {
    let rules: Vec<Rule> =
        patterns.iter().map(|pattern| Rule::Exclude(pattern.to_string_lossy().into_owned())).collect();
    Selection::new(&rules).map_err(|error| Failure::new(Exit::Usage, error.to_string(), error.hint()))
}

fn failure(error: extract::Error) -> Failure {
    let (exit, hint) = match &error {
        extract::Error::Target { .. } => (Exit::Failed, "its parent directory must exist and be writable"),
        extract::Error::OtherJob { .. } => (Exit::Volume, "extract the volumes of each job for themselves"),
        extract::Error::Budget { .. } => (Exit::Usage, "give a larger --memory"),
    };
    match error {
        extract::Error::Target { path, source } => {
            Failure::of(exit, format!("target {} cannot be used", path.display()), Some(hint.to_owned()), source)
        }
        error => Failure::new(exit, error.to_string(), hint),
    }
}

fn exit(outcome: &Outcome) -> Exit {
    match outcome.worst() {
        Some(Class::Target) => Exit::Failed,
        _ if outcome.is_stopped => Exit::Stopped,
        Some(Class::Integrity) => Exit::Integrity,
        Some(Class::Missing) => Exit::Volume,
        Some(Class::Entry) => Exit::Problems,
        None => Exit::Done,
    }
}

/// An error and its causes, on one line.
fn chain(problem: &Problem) -> String {
    let mut text = problem.message.clone();
    let mut cause = std::error::Error::source(problem);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn json(target: &Path, outcome: &Outcome) -> anyhow::Result<String> {
    let problem = |problem: &Problem| {
        let path = problem.path.as_deref().map(escape);
        serde_json::json!({ "class": problem.class, "path": path, "problem": chain(problem) })
    };
    let document = serde_json::json!({
        "target": target.to_string_lossy(),
        "counts": outcome.counts,
        "bytes": outcome.bytes,
        "set_id_left_out": outcome.set_id_left_out,
        "stopped": outcome.is_stopped,
        "problems": outcome.problems.iter().map(problem).collect::<Vec<_>>(),
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&document)?))
}

fn text(target: &Path, outcome: &Outcome) -> Result<String, std::fmt::Error> {
    use crate::extract::Done;
    let mut out = String::new();
    let words = [
        (Done::File, "files written and checked"),
        (Done::Directory, "directories"),
        (Done::Symlink, "symbolic links"),
        (Done::HardLink, "hard links"),
        (Done::Special, "special files"),
        (Done::AlreadyThere, "already there"),
        (Done::LeftOut, "sockets or devices left out"),
        (Done::WouldWrite, "entries would be written"),
    ];
    writeln!(
        out,
        "{} into {}",
        Bytes::new(outcome.bytes),
        escape(std::os::unix::ffi::OsStrExt::as_bytes(target.as_os_str()))
    )?;
    for (done, word) in words.into_iter().filter(|(done, _)| outcome.count(*done) > 0) {
        writeln!(out, "  {} {word}", Count::new(outcome.count(done)))?;
    }
    if outcome.set_id_left_out > 0 {
        writeln!(
            out,
            "  {} of them without their set-uid or set-gid bit (--set-id restores it)",
            Count::new(outcome.set_id_left_out)
        )?;
    }
    if !outcome.problems.is_empty() {
        writeln!(out, "{} problems:", Count::new(outcome.problems.len() as u64))?;
    }
    for problem in outcome.problems.iter().take(PROBLEMS_SHOWN) {
        let place = problem.path.as_deref().map(|path| format!("{}: ", escape(path))).unwrap_or_default();
        writeln!(out, "  {place}{}", chain(problem))?;
    }
    if outcome.problems.len() > PROBLEMS_SHOWN {
        writeln!(out, "  and {} more, all in --json", outcome.problems.len() - PROBLEMS_SHOWN)?;
    }
    if outcome.is_stopped {
        writeln!(out, "stopped; the same command goes on")?;
    }
    Ok(out)
}
