//! Where options cross: sizes, line rates, deadlines, change rates and port prices at which the answer turns.
//!
//! Owns: finding them. Device times are staircases, so crossings are found by scanning and bisecting, and given as
//! intervals. Does not own any model: it asks them "what if". Called by `report`.

use serde::Serialize;

use crate::plan::answer::OptionReport;
use crate::plan::catalogue::Path;
use crate::plan::delta::Change;
use crate::plan::inputs::Inputs;
use crate::plan::math::quantile;
use crate::plan::options::{Candidate, Method, method};
use crate::plan::risk::Samples;
use crate::plan::sample::Draw;
use crate::plan::world::World;
use crate::units::{BitsPerSecond, Bytes, Days, Usd};

/// Where two options cross.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BreakEven {
    /// First option.
    pub a: String,
    /// Second option.
    pub b: String,
    /// size or link (who ends sooner), size-cost or port-price (who is cheaper), deadline, change.
    pub variable: &'static str,
    /// Where that holds for the first: from and to, in bytes, bits per second, days, bytes per day or dollars per hour.
    pub intervals: Vec<(f64, f64)>,
    /// The same as a sentence.
    pub text: String,
}

/// The volume in GB at which two bills, each fixed plus per GB, are equal; `None` when they never are.
pub fn equal_bills_gb(a_fixed: Usd, a_per_gb: Usd, b_fixed: Usd, b_per_gb: Usd) -> Option<f64> {
    let slope = (b_per_gb.micros() - a_per_gb.micros()) as f64;
    let gap = (a_fixed.micros() - b_fixed.micros()) as f64;
    let volume = gap / slope;
    (volume.is_finite() && volume >= 0.0).then_some(volume)
}

/// Sizes scanned for crossings: from a hundredth to a hundred times the dataset.
const SCAN_STEPS: i32 = 48;

/// Where the plain line stops being the first to end, by size and by link rate, against the best of each other family.
pub(crate) fn break_even(world: &World<'_>, candidates: &[Candidate], reports: &[OptionReport]) -> Vec<BreakEven> {
    let Some(line) = candidates.iter().find(|c| c.family == "internet") else { return Vec::new() };
    let rivals = candidates
        .iter()
        .zip(reports)
        .filter(|(c, r)| r.best_of_family && !matches!(c.method, Method::Online(_) | Method::Hybrid(_)));
    let mut found = Vec::new();
    for (rival, _) in rivals {
        let sooner = |factor: f64| {
            let other = world.scaled(factor);
            let ends =
                |c: &Candidate| c.rebuilt(&other).map_or(f64::INFINITY, |c| c.run(&other, Draw::MEDIAN, None).landed);
            ends(line) <= ends(rival)
        };
        let grid: Vec<f64> = (0..=SCAN_STEPS).map(factor).collect();
        let intervals = intervals(&grid, &sooner);
        let bytes: Vec<(f64, f64)> =
            intervals.iter().map(|(from, to)| (from * world.bytes(), to * world.bytes())).collect();
        let text = match (bytes.as_slice(), bytes.last()) {
            ([], _) => format!("{} ends before your line at every size looked at", rival.name),
            (_, Some((_, to))) if *to >= grid[grid.len() - 1] * world.bytes() * 0.999 => {
                format!("your line ends before {} up to more than {}", rival.name, decimal(*to))
            }
            (_, Some((_, to))) => format!("your line ends before {} up to about {} (P50)", rival.name, decimal(*to)),
            (_, None) => String::new(),
        };
        found.push(BreakEven { a: line.id.clone(), b: rival.id.clone(), variable: "size", intervals: bytes, text });
        found.extend(link_break_even(world, line, rival));
    }
    found
}

fn decimal(bytes: f64) -> String {
    Bytes::new(bytes as u64).decimal()
}

