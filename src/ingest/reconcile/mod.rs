//! The ledger against the bucket: what is missing, what is different, what is there besides.
//!
//! Owns: the comparison, and the ways of knowing a bucket (its listing, one look at each object, S3's own reports). Does
//! not own: how a bucket is reached. Invariants: nothing is written to the bucket; what could only be compared by length is
//! counted apart; memory does not grow with the job beyond one bit for each entry.

mod compare;
mod inventory;
mod read;
mod reports;
mod verdict;

use std::path::PathBuf;

use crate::ingest::error::Error;
use crate::ingest::reconcile::compare::Compare;
use crate::ingest::remote::Target;
use crate::ingest::session::destination;
use crate::job::{Job, REPORT_DIR, ensure_dir, replace_file};
use crate::sys::Fs;

/// How the bucket is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// Its listing; objects whose tag differs are looked at.
    List,
    /// One look at each object the job sent, checksums included.
    Head,
    /// Files of an S3 Inventory: `manifest.json`, CSV (plain or gzip) or Parquet. Columns of CSV without a manifest.
    Inventory(Vec<PathBuf>, Option<String>),
    /// Completion reports of S3 Batch Operations, best of "Compute checksum".
    BatchReport(Vec<PathBuf>),
}

/// Objects of one verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub count: u64,
    /// The first of them: key, and why.
    pub examples: Vec<(String, String)>,
}

/// What a reconciliation found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Objects that are what the job sent, by checksum or by the server's tag.
    pub same: u64,
    /// Objects of the right length about which nothing else was told.
    pub same_length: u64,
    /// Objects the job sent that are not there.
    pub missing: Group,
    /// Objects that are not what the job sent.
    pub different: Group,
    /// Objects under the prefix that the job did not send.
    pub extra: Group,
    /// Whether `extra` could be seen at all.
    pub sees_extra: bool,
    /// Where everything that is not the same is listed.
    pub list: PathBuf,
}

impl Reconciled {
    /// Whether everything the job sent is there and is the same.
    pub fn is_clean(&self) -> bool {
        self.missing.count == 0 && self.different.count == 0
    }
}

/// Compares what the job says arrived with the bucket.
///
/// # Errors
/// When the job has sent nothing, the bucket or a report cannot be read, or the list cannot be written.
pub fn reconcile(job: &Job, target: Target, by: &By, fs: &dyn Fs) -> Result<Reconciled, Error> {
    let (bucket, prefix) = destination(job)?.ok_or(Error::NothingSent)?;
    let target = Target { bucket, ..target };
    ensure_dir(fs, &job.dir().join(REPORT_DIR))?;
    let path = job.dir().join(REPORT_DIR).join("reconcile.csv");
    let mut result = None;
    replace_file(fs, &path, |out| -> Result<u64, Error> {
        let mut list = csv::Writer::from_writer(out);
        list.write_record(["verdict", "key", "why"]).map_err(Error::List)?;
        let empty = Reconciled { sees_extra: *by != By::Head, list: path.clone(), ..Reconciled::default() };
        let mut compare = Compare::new(job, &prefix, empty, &mut list)?;
        compare.run(target, by, fs)?;
        let found = compare.result;
        let lines = found.missing.count + found.different.count + found.extra.count;
        result = Some(found);
        list.flush().map_err(|error| Error::List(error.into()))?;
        Ok(lines)
    })?;
    result.ok_or(Error::NothingSent)
}
