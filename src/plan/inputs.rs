//! What a plan is asked: command line over dataset file over assumptions, each value with its mark.
//!
//! Owns: resolving and checking inputs. Does not read files or clocks: texts and dates come in as values. Invariant: an
//! `Inputs` that exists makes sense (something to move, shares that add up, a deadline after the start). Built by `cli`
//! and tests, read by the rest of the planner.

use jiff::civil::Date;
use serde::Serialize;
use thiserror::Error;

use crate::plan::catalogue::Catalogue;
use crate::plan::dataset::{ChangeSource, DatasetFile, Mark, Marked};
use crate::plan::delta::Change;
use crate::plan::files::Bucket;
use crate::plan::network::{FRAME_1500, Line, Tcp, WeekProfile};
use crate::plan::request::{Prefer, Request};
use crate::units::{BitsPerSecond, Bytes, BytesPerSecond, Count, Share, Span, Usd};

/// One input and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InputLine {
    /// Name for people.
    pub name: String,
    /// Value with its unit.
    pub value: String,
    /// measured, given or assumed.
    pub mark: Mark,
}

/// A question that makes sense, complete.
#[derive(Debug, Clone)]
pub struct Inputs {
    pub(crate) name: Option<String>,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
    pub(crate) largest: u64,
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) compressed: f64,
    pub(crate) change: Change,
    pub(crate) sources: Vec<ChangeSource>,
    pub(crate) line: Option<Line>,
    pub(crate) existing_dx: Option<Line>,
    pub(crate) source_read: f64,
    pub(crate) scan_rate: f64,
    pub(crate) workers: f64,
    pub(crate) file_cost_s: Option<f64>,
    pub(crate) stations: usize,
    pub(crate) lan: f64,
    pub(crate) devices: Option<usize>,
    pub(crate) drive_rate: Option<f64>,
    pub(crate) bays: Option<f64>,
    pub(crate) drives_owned: u64,
    pub(crate) far_line: Option<f64>,
    pub(crate) window_days: f64,
    pub(crate) existing_customer: bool,
    pub(crate) enterprise_support: bool,
    pub(crate) region: String,
    pub(crate) area: String,
    pub(crate) snow_region: bool,
    pub(crate) as_of: Date,
    pub(crate) start: Date,
    pub(crate) deadline: Option<Date>,
    pub(crate) deadline_days: Option<f64>,
    pub(crate) confidence: f64,
    pub(crate) budget: Option<Usd>,
    pub(crate) forbid: Vec<String>,
    pub(crate) prefer: Prefer,
    pub(crate) seed: u64,
    pub(crate) draws: usize,
    pub(crate) holidays: Vec<Date>,
    pub(crate) actual_stages: Vec<crate::plan::dataset::ActualStage>,
    pub(crate) lines: Vec<InputLine>,
    pub(crate) warnings: Vec<String>,
}

/// Why a question cannot be planned. Display is one sentence that says what to change.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The question lacks something or contradicts itself.
    #[error("{0}")]
    Question(String),
    /// The catalogue is unusable.
    #[error("the catalogue cannot be used")]
    Catalogue(#[source] crate::plan::catalogue::Error),
}

/// Draws when none are asked for.
const DRAWS: u32 = 4_096;
/// Most draws: beyond a million the answer changes in digits nobody prints.
const DRAWS_MAX: u32 = 1_000_000;
/// Seed when none is given.
const SEED: u64 = 1;

fn question(text: impl Into<String>) -> Error {
    Error::Question(text.into())
}

/// Collects inputs with their marks while they are resolved.
struct Resolver<'a> {
    catalogue: &'a Catalogue,
    lines: Vec<InputLine>,
}

impl Resolver<'_> {
    fn note(&mut self, name: &str, value: String, mark: Mark) {
        self.lines.push(InputLine { name: name.to_owned(), value, mark });
    }

    /// Asked, else in the file, else nothing.
    fn pick<T: Copy + std::fmt::Display>(
        &mut self,
        name: &str,
        asked: Option<T>,
        file: Option<Marked<T>>,
    ) -> Option<T> {
        let chosen = asked.map(Marked::given).or(file)?;
        self.note(name, chosen.value.to_string(), chosen.mark);
        Some(chosen.value)
    }

    /// The same, else the catalogue's assumption; `show` prints the number with its unit.
    fn pick_or_assume<T: Copy>(
        &mut self,
        name: &str,
        chosen: Option<Marked<T>>,
        assumption: &str,
        read: fn(T) -> f64,
        show: fn(f64) -> String,
    ) -> f64 {
        let (value, mark) = match chosen {
            Some(chosen) => (read(chosen.value), chosen.mark),
            None => (self.catalogue.assumption(assumption).map_or(0.0, |a| a.figure.number()), Mark::Assumed),
        };
        self.note(name, show(value), mark);
        value
    }
}

