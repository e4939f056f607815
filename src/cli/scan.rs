//! `packmule scan SOURCE...`: what is there, and what will bite.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{Exit, Failure};
use crate::format::path::escape;
use crate::scan::{
    self, DirBatch, EntryKind, Hazard, Root, Rule, SampleOptions, Sampler, Samples, Selection, Summary, WalkOptions,
};
use crate::sys::World;
use crate::sys::process::{StopFlag, parallelism};
use crate::sys::source::{UnixTime, is_readable};
use crate::units::{Bytes, Count};

/// Arguments of `packmule scan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directories or files to look at
    #[arg(required = true)]
    source: Vec<PathBuf>,
    /// Leave out what matches, in the style of gitignore; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Take what matches although --exclude leaves it out; may be repeated
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Stay on the file system of each source
    #[arg(long)]
    one_file_system: bool,
    /// Threads that walk [default: twice the processors, at least 4]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Blocks of 64 KiB to read for compressibility and read rate; 0 reads no contents
    #[arg(long, value_name = "N", default_value_t = 256)]
    samples: usize,
    /// Write what was found as a dataset file for `packmule plan`
    #[arg(long, short, value_name = "DATASET.toml")]
    output: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, serde::Serialize)]
struct Report {
    sources: Vec<String>,
    empty_sources: Vec<String>,
    complete: bool,
    seconds: f64,
    #[serde(flatten)]
    summary: Summary,
    samples: Samples,
}

/// Scans and prints.
///
/// # Errors
/// When a source cannot be read at all, a pattern is wrong, or standard output is closed.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let stop = StopFlag::new();
    stop.arm()?;
    let roots = Root::resolve_all(&args.source).map_err(failure)?;
    let options = WalkOptions {
        threads: args.threads.unwrap_or_else(|| (parallelism() * 2).max(4)),
        one_file_system: args.one_file_system,
        selection: Selection::new(&rules(args)).map_err(failure)?,
        stop: stop.clone(),
        ..WalkOptions::default()
    };
    let report = scan(args, &world, &roots, &options);
    let text = if args.json { format!("{}\n", serde_json::to_string_pretty(&report)?) } else { text(&report)? };
    std::io::stdout().write_all(text.as_bytes())?;
    if let Some(path) = &args.output {
        let name = report.sources.join(", ");
        let file = super::dataset::of_scan(&name, &report.summary, &report.samples, report.seconds);
        super::dataset::write(&*world.fs, path, &file.to_toml()?)?;
        writeln!(std::io::stdout(), "written: {0}  (next: packmule plan {0} --link RATE)", path.display())?;
    }
    Ok(match &report {
        report if stop.is_set() || !report.complete => Exit::Stopped,
        report if report.has_problems() => Exit::Problems,
        _ => Exit::Done,
    })
}

impl Report {
    /// An empty source counts: it may be a mount point without its mount.
    fn has_problems(&self) -> bool {
        let unreadable = self.summary.hazards.contains_key(&Hazard::Unreadable);
        self.summary.problem_count() > 0 || unreadable || !self.empty_sources.is_empty()
    }
}

fn failure(error: scan::Error) -> Failure {
    let exit = if matches!(error, scan::Error::Root { .. }) { Exit::Failed } else { Exit::Usage };
    let hint = error.hint().to_owned();
    match error {
        scan::Error::Root { source, path } => {
            Failure::of(exit, format!("source {} cannot be read", path.display()), Some(hint), source)
        }
        error => Failure::new(exit, error.to_string(), hint),
    }
}

/// Excludes first, so that an include wins whatever the order on the command line.
fn rules(args: &Args) -> Vec<Rule> {
    let exclude = args.exclude.iter().cloned().map(Rule::Exclude);
    exclude.chain(args.include.iter().cloned().map(Rule::Include)).collect()
}

fn scan(args: &Args, world: &World, roots: &[Root], options: &WalkOptions) -> Report {
    let start = world.clock.monotonic();
    let now = UnixTime { seconds: world.clock.now().as_second(), nanos: 0 };
    let labels: Vec<String> = roots.iter().map(label).collect();
    let mut summary = Summary::default();
    let mut sampler = Sampler::new(args.samples, &*world.random);
    let progress = spinner();
    let totals = scan::walk(roots, options, |batch| {
        if let (Some(root), Some(label)) = (roots.get(batch.root), labels.get(batch.root)) {
            summary.add(label, &batch, now);
            look_at_files(root, label, &batch, &mut summary, &mut sampler);
        }
        progress.set_position(summary.files);
        ControlFlow::Continue(())
    });
    progress.set_message("reading samples");
    let samples = sampler.read(&SampleOptions { blocks_max: args.samples, ..SampleOptions::default() }, &*world.clock);
    progress.finish_and_clear();
    let names: Vec<String> = roots.iter().map(|root| shown(root.given())).collect();
    let empty = totals.names_per_root.iter().zip(&names).filter(|(count, _)| **count == 0);
    Report {
        empty_sources: empty.map(|(_, name)| name.clone()).collect(),
        sources: names,
        complete: totals.is_complete,
        seconds: world.clock.monotonic().saturating_sub(start).as_secs_f64(),
        summary,
        samples,
    }
}

