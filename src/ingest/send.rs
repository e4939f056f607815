//! Sending: one object or part at a time, as often as it takes, until the server has proved it.
//!
//! Owns: what counts as proof, and what becomes of an object that is there already. Does not own: where bodies come from,
//! what is recorded. Invariants: a body is compared with the source's CRC-64 before every attempt; an object that is there
//! is left alone unless it may be replaced; a report is sent for whatever was begun.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel as channel;

use crate::digest::crc64;
use crate::ingest::bundle::Bundle;
use crate::ingest::flow::Flow;
use crate::ingest::remote::probe::{Endpoint, read_back};
use crate::ingest::remote::retry::{Patience, persist};
use crate::ingest::remote::upload::{Action, Completion, Inspection, Obstacle, PartPlan, UploadState, too_many_parts};
use crate::ingest::remote::{Class, Complete, Head, ObjectStore, PutPart, RemoteError, SentPart, Stored};
use crate::ingest::room::Seat;
use crate::ingest::wanted::{Replace, Wanted};
use crate::job::Effort;
use crate::sys::Clock;

/// How well an object is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grade {
    /// The server compared it with a checksum that was taken from the same bytes.
    Confirmed,
    /// It was read back and compared here.
    ReadBack,
}

/// What became of an object.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// It is there, and it is the right one. `was_there`: before this run sent anything of it.
    Proven { stored: Stored, grade: Grade, was_there: bool },
    /// Not in this run; the reason is for people.
    Failed { reason: String },
    /// Some of its parts were not at hand, or have to be sent again.
    Incomplete,
}

/// What a task tells the recorder.
#[derive(Debug)]
pub(super) enum Report {
    /// An object's end in this run.
    Object { wanted: Arc<Wanted>, outcome: Outcome, effort: Effort },
    /// A bundle is there; its members follow.
    Bundle,
    /// The server took a part.
    Part { entry: u64, plan: PartPlan, etag: String, effort: Effort },
    /// Nothing more can succeed.
    Fatal(RemoteError),
}

/// An upload that several readers may feed.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) wanted: Arc<Wanted>,
    state: Mutex<UploadState>,
}

impl Upload {
    pub(super) fn new(wanted: Arc<Wanted>, state: UploadState) -> Self {
        Self { wanted, state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, UploadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that sending needs; shared by all tasks.
#[derive(Debug)]
pub(super) struct Sender<S> {
    pub(super) store: S,
    pub(super) endpoint: Endpoint,
    pub(super) patience: Patience,
    pub(super) flow: Flow,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) reports: channel::Sender<Report>,
}

type Sent<T> = Result<T, RemoteError>;

impl<S: ObjectStore> Sender<S> {
    fn report(&self, report: Report) {
        // The recorder outlives all tasks; when it is gone, so is the run.
        let _ = self.reports.send(report);
    }

    /// What was done since `since`, on the monotonic clock.
    fn effort(&self, since: Duration, retries: &AtomicU32) -> Effort {
        let took = self.clock.monotonic().saturating_sub(since);
        Effort { retries: retries.load(Ordering::Relaxed), took }
    }

    fn report_object(&self, wanted: &Arc<Wanted>, outcome: Sent<Outcome>, effort: Effort) {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) if ends_the_run(&error) => return self.report(Report::Fatal(error)),
            Err(error) => Outcome::Failed { reason: chain(&error) },
        };
        self.report(Report::Object { wanted: wanted.clone(), outcome, effort });
    }

    /// Sends an object in one request.
    pub(super) async fn whole(self: Arc<Self>, wanted: Arc<Wanted>, body: Bytes, seat: Seat) {
        let Some(turn) = self.flow.turn(&wanted.key).await else { return };
        let (since, retries) = (self.clock.monotonic(), AtomicU32::new(0));
        let outcome = self.put(&wanted, body, &retries).await;
        drop((seat, turn));
        self.report_object(&wanted, outcome, self.effort(since, &retries));
    }

