//! Reading volumes: packs once, in order; frames opened on all cores; bytes gathered into whole bodies.
//!
//! Owns: the way from frames to bodies, and what was damaged on it. Does not own: which entries are wanted (`Catalog`),
//! what happens to bodies (`Deliver`). Invariants: a body is delivered only if its CRC-64 is that of the source; damage
//! costs the bodies that need the damaged frame and nothing else; memory is bounded by `Room`, except that a body which
//! was begun is always finished.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use bytes::Bytes;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::crypto::OpeningKey;
use crate::digest::{Crc64, crc64};
use crate::format::PackHeader;
use crate::format::layout::part_bytes;
use crate::format::record::{Content, Entry, Extent, Record};
use crate::ingest::bundle::Bundle;
use crate::ingest::error::Error;
use crate::ingest::room::{Room, Seat};
use crate::ingest::send::{Upload, chain};
use crate::ingest::wanted::{Wanted, bare_body};
use crate::sys::Access;
use crate::sys::process::StopFlag;
use crate::volume::{FrameAt, Keyring, PackIndex, Plain, RawFrame, Volume};

/// Stored bytes that are opened together. Unit: bytes.
const BATCH_BYTES: usize = 16 << 20;
/// Damaged frames after which a pack is given up.
const DAMAGE_MAX: usize = 64;

/// A volume with the keys that open it.
pub struct Medium {
    /// The volume.
    pub volume: Volume,
    /// Its run keys.
    pub keyring: Keyring,
}

/// Something on a volume that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Volume number.
    pub volume: u32,
    /// Pack number.
    pub pack: u32,
    /// Frame in the pack, where one is to blame.
    pub frame: Option<u32>,
    /// What was found.
    pub what: String,
    /// Keys of the objects that could not be made because of it.
    pub keys: Vec<String>,
}

/// An object to be made of some content, whole or in parts.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    pub(super) wanted: Arc<Wanted>,
    pub(super) upload: Option<Arc<Upload>>,
}

impl Goal {
    fn lacks(&self, part: u32) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.state().is_missing(part))
    }

    fn expected(&self, part: u32) -> Option<(u64, Crc64)> {
        match &self.upload {
            None => Some((self.wanted.bytes, self.wanted.crc64)),
            Some(upload) => upload.state().part(part).map(|plan| (plan.bytes, plan.crc64)),
        }
    }
}

/// Knows what is wanted.
pub(super) trait Catalog: Sync {
    /// Objects to be made of the content of `entry`, if it is current and they are not there yet.
    fn goals(&self, entry: &Entry) -> Result<Vec<Goal>, Error>;
    /// The ENTRY record of an entry whose record is in another pack.
    fn entry(&self, id: u64) -> Result<Option<Entry>, Error>;
}

/// Takes bodies. `part` is 0 for a whole object.
pub(super) trait Deliver: Sync {
    fn whole(&self, wanted: &Arc<Wanted>, body: Bytes, seat: Seat);
    fn part(&self, upload: &Arc<Upload>, part: u32, body: Bytes, seat: Seat);
    fn bundle(&self, bundle: Bundle, seat: Seat);
    fn read(&self, bytes: u64);
}

/// A body that is being gathered.
struct Gathering {
    goals: Arc<[Goal]>,
    part: u32,
    bytes: u64,
    crc64: Crc64,
    filled: u64,
    /// Stretches that no frame fills: first byte, length.
    holes: Vec<(u64, u64)>,
    /// Offsets of extents that were seen: an interrupted run may have staged one twice.
    extents: Vec<u64>,
    buffer: Option<(Vec<u8>, Seat)>,
    damaged: bool,
}

/// The objects that share the content of one entry.
struct Shared {
    size: u64,
    generation: u32,
    goals: Arc<[Goal]>,
}

/// Where a stretch of a frame goes.
struct Target {
    id: u64,
    part: u32,
    to: u64,
    at: u32,
    bytes: u32,
}

/// Reads one volume.
pub(super) struct Reader<'a, C, D> {
    pub(super) medium: &'a Medium,
    pub(super) catalog: &'a C,
    pub(super) deliver: &'a D,
    pub(super) room: &'a Room,
    pub(super) stop: &'a StopFlag,
    gathering: HashMap<(u64, u32), Gathering>,
    findings: Vec<Finding>,
}

