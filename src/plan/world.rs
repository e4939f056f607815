//! The world a plan lives in: inputs, catalogue, calendar, and the distributions of what is not known.
//!
//! Owns: turning assumptions into distributions (refitted from a running job's actuals) and the pieces every option
//! shares: S3's requests, catching up after the bulk, first file costs. Called by the option models.

use crate::plan::catalogue::Catalogue;
use crate::plan::delta::{self, Verdict};
use crate::plan::dist::Dist;
use crate::plan::files::{FileCosts, copy_seconds};
use crate::plan::inputs::Inputs;
use crate::plan::math;
use crate::plan::network::{Line, WeekProfile};
use crate::plan::outcome::{MaybeTrace, Outcome, Stage, charge, explain};
use crate::plan::sample::{Draw, Var};
use crate::units::{BusinessCalendar, Bytes, BytesPerSecond, Count, Days, Usd};

/// Distributions by name, resolved once.
#[derive(Debug, Clone)]
pub(crate) struct Assumptions {
    pub(crate) link_rate: Dist,
    pub(crate) link_rate_measured: Dist,
    pub(crate) file_cost: Dist,
    pub(crate) source_file_cost: Dist,
    pub(crate) device_file_cost: Dist,
    pub(crate) prepare: Dist,
    pub(crate) device_prep: Dist,
    pub(crate) device_stuck: Dist,
    pub(crate) transit_late: Dist,
    pub(crate) fill_rate: Dist,
    pub(crate) pickup: Dist,
    pub(crate) receive: Dist,
    pub(crate) booking: Dist,
    pub(crate) terminal_travel: Dist,
    pub(crate) cutover: Dist,
    pub(crate) on_time: f64,
    pub(crate) device_failure: f64,
    pub(crate) drive_loss: f64,
    pub(crate) fill_limit: f64,
    pub(crate) retry_share: f64,
    pub(crate) round_setup: f64,
    pub(crate) stream_rate: f64,
    pub(crate) own_line_share: f64,
    pub(crate) cutoff_hour: u32,
    /// Chance of losing data that the parity may leave.
    pub(crate) loss_risk: f64,
    /// Price of a person's day.
    pub(crate) people_day: Usd,
    /// Days of people for any option, for each device, and for each drive.
    pub(crate) people: [f64; 3],
}

/// Connections beyond those that just fill a line, because some always wait.
const FILL_MARGIN: f64 = 1.25;
/// Most connections that are assumed without being asked for: several machines, not a farm.
const WORKERS_MAX: f64 = 2_048.0;

/// How an option catches up with changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CatchUpWay<'a> {
    /// When the copy of the data that is being moved was begun, in days from the start.
    pub(crate) snapshot: f64,
    /// The option's own line; without one the user's line does it.
    pub(crate) line: Option<&'a Line>,
}

/// Everything an option model reads.
#[derive(Debug)]
pub(crate) struct World<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) inputs: Inputs,
    pub(crate) calendar: BusinessCalendar,
    pub(crate) assume: Assumptions,
    /// PUT-class requests for the whole dataset.
    requests: u64,
    /// Hours from Monday 00:00 to the start.
    start_hour: f64,
}

impl<'a> World<'a> {
    pub(crate) fn new(catalogue: &'a Catalogue, inputs: Inputs) -> Self {
        let assume = assumptions(catalogue, &inputs);
        let calendar = BusinessCalendar::new(inputs.start, &inputs.holidays);
        let start_hour = f64::from(i32::from(inputs.start.weekday().to_monday_zero_offset())) * 24.0;
        let requests = requests(catalogue, &inputs);
        Self { catalogue, inputs, calendar, assume, requests, start_hour }
    }

    /// The same world with other inputs: for questions of the kind "what if".
    pub(crate) fn variant(&self, inputs: Inputs) -> Self {
        let requests = requests(self.catalogue, &inputs);
        let (calendar, assume) = (self.calendar.clone(), self.assume.clone());
        Self { catalogue: self.catalogue, inputs, calendar, assume, requests, start_hour: self.start_hour }
    }

    /// The same world with a dataset `factor` times as large, in bytes and files.
    pub(crate) fn scaled(&self, factor: f64) -> Self {
        let mut inputs = self.inputs.clone();
        let scale = |n: u64| (n as f64 * factor).round().max(1.0) as u64;
        (inputs.bytes, inputs.files) = (scale(inputs.bytes), scale(inputs.files));
        for bucket in &mut inputs.buckets {
            (bucket.bytes, bucket.files) = (scale(bucket.bytes), scale(bucket.files));
        }
        self.variant(inputs)
    }

