//! The report for a terminal and for a file that anybody can open.

use std::fmt::Write;

use crate::format::path::escape;
use crate::job::{Count, State, VolumeState};
use crate::report::{Facts, Outcome, Stage, next};
use crate::units;

/// The whole report.
pub fn render_text(facts: &Facts) -> String {
    let mut text = String::new();
    let _ = body(&mut text, facts); // writing to a String cannot fail
    text
}

/// The report in one line.
pub fn render_line(facts: &Facts) -> String {
    let total = facts.ledger.present();
    let so_far = match (facts.stage, facts.outcome()) {
        (Stage::Staging, Outcome::Incomplete) => format!("{} staged so far", entries(facts.ledger.staged())),
        (Stage::Staging, _) => format!("all staged on {}", volumes(facts)),
        (Stage::Completion, Outcome::Incomplete) => {
            format!("{} staged, {} finished", entries(facts.ledger.staged()), entries(facts.lists.success))
        }
        (Stage::Completion, _) => "all of it arrived and was proved".into(),
    };
    let problems = match facts.lists.failure.entries {
        0 => String::new(),
        _ if facts.outcome() == Outcome::Incomplete => String::new(),
        failures => format!(", except {failures} with problems"),
    };
    format!("job {}: {}, {}: {so_far}{problems}", short(&facts.job), entries(total), bytes(total))
}

fn body(out: &mut String, facts: &Facts) -> std::fmt::Result {
    let title = match facts.stage {
        Stage::Staging => "Staging report",
        Stage::Completion => "Completion report",
    };
    writeln!(out, "{title}: {}", facts.outcome().sentence())?;
    writeln!(out)?;
    writeln!(out, "  job        {}", facts.job)?;
    writeln!(out, "  made       {}", moment(facts.created))?;
    writeln!(out, "  this page  {}", moment(facts.gathered))?;
    for (path, prefix) in &facts.sources {
        let prefix = if prefix.is_empty() { String::new() } else { format!(" as {}/", escape(prefix)) };
        writeln!(out, "  source     {}{prefix}", escape(path))?;
    }
    if let Some(target) = &facts.target {
        writeln!(out, "  target     {target}")?;
    }
    writeln!(out, "\nWhere everything stands")?;
    for (name, count) in states(facts) {
        row(out, &name, count)?;
    }
    row(out, "seen", facts.ledger.seen())?;
    if facts.lists.without_entry > 0 {
        let paths = units::Count::new(facts.lists.without_entry).to_string();
        writeln!(out, "  {:<28} {paths:>16}", "and could not be looked at")?;
    }
    if !facts.lists.evidence.is_empty() {
        writeln!(out, "\nWhat is proved")?;
    }
    for (evidence, count) in &facts.lists.evidence {
        row(out, evidence.name(), *count)?;
    }
    writeln!(out, "\nVolumes")?;
    for volume in &facts.volumes {
        let (row, number) = (&volume.row, volume.row.volume.number);
        let read_back =
            row.sealing.as_ref().map_or(String::new(), |sealing| format!(", read back: {}", sealing.read_back));
        let holds = volume.content.map_or(String::new(), |content| match (facts.stage, content.not_arrived) {
            (Stage::Staging, _) => format!(", {} entries", units::Count::new(content.entries)),
            (_, 0) => format!(", {} entries, all arrived", units::Count::new(content.entries)),
            (_, missing) => format!(", {} entries not arrived", units::Count::new(missing)),
        });
        let state = row.state.name();
        writeln!(out, "  {number:>3}  {state}{holds}{read_back}  ({})", row.volume.path.display())?;
    }
    if facts.lists.failure.entries > 0 {
        writeln!(out, "\nFailures")?;
        for (reason, count) in &facts.lists.reasons {
            row(out, reason, *count)?;
        }
        for (path, text) in &facts.lists.examples {
            writeln!(out, "  {}: {text}", escape(path))?;
        }
        if facts.lists.failure.entries > facts.lists.examples.len() as u64 {
            writeln!(out, "  ... all of them: {}-failure.csv", facts.stage.name())?;
        }
    }
    let next = next(facts);
    writeln!(out, "\nNext: {}", next.why)?;
    next.command.map_or(Ok(()), |command| writeln!(out, "  {command}"))
}

/// States in the order a reader asks for them; those that are empty and unremarkable are left out.
pub(super) fn states(facts: &Facts) -> Vec<(String, Count)> {
    let ledger = &facts.ledger;
    let mut rows = vec![("staged".to_owned(), ledger.state(State::Staged))];
    let mut more = |name: &str, count: Count| {
        if count.entries > 0 {
            rows.push((name.to_owned(), count));
        }
    };
    more("staged, changed while read", ledger.state(State::Changed));
    more("pending", ledger.state(State::Pending));
    more("problem", ledger.state(State::Problem));
    more("deleted at the source", ledger.deleted());
    for rule in ledger.excluded() {
        rows.push((format!("excluded by {}", rule.rule), rule.count));
    }
    rows
}

fn row(out: &mut String, name: &str, count: Count) -> std::fmt::Result {
    writeln!(out, "  {name:<28} {:>16} {:>12}", units::Count::new(count.entries).to_string(), bytes(count))
}

fn volumes(facts: &Facts) -> String {
    let count = facts.volumes.iter().filter(|volume| !volume.is_empty).count();
    let noun = if count == 1 { "volume" } else { "volumes" };
    let damaged = facts.volumes.iter().filter(|volume| volume.row.state == VolumeState::Damaged).count();
    match (damaged, facts.unsealed().next()) {
        (0, None) => format!("{count} {noun}, sealed and read back"),
        (0, Some(_)) => format!("{count} {noun}"),
        (damaged, _) => format!("{count} {noun}, {damaged} of them damaged"),
    }
}

fn entries(count: Count) -> String {
    let noun = if count.entries == 1 { "entry" } else { "entries" };
    format!("{} {noun}", units::Count::new(count.entries))
}

/// Bytes for people.
pub(super) fn bytes(count: Count) -> String {
    units::Bytes::new(count.bytes).decimal()
}

/// A moment for people: UTC, whole seconds.
pub(super) fn moment(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