impl<'a, C: Catalog, D: Deliver> Reader<'a, C, D> {
    pub(super) fn new(medium: &'a Medium, catalog: &'a C, deliver: &'a D, room: &'a Room, stop: &'a StopFlag) -> Self {
        Self { medium, catalog, deliver, room, stop, gathering: HashMap::new(), findings: Vec::new() }
    }

    /// Reads all packs and gives what was found damaged.
    pub(super) fn run(mut self) -> Result<Vec<Finding>, Error> {
        for number in self.medium.volume.packs()? {
            if self.stop.is_set() {
                return Err(Error::Stopped);
            }
            if let Err(error) = self.pack(number) {
                match error {
                    Error::Volume(error) if !is_key(&error) => self.find(number, None, chain(&error), Vec::new()),
                    error => return Err(error),
                }
            }
        }
        let left: Vec<_> = self.gathering.drain().filter(|(_, gathering)| !gathering.damaged).collect();
        for ((_, _), gathering) in left {
            let keys = keys(&gathering.goals);
            self.find(0, None, "some bytes of a body are on no pack of this volume".to_owned(), keys);
        }
        Ok(self.findings)
    }

    fn find(&mut self, pack: u32, frame: Option<u32>, what: String, keys: Vec<String>) {
        self.findings.push(Finding { volume: self.medium.volume.header().number, pack, frame, what, keys });
    }