    /// The same world with a line of another rate.
    pub(crate) fn with_link(&self, rate: crate::units::BitsPerSecond) -> Self {
        let mut inputs = self.inputs.clone();
        if let Some(line) = &mut inputs.line {
            // What was measured on the old line is taken to grow with the label.
            let ratio = rate.get() as f64 / line.rate.get().max(1) as f64;
            line.measured = line.measured.map(|measured| BytesPerSecond::new(measured.get() * ratio));
            line.rate = rate;
        }
        self.variant(inputs)
    }

    /// The dataset's bytes.
    pub(crate) fn bytes(&self) -> f64 {
        self.inputs.bytes as f64
    }

    /// What one file costs a worker over a network, in this draw.
    pub(crate) fn file_costs(&self, draw: Draw<'_>, line: &Line) -> FileCosts {
        let per_file_s =
            self.inputs.site.file_cost_s.unwrap_or_else(|| self.assume.file_cost.quantile(draw.u(Var::FileCost)));
        let stream_rate = self.stream_rate(line);
        // Where nobody said how many, there are as many as the line needs to be full.
        let fill = if self.inputs.site.workers_given { 0.0 } else { self.line_full(line, stream_rate) };
        let workers = self.inputs.site.workers.max(fill);
        FileCosts { workers, per_file_s, stream_rate, request_limit: self.put_limit() }
    }

    /// Connections that fill a line, or read the source as fast as it can be read.
    fn line_full(&self, line: &Line, stream_rate: f64) -> f64 {
        let widest = line.payload(1.0, 1.0).min(self.inputs.site.source_read);
        (widest / stream_rate.max(1.0) * FILL_MARGIN).ceil().min(WORKERS_MAX)
    }

    /// Objects a second that one prefix of a bucket takes.
    pub(crate) fn put_limit(&self) -> f64 {
        self.catalogue.s3.get("put_per_s_per_prefix").map_or(f64::INFINITY, |f| f.number())
    }

    /// What one file costs when it is only read at the source, in this draw.
    pub(crate) fn read_costs(&self, draw: Draw<'_>) -> FileCosts {
        let per_file_s = self.assume.source_file_cost.quantile(draw.u(Var::SourceFileCost));
        FileCosts {
            workers: self.inputs.site.workers,
            per_file_s,
            stream_rate: f64::INFINITY,
            request_limit: f64::INFINITY,
        }
    }

    /// Days of one full scan.
    pub(crate) fn scan_days(&self) -> f64 {
        self.inputs.files as f64 / self.inputs.site.scan_rate.max(1e-9) / 86_400.0
    }

    /// Days for `share` of the dataset over a profile, when each level's raw rate takes `seconds(level)` for all of it.
    pub(crate) fn days_over(&self, profile: &WeekProfile, seconds: &[f64], share: f64, from: f64) -> f64 {
        let per_second: Vec<f64> = seconds.iter().map(|s| if *s > 0.0 { 1.0 / s } else { f64::MAX }).collect();
        profile.days_for(share, &per_second, self.start_hour + from * 24.0)
    }

    /// Payload bytes per day of the option's own line, else of the user's, averaged over the week: what catching up drains.
    fn drain_per_day(&self, draw: Draw<'_>, own: Option<&Line>) -> Option<f64> {
        let line = own.or(self.inputs.line.as_ref()).or(self.inputs.existing_dx.as_ref())?;
        let factor = self.link_factor(draw, line);
        let costs = self.file_costs(draw, line);
        let rate = |level: &f64| {
            let raw = line.payload(*level, factor).min(line.tcp_rate()).min(self.inputs.site.source_read);
            let (seconds, _) = copy_seconds(&self.inputs.buckets, raw, &costs);
            if self.inputs.bytes == 0 || seconds <= 0.0 { raw } else { self.bytes() / seconds }
        };
        let rates: Vec<f64> = line.profile.levels().iter().map(rate).collect();
        Some(line.profile.mean_rate(&rates) * 86_400.0)
    }

