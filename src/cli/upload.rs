//! What `ingest` and `send` share: what is chosen, what is shown meanwhile and in the end.

use std::io::Write as _;
use std::path::Path;

use crate::cli::progress::Painter;
use crate::cli::s3::failure;
use crate::cli::{Exit, Failure, report};
use crate::ingest::remote::probe::Endpoint;
use crate::ingest::{self, Options, Orphan, Outcome, Replace};
use crate::job::{Job, State};
use crate::report::Stage;
use crate::scan::{Rule, Selection};
use crate::units::{Bytes, BytesPerSecond, Count, Usd};

/// Price of a GB for a month. Source: Amazon S3 pricing, S3 Standard, first 50 TB, US East, 2026-10.
const GB_MONTH_USD: f64 = 0.023;

/// Sizes of bundles that are taken. Unit: bytes.
const BUNDLE_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;

/// What is sent, and what becomes of what is there.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Choice")]
pub struct ChoiceArgs {
    /// Leave out what matches, in the style of gitignore; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Take what matches although --exclude leaves it out; may be repeated
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Replace objects that are there, without looking at them
    #[arg(long, conflicts_with = "if_changed")]
    overwrite: bool,
    /// Look at objects that are there, and replace those that differ
    #[arg(long)]
    if_changed: bool,
    /// Pack files that are small beside SIZE into indexed tar archives of about that size
    #[arg(long, value_name = "SIZE")]
    bundle: Option<Bytes>,
    /// Abort unfinished uploads under the prefix that belong to nothing, once everything is there
    #[arg(long)]
    abort_orphans: bool,
}

impl ChoiceArgs {
    /// The options with these choices.
    pub(super) fn apply(&self, options: Options) -> Result<Options, Failure> {
        let exclude = self.exclude.iter().cloned().map(Rule::Exclude);
        let rules: Vec<Rule> = exclude.chain(self.include.iter().cloned().map(Rule::Include)).collect();
        let selection = Selection::new(&rules)
            .map_err(|error| Failure::new(Exit::Usage, error.to_string(), error.hint().to_owned()))?;
        let replace = match (self.overwrite, self.if_changed) {
            (true, _) => Replace::Always,
            (_, true) => Replace::IfChanged,
            _ => Replace::Never,
        };
        let bundle_bytes = self.bundle.map(Bytes::get);
        if let Some(bytes) =
            bundle_bytes.filter(|bytes| !BUNDLE_BYTES.contains(bytes) || *bytes > options.memory_bytes / 4)
        {
            let message =
                format!("--bundle {} is too small, too large, or more than a quarter of --memory", Bytes::new(bytes));
            return Err(Failure::new(Exit::Usage, message, "give 1MiB to 1GiB, such as 64MiB"));
        }
        Ok(Options { selection, replace, bundle_bytes, abort_orphans: self.abort_orphans, ..options })
    }
}

/// Opens the job.
pub(super) fn open_job(dir: &Path) -> Result<Job, Failure> {
    Job::open(dir).map_err(|error| job_failure(dir, error))
}

/// Opens the job without the means to change it.
pub(super) fn open_job_to_read(dir: &Path) -> Result<Job, Failure> {
    Job::open_read_only(dir).map_err(|error| job_failure(dir, error))
}

fn job_failure(dir: &Path, error: crate::job::Error) -> Failure {
    let hint = error.hint().map(ToOwned::to_owned);
    Failure::of(Exit::Failed, format!("job {}", dir.display()), hint, error)
}

/// How the end is shown.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) to: &'a str,
    pub(super) json: bool,
    /// Whether volumes can be brought.
    pub(super) bring: bool,
}