    /// Sends a bundle: its index, then the archive, which is what its members are proved by.
    pub(super) async fn bundle(self: Arc<Self>, bundle: Bundle, seat: Seat) {
        let Some(turn) = self.flow.turn(&bundle.archive.0.key).await else { return };
        let (since, retries) = (self.clock.monotonic(), AtomicU32::new(0));
        let Bundle { archive, index, members } = bundle;
        let sent = match self.put(&index.0, index.1, &retries).await {
            Ok(Outcome::Proven { .. }) => self.put(&archive.0, archive.1, &retries).await,
            other => other,
        };
        drop((seat, turn));
        let effort = self.effort(since, &retries);
        let outcome = match sent {
            Ok(outcome) => outcome,
            Err(error) if ends_the_run(&error) => return self.report(Report::Fatal(error)),
            Err(error) => Outcome::Failed { reason: chain(&error) },
        };
        if matches!(outcome, Outcome::Proven { .. }) {
            self.report(Report::Bundle);
        }
        for wanted in members {
            self.report(Report::Object { wanted, outcome: outcome.clone(), effort });
        }
    }

    async fn put(&self, wanted: &Wanted, body: Bytes, retries: &AtomicU32) -> Sent<Outcome> {
        let mut overwrite = wanted.replace == Replace::Always;
        let looks_first = match wanted.replace {
            Replace::Always => false,
            Replace::IfChanged => true,
            Replace::Never => !self.endpoint.conditional_put,
        };
        if looks_first && let Some(head) = self.head(wanted).await? {
            match self.was_there(wanted, &head).await? {
                Outcome::Failed { .. } if wanted.replace == Replace::IfChanged => overwrite = true,
                settled => return Ok(settled),
            }
        }
        let bytes = body.len() as u64;
        let sent = persist(self.patience, wanted.entry, |failures| {
            retries.store(failures, Ordering::Relaxed);
            let intact = failures == 0 || crc64(&body) == wanted.crc64;
            let put = wanted.put(body.clone(), self.endpoint.method, overwrite);
            async move {
                if !intact {
                    return Err(broken_here(&wanted.key));
                }
                let result = self.store.put(put).await;
                self.flow.heard(&wanted.key, bytes, &result);
                result
            }
        });
        match sent.await {
            Ok(stored) => self.prove(wanted, stored, false).await,
            Err(RemoteError::Exists { .. }) => match self.head(wanted).await? {
                Some(head) => self.was_there(wanted, &head).await,
                None => Ok(Outcome::Incomplete),
            },
            Err(error) => Err(error),
        }
    }

    async fn head(&self, wanted: &Wanted) -> Sent<Option<Head>> {
        persist(self.patience, wanted.entry, |_| self.store.head(&wanted.key)).await
    }

    /// The server accepted it: that is the proof, unless this server accepts anything.
    async fn prove(&self, wanted: &Wanted, stored: Stored, was_there: bool) -> Sent<Outcome> {
        if self.endpoint.method.server_compares() && !was_there {
            return Ok(Outcome::Proven { stored, grade: Grade::Confirmed, was_there });
        }
        let read = || read_back(&self.store, &wanted.key, wanted.bytes, wanted.crc64);
        if persist(self.patience, wanted.entry, |_| read()).await? {
            return Ok(Outcome::Proven { stored, grade: Grade::ReadBack, was_there });
        }
        Ok(Outcome::Failed { reason: format!("{:?} was read back and differs from the source", wanted.key) })
    }

    /// Another object, or this one from an earlier run whose record was lost?
    async fn was_there(&self, wanted: &Wanted, head: &Head) -> Sent<Outcome> {
        match self.compare(wanted, head) {
            Some(true) => Ok(Outcome::Proven { stored: head.stored(), grade: Grade::Confirmed, was_there: true }),
            Some(false) => Ok(Outcome::Failed { reason: other_object(&wanted.key) }),
            None => match self.prove(wanted, head.stored(), true).await? {
                Outcome::Failed { .. } => Ok(Outcome::Failed { reason: other_object(&wanted.key) }),
                proven => Ok(proven),
            },
        }
    }

    /// Whether an object is the wanted one; `None` when its description does not tell.
    fn compare(&self, wanted: &Wanted, head: &Head) -> Option<bool> {
        if head.bytes != wanted.bytes {
            return Some(false);
        }
        let ours = crate::ingest::remote::Claim::Crc64(wanted.crc64).text();
        head.checksums.crc64.as_ref().map(|theirs| *theirs == ours)
    }

