//! Workers: each takes a unit, reads it, and hands sealed frames and records to a lane.
//!
//! Owns: what all kinds of units share: the way to a lane, to memory, to the problem list. Invariants: a frame that fails
//! to seal fails the run, not the file; a file that fails to read is a problem, not the end.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::census;
use crate::digest::Crc64;
use crate::format::record::{Attribute, Entry, EntryState, Piece, Problem, ProblemCode, Record};
use crate::format::{FRAME_HEADER_BYTES, FrameKind, INNER_BYTES};
use crate::job::{Facts, Read};
use crate::stage::Error;
use crate::stage::engine::ToEngine;
use crate::stage::item::{Item, Unit};
use crate::stage::lane::{Hold, Slot};
use crate::stage::lanes::{Lanes, Room};
use crate::stage::monitor::Monitor;
use crate::stage::moving::{Moving, OnChange};
use crate::stage::open_pack::Need;
use crate::stage::squeeze::{Compressor, store};
use crate::stage::units::Units;
use crate::sys::Clock;
use crate::sys::pool::{BufferPool, PooledBuf};
use crate::sys::process::StopFlag;
use crate::sys::source::{self, Identity};
use crate::sys::throttle::Throttle;
use crate::volume::SealedFrame;

/// Room before the plain bytes in a frame buffer.
pub(super) const FRONT: usize = FRAME_HEADER_BYTES + INNER_BYTES;

/// What all workers of a run share.
pub(super) struct Shared {
    pub(super) lanes: Lanes,
    pub(super) pool: Arc<BufferPool>,
    pub(super) cpus: rayon::ThreadPool,
    pub(super) monitor: Arc<dyn Monitor>,
    pub(super) engine: Sender<ToEngine>,
    pub(super) stop: StopFlag,
    pub(super) frame_bytes: u32,
    pub(super) owners: crate::sys::owners::Owners,
    pub(super) moving: Moving,
    /// Ceiling on reading at the source.
    pub(super) throttle: Option<Throttle>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Why a unit was not staged. Not an error of the run by itself.
pub(super) enum Halt {
    /// No lane takes anything more.
    NoVolume,
    /// The user asked to stop.
    Stopped,
    /// The run cannot go on.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Shared {
    /// Whether workers should take no more units.
    pub(super) fn is_over(&self) -> bool {
        self.stop.is_set() || self.lanes.is_over()
    }

    /// Claims room, and waits for a further volume when all are full. Whoever calls this holds neither room nor memory.
    pub(super) fn hold(&self, bytes: u64, path_bytes: u64, records: u64) -> Result<Arc<Hold>, Halt> {
        let ask = || drop(self.engine.send(ToEngine::NeedVolume));
        self.lanes.hold(Room { bytes, path_bytes, records }, &self.stop, ask)
    }

    /// Puts a problem on record.
    pub(super) fn problem(&self, item: &Item, code: ProblemCode, error: Option<&io::Error>, text: &str) {
        let errno = error.and_then(io::Error::raw_os_error).and_then(|errno| u32::try_from(errno).ok());
        let text = error.map_or_else(|| text.to_owned(), |error| format!("{text}: {error}"));
        let problem = Problem { id: item.id, code, errno: errno.unwrap_or_default(), path: item.path.clone(), text };
        self.monitor.problem(&problem);
        let _ = self.engine.send(ToEngine::Problem(problem)); // an engine that ended has said why
    }

    /// Bytes were read at the source: tells, and waits while a ceiling on the rate asks for it.
    pub(super) fn paced(&self, bytes: u64) {
        self.monitor.read(bytes);
        if let Some(throttle) = &self.throttle {
            throttle.wait(bytes, &*self.clock, || self.stop.is_set());
        }
    }

    /// What the rule says of a file that changed in every reading; `true`: it is staged as it was read last.
    pub(super) fn takes_changed(&self, item: &Item) -> bool {
        let readings = self.moving.readings_max();
        let text = format!("changed in each of {readings} readings; run again when it is at rest");
        match self.moving.of(&item.path) {
            OnChange::Accept => true,
            OnChange::Warn => {
                // Only told: the record of the entry itself says that it changed.
                let (code, path) = (ProblemCode::Changed, item.path.clone());
                let text = format!("{text}; staged as it was read last");
                self.monitor.problem(&Problem { id: item.id, code, errno: 0, path, text });
                true
            }
            OnChange::Fail => {
                self.problem(item, ProblemCode::Changed, None, &text);
                false
            }
        }
    }