/// Brings the report in the job directory up to date, prints, and gives the exit code. A run that was stopped or could not
/// go on leaves the report to the next one: who stops a run does not want to wait for lists of everything.
///
/// # Errors
/// The run's own, and those of printing.
pub(super) fn finish(job: Job, result: Result<Outcome, ingest::Error>, shown: &Shown<'_>) -> anyhow::Result<Exit> {
    let outcome = result.map_err(failure)?;
    let exit = exit_of(&outcome, &job)?;
    let dir = job.dir().to_owned();
    drop(job);
    // A run that sent nothing leaves the report of the one that did.
    let is_news = outcome.tally.sent + outcome.tally.present + outcome.tally.failed > 0;
    let is_due = is_news || !report::is_kept(&dir, Stage::Completion);
    let kept = if is_due { report::keep(&dir, Stage::Completion) } else { None };
    let text = if shown.json { json(shown, &outcome, exit)? } else { text(shown, &outcome, kept.as_deref()) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(exit)
}

/// The worst of what was found decides.
fn exit_of(outcome: &Outcome, job: &Job) -> anyhow::Result<Exit> {
    let ledger = job.ledger()?;
    let unstaged = ledger.state(State::Problem).entries + ledger.state(State::Changed).entries;
    let is_left = outcome.left > outcome.tally.failed;
    Ok(match outcome {
        outcome if !outcome.findings.is_empty() => Exit::Integrity,
        outcome if outcome.deferred.0 > 0 => Exit::Stopped,
        outcome if is_left && !outcome.volumes_needed.is_empty() => Exit::Volume,
        _ if is_left => Exit::Remote,
        outcome if outcome.tally.failed > 0 || unstaged > 0 => Exit::Problems,
        _ => Exit::Done,
    })
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
    bundles_sent: u64,
    parts_sent: u64,
    entries_left: u64,
    entries_left_out: u64,
    entries_deferred: u64,
    bytes_deferred: u64,
    volumes_needed: &'a [u32],
    orphaned_uploads: usize,
    orphaned_bytes: u64,
    aborted_uploads: u64,
    retries: u64,
    seconds: f64,
    bytes_per_second: Option<f64>,
    requests_in_flight_max: usize,
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

fn json(shown: &Shown<'_>, outcome: &Outcome, exit: Exit) -> anyhow::Result<String> {
    let findings = outcome.findings.iter();
    let report = Report {
        destination: shown.to,
        endpoint: &outcome.endpoint,
        objects_sent: outcome.tally.sent,
        bytes_sent: outcome.tally.sent_bytes,
        objects_present: outcome.tally.present,
        objects_failed: outcome.tally.failed,
        bundles_sent: outcome.tally.bundles,
        parts_sent: outcome.tally.parts,
        entries_left: outcome.left,
        entries_left_out: outcome.left_out,
        entries_deferred: outcome.deferred.0,
        bytes_deferred: outcome.deferred.1,
        volumes_needed: &outcome.volumes_needed,
        orphaned_uploads: outcome.orphans.len(),
        orphaned_bytes: held(&outcome.orphans),
        aborted_uploads: outcome.aborted,
        retries: outcome.journal.retries,
        seconds: outcome.journal.took_ms as f64 / 1000.0,
        bytes_per_second: outcome.journal.bytes_per_second(),
        requests_in_flight_max: outcome.journal.requests_max,
        failures: outcome.tally.failures.iter().map(|failure| [&*failure.key, &*failure.reason]).collect(),
        findings: findings
            .map(|f| FindingLine { volume: f.volume, pack: f.pack, frame: f.frame, what: &f.what, keys: &f.keys })
            .collect(),
        exit: exit.code(),
    };
    Ok(format!("{}\n", serde_json::to_string_pretty(&report)?))
}

fn held(orphans: &[Orphan]) -> u64 {
    orphans.iter().filter_map(|orphan| orphan.bytes).sum()
}

fn text(shown: &Shown<'_>, outcome: &Outcome, report: Option<&Path>) -> String {
    let tally = &outcome.tally;
    let mut lines = vec![
        outcome.endpoint.to_string(),
        format!(
            "{}: {} objects sent and proved ({}), {} were there already, {} failed",
            shown.to,
            Count::new(tally.sent),
            Bytes::new(tally.sent_bytes),
            Count::new(tally.present),
            Count::new(tally.failed),
        ),
    ];
    if tally.bundles > 0 {
        lines.push(format!(
            "among them files in {} bundles (tar, with an index beside each)",
            Count::new(tally.bundles)
        ));
    }
    if let Some(rate) = outcome.journal.bytes_per_second() {
        lines.push(format!("{} on average", BytesPerSecond::new(rate)));
    }
    for failure in &tally.failures {
        lines.push(format!("  failed: {}: {}", failure.key, failure.reason));
    }
    for finding in &outcome.findings {
        let frame = finding.frame.map(|frame| format!(" frame {frame}")).unwrap_or_default();
        let (volume, pack, what) = (finding.volume, finding.pack, &finding.what);
        lines.push(format!("  damaged: volume {volume} pack {pack}{frame}: {what}; lost: {:?}", finding.keys));
    }
    lines.extend(what_is_left(shown, outcome));
    lines.extend(orphans(outcome));
    if let Some(report) = report {
        lines.push(format!("report: {}", report.display()));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn what_is_left(shown: &Shown<'_>, outcome: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    if outcome.deferred.0 > 0 {
        let (entries, bytes) = (Count::new(outcome.deferred.0), Bytes::new(outcome.deferred.1));
        lines.push(format!("{entries} entries ({bytes}) did not fit into the slot; the same command sends them"));
    }
    if outcome.left > 0 {
        lines.push(format!("{} entries are not in the bucket yet", Count::new(outcome.left)));
    }
    if outcome.left_out > 0 {
        lines.push(format!("{} entries were left out by the rules", Count::new(outcome.left_out)));
    }
    if shown.bring && !outcome.volumes_needed.is_empty() {
        let numbers: Vec<String> = outcome.volumes_needed.iter().map(ToString::to_string).collect();
        lines.push(format!("bring volume {}, and give the same command with it", numbers.join(", ")));
    }
    lines
}

fn orphans(outcome: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    if outcome.aborted > 0 {
        lines.push(format!("{} unfinished uploads that belonged to nothing were aborted", Count::new(outcome.aborted)));
    }
    if !outcome.orphans.is_empty() {
        let (count, bytes) = (Count::new(outcome.orphans.len() as u64), held(&outcome.orphans));
        let month = Usd::from_f64(bytes as f64 / 1e9 * GB_MONTH_USD);
        lines.push(format!(
            "{count} unfinished uploads there belong to nothing here and hold {} (about {month} a month in S3 Standard); \
             --abort-orphans ends them",
            Bytes::new(bytes)
        ));
        for orphan in outcome.orphans.iter().take(10) {
            let bytes = orphan.bytes.map_or("unknown size".to_owned(), |bytes| Bytes::new(bytes).to_string());
            lines.push(format!("  {}: {bytes}", orphan.upload.key));
        }
    }
    lines
}

/// Tells whoever wants to know how the run ended.
pub(super) fn tell_end(painter: &Painter, to: &str, ended: &anyhow::Result<Exit>) {
    match ended {
        Ok(exit) => painter.ended(*exit, &format!("{to} is {}", exit.word())),
        Err(error) => {
            let exit = error.downcast_ref::<Failure>().map_or(Exit::Failed, |failure| failure.exit);
            painter.ended(exit, &format!("{error:#}"));
        }
    }
}
