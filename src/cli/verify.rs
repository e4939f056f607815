//! `packmule verify VOLUME...`: is everything on these volumes as it was written?

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::cli::events::Events;
use crate::cli::key::{KeyArgs, volume_failure};
use crate::cli::progress::{Painter, ProgressArgs};
use crate::cli::{Exit, Failure};
use crate::crypto::Identities;
use crate::job::Job;
use crate::monitor::Monitor;
use crate::sys::{World, machine};
use crate::units::{Bytes, Count};
use crate::verify::{self, Finding, Options, Report, Span, VolumeFacts};
use crate::volume::{CUSTODY, MANIFEST, SEALED, SUMS, Volume};

/// Lost ranges and incomplete files printed; `--json` has them all.
const LISTED_MAX: usize = 50;

/// Arguments of `packmule verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Volumes: the tops of the media, or directories that stand for them
    #[arg(id = "volume", required = true, value_name = "VOLUME")]
    volumes: Vec<PathBuf>,
    /// Check without a key: checksums and structure; nothing is learnt of the contents
    #[arg(long, conflicts_with_all = ["identity", "passphrase_file", "unlock_code_file", "share", "kms"])]
    keyless: bool,
    #[command(flatten)]
    key: KeyArgs,
    /// Job directory: write down in its custody log what this check came to
    #[arg(long, value_name = "DIR")]
    job: Option<PathBuf>,
    /// With a key, compare the SHA-256 of every pack as well
    #[arg(long)]
    sums: bool,
    /// The key that must have signed the seals: its words as on the label, or its hex digits
    #[arg(long, value_name = "FINGERPRINT")]
    signed_by: Option<String>,
    /// Memory for frames on their way [default: 512 MiB for each volume, as far as a quarter of what is free]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    progress: ProgressArgs,
}

/// Memory with which a volume's frames are not read twice: two groups of frames up to a commit, and what goes over it. Unit: bytes.
const VOLUME_BYTES: u64 = 512 << 20;

/// Memory for a check of so many volumes at once, of which each has its share.
fn memory_bytes(given: Option<u64>, volumes: usize, free_bytes: u64) -> u64 {
    let wanted = VOLUME_BYTES.saturating_mul(volumes as u64);
    given.unwrap_or_else(|| wanted.min(free_bytes / 4).max(VOLUME_BYTES))
}

/// Checks and prints.
///
/// # Errors
/// When a volume or key is missing, or standard output is closed. Damage is an outcome, not an error.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let identities = if args.keyless { None } else { identities(args, &world)? };
    let free_bytes = machine::memory().map_or(0, |memory| memory.available_bytes);
    let memory_bytes = memory_bytes(args.memory.map(Bytes::get), args.volumes.len(), free_bytes);
    let signed_by = args.signed_by.clone();
    let options = Options { identities, all_sums: args.sums, memory_bytes, signed_by };
    let events = Events::new("verify", args.job.as_deref().unwrap_or(Path::new("")), &args.progress.events);
    let painter = Painter::new("verify", &args.progress, events, args.json);
    announce(args, &world, &painter);
    let report = verify::verify(&world, &args.volumes, &options, &painter);
    painter.finish();
    let report = report.map_err(|error| painter.failed(failure(error)))?;
    if let Some(dir) = &args.job {
        record(dir, &report, &world)?;
    }
    let text = if args.json { format!("{}\n", serde_json::to_string_pretty(&report)?) } else { text(&report)? };
    std::io::stdout().write_all(text.as_bytes())?;
    let (exit, message) = match () {
        () if !report.is_clean() => (Exit::Integrity, "volumes are not as they were written"),
        () if !report.keys_missing.is_empty() => (Exit::Key, "volumes were checked in part: a key is missing"),
        () => (Exit::Done, "volumes are as they were written"),
    };
    painter.ended(exit, message);
    Ok(exit)
}

