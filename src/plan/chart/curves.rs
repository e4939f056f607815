//! Curves: bytes landed over time, odds over time, days over size, and catching up.

use super::svg::{BOTTOM, LEFT, RIGHT, Scale, Svg, TOP, WIDTH, axes};
use super::{Chart, days, drawn};
use crate::plan::answer::Report;
use crate::plan::options::landed_by;
use crate::units::{Bytes, Days};

const HEIGHT: f64 = 400.0;
const FLOOR: f64 = HEIGHT - BOTTOM;

fn deadline(report: &Report) -> Option<f64> {
    report.header.deadline.map(|date| crate::plan::report::days_until(report.header.start, date))
}

fn decimal(bytes: f64) -> String {
    Bytes::new(bytes.max(0.0) as u64).decimal()
}

/// Names beside the lines would hide other lines, so they stand in a list below it, each with its dash.
fn legend(svg: &mut Svg, names: &[String], at: (f64, f64)) {
    for (index, name) in names.iter().enumerate() {
        let y = at.1 + 18.0 * index as f64;
        svg.path(index, &[(at.0, y - 4.0), (at.0 + 34.0, y - 4.0)]);
        svg.text("", (at.0 + 40.0, y), "start", &crate::plan::text::short_name(name));
    }
}

fn deadline_line(svg: &mut Svg, report: &Report, x: &Scale) {
    if let Some(deadline) = deadline(report) {
        svg.line("limit", (x.at(deadline), TOP), (x.at(deadline), FLOOR));
        svg.text("limit-text bold", (x.at(deadline) - 5.0, FLOOR - 8.0), "end", "deadline");
    }
}

pub(super) fn landed(report: &Report) -> Chart {
    let options = drawn(report);
    let bytes = report.header.bytes.get() as f64;
    let last = options.iter().filter_map(|o| o.curve.last()).map(|p| p.0).filter(|d| d.is_finite()).fold(1.0, f64::max);
    let x = Scale::linear(last.max(deadline(report).unwrap_or(0.0)) * 1.05, LEFT, WIDTH - RIGHT);
    let y = Scale::linear(bytes * 1.05, FLOOR, TOP + 4.0);
    let mut svg = Svg::new("landed", HEIGHT + 18.0 * options.len() as f64 + 10.0);
    axes(&mut svg, (&x, "days from the start", &|d| format!("{d:.0}")), (&y, "bytes landed", &decimal), HEIGHT);
    deadline_line(&mut svg, report, &x);
    for (index, o) in options.iter().enumerate() {
        let mut points = vec![(x.at(0.0), y.at(0.0))];
        points.extend(o.curve.iter().filter(|p| p.0.is_finite()).map(|p| (x.at(p.0), y.at(p.1))));
        svg.path(index, &points);
    }
    let names: Vec<String> = options.iter().map(|o| o.name.clone()).collect();
    legend(&mut svg, &names, (LEFT, HEIGHT + 16.0));
    let mut table = vec![std::iter::once("day".to_owned()).chain(names).collect::<Vec<_>>()];
    for step in 1..=10 {
        let day = last * f64::from(step) / 10.0;
        table.push(
            std::iter::once(format!("{day:.1}"))
                .chain(options.iter().map(|o| decimal(landed_by(&o.curve, day))))
                .collect(),
        );
    }
    let svg = svg.finish(
        "Bytes landed",
        "Curves of bytes that have arrived over time, one per option: slopes for lines, steps for devices.",
    );
    let caption = "A line is a slope, devices come in steps, a hybrid is both.".to_owned();
    Chart { id: "landed", title: "Bytes landed over time", caption, svg, table }
}

