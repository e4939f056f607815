//! The plan as one HTML file: the answer on the first screen, then every number's origin. No script, nothing fetched.
//!
//! Owns: layout and words of the report page. Does not compute. Invariant: same report, same bytes. Called by `cli`.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::plan::answer::{OptionReport, Report};
use crate::plan::catalogue::Catalogue;
use crate::plan::chart::{self, Chart};
use crate::plan::dataset::Mark;
use crate::plan::text::short_odds;
use crate::units::Usd;

/// The page. `catalogue` gives the addresses of sources.
pub fn render(report: &Report, catalogue: &Catalogue) -> String {
    let charts: Vec<Chart> = chart::CHARTS.iter().filter_map(|id| chart::draw(report, id)).collect();
    let (first, rest) = charts.split_at(1.min(charts.len()));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Migration plan: " (report.header.bytes.decimal()) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (answer(report))
                    (sites(report))
                    (comparison(report))
                    @for chart in first { (figure(chart)) }
                    (watch(report))
                    @for chart in rest { (figure(chart)) }
                    (turning_points(report))
                    (services(report))
                    (details(report))
                    (excluded(report))
                    (inputs(report))
                    (assumptions(report))
                    (sources(report, catalogue))
                }
            }
        }
    };
    page.into_string()
}

fn answer(report: &Report) -> Markup {
    let h = &report.header;
    let best = report.options.first();
    let good = report.recommendation.pick.is_some();
    html! {
        header {
            p.small { "Migration plan" @if let Some(name) = &h.name { " for " (name) } ", made for a start on " (h.start) }
            h1 { "Moving " (h.bytes.decimal()) " into S3" @if let Some(deadline) = h.deadline { " by " (deadline) } }
        }
        section.answer.bad[!good] aria-label="Recommendation" {
            @if let Some(best) = best {
                p.verdict { @if good { "Recommended" } @else { "Nothing meets your terms; nearest" } }
                h2 { (best.name) }
                dl.numbers {
                    div { dt { "Everything in S3 by" } dd { (best.p90_date.map_or_else(|| "never".to_owned(), |d| d.to_string())) } dd.small { "with 90 % confidence; " "typically " (best.time.p50) ", nine times in ten within " (best.time.p90) } }
                    div { dt { "Expected cost" } dd { (best.expected_cost.short()) } dd.small { "P90 " (best.cost.p90.short()) @if let Some(budget) = h.budget { ", budget " (budget.short()) } @if !best.not_in_cost.is_empty() { "; without " (best.not_in_cost.join(", ")) } } }
                    @if let (Some(odds), Some(deadline)) = (best.deadline, h.deadline) {
                        div { dt { "Chance of " (deadline) } dd { (short_odds(&odds)) } dd.small { "asked for " (format!("{:.0} %", h.confidence * 100.0)) } }
                    }
                    div { dt { "Held back by" } dd.words { (best.binding.words()) } dd.small { "effective rate " (best.effective_rate) } }
                }
            }
            p { (report.recommendation.text) }
            @if let Some(why) = &report.recommendation.why_not_runner_up { p { (why) "." } }
            @if let Some(change) = &report.recommendation.smallest_change { p { strong { "What would help: " } (change) "." } }
            @if let Some(first) = report.warnings.first() { p.first-warning { strong { "Before you act: " } (first) "." } }
        }
    }
}

fn comparison(report: &Report) -> Markup {
    let shown: Vec<&OptionReport> = report.options.iter().filter(|o| o.best_of_family).collect();
    let deadline = report.header.deadline.is_some();
    html! {
        section {
            h2 { "The options" }
            div.scroll.compare { table {
                thead { tr { th { "Option" } th { "Meets your terms" } th { "Typical (P50)" } th { "P90" } th { "Date of P90" } @if deadline { th { "Deadline met" } } th { "Cost P50" } th { "Cost P90" } th { "Risk" } th { "Floor" } } }
                tbody { @for o in &shown {
                    tr.pick[report.recommendation.pick.as_ref() == Some(&o.id)] {
                        th scope="row" { (o.name) }
                        td { @if o.fails.is_empty() { "yes" } @else { span.no title=(o.fails.join("; ")) { "no" } } }
                        td { (o.time.p50) } td { (o.time.p90) }
                        td { (o.p90_date.map_or_else(|| "never".to_owned(), |d| d.to_string())) }
                        @if deadline { td { (o.deadline.map_or_else(String::new, |odds| short_odds(&odds))) } }
                        td { (o.cost.p50.short()) } td { (o.cost.p90.short()) } td { (o.risk) } td.small { (o.minimum) }
                    }
                } }
            } }
            @let failing: Vec<&&OptionReport> = shown.iter().filter(|o| !o.fails.is_empty()).collect();
            @if !failing.is_empty() {
                p.small { "Why not:" }
                ul.small { @for o in failing { li { (o.name) ": " (o.fails.join("; ")) } } }
            }
            p.small { "Floor: bytes over the rate on the label, never the plan. Best of each family; all " (report.options.len()) " planned options are in the details below. Risk: how far P90 lies from P50." }
        }
    }
}

