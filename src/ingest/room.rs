//! Memory for bodies: who may hold how much, and who waits.
//!
//! Owns: the count of bytes that bodies hold between a volume and the server. Invariants: the count stays below the limit
//! while anything is on its way; when nothing is, the next body gets its room whatever its size, because nobody else
//! could give any back. So a part larger than the limit is sent alone, and readers never wait for each other.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

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

/// Buffers below this are not kept: the allocator is quick with them. Unit: bytes.
const KEPT_BYTES_MIN: usize = 1 << 20;

#[derive(Debug, Default)]
struct Used {
    /// Buffers of bodies that have left, for those to come: fresh memory costs more than the copy into it.
    spare: Vec<Vec<u8>>,
    spare_bytes: u64,
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

    /// A buffer of that length; what is in it is arbitrary.
    pub(super) fn buffer(&self, bytes: usize) -> Vec<u8> {
        let mut used = self.lock();
        if let Some(at) = used.spare.iter().position(|spare| spare.len() == bytes) {
            used.spare_bytes -= bytes as u64;
            return used.spare.swap_remove(at);
        }
        drop(used);
        vec![0; bytes]
    }

    /// The body in a buffer; when the last copy of it is gone, the buffer serves another one.
    pub(super) fn body(&self, buffer: Vec<u8>) -> Bytes {
        if buffer.len() < KEPT_BYTES_MIN {
            return Bytes::from(buffer);
        }
        Bytes::from_owner(Lent { room: self.clone(), buffer })
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut used = self.lock();
        let bytes = buffer.len() as u64;
        // With what is in use it stays within the limit.
        if used.bytes + used.spare_bytes + bytes <= self.0.limit_bytes {
            used.spare_bytes += bytes;
            used.spare.push(buffer);
        }
    }

    /// Waits for room for a body.
    pub(super) fn enter(&self, body_bytes: u64) -> Seat {
        let bytes = body_bytes.saturating_add(OVERHEAD_BYTES);
        let full = |used: &mut Used| used.bytes.saturating_add(bytes) > self.0.limit_bytes && used.leaving > 0;
        let mut used = self.0.freed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        used.bytes = used.bytes.saturating_add(bytes);
        while used.bytes + used.spare_bytes > self.0.limit_bytes {
            let Some(spare) = used.spare.pop() else { break };
            used.spare_bytes -= spare.len() as u64;
        }
        Seat { room: self.clone(), bytes, leaving: false }
    }
}

/// A buffer that comes back to its room.
struct Lent {
    room: Room,
    buffer: Vec<u8>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.room.give_back(std::mem::take(&mut self.buffer));
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
    fn a_buffer_serves_again_once_every_copy_of_its_body_is_gone() {
        let room = Room::new(16 << 20);
        let mut buffer = room.buffer(2 << 20);
        buffer[0] = 7;
        let body = room.body(buffer);
        let copy = body.clone();
        drop(body);
        assert_eq!((copy[0], room.lock().spare.len()), (7, 0));
        drop(copy);
        assert_eq!(room.lock().spare.len(), 1);
        assert_eq!(room.buffer(2 << 20)[0], 7, "it is the same memory, and not cleared");
        // Room is for bodies first.
        drop(room.body(room.buffer(8 << 20)));
        let seat = room.enter(12 << 20);
        assert_eq!(room.lock().spare.len(), 0);
        drop(seat);
    }

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
