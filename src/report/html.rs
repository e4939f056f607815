//! The report as one page: no script, nothing from elsewhere, printable, readable by a screen reader.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::format::hex;
use crate::format::path::escape;
use crate::job::{Count, Evidence};
use crate::report::journey;
use crate::report::text::{bytes, moment, states};
use crate::report::{Facts, Outcome, Stage, VolumeFacts, next};
use crate::units;

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub fn render_html(facts: &Facts) -> String {
    let title = match facts.stage {
        Stage::Staging => "Staging report",
        Stage::Completion => "Completion report",
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) ": " (facts.outcome().sentence()) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header {
                        p class="eyebrow" { (title) " of job " code { (short(&facts.job)) } ", " (moment(facts.gathered)) }
                        h1 { (headline(facts)) }
                    }
                    (verdict(facts))
                    (about(facts))
                    section aria-labelledby="ledger" {
                        h2 id="ledger" { "Where everything stands" }
                        (counts("Each path seen is in exactly one row; the rows add up to what was seen.", &states(facts), Some(facts.ledger.seen())))
                    }
                    section aria-labelledby="proof" {
                        h2 id="proof" { "What is proved" }
                        (stack(facts))
                        (counts("Each entry counts once, at the strongest evidence there is for it.", &evidence(facts), None))
                    }
                    (volumes(facts))
                    (journey::sections(facts))
                    @if facts.lists.failure.entries > 0 { (failures(facts)) }
                    (lists(facts))
                }
                footer { p { "packmule " (env!("CARGO_PKG_VERSION")) " \u{b7} job " code { (facts.job) } } }
            }
        }
    };
    page.into_string()
}

fn verdict(facts: &Facts) -> Markup {
    let (class, sign) = match facts.outcome() {
        Outcome::Complete => ("good", "\u{2713}"),
        Outcome::CompleteWithProblems => ("fair", "!"),
        Outcome::Incomplete => ("open", "\u{2026}"),
    };
    let next = next(facts);
    html! {
        section class={ "answer " (class) } aria-label="Outcome" {
            p class="verdict" { span class="sign" aria-hidden="true" { b { (sign) } } (facts.outcome().sentence()) }
            dl class="figures" {
                (figure("seen", facts.ledger.seen()))
                (figure("succeeded", facts.lists.success))
                (figure("failed", facts.lists.failure))
            }
            p class="next" {
                strong { "Next: " } (next.why) "."
                @if let Some(command) = next.command { code class="command" { (command) } }
            }
        }
    }
}

/// What this page is about, as one would say it.
fn headline(facts: &Facts) -> String {
    let sources: Vec<String> = facts.sources.iter().map(|(path, _)| escape(path)).collect();
    let from = match sources.as_slice() {
        [] => String::new(),
        [one] => format!(" of {one}"),
        [first, ..] => format!(" of {first} and {} more", sources.len() - 1),
    };
    let content = bytes(facts.ledger.present());
    match &facts.target {
        Some(target) => format!("{content}{from} into {target}"),
        None => {
            let count = facts.volumes.iter().filter(|volume| !volume.is_empty).count();
            format!("{content}{from} onto {count} volume{}", if count == 1 { "" } else { "s" })
        }
    }
}

/// The first characters of an id, which are enough to tell jobs apart.
fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// Shares of all entries by evidence, the strongest first, as one bar. The table below it says the same.
fn stack(facts: &Facts) -> Markup {
    let all: u64 = facts.lists.evidence.values().map(|count| count.entries).sum();
    let share = |count: &Count| format!("width:{:.2}%", 100.0 * count.entries as f64 / all.max(1) as f64);
    let colour = |evidence: &Evidence| Evidence::ALL.iter().rev().position(|known| known == evidence).unwrap_or(0);
    let graded: Vec<_> = facts.lists.evidence.iter().rev().filter(|(_, count)| count.entries > 0).collect();
    html! {
        div class="stack" aria-hidden="true" {
            @for (evidence, count) in &graded { span class={ "c" (colour(evidence)) } style=(share(count)) {} }
        }
        p class="unit" aria-hidden="true" {
            @for (evidence, _) in &graded { span class={ "key c" (colour(evidence)) } {} (evidence.name()) " \u{a0} " }
        }
    }
}

fn figure(name: &str, count: Count) -> Markup {
    html! {
        div {
            dt { (name) }
            dd { (units::Count::new(count.entries)) span class="unit" { "entries, " (bytes(count)) } }
        }
    }
}

