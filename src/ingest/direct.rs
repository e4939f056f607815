//! Straight from the source: `send`, for deltas, and for what a plan says goes over the line.
//!
//! Owns: reading the source twice, and what it means if the two readings differ. The first reading takes the digests and
//! puts them on record; the second sends, each body compared with them. So the chain is the same as over drives, a run
//! that was interrupted goes on inside large files, and a file that changes in between is noticed, never sent half and
//! half. Invariants: nothing is sent before its digests are durable; the source is never written.

mod digest;
mod intake;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel as channel;

use crate::census::{self, Top};
use crate::digest::crc64;
use crate::format::record::{Entry, EntryType};
use crate::ingest::bundle::Bundler;
use crate::ingest::catalog::Pass;
use crate::ingest::error::Error;
use crate::ingest::remote::Target;
use crate::ingest::run::{Run, Working, join};
use crate::ingest::session::Session;
use crate::ingest::source::{Deliver, Finding, Goal};
use crate::ingest::wanted::bare_body;
use crate::ingest::{Monitor, Options, Outcome};
use crate::job::Job;
use crate::scan::{Root, WalkOptions};
use crate::sys::World;
use crate::sys::lock::lock;
use crate::sys::source::SourceFile;

/// Threads that read the source for sending.
const READERS: usize = 4;
/// Entries that may wait between the two readings.
const WAITING: usize = 1024;
/// Entries read from the job at a time.
const PAGE: usize = 1024;

/// What is sent straight from the source.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The sources, resolved; those of the job.
    pub roots: Vec<Root>,
    /// How they are walked.
    pub walk: WalkOptions,
    /// Whether fifos, sockets and devices become objects instead of being listed as skipped.
    pub special_files: bool,
}

/// Opens the job for these sources, or makes it.
///
/// # Errors
/// When the job has other sources, or the directory cannot be written.
pub fn open_job(dir: &std::path::Path, roots: &[Root], world: &World) -> Result<Job, Error> {
    Ok(census::open_job(dir, roots, world)?)
}

/// Sends everything of the sources that is neither on a volume nor in the bucket yet. The same call again resumes.
///
/// # Errors
/// When the run cannot go on: see [`Error`]. What arrived until then is on record.
pub fn send(
    job: &mut Job,
    sources: &Sources,
    target: Target,
    options: &Options,
    world: &World,
    monitor: &dyn Monitor,
) -> Result<Outcome, Error> {
    let session = Session::open(job, target, options, world)?;
    monitor.endpoint(&session.endpoint);
    let record = session.begin(job, "send", world)?;
    job.batch(|tx| tx.retry_problems())?;
    let known = job.sources()?;
    let tops = known.into_iter().zip(&sources.roots);
    let tops: Vec<Top> =
        tops.map(|(source, root)| Top { root: root.clone(), entry: source.id, prefix: source.root.prefix }).collect();
    let result = {
        let run = Run::new(Mutex::new(&mut *job), options, world, monitor, &session, "send");
        let line = Line { run: &run, sources, tops, walked: AtomicBool::new(false) };
        run.rounds(&|pass, working| line.pass(pass, working))
    };
    let outcome = session.end(job, record, result, world, |job, ran| {
        let left = job.unsent_of_line(!options.prefix.is_empty())?;
        session.outcome(job, ran, left, 0, &[], options)
    });
    session.close();
    outcome
}

struct Line<'a, 'j> {
    run: &'a Run<'a, 'j>,
    sources: &'a Sources,
    tops: Vec<Top>,
    walked: AtomicBool,
}