pub(super) fn odds(report: &Report) -> Chart {
    let options = drawn(report);
    let last =
        options.iter().filter_map(|o| o.cdf.get(97)).map(|d| d.get()).filter(|d| d.is_finite()).fold(1.0, f64::max);
    let x = Scale::linear(last.max(deadline(report).unwrap_or(0.0)) * 1.05, LEFT, WIDTH - RIGHT);
    let y = Scale::linear(100.0, FLOOR, TOP + 4.0);
    let mut svg = Svg::new("odds", HEIGHT + 18.0 * options.len() as f64 + 10.0);
    axes(
        &mut svg,
        (&x, "days from the start", &|d| format!("{d:.0}")),
        (&y, "chance of being finished", &|p| format!("{p:.0} %")),
        HEIGHT,
    );
    deadline_line(&mut svg, report, &x);
    for (index, o) in options.iter().enumerate() {
        let steps = o.cdf.iter().enumerate().filter(|(_, d)| d.is_finite());
        let points: Vec<(f64, f64)> = steps.map(|(percent, d)| (x.at(d.get()), y.at(percent as f64 + 1.0))).collect();
        svg.path(index, &points);
    }
    let names: Vec<String> = options.iter().map(|o| o.name.clone()).collect();
    legend(&mut svg, &names, (LEFT, HEIGHT + 16.0));
    let mut table =
        vec![vec!["option", "10 %", "50 %", "80 %", "90 %", "95 %"].into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for o in &options {
        let t = &o.time;
        table.push(
            std::iter::once(o.name.clone()).chain([t.p10, t.p50, t.p80, t.p90, t.p95].map(|d| d.to_string())).collect(),
        );
    }
    let svg = svg.finish(
        "Odds of being finished",
        "Rising curves: the share of simulated worlds in which each option is finished by a day.",
    );
    let caption = "Where a curve crosses the deadline is the chance of meeting it. The steeper, the surer.".to_owned();
    Chart { id: "odds", title: "Odds of being finished by a day", caption, svg, table }
}

pub(super) fn size(report: &Report) -> Chart {
    let map = &report.map;
    let grid: Vec<f64> = (0..=60).map(|step| crate::plan::math::pow(10.0, 12.0 + f64::from(step) / 15.0)).collect();
    let height = HEIGHT + 30.0 + 26.0 * map.rates.len() as f64 + 40.0;
    let finite = |d: &&f64| d.is_finite();
    let longest = map.lines.iter().flat_map(|(_, d)| d).filter(finite).fold(10.0, |a: f64, d| a.max(*d));
    let x = Scale::log(1e12, 1e16, LEFT, WIDTH - RIGHT);
    let y = Scale::log(0.1, longest.clamp(10.0, 20_000.0), FLOOR, TOP + 4.0);
    let mut svg = Svg::new("size", height);
    axes(&mut svg, (&x, "size", &decimal), (&y, "time (P50)", &|d| Days::new(d).to_string()), HEIGHT);
    for (index, (_, line)) in map.lines.iter().enumerate() {
        let points = grid.iter().zip(line).filter(|(_, d)| d.is_finite()).map(|(size, d)| (x.at(*size), y.at(*d)));
        svg.path(index, &points.collect::<Vec<_>>());
    }
    let yours = report.header.bytes.get() as f64;
    svg.line("limit", (x.at(yours), TOP), (x.at(yours), FLOOR));
    svg.text("limit-text bold", (x.at(yours) + 5.0, FLOOR - 8.0), "start", "yours");
    legend(&mut svg, &map.lines.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), (LEFT + 16.0, TOP + 18.0));
    winners(&mut svg, report);
    let mut table =
        vec![std::iter::once("line".to_owned()).chain(map.sizes.iter().map(|s| decimal(*s))).collect::<Vec<_>>()];
    for (rate, row) in map.rates.iter().zip(&map.winners) {
        table.push(
            std::iter::once(crate::units::BitsPerSecond::new(*rate).to_string()).chain(row.iter().cloned()).collect(),
        );
    }
    let caption = "Above: time by size for three line rates and for devices, which rise in steps. Below: who is first, by size and rate of your line.".to_owned();
    let svg = svg.finish(
        "Time by size, and who is first",
        "Curves of time by size on logarithmic axes, and a grid of the fastest family by size and line rate.",
    );
    Chart { id: "size", title: "Time by size, and who is first", caption, svg, table }
}

