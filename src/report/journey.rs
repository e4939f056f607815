//! How the transfer went: throughput over time, what was slow, what had to be repeated, which parts of the tree arrived.

use std::fmt::Write as _;

use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};

use crate::format::path::escape;
use crate::job::{Journal, Notable};
use crate::report::Facts;
use crate::report::text::moment;
use crate::units;

/// Runs drawn.
const RUNS_SHOWN: usize = 6;
/// Rows of a table of objects.
const ROWS_SHOWN: usize = 10;
/// Size of a chart. Unit: its own, scaled to the page.
const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 120.0;

/// The sections of the page; nothing before anything was sent.
pub(super) fn sections(facts: &Facts) -> Markup {
    let shown: Vec<&Journal> =
        facts.journals.iter().rev().filter(|journal| journal.bytes > 0).take(RUNS_SHOWN).collect();
    html! {
        @if !shown.is_empty() {
            section aria-labelledby="journey" {
                h2 id="journey" { "How the transfer went" }
                @for journal in &shown { (chart(journal)) }
                (objects("Slowest objects", &all(facts, |journal| &journal.slowest, |one| one.took_ms)))
                (objects("Objects with most repeated requests", &all(facts, |journal| &journal.retried, |one| u64::from(one.retries))))
            }
        }
        @if facts.lists.prefixes.len() > 1 { (prefixes(facts)) }
    }
}

/// The extreme objects of all runs.
fn all<'a>(
    facts: &'a Facts,
    of: impl Fn(&'a Journal) -> &'a Vec<Notable>,
    rank: impl Fn(&Notable) -> u64,
) -> Vec<&'a Notable> {
    let mut found: Vec<&Notable> = facts.journals.iter().flat_map(of).collect();
    found.sort_by_key(|one| std::cmp::Reverse(rank(one)));
    found.truncate(ROWS_SHOWN);
    found
}

fn chart(journal: &Journal) -> Markup {
    let rate = |bytes: u64| bytes as f64 / journal.step_s.max(1) as f64;
    let peak = journal.steps_bytes.iter().copied().map(rate).fold(1.0, f64::max);
    let step = WIDTH / journal.steps_bytes.len().max(1) as f64;
    let mut bars = String::new();
    for (index, bytes) in journal.steps_bytes.iter().enumerate() {
        let height = rate(*bytes) / peak * HEIGHT;
        let (x, y, width) = (index as f64 * step, HEIGHT - height, (step - 0.5).max(0.5));
        // writing to a String cannot fail
        let _ = write!(bars, r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#);
    }
    let begun = Timestamp::from_second(journal.started_s).map(moment).unwrap_or_default();
    let seconds = journal.took_ms as f64 / 1000.0;
    let mean = journal.bytes_per_second().unwrap_or_else(|| journal.bytes as f64 / seconds.max(0.001));
    // A run shorter than a step has no rate of steps.
    let (mean, peak) = (units::BytesPerSecond::new(mean), units::BytesPerSecond::new(peak.max(mean)));
    let alt = format!("Throughput of the run of {begun}: {mean} on average, {peak} at most");
    html! {
        figure class="journey" {
            @if !journal.steps_bytes.is_empty() {
                p class="unit peak" aria-hidden="true" { (peak) }
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(alt) preserveAspectRatio="none" { (PreEscaped(bars)) }
            }
            figcaption class="unit" {
                (journal.command) " of " (begun) ": " (units::Count::new(journal.objects)) " objects, " (units::Bytes::new(journal.bytes))
                " in " (format!("{seconds:.0}")) " s; " (mean) " on average, " (peak) " at most; "
                (units::Count::new(journal.retries)) " requests repeated; up to " (journal.requests_max) " at a time"
            }
        }
    }
}

fn objects(title: &str, found: &[&Notable]) -> Markup {
    html! {
        @if !found.is_empty() {
            div class="scroll" {
                table class="wide" {
                    caption { (title) }
                    thead { tr { th scope="col" { "Key" } th scope="col" class="number" { "Size" } th scope="col" class="number" { "Time" } th scope="col" class="number" { "Repeated" } } }
                    tbody {
                        @for one in found {
                            tr {
                                td { code { (one.key) } }
                                td class="number" { (units::Bytes::new(one.bytes)) }
                                td class="number" { (format!("{:.1} s", one.took_ms as f64 / 1000.0)) }
                                td class="number" { (one.retries) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn prefixes(facts: &Facts) -> Markup {
    html! {
        section aria-labelledby="prefixes" {
            h2 id="prefixes" { "By prefix" }
            div class="scroll" {
                table class="counts" {
                    caption { "What is directly below the top of the dataset" }
                    thead { tr { th scope="col" { "Prefix" } th scope="col" class="number" { "Entries" } th scope="col" class="number" { "Size" } th scope="col" class="number" { "Failed" } } }
                    tbody {
                        @for (prefix, count) in &facts.lists.prefixes {
                            tr {
                                td { code { @if prefix.is_empty() { "(at the top)" } @else { (escape(prefix)) } } }
                                td class="number" { (units::Count::new(count.all.entries)) }
                                td class="number" { (units::Bytes::new(count.all.bytes)) }
                                td class="number" { @if count.failed > 0 { span class="missing" { (count.failed) } } @else { "0" } }
                            }
                        }
                    }
                }
            }
            @if facts.lists.prefixes_left_out > 0 {
                p { (units::Count::new(facts.lists.prefixes_left_out)) " entries are under further prefixes; the lists have them all." }
            }
        }
    }
}