    /// Brings an upload to the point where parts can be sent. `remember` makes its name durable before that.
    pub(super) async fn start<E>(
        &self,
        upload: &Upload,
        remember: impl Fn(&str) -> Result<(), E>,
    ) -> Result<Sent<()>, E> {
        let wanted = &upload.wanted;
        if let Some(error) = too_many_parts(&wanted.key, wanted.bytes, self.endpoint.parts_max) {
            return Ok(Err(error));
        }
        let name = |upload: &Upload| upload.state().upload().unwrap_or_default().to_owned();
        if wanted.replace == Replace::IfChanged && upload.state().upload().is_none() {
            upload.state().look_first();
        }
        while !upload.state().is_started() {
            let action = upload.state().next_action();
            let step = match action {
                Action::Create => {
                    let create = || self.store.create_upload(&wanted.key, self.endpoint.method, &wanted.metadata);
                    match persist(self.patience, wanted.entry, |_| create()).await {
                        Ok(created) => {
                            remember(&created)?;
                            upload.state().created(created);
                            Ok(())
                        }
                        Err(error) => Err(error),
                    }
                }
                Action::List => {
                    let name = name(upload);
                    let list = persist(self.patience, wanted.entry, |_| self.store.list_parts(&wanted.key, &name));
                    match list.await {
                        Err(error) if cannot_list(&error) => {
                            upload.state().unlisted();
                            Ok(())
                        }
                        other => other.map(|listed| upload.state().listed(listed)),
                    }
                }
                Action::Inspect => self.inspect(wanted).await.map(|found| upload.state().inspected(found)),
                _ => return Ok(Ok(())),
            };
            if let Err(error) = step {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    async fn inspect(&self, wanted: &Wanted) -> Sent<Inspection> {
        let Some(head) = self.head(wanted).await? else { return Ok(Inspection::Absent) };
        let same = match self.compare(wanted, &head) {
            Some(same) => same,
            None => {
                persist(self.patience, 0, |_| read_back(&self.store, &wanted.key, wanted.bytes, wanted.crc64)).await?
            }
        };
        Ok(match wanted.replace {
            _ if same => Inspection::Same,
            Replace::Never => Inspection::Different,
            // What may be replaced does not stand in the way.
            Replace::IfChanged | Replace::Always => Inspection::Absent,
        })
    }

    /// Sends a part; whoever sends the last one also completes the upload.
    pub(super) async fn part(self: Arc<Self>, upload: Arc<Upload>, plan: PartPlan, body: Bytes, seat: Seat) {
        let Some(turn) = self.flow.turn(&upload.wanted.key).await else { return };
        let (since, retries) = (self.clock.monotonic(), AtomicU32::new(0));
        let sent = self.put_part(&upload, plan, body, &retries).await;
        let effort = self.effort(since, &retries);
        drop((seat, turn));
        let all = match sent {
            Ok(part) => {
                let etag = part.etag.clone();
                let mut state = upload.state();
                state.sent(part);
                let all = state.has_all_parts();
                drop(state);
                self.report(Report::Part { entry: upload.wanted.entry, plan, etag, effort });
                all
            }
            Err(RemoteError::NoSuchUpload { .. }) => {
                upload.state().vanished();
                return self.report_object(&upload.wanted, Ok(Outcome::Incomplete), effort);
            }
            Err(error) => {
                upload.state().unsent(plan.number);
                return self.report_object(&upload.wanted, Err(error), effort);
            }
        };
        if all {
            self.complete(upload).await;
        }
    }

    async fn put_part(&self, upload: &Upload, plan: PartPlan, body: Bytes, retries: &AtomicU32) -> Sent<SentPart> {
        let name = upload.state().upload().unwrap_or_default().to_owned();
        let key = &upload.wanted.key;
        persist(self.patience, upload.wanted.entry ^ u64::from(plan.number), |failures| {
            retries.store(failures, Ordering::Relaxed);
            let intact = failures == 0 || crc64(&body) == plan.crc64;
            let claim = self.endpoint.method.claim(&body, plan.crc64);
            let (key, upload, body, upload_key) = (key.clone(), name.clone(), body.clone(), key.clone());
            async move {
                if !intact {
                    return Err(broken_here(&key));
                }
                let part = PutPart { key, upload, number: plan.number, body, claim };
                let result = self.store.put_part(part).await;
                self.flow.heard(&upload_key, plan.bytes, &result);
                result
            }
        })
        .await
    }

    /// Completes an upload all of whose parts are there, and finds out what came of it.
    pub(super) async fn complete(self: Arc<Self>, upload: Arc<Upload>) {
        let Some(_turn) = self.flow.turn(&upload.wanted.key).await else { return };
        let since = self.clock.monotonic();
        let outcome = self.drive_to_end(&upload).await;
        self.report_object(&upload.wanted, outcome, self.effort(since, &AtomicU32::new(0)));
    }

    async fn drive_to_end(&self, upload: &Upload) -> Sent<Outcome> {
        let wanted = &upload.wanted;
        let mut stored: Option<Stored> = None;
        let mut tried = false;
        let mut last = String::new();
        loop {
            let (action, name) = {
                let mut state = upload.state();
                (state.next_action(), state.upload().unwrap_or_default().to_owned())
            };
            match action {
                Action::Complete(parts) => {
                    tried = true;
                    let (outcome, said) = self.try_complete(wanted, &name, parts).await?;
                    match said {
                        Ok(given) => stored = Some(given),
                        Err(error) => last = chain(&error),
                    }
                    upload.state().completion(outcome);
                }
                Action::Inspect => {
                    let found = self.inspect(wanted).await?;
                    upload.state().inspected(found);
                }
                Action::List => {
                    let list = || self.store.list_parts(&wanted.key, &name);
                    match persist(self.patience, wanted.entry, |_| list()).await {
                        Err(error) if cannot_list(&error) => upload.state().unlisted(),
                        listed => upload.state().listed(listed?),
                    }
                }
                // Not this completion, but an earlier one or another machine's: what is there says so itself.
                Action::Finished if stored.is_none() => {
                    let Some(head) = self.head(wanted).await? else { return Ok(Outcome::Incomplete) };
                    return Ok(match self.was_there(wanted, &head).await? {
                        // Its answer was lost, but it was this run that completed it.
                        Outcome::Proven { stored, grade, .. } if tried => {
                            Outcome::Proven { stored, grade, was_there: false }
                        }
                        other => other,
                    });
                }
                Action::Finished => return self.prove(wanted, stored.unwrap_or_default(), false).await,
                Action::GiveUp(Obstacle::OtherObject) => {
                    self.store.abort(&wanted.key, &name).await?;
                    return Ok(Outcome::Failed { reason: other_object(&wanted.key) });
                }
                Action::GiveUp(_) => return Ok(Outcome::Failed { reason: last }),
                // A part has to come from its volume again, or the upload from its beginning: the next round does it.
                Action::Send(_) | Action::Create | Action::Wait => return Ok(Outcome::Incomplete),
            }
        }
    }

    async fn try_complete(
        &self,
        wanted: &Wanted,
        upload: &str,
        parts: Vec<SentPart>,
    ) -> Sent<(Completion, Result<Stored, RemoteError>)> {
        let overwrite = wanted.replace != Replace::Never;
        if !overwrite && !self.endpoint.conditional_complete && self.head(wanted).await?.is_some() {
            let key = wanted.key.clone();
            return Ok((Completion::Exists, Err(RemoteError::Exists { key })));
        }
        let method = self.endpoint.method;
        let complete = Complete {
            key: wanted.key.clone(),
            upload: upload.to_owned(),
            claim: method.whole(&parts, wanted.crc64),
            parts,
            method,
            bytes: wanted.bytes,
            overwrite,
        };
        match self.store.complete(complete).await {
            Ok(stored) => Ok((Completion::Done, Ok(stored))),
            Err(error) => {
                let outcome = match (&error, error.class()) {
                    (RemoteError::NoSuchUpload { .. }, _) => Completion::Gone,
                    (RemoteError::Exists { .. }, _) => Completion::Exists,
                    (RemoteError::Damaged { .. } | RemoteError::Refused { .. }, _) => Completion::Mismatch,
                    (_, Class::Permanent) => return Err(error),
                    _ => {
                        // Busy, silent or unclear: look, but not at once.
                        tokio::time::sleep(self.patience.pause_first).await;
                        Completion::Unknown
                    }
                };
                Ok((outcome, Err(error)))
            }
        }
    }
}

fn other_object(key: &str) -> String {
    format!("another object is under {key:?} already, and was left as it is")
}

/// The body no longer has the checksum of the source: memory is failing. The next round reads it again.
fn broken_here(key: &str) -> RemoteError {
    let message = "the body changed in memory".to_owned();
    RemoteError::Refused { operation: "store", key: key.to_owned(), status: 0, code: "Local".to_owned(), message }
}

/// Whether the server has no list of parts to give, or none that can be understood.
fn cannot_list(error: &RemoteError) -> bool {
    matches!(error, RemoteError::Refused { .. })
}

/// Whether an error concerns the whole run and not one object.
pub(super) fn ends_the_run(error: &RemoteError) -> bool {
    matches!(error, RemoteError::Auth { .. } | RemoteError::NoSuchBucket { .. } | RemoteError::Unreachable { .. })
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