impl Inputs {
    /// Puts a question together. `today` is used as the start where none is given, and availability is judged on it.
    ///
    /// # Errors
    /// One sentence that says what is missing or contradicts itself.
    pub fn resolve(request: &Request, file: &DatasetFile, catalogue: &Catalogue, today: Date) -> Result<Self, Error> {
        let mut r = Resolver { catalogue, lines: Vec::new() };
        let start = request.start.unwrap_or(today);
        let size = sizes(&mut r, request, file)?;
        let line = link(&mut r, request, file)?;
        let existing_dx = existing_dx(&mut r, request, file)?;
        let region = request.region.clone().unwrap_or_else(|| catalogue.meta.region.clone());
        let known = known_region(catalogue, &region)?;
        let (deadline, deadline_days) = deadline(request, start)?;
        let draws = request.draws.unwrap_or(DRAWS);
        if !(16..=DRAWS_MAX).contains(&draws) {
            return Err(question(format!("{draws} draws: give 16 to {DRAWS_MAX}")));
        }
        let site = site(&mut r, request, file)?;
        let mut warnings = size.warnings;
        if region != catalogue.meta.region {
            warnings.push(format!("prices are those of {}; in {region} they differ somewhat", catalogue.meta.region));
        }
        let small = |count: Count| usize::try_from(count.get()).unwrap_or(usize::MAX);
        Ok(Self {
            name: file.dataset.name.clone(),
            bytes: size.bytes,
            files: size.files,
            largest: size.largest,
            buckets: size.buckets,
            compressed: size.compressed,
            change: change(&mut r, request, file),
            sources: file.sources.clone(),
            line,
            existing_dx,
            source_read: site.source_read,
            scan_rate: site.scan_rate,
            workers: site.workers,
            file_cost_s: site.file_cost_s,
            stations: site.stations,
            lan: site.lan,
            devices: r.pick("devices held at once", request.devices, None).map(small),
            drive_rate: site.drive_rate,
            bays: r.pick("drive bays", request.bays, None).map(|c| c.get().max(1) as f64),
            drives_owned: r.pick("drives you own", request.drives_owned, None).map_or(0, Count::get),
            far_line: r.pick("line at the far site", request.far_line, None).map(|rate| rate.to_bytes().get()),
            window_days: site.window_days,
            existing_customer: request.existing_customer,
            enterprise_support: request.enterprise_support,
            area: known.area.clone(),
            snow_region: known.snow,
            region,
            as_of: start,
            start,
            deadline,
            deadline_days,
            confidence: request.confidence.map_or(0.9, Share::get),
            budget: request.budget,
            forbid: request.forbid.clone(),
            prefer: request.prefer,
            seed: request.seed.unwrap_or(SEED),
            draws: usize::try_from(draws).unwrap_or(usize::MAX),
            holidays: request.holidays.clone(),
            actual_stages: file.actual.stage.clone(),
            lines: r.lines,
            warnings,
        })
    }

    /// Inputs nobody gave or measured.
    pub(crate) fn assumed(&self) -> usize {
        self.lines.iter().filter(|line| line.mark == Mark::Assumed).count()
    }
}

/// What the site gives.
struct Site {
    source_read: f64,
    scan_rate: f64,
    workers: f64,
    window_days: f64,
    file_cost_s: Option<f64>,
    drive_rate: Option<f64>,
    stations: usize,
    lan: f64,
}

fn site(r: &mut Resolver<'_>, request: &Request, file: &DatasetFile) -> Result<Site, Error> {
    let rate = |asked: Option<BytesPerSecond>, file: Option<Marked<BytesPerSecond>>| asked.map(Marked::given).or(file);
    let count = |asked: Option<Count>, file: Option<Marked<Count>>| asked.map(Marked::given).or(file);
    let source_read = r.pick_or_assume(
        "source read rate",
        rate(request.source_read, file.site.source_read),
        "source-read",
        |rate: BytesPerSecond| rate.get() / 1e6,
        |mb| BytesPerSecond::new(mb * 1e6).to_string(),
    ) * 1e6;
    if source_read <= 0.0 {
        return Err(question(
            "the source read rate is zero: nothing can be copied; measure it with `packmule probe --source DIR`",
        ));
    }
    let scan_rate = r.pick_or_assume(
        "files listed per second",
        file.site.scan_rate,
        "scan-rate",
        |c: Count| c.get() as f64,
        |n| format!("{n:.0} files/s"),
    );
    let workers = r.pick_or_assume(
        "parallel file workers",
        count(request.workers, file.site.workers),
        "workers",
        |c: Count| c.get().max(1) as f64,
        |n| format!("{n:.0}"),
    );
    let window_days = r.pick_or_assume(
        "window for the cutover",
        request.window.map(Marked::given).or(file.change.window),
        "cutover-window",
        |s: Span| s.days().get(),
        |d| crate::units::Days::new(d).to_string(),
    );
    let file_cost_s = file.site.file_cost_ms.map(|ms| {
        r.note("cost of one file", format!("{} ms", ms.value), ms.mark);
        ms.value / 1e3
    });
    let drive_rate =
        r.pick("rate of one volume or drive", request.drive_rate, file.site.volume_write).map(BytesPerSecond::get);
    let stations = r
        .pick("devices filled at once", request.stations, file.site.stations)
        .map_or(1, |c| usize::try_from(c.get()).unwrap_or(1).max(1));
    let lan = r
        .pick("network inside the building", None, file.site.lan)
        .map_or(f64::INFINITY, |rate: BitsPerSecond| rate.to_bytes().get());
    Ok(Site { source_read, scan_rate, workers, window_days, file_cost_s, drive_rate, stations, lan })
}