/// Asks for each file whether it can be opened, and offers it to the sampler.
fn look_at_files(root: &Root, label: &str, batch: &DirBatch, summary: &mut Summary, sampler: &mut Sampler) {
    for entry in batch.entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        let relative = scan::join(&batch.dir, &entry.name);
        let path = root.open_path(&relative);
        if is_readable(&path) {
            sampler.offer(&path, entry.identity.size);
        } else {
            summary.add_hazard(Hazard::Unreadable, label, &relative);
        }
    }
}

fn shown(path: &std::path::Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    escape(path.as_os_str().as_bytes())
}

/// What is put before a relative path so that the user can find it.
fn label(root: &Root) -> String {
    let place = if root.is_file() { root.given().parent().unwrap_or(root.given()) } else { root.given() };
    match shown(place) {
        empty if empty.is_empty() => empty,
        place if place.ends_with('/') => place,
        place => format!("{place}/"),
    }
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {human_pos} files {msg}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

fn text(report: &Report) -> Result<String, std::fmt::Error> {
    let sum = &report.summary;
    let mut out = String::new();
    let many =
        |count: u64, one: &str, more: &str| format!("{} {}", Count::new(count), if count == 1 { one } else { more });
    writeln!(
        out,
        "{}, {} in {}, {}, {}",
        many(sum.files, "file", "files"),
        Bytes::new(sum.bytes),
        many(sum.dirs, "directory", "directories"),
        many(sum.symlinks, "symbolic link", "symbolic links"),
        many(sum.specials, "fifo, socket or device", "fifos, sockets and devices")
    )?;
    let size = |bytes: u64| Bytes::new(bytes).decimal();
    let (largest, on_medium) = (size(sum.largest_bytes), size(sum.allocated_bytes));
    writeln!(out, "largest file {largest}, taking {on_medium} on the medium")?;
    if sum.unique_bytes < sum.bytes {
        writeln!(out, "with hard-linked files counted once: {}", size(sum.unique_bytes))?;
    }
    left_out(&mut out, sum)?;
    sizes(&mut out, sum)?;
    samples(&mut out, &report.samples)?;
    findings(&mut out, report)?;
    if !report.complete {
        writeln!(out, "\nstopped before the end: these figures are of a part only")?;
    }
    Ok(out)
}

fn left_out(out: &mut String, sum: &Summary) -> std::fmt::Result {
    if sum.excluded_by_rule > 0 {
        writeln!(out, "left out by rules: {} names, directories among them unseen", Count::new(sum.excluded_by_rule))?;
    }
    if sum.not_entered > 0 {
        writeln!(out, "not entered: {} directories on other file systems", Count::new(sum.not_entered))?;
    }
    Ok(())
}

fn sizes(out: &mut String, sum: &Summary) -> std::fmt::Result {
    if sum.files > 0 {
        writeln!(out, "\n{:>12} {:>15} {:>12}", "size below", "files", "bytes")?;
    }
    for bucket in sum.sizes.used() {
        let below = match bucket.max_bytes {
            0 => "empty".to_owned(),
            max => Bytes::new(max.saturating_add(1)).binary(),
        };
        let bytes = Bytes::new(bucket.bytes).decimal();
        writeln!(out, "{below:>12} {:>15} {bytes:>12}", Count::new(bucket.files).to_string())?;
    }
    Ok(())
}

fn samples(out: &mut String, samples: &Samples) -> std::fmt::Result {
    let sum = &samples.compressibility;
    if let Some(ratio) = sum.ratio() {
        writeln!(
            out,
            "\ncompresses {ratio:.2} : 1 at zstd level 1 ({} of {} sampled blocks are incompressible)",
            sum.blocks_incompressible, sum.blocks
        )?;
    }
    if samples.rate_seconds > 0.0 {
        let rate = Bytes::new((samples.rate_bytes as f64 / samples.rate_seconds) as u64).decimal();
        writeln!(out, "reads {rate}/s with one reader in stretches of at most 4 MiB")?;
    }
    Ok(())
}

fn findings(out: &mut String, report: &Report) -> std::fmt::Result {
    let sum = &report.summary;
    for name in &report.empty_sources {
        writeln!(out, "\n{name} is empty: is something not mounted?")?;
    }
    if !sum.hazards.is_empty() {
        writeln!(out, "\nwhat will bite:")?;
    }
    for (hazard, finding) in &sum.hazards {
        writeln!(out, "  {} {}", Count::new(finding.count), hazard.meaning())?;
        examples(out, finding)?;
    }
    if !sum.problems.is_empty() {
        writeln!(out, "\ncould not be taken:")?;
    }
    for (kind, finding) in &sum.problems {
        writeln!(out, "  {} {kind}", Count::new(finding.count))?;
        examples(out, finding)?;
    }
    Ok(())
}

/// The first few; the JSON document has more.
fn examples(out: &mut String, finding: &scan::Finding) -> std::fmt::Result {
    let shown = 3;
    for example in finding.examples.iter().take(shown) {
        writeln!(out, "      {example}")?;
    }
    let more = finding.count.saturating_sub(shown as u64);
    if more > 0 { writeln!(out, "      and {} more", Count::new(more)) } else { Ok(()) }
}