/// The link rate above which the line ends first.
fn link_break_even(world: &World<'_>, line: &Candidate, rival: &Candidate) -> Option<BreakEven> {
    let target = rival.run(world, Draw::MEDIAN, None).landed;
    let ends = |bits: f64| {
        let other = world.with_link(BitsPerSecond::new(bits as u64));
        line.rebuilt(&other).map_or(f64::INFINITY, |c| c.run(&other, Draw::MEDIAN, None).landed)
    };
    let (mut low, mut high) = (1e6, 400e9);
    if ends(high) > target || ends(low) <= target {
        return None;
    }
    for _ in 0..30 {
        let middle = (low * high).sqrt();
        if ends(middle) <= target { high = middle } else { low = middle }
    }
    let text = format!("your line ends before {} from about {} on (P50)", rival.name, BitsPerSecond::new(high as u64));
    Some(BreakEven { a: line.id.clone(), b: rival.id.clone(), variable: "link", intervals: vec![(high, 400e9)], text })
}

/// Intervals of a grid on which `holds`, each end bisected.
fn intervals(grid: &[f64], holds: &dyn Fn(f64) -> bool) -> Vec<(f64, f64)> {
    let edge = |mut good: f64, mut bad: f64| {
        for _ in 0..20 {
            let middle = (good * bad).sqrt();
            if holds(middle) { good = middle } else { bad = middle }
        }
        good
    };
    let mut found: Vec<(f64, f64)> = Vec::new();
    let mut open: Option<f64> = None;
    let mut before: Option<(f64, bool)> = None;
    for point in grid {
        let now = holds(*point);
        match (before, now) {
            (None, true) => open = Some(*point),
            (Some((last, false)), true) => open = Some(edge(*point, last)),
            (Some((last, true)), false) => found.extend(open.take().map(|from| (from, edge(last, *point)))),
            _ => {}
        }
        before = Some((*point, now));
    }
    if let (Some(from), Some(last)) = (open, grid.last()) {
        found.push((from, *last));
    }
    found
}

/// Where the answer turns for the option chosen: its rival in cost by size, the deadline that rules it out, the changes it
/// can keep up with, and the price of its port.
pub(crate) fn around(
    world: &World<'_>,
    candidates: &[Candidate],
    reports: &[OptionReport],
    samples: &[Samples],
    chosen: usize,
    second: Option<usize>,
) -> Vec<BreakEven> {
    let mut found = Vec::new();
    found.extend(second.and_then(|second| cost_by_size(world, &candidates[chosen], &candidates[second])));
    found.extend(deadline(world, candidates, reports, samples, chosen));
    found.extend(change(world, &candidates[chosen]));
    found.extend(second.and_then(|second| port_price(world, &candidates[chosen], &candidates[second])));
    found
}

/// Sizes at which the chosen option is cheaper than the second.
fn cost_by_size(world: &World<'_>, chosen: &Candidate, second: &Candidate) -> Option<BreakEven> {
    if matches!(chosen.method, Method::Hybrid(_)) || matches!(second.method, Method::Hybrid(_)) {
        return None;
    }
    let cheaper = |factor: f64| {
        let other = world.scaled(factor);
        let cost = |c: &Candidate| c.rebuilt(&other).map(|c| c.run(&other, Draw::MEDIAN, None).cost);
        cost(chosen).zip(cost(second)).is_none_or(|(a, b)| a <= b)
    };
    let grid: Vec<f64> = (0..=SCAN_STEPS).map(factor).collect();
    let intervals = intervals(&grid, &cheaper);
    let (from, to) = intervals.iter().copied().find(|(from, to)| *from <= 1.0 && *to >= 1.0)?;
    let (least, most) = (grid[0], grid[grid.len() - 1]);
    let text = match (from <= least * 1.001, to >= most * 0.999) {
        (true, true) => return None,
        (true, false) => format!("up to about {}", decimal(to * world.bytes())),
        (false, true) => format!("from about {} on", decimal(from * world.bytes())),
        (false, false) => {
            format!("from about {} to about {}", decimal(from * world.bytes()), decimal(to * world.bytes()))
        }
    };
    let text = format!("{} is cheaper than {} {text}", chosen.name, second.name);
    let bytes = intervals.iter().map(|(from, to)| (from * world.bytes(), to * world.bytes())).collect();
    Some(BreakEven { a: chosen.id.clone(), b: second.id.clone(), variable: "size-cost", intervals: bytes, text })
}

