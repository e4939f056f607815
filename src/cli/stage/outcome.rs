//! How a staging ended, in words, as JSON, and as an exit code.

use std::path::Path;

use super::Args;
use crate::cli::Exit;
use crate::cli::progress::Painter;
use crate::format::ReadBack;
use crate::format::path::escape;
use crate::job::{Ledger, State};
use crate::stage::{self, Outcome};
use crate::units::Bytes;

/// Problems shown at the end; all of them are in the report.
const PROBLEMS_SHOWN: usize = 20;

pub(super) fn exit(outcome: &Outcome) -> Exit {
    let ledger = &outcome.ledger;
    let changed = ledger.state(State::Changed).entries.saturating_sub(outcome.accepted);
    let problems = ledger.state(State::Problem).entries + changed;
    match outcome {
        outcome if outcome.is_stopped && !outcome.is_complete => Exit::Stopped,
        outcome if !outcome.lied.is_empty() => Exit::Integrity,
        outcome if outcome.needs_volume.is_some() => Exit::Volume,
        outcome if !outcome.failed.is_empty() || !outcome.is_complete => Exit::Failed,
        _ if problems > 0 || outcome.problems > 0 => Exit::Problems,
        _ => Exit::Done,
    }
}

/// A number of packs, in words.
pub(in crate::cli) fn packs(count: u64) -> String {
    if count == 1 { "1 pack".to_owned() } else { format!("{count} packs") }
}

fn amount(count: crate::job::Count) -> String {
    format!("{} entries, {}", count.entries, Bytes::new(count.bytes))
}

pub(super) fn text(args: &Args, outcome: &Outcome, painter: &Painter, report: Option<&Path>) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    let problems = painter.problems();
    for problem in problems.iter().take(PROBLEMS_SHOWN) {
        line(format!("problem: {}: {}: {}", escape(&problem.path), problem.code.word(), problem.text));
    }
    if problems.len() > PROBLEMS_SHOWN {
        line(format!("... and {} more: packmule report --job {}", problems.len() - PROBLEMS_SHOWN, args.job.display()));
    }
    for (number, error) in &outcome.failed {
        line(format!("volume {number} failed: {}", crate::cli::exit::chain(error)));
    }
    for liar in &outcome.lied {
        line(format!(
            "volume {} ({}) does not hold what was written, and is not sealed: {}",
            liar.number,
            liar.root.display(),
            crate::cli::exit::chain(&liar.error)
        ));
    }
    for (number, report) in &outcome.sealed {
        line(format!(
            "volume {number} sealed: {}, {}, read back {}",
            packs(report.packs),
            Bytes::new(report.bytes),
            read_back(report.read_back)
        ));
    }
    line(ledger_line(&outcome.ledger));
    if let Some(report) = report {
        line(format!("report: {}", report.display()));
    }
    line(last_line(args, outcome));
    text
}

/// Where everything stands, in one line: both sides of the sign are equal.
pub(in crate::cli) fn ledger_line(ledger: &Ledger) -> String {
    let states = [
        ("staged", ledger.state(State::Staged)),
        ("changed while read", ledger.state(State::Changed)),
        ("problems", ledger.state(State::Problem)),
        ("pending", ledger.state(State::Pending)),
        ("gone", ledger.deleted()),
        ("left out", ledger.left_out()),
    ];
    let parts = states.iter().filter(|(_, count)| count.entries > 0);
    let parts: Vec<String> = parts.map(|(word, count)| format!("{word} {}", amount(*count))).collect();
    let parts = if parts.is_empty() { "nothing".to_owned() } else { parts.join(" + ") };
    format!("ledger: seen {} = {parts}", amount(ledger.seen()))
}

/// `volume 2`, `volumes 2 and 5`.
fn volumes_in_words(liars: &[stage::Liar]) -> String {
    let numbers: Vec<String> = liars.iter().map(|liar| liar.number.to_string()).collect();
    format!("volume{} {}", if numbers.len() == 1 { "" } else { "s" }, numbers.join(" and "))
}

