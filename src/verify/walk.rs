//! One pass over a file in pack form: checksums, padding, order of frames, commits and footer; and, on the same pass, its
//! groups for whoever holds a key.
//!
//! Invariants: every byte is read once; what follows the last commit of an open volume's pack is a torn tail and no
//! finding, unless it is followed by a commit after all.

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard};

use crate::digest::{Crc64, Sha256};
use crate::format::{BLOCK_BYTES, FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::monitor::Monitor;
use crate::sys::lock::lock;
use crate::verify::finding::{Finding, FindingKind, chain};
use crate::volume::{Damage, Error, FrameAt, FrameWalk, SharedBytes, Step};

/// Most frames in one pack. Source: pack.md section 3.
const FRAMES_PER_PACK_MAX: u32 = 1 << 20;

/// A frame with a good checksum.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) at: FrameAt,
    pub(super) header: FrameHeader,
    body: Mutex<Option<Body>>,
}

/// The body of a frame, still sealed.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// Where it was read: it keeps the chunk of the file around it.
    Shared(SharedBytes),
    /// By itself, so that a few bytes do not keep a chunk.
    Own(Vec<u8>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }
}

impl Stored {
    pub(super) fn without_body(&self) -> Self {
        Self { at: self.at, header: self.header, body: Mutex::default() }
    }

    /// Its body, for whoever opens it last; `None` when it was not kept or is taken, and must be read again.
    pub(super) fn take_body(&self) -> Option<Body> {
        self.lock().take()
    }

    /// Its body, for whoever opens it before others do.
    pub(super) fn copy_body(&self) -> Option<Body> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Body>> {
        lock(&self.body)
    }

    pub(super) fn at_kind(&self) -> FrameKind {
        self.header.kind
    }
}

/// Frames up to a commit, a footer or the end of the file.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) frames: Vec<Stored>,
    pub(super) damages: Vec<Damage>,
    /// The commit or footer that ends it.
    pub(super) end: Option<Stored>,
}

/// What kind of file it is, and how much of it to keep.
pub(super) struct Walking<'a> {
    pub(super) volume: u32,
    pub(super) file: String,
    pub(super) is_manifest: bool,
    pub(super) sealed: bool,
    /// How much of a group to keep; `None`: nothing. Unit: bytes.
    pub(super) keep_bytes_max: Option<u64>,
    pub(super) monitor: &'a dyn Monitor,
}

/// What the walk came to.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) findings: Vec<Finding>,
    pub(super) notes: Vec<String>,
    pub(super) frames: u64,
    pub(super) commits: u32,
    pub(super) footer: bool,
    pub(super) damaged: bool,
    pub(super) file_bytes: u64,
    pub(super) crc64: Crc64,
    pub(super) sha256: Option<Sha256>,
}

struct State<'a, 'b> {
    walking: &'a Walking<'b>,
    walked: Walked,
    group: Group,
    held_bytes: u64,
    /// The last body that was kept where it was read.
    last_shared: Option<SharedBytes>,
    /// Damage since the last commit: findings once a commit or footer follows or the volume is sealed.
    pending: Vec<Finding>,
    after_commit: bool,
    read_bytes: u64,
}

/// Walks the file, handing over each group as it ends. `take` may block: that is what bounds the memory.
///
/// # Errors
/// When the medium cannot be read.
pub(super) fn walk(mut frames: FrameWalk, walking: &Walking<'_>, mut take: impl FnMut(Group)) -> Result<Walked, Error> {
    let file_bytes = frames.file_bytes();
    let mut state = State {
        walking,
        walked: Walked { file_bytes, ..Walked::default() },
        group: Group::default(),
        held_bytes: 0,
        last_shared: None,
        pending: Vec::new(),
        after_commit: false,
        read_bytes: 0,
    };
    while let Some(step) = frames.advance()? {
        match step {
            Step::Damage(damage) => state.damage(damage),
            Step::Frame { offset, header, body } => {
                if let Some(group) = state.frame(offset, header, body) {
                    take(group);
                }
            }
        }
    }
    let rest = state.end();
    if !rest.frames.is_empty() || !rest.damages.is_empty() {
        take(rest);
    }
    let unreadable = frames.unreadable();
    if let (Some(first), Some(last)) = (unreadable.first(), unreadable.last()) {
        let bytes: u64 = unreadable.iter().map(|(from, to)| to - from).sum();
        let text = format!("the medium does not give {bytes} bytes in {} places", unreadable.len());
        let finding = state.finding(FindingKind::Unreadable, text).bytes(first.0, last.1);
        state.walked.findings.push(finding);
        state.walked.damaged = true;
    }
    let (crc64, sha256) = frames.finish()?;
    walking.monitor.volume_bytes(walking.volume, file_bytes.saturating_sub(state.read_bytes));
    Ok(Walked { crc64, sha256, ..state.walked })
}

impl State<'_, '_> {
    fn finding(&self, kind: FindingKind, text: impl Into<String>) -> Finding {
        Finding::new(kind, self.walking.volume, self.walking.file.as_str(), text)
    }

    fn damage(&mut self, damage: Damage) {
        let next = damage.next_index.unwrap_or(damage.first_index.saturating_add(1)).max(damage.first_index);
        let mut finding = self.finding(FindingKind::Frame, damage.reason.clone()).bytes(damage.from, damage.to);
        finding = finding.frames(damage.first_index, next);
        if self.walked.footer {
            self.walked.findings.push(finding);
        } else {
            self.pending.push(finding);
        }
        self.group.damages.push(damage);
        self.after_commit = false;
    }

