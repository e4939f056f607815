//! `packmule recover VOLUME... --job DIR`: the job database rebuilt from volumes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::key::{KeyArgs, volume_failure};
use crate::cli::{Exit, Failure};
use crate::monitor::Monitor;
use crate::recover::{self, Error, Given, Options, Outcome};
use crate::sys::World;
use crate::volume::{Keyring, Volume};

/// Lost ranges and damaged places shown without `--json`; that has all of them.
const SHOWN: usize = 50;

/// Arguments of `packmule recover`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  packmule recover /mnt/a /mnt/b --job ~/jobs/lab --unlock-code-file code.txt

Give every volume of the job. No volume is written. Of the volumes given only the volumes are believed; of volumes that
are not given, what the database says stays. Afterwards the same `packmule stage` goes on.")]
pub struct Args {
    /// Volumes of one job, in any order
    #[arg(required = true)]
    volume: Vec<PathBuf>,
    /// Job directory: made if it is not there
    #[arg(long, value_name = "DIR")]
    job: PathBuf,
    /// Put the database that is there aside (it is kept) and believe the volumes alone
    #[arg(long)]
    afresh: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    key: KeyArgs,
}

struct Bar(ProgressBar);

impl Monitor for Bar {
    fn bytes(&self, count: u64) {
        self.0.inc(count);
    }

    fn files(&self, _count: u64) {}

    fn message(&self, text: &str) {
        self.0.println(text);
    }
}

/// Rebuilds and says what stands now.
///
/// # Errors
/// When nothing was rebuilt; the database is as it was.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let (given, keyring, recipients) = open(args, &world)?;
    let options = Options { job: args.job.clone(), recipients, afresh: args.afresh };
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("reading packs {bytes} {bytes_per_sec}") {
        bar.set_style(style);
    }
    let outcome = recover::recover(&given, &keyring, &options, &world, &Bar(bar.clone()));
    bar.finish_and_clear();
    let outcome = outcome.map_err(failure)?;
    let text = if args.json { json(&outcome)? } else { text(args, &outcome)? };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(exit(&outcome))
}

fn open(args: &Args, world: &World) -> Result<(Vec<Given>, Keyring, Vec<String>), Failure> {
    let failed = |path: &Path, error| volume_failure(path, error);
    let open = |dir: &PathBuf| {
        let volume = Volume::open(Arc::clone(&world.fs), dir).map_err(|error| failed(dir, error))?;
        Ok(Given { volume, dir: dir.clone() })
    };
    let given = args.volume.iter().map(open).collect::<Result<Vec<_>, Failure>>()?;
    recover::check(&given).map_err(failure)?; // before a key is tried on a volume of somebody else's
    let Some(first) = given.first() else { return Ok((given, Keyring::default(), Vec::new())) };
    let salt = first.volume.header().job_salt;
    let mut identities = args.key.identities(&salt)?;
    args.key.ask_service(&mut identities, given.iter().map(|one| &one.volume))?;
    let mut keyring = Keyring::default();
    for one in &given {
        keyring.merge(Keyring::open(&one.volume, &identities).map_err(|error| failed(&one.dir, error))?);
    }
    Ok((given, keyring, args.key.recipients(&salt)?))
}

fn failure(error: Error) -> Failure {
    let hint = error.hint().map(str::to_owned);
    let exit = match &error {
        Error::NoVolume | Error::Twice { .. } => Exit::Usage,
        Error::OtherJob { .. } | Error::OtherVolume { .. } | Error::Erased { .. } => Exit::Volume,
        Error::Job(crate::job::Error::Conflict { .. } | crate::job::Error::Corrupt { .. }) => Exit::Integrity,
        Error::Job(_) => Exit::Failed,
        Error::Volume(_) => {
            let Error::Volume(error) = error else { return Failure::new(Exit::Failed, error.to_string(), "") };
            return volume_failure(Path::new("that was given"), error);
        }
    };
    Failure::of(exit, "nothing was rebuilt", hint, error)
}

/// 4 when a volume is damaged: what it lost is pending, and that is no clean end.
fn exit(outcome: &Outcome) -> Exit {
    let is_damaged = outcome.volumes.iter().any(|told| !told.damage.is_empty());
    if is_damaged { Exit::Integrity } else { Exit::Done }
}

fn text(args: &Args, outcome: &Outcome) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    if let Some(path) = &outcome.put_aside {
        writeln!(out, "the database that was there is kept as {}", path.display())?;
    }
    for told in &outcome.volumes {
        let state = if told.sealed.is_some() { "sealed" } else { "open" };
        let way = if told.by_manifest { "its manifest" } else { "its packs" };
        let (number, dir) = (told.number, told.dir.display());
        writeln!(
            out,
            "volume {number} at {dir}: {state}; {way} tell {} entries in {}",
            told.entries,
            super::stage::packs(told.packs)
        )?;
        for damage in told.damage.iter().take(SHOWN) {
            writeln!(out, "  damaged: {damage}")?;
        }
        for lost in told.lost.iter().take(SHOWN) {
            let path = if lost.path.is_empty() { "a file no record names" } else { &lost.path };
            writeln!(out, "  lost: {path}, bytes {} to {}", lost.from, lost.to)?;
        }
        let more = told.damage.len().saturating_sub(SHOWN) + told.lost.len().saturating_sub(SHOWN);
        if more > 0 {
            writeln!(out, "  ... and {more} more: --json lists all")?;
        }
        if !told.damage.is_empty() {
            writeln!(out, "  nothing more is written to it; what it lost is staged again on another volume")?;
        }
    }
    let list = |numbers: &[u32]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if !outcome.unknown.is_empty() {
        writeln!(out, "NOT KNOWN: volume {}: what only they hold is missing below", list(&outcome.unknown))?;
    }
    if !outcome.believed.is_empty() {
        writeln!(out, "not given, so the database is believed: volume {}", list(&outcome.believed))?;
    }
    writeln!(out, "{}", super::stage::ledger_line(&outcome.ledger))?;
    let what = if outcome.is_new { "made from the volumes" } else { "corrected from the volumes" };
    writeln!(out, "job {} {what}; the same `packmule stage` goes on", args.job.display())?;
    Ok(out)
}

fn json(outcome: &Outcome) -> anyhow::Result<String> {
    let document = serde_json::json!({
        "job": outcome.job,
        "exit": exit(outcome).code(),
        "new": outcome.is_new,
        "put_aside": outcome.put_aside,
        "volumes": outcome.volumes.iter().map(|told| serde_json::json!({
            "volume": told.number,
            "path": told.dir,
            "sealed": told.sealed.is_some(),
            "from": if told.by_manifest { "manifest" } else { "packs" },
            "packs": told.packs,
            "entries": told.entries,
            "damage": told.damage,
            "lost": told.lost.iter().map(|lost| serde_json::json!({
                "path": lost.path, "from": lost.from, "to": lost.to,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "unknown_volumes": outcome.unknown,
        "believed_volumes": outcome.believed,
        "ledger": super::stage::ledger_json(&outcome.ledger),
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}
