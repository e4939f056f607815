//! What is about to be sent, looked at before anything is: names that change on their way, sizes that cost.
//!
//! Owns: the survey and the list of names it writes. Does not own: the mapping (`remote::key`), storage classes.
//! Invariant: memory does not grow with the job, only with its largest directory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::format::path::escape;
use crate::format::record::EntryType;
use crate::ingest::Options;
use crate::ingest::bundle::{bundled_below, bundles_for};
use crate::ingest::error::Error;
use crate::ingest::record::is_done;
use crate::ingest::remote::key::{KEY_BYTES_MAX, KeyError, is_changed};
use crate::ingest::wanted::key_for;
use crate::job::{Job, Listed, REPORT_DIR, ensure_dir, replace_file};
use crate::scan::{Hazard, collisions};
use crate::sys::Fs;

/// Names read from the job at a time.
const NAMES_PAGE: usize = 8192;
/// Largest directory whose names are compared with each other.
const NAMES_MAX: usize = 4_000_000;
/// Size of bundles that is reckoned with when nobody names one. Unit: bytes.
const BUNDLE_BYTES: u64 = 64 << 20;
/// Examples that are kept of each kind.
const EXAMPLES: usize = 5;

/// Why a name is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameTrouble {
    /// The key reads differently from the path; the path can be had back from it.
    Mapped,
    /// There is no key for it: longer than S3 allows.
    TooLong,
    /// A neighbour differs only in upper and lower case.
    Case,
    /// A neighbour is the same text in another Unicode normalisation.
    Normalization,
}

impl NameTrouble {
    /// One word for lists.
    pub fn code(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::TooLong => "too-long",
            Self::Case => "case",
            Self::Normalization => "normalization",
        }
    }

    /// A clause after a count.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Mapped => "have names that become other keys, reversibly",
            Self::TooLong => "have no key: longer than the 1,024 bytes S3 allows; they will fail",
            Self::Case => "differ only in case from a neighbour (one object each in S3, one file on Windows and macOS)",
            Self::Normalization => "look the same as a neighbour (other Unicode normalisation; one object each in S3)",
        }
    }
}

/// Names of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// How many.
    pub count: u64,
    /// The first of them: path and key, escaped for people.
    pub examples: Vec<(String, String)>,
}

/// What is about to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Entries without an object.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files among them.
    pub files: u64,
    /// Files among them that are smaller than was asked about.
    pub small: u64,
    /// Their bytes.
    pub small_bytes: u64,
    /// Files among them that bundles would take, and their bytes.
    pub bundled: (u64, u64),
    /// PUT requests they need, one for each part of the large ones and three for each upload.
    pub requests: u64,
    /// Requests they need with bundles.
    pub requests_bundled: u64,
    /// Entries without an object that the rules leave out.
    pub left_out: u64,
    /// Names that somebody will stumble over.
    pub names: BTreeMap<NameTrouble, Names>,
    /// Where all these names are listed.
    pub list: Option<PathBuf>,
}

