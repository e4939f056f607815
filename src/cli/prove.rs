//! `packmule prove` and `packmule check-proof`: one signed document from source digests to S3 checksums.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};

use crate::cli::{Exit, Failure};
use crate::crypto::{fingerprint, is_named};
use crate::erase::check_certificate;
use crate::format::hex;
use crate::job::{Job, replace_file};
use crate::report::{Checked, ProofEntry, ProofError, check_proof, pick, write_proof};
use crate::sys::World;
use crate::sys::secrets::{open_named, read_secret};
use crate::units::{Bytes, Count};

/// Entries printed; `--json` has them all when the proof shows some of many.
const LISTED_MAX: usize = 50;

/// Longest certificate of erasure. Unit: bytes.
const CERTIFICATE_BYTES_MAX: u64 = 64 << 10;

/// Arguments of `packmule prove`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  packmule prove --job ~/jobs/lab -o proof.json               (everything, signed with the job's key)
  packmule prove --from proof.json --entry dir/scan7.tif -o one.json   (one entry, without the others)
  packmule check-proof one.json --signed-by FINGERPRINT       (anywhere, without any secret)")]
pub struct Args {
    /// Job directory: prove everything it knows
    #[arg(long, value_name = "DIR", required_unless_present = "from")]
    job: Option<PathBuf>,
    /// A proof of everything, to show some of its entries only
    #[arg(long, value_name = "PROOF", conflicts_with = "job", requires = "entry")]
    from: Option<PathBuf>,
    /// Path of an entry to show, as the proof has it; may be repeated
    #[arg(long, value_name = "PATH", requires = "from")]
    entry: Vec<String>,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print one JSON document about what was written
    #[arg(long)]
    json: bool,
}

/// Arguments of `packmule check-proof`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The proof, or the JSON form of a certificate of erasure
    proof: PathBuf,
    /// The key that must have signed it: the words of its fingerprint, or its hex digits
    #[arg(long, value_name = "FINGERPRINT")]
    signed_by: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Writes a proof.
///
/// # Errors
/// When the job or the proof it is made from cannot be read, or the file not written.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let (count, written) = match (&args.job, &args.from) {
        (Some(dir), _) => {
            let job = Job::open(dir).map_err(super::status::failure)?;
            let now = world.clock.now();
            replace_file(&*world.fs, &args.output, |out| write_proof(&job, now, out).map_err(Wrapped))
        }
        (None, from) => {
            let from = from.as_deref().unwrap_or(Path::new(""));
            let paths: BTreeSet<String> = args.entry.iter().cloned().collect();
            let open = || open_named(from).map(BufReader::new);
            replace_file(&*world.fs, &args.output, |out| pick(open, &paths, out).map_err(Wrapped))
        }
    }
    .map_err(|Wrapped(error)| failure(error))?;
    let text = if args.json {
        let sha256 = hex(&written.sha256);
        serde_json::json!({ "file": args.output, "entries": count, "bytes": written.bytes, "sha256": sha256 })
            .to_string()
    } else {
        format!("{}: proof of {} entries, SHA-256 {}", args.output.display(), Count::new(count), hex(&written.sha256))
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(Exit::Done)
}

/// Only so that writing a file of the job directory can fail in its own way too.
struct Wrapped(ProofError);

impl From<crate::job::Error> for Wrapped {
    fn from(error: crate::job::Error) -> Self {
        Self(error.into())
    }
}

fn failure(error: ProofError) -> Failure {
    let (exit, hint) = match &error {
        ProofError::Broken(_) => (Exit::Integrity, "believe nothing in it; ask for it again"),
        ProofError::NoEntry(_) => (Exit::Usage, "name the path as the proof has it, escapes and all"),
        _ => (Exit::Failed, "the same command again starts over"),
    };
    let message = error.to_string();
    match std::error::Error::source(&error) {
        Some(_) => Failure::of(exit, "no proof", Some(hint.to_owned()), error),
        None => Failure::new(exit, message, hint),
    }
}

