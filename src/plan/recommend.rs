//! The pick: what meets the constraints, ordered by what the user prefers, with the reason and the runner-up.
//!
//! Owns: the rules. Does not own odds or cost. Rules, in order: out with what cannot be had (done before); keep what
//! meets the deadline with the confidence asked and the budget at P90; take the least expected cost, within 5 % the
//! earlier P90; if nothing is left, say so, name the least bad and the smallest change that would help.

use serde::Serialize;

use crate::plan::answer::OptionReport;
use crate::plan::request::Prefer;
use crate::plan::risk::Samples;
use crate::plan::world::World;
use crate::units::{Days, Usd};

/// Costs closer than this are a tie.
const TIE: f64 = 0.05;

/// What to do, in a form that prints in two sentences.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    /// Id of the pick; none when nothing meets the constraints.
    pub pick: Option<String>,
    /// Id of what comes nearest when nothing does.
    pub least_bad: Option<String>,
    /// Id of the second.
    pub runner_up: Option<String>,
    /// The recommendation in two sentences.
    pub text: String,
    /// Why the runner-up lost.
    pub why_not_runner_up: Option<String>,
    /// The smallest change that makes something feasible.
    pub smallest_change: Option<String>,
}

/// Sorts option numbers best first, and marks the best of each family.
pub(crate) fn rank(reports: &mut [OptionReport], prefer: Prefer) -> Vec<usize> {
    let mut order: Vec<usize> = (0..reports.len()).collect();
    order.sort_by(|a, b| compare(&reports[*a], &reports[*b], prefer).then(a.cmp(b)));
    // Within 5 % of the cheapest, the earlier P90 goes first. Done on the sorted list, so that it is a total order.
    if prefer == Prefer::Cost {
        settle_ties(&mut order, reports);
    }
    let mut seen: Vec<String> = Vec::new();
    for index in &order {
        let family = reports[*index].family.clone();
        if !seen.contains(&family) {
            reports[*index].best_of_family = true;
            seen.push(family);
        }
    }
    order
}

fn settle_ties(order: &mut [usize], reports: &[OptionReport]) {
    let mut from = 0;
    while from < order.len() {
        let first = &reports[order[from]];
        let limit = first.expected_cost.to_f64() * (1.0 + TIE);
        let same = |index: &usize| {
            reports[*index].fails.is_empty() == first.fails.is_empty()
                && reports[*index].expected_cost.to_f64() <= limit
        };
        let tied = order[from..].iter().take_while(|index| same(index)).count().max(1);
        order[from..from + tied].sort_by(|a, b| {
            let p90 = |index: &usize| reports[*index].time.p90.get();
            p90(a).total_cmp(&p90(b)).then(reports[*a].expected_cost.cmp(&reports[*b].expected_cost)).then(a.cmp(b))
        });
        from += tied;
    }
}

fn compare(a: &OptionReport, b: &OptionReport, prefer: Prefer) -> std::cmp::Ordering {
    let meets = |r: &OptionReport| r.fails.is_empty();
    let time = |r: &OptionReport| r.time.p90.get();
    let odds = |r: &OptionReport| r.deadline.map_or(-r.time.p90.get() / r.time.p50.get().max(1e-9), |odds| odds.share);
    meets(b).cmp(&meets(a)).then_with(|| {
        if !meets(a) {
            return nearness(a).total_cmp(&nearness(b)).then(a.expected_cost.cmp(&b.expected_cost));
        }
        match prefer {
            Prefer::Cost => a.expected_cost.cmp(&b.expected_cost).then(time(a).total_cmp(&time(b))),
            Prefer::Time => time(a).total_cmp(&time(b)).then(a.expected_cost.cmp(&b.expected_cost)),
            Prefer::Risk => odds(b).total_cmp(&odds(a)).then(a.expected_cost.cmp(&b.expected_cost)),
        }
    })
}

/// How far an option that fails is from passing: the odds it lacks, in steps of a tenth so that hopeless ones do not win
/// by a draw in a thousand, then its P90.
fn nearness(r: &OptionReport) -> f64 {
    let lacking = r.deadline.map_or(0.0, |odds| 10.0 - (odds.share * 10.0).round());
    lacking * 1e6 + r.time.p90.get().min(1e6)
}

/// The recommendation for a ranked list.
pub(crate) fn recommend(
    world: &World<'_>,
    reports: &[OptionReport],
    order: &[usize],
    samples: &[Samples],
    change: impl FnOnce() -> Option<String>,
) -> Recommendation {
    let first = order[0];
    let best = &reports[first];
    let other = order.iter().skip(1).copied().find(|index| reports[*index].family != best.family);
    let runner_up = other.map(|index| &reports[index]);
    let dates = |r: &OptionReport| match r.p90_date {
        Some(date) => format!("by {date} with 90 % confidence ({} from the start)", r.time.p90),
        None => "never".to_owned(),
    };
    if !best.fails.is_empty() {
        let why = best.fails.first().cloned().unwrap_or_default();
        let text = format!(
            "Nothing that can be had meets what you ask. The least bad is {}: {}, at about {}{} ({why}).",
            best.name,
            dates(best),
            best.expected_cost.short(),
            unpriced(best)
        );
        return Recommendation {
            pick: None,
            least_bad: Some(best.id.clone()),
            runner_up: runner_up.map(|r| r.id.clone()),
            text,
            why_not_runner_up: runner_up
                .map(|r| format!("{}: {}", r.name, r.fails.first().cloned().unwrap_or_default())),
            smallest_change: change(),
        };
    }
    let deadline = match (best.deadline, world.inputs.terms.deadline) {
        (Some(odds), Some(date)) => format!("; odds of meeting {date}: {odds}"),
        _ => String::new(),
    };
    let held = best.binding.words();
    let text = format!(
        "Use {}: everything is there {}, for about {}{}{deadline}. What holds it back is {held}; half of the time it takes {} or less.",
        best.name,
        dates(best),
        best.expected_cost.short(),
        unpriced(best),
        best.time.p50
    );
    let why = other.map(|index| why_second(best, &reports[index], &samples[first], &samples[index]));
    Recommendation {
        pick: Some(best.id.clone()),
        least_bad: None,
        runner_up: runner_up.map(|r| r.id.clone()),
        text,
        why_not_runner_up: why,
        smallest_change: None,
    }
}

/// What the cost leaves out, said in the same breath.
fn unpriced(r: &OptionReport) -> String {
    if r.not_in_cost.is_empty() { String::new() } else { format!(" (without the {})", r.not_in_cost.join(", ")) }
}

fn why_second(best: &OptionReport, second: &OptionReport, a: &Samples, b: &Samples) -> String {
    if let Some(why) = second.fails.first() {
        return format!("{} comes next and fails: {why}", second.name);
    }
    let days = second.time.p90.get() - best.time.p90.get();
    let when = if days.abs() < 0.05 {
        "at the same time".to_owned()
    } else if days > 0.0 {
        format!("{} later at P90", Days::new(days))
    } else {
        format!("{} earlier at P90", Days::new(-days))
    };
    let dearer = second.expected_cost.micros() - best.expected_cost.micros();
    let price = if dearer >= 0 {
        format!("{} dearer", Usd::from_micros(dearer).short())
    } else {
        format!("{} cheaper", Usd::from_micros(-dearer).short())
    };
    let beats = b.beats(a);
    let of = if (1..beats.draws).contains(&beats.hits) { " of the draws" } else { "" };
    format!("{} comes second: {when}, {price}; it ends before the pick in {beats}{of}", second.name)
}