    /// Achieved over planned rate of a line in this draw; narrower when the rate was measured.
    pub(crate) fn link_factor(&self, draw: Draw<'_>, line: &Line) -> f64 {
        let dist = if line.measured.is_some() { &self.assume.link_rate_measured } else { &self.assume.link_rate };
        dist.quantile(draw.u(Var::LinkRate))
    }

    /// One connection's rate on a line.
    pub(crate) fn stream_rate(&self, line: &Line) -> f64 {
        let tcp = line.tcp.map_or(f64::INFINITY, |tcp| tcp.window_rate().get().min(tcp.loss_rate().get()));
        (self.assume.stream_rate * 1e6).min(tcp)
    }

    /// S3's PUT requests for `share` of the dataset, in the storage class asked for.
    pub(crate) fn charge_requests(&self, outcome: &mut Outcome, trace: &mut MaybeTrace<'_>, share: f64) {
        let Some(price) = &self.inputs.bill.put_per_1000 else { return };
        let requests = (self.requests as f64 * share).round() as u64;
        charge(outcome, trace, "S3 requests", price.usd().times_ratio(requests, 1000), || {
            format!("{} PUT requests ({}) / 1000 * {} USD", Count::new(requests), self.inputs.bill.class, price.value)
        });
    }

    /// What people's days cost, where somebody gave a price for one.
    pub(crate) fn charge_people(&self, outcome: &mut Outcome, trace: &mut MaybeTrace<'_>, devices: u64, drives: u64) {
        let [setup, device, drive] = self.assume.people;
        let days = setup + device * devices as f64 + drive * drives as f64;
        let price = self.assume.people_day;
        charge(outcome, trace, "people", price.times_ratio((days * 1000.0).round() as u64, 1000), || {
            format!("({setup} + {device} * {devices} devices + {drive} * {drives} drives) days * {price}")
        });
    }

    /// What the place where the data is now asks for `bytes` that leave it by network.
    pub(crate) fn charge_egress(&self, outcome: &mut Outcome, trace: &mut MaybeTrace<'_>, bytes: u64) {
        let price = self.inputs.bill.egress_per_gb;
        charge(outcome, trace, "leaving where it is now", price.times_ratio(bytes, 1_000_000_000), || {
            format!("{} GB * {price} a GB", bytes / 1_000_000_000)
        });
    }

    /// From the bulk's landing to the end: catch-up rounds over the user's line, then the cutover.
    pub(crate) fn finish(
        &self,
        outcome: &mut Outcome,
        trace: &mut MaybeTrace<'_>,
        draw: Draw<'_>,
        way: CatchUpWay<'_>,
    ) {
        outcome.finish = outcome.landed;
        if self.inputs.change.is_none() || !outcome.landed.is_finite() {
            return;
        }
        let seed_days = outcome.landed - way.snapshot;
        let Some(drain) = self.drain_per_day(draw, way.line) else {
            outcome.finish = f64::INFINITY;
            if let Some(trace) = trace.as_deref_mut() {
                trace.verdict = Some("no line to catch up over: freeze the source, or give --link".to_owned());
            }
            return;
        };
        let fixed = self.scan_days() + self.assume.round_setup;
        let change = &self.inputs.change;
        let result = delta::catch_up(change, seed_days, fixed, drain, self.inputs.site.window_days);
        let ends = !matches!(result.verdict, Verdict::Never | Verdict::Floor)
            && result.cutover_days <= self.inputs.site.window_days;
        let cutover = self.assume.cutover.quantile(draw.u(Var::Cutover));
        outcome.spend(Stage::CatchUp, result.total_days);
        outcome.spend(Stage::Cutover, cutover);
        outcome.finish = if ends { outcome.landed + result.total_days + cutover } else { f64::INFINITY };
        let per_day = change.rewrite_per_day + change.growth_per_day;
        explain(trace, "catching up", || {
            format!(
                "rho = change / drain = {:.3} TB/day / {:.3} TB/day = {:.3}; seed {}; fixed time of a round {}; {}",
                per_day / 1e12,
                drain / 1e12,
                result.rho,
                Days::new(seed_days),
                Days::new(fixed),
                delta::sentence(&result, seed_days, per_day, drain)
            )
        });
        if let Some(trace) = trace.as_deref_mut() {
            trace.verdict = Some(delta::sentence(&result, seed_days, per_day, drain));
            if let (Some(lane), true) = (trace.lanes.last_mut(), ends) {
                let caught_up = outcome.landed + result.total_days;
                lane.spans.push(super::outcome::Span { stage: Stage::CatchUp, start: outcome.landed, end: caught_up });
                lane.spans.push(super::outcome::Span {
                    stage: Stage::Cutover,
                    start: caught_up,
                    end: caught_up + cutover,
                });
            }
            trace.catch_up = Some(result);
        }
    }
}