/// Checks a proof.
///
/// # Errors
/// When it cannot be read or does not hold.
pub fn check(args: &CheckArgs) -> anyhow::Result<Exit> {
    let input = open_named(&args.proof).map_err(|error| {
        let hint = "name the file that `packmule prove` wrote".to_owned();
        Failure::of(Exit::Usage, format!("cannot read {}", args.proof.display()), Some(hint), error)
    })?;
    if let Some(exit) = certificate(args)? {
        return Ok(exit);
    }
    let mut listed = Vec::new();
    let checked = check_proof(BufReader::new(input), |entry| {
        if listed.len() <= LISTED_MAX {
            listed.push(entry.clone());
        }
    })
    .map_err(failure)?;
    if let Some(expected) = args.signed_by.as_deref().filter(|expected| !is_named(&checked.key, expected)) {
        let message = format!("it is signed by {}, not by {expected}", fingerprint(&checked.key));
        return Err(Failure::new(Exit::Integrity, message, "believe it only if you know that key").into());
    }
    let shown = if checked.shown < checked.count { listed } else { Vec::new() };
    let text = if args.json { json(&checked, &shown)? } else { text(args, &checked, &shown)? };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

/// A certificate of erasure, if it is one.
fn certificate(args: &CheckArgs) -> anyhow::Result<Option<Exit>> {
    let bytes = match read_secret(&args.proof, CERTIFICATE_BYTES_MAX) {
        Ok(bytes) if bytes.starts_with(b"{\n  \"packmule_erasure\"") => bytes,
        _ => return Ok(None),
    };
    let Some(certificate) = check_certificate(&bytes) else {
        let message = "the certificate of erasure was altered, or is not signed by the key it names";
        return Err(Failure::new(Exit::Integrity, message, "believe nothing in it; ask for it again").into());
    };
    let is_expected = |expected: &str| expected == certificate.key || is_named_words(&certificate.signed_by, expected);
    if let Some(expected) = args.signed_by.as_deref().filter(|expected| !is_expected(expected)) {
        let message = format!("it is signed by {}, not by {expected}", certificate.signed_by);
        return Err(Failure::new(Exit::Integrity, message, "believe it only if you know that key").into());
    }
    let text = if args.json {
        serde_json::to_string_pretty(&certificate)? + "\n"
    } else {
        certificate.to_text() + "\nthe signature holds\n"
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Some(Exit::Done))
}

fn is_named_words(words: &str, text: &str) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace([' ', '-'], "");
    plain(words) == plain(text)
}

fn json(checked: &Checked, shown: &[ProofEntry]) -> anyhow::Result<String> {
    let document = serde_json::json!({
        "job": checked.job,
        "created": checked.created,
        "target": checked.target,
        "signed_by": fingerprint(&checked.key),
        "key": hex(&checked.key),
        "count": checked.count,
        "shown": checked.shown,
        "grades": checked.grades,
        "volumes": checked.volumes,
        "entries": shown,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn text(args: &CheckArgs, checked: &Checked, shown: &[ProofEntry]) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    writeln!(out, "proof of job {}, made {}", checked.job, checked.created)?;
    let known = if args.signed_by.is_some() { "as it should be" } else { "is that the key on the label?" };
    writeln!(out, "signed by {} ({known})", fingerprint(&checked.key))?;
    if !checked.target.is_empty() {
        writeln!(out, "objects below {}", checked.target)?;
    }
    for grade in &checked.grades {
        writeln!(
            out,
            "  {:<24} {:>12} entries, {}",
            grade.evidence,
            Count::new(grade.entries),
            Bytes::new(grade.bytes)
        )?;
    }
    for entry in shown {
        writeln!(out, "\n{} ({}, {} bytes): {}", entry.path, entry.r#type, entry.bytes, entry.evidence)?;
        let facts = [
            ("SHA-256 at the source", &entry.sha256),
            ("CRC-64/NVME at the source", &entry.crc64nvme),
            ("CRC-64/NVME of the server", &entry.server_crc64nvme),
            ("key", &entry.key),
            ("ETag", &entry.etag),
            ("volumes", &entry.volumes),
            ("failure", &entry.failure),
        ];
        for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            writeln!(out, "  {name:<26} {value}")?;
        }
    }
    let (shown, count) = (Count::new(checked.shown), Count::new(checked.count));
    if checked.shown < checked.count {
        writeln!(out, "\nthe proof holds: {shown} of {count} entries shown, nothing learnt of the others")?;
    } else {
        writeln!(out, "the proof holds: all {count} entries")?;
    }
    Ok(out)
}
