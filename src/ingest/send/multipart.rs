//! Sending in parts: from the beginning of an upload, or its resumption, to its proven end.
//!
//! Owns: carrying out what the state machine of an upload asks for. Does not own: its decisions (`remote::upload`).
//! Invariants: no part is sent before the name of its upload is durable in the job; after an unknown outcome of a
//! completion the server is asked, never believed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OnceCell, oneshot};

use super::{Outcome, Report, Sender, Sent, broken_here, chain, other_object};
use crate::digest::crc64;
use crate::ingest::remote::probe::read_back;
use crate::ingest::remote::retry::persist;
use crate::ingest::remote::upload::{Action, Completion, Inspection, Obstacle, PartPlan, UploadState};
use crate::ingest::remote::{Class, Complete, ObjectStore, PutPart, RemoteError, SentPart, Stored};
use crate::ingest::room::Seat;
use crate::ingest::wanted::{Replace, Wanted};
use crate::sys::lock::lock;

/// How often is looked whether anybody records, while a record is waited for.
const UNHEARD_LOOK: Duration = Duration::from_millis(100);

/// An upload that several readers may feed.
#[derive(Debug)]
pub(in crate::ingest) struct Upload {
    pub(in crate::ingest) wanted: Arc<Wanted>,
    state: Mutex<UploadState>,
    /// Whether it could be begun, once that was tried.
    begun: OnceCell<bool>,
}

impl Upload {
    pub(in crate::ingest) fn new(wanted: Arc<Wanted>, state: UploadState) -> Self {
        Self { wanted, state: Mutex::new(state), begun: OnceCell::new() }
    }

    pub(in crate::ingest) fn state(&self) -> MutexGuard<'_, UploadState> {
        lock(&self.state)
    }
}

impl<S: ObjectStore> Sender<S> {
    /// Whether parts of an upload may be sent: it is begun, and its name is durable. Whoever asks first begins it, or lists
    /// what an earlier run sent of it; what becomes of that is reported once.
    pub(in crate::ingest) async fn begin(&self, upload: &Upload) -> bool {
        let begin = async {
            let Some(_turn) = self.flow.turn(&upload.wanted.key).await else { return false };
            let since = self.clock.monotonic();
            match self.start(upload).await {
                Ok(begun) => begun,
                Err(error) => {
                    self.report_object(&upload.wanted, Err(error), self.effort(since, &AtomicU32::new(0)));
                    false
                }
            }
        };
        *upload.begun.get_or_init(|| begin).await
    }

    async fn start(&self, upload: &Upload) -> Sent<bool> {
        let wanted = &upload.wanted;
        while !upload.state().is_started() {
            let (action, name) = {
                let mut state = upload.state();
                (state.next_action(), state.upload().unwrap_or_default().to_owned())
            };
            match action {
                Action::Create => {
                    let create = || self.store.create_upload(&wanted.key, self.endpoint.method, &wanted.metadata);
                    let created = persist(self.patience, wanted.entry, |_| create()).await?;
                    if !self.remember(wanted, &created).await {
                        return Ok(false);
                    }
                    upload.state().created(created);
                }
                Action::List => {
                    let list = persist(self.patience, wanted.entry, |_| self.store.list_parts(&wanted.key, &name));
                    match list.await {
                        Err(error) if cannot_list(&error) => upload.state().unlisted(),
                        listed => upload.state().listed(listed?),
                    }
                }
                Action::Inspect => {
                    let found = self.inspect(wanted).await?;
                    upload.state().inspected(found);
                }
                _ => break,
            }
        }
        Ok(true)
    }