fn known_region<'a>(catalogue: &'a Catalogue, region: &str) -> Result<&'a crate::plan::catalogue::Region, Error> {
    catalogue.regions.iter().find(|known| known.id == region).ok_or_else(|| {
        let ids = catalogue.regions.iter().map(|r| r.id.as_str());
        let near: Vec<&str> = ids.filter(|id| id.get(..2) == region.get(..2)).collect();
        question(format!("the Region '{region}' is not known; known ones near it: {}", near.join(", ")))
    })
}

/// The deadline as a date and in days from the start: a date counts to its end, a span from the start's midnight.
fn deadline(request: &Request, start: Date) -> Result<(Option<Date>, Option<f64>), Error> {
    if let Some(within) = request.within {
        if within.secs() == 0 {
            return Err(question("nothing is moved within no time; give --within 2d or more"));
        }
        let whole = jiff::Span::new().try_days(i64::try_from(within.secs() / 86_400).unwrap_or(i64::MAX));
        return Ok((whole.ok().and_then(|days| start.checked_add(days).ok()), Some(within.days().get())));
    }
    let Some(deadline) = request.deadline else { return Ok((None, None)) };
    if deadline <= start {
        return Err(question(format!(
            "the deadline {deadline} is not after the start {start}; give a later one, or --as-of an earlier day"
        )));
    }
    Ok((Some(deadline), Some(crate::plan::report::days_until(start, deadline))))
}

struct Sizes {
    bytes: u64,
    files: u64,
    largest: u64,
    buckets: Vec<Bucket>,
    compressed: f64,
    warnings: Vec<String>,
}

fn sizes(r: &mut Resolver<'_>, request: &Request, file: &DatasetFile) -> Result<Sizes, Error> {
    let data = &file.dataset;
    let Some(size) = r.pick("size", request.size, data.bytes) else {
        return Err(question(
            "how much is to be moved? give --size 400TB, or a dataset file that `packmule scan SOURCE -o DATASET.toml` writes",
        ));
    };
    let landed = file.actual.landed.unwrap_or(Bytes::ZERO);
    if landed > Bytes::ZERO {
        r.note("arrived already", landed.to_string(), Mark::Measured);
    }
    let bytes = size.saturating_sub(landed).get();
    let mut warnings = Vec::new();
    let files = match r.pick("files", request.files, data.files) {
        Some(files) => files.get(),
        None => {
            // One file for each 100 MB: few enough that bytes decide, which is said.
            let files = (bytes / 100_000_000).max(1);
            r.note("files", format!("{} (100 MB each)", Count::new(files)), Mark::Assumed);
            files
        }
    };
    if bytes == 0 && files == 0 {
        return Err(question("there is nothing to move: the dataset has no bytes and no files left"));
    }
    let mean = bytes / files.max(1);
    let largest = r.pick("largest file", request.largest_file, data.largest_file).map_or(mean, Bytes::get);
    if largest > bytes {
        return Err(question(format!(
            "the largest file ({}) is larger than the dataset ({})",
            Bytes::new(largest),
            Bytes::new(bytes)
        )));
    }
    let histogram: Vec<Bucket> =
        data.histogram.iter().map(|b| Bucket { files: b.files.get(), bytes: b.bytes.get() }).collect();
    let (sum, count) = histogram
        .iter()
        .fold((0_u64, 0_u64), |(b, f), bucket| (b.saturating_add(bucket.bytes), f.saturating_add(bucket.files)));
    let fits = sum == bytes && count == files;
    if !histogram.is_empty() && !fits {
        warnings.push(
            "the size histogram does not add up to the size and count given, so one mean size is used".to_owned(),
        );
    }
    let buckets = if !histogram.is_empty() && fits { histogram } else { vec![Bucket { files: files.max(1), bytes }] };
    let compressed =
        r.pick("compressed ratio", None, data.compressed_ratio).map_or(1.0, |ratio: Share| ratio.get().max(0.01));
    Ok(Sizes { bytes, files, largest, buckets, compressed, warnings })
}

