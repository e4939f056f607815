//! Sending: one object or part at a time, as often as it takes, until the server has proved it.
//!
//! Owns: what counts as proof, and what becomes of an object that is there already. Does not own: where bodies come from,
//! what is recorded. Invariants: a body is compared with the source's CRC-64 before every attempt; an object that is there
//! is left alone unless it may be replaced; a report is sent for whatever was begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel as channel;
use tokio::sync::oneshot;

use crate::digest::crc64;
use crate::ingest::bundle::Bundle;
use crate::ingest::flow::Flow;
use crate::ingest::remote::probe::{Endpoint, read_back};
use crate::ingest::remote::retry::{Patience, persist};
use crate::ingest::remote::upload::PartPlan;
use crate::ingest::remote::{Head, ObjectStore, RemoteError, Stored};
use crate::ingest::room::Seat;
use crate::ingest::wanted::{Replace, Wanted};
use crate::job::Effort;
use crate::sys::Clock;
use crate::sys::process::StopFlag;

mod multipart;

pub(super) use multipart::Upload;

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
    /// The server began an upload; its name is to be durable before `durable` is told.
    Begun { wanted: Arc<Wanted>, upload: String, durable: oneshot::Sender<()> },
    /// Nothing more can succeed.
    Fatal(RemoteError),
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
    /// Set when nobody records any more.
    pub(super) unheard: StopFlag,
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
}

fn other_object(key: &str) -> String {
    format!("another object is under {key:?} already, and was left as it is")
}

/// The body no longer has the checksum of the source: memory is failing. The next round reads it again.
fn broken_here(key: &str) -> RemoteError {
    let message = "the body changed in memory".to_owned();
    RemoteError::Refused { operation: "store", key: key.to_owned(), status: 0, code: "Local".to_owned(), message }
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
