//! Options over a line: internet, VPN, Direct Connect, managed copies.
//!
//! Owns: their time and bill. Does not own the line's arithmetic (`network`), file costs (`files`) or catching up
//! (`world`). Invariant: the same function gives the single estimate and every draw. Called by `options`.

mod bill;

use crate::plan::catalogue::{OptionSpec, Path, StageOrder};
use crate::plan::dist::Dist;
use crate::plan::files::{Binding, copy_seconds};
use crate::plan::network::{FRAME_1500, Line, WeekProfile};
use crate::plan::outcome::{MaybeTrace, Outcome, Stage, explain, lane};
use crate::plan::sample::{Draw, Var};
use crate::plan::world::{CatchUpWay, World, rate, size};
use crate::units::{BitsPerSecond, Bytes, Days, Share};

pub(crate) use bill::monthly;

/// An online option, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Online {
    spec: OptionSpec,
    line: Line,
    lead: Dist,
    /// The service's own limit in bytes per second.
    service: f64,
    order: StageOrder,
}

/// Times of one run.
#[derive(Debug, Clone, Copy)]
struct Times {
    lead: f64,
    prepare: f64,
    scan: f64,
    copy: f64,
    verify: f64,
    binding: Binding,
}

impl Online {
    /// The option for these inputs; `None` when its line does not exist.
    pub(crate) fn new(world: &World<'_>, spec: &OptionSpec) -> Option<Self> {
        let own = |gbit: f64| Line {
            rate: BitsPerSecond::new((gbit * 1e9) as u64),
            profile: WeekProfile::constant(Share::new(world.assume.own_line_share), Share::ZERO),
            frame: Share::new(FRAME_1500),
            tcp: world.inputs.line.as_ref().and_then(|line| line.tcp),
            measured: None,
        };
        let line = match spec.path.unwrap_or(Path::Internet) {
            Path::Internet => world.inputs.line.clone()?,
            Path::PrivateLink | Path::Cloud => own(spec.number("line")?),
            Path::ExistingDx => world.inputs.existing_dx.clone()?,
        };
        let tunnel = match spec.path {
            Some(Path::PrivateLink | Path::Cloud) => None,
            _ => spec.number("line").map(|gbit| gbit * 1e9 / 8.0 * FRAME_1500),
        };
        // A packet through a tunnel carries about 1400 bytes of payload.
        let packets = spec.number("packets_per_s").map(|pps| pps * 1400.0);
        let task = spec.number("task_rate").map(|mb| mb * 1e6);
        let service = [tunnel, packets, task].into_iter().flatten().fold(f64::INFINITY, f64::min);
        let in_place = spec.figures.get("lead_in_colocation").filter(|_| world.inputs.who.in_colocation);
        let lead = in_place.or(spec.figures.get("lead")).map_or_else(|| Dist::constant(0.0), Dist::of);
        Some(Self { spec: spec.clone(), line, lead, service, order: spec.stages.unwrap_or(StageOrder::Overlapped) })
    }

    /// Mean bytes per second of the raw line in this draw, for those who share the source with it.
    pub(crate) fn mean_rate(&self, world: &World<'_>, draw: Draw<'_>) -> f64 {
        let factor = world.link_factor(draw, &self.line);
        let rates: Vec<f64> =
            self.line.profile.levels().iter().map(|level| self.raw_rate(world, *level, factor)).collect();
        self.line.profile.mean_rate(&rates)
    }

    fn raw_rate(&self, world: &World<'_>, level: f64, factor: f64) -> f64 {
        self.line.payload(level, factor).min(self.line.tcp_rate()).min(world.inputs.site.source_read).min(self.service)
    }

    fn times(&self, world: &World<'_>, draw: Draw<'_>, share: f64) -> Times {
        let factor = world.link_factor(draw, &self.line);
        let costs = world.file_costs(draw, &self.line);
        let buckets = &world.inputs.buckets;
        let mut by_files = None;
        let seconds: Vec<f64> = self
            .line
            .profile
            .levels()
            .iter()
            .map(|level| {
                let (seconds, binding) = copy_seconds(buckets, self.raw_rate(world, *level, factor), &costs);
                by_files = by_files.or(binding);
                seconds
            })
            .collect();
        let lead = self.lead.quantile(draw.u(Var::LineLead));
        let prepare = world.assume.prepare.quantile(draw.u(Var::Prepare));
        let bulk = world.days_over(&self.line.profile, &seconds, share, lead + prepare);
        let tail = world.inputs.largest as f64 / costs.stream_rate.min(self.service) / 86_400.0;
        // A multipart upload uses many connections for one large file; below the threshold one file is one stream.
        let tail = if world.inputs.largest > 100_000_000 { tail / costs.workers } else { tail };
        let copy = bulk.max(if share > 0.0 { tail } else { 0.0 }) / (1.0 - world.assume.retry_share);
        let binding =
            if tail > bulk { Binding::Tail } else { by_files.unwrap_or_else(|| self.rate_binding(world, factor)) };
        let scan = world.scan_days() * share;
        let verify = match self.order {
            StageOrder::Sequential => world.bytes() * share / world.inputs.site.source_read / 86_400.0,
            StageOrder::Overlapped => 0.0,
        };
        Times { lead, prepare, scan, copy, verify, binding }
    }

