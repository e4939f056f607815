//! `packmule custody add|show`: who had the drives, in their own signed words.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::key::volume_failure;
use crate::cli::{Exit, Failure};
use crate::crypto::{Purpose, SigningKey, fingerprint, is_signed};
use crate::digest::Sha256Stream;
use crate::format::{CustodyEntry, heads, hex};
use crate::job::Job;
use crate::sys::World;
use crate::sys::secrets::{open_named, read_secret, write_secret_new};
use crate::volume::{Volume, read_custody, write_custody};

/// Longest signing key file. Unit: bytes.
const KEY_BYTES_MAX: u64 = 4096;

/// Arguments of `packmule custody`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  packmule custody add /mnt/a --job ~/jobs/lab --handed-over 'ACME courier 4711' --seal-number 0048213
  packmule custody add /mnt/a --received 'from ACME, seal unbroken' --photo box.jpg --by 'J. Doe' --sign-with ~/my.key
  packmule custody show /mnt/a
  packmule custody show --job ~/jobs/lab

An entry cannot be changed or taken away later: `packmule verify` finds it out.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write down what happened, signed, on the volumes and in the job
    Add(AddArgs),
    /// Show what was written down, and check every signature
    Show(ShowArgs),
}

/// Arguments of `packmule custody add`.
#[derive(Debug, clap::Args)]
struct AddArgs {
    /// Volumes it happened to; with --job alone: --number
    volume: Vec<PathBuf>,
    /// Job directory: sign with its key, and keep the entry there too
    #[arg(long, value_name = "DIR", required_unless_present = "sign_with")]
    job: Option<PathBuf>,
    /// Number of a volume of the job that is not here; may be repeated
    #[arg(long, value_name = "NUMBER", requires = "job")]
    number: Vec<u32>,
    /// File with your own signing key: made, readable by you only, if it is not there
    #[arg(long, value_name = "FILE")]
    sign_with: Option<PathBuf>,
    /// Handed over to whom
    #[arg(long, value_name = "TEXT", help_heading = "What happened")]
    handed_over: Option<String>,
    /// Received from whom, in what state
    #[arg(long, value_name = "TEXT", help_heading = "What happened")]
    received: Option<String>,
    /// Number of a seal on the box; may be repeated
    #[arg(long, value_name = "NUMBER", help_heading = "What happened")]
    seal_number: Vec<String>,
    /// Photograph: its name and SHA-256 are written down, not the picture; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "What happened")]
    photo: Vec<PathBuf>,
    /// Anything else
    #[arg(long, value_name = "TEXT", help_heading = "What happened")]
    note: Option<String>,
    /// Who says so
    #[arg(long, value_name = "NAME", default_value = "the holder of this key")]
    by: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Arguments of `packmule custody show`.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Volumes
    #[arg(required_unless_present = "job")]
    volume: Vec<PathBuf>,
    /// Job directory
    #[arg(long, value_name = "DIR", conflicts_with = "volume")]
    job: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Adds or shows.
///
/// # Errors
/// When a volume, job or key cannot be used, or a log was altered.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Add(args) => add(args),
        Command::Show(args) => show(args),
    }
}