    /// Extended attributes and birth time, as the record has them. What cannot be read is a problem; the content is not
    /// held up by it.
    pub(super) fn attributes(
        &self,
        item: &Item,
        xattrs: io::Result<Vec<source::Xattr>>,
        identity: &Identity,
    ) -> Vec<Attribute> {
        let xattrs = xattrs.unwrap_or_else(|error| {
            self.problem(item, ProblemCode::Metadata, Some(&error), "its extended attributes cannot be read");
            Vec::new()
        });
        let mut attributes: Vec<Attribute> =
            xattrs.into_iter().map(|xattr| Attribute::Xattr { name: xattr.name, value: xattr.value }).collect();
        attributes.extend(census::birth(identity));
        attributes
    }

    /// What an I/O error at the source means for the entry.
    pub(super) fn unreadable(&self, item: &Item, what: &str, error: &io::Error) {
        let code = match error.kind() {
            io::ErrorKind::NotFound => ProblemCode::Vanished,
            _ => ProblemCode::Unreadable,
        };
        self.problem(item, code, Some(error), what);
    }

    /// Compresses if it pays, and seals. `frame` holds room and plain bytes; `spare` is an empty buffer.
    pub(super) fn seal(
        &self,
        slot: &Slot,
        worker: &mut Compressor,
        mut frame: PooledBuf,
        mut spare: PooledBuf,
    ) -> Result<SealedFrame, Error> {
        let data_plain_bytes = u32::try_from(frame.len() - FRONT).expect("a frame's plain bytes are at most 16 MiB");
        let mut bytes = if slot.squeeze().compress(worker, &frame, &mut spare) {
            spare
        } else {
            store(&mut frame);
            frame
        };
        // WHY the ticket last: from here to the writer nothing waits, so the order of tickets is nearly the order of
        // arrival, and the writer's queue of early frames stays short.
        let key = &slot.pack.sealing;
        let ticket = key.ticket()?;
        let header = key.seal(ticket, FrameKind::Data, &mut bytes)?;
        Ok(SealedFrame { header, bytes, data_plain_bytes, record_count: 0 })
    }

    /// The entry's facts as they are now, extended attributes included.
    pub(super) fn facts_now(&self, item: &Item, identity: &Identity, attributes: Vec<Attribute>) -> Facts {
        let (entry_type, target) = (item.facts.entry_type, item.facts.target.clone());
        let now = census::facts(identity, entry_type, item.facts.link_id, target);
        census::complete(Facts { rdev: item.facts.rdev, ..now }, &self.owners, attributes)
    }
}

/// The ENTRY record of an item that was read.
pub(super) fn entry(item: &Item, facts: &Facts, read: &Read) -> Entry {
    facts.to_record(item.id, item.path.clone(), item.link_path.clone(), read)
}

/// One small file that was read into a shared frame.
pub(super) struct Taken {
    pub(super) item: Item,
    pub(super) facts: Facts,
    pub(super) read: Read,
    pub(super) crc64: Crc64,
    pub(super) piece: Piece,
}

/// Takes units until there are none.
pub(super) fn run(shared: &Arc<Shared>, units: Units) {
    let mut compressor = Compressor::new();
    for unit in units {
        if shared.is_over() {
            continue; // emptied, so that the engine never waits on a full queue
        }
        let outcome = match unit {
            Unit::Bare(items) => bare(shared, items),
            Unit::Compare(all) => super::compare::run(shared, all),
            Unit::Small(items) => super::small::stage(shared, &mut compressor, items),
            Unit::Large(item, resume) => super::large::stage(shared, *item, resume.map(|point| *point)),
        };
        if let Err(Halt::Failed(error)) = outcome {
            let _ = shared.engine.send(ToEngine::Fatal(Box::new(error)));
        }
    }
}

/// Entries without content: records only.
fn bare(shared: &Shared, items: Vec<Item>) -> Result<(), Halt> {
    let path_bytes = items.iter().map(|item| (item.path.len() + item.facts.target.len()) as u64).sum();
    let hold = shared.hold(0, path_bytes, items.len() as u64)?;
    let need = Need { bytes: 0, frames: 0, records: items.len() as u64 };
    let lane = Arc::clone(hold.lane());
    let slot = lane.slot(&hold, need)?;
    let mut records = Vec::with_capacity(items.len());
    for item in items {
        let identity = match source::identity(&item.place) {
            Ok(identity) => identity,
            Err(error) => {
                shared.unreadable(&item, "cannot be looked at", &error);
                continue;
            }
        };
        let attributes = shared.attributes(&item, source::xattrs_of_path(&item.place), &identity);
        let facts = shared.facts_now(&item, &identity, attributes);
        let read = Read::nothing(item.generation);
        records.push(Record::Entry(entry(&item, &facts, &read)));
    }
    slot.record(records);
    Ok(())
}

/// Stable or changed, for the record.
pub(super) fn state(is_stable: bool) -> EntryState {
    if is_stable { EntryState::Stable } else { EntryState::Changed }
}

/// For messages.
pub(super) fn shown(item: &Item) -> String {
    crate::format::path::escape(item.place.as_os_str().as_bytes())
}
