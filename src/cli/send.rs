//! `packmule send SOURCE... --to s3://BUCKET/PREFIX --job DIR`: straight from the source, over the line.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::cli::ahead::Ahead;
use crate::cli::events::Events;
use crate::cli::progress::{Painter, ProgressArgs};
use crate::cli::s3::{self, FlowArgs, ObjectArgs, ServerArgs, destination, failure};
use crate::cli::upload::{ChoiceArgs, Shown, finish, tell_end};
use crate::cli::{Exit, Failure};
use crate::ingest::{self, Options, Sources};
use crate::scan::{self, EntryKind, Root, WalkOptions};
use crate::sys::World;
use crate::sys::process::{StopFlag, parallelism};
use crate::sys::source::identity_followed;
use crate::units::{Bytes, Count};

/// Arguments of `packmule send`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is on volumes of the same job already is left to `ingest`; the report covers both.

Examples:
  packmule send /data --to s3://BUCKET/PREFIX --job ~/jobs/lab
  packmule send /data --to s3://BUCKET/PREFIX --job ~/jobs/lab --window 20:00-06:00 --limit-rate 200Mbit/s")]
pub struct Args {
    /// Directories or files to send
    #[arg(required = true)]
    source: Vec<PathBuf>,
    /// Where to, as s3://BUCKET/PREFIX
    #[arg(long, value_name = "URL")]
    to: String,
    /// Job directory; made if it does not exist
    #[arg(long, value_name = "DIR")]
    job: PathBuf,
    /// Stay on the file system of each source
    #[arg(long)]
    one_file_system: bool,
    /// List fifos, sockets and devices as skipped instead of making objects of them
    #[arg(long)]
    skip_special: bool,
    #[command(flatten)]
    choice: ChoiceArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    object: ObjectArgs,
    #[command(flatten)]
    flow: FlowArgs,
    /// Say what the job knows that would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    progress: ProgressArgs,
}

/// Sends and prints.
///
/// # Errors
/// When a source, the job or the server cannot be used at all.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let (bucket, prefix) = destination(&args.to)?;
    let roots = Root::resolve_all(&args.source).map_err(source_failure)?;
    if args.dry_run && identity_followed(&args.job.join("job.db")).is_err() {
        return first_dry_run(args, &roots);
    }
    let mut job = ingest::open_job(&args.job, &roots, &world).map_err(failure)?;
    let stop = StopFlag::new();
    let options = args.choice.apply(s3::options(prefix, &args.object, &args.flow, stop.clone(), &world)?)?;
    let ahead = Ahead::look(&job, &options, &args.object, &args.to, &world)?;
    if args.dry_run {
        return ahead.print(args.json);
    }
    ahead.warn();
    stop.arm()?;
    let walk = WalkOptions {
        threads: parallelism() * 2,
        one_file_system: args.one_file_system,
        selection: options.selection.clone(),
        own_output: own_output(&args.job).into_iter().collect(),
        stop,
        ..WalkOptions::default()
    };
    let sources = Sources { roots, walk, special_files: !args.skip_special };
    let target = s3::target(bucket, &args.server, &args.object, &args.flow, &world)?;
    let events = Events::new("send", &args.job, &args.progress.events);
    let painter = Painter::new("send", &args.progress, events, args.json);
    let result = ingest::send(&mut job, &sources, target, &options, &world, &painter);
    painter.finish();
    let ended = finish(job, result, &Shown { to: &args.to, json: args.json, bring: false });
    tell_end(&painter, &args.to, &ended);
    ended
}

/// Without a job everything is new: what the walk finds would be sent.
fn first_dry_run(args: &Args, roots: &[Root]) -> anyhow::Result<Exit> {
    let selection = args.choice.apply(Options::default())?.selection;
    let options = WalkOptions { one_file_system: args.one_file_system, selection, ..WalkOptions::default() };
    let (mut entries, mut bytes, mut problems) = (0_u64, 0_u64, 0_u64);
    scan::walk(roots, &options, |batch| {
        entries += batch.entries.len() as u64;
        bytes += batch.entries.iter().filter(|e| e.kind == EntryKind::File).map(|e| e.identity.size).sum::<u64>();
        problems += batch.problems.len() as u64;
        ControlFlow::Continue(())
    });
    let (entries, bytes, to) = (Count::new(entries), Bytes::new(bytes), &args.to);
    let text = if args.json {
        let report = serde_json::json!({
            "destination": to, "objects": entries.get(), "bytes": bytes.get(), "unreadable": problems,
        });
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        format!("{entries} entries ({bytes}) would be sent to {to}; no job was made, nothing was sent\n")
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if problems > 0 { Exit::Problems } else { Exit::Done })
}

/// The job directory, so that a job inside the source does not send itself.
fn own_output(job: &Path) -> Option<(u64, u64)> {
    identity_followed(job).ok().map(|identity| (identity.dev, identity.ino))
}

fn source_failure(error: scan::Error) -> Failure {
    let hint = error.hint().to_owned();
    Failure::of(Exit::Usage, "the source cannot be sent", Some(hint), error)
}
