//! The way of units from the engine to the workers: an outbox that never blocks the engine, and a queue that keeps the
//! workers busy while the engine records a commit.
//!
//! Invariant: what is on the way is bounded in entries, not only in units, so that memory does not depend on how small the
//! files are: a unit of tiny ones has 512, and each becomes two records that wait for a commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::stage::item::Unit;

/// Units that may wait before the walk is held up.
const OUTBOX_UNITS: usize = 64;
/// Entries in the outbox that hold the walk up.
const OUTBOX_ENTRIES: usize = 2048;
/// Units in the workers' queue.
const QUEUE_UNITS: usize = 256;
/// Entries in the workers' queue: about what they read while a commit is recorded. With eight times as many a million tiny files
/// took a fifteenth less time and a third more memory than a hundred thousand.
const QUEUE_ENTRIES: usize = 2048;

/// The engine's end.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Unit>,
    queue: Option<Sender<Unit>>,
    queued_entries: Arc<AtomicUsize>,
}

/// A worker's end.
#[derive(Debug, Clone)]
pub(super) struct Units {
    queue: Receiver<Unit>,
    queued_entries: Arc<AtomicUsize>,
}

impl Outbox {
    /// Makes the queue.
    pub(super) fn open(&mut self) -> Units {
        let (sender, queue) = bounded(QUEUE_UNITS);
        self.queue = Some(sender);
        Units { queue, queued_entries: Arc::clone(&self.queued_entries) }
    }

    /// No more units come: workers end when the queue is empty. What still waits here is forgotten.
    pub(super) fn close(&mut self) {
        self.queue = None;
        self.waiting.clear();
    }

    pub(super) fn extend(&mut self, units: impl IntoIterator<Item = Unit>) {
        self.waiting.extend(units);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the walk may go on.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < OUTBOX_UNITS && self.waiting.iter().map(Unit::entries).sum::<usize>() < OUTBOX_ENTRIES
    }

    /// Moves to the queue what it has room for.
    pub(super) fn hand_out(&mut self) {
        let Some(queue) = &self.queue else { return };
        while let Some(unit) = self.waiting.pop_front() {
            let entries = unit.entries();
            let queued = self.queued_entries.fetch_add(entries, Ordering::Relaxed);
            // WHY an empty queue takes any unit: nobody would ever make room for one that is larger than all of it.
            let sent = if queued > 0 && queued + entries > QUEUE_ENTRIES {
                Err(TrySendError::Full(unit))
            } else {
                queue.try_send(unit)
            };
            if let Err(TrySendError::Full(unit) | TrySendError::Disconnected(unit)) = sent {
                self.queued_entries.fetch_sub(entries, Ordering::Relaxed);
                self.waiting.push_front(unit);
                return;
            }
        }
    }
}

impl Iterator for Units {
    type Item = Unit;

    /// Waits for a unit; `None` when no more come.
    fn next(&mut self) -> Option<Unit> {
        let unit = self.queue.recv().ok()?;
        self.queued_entries.fetch_sub(unit.entries(), Ordering::Relaxed);
        Some(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::EntryType;
    use crate::job::Facts;
    use crate::stage::item::Item;

    fn item() -> Item {
        let facts = Facts {
            entry_type: EntryType::Directory,
            size: 0,
            mtime_s: 0,
            mtime_ns: 0,
            inode: None,
            nlink: 1,
            mode: 0o755,
            uid: 0,
            gid: 0,
            user: Vec::new(),
            group: Vec::new(),
            link_id: 0,
            rdev: (0, 0),
            target: Vec::new(),
            attributes: Vec::new(),
        };
        Item { id: 1, generation: 1, path: Vec::new(), place: "/".into(), facts, link_path: None }
    }

    fn unit(entries: usize) -> Unit {
        Unit::Bare(std::iter::repeat_with(item).take(entries).collect())
    }

    #[test]
    fn the_queue_is_bounded_in_entries_and_every_unit_arrives_in_order() {
        let mut outbox = Outbox::default();
        let mut units = outbox.open();
        let sizes: Vec<usize> = (0..400).map(|number| number % 512 + 1).collect();
        outbox.extend(sizes.iter().map(|size| unit(*size)));
        assert!(!outbox.has_room(), "64 units or 2,048 entries hold the walk up");
        let mut seen = Vec::new();
        while seen.len() < sizes.len() {
            outbox.hand_out();
            assert!(units.queued_entries.load(Ordering::Relaxed) <= QUEUE_ENTRIES);
            seen.push(units.next().expect("one is in the queue").entries());
        }
        assert_eq!(seen, sizes);
        assert!(outbox.is_empty() && outbox.has_room());
        outbox.close();
        assert!(units.next().is_none());
    }

    #[test]
    fn a_unit_larger_than_the_queue_goes_through_an_empty_one() {
        let mut outbox = Outbox::default();
        let mut units = outbox.open();
        outbox.extend([unit(1), unit(QUEUE_ENTRIES + 1)]);
        outbox.hand_out();
        assert!(!outbox.is_empty());
        assert_eq!(units.next().map(|unit| unit.entries()), Some(1));
        outbox.hand_out();
        assert_eq!(units.next().map(|unit| unit.entries()), Some(QUEUE_ENTRIES + 1));
    }
}