fn about(facts: &Facts) -> Markup {
    html! {
        section aria-labelledby="about" {
            h2 id="about" { "The job" }
            dl class="about" {
                dt { "Job" } dd { code { (facts.job) } }
                dt { "Made" } dd { (moment(facts.created)) }
                dt { "This report" } dd { (moment(facts.gathered)) }
                @for (path, prefix) in &facts.sources {
                    dt { "Source" }
                    dd { code { (escape(path)) } @if !prefix.is_empty() { " as " code { (escape(prefix)) "/" } } }
                }
                @if let Some(target) = &facts.target { dt { "Target" } dd { code { (target) } } }
                @for recipient in &facts.recipients { dt { "Can be opened by" } dd { code { (recipient) } } }
            }
        }
    }
}

fn evidence(facts: &Facts) -> Vec<(String, Count)> {
    // The strongest first.
    facts.lists.evidence.iter().rev().map(|(evidence, count)| (evidence.name().to_owned(), *count)).collect()
}

fn counts(caption: &str, rows: &[(String, Count)], total: Option<Count>) -> Markup {
    let line = |name: &str, count: Count| {
        html! {
            tr {
                th scope="row" { (name) }
                td class="number" { (units::Count::new(count.entries)) }
                td class="number" { (bytes(count)) }
            }
        }
    };
    html! {
        table class="counts" {
            caption { (caption) }
            thead { tr { th scope="col" { "" } th scope="col" class="number" { "Entries" } th scope="col" class="number" { "Content" } } }
            tbody { @for (name, count) in rows { (line(name, *count)) } }
            @if let Some(total) = total { tfoot { (line("seen", total)) } }
        }
    }
}

fn volumes(facts: &Facts) -> Markup {
    html! {
        section aria-labelledby="volumes" {
            h2 id="volumes" { "Volumes" }
            div class="scroll" { table class="wide" {
                caption { "A sealed volume was read back from the medium and compared; the SHA-256 is that of its SHA256SUMS." }
                thead {
                    tr {
                        th scope="col" class="number" { "No." } th scope="col" { "State" } th scope="col" { "Drive" }
                        th scope="col" class="number" { "Entries" }
                        @if facts.stage == Stage::Completion { th scope="col" class="number" { "Not arrived" } }
                        th scope="col" { "Seal" }
                    }
                }
                tbody { @for volume in &facts.volumes { (volume_row(facts.stage, volume)) } }
            } }
        }
    }
}

fn volume_row(stage: Stage, facts: &VolumeFacts) -> Markup {
    let (row, volume) = (&facts.row, &facts.row.volume);
    let drive: Vec<&str> = [&volume.model, &volume.serial].into_iter().flatten().map(String::as_str).collect();
    html! {
        tr {
            th scope="row" class="number" { (volume.number) }
            td { span class={ "pill " (row.state.name()) } { (row.state.name()) } }
            td { (drive.join(" ")) " " code { (volume.path.display()) } }
            td class="number" { (number(facts.content.map(|content| content.entries))) }
            @if stage == Stage::Completion {
                @let missing = facts.content.map(|content| content.not_arrived);
                td class={ "number" @if missing.is_some_and(|count| count > 0) { " missing" } } { (number(missing)) }
            }
            td {
                @if let Some(sealing) = &row.sealing {
                    (moment(sealing.at)) ", " (sealing.read_back) ", " (units::Bytes::new(sealing.file_bytes).decimal())
                    code class="digest" { (hex(&sealing.sums_sha256)) }
                } @else { "none yet" }
                @if let Some(erased) = row.erased { "; erased " (moment(erased)) }
            }
        }
    }
}

/// A count, or a dash where nothing was counted.
fn number(count: Option<u64>) -> String {
    count.map_or_else(|| "\u{2013}".to_owned(), |count| units::Count::new(count).to_string())
}

fn failures(facts: &Facts) -> Markup {
    let rows: Vec<(String, Count)> =
        facts.lists.reasons.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
    html! {
        section aria-labelledby="failures" {
            h2 id="failures" { "Failures" }
            (counts("By reason.", &rows, None))
            ul class="paths" {
                @for (path, text) in &facts.lists.examples { li { code { (escape(path)) } " " (text) } }
            }
            @if facts.lists.failure.entries > facts.lists.examples.len() as u64 {
                p { "The first " (facts.lists.examples.len()) ". All of them: " code { (facts.stage.name()) "-failure.csv" } "." }
            }
        }
    }
}

fn lists(facts: &Facts) -> Markup {
    let name = facts.stage.name();
    html! {
        section aria-labelledby="lists" {
            h2 id="lists" { "Lists beside this page" }
            ul {
                li { code { (name) "-success.csv" } ": every entry that succeeded, with digests and evidence" }
                li { code { (name) "-failure.csv" } ": every entry that did not, with the reason" }
                li { code { (name) ".sha256" } ": SHA-256 of every file as it was read, for " code { "sha256sum -c" } " at the source" }
                li { code { (name) ".json" } ": this report for programs, with the SHA-256 of all these files" }
            }
        }
    }
}
