//! Extents and files whose frames are still with the cores: they become records when the last frame is sealed.
//!
//! ORDER: a record is put in line only after every frame it names has its ticket, so that the commit which takes the
//! record also covers the frames; the ENTRY of a file comes after all its extents are in line.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use crate::format::record::{Content, Extent, Piece, Record};
use crate::stage::engine::ToEngine;
use crate::stage::item::Item;
use crate::stage::lane::{Lane, Slot, worst_bytes};
use crate::stage::large::is_last;
use crate::stage::open_pack::Need;
use crate::stage::squeeze::Compressor;
use crate::stage::worker::{FRONT, Shared};
use crate::sys::lock::lock;
use crate::sys::pool::PooledBuf;

thread_local! {
    /// One compressor per core: making one costs more than many a frame.
    static COMPRESSOR: std::cell::RefCell<Compressor> = std::cell::RefCell::new(Compressor::new());
}

/// A file whose extents are being sealed.
pub(super) struct FileBuild {
    /// Extents that are not in line yet, and one for the reader.
    left: AtomicUsize,
    /// The pack of the latest extent, kept open for the ENTRY.
    slot: Mutex<Option<Arc<Slot>>>,
    /// The only extent of a file that has one: it must be committed together with the entry, since without states
    /// nothing could go on from it.
    only: Mutex<Option<Record>>,
    entry: Mutex<Option<Record>>,
}

impl FileBuild {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(1),
            slot: Mutex::default(),
            only: Mutex::default(),
            entry: Mutex::default(),
        })
    }

    /// Keeps the pack of the latest extent open.
    pub(super) fn keep(&self, slot: Arc<Slot>) {
        *lock(&self.slot) = Some(slot);
    }

    /// Lets go of the pack of the latest extent. Whoever waits for room must not hold any: others may wait for it.
    pub(super) fn release(&self) {
        *lock(&self.slot) = None;
    }

    /// The reader is done; the ENTRY goes in line once all extents are.
    pub(super) fn finish(self: &Arc<Self>, entry: Record, (shared, item): (&Arc<Shared>, &Item)) {
        *lock(&self.entry) = Some(entry);
        if lock(&self.slot).is_none() {
            // Nothing was left to write: the entry alone needs a place.
            let need = Need { bytes: 0, frames: 0, records: 1 };
            let hold = shared.hold(worst_bytes(0, 1), item.path.len() as u64, 1);
            let slot = hold.ok().and_then(|hold| {
                let lane: Arc<Lane> = Arc::clone(hold.lane());
                lane.slot(&hold, need).ok()
            });
            *lock(&self.slot) = slot.map(Arc::new);
        }
        self.one_less();
    }

    fn one_less(&self) {
        if is_last(&self.left)
            && let Some(entry) = lock(&self.entry).take()
            && let Some(slot) = lock(&self.slot).take()
        {
            slot.record(lock(&self.only).take().into_iter().chain([entry]));
        }
    }
}

/// An extent whose frames are being sealed.
pub(super) struct ExtentBuild {
    slot: Arc<Slot>,
    file: Arc<FileBuild>,
    /// Frames that are not sealed yet, and one for the reader.
    left: AtomicUsize,
    pieces: Mutex<Vec<Option<Piece>>>,
    record: Mutex<Option<Extent>>,
}

impl ExtentBuild {
    pub(super) fn new(slot: Arc<Slot>, file: Arc<FileBuild>) -> Arc<Self> {
        file.left.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        Arc::new(Self { slot, file, left: AtomicUsize::new(1), pieces: Mutex::default(), record: Mutex::default() })
    }

    /// Sends one frame's plain bytes to the cores.
    pub(super) fn dispatch(self: &Arc<Self>, shared: &Arc<Shared>, frame: PooledBuf, spare: PooledBuf, bytes: u64) {
        let at = {
            let mut pieces = lock(&self.pieces);
            pieces.push(None);
            pieces.len() - 1
        };
        self.left.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        let (build, shared_task) = (Arc::clone(self), Arc::clone(shared));
        shared.cpus.spawn_fifo(move || {
            debug_assert_eq!((frame.len() - FRONT) as u64, bytes);
            let slot = &build.slot;
            let sealed = COMPRESSOR.with_borrow_mut(|compressor| shared_task.seal(slot, compressor, frame, spare));
            match sealed {
                Ok(sealed) => {
                    let piece = Piece { frame: sealed.header.index, at: 0, bytes: sealed.data_plain_bytes };
                    lock(&build.pieces)[at] = Some(piece);
                    build.slot.send(sealed, bytes);
                    build.one_less();
                }
                // The extent never completes, and neither does the run.
                Err(error) => drop(shared_task.engine.send(ToEngine::Fatal(Box::new(error)))),
            }
        });
    }

    /// The reader is done with this extent; `None` when it needs no record.
    pub(super) fn finish(&self, record: Option<Extent>) {
        *lock(&self.record) = record;
        self.one_less();
    }

    fn one_less(&self) {
        if !is_last(&self.left) {
            return;
        }
        let pieces: Option<Vec<Piece>> = std::mem::take(&mut *lock(&self.pieces)).into_iter().collect();
        if let (Some(pieces), Some(record)) = (pieces, lock(&self.record).take()) {
            let is_only = record.states.is_none();
            let record = Record::Extent(Extent { content: Content::Stored(pieces), ..record });
            if is_only {
                *lock(&self.file.only) = Some(record);
            } else {
                self.slot.record([record]);
            }
        }
        self.file.one_less();
    }
}