    fn frame(&mut self, offset: u64, header: FrameHeader, body: SharedBytes) -> Option<Group> {
        self.walked.frames += 1;
        let end = header.end(offset);
        self.walking.monitor.volume_bytes(self.walking.volume, end.saturating_sub(self.read_bytes));
        self.read_bytes = end;
        self.check_order(offset, &header);
        let stored = self.store(offset, header, body);
        match header.kind {
            FrameKind::Data | FrameKind::Entries => {
                self.group.frames.push(stored);
                None
            }
            FrameKind::Commit | FrameKind::Footer => {
                self.walked.damaged |= !self.pending.is_empty();
                self.walked.findings.append(&mut self.pending);
                self.after_commit = header.kind == FrameKind::Commit;
                self.walked.commits += u32::from(header.kind == FrameKind::Commit);
                self.walked.footer |= header.kind == FrameKind::Footer;
                (self.held_bytes, self.last_shared) = (0, None);
                let group = std::mem::take(&mut self.group);
                Some(Group { end: Some(stored), ..group })
            }
        }
    }

    /// Rules on the order of frames that need no key. A rule that damage just before explains is not broken.
    fn check_order(&mut self, offset: u64, header: &FrameHeader) {
        let at_block = offset.is_multiple_of(BLOCK_BYTES);
        let explained = !self.group.damages.is_empty();
        let broken = match header.kind {
            _ if header.index >= FRAMES_PER_PACK_MAX && !self.walking.is_manifest => {
                Some("more frames than a pack may hold")
            }
            FrameKind::Data if self.walking.is_manifest => Some("a data frame in MANIFEST"),
            FrameKind::Commit if !at_block => Some("a commit that does not begin at a multiple of 4096"),
            FrameKind::Commit if self.walking.is_manifest && self.walked.commits > 0 => {
                Some("a second commit in MANIFEST")
            }
            FrameKind::Footer if !self.group.frames.is_empty() && !explained => {
                Some("frames stand between the last commit and the footer")
            }
            _ if self.after_commit && !at_block => Some("a frame in the block of a commit"),
            _ => None,
        };
        if let Some(text) = broken {
            let finding = self.finding(FindingKind::Order, text).frames(header.index, header.index.saturating_add(1));
            self.walked.findings.push(finding.bytes(offset, header.end(offset)));
        }
        self.after_commit = false;
    }

    /// Keeps the body if a key will want it and there is room.
    fn store(&mut self, offset: u64, header: FrameHeader, body: SharedBytes) -> Stored {
        let at = FrameAt { index: header.index, offset, body_bytes: header.body_bytes };
        let body = self.walking.keep_bytes_max.and_then(|max| self.kept(max, header.kind, body));
        Stored { at, header, body: Mutex::new(body) }
    }

    fn kept(&mut self, bytes_max: u64, kind: FrameKind, body: SharedBytes) -> Option<Body> {
        if kind != FrameKind::Data {
            self.held_bytes += body.len() as u64;
            return Some(Body::Own(body.to_vec())); // records, commits and footers are always needed
        }
        if !self.last_shared.as_ref().is_some_and(|last| last.is_beside(&body)) {
            let bytes = body.kept_bytes() as u64;
            if self.held_bytes + bytes > bytes_max {
                return None;
            }
            self.held_bytes += bytes;
            self.last_shared = Some(body.clone());
        }
        Some(Body::Shared(body))
    }

    /// A file that ends within the block of its footer. On an open volume power may have gone before the sync of that block
    /// returned; the next run closes the pack again.
    fn torn_behind_footer(&mut self) {
        let length = self.walked.file_bytes;
        if self.walking.sealed || self.walking.is_manifest {
            let text = format!("{length} bytes long, which is no multiple of 4096");
            let finding = self.finding(FindingKind::Order, text);
            self.walked.findings.push(finding);
            return;
        }
        let (volume, file) = (self.walking.volume, &self.walking.file);
        let note =
            format!("volume {volume}, {file}: torn at byte {length}, behind its footer: the next run closes it again");
        self.walked.notes.push(note);
    }

    fn end(&mut self) -> Group {
        let rest = std::mem::take(&mut self.group);
        if self.walked.footer {
            self.walked.damaged |= !rest.damages.is_empty();
            if !self.walked.file_bytes.is_multiple_of(BLOCK_BYTES) {
                self.torn_behind_footer();
            }
            return rest;
        }
        if self.walking.sealed || self.walking.is_manifest {
            self.walked.damaged = true;
            self.walked.findings.append(&mut self.pending);
            let finding = self.finding(FindingKind::Footer, "it ends without its footer");
            self.walked.findings.push(finding);
            return rest;
        }
        if !self.pending.is_empty() || !rest.frames.is_empty() {
            let from = rest.frames.first().map(|frame| frame.at.offset);
            let from = from.into_iter().chain(rest.damages.first().map(|damage| damage.from)).min().unwrap_or(0);
            let note = format!(
                "volume {}, {}: {} bytes after the last commit, from byte {from}, are the torn tail of an open pack",
                self.walking.volume,
                self.walking.file,
                self.walked.file_bytes.saturating_sub(from),
            );
            self.walked.notes.push(note);
            self.pending.clear();
        }
        Group::default() // a reader shows nothing of a group without its commit
    }
}

/// The finding for a file that cannot be opened or read.
pub(super) fn unreadable(volume: u32, file: &str, error: &Error) -> Finding {
    let kind = match error {
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => FindingKind::Missing,
        Error::Format { .. } | Error::Limit { .. } => FindingKind::Header,
        _ => FindingKind::Unreadable,
    };
    Finding::new(kind, volume, file, chain(error))
}

const _: () = assert!(FRAME_HEADER_BYTES as u64 <= BLOCK_BYTES);
