//! The plan as text for a terminal: one table, two sentences, what to watch, and formulas on request.
//!
//! Owns: rounding and words (days to two digits, dollars to three). Does not print: it returns text. Called by `cli`.

use std::fmt::Write as _;

use crate::plan::answer::{OptionReport, Report};
use crate::plan::dataset::Mark;
use crate::units::{Days, Usd};

/// Columns of running text at most, and where nothing says how many there are: longer lines are hard to follow.
const COLUMNS_MAX: usize = 110;
/// Columns of running text at least: what is narrower holds no sentence.
const COLUMNS_MIN: usize = 40;

/// Text that fits a width.
struct Page {
    text: String,
    /// Columns there are; `None`: nobody looks at it in a terminal, and lines of the table may be as long as they are.
    columns: Option<usize>,
}

impl Page {
    fn new(columns: Option<usize>) -> Self {
        Self { text: String::new(), columns }
    }

    /// A paragraph.
    fn wrapped(&mut self, line: &str, prefix: &str) {
        let width = self.columns.unwrap_or(COLUMNS_MAX).clamp(COLUMNS_MIN, COLUMNS_MAX);
        self.text.push_str(&wrap(line, prefix, width));
        self.gap();
    }

    /// Ends a line.
    fn gap(&mut self) {
        self.text.push('\n');
    }
}

impl std::fmt::Write for Page {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.text.write_str(text)
    }
}

/// The table, the recommendation, warnings and the assumptions that matter.
pub fn render(report: &Report, all: bool, columns: Option<usize>) -> String {
    let mut text = Page::new(columns);
    header(&mut text, report);
    table(&mut text, report, all);
    text.gap();
    text.wrapped(&report.recommendation.text, "  ");
    if let Some(why) = &report.recommendation.why_not_runner_up {
        text.wrapped(&format!("{why}."), "  ");
    }
    if let Some(change) = &report.recommendation.smallest_change {
        text.wrapped(&format!("What would help: {change}."), "  ");
    }
    sites(&mut text, report);
    let failing = report.options.iter().filter(|o| shown(o, report) && !o.fails.is_empty()).take(5);
    section(&mut text, "Marked x, because", failing.map(|o| format!("{}: {}", o.name, o.fails.join("; "))));
    section(&mut text, "Watch", report.warnings.iter().cloned());
    let verdict = report.options.first().and_then(|o| o.verdict.clone());
    section(&mut text, "Catching up with changes", verdict.into_iter());
    section(
        &mut text,
        "What decides it (P10 to P90 of each, or half to twice an assumed input)",
        report.tornado.iter().take(5).map(|s| format!("{}: done in {} to {}", s.name, s.low, s.high)),
    );
    section(&mut text, "What would change it", report.flips.iter().map(|f| format!("{}: {}", f.change, f.effect)));
    section(&mut text, "Where the answer turns", report.break_even.iter().map(|b| b.text.clone()));
    section(&mut text, "If the line must not fail", report.failover.iter().map(failover));
    services(&mut text, report);
    excluded(&mut text, report, all);
    section(
        &mut text,
        "Yours instead of the catalogue's",
        report.overrides.iter().map(|o| {
            let default = if o.default.is_empty() { "absent".to_owned() } else { o.default.clone() };
            format!("{}: {} (yours), default was {default}", o.field, o.yours)
        }),
    );
    section(
        &mut text,
        "Assumed (override with --catalog, or measure)",
        report.inputs.iter().filter(|i| i.mark == Mark::Assumed).map(|i| format!("{}: {}", i.name, i.value)),
    );
    let not_included = format!("Not included: {}.", report.not_included.join("; "));
    text.gap();
    text.wrapped(&not_included, "");
    let _ = writeln!(text, "Formulas with numbers: --explain OPTION. Whole report with charts: --html FILE.");
    text.text
}