fn link(r: &mut Resolver<'_>, request: &Request, file: &DatasetFile) -> Result<Option<Line>, Error> {
    let measured = r.pick("upload rate to the bucket", None, file.link.upload_rate);
    let Some(rate) = r.pick("link", request.link, file.link.rate) else {
        let line = |rate: BytesPerSecond| Line {
            rate: BitsPerSecond::new((rate.get() * 8.0) as u64),
            profile: WeekProfile::constant(Share::ALL, Share::ZERO),
            frame: Share::ALL,
            tcp: None,
            measured: Some(rate),
        };
        return Ok(measured.map(line));
    };
    if rate.get() == 0 {
        return Err(question("a link of zero carries nothing; leave --link out to plan without a network"));
    }
    let share = match r.pick("share of the link we may use", request.share, file.link.share) {
        Some(share) => share,
        None => {
            let assumed = r.catalogue.assumption("line-utilisation").map_or(1.0, |a| a.figure.number());
            let busy = request.busy.or(file.link.busy.map(|b| b.value)).unwrap_or_default();
            let share = Share::new(assumed.min(1.0 - busy.get()));
            r.note("share of the link we may use", share.to_string(), Mark::Assumed);
            share
        }
    };
    let busy = r.pick("share of the link already busy", request.busy, file.link.busy).unwrap_or_default();
    if share.get() + busy.get() > 1.0 + 1e-9 {
        return Err(question(format!(
            "{share} of the link for us and {busy} already busy add to more than all of it; --share is what we may use, --busy what others already take"
        )));
    }
    if share.get() <= 0.0 && request.hours.is_empty() && file.link.hours.is_empty() {
        return Err(question("a share of 0% of the link carries nothing; leave --link out to plan without a network"));
    }
    let rules = if request.hours.is_empty() { &file.link.hours } else { &request.hours };
    let profile = WeekProfile::parse(rules, share).map_err(question)?.capped(busy);
    if !rules.is_empty() {
        r.note("hours of the week", format!("{} (mean {})", rules.join("; "), profile.mean()), Mark::Given);
    }
    if profile.mean().get() <= 0.0 {
        return Err(question("the hours given leave nothing of the link in any hour of the week"));
    }
    let rtt = r.pick("round trip in ms", request.rtt_ms, file.link.rtt_ms);
    let loss = r.pick("packet loss", request.loss, file.link.loss).unwrap_or_default();
    let window = r.pick("TCP window", None, file.link.window);
    let streams = r
        .pick("parallel connections", request.streams, file.link.streams)
        .map_or(16, |c| u32::try_from(c.get()).unwrap_or(u32::MAX));
    let tcp = rtt.filter(|ms| *ms > 0.0).map(|ms| Tcp {
        streams: streams.max(1),
        window_bytes: window.map_or(f64::INFINITY, |w| w.get() as f64),
        rtt_s: ms / 1e3,
        loss: loss.get(),
        mss_bytes: 1460.0,
        mathis: 1.0,
    });
    Ok(Some(Line { rate, profile, frame: Share::new(FRAME_1500), tcp, measured }))
}

fn existing_dx(r: &mut Resolver<'_>, request: &Request, file: &DatasetFile) -> Result<Option<Line>, Error> {
    let Some(rate) = r.pick("Direct Connect you have", request.existing_dx, file.direct_connect.rate) else {
        return Ok(None);
    };
    if rate.get() == 0 {
        return Err(question("a Direct Connect of zero carries nothing; leave it out"));
    }
    let busy = r.pick("share of it already busy", request.dx_busy, file.direct_connect.busy).unwrap_or_default();
    let share = file.direct_connect.share.map_or(Share::ALL, |share| share.value);
    let profile = WeekProfile::parse(&file.direct_connect.hours, share).map_err(question)?.capped(busy);
    Ok(Some(Line { rate, profile, frame: Share::new(FRAME_1500), tcp: None, measured: None }))
}

fn change(r: &mut Resolver<'_>, request: &Request, file: &DatasetFile) -> Change {
    let rewritten =
        r.pick("rewritten per day", request.change_per_day, file.change.rewritten_per_day).unwrap_or_default();
    let growth = r.pick("added per day", request.growth_per_day, file.change.growth_per_day).unwrap_or_default();
    let working_set =
        r.pick("working set", None, file.change.working_set).map_or(f64::INFINITY, |w: Bytes| w.get() as f64);
    let amplification =
        r.pick("bytes resent per byte changed", None, file.change.amplification).unwrap_or(1.0).max(1.0);
    Change { rewrite_per_day: rewritten.get() as f64 * amplification, growth_per_day: growth.get() as f64, working_set }
}
