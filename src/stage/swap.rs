//! Volumes change while the run goes on: full ones are sealed beside the filling of others, further ones are brought.

use std::sync::Arc;

use crate::job::State;
use crate::stage::engine::{Engine, ToEngine, chain, spawn};
use crate::stage::rack::Wanted;
use crate::stage::shelf::Place;
use crate::stage::{Error, VolumeEvent, seal};
use crate::volume::SealReport;

impl Engine<'_> {
    /// Brings a further volume: the next that waits, or one that is asked for. When there is none, whoever waits is told.
    pub(super) fn next_volume(&mut self, refused: Option<String>) -> Result<(), Error> {
        for lane in self.shared.lanes.all() {
            if let Some(needs_bytes) = lane.take_too_large() {
                let event = VolumeEvent::TooSmall { capacity_bytes: lane.capacity_bytes, needs_bytes };
                self.rack.monitor.volume(lane.number(), &event);
            }
        }
        if !self.all_lanes_failed() {
            if let Some(lane) = self.rack.open_next(self.job) {
                self.take_part(lane);
                return Ok(());
            }
            if let Some(ask) = self.rack.next.clone().filter(|_| !self.shared.stop.is_set()) {
                let wanted = Wanted { pending: self.job.ledger()?.state(State::Pending), refused };
                let engine = self.shared.engine.clone();
                // A thread of its own: who is asked may take hours, and commits must be recorded meanwhile.
                return spawn("next volume", move || drop(engine.send(ToEngine::Place(ask(&wanted)))));
            }
        }
        self.shared.lanes.close();
        Ok(())
    }

    /// The answer to what was asked.
    pub(super) fn place(&mut self, place: Option<Place>) -> Result<(), Error> {
        let Some(place) = place else {
            self.shared.lanes.close();
            return Ok(());
        };
        match self.rack.open(self.job, &place) {
            Ok(Some(lane)) => {
                self.take_part(lane);
                Ok(())
            }
            Ok(None) => self.next_volume(Some(format!("{}: this volume is sealed already", place.path.display()))),
            Err(error) => self.next_volume(Some(chain(&error))),
        }
    }

    fn take_part(&mut self, lane: Arc<crate::stage::lane::Lane>) {
        self.writers_left += 1;
        self.shared.lanes.add(lane);
    }

    /// The writer of a volume has ended. If that was because nothing more fits, the volume is sealed at once.
    pub(super) fn lane_ended(&mut self, volume: u32) -> Result<(), Error> {
        let Some(lane) = self.shared.lanes.of(volume).filter(|lane| lane.is_full() && !lane.has_failed()) else {
            return Ok(());
        };
        self.rack.monitor.volume(volume, &VolumeEvent::Full);
        let (dir, world, run) = (self.job.dir().to_owned(), self.rack.world.clone(), Arc::clone(&self.rack.run));
        let (monitor, stop, engine) =
            (Arc::clone(&self.rack.monitor), self.shared.stop.clone(), self.shared.engine.clone());
        seal::record_staged(self.job, &world, &lane.volume)?;
        let key = self.job.signing_key().cloned();
        self.seals_left += 1;
        spawn("seal", move || {
            let result = seal::one(&dir, &world, &run, &lane.volume, key.as_deref(), &*monitor, &stop);
            drop(engine.send(ToEngine::Sealed(volume, result)));
        })
    }

    /// A volume that cannot be sealed ends the run with an error, but only after all others are safe.
    pub(super) fn seal_ended(&mut self, number: u32, result: Result<Option<SealReport>, Error>) -> Result<(), Error> {
        self.seals_left = self.seals_left.saturating_sub(1);
        let lane = self.shared.lanes.of(number).ok_or(Error::Engine("a seal of an unknown volume"))?;
        self.seals.take(self.job, &self.rack.world, &lane.volume, result, &*self.rack.monitor)
    }
}
