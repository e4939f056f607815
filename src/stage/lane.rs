//! A lane: one volume being filled, as its workers see it. The writer's side is in `writer.rs`.
//!
//! Owns: which pack is open, how much of the volume is spoken for. Invariants: bytes sealed plus bytes held never exceed
//! the capacity less what the seal will need; an extent's frames all go to one pack; a pack is closed only when nobody
//! may still put frames into it. All sizes are worst cases until a frame is sealed, then exact.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::crypto::RunKey;
use crate::format::record::Record;
use crate::format::{FRAME_ALIGN, FRAME_HEADER_BYTES, INNER_BYTES, PackKind, TAG_BYTES, padded_len, stored_len};
use crate::stage::open_pack::{Need, OpenPack, PACK_OVERHEAD_BYTES};
use crate::stage::squeeze::{Compression, Squeeze};
use crate::sys::lock::lock;
use crate::sys::{Access, World};
use crate::volume::{PackParams, PackWriter, SealedFrame, Volume, pack_path};

/// A record's share of its pack and of `MANIFEST` together, beyond its path; measured 2 x 130 bytes compressed for small
/// files, taken generously. Unit: bytes.
const RECORD_BYTES: u64 = 300;

/// To the writer of a lane.
pub(super) enum ToWriter {
    /// A new pack.
    Open(Box<PackWriter>, Arc<OpenPack>),
    /// A frame for the pack of that number.
    Frame(u32, SealedFrame),
    /// A pack takes nothing new; close it when it is quiet.
    Close(u32),
    /// A pack may have become quiet, or a commit is recorded.
    Look,
    /// No more packs come: close all, then end. May come twice.
    Finish,
}

struct LaneState {
    current: Option<Arc<OpenPack>>,
    next_pack: u32,
    is_full: bool,
}

/// One volume being filled.
pub(super) struct Lane {
    pub(super) volume: Volume,
    pub(super) capacity_bytes: u64,
    pub(super) writer: Sender<ToWriter>,
    world: World,
    run: Arc<RunKey>,
    pack_bytes_max: u64,
    frame_bytes: u32,
    /// Level of compression, by the slack of this drive.
    squeeze: Squeeze,
    state: Mutex<LaneState>,
    sealed_bytes: AtomicU64,
    held_bytes: AtomicU64,
    /// The largest room that was asked for and that not even the empty volume has; 0 when told. Unit: bytes.
    too_large_bytes: AtomicU64,
    /// Holds that somebody still has. A full lane is given to its writer to be closed when the last one goes.
    holds: AtomicU64,
    failed: AtomicBool,
    released: Condvar,
    /// Frames on their way to the writer. Unit: bytes.
    queued_bytes: AtomicU64,
    /// Whether the writer told of a commit that the job database does not have yet.
    is_unrecorded: AtomicBool,
    /// Share of the last stretch in which the writer was at work, in percent.
    busy_percent: AtomicU64,
}

/// What a lane needs to be made.
pub(super) struct LaneSetup {
    pub(super) volume: Volume,
    pub(super) capacity_bytes: u64,
    pub(super) used_bytes: u64,
    pub(super) next_pack: u32,
    pub(super) writer: Sender<ToWriter>,
    pub(super) world: World,
    pub(super) run: Arc<RunKey>,
    pub(super) pack_bytes_max: u64,
    pub(super) frame_bytes: u32,
    pub(super) compression: Compression,
}

/// A claim on a lane's capacity.
pub(super) struct Hold {
    lane: Arc<Lane>,
    bytes: AtomicU64,
}

/// The right to put frames and records into one pack.
pub(super) struct Slot {
    pub(super) pack: Arc<OpenPack>,
    hold: Arc<Hold>,
}

/// What records and their paths take, in their pack and in `MANIFEST` together. Unit: bytes.
pub(super) fn record_bytes(path_bytes: u64, records: u64) -> u64 {
    records * RECORD_BYTES + path_bytes * 2
}

/// What a claim takes at most, in a pack of its own. Unit: bytes.
fn claim_bytes(bytes: u64, path_bytes: u64, records: u64) -> u64 {
    bytes + record_bytes(path_bytes, records) + PACK_OVERHEAD_BYTES
}

/// Worst case of sealing `plain_bytes` in `frames` frames. Unit: bytes.
pub(super) fn worst_bytes(plain_bytes: u64, frames: u64) -> u64 {
    plain_bytes + frames * (FRAME_HEADER_BYTES + INNER_BYTES + TAG_BYTES) as u64 + frames * FRAME_ALIGN
}

