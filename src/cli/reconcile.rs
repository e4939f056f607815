//! `packmule reconcile --job DIR`: what the job says arrived, against the bucket.

use std::io::Write as _;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::cli::s3::{ServerArgs, failure};
use crate::cli::upload::open_job_to_read;
use crate::cli::{Exit, Failure};
use crate::ingest::{self, By, Group, Reconciled};
use crate::sys::World;
use crate::units::Count;

/// Ways of knowing the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    /// List the bucket; look only at objects whose tag differs
    List,
    /// Look at every object the job sent, checksums included
    Head,
    /// Read S3 Inventory files: manifest.json, CSV (plain or gzip) or Parquet
    Inventory,
    /// Read completion reports of S3 Batch Operations ("Compute checksum")
    BatchReport,
}

/// Arguments of `packmule reconcile`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ends with 0 if every object the job sent is there and the same, 3 if there are others besides, 4 if any is missing or
different. All of them are listed in report/reconcile.csv of the job.

Examples:
  packmule reconcile --job ~/jobs/lab
  packmule reconcile --job ~/jobs/lab --by inventory manifest.json
  packmule reconcile --job ~/jobs/lab --by batch-report results/*.csv")]
pub struct Args {
    /// Inventory or report files
    file: Vec<PathBuf>,
    /// Job directory
    #[arg(long, value_name = "DIR")]
    job: PathBuf,
    /// How the bucket is known
    #[arg(long, value_enum, default_value_t = How::List)]
    by: How,
    /// Columns of an inventory CSV that has no manifest, as in its fileSchema
    #[arg(long, value_name = "NAMES")]
    columns: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Compares and prints.
///
/// # Errors
/// When the job, the bucket or a report cannot be read.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let by = by(args)?;
    let job = open_job_to_read(&args.job)?;
    let target = args.server.target(String::new());
    let found = ingest::reconcile(&job, target, &by, &*world.fs).map_err(failure)?;
    let exit = match &found {
        found if !found.is_clean() => Exit::Integrity,
        found if found.extra.count > 0 => Exit::Problems,
        _ => Exit::Done,
    };
    let text = if args.json { json(&found, exit)? } else { text(&found) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(exit)
}

fn by(args: &Args) -> Result<By, Failure> {
    let needs_files = matches!(args.by, How::Inventory | How::BatchReport);
    if needs_files == args.file.is_empty() {
        let (message, hint) = match needs_files {
            true => ("no file is given", "name the inventory's manifest.json, or the report's CSV files"),
            false => ("files are given, and nothing that reads them", "add --by inventory or --by batch-report"),
        };
        return Err(Failure::new(Exit::Usage, message, hint));
    }
    Ok(match args.by {
        How::List => By::List,
        How::Head => By::Head,
        How::Inventory => By::Inventory(args.file.clone(), args.columns.clone()),
        How::BatchReport => By::BatchReport(args.file.clone()),
    })
}

fn text(found: &Reconciled) -> String {
    let mut lines = vec![format!("{} objects are there and are what was sent", Count::new(found.same))];
    if found.same_length > 0 {
        let count = Count::new(found.same_length);
        lines.push(format!("{count} objects have the right length; nothing else was told about them"));
    }
    let groups = [
        ("missing", &found.missing, "were sent and are not there"),
        ("different", &found.different, "are not what was sent"),
        ("extra", &found.extra, "are there and were not sent"),
    ];
    for (_, group, meaning) in groups {
        if group.count > 0 {
            lines.push(format!("{} objects {meaning}", Count::new(group.count)));
            lines.extend(group.examples.iter().map(|(key, why)| format!("  {key}: {why}")));
        }
    }
    if !found.sees_extra {
        lines.push("objects that were not sent cannot be seen this way".to_owned());
    }
    if found.missing.count + found.different.count + found.extra.count > 0 {
        lines.push(format!("all of them: {}", found.list.display()));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn json(found: &Reconciled, exit: Exit) -> anyhow::Result<String> {
    let group = |group: &Group| serde_json::json!({ "count": group.count, "examples": group.examples });
    let report = serde_json::json!({
        "same": found.same,
        "same_length_only": found.same_length,
        "missing": group(&found.missing),
        "different": group(&found.different),
        "extra": group(&found.extra),
        "sees_extra": found.sees_extra,
        "list": found.list.display().to_string(),
        "exit": exit.code(),
    });
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}