fn add(args: &AddArgs) -> anyhow::Result<Exit> {
    let world = World::real();
    let happened = happened(args)?;
    if happened.is_empty() || (args.volume.is_empty() && args.number.is_empty()) {
        let hint = "say what happened (--handed-over, --received, --seal-number, --photo, --note) and to which volume";
        return Err(Failure::new(Exit::Usage, "there is nothing to write down", hint).into());
    }
    let mut job = args.job.as_deref().map(Job::open).transpose().map_err(super::status::failure)?;
    let key = match (&args.sign_with, &job) {
        (Some(path), _) => Arc::new(signing_key(path, &world)?),
        (None, Some(job)) => job.signing_key().cloned().ok_or_else(|| anyhow::anyhow!("the job has no signing key"))?,
        (None, None) => return Err(anyhow::anyhow!("there is no key to sign with")),
    };
    let author = Author { by: &args.by, key: &key, now: world.clock.now() };
    let mut lines = Vec::new();
    for path in &args.volume {
        let volume = Volume::open(Arc::clone(&world.fs), path).map_err(|error| volume_failure(path, error))?;
        let number = volume.header().number;
        let mut log = read_custody(&volume).map_err(|error| volume_failure(path, error))?;
        check_signatures(number, &log)?;
        if let Some(job) = &mut job {
            if job.id() != volume.header().job {
                let (expected, found) = (job.id(), volume.header().job);
                let error = crate::volume::Error::OtherJob { path: path.clone(), expected, found };
                return Err(volume_failure(path, error).into());
            }
            log = joined(job, number, &log)?;
        }
        for (kind, detail) in &happened {
            log.push(author.entry(volume.header().job, number, kind, detail, &log));
        }
        // ORDER: the job first. What only the job knows is brought to the volume by the next `custody add`.
        if let Some(job) = &mut job {
            job.batch_durable(|batch| batch.take_custody(&log).map(drop))?;
        }
        write_custody(&volume, &log).map_err(|error| volume_failure(path, error))?;
        lines.push((number, log.len()));
    }
    if let Some(job) = &mut job {
        for number in &args.number {
            if !job.volumes()?.iter().any(|row| row.volume.number == *number) {
                let hint = "packmule status --job DIR names the volumes of the job";
                return Err(Failure::new(Exit::Usage, format!("the job has no volume {number}"), hint).into());
            }
            let mut log = job.custody(*number)?;
            for (kind, detail) in &happened {
                log.push(author.entry(job.id(), *number, kind, detail, &log));
            }
            job.batch_durable(|batch| batch.take_custody(&log).map(drop))?;
            lines.push((*number, log.len()));
        }
    }
    let mut out = std::io::stdout();
    if args.json {
        let volumes: Vec<_> =
            lines.iter().map(|(number, count)| serde_json::json!({ "volume": number, "entries": count })).collect();
        let document = serde_json::json!({ "signed_by": fingerprint(&key.public()), "volumes": volumes });
        writeln!(out, "{document}")?;
    } else {
        for (number, count) in lines {
            writeln!(out, "volume {number}: {count} entries; signed by {}", fingerprint(&key.public()))?;
        }
    }
    Ok(Exit::Done)
}

/// Kinds and details of what the arguments say happened.
fn happened(args: &AddArgs) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut happened = Vec::new();
    happened.extend(args.seal_number.iter().map(|number| ("seal-number", number.clone())));
    for path in &args.photo {
        let digest = digest(path).map_err(|error| {
            Failure::of(Exit::Usage, format!("cannot read photograph {}", path.display()), None, error)
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        happened.push(("photograph", format!("{name}, SHA-256 {digest}")));
    }
    happened.extend(args.received.iter().map(|text| ("received", text.clone())));
    happened.extend(args.handed_over.iter().map(|text| ("handed-over", text.clone())));
    happened.extend(args.note.iter().map(|text| ("note", text.clone())));
    Ok(happened)
}

fn digest(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut file = open_named(path)?;
    let mut stream = Sha256Stream::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&stream.finish())),
            count => stream.update(&buffer[..count]),
        }
    }
}

/// The key in the file; a new one if there is no file.
fn signing_key(path: &Path, world: &World) -> Result<SigningKey, Failure> {
    let failed = |what: &str| format!("signing key {} {what}", path.display());
    match read_secret(path, KEY_BYTES_MAX) {
        Ok(text) => {
            SigningKey::from_text(&text).map_err(|error| Failure::of(Exit::Key, failed("is not usable"), None, error))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = SigningKey::fresh(&*world.random);
            write_secret_new(path, key.to_text().as_bytes())
                .map_err(|error| Failure::of(Exit::Key, failed("cannot be written"), None, error))?;
            Ok(key)
        }
        Err(error) => Err(Failure::of(Exit::Key, failed("cannot be read"), None, error)),
    }
}

struct Author<'a> {
    by: &'a str,
    key: &'a SigningKey,
    now: jiff::Timestamp,
}