/// Plans for all sites, where there are several.
fn sites(report: &Report) -> Markup {
    html! {
        @if let Some(sites) = &report.sites {
            section {
                h2 { "All sites together" }
                p { (sites.text) }
                div.scroll { table {
                    thead { tr { th { "Plan" } th { "P50" } th { "P90" } th { "Date of P90" } th { "Expected cost" } th { "Meets your terms" } } }
                    tbody { @for plan in &sites.plans { tr {
                        td { @for leg in &plan.legs { strong { (leg.site) } ": " (leg.way) br; } }
                        td { (plan.time.p50) } td { (plan.time.p90) }
                        td { (plan.p90_date.map_or_else(|| "never".to_owned(), |d| d.to_string())) }
                        td { (plan.expected_cost.short()) }
                        td { @if plan.fails.is_empty() { "yes" } @else { span.no { (plan.fails.join("; ")) } } }
                    } } }
                } }
                p.small { (sites.tried) " plans were tried: " (sites.search) ". The rest of this page is about the first site alone." }
            }
        }
    }
}

fn figure(chart: &Chart) -> Markup {
    html! {
        section {
            h2 { (chart.title) }
            figure {
                (PreEscaped(&chart.svg))
                figcaption { (chart.caption) }
            }
            @if chart.table.len() > 1 {
                details { summary { "The same as a table" } (table(&chart.table)) }
            }
        }
    }
}

fn table(rows: &[Vec<String>]) -> Markup {
    let (heads, rows) = rows.split_at(1.min(rows.len()));
    html! {
        div.scroll { table {
            thead { @for row in heads { tr { @for cell in row { th { (cell) } } } } }
            tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
        } }
    }
}

fn list(title: &str, items: &[String]) -> Markup {
    html! { @if !items.is_empty() { section { h2 { (title) } ul { @for item in items { li { (item) } } } } } }
}

fn watch(report: &Report) -> Markup {
    list("Before you act", &report.warnings)
}

fn turning_points(report: &Report) -> Markup {
    let flips: Vec<String> = report.flips.iter().map(|f| format!("{}: {}", f.change, f.effect)).collect();
    let crossings: Vec<String> = report.break_even.iter().map(|b| b.text.clone()).collect();
    let failover: Vec<String> = report.failover.iter().map(crate::plan::text::failover).collect();
    html! { (list("What would change the answer", &flips)) (list("Where the answer turns", &crossings)) (list("If the line must not fail", &failover)) }
}

fn services(report: &Report) -> Markup {
    html! {
        @for advice in &report.services {
            section {
                h2 { "Changes from " (advice.source) ": " (advice.service) }
                ul { @for line in advice.reasons.iter().chain(&advice.sizing) { li { (line) } } @for line in &advice.warnings { li { strong { "Watch: " } (line) } } }
                @if advice.per_month > Usd::ZERO { p { "About " (advice.per_month.short()) " a month." } }
                details { summary { "Limits used" } ul { @for limit in &advice.limits { li { (limit.id) ": " (limit.today) @if let Some(once) = &limit.once { "; once " (once) } } } } }
            }
        }
    }
}

fn details(report: &Report) -> Markup {
    html! {
        section {
            h2 { "How each number came about" }
            @for o in &report.options {
                details {
                    summary { (o.name) ": " (o.estimate) ", " (o.estimate_cost.short()) }
                    p.small { "id " (o.id) }
                    ul { @for f in &o.formulas { li { strong { (f.what) } ": " (f.text) } } }
                    @if let Some(verdict) = &o.verdict { p { strong { "Catching up: " } (verdict) } }
                    p { "P10 " (o.time.p10) ", P50 " (o.time.p50) ", P80 " (o.time.p80) ", P90 " (o.time.p90) ", P95 " (o.time.p95) }
                    div.scroll { table { tbody {
                        @for line in &o.costs { tr { td { (line.item) } td { (line.formula) } td.right { (line.amount) } } }
                        tr { th { "sum" } td {} td.right { strong { (o.estimate_cost) } } }
                    } } }
                    @for fail in &o.fails { p.no { "Fails: " (fail) } }
                    @for flag in &o.flags { p.small { (flag) } }
                }
            }
        }
    }
}

fn excluded(report: &Report) -> Markup {
    let rows = report.excluded.iter().map(|e| {
        let remedy = e.reason.remedy.clone().unwrap_or_default();
        vec![e.name.clone(), e.reason.text.clone(), remedy, e.reason.source.clone().unwrap_or_default()]
    });
    let heads = ["option", "why not", "what would change it", "source"].map(str::to_owned).to_vec();
    html! { section { h2 { "Not to be had" } (table(&std::iter::once(heads).chain(rows).collect::<Vec<_>>())) } }
}

