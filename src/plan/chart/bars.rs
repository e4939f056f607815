//! Bars: the bill by component, and what swings the finish.

use super::svg::{RIGHT, Scale, Svg, TOP, WIDTH};
use super::{Chart, days, drawn};
use crate::plan::answer::Report;
use crate::units::Usd;

/// Space for names.
const NAMES: f64 = 320.0;
const ROW: f64 = 34.0;

/// Height of one row of the legend.
const LEGEND_ROW: f64 = 20.0;

/// An item without the half of a hybrid that it belongs to.
fn short(item: &str) -> &str {
    item.rsplit(": ").next().unwrap_or(item)
}

/// Items of all bills, each once, in the order they appear.
fn items<'a>(options: &[&'a crate::plan::answer::OptionReport]) -> Vec<&'a str> {
    let mut items: Vec<&str> = Vec::new();
    for line in options.iter().flat_map(|o| &o.costs) {
        if !items.contains(&short(&line.item)) {
            items.push(short(&line.item));
        }
    }
    items
}

/// Where each item of the legend stands (from the left, and in which row), and how many rows that takes.
fn legend(items: &[&str]) -> (Vec<(f64, usize)>, usize) {
    let (mut left, mut row) = (20.0, 0);
    let mut places = Vec::new();
    for item in items {
        let width = 34.0 + item.chars().count() as f64 * 7.5;
        if left + width > WIDTH - RIGHT && left > 20.0 {
            (left, row) = (20.0, row + 1);
        }
        places.push((left, row));
        left += width;
    }
    (places, row + 1)
}

pub(super) fn cost(report: &Report) -> Chart {
    let options = drawn(report);
    let total = |o: &crate::plan::answer::OptionReport| o.estimate_cost.to_f64() + o.left_on_per_month.to_f64();
    let most = options.iter().map(|o| total(o)).fold(1.0, f64::max);
    let items = items(&options);
    let (places, rows) = legend(&items);
    let height = TOP + ROW * options.len() as f64 + 58.0 + LEGEND_ROW * (rows + 1) as f64;
    let x = Scale::linear(most * 1.1, NAMES, WIDTH - RIGHT - 60.0);
    let mut svg = Svg::new("cost", height);
    let floor = TOP + ROW * options.len() as f64;
    for tick in x.ticks() {
        svg.line("grid", (x.at(tick), TOP - 6.0), (x.at(tick), floor));
        svg.text("soft", (x.at(tick), floor + 16.0), "middle", &Usd::from_f64(tick).short());
    }
    for (row, o) in options.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        svg.text("", (NAMES - 8.0, y + 15.0), "end", &crate::plan::text::short_name(&o.name));
        let mut sum = 0.0;
        for line in &o.costs {
            let index = items.iter().position(|known| *known == short(&line.item)).unwrap_or(0);
            let (from, to) = (x.at(sum), x.at(sum + line.amount.to_f64()));
            svg.rect(&format!("bar s{}", index % 7), (from, y), (to - from, 20.0));
            sum += line.amount.to_f64();
        }
        if o.left_on_per_month > Usd::ZERO {
            let (from, to) = (x.at(sum), x.at(sum + o.left_on_per_month.to_f64()));
            svg.rect("bar s6", (from, y), (to - from, 20.0));
            svg.hatch((from, y), (to - from, 20.0));
            sum += o.left_on_per_month.to_f64();
        }
        svg.text("bold", (x.at(sum) + 6.0, y + 15.0), "start", &o.estimate_cost.short());
    }
    for (index, (item, (left, row))) in items.iter().zip(&places).enumerate() {
        let top = floor + 32.0 + LEGEND_ROW * *row as f64;
        svg.rect(&format!("bar s{}", index % 7), (*left, top), (14.0, 12.0));
        svg.text("soft", (left + 19.0, top + 10.0), "start", item);
    }
    let top = floor + 32.0 + LEGEND_ROW * rows as f64;
    svg.rect("bar s6", (20.0, top), (14.0, 12.0));
    svg.hatch((20.0, top), (14.0, 12.0));
    svg.text("soft", (39.0, top + 10.0), "start", "each month left on after the end (not in the figure)");
    let heads = vec!["option".to_owned(), "item".to_owned(), "amount".to_owned(), "how".to_owned()];
    let rows = options.iter().flat_map(|o| {
        o.costs.iter().map(|l| vec![o.name.clone(), l.item.clone(), l.amount.to_string(), l.formula.clone()])
    });
    let svg = svg.finish("What it costs", "Bars of cost components per option for the single estimate.");
    let caption = "The bill of each option with every uncertain quantity at its median.".to_owned();
    Chart { id: "cost", title: "What it costs", caption, svg, table: std::iter::once(heads).chain(rows).collect() }
}