/// Appends what the check came to to the job's custody log, volume by volume.
fn record(dir: &Path, report: &Report, world: &World) -> anyhow::Result<()> {
    let mut job = Job::open(dir).map_err(super::status::failure)?;
    let now = world.clock.now();
    for volume in report.volumes.iter().filter(|volume| volume.job == job.id().to_string()).collect::<Vec<_>>() {
        let findings = report.findings.iter().filter(|finding| finding.volume == volume.number).count();
        let how = if report.keyed { "with a key" } else { "without a key" };
        let detail = format!("{how}, read {}: {findings} findings", volume.read);
        job.batch_durable(|batch| batch.append_event(now, "verified", Some(volume.number), &detail))?;
    }
    Ok(())
}

/// The identities for the job of the volumes; `None` when no volume has a readable header to take the salt from.
fn identities(args: &Args, world: &World) -> Result<Option<Identities>, Failure> {
    let opened = args.volumes.iter().find_map(|dir| Volume::open(std::sync::Arc::clone(&world.fs), dir).ok());
    let Some(volume) = opened else { return Ok(None) };
    let keyless = |failure: Failure| Failure {
        hint: failure.hint.map(|hint| format!("{hint}; or check without a key: --keyless")),
        ..failure
    };
    let mut identities = args.key.identities(&volume.header().job_salt).map_err(keyless)?;
    let opened = args.volumes.iter().filter_map(|dir| Volume::open(std::sync::Arc::clone(&world.fs), dir).ok());
    args.key.ask_service(&mut identities, &opened.collect::<Vec<_>>()).map_err(keyless)?;
    Ok(Some(identities))
}

fn failure(error: verify::Error) -> Failure {
    let message = error.to_string();
    match error {
        verify::Error::Volume { path, source } => volume_failure(&path, *source),
        verify::Error::Key { .. } => {
            Failure::new(Exit::Key, message, "give the key the volume was made for, or check without one: --keyless")
        }
        verify::Error::OtherJob { .. } => {
            Failure::new(Exit::Volume, message, "check the volumes of each job by themselves")
        }
        _ => Failure::new(Exit::Usage, message, "give each volume once"),
    }
}

/// Says what there is to check: every volume with its length, and all packs together.
fn announce(args: &Args, world: &World, painter: &Painter) {
    let (mut packs, mut bytes) = (0, 0);
    for dir in &args.volumes {
        // What cannot be opened is told by the check.
        let Ok(volume) = Volume::open(std::sync::Arc::clone(&world.fs), dir) else { continue };
        // The seal and the log are read before anything is counted.
        let mut files = volume.files().unwrap_or_default();
        files.retain(|name| ![CUSTODY, SEALED, SUMS].contains(&name.as_str()));
        let size = |name: &String| volume.fs().stat(&volume.root().join(name)).map_or(0, |stat| stat.len);
        let of_volume = files.iter().map(size).sum::<u64>();
        // `MANIFEST` is a pack too.
        packs += files.iter().filter(|name| name.ends_with(".pack") || name.ends_with(MANIFEST)).count() as u64;
        bytes += of_volume;
        painter.begins(volume.header().number, dir, of_volume);
    }
    Monitor::expects(painter, packs, bytes);
}

fn text(report: &Report) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for volume in &report.volumes {
        let state = if volume.sealed { "sealed" } else { "open" };
        let way = match volume.read {
            "direct" => "past the page cache",
            "dropped-cache" => "after dropping the page cache",
            _ => "through the page cache, which may hide what the medium holds",
        };
        writeln!(
            out,
            "volume {} at {}: {state}, {}, {} frames, {} read {way}",
            volume.number,
            volume.path,
            super::stage::packs(volume.packs),
            Count::new(volume.frames),
            Bytes::new(volume.bytes),
        )?;
        let how = match (volume.opened, volume.pack_sums_compared) {
            (true, true) => "every frame opened; every SHA-256 compared with SHA256SUMS",
            (true, false) => "every frame opened with the key, which proves more than the SHA-256 of the packs",
            (false, true) => "every SHA-256 compared with SHA256SUMS; every frame's checksum compared",
            (false, false) => "every frame's checksum compared",
        };
        writeln!(out, "  {how}")?;
        vouched(&mut out, volume)?;
    }
    if report.keyed {
        contents(&mut out, report)?;
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    for file in &report.keys_missing {
        writeln!(out, "no key for {file}: checked without one")?;
    }
    for finding in &report.findings {
        self::finding(&mut out, finding)?;
    }
    match report.findings.len() as u64 + report.findings_unlisted {
        0 if report.keys_missing.is_empty() => writeln!(out, "all is well")?,
        0 => writeln!(out, "nothing is damaged as far as the keys at hand can tell")?,
        1 => writeln!(out, "1 finding")?,
        count => writeln!(out, "{} findings", Count::new(count))?,
    }
    Ok(out)
}