impl Author<'_> {
    fn entry(
        &self,
        job: crate::format::JobId,
        volume: u32,
        kind: &str,
        detail: &str,
        log: &[CustodyEntry],
    ) -> CustodyEntry {
        let mut entry = CustodyEntry {
            job,
            volume,
            at_ns: i64::try_from(self.now.as_nanosecond()).unwrap_or(i64::MAX),
            kind: kind.to_owned(),
            by: self.by.to_owned(),
            detail: detail.to_owned(),
            before: heads(log.iter()),
            key: self.key.public(),
            signature: [0; 64],
        };
        entry.signature = self.key.sign(Purpose::Custody, &entry.hash());
        entry
    }
}

/// The log of a volume, with what the job knows and it does not; the job learns what it does not know.
fn joined(job: &mut Job, number: u32, log: &[CustodyEntry]) -> anyhow::Result<Vec<CustodyEntry>> {
    job.batch_durable(|batch| batch.take_custody(log).map(drop))?;
    let mut joined = log.to_vec();
    joined.extend(job.custody(number)?.into_iter().filter(|entry| !log.contains(entry)));
    Ok(joined)
}

fn check_signatures(volume: u32, log: &[CustodyEntry]) -> Result<(), Failure> {
    match log.iter().position(|entry| !is_signed(&entry.key, Purpose::Custody, &entry.hash(), &entry.signature)) {
        None => Ok(()),
        Some(at) => {
            let message = format!("custody log of volume {volume}: the signature of entry {} does not hold", at + 1);
            Err(Failure::new(Exit::Integrity, message, "packmule verify VOLUME says more"))
        }
    }
}

fn show(args: &ShowArgs) -> anyhow::Result<Exit> {
    let world = World::real();
    let mut logs: Vec<(String, Vec<CustodyEntry>)> = Vec::new();
    if let Some(dir) = &args.job {
        let job = Job::open_read_only(dir).map_err(super::status::failure)?;
        let events = job.events().map_err(|error| {
            let hint = "somebody altered job.db; the copies on the volumes still hold".to_owned();
            Failure::of(Exit::Integrity, "the custody log does not hold", Some(hint), error)
        })?;
        let of = |volume| events.iter().filter(move |event| event.volume == volume).map(|event| event.entry.clone());
        logs.push(("the job".to_owned(), of(None).collect()));
        for row in job.volumes()? {
            let number = row.volume.number;
            logs.push((format!("volume {number}"), of(Some(number)).collect()));
        }
    }
    for path in &args.volume {
        let volume = Volume::open(Arc::clone(&world.fs), path).map_err(|error| volume_failure(path, error))?;
        let log = read_custody(&volume).map_err(|error| volume_failure(path, error))?;
        check_signatures(volume.header().number, &log)?;
        logs.push((format!("volume {}", volume.header().number), log));
    }
    let text = if args.json { json(&logs)? } else { text(&logs)? };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

fn when(entry: &CustodyEntry) -> String {
    jiff::Timestamp::from_nanosecond(entry.at_ns.into())
        .map(|at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
        .unwrap_or_default()
}

fn json(logs: &[(String, Vec<CustodyEntry>)]) -> anyhow::Result<String> {
    let entry = |entry: &CustodyEntry| {
        serde_json::json!({
            "at": when(entry), "kind": entry.kind, "by": entry.by, "detail": entry.detail,
            "signed_by": fingerprint(&entry.key), "hash": hex(&entry.hash()),
        })
    };
    let logs: Vec<_> = logs
        .iter()
        .map(|(of, log)| serde_json::json!({ "of": of, "entries": log.iter().map(entry).collect::<Vec<_>>() }))
        .collect();
    Ok(serde_json::to_string_pretty(&logs)? + "\n")
}

fn text(logs: &[(String, Vec<CustodyEntry>)]) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for (of, log) in logs.iter().filter(|(_, log)| !log.is_empty()) {
        writeln!(out, "{of}")?;
        for entry in log {
            let detail =
                if entry.detail.is_empty() { String::new() } else { format!(": {}", entry.detail.escape_debug()) };
            writeln!(out, "  {}  {}{detail}", when(entry), entry.kind.escape_debug())?;
            writeln!(out, "      said by {}, signed by {}", entry.by.escape_debug(), fingerprint(&entry.key))?;
        }
    }
    writeln!(out, "every signature holds")?;
    Ok(out)
}
