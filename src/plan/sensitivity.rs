//! What decides the answer: swings of each variable, the nearest flips, and who is first where.
//!
//! Owns: tornado, flips and the winner map. Does not own any model: it asks them "what if". Called by `report`.

use serde::Serialize;

use crate::plan::answer::OptionReport;
use crate::plan::options::{self, Candidate, Method};
use crate::plan::risk::Samples;
use crate::plan::sample::{Draw, Sampler, VARS, Var};
use crate::plan::world::World;
use crate::units::{BitsPerSecond, Days, Usd};

/// One variable's swing from its P10 to its P90, all else at the median.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Swing {
    /// Stable name.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Finish with all at the median.
    pub base: Days,
    /// Finish with the variable at its low end.
    pub low: Days,
    /// Finish with the variable at its high end.
    pub high: Days,
    /// Change of cost from low to high, in dollars.
    pub cost_change: f64,
    /// Odds of the deadline at either end, where there is one.
    pub odds: Option<(f64, f64)>,
    /// Rank correlation with the finish over all draws; zero for inputs that are not random.
    pub rank_correlation: f64,
    /// An input that nobody gave or measured.
    pub assumed: bool,
}

impl Swing {
    /// The swing as a part of the finish.
    pub(crate) fn relative(&self) -> f64 {
        let width = (self.high.get() - self.low.get()).abs();
        if width.is_finite() { width / self.base.get().max(1e-9) } else { f64::INFINITY }
    }
}

/// A change of one input that changes the plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flip {
    /// What would be different.
    pub change: String,
    /// What follows.
    pub effect: String,
}

/// Who ends first, by size and link rate, and how long things take by size.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Map {
    /// Sizes in bytes.
    pub sizes: Vec<f64>,
    /// Link rates in bits per second.
    pub rates: Vec<u64>,
    /// Family that ends first at P50, by rate and then size.
    pub winners: Vec<Vec<String>>,
    /// Days by size, one line per name.
    pub lines: Vec<(String, Vec<f64>)>,
}

/// Draws used for the odds at either end of a swing.
const ODDS_DRAWS: usize = 256;

/// Swings of all random variables and of assumed inputs, widest first.
pub(crate) fn tornado(world: &World<'_>, candidate: &Candidate, samples: &Samples, sampler: &Sampler) -> Vec<Swing> {
    let base = candidate.run(world, Draw::MEDIAN, None);
    let deadline = world.inputs.terms.deadline_days;
    let odds_at = |var: Var, u: f64| {
        let days = deadline?;
        let n = ODDS_DRAWS.min(sampler.len());
        let hits =
            (0..n).filter(|index| candidate.run(world, sampler.draw(*index).with(var, u), None).finish <= days).count();
        Some(hits as f64 / n as f64)
    };
    let mut swings = Vec::new();
    for (var, id) in VARS {
        let low = candidate.run(world, Draw::MEDIAN.with(var, 0.1), None);
        let high = candidate.run(world, Draw::MEDIAN.with(var, 0.9), None);
        if (high.finish - low.finish).abs() < 1e-6 && low.cost == high.cost
            || high.finish.is_infinite() && low.finish.is_infinite()
        {
            continue;
        }
        swings.push(Swing {
            id: id.to_owned(),
            name: world.catalogue.assumption(id).map_or_else(|| name_of(var).to_owned(), |a| a.name.clone()),
            base: Days::new(base.finish),
            low: Days::new(low.finish),
            high: Days::new(high.finish),
            cost_change: high.cost.to_f64() - low.cost.to_f64(),
            odds: odds_at(var, 0.1).zip(odds_at(var, 0.9)),
            rank_correlation: rank_correlation(samples, sampler, var),
            assumed: false,
        });
    }
    swings.extend(assumed_inputs(world, candidate, base.finish));
    swings.sort_by(|a, b| b.relative().total_cmp(&a.relative()));
    swings
}

/// Names of variables that are no assumption of their own.
const fn name_of(var: Var) -> &'static str {
    match var {
        Var::LineLead => "Time until what is ordered is up",
        Var::TransitOut => "Parcel to you",
        Var::TransitBack => "Parcel back",
        Var::Season => "A bad season for parcels",
        Var::DriveLead => "Time to buy drives",
        Var::Travel => "Travel",
        _ => "Chance",
    }
}

