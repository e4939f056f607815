//! One file on its way back: pieces arrive in any order, from any thread; the last one finishes it.
//!
//! Owns: creating the file at its first byte, the CRC-64 of every extent and of the whole, metadata at the end. Does not
//! own: where pieces come from (`plan`), what becomes of problems (`node::Sink`).
//! Invariants: a file whose bytes are not all there, or not right, is removed and told; metadata is set only after the
//! last byte was checked. Callers: `plan`, `engine`.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::digest::{Crc64, combine, crc64, zeros};
use crate::extract::Done;
use crate::extract::error::{Class, Problem};
use crate::extract::node::{Sink, Standing};
use crate::format::record::{Content, Entry, Extent};
use crate::sys::lock::lock;
use crate::sys::target::TargetFile;

/// A file that is being put together.
#[derive(Debug)]
pub(super) struct FileJob {
    pub(super) generation: u32,
    pub(super) path: Vec<u8>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entry: Option<Entry>,
    /// Size and modification time by which a finished file is known; from BEGIN until the entry is there.
    known_by: (u64, i64, u32),
    open: Open,
    parts: Vec<Part>,
    /// What concerns the whole file; the first one is told.
    problem: Option<Problem>,
    is_done: bool,
}

#[derive(Debug, Default)]
enum Open {
    #[default]
    NotYet,
    Writing(Arc<TargetFile>),
    AlreadyThere,
    /// Nothing may be written; the problem says why.
    Refused,
}

/// One stored extent and what has arrived of it. A damaged extent may be on the volumes again, so a file can have more
/// parts than extents.
#[derive(Debug)]
struct Part {
    offset: u64,
    length: u64,
    crc64: Crc64,
    is_hole: bool,
    left: usize,
    pieces: Vec<(u64, Crc64)>,
    problem: Option<String>,
}

impl FileJob {
    /// `known_by` is size and modification time (seconds, nanoseconds) of a finished file.
    pub(super) fn new(generation: u32, path: Vec<u8>, known_by: (u64, i64, u32)) -> Self {
        Self { generation, path, state: Mutex::new(State { known_by, ..State::default() }) }
    }

    /// Adds an extent that will arrive; returns its index.
    pub(super) fn expect(&self, extent: &Extent) -> usize {
        let mut state = self.lock();
        state.parts.push(Part::new(extent));
        state.parts.len() - 1
    }

    /// Gives the last word about the file.
    pub(super) fn set_entry(&self, entry: &Entry) {
        let mut state = self.lock();
        state.known_by = (entry.size, entry.mtime_s, entry.mtime_ns);
        state.entry = Some(entry.clone());
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.lock().is_done
    }

    /// Writes one piece of an extent; `bytes` is `None` when its frame was damaged. Finishes the file if it was the last.
    pub(super) fn put(&self, part: usize, piece: usize, bytes: Option<&[u8]>, sink: &Sink<'_>) {
        let (offset, file) = self.place(part, piece, sink);
        let mut failed = None;
        if let (Some(bytes), Some(file)) = (bytes, &file) {
            match file.write_all_at(bytes, offset) {
                Ok(cached_bytes) => sink.flush.wrote(cached_bytes),
                Err(error) => failed = Some(self.not_written(error)),
            }
            sink.add_bytes(bytes.len() as u64);
        }
        let crc = bytes.map(crc64);
        let mut state = self.lock();
        if let Some(problem) = failed {
            state.fail(problem);
        }
        if let Some(part) = state.parts.get_mut(part) {
            part.arrived(piece, crc);
        }
        self.finish_if_complete(&mut state, sink);
    }

    /// Finishes the file if all extents have arrived, as for files without stored bytes.
    pub(super) fn check_complete(&self, sink: &Sink<'_>) {
        let mut state = self.lock();
        self.finish_if_complete(&mut state, sink);
    }

