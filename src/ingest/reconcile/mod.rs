//! The ledger against the bucket: what is missing, what is different, what is there besides.
//!
//! Owns: the comparison, and the ways of knowing a bucket (its listing, one look at each object, S3's own reports). Does
//! not own: how a bucket is reached. Invariants: nothing is written to the bucket; what could only be compared by length is
//! counted apart; memory does not grow with the job beyond one bit for each entry.

mod inventory;
mod reports;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use futures::StreamExt as _;

use crate::format::path::escape;
use crate::format::record::EntryType;
use crate::ingest::error::Error;
use crate::ingest::reconcile::inventory::read_inventory;
use crate::ingest::reconcile::reports::read_report;
use crate::ingest::record::is_done;
use crate::ingest::remote::key::path_of;
use crate::ingest::remote::{Checksums, Claim, Head, ObjectStore, RemoteError, S3Store, Target, connect};
use crate::ingest::session::destination;
use crate::ingest::wanted::key_for;
use crate::job::{Job, Listed, Object, REPORT_DIR, ensure_dir, replace_file};
use crate::sys::Fs;

/// Objects looked at at a time.
const LOOKS: usize = 64;
/// Objects gathered before they are looked at.
const GATHERED: usize = 1024;
/// Examples kept of each verdict.
const EXAMPLES: usize = 20;

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

/// An object as a listing or report has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) key: String,
    pub(super) bytes: Option<u64>,
    pub(super) etag: Option<String>,
    pub(super) checksums: Checksums,
    /// It could not be read, says the report.
    pub(super) trouble: Option<String>,
}

/// How one object compares.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// By checksum, or by the tag the server gave when it compared the checksum.
    Same,
    /// Its length is right, and nothing else was told.
    SameLength,
    Different(String),
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
        let mut compare = Compare {
            job,
            prefix: &prefix,
            bundles: bundles(job, &prefix)?,
            seen: Bits::default(),
            result: Reconciled { sees_extra: *by != By::Head, list: path.clone(), ..Reconciled::default() },
            list: &mut list,
        };
        compare.run(target, by, fs)?;
        let found = compare.result;
        let lines = found.missing.count + found.different.count + found.extra.count;
        result = Some(found);
        list.flush().map_err(|error| Error::List(error.into()))?;
        Ok(lines)
    })?;
    result.ok_or(Error::NothingSent)
}

/// One bit for each entry.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, id: u64) {
        let at = usize::try_from(id / 64).unwrap_or(usize::MAX);
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] |= 1 << (id % 64);
    }

    fn has(&self, id: u64) -> bool {
        let at = usize::try_from(id / 64).unwrap_or(usize::MAX);
        self.0.get(at).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }
}

struct Compare<'a, 'w> {
    job: &'a Job,
    prefix: &'a str,
    /// Entries by the key of the bundle they are in.
    bundles: HashMap<String, Vec<u64>>,
    seen: Bits,
    result: Reconciled,
    list: &'a mut csv::Writer<&'w mut dyn io::Write>,
}

/// Keys that are not simply an entry's own, with the entries in them.
fn bundles(job: &Job, prefix: &str) -> Result<HashMap<String, Vec<u64>>, Error> {
    let mut bundles: HashMap<String, Vec<u64>> = HashMap::new();
    job.list(|listed| -> Result<(), Error> {
        let Some(key) = sent_key(&listed, prefix) else { return Ok(()) };
        if own_key(&listed, prefix).as_ref() != Some(&key) {
            bundles.entry(key).or_default().push(listed.id);
        }
        Ok(())
    })?;
    Ok(bundles)
}

/// The key an entry's content was sent under; `None` if it has not arrived.
fn sent_key(listed: &Listed, prefix: &str) -> Option<String> {
    let object = listed.object.as_ref().filter(|object| is_done(object.state))?;
    let kept = object.key.as_ref().and_then(|key| String::from_utf8(key.clone()).ok());
    kept.or_else(|| own_key(listed, prefix))
}