    fn rate_binding(&self, world: &World<'_>, factor: f64) -> Binding {
        let best = self.line.profile.levels().iter().copied().fold(0.0, f64::max);
        let link = self.line.payload(best, factor);
        let limits = [
            (link, Binding::Link),
            (self.line.tcp_rate(), Binding::Tcp),
            (world.inputs.site.source_read, Binding::Source),
            (self.service, Binding::Service),
        ];
        let least = limits.iter().map(|(rate, _)| *rate).fold(f64::INFINITY, f64::min);
        limits.iter().find(|(rate, _)| *rate <= least).map_or(Binding::Link, |(_, binding)| *binding)
    }

    /// One world. `share` is the part of the dataset that goes this way.
    pub(crate) fn run(&self, world: &World<'_>, draw: Draw<'_>, share: f64, mut trace: MaybeTrace<'_>) -> Outcome {
        let times = self.times(world, draw, share);
        let mut out = Outcome::new();
        out.binding = times.binding;
        let begin = times.lead + times.prepare;
        let moving = match self.order {
            StageOrder::Sequential => times.scan + times.copy + times.verify,
            StageOrder::Overlapped => times.scan.max(times.copy),
        };
        out.landed = begin + moving;
        for (stage, days) in [(Stage::Lead, times.lead), (Stage::Prepare, times.prepare), (Stage::Copy, times.copy)] {
            out.spend(stage, days);
        }
        if self.order == StageOrder::Sequential || times.scan > times.copy {
            out.spend(Stage::Scan, times.scan);
            out.spend(Stage::Verify, times.verify);
        }
        self.draw_lane(&mut trace, &times, begin, out.landed, world.bytes() * share);
        self.explain_rate(world, draw, share, &times, &mut trace);
        world.finish(&mut out, &mut trace, draw, CatchUpWay { snapshot: begin, line: Some(&self.line) });
        self.bill(world, &mut out, &mut trace, share, times.lead);
        out
    }

    fn draw_lane(&self, trace: &mut MaybeTrace<'_>, times: &Times, begin: f64, landed: f64, bytes: f64) {
        let copying = match self.order {
            StageOrder::Sequential => begin + times.scan,
            StageOrder::Overlapped => begin,
        };
        let stages = [
            (Stage::Lead, times.lead),
            (Stage::Prepare, begin),
            (Stage::Scan, copying),
            (Stage::Copy, copying + times.copy),
            (Stage::Verify, landed),
        ];
        lane(trace, "line", true, 0.0, &stages);
        if let Some(trace) = trace.as_deref_mut() {
            trace.curve.push((copying, 0.0));
            trace.curve.push((copying + times.copy, bytes));
        }
    }

    fn explain_rate(&self, world: &World<'_>, draw: Draw<'_>, share: f64, times: &Times, trace: &mut MaybeTrace<'_>) {
        let factor = world.link_factor(draw, &self.line);
        explain(trace, "line", || match self.line.measured {
            Some(measured) => format!(
                "measured to the bucket {measured} * {factor:.2} (hours differ), of which {} may be used = {}",
                self.line.profile.mean(),
                rate(self.line.payload(self.line.profile.mean().get(), factor))
            ),
            None => format!(
                "{} / 8 * {:.4} (frames: 1460 of 1538 bytes) * {} (usable, mean of the week) * {factor:.2} (achieved over planned, P50) = {}",
                self.line.rate,
                self.line.frame.get(),
                self.line.profile.mean(),
                rate(self.line.payload(self.line.profile.mean().get(), factor)),
            ),
        });
        explain(trace, "rate", || {
            let mean = self.line.payload(self.line.profile.mean().get(), factor);
            format!(
                "min(line {}, TCP {}, source {}, service {}) = {}; binding: {}",
                rate(mean),
                rate(self.line.tcp_rate()),
                rate(world.inputs.site.source_read),
                rate(self.service),
                rate(self.mean_rate(world, draw)),
                times.binding.words()
            )
        });
        explain(trace, "files", || {
            let costs = world.file_costs(draw, &self.line);
            format!(
                "{} workers / ({:.0} ms per file + {} / {}) = {:.0} files/s at the mean size",
                costs.workers,
                costs.per_file_s * 1e3,
                size(world.bytes() / world.inputs.files.max(1) as f64),
                rate(costs.stream_rate),
                costs.workers
                    / (costs.per_file_s + world.bytes() / world.inputs.files.max(1) as f64 / costs.stream_rate)
            )
        });
        explain(trace, "copy", || {
            format!(
                "{} ({}) at that rate and calendar = {}",
                Bytes::new((world.bytes() * share) as u64),
                world.inputs.files,
                Days::new(times.copy)
            )
        });
        explain(trace, "time", || {
            let with = if self.order == StageOrder::Sequential { "+" } else { "beside" };
            format!(
                "order {} + prepare {} + copy {} ({with} scan {}, verify {})",
                Days::new(times.lead),
                Days::new(times.prepare),
                Days::new(times.copy),
                Days::new(times.scan),
                Days::new(times.verify)
            )
        });
    }
}
