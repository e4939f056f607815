//! The lanes of a run as they come and go, and those who wait for a further one.
//!
//! Owns: who gets which lane, and waiting when all are full. Does not own: where a further volume comes from (`engine`,
//! `rack`). Invariants: whoever waits here holds no room on any lane and no memory, so that full lanes can be closed and
//! sealed meanwhile; each time no lane has room, a further volume is asked for once; a volume too small for one file still
//! takes others, also when no further volume comes. Callers: workers, the engine.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::stage::lane::{Hold, Lane};
use crate::stage::worker::Halt;
use crate::sys::lock::lock;
use crate::sys::process::StopFlag;

/// How long a waiter sleeps before it looks at the wish to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Room asked for on a lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Worst case of the frames. Unit: bytes.
    pub(super) bytes: u64,
    /// Paths of the records. Unit: bytes.
    pub(super) path_bytes: u64,
    /// How many records.
    pub(super) records: u64,
}

#[derive(Default)]
struct State {
    open: Vec<Arc<Lane>>,
    is_asked: bool,
    is_closed: bool,
    is_abandoned: bool,
}

/// All lanes of a run.
#[derive(Default)]
pub(super) struct Lanes {
    state: Mutex<State>,
    changed: Condvar,
}

impl Lanes {
    /// A further volume takes part.
    pub(super) fn add(&self, lane: Arc<Lane>) {
        let mut state = lock(&self.state);
        state.open.push(lane);
        state.is_asked = false;
        self.changed.notify_all();
    }

    /// No further volume comes: whoever waits, or will, is told.
    pub(super) fn close(&self) {
        lock(&self.state).is_closed = true;
        self.changed.notify_all();
    }

    /// Nothing more is to be put anywhere.
    pub(super) fn abandon(&self) {
        lock(&self.state).is_abandoned = true;
        self.close();
    }

    /// Whether nothing more can be put anywhere: no further volume comes, and those at hand are full or have failed.
    pub(super) fn is_over(&self) -> bool {
        let state = lock(&self.state);
        state.is_abandoned || state.is_closed && state.open.iter().all(|lane| lane.is_out())
    }

    /// Whether somebody found no room and no further volume came.
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).is_closed
    }

    /// All that ever took part.
    pub(super) fn all(&self) -> Vec<Arc<Lane>> {
        lock(&self.state).open.clone()
    }

    /// The lane of that volume.
    pub(super) fn of(&self, volume: u32) -> Option<Arc<Lane>> {
        lock(&self.state).open.iter().find(|lane| lane.number() == volume).cloned()
    }

    /// Whether a volume waits for work.
    pub(super) fn has_idle(&self) -> bool {
        lock(&self.state).open.iter().any(|lane| !lane.is_out() && lane.backlog() == 0)
    }

    /// Claims room on the lane with the shortest queue that has it; `None` when no lane has.
    pub(super) fn try_hold(&self, room: Room) -> Option<Arc<Hold>> {
        let mut lanes = self.all();
        lanes.retain(|lane| !lane.is_out());
        lanes.sort_by_key(|lane| (lane.backlog(), lane.used_bytes()));
        lanes.iter().find_map(|lane| lane.hold(room.bytes, room.path_bytes, room.records))
    }

    /// Claims room; when no lane has it, asks for a further volume and waits for it.
    pub(super) fn hold(&self, room: Room, stop: &StopFlag, ask: impl Fn()) -> Result<Arc<Hold>, Halt> {
        loop {
            if let Some(hold) = self.try_hold(room) {
                return Ok(hold);
            }
            let mut state = lock(&self.state);
            if state.is_closed {
                return Err(Halt::NoVolume);
            }
            if stop.is_set() {
                return Err(Halt::Stopped);
            }
            let could = |lane: &Arc<Lane>| lane.could_hold(room.bytes, room.path_bytes, room.records);
            if state.open.iter().any(|lane| !lane.is_out() && could(lane)) {
                continue; // it came meanwhile
            }
            if !state.is_asked {
                state.is_asked = true;
                ask();
            }
            drop(self.changed.wait_timeout(state, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner));
        }
    }
}