fn own_key(listed: &Listed, prefix: &str) -> Option<String> {
    let is_dir = listed.entry_type == EntryType::Directory;
    key_for(prefix, &listed.path, is_dir).ok()
}

impl Compare<'_, '_> {
    fn run(&mut self, target: Target, by: &By, fs: &dyn Fs) -> Result<(), Error> {
        match by {
            By::List => self.by_list(target)?,
            By::Head => return self.by_head(target),
            By::Inventory(files, columns) => {
                let bucket = target.bucket;
                read_inventory(fs, files, columns.as_deref(), &bucket, |found| self.take(&found, None).map(drop))?;
            }
            By::BatchReport(files) => {
                self.result.sees_extra = false;
                read_report(fs, files, &target.bucket, |found| self.take(&found, None).map(drop))?;
            }
        }
        self.missing()
    }

    fn by_list(&mut self, target: Target) -> Result<(), Error> {
        let runtime = runtime()?;
        let place = format!("s3://{}/{}", target.bucket, self.prefix);
        let remote = |source| Error::Unread { target: place.clone(), source: Box::new(source) };
        let store = runtime.block_on(connect(target));
        let mut after = None;
        loop {
            let (page, next) = runtime.block_on(store.list(self.prefix, after)).map_err(remote)?;
            let mut unsure = Vec::new();
            for listed in page {
                let found = Found {
                    key: listed.key,
                    bytes: Some(listed.bytes),
                    etag: Some(listed.etag).filter(|etag| !etag.is_empty()),
                    ..Found::default()
                };
                if !self.take_if_sure(&found)? {
                    unsure.push(found.key);
                }
            }
            let looks = runtime.block_on(looks(&store, unsure)).map_err(remote)?;
            for (key, head) in looks {
                self.take_head(&key, head)?;
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn by_head(&mut self, target: Target) -> Result<(), Error> {
        let runtime = runtime()?;
        let place = format!("s3://{}/{}", target.bucket, self.prefix);
        let remote = |source| Error::Unread { target: place.clone(), source: Box::new(source) };
        let store = runtime.block_on(connect(target));
        let mut keys: Vec<String> = self.bundles.keys().cloned().collect();
        let job = self.job;
        job.list(|listed| -> Result<(), Error> {
            let Some(key) = sent_key(&listed, self.prefix) else { return Ok(()) };
            if !self.bundles.contains_key(&key) {
                keys.push(key);
            }
            if keys.len() >= GATHERED {
                let heads = runtime.block_on(looks(&store, std::mem::take(&mut keys))).map_err(remote)?;
                heads.into_iter().try_for_each(|(key, head)| self.take_head(&key, head))?;
            }
            Ok(())
        })?;
        let heads = runtime.block_on(looks(&store, keys)).map_err(remote)?;
        heads.into_iter().try_for_each(|(key, head)| self.take_head(&key, head))?;
        self.missing()
    }

    fn take_head(&mut self, key: &str, head: Option<Head>) -> Result<(), Error> {
        // What is not there is found missing in the end.
        let Some(head) = head else { return Ok(()) };
        let found = Found {
            key: key.to_owned(),
            bytes: Some(head.bytes),
            etag: Some(head.etag),
            checksums: head.checksums,
            trouble: None,
        };
        self.take(&found, None).map(drop)
    }

    /// Takes an object of a listing unless a look at it could tell more.
    fn take_if_sure(&mut self, found: &Found) -> Result<bool, Error> {
        self.take(found, Some(()))
    }

    /// Compares one object. With `only_if_sure`, a difference that only the tag shows is left for a look; says whether the
    /// object was taken.
    fn take(&mut self, found: &Found, only_if_sure: Option<()>) -> Result<bool, Error> {
        if let Some(ids) = self.bundles.get(&found.key).cloned() {
            return self.take_bundle(found, &ids, only_if_sure);
        }
        let Some((id, object)) = self.sent(&found.key)? else {
            self.result.extra.count += 1;
            note(&mut self.result.extra, &found.key, "the job did not send it");
            self.write("extra", &found.key, "the job did not send it")?;
            return Ok(true);
        };
        let bytes = self.bytes_of(id)?;
        let sha256 = self.job.staged_entry(id)?.map(|entry| entry.sha256);
        let verdict = verdict(found, &object, bytes, sha256);
        if only_if_sure.is_some() && matches!(verdict, Verdict::Different(_)) && found.bytes == bytes {
            return Ok(false);
        }
        self.seen.set(id);
        self.settle(&found.key, verdict)?;
        Ok(true)
    }

    fn take_bundle(&mut self, found: &Found, ids: &[u64], only_if_sure: Option<()>) -> Result<bool, Error> {
        let object = ids.first().map(|id| self.job.object(*id)).transpose()?.flatten();
        let Some(object) = object else { return Ok(true) };
        // The members' checksums are not the bundle's: its tag tells.
        let verdict = verdict(found, &Object { crc64: None, ..object }, None, None);
        if only_if_sure.is_some() && matches!(verdict, Verdict::Different(_)) {
            return Ok(false);
        }
        ids.iter().for_each(|id| self.seen.set(*id));
        self.settle(&found.key, verdict)?;
        Ok(true)
    }

    fn settle(&mut self, key: &str, verdict: Verdict) -> Result<(), Error> {
        match verdict {
            Verdict::Same => self.result.same += 1,
            Verdict::SameLength => self.result.same_length += 1,
            Verdict::Different(why) => {
                self.result.different.count += 1;
                note(&mut self.result.different, key, &why);
                self.write("different", key, &why)?;
            }
        }
        Ok(())
    }

    /// The entry whose object has that key, if the job sent one.
    fn sent(&self, key: &str) -> Result<Option<(u64, Object)>, Error> {
        let Some(rest) = key.strip_prefix(self.prefix) else { return Ok(None) };
        let path = path_of(rest.strip_suffix('/').unwrap_or(rest));
        let Some(id) = self.job.find(&path)? else { return Ok(None) };
        let object = self.job.object(id)?.filter(|object| is_done(object.state));
        let current = self.job.entry(id)?;
        let object = object.filter(|object| current.is_some_and(|entry| entry.generation == object.generation));
        // `x` and `x/` are two keys; an entry is one of them.
        let own = |object: &Object| object.key.as_ref().is_none_or(|own| own.as_slice() == key.as_bytes());
        Ok(object.filter(own).map(|object| (id, object)))
    }

    fn bytes_of(&self, id: u64) -> Result<Option<u64>, Error> {
        let Some(entry) = self.job.staged_entry(id)? else { return Ok(None) };
        Ok(match entry.entry_type {
            EntryType::File => Some(entry.size),
            EntryType::Symlink => Some(entry.target.len() as u64),
            EntryType::HardLink => self.job.staged_entry(entry.link_id)?.map(|content| content.size),
            _ => Some(0),
        })
    }

    fn missing(&mut self) -> Result<(), Error> {
        let job = self.job;
        job.list(|listed| -> Result<(), Error> {
            if let Some(key) = sent_key(&listed, self.prefix).filter(|_| !self.seen.has(listed.id)) {
                self.result.missing.count += 1;
                let why = escape(&listed.path);
                note(&mut self.result.missing, &key, &why);
                self.write("missing", &key, &why)?;
            }
            Ok(())
        })
    }

    fn write(&mut self, verdict: &str, key: &str, why: &str) -> Result<(), Error> {
        self.list.write_record([verdict, key, why]).map_err(Error::List)
    }
}

fn note(group: &mut Group, key: &str, why: &str) {
    if group.examples.len() < EXAMPLES {
        group.examples.push((key.to_owned(), why.to_owned()));
    }
}

fn verdict(found: &Found, object: &Object, bytes: Option<u64>, sha256: Option<[u8; 32]>) -> Verdict {
    if let Some(trouble) = &found.trouble {
        return Verdict::Different(trouble.clone());
    }
    if let (Some(there), Some(sent)) = (found.bytes, bytes)
        && there != sent
    {
        return Verdict::Different(format!("{there} bytes, {sent} were sent"));
    }
    if let (Some(there), Some(sent)) = (&found.checksums.crc64, object.crc64) {
        let sent = Claim::Crc64(sent).text();
        return match *there == sent {
            true => Verdict::Same,
            false => Verdict::Different(format!("CRC-64/NVME {there}, {sent} was sent")),
        };
    }
    // A composite SHA-256 ends in the number of parts and says nothing about the whole.
    if let (Some(there), Some(sent)) = (found.checksums.sha256.as_ref().filter(|text| !text.contains('-')), sha256) {
        let sent = Claim::Sha256(sent).text();
        return if *there == sent {
            Verdict::Same
        } else {
            Verdict::Different("another SHA-256 than was sent".to_owned())
        };
    }
    match (&found.etag, &object.etag) {
        (Some(there), Some(sent)) if there == sent => Verdict::Same,
        (Some(there), Some(sent)) => Verdict::Different(format!("tag {there}, {sent} was sent")),
        _ => Verdict::SameLength,
    }
}

async fn looks(store: &S3Store, keys: Vec<String>) -> Result<Vec<(String, Option<Head>)>, RemoteError> {
    let look = |key: String| async move { store.head(&key).await.map(|head| (key, head)) };
    let looks = futures::stream::iter(keys.into_iter().map(look)).buffer_unordered(LOOKS);
    looks.collect::<Vec<_>>().await.into_iter().collect()
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Error::Runtime)
}

/// A file of a report, read in order.
struct ReportRead {
    file: Box<dyn crate::sys::FsFile>,
    at: u64,
}

impl ReportRead {
    fn open(fs: &dyn Fs, path: &Path) -> Result<Self, Error> {
        let file = fs.open_read(path, crate::sys::Access::Buffered);
        Ok(Self { file: file.map_err(|source| unreadable(path, source))?, at: 0 })
    }
}

impl io::Read for ReportRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn unreadable(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Report { path: path.to_owned(), source: Box::new(source) }
}

fn malformed(path: &Path, what: impl Into<String>) -> Error {
    unreadable(path, io::Error::new(io::ErrorKind::InvalidData, what.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::crc64;
    use crate::job::ObjectState;

    fn object(etag: &str) -> Object {
        Object {
            entry: 1,
            generation: 1,
            state: ObjectState::Confirmed,
            key: None,
            upload_id: None,
            part_bytes: None,
            etag: Some(etag.to_owned()),
            version_id: None,
            crc64: Some(crc64(b"body")),
            attempts: 1,
            error: None,
            changed: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_checksum_decides_before_a_tag_and_a_tag_before_a_length() {
        let found = |crc64: Option<&[u8]>, etag: Option<&str>| Found {
            bytes: Some(4),
            etag: etag.map(ToOwned::to_owned),
            checksums: Checksums {
                crc64: crc64.map(|b| Claim::Crc64(crate::digest::crc64(b)).text()),
                ..Checksums::default()
            },
            ..Found::default()
        };
        let judge = |found: &Found| verdict(found, &object("e"), Some(4), None);
        assert_eq!(judge(&found(Some(b"body"), Some("other"))), Verdict::Same);
        assert!(matches!(judge(&found(Some(b"bodY"), Some("e"))), Verdict::Different(_)));
        assert_eq!(judge(&found(None, Some("e"))), Verdict::Same);
        assert!(matches!(judge(&found(None, Some("f"))), Verdict::Different(_)));
        assert_eq!(judge(&found(None, None)), Verdict::SameLength);
        let longer = Found { bytes: Some(5), ..found(Some(b"body"), Some("e")) };
        assert!(matches!(judge(&longer), Verdict::Different(_)));
    }

    #[test]
    fn bits() {
        let mut bits = Bits::default();
        bits.set(0);
        bits.set(1000);
        assert!(bits.has(0) && bits.has(1000) && !bits.has(999) && !bits.has(1 << 40));
    }
}