    fn pack(&mut self, number: u32) -> Result<(), Error> {
        let pack = self.medium.volume.open_pack(number, Access::Buffered)?;
        let index = pack.index(&self.medium.keyring)?;
        for reason in &index.damage {
            self.find(number, None, reason.clone(), Vec::new());
        }
        let key = pack.opening_key(&self.medium.keyring)?;
        let header = pack.header().clone();
        let targets = self.plan(&index)?;
        self.finish_holes(&targets);
        let wanted = |frame: &&FrameAt| targets.contains_key(&frame.index);
        let frames: Vec<FrameAt> = index.data.iter().filter(wanted).copied().collect();
        drop(index);
        let mut next = 0;
        let mut damage = 0;
        let mut pack = Some(pack);
        while next < frames.len() {
            let file = match pack.take() {
                Some(pack) => pack,
                None => self.medium.volume.open_pack(number, Access::Buffered)?,
            };
            let mut batch =
                Batch { number, key: &key, header: &header, targets: &targets, frames: Vec::new(), bytes: 0 };
            let mut taken = 0;
            let read = file.read_frames(&frames[next..], |frame| {
                taken += 1;
                batch.bytes += frame.body.len();
                batch.frames.push(frame);
                if batch.bytes >= BATCH_BYTES { self.open(&mut batch) } else { Ok(()) }
            });
            self.open(&mut batch)?;
            match read {
                Ok(()) => return Ok(()),
                Err(Error::Volume(error)) if damage < DAMAGE_MAX => {
                    damage += 1;
                    let frame = frames[next + taken].index;
                    self.damaged(number, frame, chain(&error), &targets);
                    next += taken + 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Finds out where the bytes of every frame go.
    fn plan(&mut self, index: &PackIndex) -> Result<HashMap<u32, Vec<Target>>, Error> {
        let entries: HashMap<u64, &Entry> = index.records.iter().filter_map(as_entry).map(|e| (e.id, e)).collect();
        for entry in entries.values() {
            if let Some(body) = bare_body(entry) {
                for goal in self.catalog.goals(entry)? {
                    self.deliver.whole(&goal.wanted, body.clone(), self.leaving(body.len() as u64));
                }
            }
        }
        let mut targets: HashMap<u32, Vec<Target>> = HashMap::new();
        let mut known: HashMap<u64, Option<Shared>> = HashMap::new();
        for extent in index.extents() {
            let shared = match known.entry(extent.id) {
                Slot::Occupied(known) => known.into_mut(),
                Slot::Vacant(slot) => slot.insert(self.shared(entries.get(&extent.id).copied(), extent.id)?),
            };
            if let Some(shared) = shared
                && shared.generation == extent.generation
                && !shared.goals.is_empty()
            {
                let (size, goals) = (shared.size, Arc::clone(&shared.goals));
                self.plan_extent(extent, size, &goals, &mut targets);
            }
        }
        Ok(targets)
    }

    /// What is to be made of the content of an entry, whose record may be in another pack.
    fn shared(&self, here: Option<&Entry>, id: u64) -> Result<Option<Shared>, Error> {
        let elsewhere = if here.is_none() { self.catalog.entry(id)? } else { None };
        let Some(entry) = here.or(elsewhere.as_ref()) else { return Ok(None) };
        let goals = Arc::from(self.catalog.goals(entry)?);
        Ok(Some(Shared { size: entry.size, generation: entry.generation, goals }))
    }

    fn plan_extent(
        &mut self,
        extent: &Extent,
        size: u64,
        goals: &Arc<[Goal]>,
        targets: &mut HashMap<u32, Vec<Target>>,
    ) {
        let part_bytes = part_bytes(size);
        let in_parts = size > part_bytes;
        let part = if in_parts { u32::try_from(extent.offset / part_bytes + 1).unwrap_or(u32::MAX) } else { 0 };
        if in_parts && !goals.iter().any(|goal| goal.lacks(part)) {
            return;
        }
        let Some((bytes, crc64)) = goals.first().and_then(|goal| goal.expected(part)) else { return };
        let gathering = self.gathering.entry((extent.id, part)).or_insert_with(|| Gathering {
            goals: goals.clone(),
            part,
            bytes,
            crc64,
            filled: 0,
            holes: Vec::new(),
            extents: Vec::new(),
            buffer: None,
            damaged: false,
        });
        let start = if in_parts { extent.offset % part_bytes } else { extent.offset };
        let fits = start.checked_add(extent.length).is_some_and(|end| end <= bytes);
        if gathering.extents.contains(&extent.offset) || !fits {
            return;
        }
        gathering.extents.push(extent.offset);
        match &extent.content {
            Content::Hole => {
                gathering.filled += extent.length;
                gathering.holes.push((start, extent.length));
            }
            Content::Stored(pieces) => {
                let mut to = start;
                for piece in pieces {
                    let target = Target { id: extent.id, part, to, at: piece.at, bytes: piece.bytes };
                    targets.entry(piece.frame).or_default().push(target);
                    to += u64::from(piece.bytes);
                }
            }
        }
    }

    /// Room for a body that is complete already.
    fn leaving(&self, bytes: u64) -> Seat {
        let seat = self.room.enter(bytes);
        seat.leave();
        seat
    }

    /// Delivers bodies that are nothing but holes: no frame will ever complete them.
    fn finish_holes(&mut self, targets: &HashMap<u32, Vec<Target>>) {
        let full = |(_, gathering): &(&(u64, u32), &Gathering)| gathering.filled == gathering.bytes;
        let complete: Vec<_> = self.gathering.iter().filter(full).map(|(place, _)| *place).collect();
        debug_assert!(targets.values().flatten().all(|target| !complete.contains(&(target.id, target.part))));
        for place in complete {
            self.finish(0, place);
        }
    }

    /// Opens a batch of frames on all cores and hands out their bytes in order.
    fn open(&mut self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.bytes = 0;
        if self.stop.is_set() {
            return Err(Error::Stopped);
        }
        let path = std::path::PathBuf::from(format!("pack {}", batch.number));
        let frames = std::mem::take(&mut batch.frames);
        let opened: Vec<_> = frames
            .into_par_iter()
            .map(|frame| (frame.header.index, frame.open(batch.key, batch.header, &path)))
            .collect();
        for (index, plain) in opened {
            match plain {
                Ok(plain) => self.hand_out(batch.number, index, plain, batch.targets),
                Err(error) => self.damaged(batch.number, index, chain(&error), batch.targets),
            }
        }
        Ok(())
    }

    fn hand_out(&mut self, pack: u32, frame: u32, plain: Plain, targets: &HashMap<u32, Vec<Target>>) {
        self.deliver.read(plain.len() as u64);
        let plain = Bytes::from_owner(plain);
        let mut seat_of_frame: Option<Seat> = None;
        for target in targets.get(&frame).into_iter().flatten() {
            let place = (target.id, target.part);
            let Some(gathering) = self.gathering.get_mut(&place) else { continue };
            let range = target.at as usize..(target.at as usize).saturating_add(target.bytes as usize);
            let to = usize::try_from(target.to).ok();
            let whole = usize::try_from(gathering.bytes).ok();
            let (Some(from), Some(to), Some(whole)) = (plain.get(range.clone()), to, whole) else {
                gathering.damaged = true;
                continue;
            };
            if gathering.damaged {
                continue;
            }
            if from.len() == whole {
                // A small file lies in the frame as it is to be sent: it is sent from there, and its seat is the frame's.
                let enter = || self.room.enter_shared(plain.len() as u64);
                let seat = seat_of_frame.get_or_insert_with(enter).clone();
                if let Some(gathering) = self.gathering.remove(&place) {
                    self.deliver_if_right(pack, &gathering, plain.slice(range), &seat);
                }
                continue;
            }
            let room = self.room;
            let holes = &gathering.holes;
            let (buffer, _) = gathering.buffer.get_or_insert_with(|| {
                let seat = room.enter(whole as u64);
                (cleared(room.buffer(whole), holes), seat)
            });
            buffer[to..to + from.len()].copy_from_slice(from);
            gathering.filled += from.len() as u64;
            if gathering.filled == gathering.bytes {
                self.finish(pack, place);
            }
        }
        // Only now: this thread may have waited for room itself, which nobody but the others could give back.
        if let Some(seat) = seat_of_frame {
            seat.leave();
        }
    }

    /// Delivers a body that has all its bytes, if they are the right ones.
    fn finish(&mut self, pack: u32, place: (u64, u32)) {
        let Some(mut gathering) = self.gathering.remove(&place) else { return };
        let (body, seat) = gathering.buffer.take().unwrap_or_else(|| {
            let bytes = usize::try_from(gathering.bytes).unwrap_or(0);
            (cleared(self.room.buffer(bytes), &gathering.holes), self.room.enter(gathering.bytes))
        });
        if self.deliver_if_right(pack, &gathering, self.room.body(body), &seat) {
            seat.leave();
        }
    }

    fn deliver_if_right(&mut self, pack: u32, gathering: &Gathering, body: Bytes, seat: &Seat) -> bool {
        if crc64(&body) != gathering.crc64 {
            let what = "the bytes of a body have another checksum than the source had".to_owned();
            self.find(pack, None, what, keys(&gathering.goals));
            return false;
        }
        for goal in gathering.goals.iter().filter(|goal| goal.lacks(gathering.part)) {
            match &goal.upload {
                None => self.deliver.whole(&goal.wanted, body.clone(), seat.clone()),
                Some(upload) => self.deliver.part(upload, gathering.part, body.clone(), seat.clone()),
            }
        }
        true
    }

    /// A frame is lost: so is every body that needs it.
    fn damaged(&mut self, pack: u32, frame: u32, what: String, targets: &HashMap<u32, Vec<Target>>) {
        let mut lost = Vec::new();
        for target in targets.get(&frame).into_iter().flatten() {
            if let Some(gathering) = self.gathering.get_mut(&(target.id, target.part)) {
                gathering.damaged = true;
                gathering.buffer = None;
                lost.extend(keys(&gathering.goals));
            }
        }
        lost.sort();
        lost.dedup();
        self.find(pack, Some(frame), what, lost);
    }
}

/// A buffer with zeros where no frame puts anything.
fn cleared(mut buffer: Vec<u8>, holes: &[(u64, u64)]) -> Vec<u8> {
    for (start, length) in holes {
        let (from, to) = (usize::try_from(*start), usize::try_from(start + length));
        if let (Ok(from), Ok(to)) = (from, to)
            && let Some(hole) = buffer.get_mut(from..to)
        {
            hole.fill(0);
        }
    }
    buffer
}

/// Frames of one pack that are opened together.
struct Batch<'a> {
    number: u32,
    key: &'a OpeningKey,
    header: &'a PackHeader,
    targets: &'a HashMap<u32, Vec<Target>>,
    frames: Vec<RawFrame>,
    bytes: usize,
}

fn as_entry(record: &Record) -> Option<&Entry> {
    match record {
        Record::Entry(entry) => Some(entry),
        _ => None,
    }
}

fn keys(goals: &[Goal]) -> Vec<String> {
    goals.iter().map(|goal| goal.wanted.key.clone()).collect()
}

/// A missing key is the user's to bring, not damage.
fn is_key(error: &crate::volume::Error) -> bool {
    matches!(error, crate::volume::Error::NoKey { .. })
}