    /// At the very end: what has not arrived will not arrive.
    pub(super) fn give_up(&self, is_stopped: bool, sink: &Sink<'_>) {
        let mut state = self.lock();
        if state.is_done {
            return;
        }
        self.open(&mut state, sink);
        let incomplete = state.incomplete();
        if is_stopped && state.problem.is_none() {
            state.is_done = true;
            if matches!(state.open, Open::Writing(_)) {
                sink.remove(&self.path);
            }
            return;
        }
        let (class, message) = incomplete;
        state.fail(Problem::entry(class, &self.path, message));
        self.close(&mut state, sink);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn not_written(&self, error: io::Error) -> Problem {
        Problem::entry(Class::Entry, &self.path, "cannot be written").because(error)
    }

    /// Where in the file a piece goes, and the file if it is to be written.
    fn place(&self, part: usize, piece: usize, sink: &Sink<'_>) -> (u64, Option<Arc<TargetFile>>) {
        let mut state = self.lock();
        self.open(&mut state, sink);
        let offset = state.parts.get(part).map_or(0, |part| part.offset_of(piece));
        match &state.open {
            Open::Writing(file) if state.problem.is_none() => (offset, Some(Arc::clone(file))),
            _ => (offset, None),
        }
    }

    /// Creates the file when its first byte arrives.
    fn open(&self, state: &mut State, sink: &Sink<'_>) {
        if !matches!(state.open, Open::NotYet) {
            return;
        }
        let standing = Standing::File(state.known_by);
        state.open = match sink.make(&self.path, |target| target.create_file(&self.path, state.known_by.0), &standing) {
            Ok(Some(file)) => Open::Writing(Arc::new(file)),
            Ok(None) => Open::AlreadyThere,
            Err(problem) => {
                state.fail(problem);
                Open::Refused
            }
        };
    }

    fn finish_if_complete(&self, state: &mut State, sink: &Sink<'_>) {
        let Some(entry) = &state.entry else { return };
        let good = state.good_offsets().len();
        if state.is_done || good < entry.extent_count as usize || state.parts.iter().any(|part| part.left > 0) {
            return;
        }
        self.open(state, sink);
        if let (Open::Writing(_), None) = (&state.open, &state.problem)
            && let Some(message) = state.contradiction()
        {
            state.fail(Problem::entry(Class::Integrity, &self.path, message));
        }
        self.close(state, sink);
    }

    /// Sets metadata and counts, or removes what must not stay.
    fn close(&self, state: &mut State, sink: &Sink<'_>) {
        state.is_done = true;
        let parts = std::mem::take(&mut state.parts);
        match (std::mem::replace(&mut state.open, Open::Refused), &state.entry) {
            (Open::AlreadyThere, _) => return sink.count(Done::AlreadyThere),
            (Open::Writing(file), Some(entry)) if state.problem.is_none() => {
                let stored_end = parts.iter().filter(|part| !part.is_hole).map(Part::end).max().unwrap_or(0);
                let lengthened = if stored_end < entry.size { file.set_len(entry.size) } else { Ok(()) };
                match lengthened {
                    Ok(()) => return sink.finish_file(&file, entry),
                    Err(error) => state.fail(self.not_written(error)),
                }
                sink.remove(&self.path);
            }
            (Open::Writing(_), _) => sink.remove(&self.path),
            (Open::Refused | Open::NotYet, _) => {}
        }
        if let Some(problem) = state.problem.take() {
            sink.problem(problem);
        }
    }
}

impl Part {
    fn new(extent: &Extent) -> Self {
        let (is_hole, pieces) = match &extent.content {
            Content::Hole => (true, Vec::new()),
            Content::Stored(pieces) => {
                (false, pieces.iter().map(|piece| (piece.bytes.into(), Crc64::EMPTY)).collect::<Vec<_>>())
            }
        };
        let problem = (is_hole && zeros(extent.length) != extent.crc64)
            .then(|| format!("the hole at {} has a checksum that is not that of zeros", extent.offset));
        let (offset, length, crc64, left) = (extent.offset, extent.length, extent.crc64, pieces.len());
        Self { offset, length, crc64, is_hole, left, pieces, problem }
    }

    fn end(&self) -> u64 {
        self.offset + self.length
    }

    fn offset_of(&self, piece: usize) -> u64 {
        self.offset + self.pieces.iter().take(piece).map(|(length, _)| length).sum::<u64>()
    }

    fn is_good(&self) -> bool {
        self.left == 0 && self.problem.is_none()
    }

    /// Notes a piece, and with the last one whether the bytes are right.
    fn arrived(&mut self, piece: usize, crc: Option<Crc64>) {
        match (self.pieces.get_mut(piece), crc) {
            (Some(place), Some(crc)) => place.1 = crc,
            _ => {
                self.problem = Some(format!("the bytes from {} to {} are in a damaged frame", self.offset, self.end()))
            }
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 && self.problem.is_none() {
            let whole = self.pieces.iter().fold(Crc64::EMPTY, |sum, (length, crc)| combine(sum, *crc, *length));
            if whole != self.crc64 {
                let (from, to) = (self.offset, self.end());
                self.problem =
                    Some(format!("the bytes from {from} to {to} are not those that were read at the source"));
            }
        }
    }
}

impl State {
    /// The first problem of a file is the one that is told.
    fn fail(&mut self, problem: Problem) {
        self.problem.get_or_insert(problem);
    }

    /// Offsets of which a good extent has arrived.
    fn good_offsets(&self) -> BTreeSet<u64> {
        self.parts.iter().filter(|part| part.is_good()).map(|part| part.offset).collect()
    }

    /// What is wrong with a file that did not become complete.
    fn incomplete(&self) -> (Class, String) {
        let good = self.good_offsets();
        let lost = self.parts.iter().filter(|part| !good.contains(&part.offset)).find_map(|part| part.problem.clone());
        match (lost, &self.entry) {
            (Some(lost), _) => (Class::Integrity, lost),
            (None, Some(entry)) => {
                (Class::Missing, format!("{} of {} extents are on the volumes given", good.len(), entry.extent_count))
            }
            (None, None) => {
                (Class::Missing, "it ends on a volume that was not given, or was never staged to its end".to_owned())
            }
        }
    }

    /// What is wrong with the extents as a whole: gaps, overlaps, another sum than the entry's.
    fn contradiction(&mut self) -> Option<String> {
        let entry = self.entry.as_ref()?;
        self.parts.retain(Part::is_good);
        self.parts.sort_by_key(|part| part.offset);
        self.parts.dedup_by_key(|part| part.offset);
        let (mut at, mut sum) = (0, Crc64::EMPTY);
        for part in &self.parts {
            if part.offset != at {
                return Some(format!("an extent begins at {} where {at} is next", part.offset));
            }
            sum = combine(sum, part.crc64, part.length);
            at = part.end();
        }
        if at != entry.size {
            return Some(format!("extents hold {at} bytes where the entry says {}", entry.size));
        }
        (sum != entry.crc64).then(|| "the checksum of the whole is not that taken at the source".to_owned())
    }
}