impl Lane {
    pub(super) fn new(setup: LaneSetup) -> Arc<Self> {
        Arc::new(Self {
            volume: setup.volume,
            capacity_bytes: setup.capacity_bytes,
            writer: setup.writer,
            world: setup.world,
            run: setup.run,
            pack_bytes_max: setup.pack_bytes_max,
            frame_bytes: setup.frame_bytes,
            squeeze: Squeeze::new(setup.compression),
            state: Mutex::new(LaneState { current: None, next_pack: setup.next_pack, is_full: false }),
            sealed_bytes: AtomicU64::new(setup.used_bytes),
            held_bytes: AtomicU64::new(0),
            too_large_bytes: AtomicU64::new(0),
            holds: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            released: Condvar::new(),
            queued_bytes: AtomicU64::new(0),
            is_unrecorded: AtomicBool::new(false),
            busy_percent: AtomicU64::new(0),
        })
    }

    pub(super) fn number(&self) -> u32 {
        self.volume.header().number
    }

    pub(super) fn run(&self) -> &RunKey {
        &self.run
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    /// Whether it takes nothing more, in this run or ever.
    pub(super) fn is_out(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || lock(&self.state).is_full
    }

    /// Whether nothing more fits. Once so, it stays so.
    pub(super) fn is_full(&self) -> bool {
        lock(&self.state).is_full
    }

    /// The writer is about to tell of a commit.
    pub(super) fn committed(&self) {
        self.is_unrecorded.store(true, Ordering::Release);
    }

    /// The job database has recorded the last commit. WHY not a message: it would wait behind the frames in the queue, and
    /// the next commit with it.
    pub(super) fn recorded(&self) {
        self.is_unrecorded.store(false, Ordering::Release);
        let _ = self.writer.send(ToWriter::Look);
    }

    /// Whether the job database does not have the last commit yet.
    pub(super) fn is_unrecorded(&self) -> bool {
        self.is_unrecorded.load(Ordering::Acquire)
    }

    /// Frames on their way to the writer. Unit: bytes.
    pub(super) fn queued_bytes(&self) -> u64 {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// The writer has a frame of that length.
    pub(super) fn arrived(&self, bytes: u64) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.released.notify_all();
    }

    /// The writer was at work for `busy` of `total`.
    pub(super) fn heard(&self, busy: Duration, total: Duration) {
        let percent = busy.as_micros() * 100 / total.as_micros().max(1);
        self.busy_percent.store(u64::try_from(percent).unwrap_or(100), Ordering::Relaxed);
        self.squeeze.heard(busy, total);
    }

    /// So much of the processors is in use, in percent.
    pub(super) fn heard_of_cpu(&self, percent: u64) {
        self.squeeze.heard_of_cpu(percent);
    }

    /// How busy the drive was lately, in percent.
    pub(super) fn busy_percent(&self) -> u64 {
        self.busy_percent.load(Ordering::Relaxed)
    }

    /// Bytes sealed and spoken for.
    pub(super) fn used_bytes(&self) -> u64 {
        self.sealed_bytes.load(Ordering::Relaxed) + self.held_bytes.load(Ordering::Relaxed)
    }

    /// Frames that wait for the writer: the length of its queue.
    pub(super) fn backlog(&self) -> usize {
        self.writer.len()
    }

    /// Whether so much would fit onto the volume if it were empty.
    pub(super) fn could_hold(&self, bytes: u64, path_bytes: u64, records: u64) -> bool {
        claim_bytes(bytes, path_bytes, records) <= self.capacity_bytes
    }

    /// The largest room that was asked for in vain since the last question, on a volume that never had it. Unit: bytes.
    pub(super) fn take_too_large(&self) -> Option<u64> {
        Some(self.too_large_bytes.swap(0, Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Claims room for `bytes` and `records`. Waits while claims of others may still turn out smaller than their worst
    /// case; `None` once it is certain that this does not fit, which makes the lane full: unless it would not even fit onto
    /// the empty volume, which says nothing about what else does.
    pub(super) fn hold(self: &Arc<Self>, bytes: u64, path_bytes: u64, records: u64) -> Option<Arc<Hold>> {
        if !self.could_hold(bytes, path_bytes, records) {
            self.too_large_bytes.fetch_max(bytes, Ordering::Relaxed);
            return None;
        }
        let bytes = claim_bytes(bytes, path_bytes, records);
        let mut state = lock(&self.state);
        loop {
            if state.is_full || self.has_failed() {
                return None;
            }
            if self.used_bytes() + bytes <= self.capacity_bytes {
                self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.holds.fetch_add(1, Ordering::AcqRel);
                return Some(Arc::new(Hold { lane: Arc::clone(self), bytes: AtomicU64::new(bytes) }));
            }
            if self.held_bytes.load(Ordering::Relaxed) == 0 {
                state.is_full = true;
                if self.holds.load(Ordering::Acquire) == 0 {
                    self.finish();
                }
                return None;
            }
            let wait = Duration::from_millis(50);
            state = self.released.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes room in the open pack for frames whose bytes are held; opens a new pack if this one has not enough.
    ///
    /// # Errors
    /// When a new pack cannot be created.
    pub(super) fn slot(self: &Arc<Self>, hold: &Arc<Hold>, need: Need) -> Result<Slot, crate::volume::Error> {
        let mut state = lock(&self.state);
        let fits = state.current.as_ref().is_some_and(|pack| pack.has_room(need, self.pack_bytes_max));
        if !fits {
            if let Some(old) = state.current.take() {
                let _ = self.writer.send(ToWriter::Close(old.number)); // a writer that ended has said why
            }
            state.current = Some(self.open_pack(state.next_pack)?);
            state.next_pack += 1;
        }
        let pack = Arc::clone(state.current.as_ref().expect("just opened"));
        pack.enter(need);
        Ok(Slot { pack, hold: Arc::clone(hold) })
    }

    fn open_pack(&self, number: u32) -> Result<Arc<OpenPack>, crate::volume::Error> {
        let header = self.volume.header();
        let created_ns = u64::try_from(self.world.clock.now().as_nanosecond()).unwrap_or_default();
        let params = PackParams {
            kind: PackKind::Pack,
            job: header.job,
            volume: header.volume,
            volume_number: header.number,
            number,
            frame_plain_bytes_max: self.frame_bytes,
            created_ns,
            access: Access::Direct,
        };
        let path = pack_path(self.volume.root(), number);
        let fs = Arc::clone(self.volume.fs());
        let writer = PackWriter::create(fs, path, &params, &self.run, &*self.world.random)?;
        let pack = OpenPack::new(number, Arc::clone(writer.sealing()));
        let _ = self.writer.send(ToWriter::Open(Box::new(writer), Arc::clone(&pack)));
        Ok(pack)
    }

    /// No more slots are given out by anybody: the writer may close everything.
    pub(super) fn finish(&self) {
        let _ = self.writer.send(ToWriter::Finish);
    }
}

impl Slot {
    /// How the volume's frames are compressed at present.
    pub(super) fn squeeze(&self) -> &Squeeze {
        &self.hold.lane.squeeze
    }

    /// Hands a sealed frame to the writer; its exact size takes the place of its worst case.
    pub(super) fn send(&self, frame: SealedFrame, plain_bytes: u64) {
        let lane = &self.hold.lane;
        let exact = padded_len(stored_len(frame.header.body_bytes));
        lane.sealed_bytes.fetch_add(exact, Ordering::Relaxed);
        self.hold.give_back(worst_bytes(plain_bytes, 1));
        let unused = worst_bytes(plain_bytes, 1).saturating_sub(exact);
        self.pack.take_less(unused);
        lane.queued_bytes.fetch_add(frame.bytes.len() as u64, Ordering::Relaxed);
        let _ = lane.writer.send(ToWriter::Frame(self.pack.number, frame));
    }

    /// Puts records in line for the next commit. Their frames must have been sealed.
    pub(super) fn record(&self, records: impl IntoIterator<Item = Record>) {
        let added = self.pack.record(records.into_iter().collect()) as u64;
        self.hold.lane.sealed_bytes.fetch_add(added * RECORD_BYTES, Ordering::Relaxed);
        self.hold.give_back(added * RECORD_BYTES);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.pack.leave() {
            let _ = self.hold.lane.writer.send(ToWriter::Look);
        }
    }
}

impl Hold {
    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    fn give_back(&self, bytes: u64) {
        let mut given = 0;
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            given = held.min(bytes);
            Some(held - given)
        });
        self.lane.held_bytes.fetch_sub(given, Ordering::Relaxed);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let rest = self.bytes.load(Ordering::Relaxed);
        self.lane.held_bytes.fetch_sub(rest, Ordering::Relaxed);
        // ORDER: the count goes down under the lock, so that either this sees that the lane is full, or who finds it full
        // sees that nobody holds anything.
        let state = lock(&self.lane.state);
        let is_last = self.lane.holds.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last && state.is_full {
            self.lane.finish();
        }
        drop(state);
        self.lane.released.notify_all();
    }
}
