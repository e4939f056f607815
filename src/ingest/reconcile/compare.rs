//! The comparison: objects as they come from a listing, a look or a report, against what the job sent.

use std::collections::HashMap;
use std::io;

use futures::StreamExt as _;

use crate::format::path::escape;
use crate::format::record::EntryType;
use crate::ingest::error::Error;
use crate::ingest::reconcile::inventory::read_inventory;
use crate::ingest::reconcile::reports::read_report;
use crate::ingest::reconcile::verdict::{Found, Verdict, verdict};
use crate::ingest::reconcile::{By, Group, Reconciled};
use crate::ingest::record::is_done;
use crate::ingest::remote::key::path_of;
use crate::ingest::remote::{Head, ObjectStore, RemoteError, S3Store, Target, connect};
use crate::ingest::wanted::key_for;
use crate::job::{Job, Listed, Object};
use crate::sys::Fs;

/// Objects looked at at a time.
const LOOKS: usize = 64;
/// Objects gathered before they are looked at.
const GATHERED: usize = 1024;
/// Examples kept of each verdict.
const EXAMPLES: usize = 20;

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

/// A comparison under way.
pub(super) struct Compare<'a, 'w> {
    job: &'a Job,
    prefix: &'a str,
    /// Entries by the key of the bundle they are in.
    bundles: HashMap<String, Vec<u64>>,
    seen: Bits,
    pub(super) result: Reconciled,
    list: &'a mut csv::Writer<&'w mut dyn io::Write>,
}

impl<'a, 'w> Compare<'a, 'w> {
    /// What differs goes to `list`.
    pub(super) fn new(
        job: &'a Job,
        prefix: &'a str,
        result: Reconciled,
        list: &'a mut csv::Writer<&'w mut dyn io::Write>,
    ) -> Result<Self, Error> {
        Ok(Self { job, prefix, bundles: bundles(job, prefix)?, seen: Bits::default(), result, list })
    }

    /// Compares everything, in the way that was asked for.
    pub(super) fn run(&mut self, target: Target, by: &By, fs: &dyn Fs) -> Result<(), Error> {
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

fn note(group: &mut Group, key: &str, why: &str) {
    if group.examples.len() < EXAMPLES {
        group.examples.push((key.to_owned(), why.to_owned()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits() {
        let mut bits = Bits::default();
        bits.set(0);
        bits.set(1000);
        assert!(bits.has(0) && bits.has(1000) && !bits.has(999) && !bits.has(1 << 40));
    }
}
