//! The expensive part of a keyed check: opening every frame of a group and taking the digests of every extent, in
//! parallel, each byte once.
//!
//! How the work is cut. Frames that hold only whole small extents are opened frame by frame. An extent of several pieces
//! is one task that opens its own frames one after the other, since SHA-256 cannot be cut. So a thread never holds more
//! than one opened frame, and memory is threads times the largest frame, whatever the volume says. A frame shared by
//! both kinds is opened more than once; how often is bounded.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::crypto::OpeningKey;
use crate::digest::{Crc64, Sha256Stream, combine, crc64, zeros};
use crate::format::PackHeader;
use crate::format::record::{Content, Extent, Piece};
use crate::sys::Access;
use crate::sys::lock::lock;
use crate::verify::finding::{FindingKind, Span, chain};
use crate::verify::join::{Part, PartSha};
use crate::verify::walk::{Body, Stored};
use crate::volume::{Error, Openings, OpeningsPool, Plain, Volume};

/// Longest hole whose zeros are hashed: 1 TiB, ten minutes of one core. A hostile record of a few bytes may promise 2^63.
const HOLE_BYTES_MAX: u64 = 1 << 40;
/// How often the frames of a group may be opened altogether, per frame: honest volumes need little more than once.
const OPENINGS_PER_FRAME_MAX: u64 = 8;
/// Openings allowed on top of that. Unit: openings.
const OPENINGS_FLOOR: u64 = 4096;

/// Where a pack's frames are opened.
pub(super) struct Opener<'a> {
    pub(super) volume: &'a Volume,
    pub(super) number: u32,
    pub(super) header: &'a PackHeader,
    pub(super) key: &'a OpeningKey,
    pub(super) pool: &'a OpeningsPool,
    /// How much to keep of frames that no extent names yet. Unit: bytes.
    pub(super) keep_bytes_max: u64,
}

/// What became of one extent.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its digests are right as far as the extent alone can tell.
    Good(Part),
    /// Frames it needs are damaged: these bytes of the file are lost.
    Lost(Vec<Span>),
    /// It contradicts itself, its frames or its checksum.
    Bad(String),
}

/// A frame that did not open.
#[derive(Debug)]
pub(super) struct BadFrame {
    /// Its place in the group.
    pub(super) at: usize,
    pub(super) kind: FindingKind,
    pub(super) text: String,
}

/// What a group's data came to.
pub(super) struct OpenedData {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) bad_frames: Vec<BadFrame>,
    pub(super) plain_bytes: u64,
    /// For each frame what it holds, if an extent that comes later may name it.
    pub(super) kept: Vec<Option<Arc<Plain>>>,
}

type FrameResult = Result<u32, (FindingKind, String)>;

struct Work<'a> {
    opener: &'a Opener<'a>,
    frames: &'a [&'a Stored],
    results: Vec<OnceLock<FrameResult>>,
    /// How often each frame will still be opened, as far as that can be told before: the last one may have its body.
    uses: Vec<AtomicI64>,
    kept: Vec<Mutex<Option<Arc<Plain>>>>,
    kept_bytes: AtomicU64,
    openings: AtomicU64,
}

