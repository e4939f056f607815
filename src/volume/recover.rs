//! The resume rule: what a new run does with the packs an earlier one left. manifests/formats/pack.md section 7.
//!
//! Why cutting is safe. The job database records a commit only after the commit's sync has returned, and no further
//! commit is written to the volume until it has. So in every honest crash the volume holds at most one commit the
//! database does not know, and nobody was told of that one. Cutting back to the last known commit therefore loses nothing
//! that was called staged. Why cutting is not done blindly: if the volume holds more than that, it is the database that
//! is old (a restored backup), and cutting would destroy data that was called staged; so this refuses and changes nothing.
//!
//! Why closing after the cut is safe for the keys. The pack's own key is gone with the process that had it. Bytes written
//! after the last sync may survive on the medium under indexes of that key; the footer therefore uses a key of its own,
//! under a fresh salt and this run's key, and no data is ever added to the pack.

use std::collections::BTreeMap;
use std::path::Path;

use crate::crypto::{self, RunKey};
use crate::digest::{combine, crc64};
use crate::format::{
    BLOCK_BYTES, ENTRIES_PLAIN_BYTES_MAX, FRAME_ALIGN, FRAME_HEADER_BYTES, FooterKeys, FooterReason, FrameHeader,
    FrameKind,
};
use crate::sys::{Access, FsFile, RandomSource};
use crate::volume::error::{At, Error, In};
use crate::volume::open::{Volume, exists};
use crate::volume::pack_writer::{PackState, footer_of};
use crate::volume::paths::{MANIFEST, PACKS, PART, SUMS, pack_path};
use crate::volume::window::Window;

/// A pack as the job database knows it.
pub type KnownPack = PackState;

/// What recovery did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Packs that are closed now and were not in the database: their states after closing.
    pub closed: Vec<PackState>,
    /// Packs that were removed because nothing in them was committed.
    pub removed: Vec<u32>,
    /// Bytes cut off. Unit: bytes.
    pub cut_bytes: u64,
}

enum Action {
    Nothing,
    /// The writer had closed it; only the database had not heard.
    AdoptFooter(PackState),
    Cut(PackState),
    Remove(u32),
}

/// Brings every pack of an open volume to a state that will never change again. Changes nothing before all packs were
/// looked at.
///
/// # Errors
/// [`Error::LostCommit`] when the medium has less than was committed, [`Error::NewerThanJob`] when it has more than an
/// honest crash can leave, and whatever the medium refuses.
pub fn recover_packs(
    volume: &Volume,
    known: &[KnownPack],
    run: &RunKey,
    random: &dyn RandomSource,
) -> Result<Recovered, Error> {
    let known: BTreeMap<u32, &KnownPack> = known.iter().map(|pack| (pack.number, pack)).collect();
    let present = volume.packs()?;
    for (number, pack) in &known {
        if !present.contains(number) && pack.committed_bytes > 0 {
            let path = pack_path(volume.root(), *number);
            return Err(Error::LostCommit { path, expected: pack.committed_bytes, found: 0 });
        }
    }
    let mut unknown_commits = 0;
    let mut actions = Vec::new();
    for number in present {
        let (action, commits) = examine(volume, number, known.get(&number).copied())?;
        unknown_commits += commits;
        actions.push(action);
    }
    if unknown_commits > 1 {
        return Err(Error::NewerThanJob { path: volume.root().to_owned() });
    }
    remove_unfinished(volume)?;
    let mut recovered = Recovered::default();
    for action in actions {
        match action {
            Action::Nothing => {}
            Action::AdoptFooter(state) => recovered.closed.push(state),
            Action::Cut(state) => recovered.closed.push(cut(volume, state, run, random, &mut recovered.cut_bytes)?),
            Action::Remove(number) => {
                let path = pack_path(volume.root(), number);
                volume.fs().remove_file(&path).at("remove", &path)?;
                recovered.removed.push(number);
            }
        }
    }
    if !recovered.removed.is_empty() {
        let dir = volume.root().join(PACKS);
        volume.fs().sync_dir(&dir).at("sync", &dir)?;
    }
    Ok(recovered)
}

/// Steps of a seal that did not reach `SEALED` are done again from the start; nothing refers to their files.
fn remove_unfinished(volume: &Volume) -> Result<(), Error> {
    for name in [SUMS, MANIFEST] {
        for name in [name.to_owned(), format!("{name}{PART}")] {
            let path = volume.root().join(name);
            if exists(&**volume.fs(), &path)? {
                volume.fs().remove_file(&path).at("remove", &path)?;
            }
        }
    }
    Ok(())
}