const fn mark(mark: Mark) -> &'static str {
    match mark {
        Mark::Measured => "measured",
        Mark::Given => "given",
        Mark::Assumed => "assumed",
    }
}

fn inputs(report: &Report) -> Markup {
    let rows = report.inputs.iter().map(|i| vec![i.name.clone(), i.value.clone(), mark(i.mark).to_owned()]);
    let heads = ["input", "value", "where from"].map(str::to_owned).to_vec();
    html! {
        section {
            h2 { "What you asked: " (report.header.assumed) " of " (report.header.inputs) " inputs assumed" }
            (table(&std::iter::once(heads).chain(rows).collect::<Vec<_>>()))
            @if !report.overrides.is_empty() {
                p { "Yours instead of the catalogue's:" }
                ul { @for o in &report.overrides { li { (o.field) ": " (o.yours) " (default " (o.default) ")" } } }
            }
        }
    }
}

fn assumptions(report: &Report) -> Markup {
    let rows = report
        .assumptions
        .iter()
        .map(|a| vec![a.name.clone(), a.value.clone(), a.unit.clone(), a.basis.clone(), a.id.clone()]);
    let heads = ["assumption", "value", "unit", "why", "override by"].map(str::to_owned).to_vec();
    html! {
        section {
            h2 { "What the model assumes" }
            details { summary { (report.assumptions.len()) " assumptions, each yours to override" } (table(&std::iter::once(heads).chain(rows).collect::<Vec<_>>())) }
            p { "Not included: " (report.not_included.join("; ")) "." }
        }
    }
}

fn sources(report: &Report, catalogue: &Catalogue) -> Markup {
    let h = &report.header;
    html! {
        section {
            h2 { "Where the figures come from" }
            details {
                summary { (catalogue.sources.len()) " sources" }
                ul { @for s in &catalogue.sources { li { (s.id) ": " @if s.place.starts_with("https://") { a href=(s.place) { (s.place) } } @else { (s.place) } ", read " (s.read_on) } } }
            }
            p.small { "packmule " (h.tool) ", catalogue of " (h.catalogue) ", prices of " (catalogue.meta.region) ", seed " (h.seed) ", " (h.draws) " draws. The same question gives the same page, byte for byte." }
        }
    }
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--ground:#fff;--card:#f6f8fa;--rule:#d1d9e0;--good:#1a6b34;--bad:#b3261e}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#a5b0bb;--ground:#0d1117;--card:#161b22;--rule:#3d444d;--good:#7ee29a;--bad:#ff8a80}}\
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,sans-serif}main{max-width:940px;margin:0 auto;padding:24px}\
h1{font-size:30px;line-height:1.2;margin:.1em 0 .6em}h2{font-size:20px;margin:1.6em 0 .5em}.answer h2{font-size:26px;margin:.1em 0 .6em}\
.small,figcaption{color:var(--soft);font-size:14px}.answer{background:var(--card);border-left:6px solid var(--good);padding:16px 22px;border-radius:6px}\
.answer.bad{border-color:var(--bad)}.verdict{color:var(--good);font-weight:600;margin:0}.bad .verdict,.no{color:var(--bad)}\
.numbers{display:flex;flex-wrap:wrap;gap:14px 34px;margin:0 0 12px}.numbers div{min-width:150px;flex:1}.numbers dt{color:var(--soft);font-size:14px}\
.numbers dd{margin:0;font-size:24px;font-weight:600}.numbers dd.small{font-size:13px;font-weight:400}.numbers dd.words{font-size:20px;line-height:36px}\
.first-warning{margin-bottom:0}.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}\
.compare td{white-space:nowrap}th,td{text-align:left;padding:6px 9px;border-bottom:1px solid var(--rule);vertical-align:top}tr.pick{background:var(--card)}tr.pick th{font-weight:700}\
tbody th{font-weight:400}.right{text-align:right;white-space:nowrap}figure{margin:0}.chart{width:100%;height:auto}summary{cursor:pointer;padding:4px 0}\
.chart .cell{fill:var(--ground);font-weight:600}a{color:inherit}.compare tbody th{min-width:11em}\
@media print{body{font-size:12px}main{max-width:none;padding:0}.scroll{overflow:visible}table,.small,figcaption{font-size:10.5px}th,td{padding:3px 5px}\
.compare td,.right{white-space:normal}td,th,li,p{overflow-wrap:anywhere}.numbers{gap:8px 18px}.numbers div{min-width:110px}.numbers dd{font-size:18px}h1{font-size:24px}h2,summary{break-after:avoid}\
tr,li,figure,.answer{break-inside:avoid}details::details-content{content-visibility:visible;display:block}}";