impl Line<'_, '_> {
    /// One pass: in the first one the source is walked as well.
    fn pass(&self, pass: Pass, working: &Working<'_, '_, '_>) -> Vec<Result<Vec<Finding>, Error>> {
        if pass == Pass::Links {
            // A name of its own for every link: they are read like files, in the same pass.
            return Vec::new();
        }
        let (ready, waiting) = channel::bounded(WAITING);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..READERS)
                .map(|_| {
                    let waiting = waiting.clone();
                    scope.spawn(move || self.read(&waiting, working))
                })
                .collect();
            drop(waiting);
            let fed = self.feed(&ready, working);
            drop(ready);
            let mut results: Vec<_> = readers.into_iter().map(join).collect();
            results.push(fed.map(|()| Vec::new()));
            results
        })
    }

    /// What an earlier run took the digests of first, then what the walk finds.
    fn feed(&self, ready: &channel::Sender<u64>, working: &Working<'_, '_, '_>) -> Result<(), Error> {
        let mut after = 0;
        loop {
            let page = lock(&self.run.job).unsent_page(after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = *last;
            if !self.walked.load(Ordering::Acquire) {
                self.run.monitor.found(page.len() as u64, self.bytes_of(&page)?);
            }
            for id in page {
                if working.halt.is_set() || ready.send(id).is_err() {
                    return Err(Error::Stopped);
                }
            }
        }
        if self.walked.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        intake::run(self.run, self.sources, &self.tops, ready, working.halt)
    }

    /// Content of entries that earlier runs took the digests of. Unit: bytes.
    fn bytes_of(&self, page: &[u64]) -> Result<u64, Error> {
        let job = lock(&self.run.job);
        let sizes = page.iter().map(|id| Ok(job.staged_entry(*id)?.map_or(0, |entry| entry.size)));
        sizes.sum()
    }

    fn read(&self, waiting: &channel::Receiver<u64>, working: &Working<'_, '_, '_>) -> Result<Vec<Finding>, Error> {
        let (prefix, bundle_bytes) = (self.run.options.prefix.as_str(), self.run.options.bundle_bytes);
        let deliver = Bundler::new(working.spawner, working.room, prefix, bundle_bytes);
        let mut stopped = false;
        for id in waiting {
            // The queue is emptied all the same, so that nobody waits for room in it.
            stopped |= working.halt.is_set();
            if !stopped {
                self.send_entry(id, working, &deliver)?;
            }
        }
        deliver.flush();
        if stopped { Err(Error::Stopped) } else { Ok(Vec::new()) }
    }

    fn send_entry(&self, id: u64, working: &Working<'_, '_, '_>, deliver: &impl Deliver) -> Result<(), Error> {
        let Some(entry) = lock(&self.run.job).staged_entry(id)? else { return Ok(()) };
        let content = match entry.entry_type {
            EntryType::HardLink => lock(&self.run.job).staged_entry(entry.link_id)?,
            _ => Some(entry.clone()),
        };
        let Some(content) = content else {
            // The name that has the content was not read yet.
            working.plan.incomplete(&entry);
            return Ok(());
        };
        let Some(goal) = working.plan.goal(&entry, &content)? else { return Ok(()) };
        if let Some(body) = bare_body(&content) {
            let seat = working.room.enter(body.len() as u64);
            seat.leave();
            deliver.whole(&goal.wanted, body, seat);
            return Ok(());
        }
        match self.open(&entry) {
            Ok(file) => self.send_content(&file, &goal, working, deliver),
            Err(error) => {
                let reason = format!("cannot be opened at the source: {error}");
                working.plan.fail(goal.wanted, reason);
                Ok(())
            }
        }
    }

    fn open(&self, entry: &Entry) -> std::io::Result<SourceFile> {
        SourceFile::open(&place(&self.tops, &entry.path))
    }

    fn send_content(
        &self,
        file: &SourceFile,
        goal: &Goal,
        working: &Working<'_, '_, '_>,
        deliver: &impl Deliver,
    ) -> Result<(), Error> {
        let parts = match &goal.upload {
            None => vec![(0, 0, goal.wanted.bytes, goal.wanted.crc64)],
            Some(upload) => {
                let missing = upload.state().missing_parts();
                missing.into_iter().map(|part| (part.number, part.offset, part.bytes, part.crc64)).collect()
            }
        };
        for (number, offset, bytes, expected) in parts {
            if working.halt.is_set() {
                return Err(Error::Stopped);
            }
            let seat = working.room.enter(bytes);
            let mut body = working.room.buffer(usize::try_from(bytes).unwrap_or(0));
            let read = file.read_full_at(&mut body, offset);
            let is_whole = matches!(&read, Ok(read) if *read as u64 == bytes);
            if !is_whole || crc64(&body) != expected {
                let reason = match read {
                    Err(error) => format!("cannot be read at byte {offset}: {error}"),
                    Ok(_) => "changed at the source between its two readings; the next run reads it again".to_owned(),
                };
                // What was read is not what was recorded: the next run has to read it anew.
                lock(&self.run.job).batch(|tx| tx.read_again(goal.wanted.entry))?;
                working.plan.fail(goal.wanted.clone(), reason);
                return Ok(());
            }
            self.run.monitor.read(bytes);
            seat.leave();
            let body = working.room.body(body);
            match &goal.upload {
                None => deliver.whole(&goal.wanted, body, seat),
                Some(upload) => deliver.part(upload, number, body, seat),
            }
        }
        Ok(())
    }
}

/// Where the entry at a stored path is opened.
fn place(tops: &[Top], path: &[u8]) -> PathBuf {
    let below = |top: &Top| -> Option<PathBuf> {
        let rest = path.strip_prefix(top.prefix.as_slice())?;
        let rest = match rest {
            [] if top.root.is_file() => {
                use std::os::unix::ffi::OsStrExt;
                return Some(top.root.open_path(top.root.path().file_name()?.as_bytes()));
            }
            [] => rest,
            _ if top.prefix.is_empty() => rest,
            [b'/', below @ ..] => below,
            _ => return None,
        };
        Some(top.root.open_path(rest))
    };
    tops.iter().find_map(below).unwrap_or_default()
}
