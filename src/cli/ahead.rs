//! What `ingest` and `send` say before anything is sent: how much, in how many requests, under which names, by when.

use std::io::Write as _;
use std::time::Duration;

use crate::cli::s3::{ObjectArgs, failure};
use crate::cli::{Exit, Failure};
use crate::ingest::remote::storage::storage_class;
use crate::ingest::{self, Options, Survey, survey};
use crate::job::{Job, Journal};
use crate::sys::World;
use crate::units::{Bytes, BytesPerSecond, Count, Usd};

/// Price of a thousand PUT requests. Source: Amazon S3 pricing, S3 Standard, US East, 2026-10.
const PUT_USD_PER_1000: f64 = 0.005;
/// Small files from which on it is said what bundles would save.
const BUNDLE_HINT_FILES: u64 = 10_000;

/// What is known before anything is sent.
#[derive(Debug, serde::Serialize)]
pub(super) struct Ahead {
    destination: String,
    objects: u64,
    bytes: u64,
    requests: u64,
    requests_usd: f64,
    requests_with_bundles: u64,
    small_files: u64,
    is_bundled: bool,
    left_out: u64,
    names: Vec<NameLine>,
    names_list: Option<String>,
    warnings: Vec<String>,
    fits: Option<Fits>,
}

#[derive(Debug, serde::Serialize)]
struct NameLine {
    why: &'static str,
    count: u64,
    meaning: &'static str,
    examples: Vec<(String, String)>,
}

/// What a slot is expected to take.
#[derive(Debug, serde::Serialize)]
struct Fits {
    until: String,
    seconds: f64,
    /// Bytes per second; `None`: nobody knows yet.
    rate: Option<f64>,
    bytes_that_fit: Option<u64>,
    bytes_that_do_not: Option<u64>,
}

impl Ahead {
    /// Looks at what is to be sent.
    pub(super) fn look(
        job: &Job,
        options: &Options,
        object: &ObjectArgs,
        to: &str,
        world: &World,
    ) -> Result<Self, Failure> {
        let class = object.storage_class.as_deref().and_then(storage_class);
        let small_below = class.map_or(0, |class| class.small_bytes());
        let survey = survey(job, options, small_below, &*world.fs).map_err(failure)?;
        let mut warnings = class.map(|class| class.warnings(survey.files, survey.small)).unwrap_or_default();
        if object.storage_class.is_some() && class.is_none() {
            warnings.push("S3 has no storage class of that name; another server may".to_owned());
        }
        let names = survey.names.iter().map(|(why, names)| NameLine {
            why: why.code(),
            count: names.count,
            meaning: why.meaning(),
            examples: names.examples.clone(),
        });
        Ok(Self {
            destination: to.to_owned(),
            objects: survey.objects,
            bytes: survey.bytes,
            requests: survey.requests,
            requests_usd: match options.bundle_bytes {
                Some(_) => survey.requests_bundled,
                None => survey.requests,
            } as f64
                / 1000.0
                * PUT_USD_PER_1000,
            requests_with_bundles: survey.requests_bundled,
            small_files: survey.bundled.0,
            is_bundled: options.bundle_bytes.is_some(),
            left_out: survey.left_out,
            names: names.collect(),
            names_list: survey.list.as_ref().map(|path| path.display().to_string()),
            warnings,
            fits: fits(job, options, &survey, world)?,
        })
    }

    /// Says what a user should know before it happens, on standard error.
    #[expect(clippy::print_stderr, reason = "the command line is the layer that prints")]
    pub(super) fn warn(&self) {
        for line in self.notes() {
            eprintln!("{line}");
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.is_bundled || self.small_files >= BUNDLE_HINT_FILES {
            lines.push(self.bundles());
        }
        for names in &self.names {
            lines.push(format!("note: {} names {}", Count::new(names.count), names.meaning));
            for (path, key) in &names.examples {
                let becomes = if key.is_empty() { String::new() } else { format!(" -> {key}") };
                lines.push(format!("      {path}{becomes}"));
            }
        }
        if let Some(list) = &self.names_list {
            lines.push(format!("      all of them: {list}"));
        }
        lines.extend(self.warnings.iter().map(|warning| format!("note: {warning}")));
        if let Some(fits) = &self.fits {
            lines.push(fits.sentence());
        }
        lines
    }

    /// What bundles cost and save.
    fn bundles(&self) -> String {
        let usd = |requests: u64| Usd::from_f64(requests as f64 / 1000.0 * PUT_USD_PER_1000);
        let (one, packed) = (self.requests, self.requests_with_bundles);
        let (first, second) = if self.is_bundled { ("with", "without") } else { ("without", "with") };
        let (is, would) = if self.is_bundled { (packed, one) } else { (one, packed) };
        format!(
            "note: {} small files: {first} --bundle about {} requests ({}), {second} it {} ({})",
            Count::new(self.small_files),
            Count::new(is),
            usd(is),
            Count::new(would),
            usd(would),
        )
    }

    /// All that `--dry-run` says.
    pub(super) fn print(&self, json: bool) -> anyhow::Result<Exit> {
        let text = if json {
            serde_json::to_string_pretty(self)? + "\n"
        } else {
            let mut lines = vec![format!(
                "{} objects ({}) would be sent to {} in {} requests (about {} at S3 Standard prices); nothing was sent",
                Count::new(self.objects),
                Bytes::new(self.bytes),
                self.destination,
                Count::new(if self.is_bundled { self.requests_with_bundles } else { self.requests }),
                Usd::from_f64(self.requests_usd),
            )];
            if self.left_out > 0 {
                lines.push(format!("{} entries are left out by the rules", Count::new(self.left_out)));
            }
            lines.extend(self.notes());
            lines.push(String::new());
            lines.join("\n")
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(Exit::Done)
    }
}

impl Fits {
    fn sentence(&self) -> String {
        let minutes = (self.seconds / 60.0).round();
        match (self.rate, self.bytes_that_fit, self.bytes_that_do_not) {
            (Some(rate), Some(fit), Some(0)) => format!(
                "until {}: {minutes} minutes at {} take all of it ({} would fit)",
                self.until,
                BytesPerSecond::new(rate),
                Bytes::new(fit)
            ),
            (Some(rate), Some(fit), Some(rest)) => format!(
                "until {}: {minutes} minutes at {} take about {}; about {} will NOT fit and stay for the next run",
                self.until,
                BytesPerSecond::new(rate),
                Bytes::new(fit),
                Bytes::new(rest)
            ),
            _ => format!(
                "until {}: {minutes} minutes; what fits is not known before the line shows its rate (--expected-rate tells)",
                self.until
            ),
        }
    }
}

fn fits(job: &Job, options: &Options, survey: &Survey, world: &World) -> Result<Option<Fits>, Failure> {
    let Some(until) = options.until else { return Ok(None) };
    let left = Duration::try_from(until - world.clock.now()).unwrap_or_default();
    let seen =
        job.journals().map_err(ingest::Error::from).map_err(failure)?.iter().rev().find_map(Journal::bytes_per_second);
    let rate = options.expected_rate.or(seen);
    let bytes_that_fit = rate.map(|rate| (rate * left.as_secs_f64() * 0.95) as u64);
    let zoned = until.to_zoned(jiff::tz::TimeZone::system());
    Ok(Some(Fits {
        until: zoned.strftime("%Y-%m-%d %H:%M").to_string(),
        seconds: left.as_secs_f64(),
        rate,
        bytes_that_fit,
        bytes_that_do_not: bytes_that_fit.map(|fit| survey.bytes.saturating_sub(fit)),
    }))
}
