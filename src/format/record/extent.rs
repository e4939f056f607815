//! BEGIN and EXTENT: where the bytes of a file are. manifests/formats/manifest.md sections 3 and 4.

use crate::digest::{ChainingValue, Crc64};
use crate::format::cursor::{Reader, Writer, narrow};
use crate::format::{Error, path};

const EXTENT: &str = "EXTENT";
const BEGIN: &str = "BEGIN";
const PIECES_MAX: u32 = 1 << 20;

/// A file whose extents follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The entry's id.
    pub id: u64,
    /// Which reading.
    pub generation: u32,
    /// Seconds since 1970 of the modification time when the reading began.
    pub mtime_s: i64,
    /// Nanoseconds of it.
    pub mtime_ns: u32,
    /// Size when the reading began. Unit: bytes.
    pub size: u64,
    /// Path relative to the dataset's top.
    pub path: Vec<u8>,
}

impl Begin {
    pub(super) fn encode(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.u64(self.id).u32(self.generation).u32(self.mtime_ns).i64(self.mtime_s).u64(self.size);
        w.u16(narrow(BEGIN, "path_bytes", self.path.len(), u16::MAX.into())?).zero(6).bytes(&self.path);
        Ok(())
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(BEGIN, body);
        let (id, generation, mtime_ns, mtime_s, size) = (r.u64()?, r.u32()?, r.u32()?, r.i64()?, r.u64()?);
        let path_bytes = r.u16()?;
        r.zero(6)?;
        let path = r.take(path_bytes.into())?.to_vec();
        r.finish()?;
        check_identity(BEGIN, id, generation)?;
        path::check(&path, false)?;
        Ok(Self { id, generation, mtime_s, mtime_ns, size, path })
    }
}

/// Some bytes of a data frame's plain bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Index of the frame in its pack.
    pub frame: u32,
    /// First byte in the frame's plain bytes.
    pub at: u32,
    /// How many.
    pub bytes: u32,
}

/// What the bytes of an extent are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// All zero bytes, not stored.
    Hole,
    /// Pieces of data frames, in the order of the file.
    Stored(Vec<Piece>),
}

/// SHA-256 chaining values around an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShaStates {
    /// After all bytes of the file before the extent.
    pub start: ChainingValue,
    /// After the extent; for the last extent the SHA-256 of the file.
    pub end: ChainingValue,
}

/// Consecutive bytes of one file inside one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The entry's id.
    pub id: u64,
    /// Which reading.
    pub generation: u32,
    /// First byte in the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
    /// CRC-64/NVME of these bytes.
    pub crc64: Crc64,
    /// 0: this pack; in `MANIFEST` the pack's number.
    pub pack: u32,
    /// SHA-256 states; absent when the file has one extent only.
    pub states: Option<ShaStates>,
    /// Where the bytes are.
    pub content: Content,
}

impl Extent {
    pub(super) fn encode(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        let pieces: &[Piece] = match &self.content {
            Content::Hole => &[],
            Content::Stored(pieces) => pieces,
        };
        let flags = u8::from(self.content == Content::Hole) | u8::from(self.states.is_some()) << 1;
        w.u64(self.id).u32(self.generation).u8(flags).zero(3).u64(self.offset).u64(self.length).u64(self.crc64.0);
        w.u32(self.pack).u32(narrow(EXTENT, "piece_count", pieces.len(), PIECES_MAX.into())?);
        if let Some(states) = &self.states {
            w.bytes(&states.start).bytes(&states.end);
        }
        for piece in pieces {
            w.u32(piece.frame).u32(piece.at).u32(piece.bytes);
        }
        Ok(())
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(EXTENT, body);
        let (id, generation, flags) = (r.u64()?, r.u32()?, r.u8()?);
        r.zero(3)?;
        let (offset, length, crc64, pack, piece_count) = (r.u64()?, r.u64()?, Crc64(r.u64()?), r.u32()?, r.u32()?);
        check_identity(EXTENT, id, generation)?;
        if flags > 3 {
            return Err(Error::field(EXTENT, "flags", "bits 0 and 1 only", format!("{flags:#b}")));
        }
        let (is_hole, has_states) = (flags & 1 != 0, flags & 2 != 0);
        let end = offset.checked_add(length).filter(|end| i64::try_from(*end).is_ok());
        if length == 0 || end.is_none() {
            return Err(Error::field(
                EXTENT,
                "offset and length",
                "1 byte or more, end below 2^63",
                format!("{offset}, {length}"),
            ));
        }
        if has_states && !offset.is_multiple_of(64) {
            return Err(Error::field(EXTENT, "offset", "a multiple of 64", offset));
        }
        if is_hole != (piece_count == 0) || piece_count > PIECES_MAX {
            return Err(Error::field(EXTENT, "piece_count", "0 for a hole, else 1 to 1048576", piece_count));
        }
        let states = if has_states { Some(ShaStates { start: r.array()?, end: r.array()? }) } else { None };
        let content = if is_hole { Content::Hole } else { Content::Stored(pieces(&mut r, piece_count, length)?) };
        r.finish()?;
        Ok(Self { id, generation, offset, length, crc64, pack, states, content })
    }
}

