//! `packmule ingest VOLUME... --to s3://BUCKET/PREFIX --job DIR`: from volumes into S3, proved object by object.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::key::{KeyArgs, volume_failure};
use crate::cli::{Exit, Failure, report};
use crate::ingest::remote::connect::ObjectOptions;
use crate::ingest::remote::probe::Endpoint;
use crate::ingest::remote::{Method, Target};
use crate::ingest::{self, Medium, Monitor, Options, Outcome};
use crate::job::{Job, State};
use crate::report::Stage;
use crate::sys::World;
use crate::sys::process::StopFlag;
use crate::units::{Bytes, Count};
use crate::volume::Volume;

const TO_HINT: &str = "write it as s3://BUCKET or s3://BUCKET/PREFIX";

/// Arguments of `packmule ingest`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Volumes: directories that hold a packmule/ folder
    #[arg(required = true)]
    volume: Vec<PathBuf>,
    /// Where to, as s3://BUCKET/PREFIX
    #[arg(long, value_name = "URL")]
    to: String,
    /// Job directory
    #[arg(long, value_name = "DIR")]
    job: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    object: ObjectArgs,
    /// Replace objects that are there and differ
    #[arg(long)]
    overwrite: bool,
    /// Abort unfinished uploads under the prefix that belong to nothing, once everything is there
    #[arg(long)]
    abort_orphans: bool,
    /// Most requests at a time
    #[arg(long, value_name = "N", default_value_t = 32)]
    max_requests: usize,
    /// Memory for bodies on their way
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    memory: Bytes,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Credentials of the embedded server, for `demo` only: never on a command line.
    #[arg(skip)]
    credentials: Option<(String, String)>,
}

impl Args {
    /// Hands over the credentials of the embedded server.
    pub(super) fn use_credentials(&mut self, access_key: &str, secret_key: &str) {
        self.credentials = Some((access_key.to_owned(), secret_key.to_owned()));
    }
}

/// How to reach the server.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Endpoint of an S3-compatible server
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    endpoint_url: Option<String>,
    /// Region [default: from environment or profile]
    #[arg(long)]
    region: Option<String>,
    /// Profile in the AWS configuration files
    #[arg(long)]
    profile: Option<String>,
    /// Put the bucket into the path (true) or the host name (false) [default: true with --endpoint-url]
    #[arg(long, value_name = "BOOL")]
    path_style: Option<bool>,
    /// Insist on a way of proof instead of the strongest the server has
    #[arg(long, value_name = "METHOD")]
    checksum: Option<Checksum>,
}

impl ServerArgs {
    /// The way to a bucket on this server.
    pub(super) fn target(&self, bucket: String) -> Target {
        Target {
            bucket,
            endpoint_url: self.endpoint_url.clone(),
            region: self.region.clone(),
            profile: self.profile.clone(),
            path_style: self.path_style,
            ..Target::default()
        }
    }
}

/// Ways of proof by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Checksum {
    /// CRC-64/NVME of parts and whole objects
    Crc64nvme,
    /// CRC-32C of parts and whole objects
    Crc32c,
    /// SHA-256 of every part
    Sha256,
    /// MD5 of every part
    Md5,
    /// None: read everything back and compare here
    ReadBack,
}

impl From<Checksum> for Method {
    fn from(checksum: Checksum) -> Self {
        match checksum {
            Checksum::Crc64nvme => Self::FullObjectCrc64,
            Checksum::Crc32c => Self::FullObjectCrc32c,
            Checksum::Sha256 => Self::CompositeSha256,
            Checksum::Md5 => Self::ContentMd5,
            Checksum::ReadBack => Self::ReadBack,
        }
    }
}

/// How objects are stored.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Objects")]
pub struct ObjectArgs {
    /// Storage class, such as DEEP_ARCHIVE
    #[arg(long, value_name = "CLASS")]
    storage_class: Option<String>,
    /// Server-side encryption: AES256, aws:kms or aws:kms:dsse
    #[arg(long, value_name = "KIND")]
    sse: Option<String>,
    /// KMS key for server-side encryption
    #[arg(long, value_name = "ID")]
    sse_kms_key_id: Option<String>,
    /// Bundle KMS calls per bucket
    #[arg(long, value_name = "BOOL")]
    bucket_key: Option<bool>,
    /// Tags, as a=1&b=2
    #[arg(long)]
    tagging: Option<String>,
    /// Canned ACL
    #[arg(long)]
    acl: Option<String>,
    /// Account that must own the bucket
    #[arg(long, value_name = "ACCOUNT")]
    expected_bucket_owner: Option<String>,
    /// Pay for requests to a bucket of others
    #[arg(long)]
    requester_pays: bool,
}

/// What `--json` prints.
#[derive(Debug, serde::Serialize)]
struct Report<'a> {
    destination: &'a str,
    endpoint: &'a Endpoint,
    objects_sent: u64,
    bytes_sent: u64,
    objects_present: u64,
    objects_failed: u64,
    parts_sent: u64,
    entries_left: u64,
    volumes_needed: &'a [u32],
    orphaned_uploads: usize,
    failures: Vec<[&'a str; 2]>,
    findings: Vec<FindingLine<'a>>,
    exit: u8,
}

