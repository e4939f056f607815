//! Memory for bodies: who may hold how much, and who waits.
//!
//! Owns: the count of bytes that bodies hold between a volume and the server. Invariants: the count stays below the limit
//! while anything is on its way; when nothing is, the next body gets its room whatever its size, because nobody else
//! could give any back. So a part larger than the limit is sent alone, and readers never wait for each other.
//!
//! Below the limit no more is read ahead than keeps the requests busy. Memory that merely waits is not free: a body that
//! finds a buffer of one that has left costs half as much as one that is written into fresh pages (beside a server on the
//! same machine 1.8 instead of 2.3 CPU seconds per GB).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::sys::lock::lock;

/// What one body costs beside its bytes: the request around it. Unit: bytes.
const OVERHEAD_BYTES: u64 = 32 << 10;

/// What may be ready beyond the bodies of all requests: what readers open at once, of two volumes twice. Unit: bytes.
const AHEAD_BYTES: u64 = 32 << 20;

/// The room for all bodies of a run.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Shared>);

/// How many requests may be on their way at present.
pub(super) type Requests = Box<dyn Fn() -> usize + Send + Sync>;

struct Shared {
    limit_bytes: u64,
    requests: Requests,
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
    leaving_bytes: u64,
    /// The largest body so far.
    largest_bytes: u64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("limit_bytes", &self.limit_bytes).field("used", &self.used).finish_non_exhaustive()
    }
}

impl Used {
    /// Whether a body of `bytes` has to wait: there is no memory for it, or enough is on its way already. Never when
    /// nothing leaves.
    fn is_full(&self, bytes: u64, limit_bytes: u64, requests: usize) -> bool {
        let busy = (requests as u64).saturating_mul(self.largest_bytes).saturating_add(AHEAD_BYTES);
        self.leaving > 0 && (self.bytes.saturating_add(bytes) > limit_bytes || self.leaving_bytes > busy)
    }
}

/// The room of one body, or of several that share their memory; when the last copy is dropped, it is given back.
#[derive(Debug, Clone)]
pub(super) struct Seat(Arc<Held>);

#[derive(Debug)]
struct Held {
    room: Room,
    bytes: u64,
    leaving: AtomicBool,
}

impl Room {
    pub(super) fn new(limit_bytes: u64, requests: Requests) -> Self {
        Self(Arc::new(Shared { limit_bytes, requests, used: Mutex::default(), freed: Condvar::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        lock(&self.0.used)
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
        let mut used = self.lock();
        used.largest_bytes = used.largest_bytes.max(body_bytes.saturating_add(OVERHEAD_BYTES));
        drop(used);
        self.enter_shared(body_bytes)
    }

    /// Waits for room for memory that many small bodies share. No request needs all of it.
    pub(super) fn enter_shared(&self, bytes: u64) -> Seat {
        let bytes = bytes.saturating_add(OVERHEAD_BYTES);
        let full = |used: &mut Used| used.is_full(bytes, self.0.limit_bytes, (self.0.requests)());
        let mut used = self.0.freed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        used.bytes = used.bytes.saturating_add(bytes);
        while used.bytes + used.spare_bytes > self.0.limit_bytes {
            let Some(spare) = used.spare.pop() else { break };
            used.spare_bytes -= spare.len() as u64;
        }
        Seat(Arc::new(Held { room: self.clone(), bytes, leaving: AtomicBool::new(false) }))
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
    /// What is in it is complete: from now on it leaves by itself.
    pub(super) fn leave(&self) {
        if !self.0.leaving.swap(true, Ordering::AcqRel) {
            let mut used = self.0.room.lock();
            used.leaving += 1;
            used.leaving_bytes += self.0.bytes;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut used = self.room.lock();
        used.bytes -= self.bytes;
        if *self.leaving.get_mut() {
            used.leaving -= 1;
            used.leaving_bytes -= self.bytes;
        }
        drop(used);
        self.room.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_serves_again_once_every_copy_of_its_body_is_gone() {
        let room = Room::new(16 << 20, Box::new(|| 64));
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
        let room = Room::new(1 << 20, Box::new(|| 64));
        let first = room.enter(900 << 10);
        let open = room.enter(900 << 10); // nobody is on the way, so nobody could make room
        first.leave();
        let waiting = std::thread::spawn({
            let room = room.clone();
            move || room.enter(900 << 10)
        });
        drop(first);
        let third = waiting.join().expect("no panic");
        assert_eq!(room.lock().bytes, open.0.bytes + third.0.bytes);
        drop((open, third));
        let used = room.lock();
        assert_eq!((used.bytes, used.leaving), (0, 0));
    }

    #[test]
    fn no_more_is_made_ready_than_keeps_the_requests_busy() {
        let room = Room::new(4 << 30, Box::new(|| 2));
        let leave = || {
            let seat = room.enter(32 << 20);
            seat.leave();
            seat
        };
        // Two on their way, and one more ready that takes what may be ready beside them.
        let mut ready: Vec<_> = (0..3).map(|_| leave()).collect();
        let used = room.lock();
        assert!(used.is_full(32 << 20, room.0.limit_bytes, 2));
        assert!(!used.is_full(32 << 20, room.0.limit_bytes, 3), "more requests, more that is ready");
        drop(used);
        ready.pop();
        ready.push(leave());
        assert_eq!(room.lock().leaving, 3);
    }
}
