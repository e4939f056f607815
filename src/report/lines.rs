//! Lists with one line per entry: CSV, JSON lines, sha256sum, Parquet. Streamed.

use std::borrow::Cow;
use std::io::Write;

use serde::Serialize;

use crate::format::hex;
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
        let file = listed.read.as_ref().filter(|_| listed.entry_type == EntryType::File);
        let object = listed.object.as_ref();
        let volumes: Vec<String> = listed.volumes.iter().map(ToString::to_string).collect();
        let modified = jiff::Timestamp::new(listed.mtime_s, 0);
        Self {
            path: escape(&listed.path),
            entry_type: listed.entry_type.word(),
            bytes: listed.bytes,
            modified: modified.map_or_else(|_| listed.mtime_s.to_string(), |time| time.to_string()),
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

/// A list that is being written, line by line.
pub(super) struct List<'o> {
    lines: u64,
    out: Lines<'o>,
}

enum Lines<'o> {
    Csv { is_success: bool, out: Box<csv::Writer<&'o mut dyn Write>> },
    Json(&'o mut dyn Write),
    Parquet(Box<super::parquet::Table<'o>>),
    Sums(&'o mut dyn Write),
}

impl<'o> List<'o> {
    /// A list with no lines yet.
    pub(super) fn begin(format: Format, out: &'o mut dyn Write) -> Result<Self, Error> {
        let out = match format {
            Format::SuccessCsv | Format::FailureCsv => {
                let is_success = format == Format::SuccessCsv;
                let mut csv = csv::WriterBuilder::new().has_headers(false).flexible(false).from_writer(out);
                csv.write_record(header(is_success)).map_err(render)?;
                Lines::Csv { is_success, out: Box::new(csv) }
            }
            Format::JsonLines => Lines::Json(out),
            Format::Parquet => Lines::Parquet(Box::new(super::parquet::Table::new(out)?)),
            Format::Sha256Sum => Lines::Sums(out),
        };
        Ok(Self { lines: 0, out })
    }

    /// Takes an entry, if it belongs into this list.
    pub(super) fn take(&mut self, listed: &Listed, grade: &Grade) -> Result<(), Error> {
        match &mut self.out {
            Lines::Csv { is_success, .. } if grade.failure.is_none() != *is_success => Ok(()),
            Lines::Sums(out) => {
                let Some(read) = &listed.read else { return Ok(()) };
                if listed.entry_type != EntryType::File {
                    return Ok(());
                }
                self.lines += 1;
                out.write_all(&sum_line(&read.sha256, &listed.path)).map_err(Error::Output)
            }
            _ => self.put(&Line::of(listed, grade)),
        }
    }

    /// Takes a path that could not even be looked at, if it belongs into this list.
    pub(super) fn take_loose(&mut self, problem: &Problem) -> Result<(), Error> {
        match self.out {
            Lines::Sums(_) | Lines::Csv { is_success: true, .. } => Ok(()),
            _ => self.put(&Line::without_entry(problem)),
        }
    }

    fn put(&mut self, line: &Line) -> Result<(), Error> {
        self.lines += 1;
        match &mut self.out {
            Lines::Csv { out, .. } => {
                out.write_record(record(line).iter().map(|field| field.as_bytes())).map_err(render)
            }
            Lines::Json(out) => {
                serde_json::to_writer(&mut *out, line).map_err(render)?;
                out.write_all(b"\n").map_err(Error::Output)
            }
            Lines::Parquet(table) => table.add(line),
            Lines::Sums(_) => Ok(()),
        }
    }

    /// Ends the list; gives how many lines it has, headers not counted.
    pub(super) fn finish(self) -> Result<u64, Error> {
        match self.out {
            Lines::Csv { mut out, .. } => out.flush().map_err(Error::Output)?,
            Lines::Parquet(table) => table.finish()?,
            Lines::Json(_) | Lines::Sums(_) => {}
        }
        Ok(self.lines)
    }
}

/// Writes a list of all entries that exist at the source, and, where failures are listed, of the paths that could not even be
/// looked at. Gives how many lines it has, headers not counted.
///
/// # Errors
/// When the database or `out` fails.
pub fn write_list(job: &Job, stage: Stage, format: Format, out: &mut dyn Write) -> Result<u64, Error> {
    let mut list = List::begin(format, out)?;
    each_graded(job, stage, &volumes(job)?, |listed, grade| list.take(listed, grade))?;
    each_loose(job, |problem| list.take_loose(problem))?;
    list.finish()
}

/// Hands every path that could not even be looked at to `each`.
pub(super) fn each_loose(job: &Job, mut each: impl FnMut(&Problem) -> Result<(), Error>) -> Result<(), Error> {
    let mut outcome = Ok(());
    job.loose_problems(|problem| {
        if outcome.is_ok() {
            outcome = each(problem);
        }
    })?;
    outcome
}

fn header(is_success: bool) -> Vec<&'static str> {
    let common = ["path", "type", "bytes", "modified", "sha256", "crc64nvme", "volumes", "key", "etag", "evidence"];
    let more: &[&str] = if is_success { &[] } else { &["failure", "reason"] };
    common.iter().chain(more).copied().collect()
}

fn record(line: &Line) -> Vec<Cow<'_, str>> {
    let mut fields: Vec<Cow<'_, str>> = vec![
        line.path.as_str().into(),
        line.entry_type.into(),
        line.bytes.to_string().into(),
        line.modified.as_str().into(),
        line.sha256.as_str().into(),
        line.crc64nvme.as_str().into(),
        line.volumes.as_str().into(),
        line.key.as_str().into(),
        line.etag.as_str().into(),
        line.evidence.into(),
    ];
    if let (Some(failure), Some(reason)) = (line.failure, &line.reason) {
        fields.extend([Cow::from(failure), Cow::from(reason.as_str())]);
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

pub(super) fn render(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Render(Box::new(error))
}
