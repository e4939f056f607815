//! Requests on their way: how many there are, and starting them from threads that block.
//!
//! Owns: the count of running tasks. Invariant: a task is counted before it starts and until its report is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use crate::ingest::Monitor;
use crate::ingest::bundle::Bundle;
use crate::ingest::remote::ObjectStore;
use crate::ingest::room::Seat;
use crate::ingest::send::{Sender, Upload};
use crate::ingest::source::Deliver;
use crate::ingest::wanted::Wanted;

/// Counts tasks.
#[derive(Debug, Clone, Default)]
pub(super) struct Tasks(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    running: AtomicU64,
    no_more: AtomicBool,
}

/// Counted while it lives.
#[derive(Debug)]
pub(super) struct Running(Arc<Counts>);

impl Tasks {
    pub(super) fn begin(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::AcqRel);
        Running(self.0.clone())
    }

    /// Nobody will start a task any more.
    pub(super) fn no_more(&self) {
        self.0.no_more.store(true, Ordering::Release);
    }

    /// Whether all tasks there will ever be have ended.
    pub(super) fn are_over(&self) -> bool {
        self.0.no_more.load(Ordering::Acquire) && self.0.running.load(Ordering::Acquire) == 0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Starts a task for every body.
pub(super) struct Spawner<'a, S> {
    pub(super) handle: &'a tokio::runtime::Handle,
    pub(super) sender: &'a Arc<Sender<S>>,
    pub(super) tasks: &'a Tasks,
    pub(super) monitor: &'a dyn Monitor,
}

impl<S: ObjectStore> Deliver for Spawner<'_, S> {
    fn whole(&self, wanted: &Arc<Wanted>, body: Bytes, seat: Seat) {
        let (sender, wanted, running) = (self.sender.clone(), wanted.clone(), self.tasks.begin());
        self.handle.spawn(async move {
            sender.whole(wanted, body, seat).await;
            drop(running);
        });
    }

    fn part(&self, upload: &Arc<Upload>, part: u32, body: Bytes, seat: Seat) {
        let Some(plan) = upload.state().part(part) else { return };
        let (sender, upload, running) = (self.sender.clone(), upload.clone(), self.tasks.begin());
        self.handle.spawn(async move {
            sender.part(upload, plan, body, seat).await;
            drop(running);
        });
    }

    fn bundle(&self, bundle: Bundle, seat: Seat) {
        let (sender, running) = (self.sender.clone(), self.tasks.begin());
        self.handle.spawn(async move {
            sender.bundle(bundle, seat).await;
            drop(running);
        });
    }

    fn read(&self, bytes: u64) {
        self.monitor.read(bytes);
    }
}