    /// Waits until the name of an upload is durable. Without it nothing is sent: a part that nobody could find again would
    /// be paid for and lost.
    async fn remember(&self, wanted: &Arc<Wanted>, upload: &str) -> bool {
        let (durable, mut done) = oneshot::channel();
        self.report(Report::Begun { wanted: wanted.clone(), upload: upload.to_owned(), durable });
        loop {
            match tokio::time::timeout(UNHEARD_LOOK, &mut done).await {
                Ok(told) => return told.is_ok(),
                Err(_) if self.unheard.is_set() => return false,
                Err(_) => {}
            }
        }
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
    pub(in crate::ingest) async fn part(self: Arc<Self>, upload: Arc<Upload>, plan: PartPlan, body: Bytes, seat: Seat) {
        if !self.begin(&upload).await {
            return;
        }
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
    pub(in crate::ingest) async fn complete(self: Arc<Self>, upload: Arc<Upload>) {
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

/// Whether the server has no list of parts to give, or none that can be understood.
fn cannot_list(error: &RemoteError) -> bool {
    matches!(error, RemoteError::Refused { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::flow::Flow;
    use crate::ingest::remote::probe::Endpoint;
    use crate::ingest::remote::retry::Patience;
    use crate::ingest::remote::{Head, ListedPart, Metadata, Method, OpenUpload, Put};
    use crate::ingest::room::Room;
    use crate::sys::SystemClock;
    use crate::sys::process::StopFlag;

    /// A server that begins uploads and counts the parts that come; it does nothing else.
    struct Counting(Arc<AtomicU32>);

    fn no<T>() -> Result<T, RemoteError> {
        Err(RemoteError::NoSuchBucket { bucket: "none".to_owned() })
    }

    impl ObjectStore for Counting {
        async fn put(&self, _: Put) -> Sent<Stored> {
            no()
        }
        async fn head(&self, _: &str) -> Sent<Option<Head>> {
            no()
        }
        async fn get(&self, _: &str, _: u64, _: u64) -> Sent<Bytes> {
            no()
        }
        async fn delete(&self, _: &str) -> Sent<()> {
            no()
        }
        async fn create_upload(&self, _: &str, _: Method, _: &Metadata) -> Sent<String> {
            Ok("name".to_owned())
        }
        async fn put_part(&self, _: PutPart) -> Sent<SentPart> {
            self.0.fetch_add(1, Ordering::SeqCst);
            no()
        }
        async fn list_parts(&self, _: &str, _: &str) -> Sent<Option<Vec<ListedPart>>> {
            no()
        }
        async fn complete(&self, _: Complete) -> Sent<Stored> {
            no()
        }
        async fn abort(&self, _: &str, _: &str) -> Sent<()> {
            no()
        }
        async fn open_uploads(&self, _: &str) -> Sent<Vec<OpenUpload>> {
            no()
        }
    }

    const ENDPOINT: Endpoint = Endpoint {
        method: Method::FullObjectCrc64,
        conditional_put: true,
        conditional_complete: true,
        keeps_checksum: true,
        lists_checksums: true,
        parts_max: None,
        keeps_tags: None,
        path_style: None,
    };

    /// Sends one part of a new upload; its name is answered for by `answer`. Gives how many parts had come before the
    /// answer, and in the end.
    fn parts_sent(answer: impl FnOnce(oneshot::Sender<()>, &StopFlag)) -> (u32, u32) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (reports, heard) = crossbeam_channel::unbounded();
        let (count, clock) = (Arc::new(AtomicU32::new(0)), Arc::new(SystemClock::new()));
        let sender = Arc::new(Sender {
            store: Counting(count.clone()),
            endpoint: ENDPOINT,
            patience: Patience::default(),
            flow: Flow::new(4, None, clock.clone(), StopFlag::new()),
            clock,
            reports,
            unheard: StopFlag::new(),
        });
        let body = Bytes::from_static(b"part");
        let plan = PartPlan { number: 1, offset: 0, bytes: 4, crc64: crc64(&body) };
        let wanted = Arc::new(Wanted { key: "k".to_owned(), ..Wanted::default() });
        let upload = Arc::new(Upload::new(wanted, UploadState::new(vec![plan], None, Vec::new())));
        let seat = Room::new(1 << 20, Box::new(|| 4)).enter(4);
        runtime.block_on(async {
            let task = tokio::spawn(sender.clone().part(upload, plan, body, seat));
            let durable = loop {
                match heard.try_recv() {
                    Ok(Report::Begun { durable, upload, .. }) if upload == "name" => break durable,
                    Ok(other) => panic!("{other:?}"),
                    Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            };
            // Whatever does not wait has gone by then.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let before = count.load(Ordering::SeqCst);
            answer(durable, &sender.unheard);
            task.await.expect("the task ends");
            (before, count.load(Ordering::SeqCst))
        })
    }

    #[test]
    fn no_part_is_sent_before_the_name_of_its_upload_is_durable() {
        assert_eq!(parts_sent(|durable, _| durable.send(()).expect("somebody waits")), (0, 1));
    }

    #[test]
    fn no_part_is_sent_when_its_upload_could_not_be_recorded() {
        assert_eq!(parts_sent(|durable, _| drop(durable)), (0, 0));
        // Nor does anybody wait for a recorder that has ended and kept the question.
        let kept = std::cell::Cell::new(None);
        let unheard = |durable, unheard: &StopFlag| {
            kept.set(Some(durable));
            unheard.set();
        };
        assert_eq!(parts_sent(unheard), (0, 0));
    }
}