fn winners(svg: &mut Svg, report: &Report) {
    let map = &report.map;
    let mut families: Vec<&str> = Vec::new();
    let cell = (WIDTH - RIGHT - LEFT - 60.0) / map.sizes.len().max(1) as f64;
    let top = HEIGHT + 18.0;
    for (column, size) in map.sizes.iter().enumerate() {
        svg.text("soft", (LEFT + 60.0 + cell * (column as f64 + 0.5), top), "middle", &decimal(*size));
    }
    for (row, (rate, winners)) in map.rates.iter().zip(&map.winners).enumerate() {
        let y = top + 8.0 + 26.0 * row as f64;
        svg.text("soft", (LEFT + 52.0, y + 16.0), "end", &crate::units::BitsPerSecond::new(*rate).to_string());
        for (column, family) in winners.iter().enumerate() {
            let index = families.iter().position(|known| known == family).unwrap_or_else(|| {
                families.push(family);
                families.len() - 1
            });
            let at = (LEFT + 60.0 + cell * column as f64 + 1.0, y + 1.0);
            svg.rect(&format!("bar s{}", index % 7), at, (cell - 2.0, 24.0));
            svg.text("cell", (at.0 + cell / 2.0 - 1.0, y + 17.0), "middle", &(index + 1).to_string());
        }
    }
    let names: Vec<String> =
        families.iter().enumerate().map(|(index, family)| format!("{} {family}", index + 1)).collect();
    svg.text("soft", (LEFT, top + 8.0 + 26.0 * map.rates.len() as f64 + 24.0), "start", &names.join("   "));
}

pub(super) fn delta(report: &Report) -> Chart {
    let found = report.options.iter().find_map(|o| o.catch_up.as_ref().map(|c| (o, c)));
    let mut svg = Svg::new("delta", HEIGHT);
    let mut table = vec![vec!["round".to_owned(), "bytes waiting".to_owned(), "length".to_owned()]];
    let caption = match found {
        None => {
            svg.text("soft", (WIDTH / 2.0, HEIGHT / 2.0), "middle", "No change was given: nothing to catch up with.");
            "Give --change-per-day or --growth-per-day when the data changes while it moves.".to_owned()
        }
        Some((option, c)) => {
            let shown: Vec<_> = c.rounds.iter().take(12).collect();
            let most = shown.iter().map(|r| r.backlog_bytes).fold(1.0, f64::max);
            let x = Scale::linear(shown.len() as f64 + 0.5, LEFT, WIDTH - RIGHT);
            let y = Scale::linear(most * 1.1, FLOOR, TOP + 4.0);
            axes(
                &mut svg,
                (&x, "round", &|n| if n > 0.0 && n.fract() == 0.0 { format!("{n:.0}") } else { String::new() }),
                (&y, "bytes waiting", &decimal),
                HEIGHT,
            );
            for (index, round) in shown.iter().enumerate() {
                let (left, top) = (x.at(index as f64 + 0.7), y.at(round.backlog_bytes));
                svg.rect("bar s0", (left, top), (x.at(index as f64 + 1.3) - left, FLOOR - top));
                svg.text("", (x.at(index as f64 + 1.0), top - 6.0), "middle", &days(round.days));
            }
            table.extend(
                shown
                    .iter()
                    .enumerate()
                    .map(|(i, r)| vec![(i + 1).to_string(), decimal(r.backlog_bytes), days(r.days)]),
            );
            if shown.is_empty() {
                svg.text(
                    "limit-text bold",
                    (WIDTH / 2.0, HEIGHT / 2.0),
                    "middle",
                    "Changes come as fast as the line carries them: it never catches up.",
                );
            }
            format!("{}: {}.", option.name, option.verdict.clone().unwrap_or_default())
        }
    };
    let svg = svg.finish(
        "Catching up",
        "Bars of the bytes waiting at the start of each catch-up round, with the length of each round.",
    );
    Chart { id: "delta", title: "Catching up with changes", caption, svg, table }
}