fn pieces(r: &mut Reader<'_>, count: u32, length: u64) -> Result<Vec<Piece>, Error> {
    let mut bytes = Reader::new(EXTENT, r.take(count as usize * 12)?); // the bytes are there before memory is taken
    let mut pieces = Vec::with_capacity(count as usize);
    let mut sum = 0_u64;
    for _ in 0..count {
        let piece = Piece { frame: bytes.u32()?, at: bytes.u32()?, bytes: bytes.u32()? };
        if piece.bytes == 0 || piece.at.checked_add(piece.bytes).is_none() {
            return Err(Error::field(EXTENT, "piece", "1 byte or more, inside a frame", format!("{piece:?}")));
        }
        sum += u64::from(piece.bytes);
        pieces.push(piece);
    }
    if sum != length {
        return Err(Error::field(EXTENT, "pieces", format!("{length} bytes together"), sum));
    }
    Ok(pieces)
}

fn check_identity(record: &'static str, id: u64, generation: u32) -> Result<(), Error> {
    if id == 0 || generation == 0 {
        return Err(Error::field(record, "id and generation", "1 or more", format!("{id}, {generation}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::record::{Record, Records};

    fn round_trip(record: &Record) -> Result<Record, Error> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes)?;
        Records::new(&bytes).next().expect("one record")
    }

    fn stored(pieces: Vec<Piece>) -> Extent {
        let length = pieces.iter().map(|piece| u64::from(piece.bytes)).sum();
        let states = Some(ShaStates { start: [1; 32], end: [2; 32] });
        let content = Content::Stored(pieces);
        Extent { id: 1, generation: 1, offset: 64, length, crc64: Crc64(3), pack: 0, states, content }
    }

    proptest! {
        #[test]
        fn extents_survive_the_round_trip(pieces in proptest::collection::vec((any::<u32>(), 0_u32..1000, 1_u32..1000), 1..20), plain in any::<bool>()) {
            let pieces = pieces.into_iter().map(|(frame, at, bytes)| Piece { frame, at, bytes }).collect();
            let mut extent = stored(pieces);
            if plain { extent.states = None; extent.offset = 7; }
            let record = Record::Extent(extent);
            prop_assert_eq!(round_trip(&record), Ok(record));
        }
    }

    #[test]
    fn holes_and_begins_survive_the_round_trip() {
        let hole = Extent { content: Content::Hole, ..stored(vec![Piece { frame: 0, at: 0, bytes: 9 }]) };
        let begin = Begin { id: 1, generation: 2, mtime_s: -3, mtime_ns: 4, size: 5, path: b"a/b".to_vec() };
        for record in [Record::Extent(hole), Record::Begin(begin)] {
            assert_eq!(round_trip(&record), Ok(record));
        }
    }

    #[test]
    fn extents_that_point_outside_or_lie_about_their_length_are_refused() {
        let good = stored(vec![Piece { frame: 0, at: 0, bytes: 9 }]);
        type Edit = (&'static str, fn(&mut Extent));
        let edits: Vec<Edit> = vec![
            ("no bytes", |e| e.length = 0),
            ("length", |e| e.length = 10),
            ("near 2^64", |e| e.offset = u64::MAX - 63),
            ("near 2^63", |e| e.offset = 1 << 63),
            ("states between blocks", |e| e.offset = 63),
            ("no pieces", |e| e.content = Content::Stored(Vec::new())),
            ("piece past 2^32", |e| e.content = Content::Stored(vec![Piece { frame: 0, at: u32::MAX, bytes: 9 }])),
        ];
        for (what, edit) in edits {
            let mut bad = good.clone();
            edit(&mut bad);
            assert!(round_trip(&Record::Extent(bad)).is_err(), "{what}");
        }
    }
}