/// Decides, without writing; also counts the commits the database does not know.
fn examine(volume: &Volume, number: u32, known: Option<&KnownPack>) -> Result<(Action, u32), Error> {
    let path = pack_path(volume.root(), number);
    let fs = volume.fs();
    let file = fs.open_read(&path, Access::Buffered).at("open", &path)?;
    let length = file.len().at("measure", &path)?;
    let Some(known) = known.filter(|known| known.committed_bytes > 0) else {
        let tail = Tail::scan(&path, file, crate::format::PACK_HEADER_BYTES as u64, length, 0)?;
        return Ok((Action::Remove(number), tail.commits));
    };
    let expected = if known.closed.is_some() { known.file_bytes } else { known.committed_bytes };
    if length < expected {
        return Err(Error::LostCommit { path, expected, found: length });
    }
    if known.closed.is_some() {
        return Ok((Action::Nothing, 0));
    }
    let tail = Tail::scan(&path, file, known.committed_bytes, length, known.frames_next)?;
    match tail.footer {
        Some(footer) => Ok((Action::AdoptFooter(footer.adopt(known)), 0)),
        None => Ok((Action::Cut(known.clone()), tail.commits)),
    }
}

/// What stands after the last known commit, found without a key.
struct Tail {
    commits: u32,
    footer: Option<FoundFooter>,
}

struct FoundFooter {
    file_bytes: u64,
    tail_crc64: crate::digest::Crc64,
    tail_bytes: u64,
    keys: FooterKeys,
}

impl Tail {
    fn scan(path: &Path, file: Box<dyn FsFile>, from: u64, length: u64, first_index: u32) -> Result<Self, Error> {
        let span = crate::format::FRAME_PLAIN_BYTES_MAX as usize + 4096;
        let mut window = Window::new(path.to_owned(), file, span, false);
        let mut tail = Self { commits: 0, footer: None };
        let (mut position, mut expected) = (from, first_index);
        while position < length {
            let head = window.bytes(position, FRAME_HEADER_BYTES)?;
            if head.len() >= 8 && head[..8].iter().all(|byte| *byte == 0) {
                position = (position + 1).next_multiple_of(BLOCK_BYTES);
                continue;
            }
            // The tail may be torn anywhere, so the first thing that is not the expected frame ends it.
            let Ok(header) = FrameHeader::decode(head, crate::format::FRAME_PLAIN_BYTES_MAX) else { break };
            let body = window.bytes(position + FRAME_HEADER_BYTES as u64, header.body_bytes as usize)?;
            if header.index != expected || header.check(body).is_err() {
                break;
            }
            match header.kind {
                FrameKind::Commit => tail.commits += 1,
                FrameKind::Footer => {
                    let (keys, _) = FooterKeys::split(body).within(path)?;
                    let file_bytes = header.end(position).next_multiple_of(BLOCK_BYTES);
                    // A footer is closed by the process that wrote the last commit before it, and that one waited
                    // for the database: behind an unknown commit it means that the database is old.
                    if tail.commits > 0 {
                        tail.commits += 1;
                    } else if position == from && file_bytes == length {
                        let tail_bytes = length - from;
                        let bytes = window.bytes(from, usize::try_from(tail_bytes).unwrap_or(usize::MAX).min(span))?;
                        let tail_crc64 = crc64(bytes);
                        tail.footer = Some(FoundFooter { file_bytes, tail_crc64, tail_bytes, keys });
                    }
                    break;
                }
                FrameKind::Data | FrameKind::Entries => {}
            }
            expected = expected.saturating_add(1);
            position = header.end(position).next_multiple_of(FRAME_ALIGN);
        }
        Ok(tail)
    }
}

impl FoundFooter {
    /// The state of a pack that its writer, or an earlier recovery, had closed before the crash.
    fn adopt(self, known: &KnownPack) -> PackState {
        let reason = if self.keys.run == known.run { FooterReason::Complete } else { FooterReason::Cut };
        PackState {
            crc64: combine(known.crc64, self.tail_crc64, self.tail_bytes),
            closed: Some(reason),
            file_bytes: self.file_bytes,
            ..known.clone()
        }
    }
}

/// Cuts the pack back to its last known commit and closes it under this run's key.
fn cut(
    volume: &Volume,
    state: PackState,
    run: &RunKey,
    random: &dyn RandomSource,
    cut_bytes: &mut u64,
) -> Result<PackState, Error> {
    let path = pack_path(volume.root(), state.number);
    let header = volume.open_pack(state.number, Access::Buffered)?.header().clone();
    let file = volume.fs().open_write(&path, Access::Buffered).at("open", &path)?;
    *cut_bytes += file.len().at("measure", &path)?.saturating_sub(state.committed_bytes);
    file.set_len(state.committed_bytes).at("cut", &path)?;
    file.sync_data().at("sync", &path)?;
    let footer = footer_of(&state, state.committed_bytes, FooterReason::Cut);
    let (_, mut block) = crypto::seal_footer(run, &header, &footer, random).within(&path)?;
    block.resize(block.len().next_multiple_of(usize::try_from(BLOCK_BYTES).expect("4096")), 0);
    file.write_all_at(&block, state.committed_bytes).at("write", &path)?;
    file.sync_data().at("sync", &path)?;
    Ok(PackState {
        crc64: combine(state.crc64, crc64(&block), block.len() as u64),
        closed: Some(FooterReason::Cut),
        file_bytes: state.committed_bytes + block.len() as u64,
        ..state
    })
}

const _: () = assert!(ENTRIES_PLAIN_BYTES_MAX <= crate::format::FRAME_PLAIN_BYTES_MAX);