/// The same for scripts.
pub(in crate::cli) fn ledger_json(ledger: &Ledger) -> serde_json::Value {
    let count = |count: crate::job::Count| serde_json::json!({"entries": count.entries, "bytes": count.bytes});
    serde_json::json!({
        "seen": count(ledger.seen()),
        "staged": count(ledger.state(State::Staged)),
        "changed": count(ledger.state(State::Changed)),
        "problem": count(ledger.state(State::Problem)),
        "pending": count(ledger.state(State::Pending)),
        "deleted": count(ledger.deleted()),
        "excluded": count(ledger.left_out()),
    })
}

/// How a volume was read back, in words.
pub(in crate::cli) fn read_back(way: ReadBack) -> &'static str {
    match way {
        ReadBack::Direct => "from the medium (direct I/O)",
        ReadBack::DroppedCache => "after dropping the cache",
        ReadBack::Cached => "FROM THE CACHE ONLY: this file system allows nothing better; verify after mounting again",
    }
}

/// The line people read first.
pub(super) fn last_line(args: &Args, outcome: &Outcome) -> String {
    let job = args.job.display();
    let drives = volumes_in_words(&outcome.lied);
    let lost: Vec<String> = outcome.lied.iter().map(|liar| format!("--lost {}", liar.number)).collect();
    let lost = lost.join(" ");
    match (exit(outcome), &outcome.needs_volume) {
        (Exit::Volume, Some(count)) => format!(
            "a further volume is needed for {}; run the same command with another --volume (job {job})",
            amount(*count)
        ),
        (Exit::Stopped, _) => {
            "stopped; everything committed is kept, and the same command goes on from here".to_owned()
        }
        (Exit::Integrity, Some(count)) => format!(
            "not finished: what {drives} lost is to be staged elsewhere, {}; run the same command with another --volume (job {job})",
            amount(*count)
        ),
        (Exit::Integrity, None) if outcome.is_complete => format!(
            "everything is staged, what {drives} lost elsewhere; the rest of what is on {drives} reads well now, and is not sealed. \
             Do not rely on it: mount it again and verify it, or stage that elsewhere too: the same command with {lost} (job {job})"
        ),
        (Exit::Problems, _) => {
            format!("done, with problems: all else is staged; see packmule report --job {job}, and run again to retry")
        }
        (Exit::Done, _) if args.no_seal => {
            format!("done: everything is staged; volumes stay open for more, and are not read back yet (job {job})")
        }
        (Exit::Done, _) if outcome.sealed.is_empty() => format!("nothing to do: everything is staged (job {job})"),
        (Exit::Done, _) => format!("done: everything is staged and read back (job {job})"),
        _ if !outcome.failed.is_empty() => {
            "not finished: a volume failed. Everything committed before is kept; look at the drive and its cable (or give \
             another with --volume), and the same command goes on from here"
                .to_owned()
        }
        _ => "not finished; the same command goes on from here".to_owned(),
    }
}

pub(super) fn json(outcome: &Outcome, painter: &Painter) -> anyhow::Result<String> {
    let document = serde_json::json!({
        "job": outcome.job.to_string(),
        "exit": exit(outcome).code(),
        "complete": outcome.is_complete,
        "ledger": ledger_json(&outcome.ledger),
        "sealed": outcome.sealed.iter().map(|(number, report)| serde_json::json!({
            "volume": number, "packs": report.packs, "bytes": report.bytes, "read_back": report.read_back.word(),
        })).collect::<Vec<_>>(),
        "failed": outcome.failed.iter().map(|(number, error)| serde_json::json!({
            "volume": number, "error": crate::cli::exit::chain(error),
        })).collect::<Vec<_>>(),
        "lied": outcome.lied.iter().map(|liar| serde_json::json!({
            "volume": liar.number, "path": liar.root, "error": crate::cli::exit::chain(&liar.error),
        })).collect::<Vec<_>>(),
        "problems": painter.problems().iter().map(|problem| serde_json::json!({
            "path": escape(&problem.path), "code": problem.code.word(), "text": problem.text,
        })).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}