/// Opens the data frames of a group and checks the extents that name them. `frames` are the data frames of the pack so
/// far: an extent on its way at a commit begins before it. `kept` is what was kept of those of earlier groups; the others
/// are the group's own. `is_lost` says which indexes are known to be damaged.
pub(super) fn open_data(
    opener: &Opener<'_>,
    frames: &[&Stored],
    kept: Vec<Option<Arc<Plain>>>,
    extents: &[&Extent],
    is_lost: &(dyn Fn(u32) -> bool + Sync),
) -> OpenedData {
    let own_from = kept.len();
    let results = frames.iter().map(|_| OnceLock::new()).collect();
    let uses = frames.iter().map(|_| AtomicI64::new(0)).collect();
    let kept_bytes = kept.iter().flatten().map(|plain| plain.len() as u64).sum::<u64>().into();
    let kept = kept.into_iter().chain(std::iter::repeat_with(|| None)).take(frames.len()).map(Mutex::new).collect();
    let work = Work { opener, frames, results, uses, kept, kept_bytes, openings: AtomicU64::new(0) };
    let mut outcomes: Vec<Option<Outcome>> = extents.iter().map(|_| None).collect();
    // Single-piece extents by the frame that holds them; frames an extent of several pieces opens on its own way.
    let mut singles: Vec<Vec<usize>> = frames.iter().map(|_| Vec::new()).collect();
    let mut is_visited = vec![false; frames.len()];
    let mut others = Vec::new();
    for (at, extent) in extents.iter().enumerate() {
        match &extent.content {
            Content::Stored(pieces) => match pieces.as_slice() {
                [piece] if work.place(piece.frame).is_some() => {
                    singles[work.place(piece.frame).unwrap_or_default()].push(at);
                }
                pieces => {
                    let mut last = None;
                    for place in pieces.iter().filter_map(|piece| work.place(piece.frame)) {
                        is_visited[place] = true;
                        if last.replace(place) != Some(place) {
                            work.uses[place].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    others.push(at);
                }
            },
            Content::Hole => others.push(at),
        }
    }
    let is_own = |place: usize| place >= own_from && !is_visited[place];
    let by_itself: Vec<usize> =
        (0..frames.len()).filter(|place| is_own(*place) || !singles[*place].is_empty()).collect();
    for place in &by_itself {
        work.uses[*place].fetch_add(1, Ordering::Relaxed);
    }
    let by_frame: Vec<(usize, Outcome)> = by_itself
        .into_par_iter()
        .map(|place| opener.pool.with(|openings| work.frame_of_singles(openings, place, &singles[place], extents)))
        .flatten_iter()
        .collect();
    let by_extent: Vec<(usize, Outcome)> = others
        .into_par_iter()
        .map(|at| (at, opener.pool.with(|openings| work.extent(openings, extents[at], is_lost))))
        .collect();
    for (at, outcome) in by_frame.into_iter().chain(by_extent) {
        outcomes[at] = Some(outcome);
    }
    let (mut bad_frames, mut plain_bytes) = (Vec::new(), 0_u64);
    for (at, result) in work.results.into_iter().enumerate() {
        match result.into_inner() {
            Some(Ok(bytes)) if at >= own_from => plain_bytes += u64::from(bytes),
            Some(Ok(_)) => {} // counted with its own group
            Some(Err((kind, text))) => bad_frames.push(BadFrame { at, kind, text }),
            None => {}
        }
    }
    let outcomes = outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Outcome::Bad("not checked".into())));
    let kept = work.kept.into_iter().map(|kept| kept.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
    OpenedData { outcomes: outcomes.collect(), bad_frames, plain_bytes, kept }
}

impl Work<'_> {
    /// Place in the group of the data frame with that index.
    fn place(&self, index: u32) -> Option<usize> {
        self.frames.binary_search_by_key(&index, |frame| frame.at.index).ok()
    }

    /// Opens a frame, once more if need be. `None` when it does not open, or was opened too often already.
    fn open(&self, openings: &mut Openings, place: usize) -> Option<Arc<Plain>> {
        let is_last = self.uses[place].fetch_sub(1, Ordering::Relaxed) <= 1;
        if let Some(plain) = self.kept(place, is_last) {
            return Some(plain);
        }
        let before = self.openings.fetch_add(1, Ordering::Relaxed);
        if before > self.frames.len() as u64 * OPENINGS_PER_FRAME_MAX + OPENINGS_FLOOR {
            return None;
        }
        let stored = self.frames[place];
        let opened = self.body(stored, is_last).and_then(|body| {
            let header = self.opener.header;
            let path = self.opener.volume.root();
            openings.open(self.opener.key, &stored.header, &body, header.frame_plain_bytes_max, path)
        });
        let (result, plain) = match opened {
            Ok(plain) => (Ok(u32::try_from(plain.len()).unwrap_or(u32::MAX)), Some(Arc::new(plain))),
            Err(error) => (Err((frame_kind(&error), cause(&error))), None),
        };
        let _ = self.results[place].set(result); // a second opening comes to the same
        plain
    }

    /// What was kept of a frame.
    fn kept(&self, place: usize, is_last: bool) -> Option<Arc<Plain>> {
        let mut kept = lock(&self.kept[place]);
        if !is_last {
            return kept.clone();
        }
        let plain = kept.take()?;
        self.kept_bytes.fetch_sub(plain.len() as u64, Ordering::Relaxed);
        Some(plain)
    }

    /// Keeps what an extent that comes later may need, if there is room.
    fn keep(&self, place: usize, plain: Arc<Plain>) {
        let bytes = plain.len() as u64;
        if self.kept_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.opener.keep_bytes_max {
            self.kept_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return;
        }
        *lock(&self.kept[place]) = Some(plain);
    }

    fn body(&self, stored: &Stored, is_last: bool) -> Result<Body, Error> {
        if let Some(body) = if is_last { stored.take_body() } else { stored.copy_body() } {
            return Ok(body);
        }
        let pack = self.opener.volume.open_pack(self.opener.number, Access::Direct)?;
        pack.read_frame(&stored.at).map(|frame| Body::Own(frame.body))
    }

    fn frame_of_singles(
        &self,
        openings: &mut Openings,
        place: usize,
        singles: &[usize],
        extents: &[&Extent],
    ) -> Vec<(usize, Outcome)> {
        let plain = self.open(openings, place);
        if singles.is_empty() {
            plain.into_iter().for_each(|plain| self.keep(place, plain));
            return Vec::new();
        }
        let check = |at: &usize| {
            let extent = extents[*at];
            let Content::Stored(pieces) = &extent.content else { return (*at, Outcome::Lost(Vec::new())) };
            let outcome = match (&plain, pieces.first()) {
                (Some(plain), Some(piece)) => match slice(plain, piece) {
                    Ok(bytes) => digest(extent, std::iter::once(bytes)),
                    Err(text) => Outcome::Bad(text),
                },
                _ => Outcome::Lost(vec![whole(extent)]),
            };
            (*at, outcome)
        };
        let outcomes = singles.iter().map(check).collect();
        done(openings, plain);
        outcomes
    }

    fn extent(&self, openings: &mut Openings, extent: &Extent, is_lost: &(dyn Fn(u32) -> bool + Sync)) -> Outcome {
        let pieces = match &extent.content {
            Content::Hole => return hole(extent),
            Content::Stored(pieces) => pieces,
        };
        let mut digests = Digests::begin(extent);
        let mut lost = Vec::new();
        let mut opened: Option<(usize, Option<Arc<Plain>>)> = None;
        let mut at = extent.offset;
        for piece in pieces {
            let span = Span { from: at, to: at + u64::from(piece.bytes) };
            at = span.to;
            let Some(place) = self.place(piece.frame) else {
                if !is_lost(piece.frame) {
                    return Outcome::Bad(format!("frame {} is no data frame of its pack", piece.frame));
                }
                lost.push(span);
                continue;
            };
            if opened.as_ref().is_none_or(|(have, _)| *have != place) {
                done(openings, opened.take().and_then(|(_, plain)| plain));
                opened = Some((place, self.open(openings, place)));
            }
            match opened.as_ref().and_then(|(_, plain)| plain.as_ref()) {
                None => lost.push(span),
                Some(plain) => match slice(plain, piece) {
                    Ok(bytes) if lost.is_empty() => digests.update(bytes),
                    Ok(_) => {}
                    Err(text) => return Outcome::Bad(text),
                },
            }
        }
        done(openings, opened.and_then(|(_, plain)| plain));
        if lost.is_empty() { digests.judge(extent) } else { Outcome::Lost(lost) }
    }
}

