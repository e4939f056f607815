//! Report files in the job directory, each complete or absent.
//!
//! ORDER: lists and pages first, the JSON document last: it names the digest of each of them, so whoever finds it finds
//! the whole report. Each file is written under another name, synced, and renamed over what was there.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::digest::{Sha256, sha256};
use crate::format::hex;
use crate::job::{Job, REPORT_DIR, Replacing, WrittenFile, ensure_dir, replace_file};
use crate::report::error::At;
use crate::report::json::ReportFile;
use crate::report::lines::{Format, List, each_loose};
use crate::report::{Error, Facts, Outcome, Stage, render_html, render_json, render_text};
use crate::sys::{Access, Fs};

/// Largest report document that is read back. Unit: bytes. One volume takes about 600 bytes in it.
const DOCUMENT_BYTES_MAX: u64 = 256 << 20;

/// Endings of the lists.
const SUCCESS: &str = "-success.csv";
const FAILURE: &str = "-failure.csv";
const SUMS: &str = ".sha256";

/// A report that was written.
#[derive(Debug)]
pub struct Written {
    /// Where its files are.
    pub dir: PathBuf,
    /// What it says.
    pub facts: Facts,
    /// Its files.
    pub files: Vec<ReportFile>,
}

/// What the completion report on file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// SHA-256 of the document.
    pub sha256: Sha256,
    /// The job it is of.
    pub job: String,
    /// What the job came to.
    pub outcome: Outcome,
    /// Volumes it covers: number, and files of it that had not arrived.
    pub volumes: Vec<(u32, u64)>,
}

/// Writes a report with all its lists into the job directory, replacing an earlier one.
///
/// # Errors
/// When the database or the file system fails; an earlier report is then still whole, or replaced file by file.
pub fn write_reports(job: &Job, fs: &dyn Fs, stage: Stage, now: Timestamp) -> Result<Written, Error> {
    let dir = job.dir().join(REPORT_DIR);
    ensure_dir(fs, &dir)?;
    let name = |ending: &str| format!("{}{ending}", stage.name());
    // One pass for the facts and all lists: reading an entry out of the database costs more than all its lines.
    let begin = |ending: &str| Replacing::begin(fs, &dir.join(name(ending)));
    let (mut success, mut failure, mut sums) = (begin(SUCCESS)?, begin(FAILURE)?, begin(SUMS)?);
    let mut lists = [
        List::begin(Format::SuccessCsv, &mut success)?,
        List::begin(Format::FailureCsv, &mut failure)?,
        List::begin(Format::Sha256Sum, &mut sums)?,
    ];
    let facts = Facts::gather_beside(job, stage, now, |listed, grade| {
        lists.iter_mut().try_for_each(|list| list.take(listed, grade))
    })?;
    each_loose(job, |problem| lists.iter_mut().try_for_each(|list| list.take_loose(problem)))?;
    let lines = lists.into_iter().map(List::finish).collect::<Result<Vec<_>, _>>()?;
    let mut files = Vec::new();
    for ((ending, file), lines) in [(SUCCESS, success), (FAILURE, failure), (SUMS, sums)].into_iter().zip(lines) {
        files.push(report_file(&name(ending), lines, &file.commit()?));
    }
    for (ending, text) in [(".txt", render_text(&facts)), (".html", render_html(&facts))] {
        files.push(replace(fs, &dir, &name(ending), |out| {
            out.write_all(text.as_bytes()).map_err(Error::Output).map(|()| 0)
        })?);
    }
    let document = render_json(&facts, &files)?;
    let document =
        replace(fs, &dir, &name(".json"), |out| out.write_all(document.as_bytes()).map_err(Error::Output).map(|()| 0))?;
    files.push(document);
    Ok(Written { dir, facts, files })
}

/// The completion report on file; `None` when there is none, or it is not one of this program.
///
/// # Errors
/// When there is a file and it cannot be read.
pub fn read_completion(fs: &dyn Fs, job_dir: &Path) -> Result<Option<Completion>, Error> {
    let path = job_dir.join(REPORT_DIR).join(format!("{}.json", Stage::Completion.name()));
    let file = match fs.open_read(&path, Access::Buffered) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("open", &path),
    };
    let len = file.len().at("measure", &path)?;
    let Some(len) = usize::try_from(len).ok().filter(|_| len <= DOCUMENT_BYTES_MAX) else { return Ok(None) };
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0).at("read", &path)?;
    Ok(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Option<Completion> {
    let document: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let is_ours = document.get("packmule_report")?.as_u64()? == 1 && document.get("report")?.as_str()? == "completion";
    let outcome = match document.get("outcome")?.as_str()? {
        "complete" => Outcome::Complete,
        "complete-with-problems" => Outcome::CompleteWithProblems,
        _ => Outcome::Incomplete,
    };
    let volumes = document.get("volumes")?.as_array()?.iter().map(|volume| {
        let number = u32::try_from(volume.get("number")?.as_u64()?).ok()?;
        Some((number, volume.get("not_arrived")?.as_u64()?))
    });
    let volumes = volumes.collect::<Option<Vec<_>>>()?;
    let job = document.get("job")?.as_str()?.to_owned();
    is_ours.then_some(Completion { sha256: sha256(bytes), job, outcome, volumes })
}

/// Writes one file of a report directory.
pub(super) fn replace(
    fs: &dyn Fs,
    dir: &Path,
    name: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<u64, Error>,
) -> Result<ReportFile, Error> {
    let (lines, written) = replace_file(fs, &dir.join(name), write)?;
    Ok(report_file(name, lines, &written))
}

fn report_file(name: &str, lines: u64, written: &WrittenFile) -> ReportFile {
    ReportFile { name: name.to_owned(), bytes: written.bytes, lines, sha256: hex(&written.sha256) }
}