/// Looks at everything that has no object yet. `small_below`: which files count as small. Unit: bytes.
///
/// # Errors
/// When the job cannot be read, or the list cannot be written.
pub fn survey(job: &Job, options: &Options, small_below: u64, fs: &dyn Fs) -> Result<Survey, Error> {
    let mut survey = Survey::default();
    let path = job.dir().join(REPORT_DIR).join("names.csv");
    ensure_dir(fs, &job.dir().join(REPORT_DIR))?;
    replace_file(fs, &path, |out| -> Result<u64, Error> {
        let mut list = csv::Writer::from_writer(out);
        let write = |list: &mut csv::Writer<_>, fields: [&str; 3]| list.write_record(fields).map_err(Error::List);
        write(&mut list, ["path", "key", "why"])?;
        job.list(|listed| -> Result<(), Error> {
            if let Some((why, key)) = take(&mut survey, options, &listed, small_below) {
                note(&mut survey, why, &listed.path, &key);
                write(&mut list, [&escape(&listed.path), &key, why.code()])?;
            }
            if listed.entry_type == EntryType::Directory {
                for (why, name) in neighbours(job, listed.id)? {
                    let path = if listed.path.is_empty() { name } else { [&listed.path, &b"/"[..], &name].concat() };
                    note(&mut survey, why, &path, "");
                    write(&mut list, [&escape(&path), "", why.code()])?;
                }
            }
            Ok(())
        })?;
        list.flush().map_err(|error| Error::List(error.into()))?;
        Ok(survey.names.values().map(|names| names.count).sum())
    })?;
    let (files, bytes) = survey.bundled;
    let bundles = bundles_for(files, bytes, options.bundle_bytes.unwrap_or(BUNDLE_BYTES));
    survey.requests_bundled = survey.requests - files + 2 * bundles;
    if survey.names.is_empty() {
        // A list of nothing only makes people look into it.
        let _ = fs.remove_file(&path);
    } else {
        survey.list = Some(path);
    }
    Ok(survey)
}

fn note(survey: &mut Survey, why: NameTrouble, path: &[u8], key: &str) {
    let names = survey.names.entry(why).or_default();
    names.count += 1;
    if names.examples.len() < EXAMPLES {
        names.examples.push((escape(path), key.to_owned()));
    }
}

/// Counts one entry; gives its key if that is not simply its path.
fn take(survey: &mut Survey, options: &Options, listed: &Listed, small_below: u64) -> Option<(NameTrouble, String)> {
    let is_done = listed.object.as_ref().is_some_and(|object| is_done(object.state));
    let is_nameless = listed.path.is_empty() && options.prefix.is_empty();
    if listed.state.is_deleted() || is_done || is_nameless {
        return None;
    }
    let is_dir = listed.entry_type == EntryType::Directory;
    if options.selection.covers(&listed.path, is_dir) {
        survey.left_out += 1;
        return None;
    }
    survey.objects += 1;
    survey.bytes += listed.bytes;
    if listed.entry_type == EntryType::File {
        survey.files += 1;
        let bundle_bytes = options.bundle_bytes.unwrap_or(BUNDLE_BYTES);
        if listed.bytes < bundled_below(bundle_bytes) {
            survey.bundled.0 += 1;
            survey.bundled.1 += listed.bytes;
        }
        if listed.bytes < small_below {
            survey.small += 1;
            survey.small_bytes += listed.bytes;
        }
    }
    survey.requests += requests(listed.bytes);
    match key_for(&options.prefix, &listed.path, is_dir) {
        Ok(key) if !listed.path.is_empty() && is_changed(&listed.path) => Some((NameTrouble::Mapped, key)),
        Err(KeyError::TooLong { key_bytes }) => {
            Some((NameTrouble::TooLong, format!("{key_bytes} bytes, {KEY_BYTES_MAX} are allowed")))
        }
        _ => None,
    }
}

/// Requests an object of that size needs.
fn requests(bytes: u64) -> u64 {
    let part = crate::format::layout::part_bytes(bytes);
    if bytes > part { bytes.div_ceil(part) + 2 } else { 1 }
}

/// Names of a directory that become one elsewhere.
fn neighbours(job: &Job, directory: u64) -> Result<Vec<(NameTrouble, Vec<u8>)>, Error> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = job.children(directory, after.as_deref(), NAMES_PAGE)?;
        after = page.last().map(|known| known.name.clone());
        let is_end = page.len() < NAMES_PAGE;
        names.extend(page.into_iter().filter(|known| !known.state.is_deleted()).map(|known| known.name));
        if is_end || names.len() > NAMES_MAX {
            break;
        }
    }
    let mut found = Vec::new();
    collisions(names.iter().map(Vec::as_slice), &mut |hazard, name| {
        let why = if hazard == Hazard::NormalizationCollision { NameTrouble::Normalization } else { NameTrouble::Case };
        found.push((why, name.to_vec()));
    });
    Ok(found)
}
