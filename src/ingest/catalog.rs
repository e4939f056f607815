//! What is still wanted, as the job knows it.
//!
//! Owns: the decision which entries become objects in this run, and the uploads that several volumes feed. Does not own:
//! reading or sending. Invariants: an entry whose object is proved is not wanted again; of an entry that was staged more
//! than once only the current generation is; nobody who asks waits for the server on behalf of another entry.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::digest::Crc64;
use crate::format::layout::part_bytes;
use crate::format::record::{Entry, EntryType};
use crate::ingest::Options;
use crate::ingest::error::Error;
use crate::ingest::record::is_done;
use crate::ingest::remote::upload::{UploadState, plan_parts, too_many_parts};
use crate::ingest::remote::{Claim, ObjectStore, SentPart};
use crate::ingest::send::{Outcome, Report, Sender, Upload, chain};
use crate::ingest::slot::Slot;
use crate::ingest::source::{Catalog, Goal};
use crate::ingest::tasks::Tasks;
use crate::ingest::wanted::{Replace, Wanted, wanted};
use crate::job::{Effort, Job, Object, State};
use crate::sys::lock::lock;

/// The job, which one thread at a time may use.
pub(super) type Jobs<'a> = Mutex<&'a mut Job>;

/// Extents of one entry read from the job at a time.
const EXTENTS_PAGE: usize = 4096;
/// Hard links read from the job at a time.
const LINKS_PAGE: usize = 4096;

/// What is looked for on the volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Everything but hard links.
    Entries,
    /// The contents that hard links share with other entries.
    Links,
}

pub(super) struct Plan<'a, 'j, S> {
    job: &'a Jobs<'j>,
    options: &'a Options,
    sender: Arc<Sender<S>>,
    handle: &'a tokio::runtime::Handle,
    failed: Arc<Mutex<HashSet<u64>>>,
    slot: Option<&'a Slot>,
    state: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    pass: Option<Pass>,
    tasks: Tasks,
    /// Hard links by the entry that has their content.
    links: HashMap<u64, Vec<Entry>>,
    uploads: HashMap<u64, Arc<Upload>>,
    /// Entries that do not fit into the slot; the decision holds for the whole run.
    deferred: HashSet<u64>,
}

impl<'a, 'j, S: ObjectStore> Plan<'a, 'j, S> {
    pub(super) fn new(
        job: &'a Jobs<'j>,
        options: &'a Options,
        sender: Arc<Sender<S>>,
        handle: &'a tokio::runtime::Handle,
        failed: Arc<Mutex<HashSet<u64>>>,
        slot: Option<&'a Slot>,
    ) -> Self {
        Self { job, options, sender, handle, failed, slot, state: Mutex::default() }
    }

    pub(super) fn begin(&self, pass: Pass) {
        lock(&self.state).pass = Some(pass);
    }

    /// Tasks started from here are counted there.
    pub(super) fn attach(&self, tasks: &Tasks) {
        lock(&self.state).tasks = tasks.clone();
    }

    /// Finds the hard links that have no object yet, and gives whether there are any. The name of a link and its content
    /// may lie on different volumes, so the job is asked, not the volumes.
    pub(super) fn find_links(&self) -> Result<bool, Error> {
        let job = lock(self.job);
        let ledger = job.ledger()?;
        let staged: u64 = [State::Staged, State::Changed]
            .map(|state| ledger.state_and_type(state, EntryType::HardLink).entries)
            .iter()
            .sum();
        let mut links: HashMap<u64, Vec<Entry>> = HashMap::new();
        let mut after = 0;
        loop {
            let page = match staged {
                0 => Vec::new(),
                _ => job.staged_of_type(EntryType::HardLink, after, LINKS_PAGE)?,
            };
            let Some(last) = page.last() else { break };
            after = *last;
            for id in page {
                let Some(entry) = job.staged_entry(id)? else { continue };
                let known = job.object(id)?;
                let done = known.is_some_and(|o| is_done(o.state) && o.generation == entry.generation);
                if !done {
                    links.entry(entry.link_id).or_default().push(entry);
                }
            }
        }
        let found = !links.is_empty();
        lock(&self.state).links = links;
        Ok(found)
    }

    pub(super) fn fail(&self, wanted: Arc<Wanted>, reason: String) {
        // The recorder outlives the plan.
        let (outcome, effort) = (Outcome::Failed { reason }, Effort::default());
        let _ = self.sender.reports.send(Report::Object { wanted, outcome, effort });
    }

    /// Its content was not read yet: another round may find it.
    pub(super) fn incomplete(&self, entry: &Entry) {
        let unnamed = Wanted { entry: entry.id, generation: entry.generation, ..Wanted::default() };
        let (wanted, outcome, effort) = (Arc::new(unnamed), Outcome::Incomplete, Effort::default());
        let _ = self.sender.reports.send(Report::Object { wanted, outcome, effort });
    }

