//! Small files: many share one frame, read, digested, compressed and sealed by one worker in one go.

use std::io;
use std::sync::Arc;

use crate::digest::{crc64, sha256};
use crate::format::record::{Content, Extent, Piece, ProblemCode, Record};
use crate::job::Read;
use crate::stage::item::Item;
use crate::stage::lane::worst_bytes;
use crate::stage::open_pack::Need;
use crate::stage::squeeze::Compressor;
use crate::stage::worker::{FRONT, Halt, Shared, Taken, entry, shown, state};
use crate::sys::source::SourceFile;

/// Stages files that together fit one frame.
pub(super) fn stage(shared: &Arc<Shared>, compressor: &mut Compressor, items: Vec<Item>) -> Result<(), Halt> {
    let plain: u64 = items.iter().map(|item| item.facts.size).sum();
    let path_bytes = items.iter().map(|item| item.path.len() as u64).sum();
    let records = items.len() as u64 * 2;
    let need = Need { bytes: worst_bytes(plain, 1), frames: 1, records };
    // ORDER: room first, memory second. Whoever waits for room holds no memory that others may need to give room back.
    let hold = shared.hold(worst_bytes(plain, 1), path_bytes, records)?;
    let (mut frame, spare) = shared.pool.take_two_used()?;
    frame.truncate(0);
    frame.resize(FRONT, 0);

    let mut taken = Vec::with_capacity(items.len());
    let mut grown = Vec::new();
    for item in items {
        if shared.stop.is_set() {
            return Err(Halt::Stopped);
        }
        match read(shared, &item, &mut frame) {
            Ok(Outcome::Taken(file)) => taken.push(file.with(item)),
            Ok(Outcome::Outgrew) => grown.push(item),
            Ok(Outcome::Refused) => {}
            Err(Trouble::Source(error)) => shared.unreadable(&item, "cannot be read", &error),
            Err(Trouble::EndedEarly { expected, found }) => {
                let text = format!("ended after {found} bytes where the file system says {expected}");
                shared.problem(&item, ProblemCode::EndedEarly, None, &text);
            }
        }
    }
    if taken.is_empty() {
        drop((frame, spare));
    } else {
        let lane = Arc::clone(hold.lane());
        let slot = lane.slot(&hold, need)?;
        let plain_bytes = (frame.len() - FRONT) as u64;
        if plain_bytes == 0 {
            drop((frame, spare));
            slot.record(taken.into_iter().map(|file| Record::Entry(entry(&file.item, &file.facts, &file.read))));
        } else {
            let sealed = shared.seal(&slot, compressor, frame, spare)?;
            let index = sealed.header.index;
            let mut records = Vec::with_capacity(taken.len() * 2);
            records.extend(taken.into_iter().flat_map(|file| records_of(file, index)));
            slot.record(records);
            slot.send(sealed, plain_bytes);
        }
    }
    drop(hold);
    for item in grown {
        tracing::debug!(path = %shown(&item), "grew since it was listed");
        super::large::stage(shared, item, None)?;
    }
    Ok(())
}

fn records_of(file: Taken, frame: u32) -> Vec<Record> {
    let entry = Record::Entry(entry(&file.item, &file.facts, &file.read));
    if file.piece.bytes == 0 {
        return vec![entry];
    }
    let extent = Extent {
        id: file.item.id,
        generation: file.item.generation,
        offset: 0,
        length: file.piece.bytes.into(),
        crc64: file.crc64,
        pack: 0,
        states: None,
        content: Content::Stored(vec![Piece { frame, ..file.piece }]),
    };
    vec![Record::Extent(extent), entry]
}

enum Outcome {
    Taken(Box<Half>),
    /// It is larger now than when it was listed, and may not fit the frame.
    Outgrew,
    /// It keeps changing, and the rule for it says that it is not staged then. That is on record.
    Refused,
}

/// Everything of [`Taken`] but the item.
struct Half {
    facts: crate::job::Facts,
    read: Read,
    crc64: crate::digest::Crc64,
    piece: Piece,
}

impl Half {
    fn with(self: Box<Self>, item: Item) -> Taken {
        Taken { item, facts: self.facts, read: self.read, crc64: self.crc64, piece: self.piece }
    }
}

enum Trouble {
    Source(io::Error),
    EndedEarly { expected: u64, found: u64 },
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Source(error)
    }
}

/// Appends one file to the frame. A file that changes while it is read is read again, and on the last reading taken as it
/// was read, marked as changed. A file that ends before its size without having changed is an error of the source.
fn read(shared: &Shared, item: &Item, frame: &mut Vec<u8>) -> Result<Outcome, Trouble> {
    let start = frame.len();
    let outcome = read_inner(shared, item, frame, start);
    if !matches!(outcome, Ok(Outcome::Taken(_))) {
        frame.truncate(start);
    }
    outcome
}

fn read_inner(shared: &Shared, item: &Item, frame: &mut Vec<u8>, start: usize) -> Result<Outcome, Trouble> {
    let (file, opened) = SourceFile::open_and_look(&item.place)?;
    let mut before = opened;
    for reading in 1..=shared.moving.readings_max() {
        if reading > 1 {
            before = file.identity()?;
        }
        if before.size > item.facts.size {
            return Ok(Outcome::Outgrew);
        }
        let wanted = usize::try_from(before.size).expect("at most half a frame");
        frame.truncate(start);
        frame.resize(start + wanted, 0);
        let got = file.read_full_at(&mut frame[start..], 0)?;
        frame.truncate(start + got);
        shared.paced(got as u64);
        let after = file.identity()?;
        let is_stable = !after.changed_since(&before);
        if got < wanted && is_stable {
            return Err(Trouble::EndedEarly { expected: before.size, found: got as u64 });
        }
        if !is_stable && reading < shared.moving.readings_max() {
            continue;
        }
        if !is_stable && !shared.takes_changed(item) {
            return Ok(Outcome::Refused);
        }
        let content = &frame[start..];
        let attributes = shared.attributes(item, file.xattrs(), &after);
        let mut facts = shared.facts_now(item, &after, attributes);
        facts.size = got as u64;
        let crc = crc64(content);
        let read = Read {
            generation: item.generation,
            state: state(is_stable),
            extent_count: u32::from(got > 0),
            crc64: crc,
            sha256: sha256(content),
        };
        let at = u32::try_from(start - FRONT).expect("inside a frame");
        let bytes = u32::try_from(got).expect("at most half a frame");
        let piece = Piece { frame: 0, at, bytes };
        return Ok(Outcome::Taken(Box::new(Half { facts, read, crc64: crc, piece })));
    }
    Ok(Outcome::Outgrew) // never reached: the last reading returns
}