#[derive(Debug, serde::Serialize)]
struct FindingLine<'a> {
    volume: u32,
    pack: u32,
    frame: Option<u32>,
    what: &'a str,
    keys: &'a [String],
}

/// Ingests and prints.
///
/// # Errors
/// When a volume, the job or the server cannot be used at all.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let (bucket, prefix) = destination(&args.to)?;
    let mut job = Job::open(&args.job).map_err(|error| {
        let hint = error.hint().map(ToOwned::to_owned);
        Failure::of(Exit::Failed, format!("job {}", args.job.display()), hint, error)
    })?;
    let media = open_volumes(args, &world, &job)?;
    if args.dry_run {
        return dry_run(args, &job);
    }
    let stop = StopFlag::new();
    stop.arm()?;
    let target = target(args, bucket);
    let options = Options {
        prefix,
        overwrite: args.overwrite,
        abort_orphans: args.abort_orphans,
        requests_max: args.max_requests,
        memory_bytes: args.memory.get(),
        method: args.server.checksum.map(Into::into),
        stop,
        ..Options::default()
    };
    let progress = Progress::new();
    let result = ingest::ingest(&mut job, &media, target, &options, &world, &progress);
    progress.bar.finish_and_clear();
    let outcome = result.map_err(failure)?;
    let exit = exit_of(&outcome, &job)?;
    drop(job);
    // A run that sent nothing leaves the report of the one that did.
    let is_news = outcome.tally.sent + outcome.tally.present + outcome.tally.failed > 0;
    let is_due = is_news || !report::is_kept(&args.job, Stage::Completion);
    let kept = if is_due { report::keep(&args.job, Stage::Completion) } else { None };
    let text = if args.json { json(args, &outcome, exit)? } else { text(args, &outcome, kept.as_deref()) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(exit)
}

/// Bucket and prefix of an s3:// URL. A prefix that is not empty ends in a slash.
pub(super) fn destination(url: &str) -> Result<(String, String), Failure> {
    let wrong = || Failure::new(Exit::Usage, format!("{url:?} is not a place in S3"), TO_HINT);
    let (bucket, prefix) =
        url.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, ""))).ok_or_else(wrong)?;
    if bucket.is_empty() {
        return Err(wrong());
    }
    let prefix = prefix.trim_end_matches('/');
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    Ok((bucket.to_owned(), prefix))
}

fn open_volumes(args: &Args, world: &World, job: &Job) -> Result<Vec<Medium>, Failure> {
    let mut media = Vec::new();
    let mut identities = None;
    for path in &args.volume {
        let volume = Volume::open(Arc::clone(&world.fs), path).map_err(|error| volume_failure(path, error))?;
        let (expected, found) = (job.id(), volume.header().job);
        if expected != found {
            let error = crate::volume::Error::OtherJob { path: path.clone(), expected, found };
            return Err(volume_failure(path, error));
        }
        let salt = volume.header().job_salt;
        let identities = match &identities {
            Some(identities) => identities,
            None => identities.insert(args.key.identities(&salt)?),
        };
        let keyring = crate::volume::Keyring::open(&volume, identities).map_err(|error| volume_failure(path, error))?;
        media.push(Medium { volume, keyring });
    }
    Ok(media)
}

fn target(args: &Args, bucket: String) -> Target {
    let (server, object) = (&args.server, &args.object);
    Target {
        credentials: args.credentials.clone(),
        connections_max: args.max_requests,
        objects: ObjectOptions {
            storage_class: object.storage_class.clone(),
            encryption: object.sse.clone(),
            kms_key_id: object.sse_kms_key_id.clone(),
            bucket_key: object.bucket_key,
            tagging: object.tagging.clone(),
            acl: object.acl.clone(),
            expected_bucket_owner: object.expected_bucket_owner.clone(),
            requester_pays: object.requester_pays,
        },
        ..server.target(bucket)
    }
}

fn failure(error: ingest::Error) -> Failure {
    let hint = error.hint().map(ToOwned::to_owned);
    match error {
        ingest::Error::Stopped => Failure::new(Exit::Stopped, "stopped", "the same command resumes"),
        ingest::Error::Volume(error) => volume_failure(Path::new(""), error),
        error @ ingest::Error::Remote { .. } => split(Exit::Remote, hint, error),
        error @ ingest::Error::OtherDestination { .. } => split(Exit::Usage, hint, error),
        error => split(Exit::Failed, hint, error),
    }
}

/// A failure that is printed with the error's own chain.
fn split(exit: Exit, hint: Option<String>, error: ingest::Error) -> Failure {
    Failure::of(exit, "ingest ends early", hint, error)
}

