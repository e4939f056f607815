//! `packmule doctor`: is this machine ready, and what is to be mended?

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use crate::cli::Exit;
use crate::cli::s3::{ServerArgs, destination};
use crate::doctor::{self, Check, Verdict};
use crate::ingest;
use crate::sys::World;

/// Arguments of `packmule doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Try a drive: one block is written, read back and removed; may be repeated
    #[arg(long, value_name = "DIR")]
    volume: Vec<PathBuf>,
    /// With --volume: write blocks spread over all free space, read them back, remove them; finds drives of false capacity
    #[arg(long, requires = "volume")]
    capacity: bool,
    /// Look at a source; may be repeated
    #[arg(long, value_name = "PATH")]
    source: Vec<PathBuf>,
    /// Look at the disk that holds, or will hold, this job directory
    #[arg(long, value_name = "DIR")]
    job: Option<PathBuf>,
    /// Ask whether this bucket can be reached and knows us; nothing is written
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Looks and prints. Exit code 1 when something will fail, else 0.
///
/// # Errors
/// When standard output is closed, or `--to` is no place in S3.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let mut checks = doctor::host(&world);
    checks.extend(args.source.iter().map(|path| doctor::source(path)));
    checks.extend(args.volume.iter().flat_map(|dir| doctor::volume(&world, dir)));
    if args.capacity {
        checks.extend(args.volume.iter().map(|dir| doctor::capacity(&world, dir)));
    }
    checks.extend(args.job.iter().flat_map(|dir| doctor::job_place(&world, dir)));
    if let Some(url) = &args.to {
        checks.push(bucket(url, &args.server)?);
    }
    let is_bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
    let text = match args.json {
        true => {
            format!("{}\n", serde_json::to_string_pretty(&serde_json::json!({"ready": !is_bad, "checks": checks}))?)
        }
        false => text(&checks)?,
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if is_bad { Exit::Failed } else { Exit::Done })
}

fn bucket(url: &str, server: &ServerArgs) -> anyhow::Result<Check> {
    let target = server.target(destination(url)?.0);
    let what = format!("bucket s3://{}", target.bucket);
    Ok(match ingest::reach(target) {
        Ok(()) => Check::good(what, "reached; it accepts our credentials and our clock"),
        Err(error) => {
            let mend = error.hint().unwrap_or("see what the server says");
            Check::not_good(Verdict::Bad, what, super::exit::chain(&error), mend)
        }
    })
}

fn text(checks: &[Check]) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for check in checks {
        let sign = match check.verdict {
            Verdict::Good => "ok     ",
            Verdict::Unknown => "unknown",
            Verdict::Warning => "warning",
            Verdict::Bad => "BAD    ",
        };
        writeln!(out, "{sign}  {}: {}", check.what, check.found)?;
        if let Some(mend) = &check.mend {
            writeln!(out, "           mend: {mend}")?;
        }
    }
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    match (count(Verdict::Bad), count(Verdict::Warning)) {
        (0, 0) => writeln!(out, "this machine is ready"),
        (0, warnings) => writeln!(out, "this machine is ready, with {warnings} to know about"),
        (bad, _) => writeln!(out, "not ready: {bad} to mend first"),
    }?;
    Ok(out)
}