pub(super) fn tornado(report: &Report) -> Chart {
    let swings: Vec<_> = report.tornado.iter().filter(|s| s.low.is_finite() && s.high.is_finite()).take(9).collect();
    let reach = swings.iter().flat_map(|s| [s.low.get(), s.high.get()]);
    let base = swings.first().map_or(1.0, |s| s.base.get());
    let (low, high) = reach.fold((base, base), |(low, high), d| (f64::min(low, d), f64::max(high, d)));
    let height = TOP + ROW * swings.len() as f64 + 56.0;
    let floor = TOP + ROW * swings.len() as f64;
    let x = Scale::linear((high - low).max(1e-9) * 1.05, NAMES, WIDTH - RIGHT - 40.0);
    let mut svg = Svg::new("tornado", height);
    for tick in x.ticks() {
        svg.line("grid", (x.at(tick), TOP - 6.0), (x.at(tick), floor));
        svg.text("soft", (x.at(tick), floor + 16.0), "middle", &format!("{:.1}", low + tick));
    }
    for (row, s) in swings.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let (from, to) = (x.at(s.low.get().min(s.high.get()) - low), x.at(s.low.get().max(s.high.get()) - low));
        svg.text(
            if s.assumed { "bold" } else { "" },
            (NAMES - 8.0, y + 15.0),
            "end",
            &crate::plan::text::short_name(&s.name),
        );
        svg.rect(if s.assumed { "bar s1" } else { "bar s0" }, (from, y), (to - from, 20.0));
        if s.assumed {
            svg.hatch((from, y), (to - from, 20.0));
        }
    }
    svg.line("outline", (x.at(base - low), TOP - 8.0), (x.at(base - low), floor));
    svg.text(
        "bold",
        (f64::midpoint(NAMES, WIDTH - RIGHT), floor + 38.0),
        "middle",
        "days from the start (line: all at the median)",
    );
    let heads = [
        "variable",
        "finish at its low end",
        "finish at its high end",
        "change of cost",
        "rank correlation",
        "odds low / high",
    ];
    let rows = report.tornado.iter().map(|s| {
        let odds = s.odds.map_or_else(|| "-".to_owned(), |(a, b)| format!("{:.0} % / {:.0} %", a * 100.0, b * 100.0));
        vec![
            s.name.clone(),
            days(s.low.get()),
            days(s.high.get()),
            format!("{:+.0} USD", s.cost_change),
            format!("{:+.2}", s.rank_correlation),
            odds,
        ]
    });
    let caption = "Each variable from its 10th to its 90th percentile, all else at the median. Hatched: inputs nobody gave, from half to twice the assumed value; measure those first.".to_owned();
    let svg = svg.finish(
        "What decides it",
        "Bars of the finish in days between the low and the high end of each variable, widest first.",
    );
    Chart {
        id: "tornado",
        title: "What decides it",
        caption,
        svg,
        table: std::iter::once(heads.map(str::to_owned).to_vec()).chain(rows).collect(),
    }
}
