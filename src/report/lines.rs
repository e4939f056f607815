//! Lists with one line per entry: CSV, JSON lines, sha256sum, Parquet. Streamed.

use std::io::Write;

use serde::Serialize;

use crate::format::path::escape;
use crate::format::record::{EntryType, Problem};
use crate::job::{Evidence, Job, Listed};
use crate::report::facts::{each_graded, volumes};
use crate::report::grade::Reason;
use crate::report::{Error, Grade, Stage};

/// Form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// CSV of what succeeded.
    SuccessCsv,
    /// CSV of what failed.
    FailureCsv,
    /// One JSON object per entry, successes and failures.
    JsonLines,
    /// The format of the `sha256sum` program: files whose content was read.
    Sha256Sum,
    /// A Parquet file, successes and failures.
    Parquet,
}

/// One entry in a list.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub(super) path: String,
    #[serde(rename = "type")]
    pub(super) entry_type: &'static str,
    pub(super) bytes: u64,
    pub(super) modified: String,
    pub(super) sha256: String,
    pub(super) crc64nvme: String,
    pub(super) volumes: String,
    pub(super) key: String,
    pub(super) etag: String,
    pub(super) evidence: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

impl Line {
    fn of(listed: &Listed, grade: &Grade) -> Self {
        let file = listed.read.as_ref().filter(|_| listed.entry.facts.entry_type == EntryType::File);
        let object = listed.object.as_ref();
        let volumes: Vec<String> = listed.volumes.iter().map(ToString::to_string).collect();
        let modified = jiff::Timestamp::new(listed.entry.facts.mtime_s, 0);
        Self {
            path: escape(&listed.path),
            entry_type: listed.entry.facts.entry_type.word(),
            bytes: listed.entry.facts.size,
            modified: modified.map_or_else(|_| listed.entry.facts.mtime_s.to_string(), |time| time.to_string()),
            sha256: file.map(|read| hex(&read.sha256)).unwrap_or_default(),
            crc64nvme: file.map(|read| read.crc64.to_string()).unwrap_or_default(),
            volumes: volumes.join(" "),
            key: object.and_then(|object| object.key.as_deref()).map(escape).unwrap_or_default(),
            etag: object.and_then(|object| object.etag.clone()).unwrap_or_default(),
            evidence: grade.evidence.name(),
            failure: grade.failure.as_ref().map(|reason| reason.code),
            reason: grade.failure.as_ref().map(|reason| reason.text.clone()),
        }
    }

    /// Of a path that could not even be looked at: what kind it is, and how large, nobody knows.
    fn without_entry(problem: &Problem) -> Self {
        let reason = Reason::of(problem);
        Self {
            path: escape(&problem.path),
            entry_type: "unknown",
            bytes: 0,
            modified: String::new(),
            sha256: String::new(),
            crc64nvme: String::new(),
            volumes: String::new(),
            key: String::new(),
            etag: String::new(),
            evidence: Evidence::Seen.name(),
            failure: Some(reason.code),
            reason: Some(reason.text),
        }
    }
}

/// Writes a list of all entries that exist at the source, and, where failures are listed, of the paths that could not even be
/// looked at. Gives how many lines it has, headers not counted.
///
/// # Errors
/// When the database or `out` fails.
pub fn write_list(job: &Job, stage: Stage, format: Format, out: &mut dyn Write) -> Result<u64, Error> {
    let volumes = volumes(job)?;
    let mut count = 0;
    match format {
        Format::SuccessCsv | Format::FailureCsv => {
            let is_success = format == Format::SuccessCsv;
            let mut csv = csv::WriterBuilder::new().has_headers(false).flexible(false).from_writer(out);
            csv.write_record(header(is_success)).map_err(render)?;
            let mut each = |line: Line| {
                count += 1;
                csv.write_record(record(&line)).map_err(render)
            };
            each_graded(job, stage, &volumes, |listed, grade| {
                if grade.failure.is_none() == is_success { each(Line::of(listed, grade)) } else { Ok(()) }
            })?;
            if !is_success {
                each_loose(job, each)?;
            }
            csv.flush().map_err(Error::Output)?;
        }
        Format::JsonLines => {
            let mut each = |line: Line| {
                count += 1;
                serde_json::to_writer(&mut *out, &line).map_err(render)?;
                out.write_all(b"\n").map_err(Error::Output)
            };
            each_graded(job, stage, &volumes, |listed, grade| each(Line::of(listed, grade)))?;
            each_loose(job, each)?;
        }
        Format::Parquet => {
            let mut table = super::parquet::Table::new(out)?;
            let mut each = |line: Line| {
                count += 1;
                table.add(&line)
            };
            each_graded(job, stage, &volumes, |listed, grade| each(Line::of(listed, grade)))?;
            each_loose(job, each)?;
            table.finish()?;
        }
        Format::Sha256Sum => each_graded(job, stage, &volumes, |listed, _| {
            let Some(read) = &listed.read else { return Ok(()) };
            if listed.entry.facts.entry_type != EntryType::File {
                return Ok(());
            }
            count += 1;
            out.write_all(&sum_line(&read.sha256, &listed.path)).map_err(Error::Output)
        })?,
    }
    Ok(count)
}

/// Hands every path that could not even be looked at to `each`.
fn each_loose(job: &Job, mut each: impl FnMut(Line) -> Result<(), Error>) -> Result<(), Error> {
    let mut outcome = Ok(());
    job.loose_problems(|problem| {
        if outcome.is_ok() {
            outcome = each(Line::without_entry(problem));
        }
    })?;
    outcome
}

fn header(is_success: bool) -> Vec<&'static str> {
    let common = ["path", "type", "bytes", "modified", "sha256", "crc64nvme", "volumes", "key", "etag", "evidence"];
    let more: &[&str] = if is_success { &[] } else { &["failure", "reason"] };
    common.iter().chain(more).copied().collect()
}

fn record(line: &Line) -> Vec<String> {
    let mut fields = vec![
        line.path.clone(),
        line.entry_type.to_owned(),
        line.bytes.to_string(),
        line.modified.clone(),
        line.sha256.clone(),
        line.crc64nvme.clone(),
        line.volumes.clone(),
        line.key.clone(),
        line.etag.clone(),
        line.evidence.to_owned(),
    ];
    if let (Some(failure), Some(reason)) = (line.failure, &line.reason) {
        fields.extend([failure.to_owned(), reason.clone()]);
    }
    fields
}

/// A line that `sha256sum -c` understands. A name with a line feed, carriage return or backslash is escaped the way that
/// program does, with a backslash in front of the line; every other byte stands for itself.
fn sum_line(sha256: &[u8; 32], path: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(path.len() + 68);
    if path.iter().any(|byte| matches!(byte, b'\n' | b'\r' | b'\\')) {
        line.push(b'\\');
    }
    line.extend_from_slice(hex(sha256).as_bytes());
    line.extend_from_slice(b"  ");
    for byte in path {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\\' => line.extend_from_slice(b"\\\\"),
            other => line.push(*other),
        }
    }
    line.push(b'\n');
    line
}

/// Lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

pub(super) fn render(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Render(Box::new(error))
}
