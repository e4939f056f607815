//! The schedule of the recommended option: one row per device or line, weekends shaded, the critical row marked.

use super::svg::{BOTTOM, RIGHT, Scale, Svg, TOP, WIDTH};
use super::{Chart, days};
use crate::plan::answer::Report;
use crate::plan::outcome::Stage;

/// Rows drawn at most: more tell nothing new, and the table has them all.
const ROWS_MAX: usize = 16;
const ROW: f64 = 30.0;
/// Space for the names of rows.
const NAMES: f64 = 110.0;

pub(super) fn gantt(report: &Report) -> Chart {
    let Some(option) = report.options.first() else { return empty() };
    let lanes: Vec<_> = option.lanes.iter().take(ROWS_MAX).collect();
    let end = option.lanes.iter().flat_map(|l| &l.spans).map(|s| s.end).filter(|e| e.is_finite()).fold(1.0, f64::max);
    let height = TOP + 16.0 + ROW * lanes.len() as f64 + BOTTOM + 44.0;
    let floor = TOP + 16.0 + ROW * lanes.len() as f64;
    let x = Scale::linear(end * 1.02, NAMES, WIDTH - RIGHT);
    let mut svg = Svg::new("gantt", height);
    let monday = i32::from(report.header.start.weekday().to_monday_zero_offset());
    if end <= 200.0 {
        for day in 0..=(end as i32) {
            if (day + monday) % 7 == 5 {
                let (from, to) = (x.at(f64::from(day)), x.at((f64::from(day) + 2.0).min(end * 1.02)));
                svg.rect("weekend", (from, TOP), (to - from, floor - TOP));
            }
        }
    }
    for tick in x.ticks() {
        svg.line("grid", (x.at(tick), TOP), (x.at(tick), floor));
        svg.text("soft", (x.at(tick), floor + 18.0), "middle", &date_at(report, tick));
    }
    let mut used: Vec<Stage> = Vec::new();
    for (row, lane) in lanes.iter().enumerate() {
        let y = TOP + 12.0 + ROW * row as f64;
        svg.text(if lane.critical { "bold" } else { "" }, (NAMES - 8.0, y + 15.0), "end", &lane.name);
        for span in lane.spans.iter().filter(|s| s.end.is_finite()) {
            if !used.contains(&span.stage) {
                used.push(span.stage);
            }
            let (from, to) = (x.at(span.start), x.at(span.end));
            svg.rect(&format!("bar s{}", class(span.stage)), (from, y), (to - from, 20.0));
            if waits(span.stage) {
                svg.hatch((from, y), (to - from, 20.0));
            }
        }
        if lane.critical {
            let last = lane.spans.last().map_or(0.0, |s| s.end);
            svg.rect("outline", (NAMES, y - 2.0), (x.at(last) - NAMES, 24.0));
        }
    }
    legend(&mut svg, &used, floor + 40.0);
    let heads = vec!["row".to_owned(), "stage".to_owned(), "from day".to_owned(), "to day".to_owned()];
    let rows = option.lanes.iter().flat_map(|lane| {
        lane.spans.iter().map(|s| {
            vec![lane.name.clone(), s.stage.label().to_owned(), format!("{:.1}", s.start), format!("{:.1}", s.end)]
        })
    });
    let more = option.lanes.len().saturating_sub(ROWS_MAX);
    let hidden = if more > 0 { format!(" {more} more rows are in the table.") } else { String::new() };
    let caption = format!(
        "{}, with every uncertain time at its median: {}. Outlined: what ends last. Hatched: waiting. Shaded: weekends.{hidden}",
        option.name,
        days(option.estimate.get())
    );
    let svg = svg.finish("Schedule", "Bars of stages over days, one row per device or line, for the first option.");
    Chart { id: "gantt", title: "Schedule", caption, svg, table: std::iter::once(heads).chain(rows).collect() }
}

fn empty() -> Chart {
    let svg = Svg::new("gantt", 60.0).finish("Schedule", "No option can be had.");
    Chart { id: "gantt", title: "Schedule", caption: String::new(), svg, table: Vec::new() }
}

fn date_at(report: &Report, day: f64) -> String {
    let date = report.header.start.checked_add(jiff::Span::new().days((day as i64).clamp(0, 100_000)));
    date.map_or_else(|_| format!("day {day:.0}"), |date| date.strftime("%d %b %y").to_string())
}

/// Colour of a stage: orders, parcels, bytes moving, checks, catching up.
const fn class(stage: Stage) -> usize {
    match stage {
        Stage::Lead | Stage::WaitForDevice | Stage::WaitForStation | Stage::Booking => 6,
        Stage::Prepare | Stage::DevicePrep => 4,
        Stage::TransitOut | Stage::TransitBack | Stage::Travel | Stage::Pickup => 1,
        Stage::Fill | Stage::Copy => 0,
        Stage::Ingest | Stage::Receive => 2,
        Stage::ReadBack | Stage::Verify | Stage::Scan => 3,
        Stage::Resend | Stage::CatchUp | Stage::Cutover => 5,
    }
}

const fn waits(stage: Stage) -> bool {
    matches!(
        stage,
        Stage::Lead | Stage::WaitForDevice | Stage::WaitForStation | Stage::Booking | Stage::Pickup | Stage::Receive
    )
}

fn legend(svg: &mut Svg, used: &[Stage], y: f64) {
    let (mut at, mut line) = (NAMES, y);
    for stage in used {
        let width = 30.0 + stage.label().chars().count() as f64 * 7.0;
        if at + width > WIDTH - RIGHT {
            (at, line) = (NAMES, line + 20.0);
        }
        svg.rect(&format!("bar s{}", class(*stage)), (at, line - 10.0), (14.0, 12.0));
        if waits(*stage) {
            svg.hatch((at, line - 10.0), (14.0, 12.0));
        }
        svg.text("soft", (at + 19.0, line), "start", stage.label());
        at += width;
    }
}