/// Inputs that nobody gave, at half and at twice their assumed value.
fn assumed_inputs(world: &World<'_>, candidate: &Candidate, base: f64) -> Vec<Swing> {
    type Change = fn(&mut crate::plan::inputs::Inputs, f64);
    let changes: [(&str, &str, Change); 5] = [
        ("source-read", "source read rate", |inputs, factor| inputs.site.source_read *= factor),
        ("scan-rate", "files listed per second", |inputs, factor| inputs.site.scan_rate *= factor),
        ("workers", "parallel file workers", |inputs, factor| inputs.site.workers *= factor),
        ("line-utilisation", "share of the link we may use", |inputs, factor| {
            if let Some(line) = &mut inputs.line {
                line.profile = line.profile.scaled(factor);
            }
        }),
        ("files", "files", |inputs, factor| {
            let scale = |n: u64| ((n as f64 * factor) as u64).max(1);
            inputs.files = scale(inputs.files);
            inputs.buckets.iter_mut().for_each(|bucket| bucket.files = scale(bucket.files));
        }),
    ];
    let mut swings = Vec::new();
    for (id, name, change) in changes {
        if !world.inputs.is_assumed(name) {
            continue;
        }
        let ends = |factor: f64| {
            let mut inputs = world.inputs.clone();
            change(&mut inputs, factor);
            let other = world.variant(inputs);
            candidate.rebuilt(&other).map(|c| c.run(&other, Draw::MEDIAN, None))
        };
        let (Some(half), Some(twice)) = (ends(0.5), ends(2.0)) else { continue };
        let never = half.finish.is_infinite() && twice.finish.is_infinite();
        if never || (half.finish - twice.finish).abs() < 1e-6 {
            continue;
        }
        swings.push(Swing {
            id: id.to_owned(),
            name: format!("{name} (assumed)"),
            base: Days::new(base),
            low: Days::new(half.finish),
            high: Days::new(twice.finish),
            cost_change: twice.cost.to_f64() - half.cost.to_f64(),
            odds: None,
            rank_correlation: 0.0,
            assumed: true,
        });
    }
    swings
}

/// Spearman's correlation between a variable's uniform and the finish; draws that never end count as the last.
fn rank_correlation(samples: &Samples, sampler: &Sampler, var: Var) -> f64 {
    let n = samples.finish.len();
    let ranks = |key: &dyn Fn(usize) -> f64| {
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| key(*a).total_cmp(&key(*b)).then(a.cmp(b)));
        let mut rank = vec![0.0; n];
        order.iter().enumerate().for_each(|(place, index)| rank[*index] = place as f64);
        rank
    };
    let finish = ranks(&|index| samples.finish[index]);
    let uniform = ranks(&|index| sampler.draw(index).u(var));
    let squares: f64 = finish.iter().zip(&uniform).map(|(a, b)| (a - b) * (a - b)).sum();
    let n = n as f64;
    1.0 - 6.0 * squares / (n * (n * n - 1.0))
}

/// How an input is measured that nobody gave; nothing for what only time can tell.
pub(crate) fn how_to_measure(id: &str) -> Option<&'static str> {
    Some(match id {
        "source-read" | "source-file-cost" => "packmule probe --source DIR",
        "scan-rate" | "files" => "packmule scan SOURCE -o DATASET.toml",
        "line-utilisation" | "link-rate" | "file-cost" => "packmule probe --to s3://BUCKET",
        "fill-rate" => "packmule probe --volume DIR",
        "workers" => "give --workers as you will run it",
        _ => return None,
    })
}

/// What would change the plan: conditions the user may meet, a faster line, the next size of the same family.
pub(crate) fn flips(world: &World<'_>, chosen: &Candidate, reports: &[OptionReport], index: usize) -> Vec<Flip> {
    let best = &reports[index];
    let mut flips = Vec::new();
    let effect = |days: f64, cost: Usd| {
        let earlier = best.estimate.get() - days;
        let when = if earlier >= 0.0 {
            format!("{} earlier", Days::new(earlier))
        } else {
            format!("{} later", Days::new(-earlier))
        };
        let dearer = cost.to_f64() - best.estimate_cost.to_f64();
        let price = if dearer >= 0.0 {
            format!("+{}", Usd::from_f64(dearer).short())
        } else {
            format!("-{}", Usd::from_f64(-dearer).short())
        };
        format!("done {when} at P50, {price}")
    };
    for (text, change) in conditions() {
        let mut inputs = world.inputs.clone();
        change(&mut inputs);
        let other = world.variant(inputs);
        let (now, _) = options::compile(&other);
        let new = now.into_iter().filter(|c| !reports.iter().any(|r| r.id == c.id));
        let runs = new.map(|c| (c.run(&other, Draw::MEDIAN, None), c.name));
        if let Some((outcome, name)) = runs.min_by(|a, b| a.0.finish.total_cmp(&b.0.finish))
            && (outcome.finish < 0.95 * best.estimate.get()
                || outcome.cost.to_f64() < 0.95 * best.estimate_cost.to_f64())
        {
            flips.push(Flip {
                change: text.to_owned(),
                effect: format!("{name} becomes possible: {}", effect(outcome.finish, outcome.cost)),
            });
        }
    }
    if let Some(line) =
        world.inputs.line.as_ref().filter(|_| matches!(chosen.method, Method::Online(_) | Method::Hybrid(_)))
    {
        let double = BitsPerSecond::new(line.rate.get().saturating_mul(2));
        let other = world.with_link(double);
        if let Some(candidate) = chosen.rebuilt(&other) {
            let outcome = candidate.run(&other, Draw::MEDIAN, None);
            if (outcome.finish - best.estimate.get()).abs() > 0.05 * best.estimate.get() {
                flips
                    .push(Flip { change: format!("a line of {double}"), effect: effect(outcome.finish, outcome.cost) });
            }
        }
    }
    if matches!(&chosen.method, Method::Online(_)) && !world.inputs.who.in_colocation {
        let mut inputs = world.inputs.clone();
        inputs.who.in_colocation = true;
        let other = world.variant(inputs);
        let outcome = chosen.rebuilt(&other).map(|c| c.run(&other, Draw::MEDIAN, None));
        if let Some(outcome) = outcome.filter(|out| out.finish < best.estimate.get() - 0.5) {
            let change = "standing in a building where Direct Connect is".to_owned();
            flips.push(Flip { change, effect: effect(outcome.finish, outcome.cost) });
        }
    }
    let siblings = reports.iter().filter(|r| r.family == best.family && r.id != best.id && r.estimate.is_finite());
    let mut faster: Vec<&OptionReport> = siblings.filter(|r| r.estimate.get() < best.estimate.get() - 0.5).collect();
    faster.sort_by_key(|r| r.estimate_cost);
    for sibling in faster.into_iter().take(2) {
        flips.push(Flip {
            change: format!("{} instead", sibling.name),
            effect: effect(sibling.estimate.get(), sibling.estimate_cost),
        });
    }
    flips
}

