//! `packmule status --job DIR`: where a job stands and what is next, from local files only.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{Exit, Failure};
use crate::job::{Job, State};
use crate::report::{Facts, Outcome, Stage, next, render_json, render_line, render_text};
use crate::sys::World;
use crate::sys::process::StopFlag;

/// Arguments of `packmule status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job directory
    #[arg(long, value_name = "DIR")]
    job: PathBuf,
    /// Count every entry again and compare with the ledger
    #[arg(long)]
    check: bool,
    /// Look again every so many seconds, until the job is complete or Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5", value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Moves the cursor to the top left and clears what is below: the page is painted anew without a flash.
const HOME: &str = "\x1b[H\x1b[J";

/// Looks and prints: one line when all is well, the whole report when not.
///
/// # Errors
/// When there is no job, or its database fails.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let Some(seconds) = args.watch else { return Ok(look(args)?.0) };
    let stop = StopFlag::new();
    stop.arm()?;
    let clock = World::real().clock;
    loop {
        if std::io::stdout().is_terminal() && !args.json {
            std::io::stdout().write_all(HOME.as_bytes())?;
        }
        let (exit, is_over) = look(args)?;
        if is_over || stop.is_set() {
            return Ok(exit);
        }
        let until = clock.monotonic() + Duration::from_secs(seconds);
        while clock.monotonic() < until && !stop.is_set() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Looks once; gives whether nothing is left to do.
fn look(args: &Args) -> anyhow::Result<(Exit, bool)> {
    let job = Job::open_read_only(&args.job).map_err(failure)?;
    if args.check && job.recount().map_err(failure)? != job.ledger().map_err(failure)? {
        let hint = "rebuild the database from the volumes: `packmule recover`";
        return Err(Failure::new(Exit::Integrity, "the ledger differs from a recount of the entries", hint).into());
    }
    let facts = Facts::glance(&job, stage(&job)?, World::real().clock.now())?;
    let mut out = std::io::stdout().lock();
    if args.json {
        out.write_all(render_json(&facts, &[])?.as_bytes())?;
    } else if facts.lists.failure.entries == 0 && facts.outcome() != Outcome::Incomplete {
        let next = next(&facts).command.map_or(String::new(), |command| format!("\nnext: {command}"));
        writeln!(out, "{}{next}", render_line(&facts))?;
    } else {
        out.write_all(render_text(&facts).as_bytes())?;
    }
    Ok((exit(&facts), facts.outcome() != Outcome::Incomplete))
}

/// 3 when entries have problems, else 0: an unfinished job is no problem.
pub(super) fn exit(facts: &Facts) -> Exit {
    let has_problems = facts.ledger.state(State::Problem).entries + facts.ledger.state(State::Changed).entries > 0
        || facts.lists.without_entry > 0
        || facts.lists.reasons.contains_key("refused");
    if has_problems { Exit::Problems } else { Exit::Done }
}

/// The report that fits how far the job is: of the staging until something was sent.
pub(super) fn stage(job: &Job) -> anyhow::Result<Stage> {
    Ok(if job.object_ledger().map_err(failure)?.is_empty() { Stage::Staging } else { Stage::Completion })
}

/// The job's error with its advice.
pub(super) fn failure(error: crate::job::Error) -> Failure {
    let hint = error.hint().map(str::to_owned);
    let exit = match &error {
        crate::job::Error::Missing { .. } | crate::job::Error::Exists { .. } => Exit::Usage,
        crate::job::Error::Corrupt { .. } => Exit::Integrity,
        _ => Exit::Failed,
    };
    let message = error.to_string();
    match std::error::Error::source(&error).is_some() {
        true => Failure::of(exit, "the job cannot be used", hint, error),
        false => Failure { exit, message, hint, source: None },
    }
}
