//! The rack: which volumes a run has, which wait for their turn, and where a further one comes from.
//!
//! Owns: turning a place into a lane with its writer. Does not own: recognising and recovering volumes (`shelf`), when a
//! further one is needed (`lanes`). Callers: the engine.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::crypto::RunKey;
use crate::format::VolumeId;
use crate::job::{Count, Job};
use crate::stage::engine::ToEngine;
use crate::stage::lane::{Lane, LaneSetup};
use crate::stage::monitor::Monitor;
use crate::stage::shelf::{self, Place, Shelved};
use crate::stage::squeeze::Compression;
use crate::stage::wrap::Wrap;
use crate::stage::writer::{self, LaneWriter};
use crate::stage::{Error, VolumeEvent, reader};
use crate::sys::World;
use crate::volume::Volume;

/// What a further volume is wanted for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What is seen so far and not staged.
    pub pending: Count,
    /// Why the last place that was given could not be used.
    pub refused: Option<String>,
}

/// Asks for a place for a further volume; `None`: there is none. Called on a thread of its own.
pub type NextVolume = Arc<dyn Fn(&Wanted) -> Option<Place> + Send + Sync>;

/// The volumes of a run.
pub(super) struct Rack {
    pub(super) world: World,
    pub(super) run: Arc<RunKey>,
    /// Whom the run's key is wrapped for on each volume.
    pub(super) wrap: Wrap,
    pub(super) monitor: Arc<dyn Monitor>,
    pub(super) engine: Sender<ToEngine>,
    pub(super) pack_bytes_max: u64,
    pub(super) frame_bytes: u32,
    pub(super) compression: Compression,
    /// Whether volumes carry the program and the documents of the format.
    pub(super) carries: bool,
    pub(super) next: Option<NextVolume>,
    pub(super) waiting: VecDeque<Place>,
    pub(super) seen: HashSet<VolumeId>,
    /// Those that were opened, in this order.
    pub(super) volumes: Vec<Volume>,
}

impl Rack {
    /// Opens, recovers or makes the volume at a place, and starts its writer. `None`: it is sealed already.
    pub(super) fn open(&mut self, job: &mut Job, place: &Place) -> Result<Option<Arc<Lane>>, Error> {
        let shelved = shelf::open(job, self, place)?;
        if let Some(shelved) = shelved.as_ref().filter(|_| self.carries) {
            reader::carry(&shelved.volume)?;
        }
        shelved.map(|shelved| self.lane(shelved)).transpose()
    }

    /// Opens what waits: all at once, or only the first that takes something. An error here is the user's to mend.
    pub(super) fn open_first(&mut self, job: &mut Job, one_by_one: bool) -> Result<Vec<Arc<Lane>>, Error> {
        let mut lanes = Vec::new();
        while (!one_by_one || lanes.is_empty())
            && let Some(place) = self.waiting.pop_front()
        {
            let lane = self.open(job, &place)?;
            if lane.is_none() {
                self.monitor.message(&format!("{}: sealed, takes nothing more", place.path.display()));
            }
            lanes.extend(lane);
        }
        Ok(lanes)
    }

    /// Opens the next that waits; those that cannot be used are told and passed over.
    pub(super) fn open_next(&mut self, job: &mut Job) -> Option<Arc<Lane>> {
        while let Some(place) = self.waiting.pop_front() {
            match self.open(job, &place) {
                Ok(Some(lane)) => return Some(lane),
                Ok(None) => {}
                Err(error) => {
                    let reason = super::engine::chain(&error);
                    self.monitor.volume(0, &VolumeEvent::Refused { path: place.path.clone(), reason });
                }
            }
        }
        None
    }

    fn lane(&mut self, shelved: Shelved) -> Result<Arc<Lane>, Error> {
        self.volumes.push(shelved.volume.clone());
        let (to_writer, inbox) = crossbeam_channel::unbounded();
        let lane = Lane::new(LaneSetup {
            volume: shelved.volume,
            capacity_bytes: shelved.capacity_bytes,
            used_bytes: shelved.used_bytes,
            next_pack: shelved.next_pack,
            writer: to_writer,
            world: self.world.clone(),
            run: Arc::clone(&self.run),
            pack_bytes_max: self.pack_bytes_max,
            frame_bytes: self.frame_bytes,
            compression: self.compression,
        });
        let (number, tell, heard) = (lane.number(), self.engine.clone(), Arc::clone(&self.monitor));
        writer::spawn(LaneWriter::new(
            Arc::clone(&lane),
            inbox,
            move |message| drop(tell.send(ToEngine::Writer(message))),
            Box::new(move |bytes| heard.written(number, bytes)),
        ))
        .map_err(Error::Thread)?;
        Ok(lane)
    }
}