fn vouched(out: &mut String, volume: &VolumeFacts) -> std::fmt::Result {
    if let Some(signed) = &volume.signed_by {
        writeln!(out, "  signed by {} (is that the key on the label?)", signed.fingerprint)?;
    }
    if let Some(last) = volume.custody.last() {
        let count = volume.custody.len();
        writeln!(
            out,
            "  custody: {count} entries, each signed; the last: {} {}, said by {}",
            last.at, last.kind, last.by
        )?;
    }
    Ok(())
}

fn contents(out: &mut String, report: &Report) -> std::fmt::Result {
    let files = if report.files_whole == 1 { "file" } else { "files" };
    write!(
        out,
        "{} {files} whole ({}), each equal to the SHA-256 taken at the source; {} other entries",
        Count::new(report.files_whole),
        Bytes::new(report.files_bytes),
        Count::new(report.others),
    )?;
    match report.problems {
        0 => writeln!(out)?,
        count => writeln!(out, "; {} recorded as not staged", Count::new(count))?,
    }
    if report.not_here > 0 {
        writeln!(out, "not here: parts of {} files are on volumes that were not given", Count::new(report.not_here))?;
        for path in report.not_here_paths.iter().take(LISTED_MAX) {
            writeln!(out, "  {path}")?;
        }
    }
    Ok(())
}

fn finding(out: &mut String, finding: &Finding) -> std::fmt::Result {
    write!(out, "finding ({}): volume {}, {}", finding.kind.word(), finding.volume, finding.file)?;
    if let Some(frames) = finding.frames {
        match frames {
            Span { from, to } if to <= from => write!(out, ", before frame {from}")?,
            Span { from, to } if to == from + 1 => write!(out, ", frame {from}")?,
            Span { from, to } => write!(out, ", frames {from} to {}", to - 1)?,
        }
    }
    if let Some(Span { from, to }) = finding.bytes {
        write!(out, ", bytes {from} to {}", to.saturating_sub(1))?;
    }
    writeln!(out, ": {}", finding.text)?;
    for lost in finding.lost.iter().take(LISTED_MAX) {
        let Span { from, to } = lost.bytes;
        let path = if lost.path.is_empty() { format!("entry {}", lost.id) } else { lost.path.clone() };
        writeln!(out, "  lost: {path}, bytes {from} to {}", to.saturating_sub(1))?;
    }
    match finding.lost.len().saturating_sub(LISTED_MAX) {
        0 => Ok(()),
        more => writeln!(out, "  lost: {more} more ranges, all in --json"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_volume_has_memory_of_its_own_as_far_as_the_machine_goes_and_the_user_has_the_word() {
        const GIB: u64 = 1 << 30;
        assert_eq!(memory_bytes(None, 1, 64 * GIB), GIB / 2);
        assert_eq!(memory_bytes(None, 4, 64 * GIB), 2 * GIB);
        assert_eq!(memory_bytes(None, 20, 16 * GIB), 4 * GIB);
        assert_eq!(memory_bytes(None, 20, 0), GIB / 2, "where it cannot be told what is free");
        assert_eq!(memory_bytes(Some(1 << 20), 20, 64 * GIB), 1 << 20);
    }
}