fn assumptions(catalogue: &Catalogue, inputs: &Inputs) -> Assumptions {
    let dist = |id: &str| {
        let base = catalogue.assumption(id).map_or_else(|| Dist::constant(0.0), |a| Dist::of(&a.figure));
        refit(&base, inputs, id)
    };
    let number = |id: &str| catalogue.assumption(id).map_or(0.0, |a| a.figure.number());
    Assumptions {
        link_rate: dist("link-rate"),
        link_rate_measured: dist("link-rate-measured"),
        file_cost: dist("file-cost"),
        source_file_cost: dist("source-file-cost"),
        device_file_cost: dist("device-file-cost"),
        prepare: dist("prepare"),
        device_prep: dist("device-prep"),
        device_stuck: dist("device-prep-stuck"),
        transit_late: dist("transit-late"),
        fill_rate: dist("fill-rate"),
        pickup: dist("pickup"),
        receive: dist("receive"),
        booking: dist("terminal-booking"),
        terminal_travel: dist("terminal-travel"),
        cutover: dist("cutover"),
        on_time: number("on-time"),
        device_failure: number("device-failure"),
        drive_loss: number("drive-loss"),
        fill_limit: number("fill-limit"),
        retry_share: number("retry-share").min(0.99),
        round_setup: number("round-setup"),
        stream_rate: number("stream-rate"),
        own_line_share: number("own-line-utilisation"),
        cutoff_hour: number("cutoff-hour") as u32,
        loss_risk: number("loss-risk").clamp(1e-9, 0.5),
        people_day: catalogue.assumption("people-day").map_or(Usd::ZERO, |a| a.figure.usd()),
        people: [number("people-setup"), number("people-device"), number("people-drive")],
    }
}

/// Weight of the catalogue's own median against a job's finished stages, in stages.
const PRIOR_WEIGHT: f64 = 3.0;

/// A lognormal whose log-median moves towards what was observed: (sum of logs + 3 * prior) / (n + 3).
fn refit(base: &Dist, inputs: &Inputs, id: &str) -> Dist {
    let seen: Vec<f64> = inputs.actual_stages.iter().filter(|s| s.id == id && s.days > 0.0).map(|s| s.days).collect();
    let median = base.median();
    if seen.is_empty() || median <= 0.0 {
        return base.clone();
    }
    let logs: f64 = seen.iter().map(|days| math::ln(*days)).sum();
    let posterior = math::exp((logs + PRIOR_WEIGHT * math::ln(median)) / (seen.len() as f64 + PRIOR_WEIGHT));
    Dist::lognormal(posterior, posterior * (base.quantile(0.9) / median).max(1.0))
}

/// PUT-class requests: one per small file, parts and two more for a large one.
fn requests(catalogue: &Catalogue, inputs: &Inputs) -> u64 {
    let megabytes = |id: &str, default: f64| catalogue.s3.get(id).map_or(default, |f| f.number()) * 1e6;
    let (multipart, part) = (megabytes("multipart_from", 100.0), megabytes("part_size", 64.0));
    let parts_max = catalogue.s3.get("parts_max").map_or(10_000.0, |f| f.number());
    let of = |bucket: &crate::plan::files::Bucket| {
        let size = bucket.bytes as f64 / bucket.files.max(1) as f64;
        let each = if size > multipart { (size / part).ceil().min(parts_max) + 2.0 } else { 1.0 };
        (each * bucket.files as f64) as u64
    };
    inputs.buckets.iter().map(of).fold(0, u64::saturating_add)
}

/// A rate for people.
pub(crate) fn rate(bytes_per_s: f64) -> String {
    if bytes_per_s.is_finite() { BytesPerSecond::new(bytes_per_s).to_string() } else { "no limit".to_owned() }
}

/// A size for people, in powers of 1000 only.
pub(crate) fn size(bytes: f64) -> String {
    Bytes::new(bytes.round() as u64).decimal()
}

/// A price per month from a price per hour: 730 hours, as providers count.
pub(crate) fn per_month(hour: Usd) -> Usd {
    hour.times(730)
}