/// The deadline before which the chosen option is too slow, and what is then the cheapest that is not.
fn deadline(
    world: &World<'_>,
    candidates: &[Candidate],
    reports: &[OptionReport],
    samples: &[Samples],
    chosen: usize,
) -> Option<BreakEven> {
    let days = |index: usize| quantile(&samples[index].sorted_finish(), world.inputs.terms.confidence);
    let own = days(chosen);
    // What fails another of the terms, such as the end of support, is no advice where the pick fails none.
    let is_advice = |index: usize| reports[index].fails.is_empty() || !reports[chosen].fails.is_empty();
    let faster = (0..candidates.len()).filter(|index| is_advice(*index) && days(*index) < own - 0.5 && own.is_finite());
    let next = faster.min_by_key(|index| reports[*index].expected_cost)?;
    let text = format!(
        "for a deadline before {} ({}) take {}: {} with the same confidence, about {}",
        world.calendar.date(Days::new(own))?,
        Days::new(own),
        candidates[next].name,
        Days::new(days(next)),
        reports[next].expected_cost.short()
    );
    let (a, b) = (candidates[chosen].id.clone(), candidates[next].id.clone());
    Some(BreakEven { a, b, variable: "deadline", intervals: vec![(own, f64::MAX)], text })
}

/// The changes per day that the chosen option can still catch up with, within the window.
fn change(world: &World<'_>, chosen: &Candidate) -> Option<BreakEven> {
    let ends = |per_day: f64| {
        let change = Change { rewrite_per_day: per_day, growth_per_day: 0.0, working_set: f64::INFINITY };
        let other = world.variant(Inputs { change, ..world.inputs.clone() });
        chosen.run(&other, Draw::MEDIAN, None).finish.is_finite()
    };
    let (mut low, mut high) = (1e6_f64, 1e17_f64);
    if !ends(low) || ends(high) {
        return None;
    }
    while high / low > 1.01 {
        let middle = (low * high).sqrt();
        if ends(middle) { low = middle } else { high = middle }
    }
    let text = format!(
        "changes of up to about {} a day can be caught up with within {}",
        decimal(low),
        Days::new(world.inputs.site.window_days)
    );
    let (a, b) = (chosen.id.clone(), chosen.id.clone());
    Some(BreakEven { a, b, variable: "change", intervals: vec![(0.0, low)], text })
}

/// The price per hour up to which a port stays cheaper than the second option.
fn port_price(world: &World<'_>, chosen: &Candidate, second: &Candidate) -> Option<BreakEven> {
    if chosen.spec.path != Some(Path::PrivateLink) || !matches!(chosen.method, Method::Online(_)) {
        return None;
    }
    let at = |usd: &str| {
        let mut spec = chosen.spec.clone();
        usd.clone_into(&mut spec.figures.get_mut("per_hour")?.value);
        let method = method(world, &spec)?;
        Some(Candidate { spec, method, ..chosen.clone() }.run(world, Draw::MEDIAN, None).cost.to_f64())
    };
    let (free, one) = (at("0")?, at("1")?);
    let rival = second.run(world, Draw::MEDIAN, None).cost.to_f64();
    let hours = one - free;
    if hours <= 0.0 || rival <= free {
        return None;
    }
    let limit = (rival - free) / hours;
    let text = format!(
        "{} stays cheaper than {} up to {} an hour for its port, now {}",
        chosen.name,
        second.name,
        Usd::from_f64(limit).short(),
        chosen.spec.usd("per_hour")
    );
    let (a, b) = (chosen.id.clone(), second.id.clone());
    Some(BreakEven { a, b, variable: "port-price", intervals: vec![(0.0, limit)], text })
}

/// Sizes scanned, as factors of the dataset: a hundredth to a hundred times.
fn factor(step: i32) -> f64 {
    crate::plan::math::pow(10.0, f64::from(step) / f64::from(SCAN_STEPS) * 4.0 - 2.0)
}
