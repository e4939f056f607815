//! A file of its own: read and digested in order by one worker, its frames compressed and sealed by all cores.
//!
//! The whole-file SHA-256 holds up nothing but its own file: frames leave for the cores before it has seen the next. Each
//! extent records the state of SHA-256 before and after it, so an interrupted reading goes on where it was committed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::digest::{Crc64, Sha256, Sha256Stream, combine, crc64, zeros};
use crate::format::layout::{extent_bytes, part_bytes};
use crate::format::record::{Begin, Content, Extent, ProblemCode, Record, ShaStates};
use crate::job::{Read, ResumePoint};
use crate::stage::extent::{ExtentBuild, FileBuild};
use crate::stage::item::Item;
use crate::stage::lane::{Hold, Slot, worst_bytes};
use crate::stage::open_pack::Need;
use crate::stage::worker::{FRONT, Halt, Shared, entry, state};
use crate::sys::source::{Identity, SourceFile};

/// Files from here on may be spread over several volumes for speed. Unit: bytes.
const SPREAD_BYTES_MIN: u64 = 10 << 30;
/// Frames waiting for a volume that make it a bottleneck.
const SPREAD_BACKLOG: usize = 16;

/// How one reading ended.
enum Ending {
    /// At the size the file had when it was opened.
    Whole,
    /// Earlier.
    Short,
}

/// Stages one file, resuming an earlier run's reading if the file is still the same.
pub(super) fn stage(shared: &Arc<Shared>, mut item: Item, mut resume: Option<ResumePoint>) -> Result<(), Halt> {
    let file = match SourceFile::open(&item.place) {
        Ok(file) => file,
        Err(error) => {
            shared.unreadable(&item, "cannot be opened", &error);
            return Ok(());
        }
    };
    let readings_max = shared.moving.readings_max();
    for reading in 1..=readings_max {
        let before = match file.identity() {
            Ok(identity) => identity,
            Err(error) => {
                shared.unreadable(&item, "cannot be looked at", &error);
                return Ok(());
            }
        };
        let point = match resume.take() {
            Some(point) if !is_same(&point, &before) => {
                item.generation += 1; // extents of the interrupted reading are committed and must not count
                None
            }
            other => other,
        };
        let mut run = Reading::new(shared, &item, &file, before, point);
        let ending = match run.through() {
            Ok(ending) => ending,
            Err(Stop::Source(error)) => {
                shared.unreadable(&item, "cannot be read", &error);
                return Ok(());
            }
            Err(Stop::Halt(halt)) => return Err(halt),
        };
        let after = match file.identity() {
            Ok(identity) => identity,
            Err(error) => {
                shared.unreadable(&item, "cannot be looked at", &error);
                return Ok(());
            }
        };
        let is_stable = !after.changed_since(&before);
        if is_stable && matches!(ending, Ending::Short) {
            let text = format!("ended after {} bytes where the file system says {}", run.position, before.size);
            shared.problem(&item, ProblemCode::EndedEarly, None, &text);
            return Ok(());
        }
        if reading == readings_max && matches!(ending, Ending::Short) {
            shared.problem(
                &item,
                ProblemCode::Changed,
                None,
                "became shorter in every reading; run again when it is at rest",
            );
            return Ok(());
        }
        if !is_stable && reading == readings_max && !shared.takes_changed(&item) {
            return Ok(());
        }
        if is_stable || reading == readings_max {
            let attributes = shared.attributes(&item, file.xattrs(), &after);
            run.finish(&after, is_stable, attributes);
            return Ok(());
        }
        drop(run);
        item.generation += 1; // what was committed of the earlier reading no longer counts
    }
    Ok(())
}

/// Whether an interrupted reading may go on: the file is what it was when that began.
fn is_same(point: &ResumePoint, now: &Identity) -> bool {
    point.begin.as_ref().is_some_and(|begin| {
        (begin.size, begin.mtime_s, begin.mtime_ns) == (now.size, now.mtime.seconds, now.mtime.nanos)
    })
}

enum Stop {
    Source(io::Error),
    Halt(Halt),
}

impl<E: Into<Halt>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Halt(error.into())
    }
}

struct Reading<'a> {
    shared: &'a Arc<Shared>,
    item: &'a Item,
    file: &'a SourceFile,
    before: Identity,
    position: u64,
    sha: Sha256Stream,
    crc64: Crc64,
    extent_count: u32,
    beyond: Vec<(u64, u64)>,
    /// SHA-256 of the file, when an interrupted run had committed all of it but the entry.
    known_sha256: Option<Sha256>,
    hold: Option<Arc<Hold>>,
    begun_on: Option<u32>,
    build: Arc<FileBuild>,
    is_sparse: bool,
}