pub(crate) type Condition = (&'static str, fn(&mut crate::plan::inputs::Inputs));

/// Conditions that the user may meet.
pub(crate) fn conditions() -> [Condition; 2] {
    [
        ("if you are an existing Snow customer", |inputs| inputs.who.existing_customer = true),
        ("with AWS Enterprise Support", |inputs| inputs.who.enterprise_support = true),
    ]
}

/// Who ends first over a grid of sizes and link rates, and days by size for some of them.
pub(crate) fn map(world: &World<'_>) -> Map {
    if world.inputs.line.is_none() || world.inputs.bytes == 0 {
        return Map::default();
    }
    let sizes: Vec<f64> = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4].iter().map(|tb| tb * 1e12).collect();
    let rates = vec![100_000_000, 300_000_000, 1_000_000_000, 3_000_000_000, 10_000_000_000, 40_000_000_000];
    let mut map = Map { sizes: sizes.clone(), rates: rates.clone(), ..Map::default() };
    for rate in &rates {
        let mut row = Vec::new();
        for size in &sizes {
            let other = world.scaled(size / world.bytes()).with_link(BitsPerSecond::new(*rate));
            let (candidates, _) = options::compile(&other);
            let first = candidates
                .iter()
                .map(|c| (c.run(&other, Draw::MEDIAN, None).landed, &c.family))
                .min_by(|a, b| a.0.total_cmp(&b.0));
            row.push(first.map_or_else(String::new, |(_, family)| family.clone()));
        }
        map.winners.push(row);
    }
    let grid: Vec<f64> = (0..=60).map(|step| crate::plan::math::pow(10.0, 12.0 + f64::from(step) / 15.0)).collect();
    for rate in [100_000_000_u64, 1_000_000_000, 10_000_000_000] {
        let days = grid.iter().map(|size| days_of(world, *size, Some(rate), "internet")).collect();
        map.lines.push((format!("line of {}", BitsPerSecond::new(rate)), days));
    }
    let (candidates, _) = options::compile(world);
    for family in ["snowball-edge", "own-drives", "data-transfer-terminal"] {
        if let Some(candidate) = candidates.iter().find(|c| c.family == family) {
            let days = grid.iter().map(|size| days_of(world, *size, None, family)).collect();
            map.lines.push((candidate.name.clone(), days));
        }
    }
    map.sizes = sizes;
    map
}

fn days_of(world: &World<'_>, size: f64, rate: Option<u64>, family: &str) -> f64 {
    let other = world.scaled(size / world.bytes());
    let other = match rate {
        Some(rate) => other.with_link(BitsPerSecond::new(rate)),
        None => other,
    };
    let spec = other
        .catalogue
        .options
        .iter()
        .find(|spec| spec.family == family && super::eligible::plannable(spec, &other.inputs).is_ok());
    let method = spec.and_then(|spec| options::method(&other, spec).map(|method| (spec, method)));
    let Some((spec, method)) = method else { return f64::INFINITY };
    let candidate =
        Candidate { id: String::new(), name: String::new(), family: String::new(), spec: spec.clone(), method };
    candidate.run(&other, Draw::MEDIAN, None).landed
}
