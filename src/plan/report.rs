//! The answer: every option with its odds and bill, what is recommended and why, and what it all rests on.
//!
//! Owns: the order of work of a plan. Does not own: the shape of its result (`answer`); renders nothing.
//! Invariant: same catalogue, inputs and seed give the same report, byte for byte. Called by `cli`.

use jiff::civil::Date;

use crate::plan::answer::{AssumptionLine, ExcludedOption, Header, OptionReport, REPORT_SCHEMA, Report};
use crate::plan::catalogue::{Catalogue, Confidence};
use crate::plan::crossings;
use crate::plan::failover;
use crate::plan::hybrid;
use crate::plan::inputs::{Error, Inputs};
use crate::plan::options::{self, Candidate, Excluded};
use crate::plan::recommend;
use crate::plan::remedy;
use crate::plan::request::Prefer;
use crate::plan::risk::{self, Percentiles, Samples};
use crate::plan::sample::Sampler;
use crate::plan::sensitivity::{self, Swing};
use crate::plan::sites;
use crate::plan::streams;
use crate::plan::world::World;
use crate::units::{Bytes, BytesPerSecond, Count, Days, Usd};

/// Days after which a price is warned about, and after which a cost is only indicative.
const STALE_DAYS: i64 = 180;
const INDICATIVE_DAYS: i64 = 540;

/// What nobody waits for without saying so: where no deadline is given, a plan that takes longer stands behind the others.
pub(crate) const PATIENCE_DAYS: f64 = 366.0;

const NOT_INCLUDED: [&str; 9] = [
    "approvals and contracts",
    "cleaning data, mapping permissions and ACLs, legal hold",
    "people's time (override people-day to count it)",
    "construction for a new line, and terms longer than the move",
    "what the place where the data is now asks for its leaving (give --egress)",
    "customs, insurance, hotels",
    "storage in S3 and retrieval later",
    "contention on lines that we cannot see",
    "tax",
];

/// Plans: every option simulated, judged, and compared.
///
/// # Errors
/// Never for inputs that `Inputs::resolve` accepted.
pub fn plan(catalogue: &Catalogue, inputs: Inputs) -> Result<Report, Error> {
    let world = World::new(catalogue, inputs);
    let sampler = Sampler::new(world.inputs.seed, world.inputs.draws);
    let (mut candidates, excluded) = options::compile(&world);
    if candidates.is_empty() {
        let reasons: Vec<String> = excluded.iter().take(4).map(|e| format!("{}: {}", e.name, e.reason.text)).collect();
        return Err(Error::Question(format!("no option can be had: {}", reasons.join("; "))));
    }
    candidates.extend(hybrid::candidates(&world, &candidates));
    let samples: Vec<Samples> = candidates.iter().map(|candidate| risk::run(candidate, &world, &sampler)).collect();
    let mut reports: Vec<OptionReport> = candidates.iter().zip(&samples).map(|(c, s)| judge(&world, c, s)).collect();
    let order = recommend::rank(&mut reports, world.inputs.terms.prefer);
    let change = || remedy::changes(&world, &candidates, &samples, &sampler);
    let recommendation = recommend::recommend(&world, &reports, &order, &samples, change);
    let picked = recommendation.pick.as_ref().or(recommendation.least_bad.as_ref());
    let chosen = picked.and_then(|id| candidates.iter().position(|c| &c.id == id)).unwrap_or(order[0]);
    let tornado = sensitivity::tornado(&world, &candidates[chosen], &samples[chosen], &sampler);
    let flips = sensitivity::flips(&world, &candidates[chosen], &reports, chosen);
    let mut break_even = crossings::break_even(&world, &candidates, &reports);
    let second = order.iter().copied().find(|index| reports[*index].family != reports[chosen].family);
    break_even.extend(crossings::around(&world, &candidates, &reports, &samples, chosen, second));
    let map = sensitivity::map(&world);
    let failover = failover::ways(&world, &candidates[chosen].spec);
    let warnings = warnings(&world, &reports, chosen, &tornado);
    let services = streams::advise(&world, reports[chosen].time.p90);
    let header = header(&world);
    let ordered = order.iter().map(|index| reports[*index].clone()).collect();
    Ok(Report {
        schema: REPORT_SCHEMA,
        header,
        inputs: world.inputs.lines.clone(),
        options: ordered,
        excluded: excluded.into_iter().map(excluded_option).collect(),
        recommendation,
        warnings,
        tornado,
        break_even,
        flips,
        failover,
        services,
        sites: sites::plan(&world),
        assumptions: assumptions(catalogue),
        not_included: NOT_INCLUDED.to_vec(),
        overrides: catalogue.overrides.clone(),
        map,
    })
}

fn excluded_option(excluded: Excluded) -> ExcludedOption {
    ExcludedOption { id: excluded.id, name: excluded.name, family: excluded.family, reason: excluded.reason }
}

