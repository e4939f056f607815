//! One run's connection to one bucket, and its traces in the job.
//!
//! Owns: the job's destination, what is remembered of the server, the record of the run, what is left when it ends.
//! Invariants: one job has one destination; a run that was begun is on record with how it ended, and with its journal.

use crate::format::record::EntryType;
use crate::format::{JobId, RunId};
use crate::ingest::error::Error;
use crate::ingest::record::is_done;
use crate::ingest::remote::probe::{Endpoint, probe};
use crate::ingest::remote::{Metadata, Method, ObjectStore, Put, RemoteError, S3Store, Target, connect};
use crate::ingest::run::{Ran, Stopped};
use crate::ingest::{Options, Orphan, Outcome};
use crate::job::{self, Job, Journal};
use crate::sys::World;
use crate::sys::process::{host_name, parallelism};

/// Setting of the job that holds its destination.
const DESTINATION: &str = "ingest.destination";
/// Unfinished uploads that are asked how much they hold.
const ORPHANS_ASKED: usize = 1000;

/// A bucket that was reached and asked what it does.
pub(super) struct Session {
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) store: S3Store,
    pub(super) endpoint: Endpoint,
    destination: String,
}

impl Session {
    pub(super) fn open(job: &mut Job, target: Target, options: &Options, world: &World) -> Result<Self, Error> {
        let destination = format!("s3://{}/{}", target.bucket, options.prefix);
        claim_destination(job, &destination)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(parallelism())
            .thread_name("ingest")
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        let known = remembered(job, &target, options)?;
        let path_style = target.path_style.or(known.and_then(|endpoint| endpoint.path_style));
        let store = runtime.block_on(connect(Target { path_style, ..target }));
        let endpoint = match known {
            Some(endpoint) => endpoint,
            None => {
                let asked = runtime.block_on(ask(&store, options, job.id()));
                let found = asked.map_err(|source| Error::Remote { target: destination.clone(), source })?;
                remember(job, &store, &found, world)?;
                found
            }
        };
        Ok(Self { runtime, store, endpoint, destination })
    }

    fn remote(&self, source: RemoteError) -> Error {
        Error::Remote { target: self.destination.clone(), source }
    }