fn header(text: &mut Page, report: &Report) {
    let h = &report.header;
    let name = h.name.as_ref().map(|n| format!("{n}: ")).unwrap_or_default();
    let _ = writeln!(
        text,
        "{name}{} in {} files, from {}{}",
        h.bytes,
        h.files,
        h.start,
        h.deadline.map(|d| format!(", to be done by {d}")).unwrap_or_default()
    );
    let draws = crate::units::Count::new(h.draws as u64);
    let made = format!("packmule {}, catalogue of {}, seed {}, {draws} draws", h.tool, h.catalogue, h.seed);
    text.wrapped(&format!("{made}; {} of {} inputs assumed", h.assumed, h.inputs), "");
    text.gap();
}

fn table(text: &mut Page, report: &Report, all: bool) {
    let rows: Vec<[String; 9]> =
        report.options.iter().filter(|o| all || shown(o, report)).map(|o| row(o, report)).collect();
    let heads = ["option", "minimum", "P50", "P90", "P90 date", "deadline", "cost P50 / P90", "risk", "held back by"]
        .map(str::to_owned);
    let mut widths = [0; 9];
    for row in std::iter::once(&heads).chain(&rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let has_room =
        text.columns.is_none_or(|columns| widths.iter().map(|width| width + 2).sum::<usize>() <= columns + 2);
    for row in std::iter::once(&heads).chain(&rows) {
        let cell = |at: usize| format!("{:<width$}", row[at], width = widths[at]);
        let cells = |from: usize, to: usize| (from..to).map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned();
        if has_room {
            let _ = writeln!(text, "{}", cells(0, 9));
        } else {
            // Two lines each: what it is and why, then its figures.
            let _ = writeln!(text, "{}  ({}, {})\n    {}", row[0], row[7], row[8], cells(1, 7));
        }
    }
    if report.options.iter().any(|o| shown(o, report) && !o.not_in_cost.is_empty()) {
        let _ = writeln!(text, "(+ and what is not published, such as a partner's fee: see --explain)");
    }
    let hidden = report.options.len() - rows.len();
    if hidden > 0 {
        let _ = writeln!(text, "({hidden} more of the same families: --all)");
    }
}

/// Rows shown by default: each family's best.
pub(crate) fn shown(option: &OptionReport, _report: &Report) -> bool {
    option.best_of_family
}

fn row(o: &OptionReport, report: &Report) -> [String; 9] {
    let pick = report.recommendation.pick.as_ref() == Some(&o.id);
    let mark = if pick {
        "* "
    } else if o.fails.is_empty() {
        "  "
    } else {
        "x "
    };
    [
        format!("{mark}{}", short_name(&o.name)),
        o.minimum.to_string(),
        o.time.p50.to_string(),
        o.time.p90.to_string(),
        o.p90_date.map_or_else(|| "-".to_owned(), |d| d.to_string()),
        o.deadline.map_or_else(|| "-".to_owned(), |odds| short_odds(&odds)),
        format!("{} / {}{}", o.cost.p50.short(), o.cost.p90.short(), if o.not_in_cost.is_empty() { "" } else { " +" }),
        o.risk.to_owned(),
        o.binding.words().to_owned(),
    ]
}

/// Odds in a table cell.
pub(crate) fn short_odds(odds: &crate::plan::risk::Odds) -> String {
    match odds {
        o if o.hits == o.draws => format!("> {:.1} %", (o.low * 1000.0).floor() / 10.0),
        o if o.hits == 0 => format!("< {:.1} %", (o.high * 1000.0).ceil() / 10.0),
        o => o.to_string(),
    }
}

/// A name that fits a column.
pub(crate) fn short_name(name: &str) -> String {
    const WIDTH: usize = 42;
    if name.chars().count() <= WIDTH {
        return name.to_owned();
    }
    let cut: String = name.chars().take(WIDTH - 1).collect();
    format!("{}…", cut.trim_end())
}

fn section(text: &mut Page, title: &str, lines: impl Iterator<Item = String>) {
    let mut first = true;
    for line in lines {
        if std::mem::take(&mut first) {
            let _ = writeln!(text, "\n{title}:");
        }
        text.wrapped(&line, "  - ");
    }
}

/// One way to stand in for a line, in one sentence.
pub(crate) fn failover(f: &crate::plan::failover::Failover) -> String {
    let price = if f.per_month > Usd::ZERO {
        format!("{} a month", f.per_month.short())
    } else {
        "no price of its own".to_owned()
    };
    format!("{}: {}, {price}, up in {}; {}", f.way, f.rate, f.lead, f.text)
}

fn sites(text: &mut Page, report: &Report) {
    let Some(sites) = &report.sites else { return };
    text.gap();
    text.wrapped(&sites.text, "  ");
    let lines = sites.plans.iter().map(|plan| {
        let legs: Vec<String> = plan.legs.iter().map(|leg| format!("{}: {}", leg.site, leg.way)).collect();
        let fails = if plan.fails.is_empty() { String::new() } else { format!(" ({})", plan.fails.join("; ")) };
        let (time, cost) = (&plan.time, &plan.expected_cost);
        format!("P50 {}, P90 {}, {}: {}{fails}", time.p50, time.p90, cost.short(), legs.join("; "))
    });
    let search = std::iter::once(format!("{} plans tried: {}", sites.tried, sites.search));
    section(text, "All sites together", lines.chain(search));
}

fn services(text: &mut Page, report: &Report) {
    for advice in &report.services {
        let price = if advice.per_month > Usd::ZERO {
            format!(", about {} a month", advice.per_month.short())
        } else {
            String::new()
        };
        let _ = writeln!(text, "\nChanges from {}: {}{price}", advice.source, advice.service);
        for line in advice.reasons.iter().chain(&advice.sizing) {
            text.wrapped(line, "  - ");
        }
        for line in &advice.warnings {
            text.wrapped(line, "  ! ");
        }
    }
}

fn excluded(text: &mut Page, report: &Report, all: bool) {
    let relevant = |family: &str| all || !report.options.iter().any(|o| o.family == family);
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let mut lines = Vec::new();
    for option in report.excluded.iter().filter(|e| relevant(&e.family)) {
        if !all && seen.contains(&(option.family.as_str(), option.reason.text.as_str())) {
            continue;
        }
        seen.push((&option.family, &option.reason.text));
        let remedy =
            option.reason.remedy.as_ref().filter(|r| !r.is_empty()).map(|r| format!(" ({r})")).unwrap_or_default();
        let source = option.reason.source.as_ref().map(|s| format!(" [{s}]")).unwrap_or_default();
        lines.push(format!("{}: {}{remedy}{source}", option.name, option.reason.text));
    }
    section(text, "Not to be had", lines.into_iter());
}

/// Every formula of an option with its numbers, its bill and its times; `None` when no option has that name.
pub fn explain(report: &Report, option: &str, columns: Option<usize>) -> Option<String> {
    let found =
        report.options.iter().find(|o| o.id == option).or_else(|| report.options.iter().find(|o| o.family == option));
    if let Some(o) = found {
        return Some(explain_option(o, columns));
    }
    let excluded = report.excluded.iter().find(|e| e.id == option || e.family == option)?;
    let source = excluded.reason.source.clone().unwrap_or_else(|| "your inputs".to_owned());
    Some(format!("{} ({}) is not to be had: {}\nsource: {source}\n", excluded.name, excluded.id, excluded.reason.text))
}

fn explain_option(o: &OptionReport, columns: Option<usize>) -> String {
    let mut text = Page::new(columns);
    let _ = writeln!(text, "{} ({})\n\nTime, with every variable at its median:", o.name, o.id);
    for formula in &o.formulas {
        text.wrapped(&format!("{}: {}", formula.what, formula.text), "  - ");
    }
    let date = o.estimate_date.map_or_else(String::new, |date| date.to_string());
    let line = format!(
        "theoretical minimum {}, planned {} ({date}), effective rate {}",
        o.minimum, o.estimate, o.effective_rate
    );
    text.gap();
    text.wrapped(&line, "  ");
    let p = &o.time;
    text.wrapped(&format!("P10 {}, P50 {}, P80 {}, P90 {}, P95 {}", p.p10, p.p50, p.p80, p.p90, p.p95), "  ");
    if let Some(verdict) = &o.verdict {
        text.wrapped(&format!("catching up: {verdict}"), "  ");
    }
    let critical: Vec<String> =
        o.critical.iter().take(4).map(|(stage, share)| format!("{} {:.0} %", stage.label(), share * 100.0)).collect();
    text.wrapped(&format!("longest stage in the draws: {}", critical.join(", ")), "  ");
    let _ = writeln!(text, "\nCost of that estimate:");
    for line in &o.costs {
        text.wrapped(&format!("{}: {} = {}", line.item, line.formula, line.amount), "  - ");
    }
    let _ = writeln!(text, "  sum {}; P50 {}, P90 {}", o.estimate_cost, o.cost.p50.short(), o.cost.p90.short());
    if o.left_on_per_month > Usd::ZERO {
        let _ = writeln!(text, "  each month left on: {}", o.left_on_per_month);
    }
    for (title, list) in [("Fails", &o.fails), ("Note", &o.flags)] {
        for line in list {
            text.wrapped(&format!("{title}: {line}"), "  ! ");
        }
    }
    for (index, lane) in o.lanes.iter().take(12).enumerate() {
        if index == 0 {
            let _ = writeln!(text, "\nSchedule (days from the start):");
        }
        let spans: Vec<String> =
            lane.spans.iter().map(|s| format!("{} {:.1}-{:.1}", s.stage.label(), s.start, s.end)).collect();
        text.wrapped(&format!("{}: {}", lane.name, spans.join(", ")), "  - ");
    }
    text.text
}

/// Comma-separated values: one row per option that can be had or not.
pub fn csv(report: &Report) -> String {
    let mut text = "id,name,available,p10_days,p50_days,p90_days,p95_days,p_deadline,cost_p50_usd,cost_p90_usd,expected_cost_usd,binding,risk,reason\n".to_owned();
    let days = |d: Days| if d.is_finite() { format!("{:.4}", d.get()) } else { "never".to_owned() };
    for o in &report.options {
        let odds = o.deadline.map_or_else(String::new, |odds| format!("{:.4}", odds.share));
        let usd = |u: Usd| format!("{:.2}", u.to_f64());
        let _ = writeln!(
            text,
            "{},{},true,{},{},{},{},{odds},{},{},{},{},{},{}",
            o.id,
            quoted(&o.name),
            days(o.time.p10),
            days(o.time.p50),
            days(o.time.p90),
            days(o.time.p95),
            usd(o.cost.p50),
            usd(o.cost.p90),
            usd(o.expected_cost),
            quoted(o.binding.words()),
            o.risk,
            quoted(&o.fails.join("; "))
        );
    }
    for e in &report.excluded {
        let _ = writeln!(text, "{},{},false,,,,,,,,,,,{}", e.id, quoted(&e.name), quoted(&e.reason.text));
    }
    text
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// Breaks a line; later lines are indented as far as the first one's prefix. A word longer than a line stands alone on one.
fn wrap(line: &str, prefix: &str, width: usize) -> String {
    let indent = " ".repeat(prefix.chars().count());
    let mut text = prefix.to_owned();
    let mut column = prefix.chars().count();
    for (index, word) in line.split_whitespace().enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > width {
            text.push('\n');
            text.push_str(&indent);
            column = indent.len();
        } else if index > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text
}