impl<'a> Reading<'a> {
    fn new(
        shared: &'a Arc<Shared>,
        item: &'a Item,
        file: &'a SourceFile,
        before: Identity,
        point: Option<ResumePoint>,
    ) -> Self {
        let known_sha256 = point.as_ref().filter(|point| point.offset >= before.size).map(|point| point.sha_state);
        let (position, sha, crc64, extent_count, beyond) = match point {
            Some(point) => {
                let sha = match known_sha256 {
                    Some(_) => Sha256Stream::new(), // there is nothing left to take in
                    None => Sha256Stream::resume(&point.sha_state, point.offset),
                };
                (point.offset, sha, point.crc64, point.extent_count, point.beyond)
            }
            None => (0, Sha256Stream::new(), Crc64::EMPTY, 0, Vec::new()),
        };
        shared.monitor.read(position);
        let is_sparse = before.allocated_bytes < before.size;
        Self {
            shared,
            item,
            file,
            before,
            position,
            sha,
            crc64,
            extent_count,
            beyond,
            known_sha256,
            hold: None,
            begun_on: None,
            build: FileBuild::new(),
            is_sparse,
        }
    }

    /// Reads extent after extent to the end.
    fn through(&mut self) -> Result<Ending, Stop> {
        let (size, frame) = (self.before.size, u64::from(self.shared.frame_bytes));
        while self.position < size {
            if self.shared.stop.is_set() {
                return Err(Stop::Halt(Halt::Stopped));
            }
            let boundary = (self.position / extent_bytes(size) + 1) * extent_bytes(size);
            let mut end = boundary.min(size);
            if self.is_sparse {
                match self.next_run(frame)? {
                    Run::Hole(to) => {
                        self.hole(end.min(to))?;
                        continue;
                    }
                    Run::Data(to) => end = end.min(to),
                }
            }
            if !self.extent(end)? {
                return Ok(Ending::Short);
            }
        }
        Ok(Ending::Whole)
    }

    /// Whether a hole or data is at the position, and how far it goes; ends are multiples of a frame, or the file's end.
    fn next_run(&self, frame: u64) -> Result<Run, Stop> {
        let size = self.before.size;
        let data = self.file.next_data(self.position).map_err(Stop::Source)?;
        let (start, end) = data.unwrap_or((size, size));
        let hole_to = if start >= size { size } else { start / frame * frame };
        if hole_to > self.position {
            return Ok(Run::Hole(hole_to));
        }
        Ok(Run::Data(end.next_multiple_of(frame).min(size)))
    }

    /// Room for one extent, on the volume of the extents before it unless a part of the object begins here.
    fn slot(&mut self, end: u64, needs_frames: bool) -> Result<Slot, Stop> {
        let (size, frame) = (self.before.size, u64::from(self.shared.frame_bytes));
        let part = part_bytes(size);
        if self.hold.is_none() || self.position.is_multiple_of(part) {
            let left = part.min(size - self.position);
            let frames = left.div_ceil(frame);
            let records = 2 + left.div_ceil(extent_bytes(size));
            let (bytes, path_bytes) = (worst_bytes(left, frames), self.item.path.len() as u64);
            self.build.release();
            // A file stays on its volume while that has room, so that a lost drive costs few files; only a huge one
            // moves on when this drive is the bottleneck and another is idle.
            let stays = self.hold.take().map(|hold| Arc::clone(hold.lane())).filter(|lane| {
                size < SPREAD_BYTES_MIN || lane.backlog() < SPREAD_BACKLOG || !self.shared.lanes.has_idle()
            });
            let same = stays.and_then(|lane| lane.hold(bytes, path_bytes, records));
            self.hold = Some(match same {
                Some(hold) => hold,
                None => self.shared.hold(bytes, path_bytes, records)?,
            });
        }
        let hold = Arc::clone(self.hold.as_ref().expect("just held"));
        let length = if needs_frames { end - self.position } else { 0 };
        let frames = length.div_ceil(frame);
        let lane = Arc::clone(hold.lane());
        let slot = lane.slot(&hold, Need { bytes: worst_bytes(length, frames), frames, records: 3 })?;
        if self.begun_on != Some(lane.number()) && self.has_states() {
            self.begun_on = Some(lane.number());
            let begin = Begin {
                id: self.item.id,
                generation: self.item.generation,
                mtime_s: self.before.mtime.seconds,
                mtime_ns: self.before.mtime.nanos,
                size: self.before.size,
                path: self.item.path.clone(),
            };
            slot.record([Record::Begin(begin)]);
        }
        Ok(slot)
    }

