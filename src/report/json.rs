//! The report for programs. Version 1; fields are only ever added.

use serde::Serialize;

use crate::format::hex;
use crate::format::path::escape;
use crate::job::{Count, Journal, State};
use crate::report::{Error, Facts, Outcome, Stage, next};

/// One file of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportFile {
    /// Its name in the report directory.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Entries in it; 0 for a page.
    pub lines: u64,
    /// SHA-256 of it, in hex digits.
    pub sha256: String,
}

#[derive(Serialize)]
struct Report<'a> {
    packmule_report: u32,
    report: Stage,
    outcome: Outcome,
    job: &'a str,
    created: String,
    gathered: String,
    program_version: &'static str,
    sources: Vec<Source>,
    target: &'a Option<String>,
    recipients: &'a [String],
    ledger: Vec<Row>,
    excluded: Vec<Row>,
    seen: Number,
    evidence: Vec<Row>,
    success: Number,
    failure: Number,
    failures_by_reason: Vec<Row>,
    volumes: Vec<Volume>,
    runs: Vec<Run<'a>>,
    transfers: &'a [Journal],
    files: &'a [ReportFile],
    next: Option<String>,
}

#[derive(Serialize)]
struct Source {
    path: String,
    prefix: String,
}

#[derive(Serialize)]
struct Number {
    entries: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Row {
    name: String,
    entries: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Volume {
    number: u32,
    volume_id: String,
    path: String,
    state: &'static str,
    model: Option<String>,
    serial: Option<String>,
    sealed: Option<String>,
    read_back: Option<String>,
    file_bytes: Option<u64>,
    sums_sha256: Option<String>,
    erased: Option<String>,
    entries: Option<u64>,
    not_arrived: Option<u64>,
}

#[derive(Serialize)]
struct Run<'a> {
    run: String,
    command: &'a str,
    started: String,
    ended: Option<String>,
    outcome: &'a Option<String>,
    host: &'a str,
    version: &'a str,
}

/// The report as one JSON document, which names the other files of the report.
///
/// # Errors
/// Never in practice: every value is a plain number or text.
pub fn render_json(facts: &Facts, files: &[ReportFile]) -> Result<String, Error> {
    let report = Report {
        packmule_report: 1,
        report: facts.stage,
        outcome: facts.outcome(),
        job: &facts.job,
        created: facts.created.to_string(),
        gathered: facts.gathered.to_string(),
        program_version: env!("CARGO_PKG_VERSION"),
        sources: facts
            .sources
            .iter()
            .map(|(path, prefix)| Source { path: escape(path), prefix: escape(prefix) })
            .collect(),
        target: &facts.target,
        recipients: &facts.recipients,
        ledger: ledger(facts),
        excluded: facts.ledger.excluded().iter().map(|rule| row(&rule.rule, rule.count)).collect(),
        seen: number(facts.ledger.seen()),
        evidence: facts.lists.evidence.iter().map(|(evidence, count)| row(evidence.name(), *count)).collect(),
        success: number(facts.lists.success),
        failure: number(facts.lists.failure),
        failures_by_reason: facts.lists.reasons.iter().map(|(reason, count)| row(reason, *count)).collect(),
        volumes: volumes(facts),
        runs: runs(facts),
        transfers: &facts.journals,
        files,
        next: next(facts).command,
    };
    let text = serde_json::to_string_pretty(&report).map_err(|error| Error::Render(Box::new(error)))?;
    Ok(text + "\n")
}

fn ledger(facts: &Facts) -> Vec<Row> {
    let state = |name, state| row(name, facts.ledger.state(state));
    vec![
        state("staged", State::Staged),
        state("changed", State::Changed),
        state("pending", State::Pending),
        state("problem", State::Problem),
        row("deleted", facts.ledger.deleted()),
    ]
}

fn volumes(facts: &Facts) -> Vec<Volume> {
    let volumes = facts.volumes.iter().map(|facts| {
        let (row, volume) = (&facts.row, &facts.row.volume);
        let sealing = row.sealing.as_ref();
        Volume {
            number: volume.number,
            volume_id: volume.id.to_string(),
            path: volume.path.to_string_lossy().into_owned(),
            state: row.state.name(),
            model: volume.model.clone(),
            serial: volume.serial.clone(),
            sealed: sealing.map(|sealing| sealing.at.to_string()),
            read_back: sealing.map(|sealing| sealing.read_back.clone()),
            file_bytes: sealing.map(|sealing| sealing.file_bytes),
            sums_sha256: sealing.map(|sealing| hex(&sealing.sums_sha256)),
            erased: row.erased.map(|at| at.to_string()),
            entries: facts.content.map(|content| content.entries),
            not_arrived: facts.content.map(|content| content.not_arrived),
        }
    });
    volumes.collect()
}

fn runs(facts: &Facts) -> Vec<Run<'_>> {
    let runs = facts.runs.iter().map(|run| Run {
        run: run.id.to_string(),
        command: &run.command,
        started: run.started.to_string(),
        ended: run.ended.map(|at| at.to_string()),
        outcome: &run.outcome,
        host: &run.host,
        version: &run.version,
    });
    runs.collect()
}

fn number(count: Count) -> Number {
    Number { entries: count.entries, bytes: count.bytes }
}

fn row(name: &str, count: Count) -> Row {
    Row { name: name.to_owned(), entries: count.entries, bytes: count.bytes }
}
