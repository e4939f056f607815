//! A pack that takes frames: who may still put some into it, how much is planned for it, which records wait for its commit.
//!
//! Invariants: it is quiet once nobody has a slot in it; what is planned is a worst case until a frame is sealed, and never
//! less than what will be in it. Which pack is the open one is the lane's business, closing it the writer's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::crypto::SealingKey;
use crate::format::record::Record;
use crate::sys::lock::lock;

/// Records after which a pack is closed. Far below the format's limit, so that a reader's memory stays small.
const PACK_RECORDS_MAX: u64 = 1 << 17;
/// Frames after which a pack is closed.
const PACK_FRAMES_MAX: u64 = 1 << 18;
/// Records that share a batch when they come one at a time.
const BATCH_RECORDS: usize = 64;
/// Header, footer, commits and padding of one pack, generously. Unit: bytes.
pub(super) const PACK_OVERHEAD_BYTES: u64 = 64 << 10;

/// What a slot is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    /// Worst case of the frames. Unit: bytes.
    pub(super) bytes: u64,
    /// How many frames.
    pub(super) frames: u64,
    /// How many records.
    pub(super) records: u64,
}

/// A pack that takes frames.
pub(super) struct OpenPack {
    pub(super) number: u32,
    pub(super) sealing: Arc<SealingKey>,
    /// What is sealed and waits for a commit.
    records: Mutex<Waiting>,
    /// Slots that may still put something into it.
    users: AtomicU64,
    planned_bytes: AtomicU64,
    planned_frames: AtomicU64,
    planned_records: AtomicU64,
}

impl OpenPack {
    pub(super) fn new(number: u32, sealing: Arc<SealingKey>) -> Arc<Self> {
        Arc::new(Self {
            number,
            sealing,
            records: Mutex::default(),
            users: AtomicU64::new(0),
            planned_bytes: AtomicU64::new(PACK_OVERHEAD_BYTES),
            planned_frames: AtomicU64::new(0),
            planned_records: AtomicU64::new(0),
        })
    }

    /// Whether so much more fits into a pack of at most `pack_bytes_max`.
    pub(super) fn has_room(&self, need: Need, pack_bytes_max: u64) -> bool {
        self.planned_bytes.load(Ordering::Relaxed) + need.bytes <= pack_bytes_max
            && self.planned_frames.load(Ordering::Relaxed) + need.frames <= PACK_FRAMES_MAX
            && self.planned_records.load(Ordering::Relaxed) + need.records <= PACK_RECORDS_MAX
    }

    /// Somebody will put so much into it at most.
    pub(super) fn enter(&self, need: Need) {
        self.users.fetch_add(1, Ordering::AcqRel);
        self.planned_bytes.fetch_add(need.bytes, Ordering::Relaxed);
        self.planned_frames.fetch_add(need.frames, Ordering::Relaxed);
        self.planned_records.fetch_add(need.records, Ordering::Relaxed);
    }

    /// A frame turned out so much smaller than its worst case.
    pub(super) fn take_less(&self, unused_bytes: u64) {
        self.planned_bytes.fetch_sub(unused_bytes, Ordering::Relaxed);
    }

    /// Somebody has put everything into it. Returns whether it is quiet now.
    pub(super) fn leave(&self) -> bool {
        self.users.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Puts records in line for the next commit, and returns how many.
    pub(super) fn record(&self, records: Vec<Record>) -> usize {
        lock(&self.records).add(records)
    }

    /// Whether nobody may put frames or records into it any more.
    pub(super) fn is_quiet(&self) -> bool {
        self.users.load(Ordering::Acquire) == 0
    }

    /// Takes the records that wait for a commit. All frames they name have their tickets.
    pub(super) fn take_records(&self) -> Vec<Vec<Record>> {
        std::mem::take(&mut *lock(&self.records)).batches
    }

    /// Records waiting.
    pub(super) fn records_waiting(&self) -> usize {
        lock(&self.records).count
    }
}

/// Records that wait, in batches as they came.
#[derive(Default)]
struct Waiting {
    batches: Vec<Vec<Record>>,
    count: usize,
}

impl Waiting {
    /// Takes more, and returns how many.
    fn add(&mut self, records: Vec<Record>) -> usize {
        let added = records.len();
        self.count += added;
        match self.batches.last_mut() {
            // Those that come one at a time share a batch.
            Some(last) if added < BATCH_RECORDS && last.len() + added <= BATCH_RECORDS => last.extend(records),
            _ => self.batches.push(records),
        }
        added
    }
}