    /// The object of `entry`, if it is current and not done, made of the content of `content`.
    pub(super) fn goal(&self, entry: &Entry, content: &Entry) -> Result<Option<Goal>, Error> {
        if lock(&self.failed).contains(&entry.id) || lock(&self.state).deferred.contains(&entry.id) {
            return Ok(None);
        }
        if self.options.selection.covers(&entry.path, entry.entry_type == EntryType::Directory) {
            return Ok(None);
        }
        let object = {
            let job = lock(self.job);
            let current = job.entry(entry.id)?;
            if !current.is_some_and(|known| known.generation == entry.generation && known.state.is_staged()) {
                return Ok(None);
            }
            job.object(entry.id)?
        };
        let is_ours = object.as_ref().is_some_and(|object| object.generation == entry.generation);
        let done = object.as_ref().is_some_and(|object| is_done(object.state));
        if done && is_ours {
            return Ok(None);
        }
        // An older generation that this job itself put there is replaced by the newer one.
        let replaces_own = done && !is_ours && self.options.replace == Replace::Never;
        let replace = if replaces_own { Replace::Always } else { self.options.replace };
        let wanted = match wanted(&self.options.prefix, entry, content, replace) {
            Ok(wanted) => wanted,
            Err(_) if entry.path.is_empty() && self.options.prefix.is_empty() => return Ok(None),
            Err(error) => {
                let (entry, generation) = (entry.id, entry.generation);
                let key = crate::format::path::escape(&content.path);
                let unnamed = Wanted { entry, generation, key, ..Wanted::default() };
                self.fail(Arc::new(unnamed), error.to_string());
                return Ok(None);
            }
        };
        let is_begun = lock(&self.state).uploads.contains_key(&entry.id);
        if !is_begun && let Some(slot) = self.slot {
            let bytes = wanted.bytes.saturating_sub(self.there_already(&wanted, object.as_ref())?);
            if !slot.admits(self.sender.clock.monotonic(), bytes) {
                lock(&self.state).deferred.insert(entry.id);
                return Ok(None);
            }
        }
        if !wanted.in_parts() {
            return Ok(Some(Goal { wanted, upload: None }));
        }
        let upload = self.upload(&wanted, content, object.filter(|_| is_ours))?;
        Ok(upload.map(|upload| Goal { wanted, upload: Some(upload) }))
    }

    /// Bytes of an object that the server took in earlier runs.
    fn there_already(&self, wanted: &Wanted, object: Option<&Object>) -> Result<u64, Error> {
        if object.is_none_or(|object| object.upload_id.is_none()) {
            return Ok(0);
        }
        Ok(lock(self.job).parts(wanted.entry)?.iter().map(|part| part.bytes).sum())
    }

    /// The upload of a large object; `None` when no part of it has to be sent.
    ///
    /// One that is new is begun by its first part, so that nobody waits here for the server. Of one that an earlier run
    /// began, or that may be there already, is asked first what the server has: that decides what is to be read.
    fn upload(
        &self,
        wanted: &Arc<Wanted>,
        content: &Entry,
        object: Option<Object>,
    ) -> Result<Option<Arc<Upload>>, Error> {
        if let Some(error) = too_many_parts(&wanted.key, wanted.bytes, self.sender.endpoint.parts_max) {
            self.fail(wanted.clone(), chain(&error));
            return Ok(None);
        }
        let (upload, is_mine) = {
            let mut state = lock(&self.state);
            match state.uploads.get(&wanted.entry) {
                Some(upload) => (upload.clone(), false),
                None => {
                    let Some(upload) = self.resume(wanted, content, object)? else { return Ok(None) };
                    let upload = Arc::new(upload);
                    state.uploads.insert(wanted.entry, upload.clone());
                    (upload, true)
                }
            }
        };
        let is_new = upload.state().is_new();
        if !is_new && !self.handle.block_on(self.sender.begin(&upload)) {
            return Ok(None);
        }
        let sends_parts = upload.state().has_missing_parts();
        if !sends_parts && is_mine {
            let (sender, upload, running) = (self.sender.clone(), upload.clone(), lock(&self.state).tasks.begin());
            self.handle.spawn(async move {
                sender.complete(upload).await;
                drop(running);
            });
        }
        Ok(sends_parts.then_some(upload))
    }

    fn resume(&self, wanted: &Arc<Wanted>, content: &Entry, object: Option<Object>) -> Result<Option<Upload>, Error> {
        let job = lock(self.job);
        let mut extents: Vec<(u64, Crc64)> = Vec::new();
        let mut from = 0;
        loop {
            let page = job.extents(content.id, from, EXTENTS_PAGE)?;
            let Some(last) = page.last() else { break };
            from = last.extent.offset + last.extent.length;
            extents.extend(page.iter().map(|placed| (placed.extent.length, placed.extent.crc64)));
        }
        let Some(parts) = plan_parts(wanted.bytes, extents) else {
            drop(job);
            self.fail(wanted.clone(), "its extents do not add up to the file".to_owned());
            return Ok(None);
        };
        let same_cut = |object: &Object| object.part_bytes == Some(part_bytes(wanted.bytes));
        let upload = object.filter(same_cut).and_then(|object| object.upload_id);
        let remembered = if upload.is_some() { job.parts(wanted.entry)? } else { Vec::new() };
        let remembered = remembered.into_iter().map(|part| SentPart {
            number: part.number,
            bytes: part.bytes,
            etag: part.etag,
            checksum: Some(Claim::Crc64(part.crc64).text()),
        });
        let mut state = UploadState::new(parts, upload, remembered.collect());
        if wanted.replace == Replace::IfChanged {
            state.look_first();
        }
        Ok(Some(Upload::new(wanted.clone(), state)))
    }
}

impl<S: ObjectStore> Catalog for Plan<'_, '_, S> {
    fn goals(&self, entry: &Entry) -> Result<Vec<Goal>, Error> {
        let pass = lock(&self.state).pass;
        if pass == Some(Pass::Links) {
            let links = lock(&self.state).links.get(&entry.id).cloned().unwrap_or_default();
            let goals = links.iter().map(|link| self.goal(link, entry));
            return Ok(goals.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect());
        }
        if entry.entry_type == EntryType::HardLink {
            return Ok(Vec::new());
        }
        Ok(self.goal(entry, entry)?.into_iter().collect())
    }

    fn entry(&self, id: u64) -> Result<Option<Entry>, Error> {
        Ok(lock(self.job).staged_entry(id)?)
    }
}
