//! The eight charts, as accessible inline SVG: title, description, a table twin, patterns beside colour, no script.
//!
//! Owns: drawing. Does not compute: it draws what a report holds. Invariant: same report, same bytes. Called by `html`
//! and, one by one, by `cli`.

mod bars;
mod curves;
mod gantt;
mod scatter;
mod svg;

use crate::plan::answer::{OptionReport, Report};

/// A chart with its table twin.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Name for `--svg`.
    pub id: &'static str,
    /// Heading.
    pub title: &'static str,
    /// One sentence on how to read it.
    pub caption: String,
    /// The drawing.
    pub svg: String,
    /// The same as rows; the first row is the heads.
    pub table: Vec<Vec<String>>,
}

/// Names of all charts, in the order of the report.
pub const CHARTS: [&str; 8] = ["tradeoff", "gantt", "landed", "odds", "cost", "tornado", "size", "delta"];

/// Draws one chart; `None` when there is no chart of that name.
pub fn draw(report: &Report, id: &str) -> Option<Chart> {
    Some(match id {
        "tradeoff" => scatter::tradeoff(report),
        "gantt" => gantt::gantt(report),
        "landed" => curves::landed(report),
        "odds" => curves::odds(report),
        "cost" => bars::cost(report),
        "tornado" => bars::tornado(report),
        "size" => curves::size(report),
        "delta" => curves::delta(report),
        _ => return None,
    })
}

/// Options worth drawing: each family's best that ever ends, at most seven.
fn drawn(report: &Report) -> Vec<&OptionReport> {
    report.options.iter().filter(|o| o.best_of_family && o.time.p50.is_finite()).take(7).collect()
}

/// Days for an axis or a table.
fn days(value: f64) -> String {
    crate::units::Days::new(value).to_string()
}