/// Gives back the memory of a frame unless somebody else looks at it too.
fn done(openings: &mut Openings, plain: Option<Arc<Plain>>) {
    if let Some(plain) = plain.and_then(Arc::into_inner) {
        openings.give_back(plain);
    }
}

/// All bytes of an extent, in its file.
pub(super) fn whole(extent: &Extent) -> Span {
    Span { from: extent.offset, to: extent.offset.saturating_add(extent.length) }
}

fn slice<'a>(plain: &'a [u8], piece: &Piece) -> Result<&'a [u8], String> {
    let (from, bytes) = (piece.at as usize, piece.bytes as usize);
    plain.get(from..from.saturating_add(bytes)).ok_or_else(|| {
        format!("a piece of {bytes} bytes at {from} lies outside frame {} of {} bytes", piece.frame, plain.len())
    })
}

fn hole(extent: &Extent) -> Outcome {
    if zeros(extent.length) != extent.crc64 {
        return Outcome::Bad("its CRC-64 is not that of a hole of its length".to_owned());
    }
    if extent.length > HOLE_BYTES_MAX {
        return Outcome::Bad(format!("a hole of {} bytes is longer than is checked", extent.length));
    }
    let mut digests = Digests::begin(extent);
    digests.crc64 = extent.crc64;
    digests.sha256.update_zeros(extent.length);
    digests.judge(extent)
}

fn digest<'a>(extent: &Extent, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut digests = Digests::begin(extent);
    pieces.for_each(|bytes| digests.update(bytes));
    digests.judge(extent)
}

struct Digests {
    crc64: Crc64,
    sha256: Sha256Stream,
}

impl Digests {
    fn begin(extent: &Extent) -> Self {
        let sha256 = match &extent.states {
            Some(states) => Sha256Stream::resume(&states.start, extent.offset),
            None => Sha256Stream::new(),
        };
        Self { crc64: Crc64::EMPTY, sha256 }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.crc64 = combine(self.crc64, crc64(bytes), bytes.len() as u64);
        self.sha256.update(bytes);
    }

    fn judge(self, extent: &Extent) -> Outcome {
        if self.crc64 != extent.crc64 {
            return Outcome::Bad(format!("its CRC-64 is {}, its record says {}", self.crc64, extent.crc64));
        }
        let chaining = self.sha256.chaining_value();
        let finished = self.sha256.finish();
        let sha = match &extent.states {
            None => PartSha::Whole(finished),
            Some(states) if states.end == finished => {
                PartSha::Chained { start: states.start, end: states.end, ends_file: true }
            }
            Some(states) if Some(states.end) == chaining => {
                PartSha::Chained { start: states.start, end: states.end, ends_file: false }
            }
            Some(_) => return Outcome::Bad("its SHA-256 states are not those of its bytes".to_owned()),
        };
        Outcome::Good(Part { offset: extent.offset, length: extent.length, crc64: extent.crc64, sha })
    }
}

/// Which rule a frame that does not open breaks.
pub(super) fn frame_kind(error: &Error) -> FindingKind {
    match error {
        Error::Crypto { source: crate::crypto::Error::Tag { .. }, .. } => FindingKind::Authentication,
        Error::Io { .. } => FindingKind::Unreadable,
        _ => FindingKind::Content,
    }
}

/// What an error says without naming the path again.
pub(super) fn cause(error: &Error) -> String {
    match error {
        Error::Damaged { reason, .. } => reason.clone(),
        other => std::error::Error::source(other).map_or_else(|| other.to_string(), chain),
    }
}