    /// Puts the run on record.
    pub(super) fn begin(&self, job: &mut Job, command: &str, world: &World) -> Result<job::Run, Error> {
        let mut id = [0; 16];
        world.random.fill(&mut id);
        let run = job::Run {
            id: RunId(id),
            command: command.to_owned(),
            started: world.clock.now(),
            ended: None,
            outcome: None,
            host: host_name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        job.batch_durable(|tx| tx.put_run(&run))?;
        Ok(run)
    }

    /// Completes the record of the run with what it came to.
    pub(super) fn end(
        &self,
        job: &mut Job,
        run: job::Run,
        result: (Journal, Result<Ran, Stopped>),
        world: &World,
        settle: impl FnOnce(&Job, Ran) -> Result<Outcome, Error>,
    ) -> Result<Outcome, Error> {
        let (journal, result) = result;
        job.keep_journal(&journal)?;
        let outcome = match result {
            Ok(ran) => settle(job, ran),
            Err(Stopped::Remote(source)) => Err(self.remote(source)),
            Err(Stopped::Other(error)) => Err(error),
        };
        let word = match &outcome {
            Ok(outcome) if outcome.deferred.0 > 0 => "slot is over",
            Ok(outcome) if outcome.left == 0 && outcome.findings.is_empty() => "complete",
            Ok(_) => "incomplete",
            Err(Error::Stopped) => "stopped",
            Err(_) => "failed",
        };
        let ended = job::Run { ended: Some(world.clock.now()), outcome: Some(word.to_owned()), ..run };
        job.batch_durable(|tx| tx.put_run(&ended))?;
        outcome
    }

    /// What is still on its way belongs to a run that was stopped; the next one looks at it.
    pub(super) fn close(self) {
        self.runtime.shutdown_background();
    }

    /// What a run came to, with what is left and which volumes may have it.
    pub(super) fn outcome(
        &self,
        job: &Job,
        ran: Ran,
        left: u64,
        left_out: u64,
        at_hand: &[u32],
        options: &Options,
    ) -> Result<Outcome, Error> {
        let absent = job.volumes()?.into_iter().map(|row| row.volume.number).filter(|n| !at_hand.contains(n));
        let volumes_needed = if left == 0 { Vec::new() } else { absent.collect() };
        let nothing_left = left == 0 && left_out == 0 && ran.deferred.0 == 0;
        let orphans = if nothing_left { self.runtime.block_on(self.orphans(options)) } else { Ok((Vec::new(), 0)) };
        let (orphans, aborted) = orphans.map_err(|source| self.remote(source))?;
        let Ran { tally, findings, journal, deferred } = ran;
        let endpoint = self.endpoint;
        Ok(Outcome { endpoint, tally, findings, left, left_out, deferred, volumes_needed, orphans, aborted, journal })
    }

    /// Uploads under the prefix that nobody will complete: asked once everything is there, so none of them is this job's.
    /// A process that dies between the server's answer and the job's record of it leaves one, without parts.
    async fn orphans(&self, options: &Options) -> Result<(Vec<Orphan>, u64), RemoteError> {
        let open = match self.store.open_uploads(&options.prefix).await {
            Ok(open) => open,
            // A server that cannot list them, or does not let us, does not make the ingest fail.
            Err(RemoteError::Refused { .. } | RemoteError::Auth { .. }) => return Ok((Vec::new(), 0)),
            Err(error) => return Err(error),
        };
        if options.abort_orphans {
            for upload in &open {
                self.store.abort(&upload.key, &upload.upload).await?;
            }
            return Ok((Vec::new(), open.len() as u64));
        }
        let mut orphans = Vec::new();
        for (index, upload) in open.into_iter().enumerate() {
            let parts = match index < ORPHANS_ASKED {
                true => self.store.list_parts(&upload.key, &upload.upload).await.ok().flatten(),
                false => None,
            };
            let bytes = parts.map(|parts| parts.iter().map(|part| part.bytes).sum());
            orphans.push(Orphan { upload, bytes });
        }
        Ok((orphans, 0))
    }
}

/// The destination of a job is part of its record: an object that arrived elsewhere has not arrived here.
fn claim_destination(job: &mut Job, asked: &str) -> Result<(), Error> {
    match job.setting(DESTINATION)? {
        None => Ok(job.batch_durable(|batch| batch.set_setting(DESTINATION, asked))?),
        Some(recorded) if recorded == asked => Ok(()),
        Some(recorded) => Err(Error::OtherDestination { recorded, asked: asked.to_owned() }),
    }
}

/// Bucket and prefix of a job's destination, once it has one.
pub(super) fn destination(job: &Job) -> Result<Option<(String, String)>, Error> {
    let Some(recorded) = job.setting(DESTINATION)? else { return Ok(None) };
    let place = recorded.strip_prefix("s3://").and_then(|place| place.split_once('/'));
    Ok(place.map(|(bucket, prefix)| (bucket.to_owned(), prefix.to_owned())))
}

fn remembered(job: &Job, target: &Target, options: &Options) -> Result<Option<Endpoint>, Error> {
    if options.ask_again {
        return Ok(None);
    }
    let Some(known) = job.endpoint(target.endpoint(), &target.bucket)? else { return Ok(None) };
    let endpoint: Endpoint = serde_json::from_str(&known.facts).map_err(Error::Remembered)?;
    let knows_tags = endpoint.keeps_tags.is_some() || target.objects.tagging.is_none();
    Ok(Some(endpoint).filter(|endpoint| knows_tags && options.method.is_none_or(|method| method == endpoint.method)))
}

fn remember(job: &mut Job, store: &S3Store, endpoint: &Endpoint, world: &World) -> Result<(), Error> {
    let facts = serde_json::to_string(endpoint).map_err(Error::Remembered)?;
    let (url, bucket) = (store.endpoint().to_owned(), store.bucket().to_owned());
    let known = job::Endpoint { url, bucket, probed: world.clock.now(), facts };
    Ok(job.batch(|batch| batch.put_endpoint(&known))?)
}

async fn ask(store: &S3Store, options: &Options, job: JobId) -> Result<Endpoint, RemoteError> {
    let scratch = format!("{}.packmule-probe-{job}/", options.prefix);
    let pinned = options.method.map(|method| [method]);
    let allowed: &[Method] = pinned.as_ref().map_or(&Method::LADDER, |one| one);
    let store = store.without_locks();
    let mut found = probe(&store, &scratch, allowed).await?;
    if store.wants_tags() {
        let keeps = keeps_tags(&store, &format!("{scratch}plain")).await?;
        if !keeps {
            return Err(RemoteError::NoTags);
        }
        found.keeps_tags = Some(keeps);
    }
    found.path_style = Some(store.path_style());
    match options.method {
        Some(method) if method != found.method => Err(RemoteError::Unproved { method: method.to_string() }),
        _ => Ok(found),
    }
}

/// Whether a tag that went with an object is there afterwards.
async fn keeps_tags(store: &S3Store, key: &str) -> Result<bool, RemoteError> {
    let body = bytes::Bytes::from_static(b"tags?");
    let put = Put { key: key.to_owned(), body, claim: None, metadata: Metadata::new(), overwrite: true };
    store.put(put).await?;
    let tags = match store.tags(key).await {
        Ok(tags) => tags,
        Err(error @ (RemoteError::Unreachable { .. } | RemoteError::TimedOut { .. })) => return Err(error),
        // Not allowed to look, or not able to answer: nobody can say that they are kept.
        Err(_) => 0,
    };
    store.delete(key).await?;
    Ok(tags > 0)
}

/// Entries staged and without a finished object: those wanted, and those that the rules of this run leave out.
pub(super) fn left(job: &Job, options: &Options) -> Result<(u64, u64), Error> {
    if !options.selection.is_empty() {
        return left_by_rules(job, options);
    }
    let staged = job.ledger()?.staged().entries;
    let arrived: u64 = job.object_ledger()?.iter().filter(|(state, _)| is_done(*state)).map(|(_, c)| c.entries).sum();
    // Without a prefix the top of the dataset has no name in a bucket, and needs no object.
    let top = if options.prefix.is_empty() { job.find(b"")? } else { None };
    let top = top.map(|id| job.entry(id)).transpose()?.flatten();
    let nameless = u64::from(top.is_some_and(|top| top.state.is_staged()));
    Ok((staged.saturating_sub(arrived + nameless), 0))
}

fn left_by_rules(job: &Job, options: &Options) -> Result<(u64, u64), Error> {
    let (mut left, mut left_out) = (0, 0);
    job.list(|listed| {
        let is_nameless = listed.path.is_empty() && options.prefix.is_empty();
        let is_done = listed.object.as_ref().is_some_and(|object| is_done(object.state));
        if !listed.state.is_staged() || is_done || is_nameless {
            return Ok(());
        }
        let is_dir = listed.entry_type == EntryType::Directory;
        *(if options.selection.covers(&listed.path, is_dir) { &mut left_out } else { &mut left }) += 1;
        Ok::<(), job::Error>(())
    })?;
    Ok((left, left_out))
}