    /// Whether the file has more than one extent.
    fn has_states(&self) -> bool {
        self.before.size > extent_bytes(self.before.size) || self.is_sparse
    }

    /// An extent of zeros that is not stored.
    fn hole(&mut self, end: u64) -> Result<(), Stop> {
        let length = end - self.position;
        let slot = Arc::new(self.slot(end, false)?);
        let start = self.sha.chaining_value();
        self.sha.update_zeros(length);
        self.shared.monitor.read(length);
        let crc = zeros(length);
        let extent = self.record(self.position, length, crc, start, end == self.before.size, Content::Hole);
        self.crc64 = combine(self.crc64, crc, length);
        self.position = end;
        if let Some(extent) = extent {
            slot.record([Record::Extent(extent)]);
        }
        self.build.keep(slot);
        Ok(())
    }

    /// The record of an extent, unless an earlier run committed it already behind a gap.
    fn record(
        &mut self,
        offset: u64,
        length: u64,
        crc64: Crc64,
        start: Option<[u8; 32]>,
        is_last: bool,
        content: Content,
    ) -> Option<Extent> {
        let end = if is_last { Some(self.sha.clone().finish()) } else { self.sha.chaining_value() };
        let states = start.zip(end).filter(|_| self.has_states()).map(|(start, end)| ShaStates { start, end });
        self.extent_count += 1;
        let (id, generation) = (self.item.id, self.item.generation);
        let is_there = self.beyond.contains(&(offset, length));
        (!is_there).then_some(Extent { id, generation, offset, length, crc64, pack: 0, states, content })
    }

    /// Reads one extent and sends its frames away. Says whether the file went on to its end.
    fn extent(&mut self, end: u64) -> Result<bool, Stop> {
        let offset = self.position;
        let is_there = self.beyond.contains(&(offset, end - offset));
        let slot = Arc::new(self.slot(end, !is_there)?);
        let build = ExtentBuild::new(Arc::clone(&slot), Arc::clone(&self.build));
        let start = self.sha.chaining_value();
        let mut crc = Crc64::EMPTY;
        let mut is_short = false;
        while self.position < end && !is_short {
            let want = (end - self.position).min(self.shared.frame_bytes.into());
            let want = usize::try_from(want).expect("at most one frame");
            let (mut frame, spare) = self.shared.pool.take_two_used()?;
            frame.size_to(FRONT + want);
            let got = self.file.read_full_at(&mut frame[FRONT..], self.position).map_err(Stop::Source)?;
            frame.truncate(FRONT + got);
            is_short = got < want;
            if got == 0 {
                break;
            }
            let plain = &frame[FRONT..];
            self.sha.update(plain);
            crc = combine(crc, crc64(plain), got as u64);
            self.position += got as u64;
            self.shared.paced(got as u64);
            if is_there {
                continue; // read for the digest only: an earlier run committed these bytes
            }
            build.dispatch(self.shared, frame, spare, got as u64);
        }
        let length = self.position - offset;
        let is_last = is_short || self.position == self.before.size;
        let record = if length == 0 {
            None
        } else {
            self.crc64 = combine(self.crc64, crc, length);
            self.record(offset, length, crc, start, is_last, Content::Stored(Vec::new()))
        };
        self.build.keep(slot);
        build.finish(record);
        Ok(!is_short)
    }

    /// The file was read to its end; its ENTRY follows its last frame.
    fn finish(self, after: &Identity, is_stable: bool, attributes: Vec<crate::format::record::Attribute>) {
        let mut facts = self.shared.facts_now(self.item, after, attributes);
        facts.size = self.position;
        let read = Read {
            generation: self.item.generation,
            state: state(is_stable),
            extent_count: self.extent_count,
            crc64: self.crc64,
            sha256: self.known_sha256.unwrap_or_else(|| self.sha.finish()),
        };
        self.build.finish(Record::Entry(entry(self.item, &facts, &read)), (self.shared, self.item));
    }
}

enum Run {
    Hole(u64),
    Data(u64),
}

/// Counts down and says whether this was the last.
pub(super) fn is_last(left: &AtomicUsize) -> bool {
    left.fetch_sub(1, Ordering::AcqRel) == 1
}
