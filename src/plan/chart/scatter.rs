//! Time against cost: one mark per option with whiskers from P10 to P90, deadline and budget as lines.

use super::svg::{LEFT, RIGHT, Scale, Svg, TOP, WIDTH, axes};
use super::{Chart, days, drawn};
use crate::plan::answer::Report;
use crate::units::Usd;

const HEIGHT: f64 = 430.0;
const FLOOR: f64 = HEIGHT - super::svg::BOTTOM;

pub(super) fn tradeoff(report: &Report) -> Chart {
    let options = drawn(report);
    let longest = options.iter().map(|o| o.time.p90.get()).filter(|d| d.is_finite()).fold(1.0, f64::max);
    let deadline = report.header.deadline.map(|date| crate::plan::report::days_until(report.header.start, date));
    let costs = options.iter().flat_map(|o| [o.cost.p10.to_f64(), o.cost.p90.to_f64()]).filter(|cost| *cost > 0.0);
    let (low, high) = costs.fold((f64::INFINITY, 1.0), |(low, high), cost| (low.min(cost), f64::max(high, cost)));
    let x = Scale::linear(longest.max(deadline.unwrap_or(0.0)) * 1.08, LEFT, WIDTH - RIGHT);
    let y = Scale::log(low.min(high) * 0.6, high * 1.8, FLOOR, TOP + 6.0);
    let mut svg = Svg::new("tradeoff", HEIGHT + 18.0 * options.len() as f64 + 10.0);
    axes(
        &mut svg,
        (&x, "days from the start (mark: P50, whiskers: P10 to P90)", &|d| format!("{d:.0}")),
        (&y, "cost", &|c| Usd::from_f64(c).short()),
        HEIGHT,
    );
    if let Some(deadline) = deadline {
        svg.line("limit", (x.at(deadline), TOP), (x.at(deadline), FLOOR));
        svg.text("limit-text bold", (x.at(deadline) - 5.0, TOP + 12.0), "end", "deadline");
    }
    if let Some(budget) = report.header.budget {
        svg.line("limit", (LEFT, y.at(budget.to_f64())), (WIDTH - RIGHT, y.at(budget.to_f64())));
        svg.text("limit-text bold", (WIDTH - RIGHT - 4.0, y.at(budget.to_f64()) - 5.0), "end", "budget");
    }
    for (index, o) in options.iter().enumerate() {
        let at = (x.at(o.time.p50.get()), y.at(o.cost.p50.to_f64().max(low * 0.6)));
        let class = format!("whisker s{}", index % 7);
        svg.line(&class, (x.at(o.time.p10.get()), at.1), (x.at(o.time.p90.get()), at.1));
        svg.line(&class, (at.0, y.at(o.cost.p10.to_f64())), (at.0, y.at(o.cost.p90.to_f64())));
        svg.mark(index, at, !o.fails.is_empty());
        svg.text("bold", (at.0 + 12.0, at.1 - 9.0), "start", &(index + 1).to_string());
        let pick = report.recommendation.pick.as_ref() == Some(&o.id);
        let key = (LEFT + 8.0, HEIGHT + 18.0 * index as f64 + 12.0);
        svg.mark(index, (key.0, key.1 - 5.0), !o.fails.is_empty());
        let fate = if pick {
            " (recommended)"
        } else if o.fails.is_empty() {
            ""
        } else {
            " (misses your terms)"
        };
        svg.text(
            if pick { "bold" } else { "" },
            (key.0 + 16.0, key.1),
            "start",
            &format!("{} {}{fate}", index + 1, o.name),
        );
    }
    let caption =
        "Further left is sooner, further down is cheaper. Hollow marks miss your deadline or budget.".to_owned();
    let svg = svg.finish(
        "Time against cost",
        "One mark per option at its median time and cost, with whiskers from the 10th to the 90th percentile.",
    );
    Chart { id: "tradeoff", title: "Time against cost", caption, svg, table: rows(&options) }
}

/// The drawing as rows.
fn rows(options: &[&crate::plan::answer::OptionReport]) -> Vec<Vec<String>> {
    let table = std::iter::once(
        ["option", "P10", "P50", "P90", "cost P10", "cost P50", "cost P90", "meets the terms"]
            .map(str::to_owned)
            .to_vec(),
    );
    let rows = options.iter().map(|o| {
        let meets = if o.fails.is_empty() { "yes".to_owned() } else { "no".to_owned() };
        let c = &o.cost;
        vec![
            o.name.clone(),
            days(o.time.p10.get()),
            days(o.time.p50.get()),
            days(o.time.p90.get()),
            c.p10.short(),
            c.p50.short(),
            c.p90.short(),
            meets,
        ]
    });
    table.chain(rows).collect()
}