fn header(world: &World<'_>) -> Header {
    let inputs = &world.inputs;
    Header {
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        catalogue: world.catalogue.meta.version.clone(),
        name: inputs.name.clone(),
        bytes: Bytes::new(inputs.bytes),
        files: Count::new(inputs.files),
        start: inputs.start,
        deadline: inputs.terms.deadline,
        confidence: inputs.terms.confidence,
        budget: inputs.terms.budget,
        region: inputs.who.region.clone(),
        seed: inputs.seed,
        draws: inputs.draws,
        assumed: inputs.assumed(),
        inputs: inputs.lines.len(),
    }
}

/// Days from the start to the end of a date.
pub(crate) fn days_until(start: Date, end: Date) -> f64 {
    crate::plan::eligible::days_between(start, end) as f64 + 1.0
}

fn judge(world: &World<'_>, candidate: &Candidate, samples: &Samples) -> OptionReport {
    let (outcome, trace) = candidate.estimate(world);
    let inputs = &world.inputs;
    let (time, cost) = (samples.time(), samples.money());
    let deadline_days = inputs.terms.deadline_days;
    let deadline = deadline_days.map(|days| samples.by(days));
    let mut fails = Vec::new();
    if let (Some(odds), Some(date)) = (deadline, inputs.terms.deadline)
        && odds.share < inputs.terms.confidence
    {
        fails.push(format!("done by {date}: {odds}, asked for {:.0} %", inputs.terms.confidence * 100.0));
    }
    if let Some(budget) = inputs.terms.budget
        && cost.p90 > budget
    {
        fails.push(format!("P90 cost {} is over the budget of {}", cost.p90.short(), budget.short()));
    }
    if !outcome.finish.is_finite() || !time.p50.is_finite() {
        fails.push(trace.verdict.clone().unwrap_or_else(|| "it never ends with these inputs".to_owned()));
    }
    if inputs.terms.deadline_days.is_none() && inputs.terms.prefer == Prefer::Cost && time.p90.get() > PATIENCE_DAYS {
        fails.push("takes more than a year; give a later --deadline if that is all right".to_owned());
    }
    let mut flags = trace.notes.clone();
    end_of_support(world, candidate, samples, &mut fails, &mut flags);
    stale_prices(candidate, inputs.as_of, &mut flags);
    let (unpriced, unknown): (Vec<String>, Vec<String>) =
        candidate.spec.unknown.iter().cloned().partition(|what| what.contains("price") || what.contains("fee"));
    if !unpriced.is_empty() {
        flags.push(format!("not published, so not in the cost: {}", unpriced.join(", ")));
    }
    if !unknown.is_empty() {
        flags.push(format!("not published: {}; ask before you order", unknown.join(", ")));
    }
    let sorted = samples.sorted_finish();
    let date = |days: Days| world.calendar.date(days);
    OptionReport {
        id: candidate.id.clone(),
        name: candidate.name.clone(),
        family: candidate.family.clone(),
        best_of_family: false,
        minimum: minimum(world, candidate),
        estimate: Days::new(outcome.finish),
        estimate_date: date(Days::new(outcome.finish)),
        p90_date: date(time.p90),
        risk: risk_word(&time),
        time,
        cost,
        expected_cost: samples.expected_cost(),
        estimate_cost: outcome.cost,
        deadline,
        expected_lateness: deadline_days.map(|days| Days::new(samples.expected_lateness(days))),
        over_budget: inputs.terms.budget.map(|budget| samples.over(budget)),
        binding: outcome.binding,
        effective_rate: BytesPerSecond::new(world.bytes() / (outcome.finish * 86_400.0)),
        critical: samples.critical(),
        costs: trace.costs,
        left_on_per_month: trace.left_on_per_month,
        formulas: trace.formulas,
        lanes: trace.lanes,
        curve: trace.curve,
        catch_up: trace.catch_up,
        verdict: trace.verdict,
        devices: trace.devices,
        fails,
        not_in_cost: unpriced,
        flags,
        cdf: (1..100)
            .map(|percent| Days::new(crate::plan::math::quantile(&sorted, f64::from(percent) / 100.0)))
            .collect(),
    }
}

/// A job that may end after the service does is not one to start.
fn end_of_support(
    world: &World<'_>,
    candidate: &Candidate,
    samples: &Samples,
    fails: &mut Vec<String>,
    flags: &mut Vec<String>,
) {
    let Some(end) = &candidate.spec.end_of_support else { return };
    if world.inputs.support_goes_on() {
        flags.push(
            "no end of support is given for GovCloud customers with active jobs: confirm it with yours".to_owned(),
        );
        return;
    }
    let by = samples.by(days_until(world.inputs.start, end.date));
    if by.share < world.inputs.terms.confidence {
        let (by, asked) = (by.share * 100.0, world.inputs.terms.confidence * 100.0);
        fails.push(format!("support ends on {}: imported by then in {by:.1} %, asked for {asked:.0} %", end.date));
    } else if by.share < 1.0 {
        flags.push(format!("support ends on {}: imported by then in {by}; fill and send it back at once", end.date));
    }
}