/// The worst of what was found decides.
fn exit_of(outcome: &Outcome, job: &Job) -> anyhow::Result<Exit> {
    let ledger = job.ledger()?;
    let unstaged = ledger.state(State::Problem).entries + ledger.state(State::Changed).entries;
    Ok(match outcome {
        outcome if !outcome.findings.is_empty() => Exit::Integrity,
        outcome if outcome.left > outcome.tally.failed && !outcome.volumes_needed.is_empty() => Exit::Volume,
        outcome if outcome.left > outcome.tally.failed => Exit::Remote,
        outcome if outcome.tally.failed > 0 || unstaged > 0 => Exit::Problems,
        _ => Exit::Done,
    })
}

fn dry_run(args: &Args, job: &Job) -> anyhow::Result<Exit> {
    let staged = job.ledger()?.staged();
    let arrived: u64 = job.object_ledger()?.iter().map(|(_, count)| count.entries).sum();
    let text = format!(
        "{} of {} entries ({}) have no object under {} yet; nothing was sent\n",
        Count::new(staged.entries.saturating_sub(arrived)),
        Count::new(staged.entries),
        Bytes::new(staged.bytes),
        args.to,
    );
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

fn json(args: &Args, outcome: &Outcome, exit: Exit) -> anyhow::Result<String> {
    let report = Report {
        destination: &args.to,
        endpoint: &outcome.endpoint,
        objects_sent: outcome.tally.sent,
        bytes_sent: outcome.tally.sent_bytes,
        objects_present: outcome.tally.present,
        objects_failed: outcome.tally.failed,
        parts_sent: outcome.tally.parts,
        entries_left: outcome.left,
        volumes_needed: &outcome.volumes_needed,
        orphaned_uploads: outcome.orphans.len(),
        failures: outcome.tally.failures.iter().map(|failure| [&*failure.key, &*failure.reason]).collect(),
        findings: outcome
            .findings
            .iter()
            .map(|f| FindingLine { volume: f.volume, pack: f.pack, frame: f.frame, what: &f.what, keys: &f.keys })
            .collect(),
        exit: exit.code(),
    };
    Ok(format!("{}\n", serde_json::to_string_pretty(&report)?))
}

fn text(args: &Args, outcome: &Outcome, report: Option<&Path>) -> String {
    let tally = &outcome.tally;
    let mut lines = vec![
        outcome.endpoint.to_string(),
        format!(
            "{}: {} objects sent and proved ({}), {} were there already, {} failed",
            args.to,
            Count::new(tally.sent),
            Bytes::new(tally.sent_bytes),
            Count::new(tally.present),
            Count::new(tally.failed),
        ),
    ];
    for failure in &tally.failures {
        lines.push(format!("  failed: {}: {}", failure.key, failure.reason));
    }
    for finding in &outcome.findings {
        let frame = finding.frame.map(|frame| format!(" frame {frame}")).unwrap_or_default();
        let (volume, pack, what) = (finding.volume, finding.pack, &finding.what);
        lines.push(format!("  damaged: volume {volume} pack {pack}{frame}: {what}; lost: {:?}", finding.keys));
    }
    if outcome.left > 0 {
        lines.push(format!("{} entries are not in the bucket yet", Count::new(outcome.left)));
    }
    if !outcome.volumes_needed.is_empty() {
        let numbers: Vec<String> = outcome.volumes_needed.iter().map(ToString::to_string).collect();
        lines.push(format!("bring volume {}, and give the same command with it", numbers.join(", ")));
    }
    if !outcome.orphans.is_empty() {
        let count = Count::new(outcome.orphans.len() as u64);
        lines.push(format!("{count} unfinished uploads there belong to nothing here; their parts are paid for: --abort-orphans ends them"));
    }
    if let Some(report) = report {
        lines.push(format!("report: {}", report.display()));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What is read and what is there, on a terminal.
struct Progress {
    bar: ProgressBar,
    objects: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{spinner} {bytes} read ({bytes_per_sec}), {msg} [{elapsed}]");
        let bar = ProgressBar::new_spinner();
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        Self { bar, objects: AtomicU64::new(0) }
    }
}

impl Monitor for Progress {
    fn endpoint(&self, endpoint: &Endpoint) {
        self.bar.set_message(format!("server compares {}", endpoint.method));
    }

    fn read(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn objects(&self, objects: u64, _bytes: u64) {
        let all = self.objects.fetch_add(objects, Ordering::Relaxed) + objects;
        self.bar.set_message(format!("{} objects proved", Count::new(all)));
    }

    fn part(&self, _bytes: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_s3() {
        let place = |url| destination(url).ok();
        let is = |bucket: &str, prefix: &str| Some((bucket.to_owned(), prefix.to_owned()));
        assert_eq!(place("s3://b"), is("b", ""));
        assert_eq!(place("s3://b/"), is("b", ""));
        assert_eq!(place("s3://b/a/c"), is("b", "a/c/"));
        assert_eq!(place("s3://b/a//"), is("b", "a/"));
        assert_eq!(place("s3:///a"), None);
        assert_eq!(place("b/a"), None);
    }
}
