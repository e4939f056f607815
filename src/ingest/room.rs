//! Memory for bodies: who may hold how much, and who waits.
//!
//! Owns: the count of bytes that bodies hold between a volume and the server. Invariants: the count stays below the limit
//! while anything is on its way; when nothing is, the next body gets its room whatever its size, because nobody else
//! could give any back. So a part larger than the limit is sent alone, and readers never wait for each other.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What one body costs beside its bytes: the request around it. Unit: bytes.
const OVERHEAD_BYTES: u64 = 32 << 10;

/// The room for all bodies of a run.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit_bytes: u64,
    used: Mutex<Used>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Used {
    bytes: u64,
    /// Seats whose body is complete and on its way: they will be given back without anybody's help.
    leaving: u64,
}

/// The room of one body; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Seat {
    room: Room,
    bytes: u64,
    leaving: bool,
}

impl Room {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self(Arc::new(Shared { limit_bytes, used: Mutex::default(), freed: Condvar::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room for a body.
    pub(super) fn enter(&self, body_bytes: u64) -> Seat {
        let bytes = body_bytes.saturating_add(OVERHEAD_BYTES);
        let full = |used: &mut Used| used.bytes.saturating_add(bytes) > self.0.limit_bytes && used.leaving > 0;
        let mut used = self.0.freed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        used.bytes = used.bytes.saturating_add(bytes);
        Seat { room: self.clone(), bytes, leaving: false }
    }
}

impl Seat {
    /// The body is complete: from now on it leaves by itself.
    pub(super) fn leave(&mut self) {
        if !self.leaving {
            self.leaving = true;
            self.room.lock().leaving += 1;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut used = self.room.lock();
        used.bytes -= self.bytes;
        used.leaving -= u64::from(self.leaving);
        drop(used);
        self.room.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_beyond_the_limit_waits_for_those_on_their_way_and_only_for_them() {
        let room = Room::new(1 << 20);
        let mut first = room.enter(900 << 10);
        let open = room.enter(900 << 10); // nobody is on the way, so nobody could make room
        first.leave();
        let waiting = std::thread::spawn({
            let room = room.clone();
            move || room.enter(900 << 10)
        });
        drop(first);
        let third = waiting.join().expect("no panic");
        assert_eq!(room.lock().bytes, open.bytes + third.bytes);
        drop((open, third));
        let used = room.lock();
        assert_eq!((used.bytes, used.leaving), (0, 0));
    }
}