fn stale_prices(candidate: &Candidate, as_of: Date, flags: &mut Vec<String>) {
    let prices = candidate.spec.figures.values().chain(candidate.spec.tiers.iter().map(|tier| &tier.fee));
    let oldest =
        prices.filter(|f| f.unit.starts_with("USD") && f.confidence != Confidence::Given).map(|f| f.as_of).min();
    let Some(oldest) = oldest else { return };
    let age = crate::plan::eligible::days_between(oldest, as_of);
    if age < -STALE_DAYS {
        flags.push(format!("its prices are of {oldest} and later, not of {as_of}: the cost is indicative"));
    } else if age > INDICATIVE_DAYS {
        flags.push(format!("the cost is indicative: its oldest price is of {oldest}"));
    } else if age > STALE_DAYS {
        flags.push(format!("a price is of {oldest}: check it"));
    }
}

fn risk_word(time: &Percentiles<Days>) -> &'static str {
    let ratio = time.p90.get() / time.p50.get().max(1e-9);
    match ratio {
        _ if !time.p90.is_finite() => "very high",
        r if r < 1.3 => "low",
        r if r < 1.8 => "medium",
        _ => "high",
    }
}

/// Bytes over the narrowest rate on any label.
fn minimum(world: &World<'_>, candidate: &Candidate) -> Days {
    let spec = &candidate.spec;
    let line = match spec.path {
        Some(crate::plan::catalogue::Path::ExistingDx) => {
            world.inputs.existing_dx.as_ref().map(|line| line.rate.to_bytes().get())
        }
        Some(crate::plan::catalogue::Path::PrivateLink | crate::plan::catalogue::Path::Cloud) => {
            spec.number("line").map(|gbit| gbit * 1e9 / 8.0)
        }
        Some(crate::plan::catalogue::Path::Internet) => {
            world.inputs.line.as_ref().map(|line| line.rate.to_bytes().get())
        }
        None => None,
    };
    let device = spec.number("fill_rate").map(|mb| mb * 1e6 * world.inputs.site.stations as f64);
    let bays = spec.number("drive_rate").zip(spec.number("bays")).map(|(rate, bays)| rate * bays * 1e6);
    let narrowest = [line, device, bays].into_iter().flatten().fold(world.inputs.site.source_read, f64::min);
    Days::from_secs(world.bytes() / narrowest)
}

/// Swings of less than this part of the finish are not worth a measurement.
const WORTH_MEASURING: f64 = 0.1;

/// The first advice: measuring what the answer hangs on, where nobody has and a measurement can tell.
fn measure_first(world: &World<'_>, tornado: &[Swing]) -> Option<String> {
    let measured = |id: &str| match id {
        "link-rate" => world.inputs.line.as_ref().is_none_or(|line| line.measured.is_some()),
        "file-cost" => world.inputs.site.file_cost_s.is_some(),
        "fill-rate" => world.inputs.site.drive_rate.is_some(),
        _ => false,
    };
    let hangs = |swing: &&Swing| swing.relative() > WORTH_MEASURING && swing.relative().is_finite();
    let open = tornado.iter().filter(hangs).filter(|swing| !measured(&swing.id));
    let (swing, how) = open.filter_map(|swing| Some((swing, sensitivity::how_to_measure(&swing.id)?))).next()?;
    Some(format!(
        "measure first what is only assumed: \"{}\" moves the finish by {:.0} % ({how})",
        swing.name.trim_end_matches(" (assumed)"),
        swing.relative() * 100.0,
    ))
}

fn warnings(world: &World<'_>, reports: &[OptionReport], chosen: usize, tornado: &[Swing]) -> Vec<String> {
    let mut all = world.inputs.warnings.clone();
    all.extend(measure_first(world, tornado));
    let best = &reports[chosen];
    all.extend(best.flags.iter().cloned());
    if best.left_on_per_month > Usd::ZERO {
        all.push(format!("tear it down at the end: each month left on costs {}", best.left_on_per_month.short()));
    }
    if world.inputs.terms.prefer == Prefer::Cost && world.inputs.terms.deadline.is_none() {
        all.push("no deadline was given, so the cheapest option that takes less than a year wins; give --deadline or --prefer time".to_owned());
    }
    all
}

fn assumptions(catalogue: &Catalogue) -> Vec<AssumptionLine> {
    let line = |a: &crate::plan::catalogue::AssumptionSpec| AssumptionLine {
        id: a.id.clone(),
        name: a.name.clone(),
        value: crate::plan::dist::Dist::of(&a.figure).describe(),
        unit: a.figure.unit.clone(),
        basis: a.basis.clone(),
        confidence: a.figure.confidence,
    };
    catalogue.assumptions.iter().map(line).collect()
}
