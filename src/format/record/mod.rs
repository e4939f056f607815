//! Records: what the bytes in data frames are. manifests/formats/manifest.md.
//!
//! One file per record kind; this one owns the framing around them.

mod entry;
mod extent;
mod other;

pub use entry::{Attribute, Entry, EntryState, EntryType};
pub use extent::{Begin, Content, Extent, Piece, ShaStates};
pub use other::{Deleted, PackRecord, Problem, ProblemCode, Summary};

use crate::format::cursor::{Reader, Writer, narrow};
use crate::format::{ENTRIES_PLAIN_BYTES_MAX, Error};

const RECORD: &str = "record";
const HEAD_BYTES: usize = 8;

/// Kinds from here on may be skipped by readers that do not know them.
pub const KIND_MAY_IGNORE: u16 = 0x8000;

/// Any record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// The last word about a path.
    Entry(Entry),
    /// A file whose extents follow.
    Begin(Begin),
    /// Consecutive bytes of one file.
    Extent(Extent),
    /// A path that could not be staged.
    Problem(Problem),
    /// A pack of this volume (`MANIFEST` only).
    Pack(PackRecord),
    /// Counts (`MANIFEST` only).
    Summary(Summary),
    /// A path that no longer exists at the source.
    Deleted(Deleted),
}

impl Record {
    fn kind(&self) -> u16 {
        match self {
            Self::Entry(_) => 1,
            Self::Begin(_) => 2,
            Self::Extent(_) => 3,
            Self::Problem(_) => 4,
            Self::Pack(_) => 5,
            Self::Summary(_) => 6,
            Self::Deleted(_) => 7,
        }
    }

    /// Appends the record.
    ///
    /// # Errors
    /// When a field does not fit, or the record an entries frame; `bytes` is then as before.
    pub fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let start = bytes.len();
        let result = self.encode_inner(bytes, start);
        if result.is_err() {
            bytes.truncate(start);
        }
        result
    }

    fn encode_inner(&self, bytes: &mut Vec<u8>, start: usize) -> Result<(), Error> {
        let mut w = Writer(bytes);
        w.u32(0).u16(self.kind()).zero(2);
        match self {
            Self::Entry(entry) => entry.encode(&mut w)?,
            Self::Begin(begin) => begin.encode(&mut w)?,
            Self::Extent(extent) => extent.encode(&mut w)?,
            Self::Problem(problem) => problem.encode(&mut w)?,
            Self::Pack(pack) => pack.encode(&mut w),
            Self::Summary(summary) => summary.encode(&mut w),
            Self::Deleted(deleted) => deleted.encode(&mut w)?,
        }
        let limit = u64::from(ENTRIES_PLAIN_BYTES_MAX);
        let length: u32 = narrow(RECORD, "record_bytes", bytes.len() - start, limit)?;
        if u64::from(length) > limit {
            return Err(Error::TooLarge { record: RECORD, field: "record_bytes", found: length.into(), limit });
        }
        bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}

/// Reads the records of one entries frame, one after the other. Unknown records that may be ignored are skipped.
#[derive(Debug)]
pub struct Records<'a>(Reader<'a>);

impl<'a> Records<'a> {
    /// Over the plain bytes of an entries frame.
    pub fn new(plain: &'a [u8]) -> Self {
        Self(Reader::new(RECORD, plain))
    }

    fn read(&mut self) -> Result<Option<Record>, Error> {
        while !self.0.is_empty() {
            let length = self.0.u32()?;
            let kind = self.0.u16()?;
            self.0.zero(2)?;
            let body = usize::try_from(length)
                .ok()
                .and_then(|length| length.checked_sub(HEAD_BYTES))
                .ok_or_else(|| Error::field(RECORD, "record_bytes", "8 or more", length))?;
            if let Some(record) = decode(kind, self.0.take(body)?)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.read().transpose();
        if matches!(result, Some(Err(_))) {
            self.0 = Reader::new(RECORD, &[]); // after an error the rest cannot be framed
        }
        result
    }
}

fn decode(kind: u16, body: &[u8]) -> Result<Option<Record>, Error> {
    Ok(Some(match kind {
        1 => Record::Entry(Entry::decode(body)?),
        2 => Record::Begin(Begin::decode(body)?),
        3 => Record::Extent(Extent::decode(body)?),
        4 => Record::Problem(Problem::decode(body)?),
        5 => Record::Pack(PackRecord::decode(body)?),
        6 => Record::Summary(Summary::decode(body)?),
        7 => Record::Deleted(Deleted::decode(body)?),
        KIND_MAY_IGNORE.. => return Ok(None),
        unknown => {
            return Err(Error::field(RECORD, "kind", "1 to 7, or 0x8000 and up", unknown));
        }
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn summary() -> Record {
        Record::Summary(Summary { entries: 1, extents: 2, problems: 3, content_bytes: 4, packs: 5, pack_bytes: 6 })
    }

    #[test]
    fn unknown_records_are_skipped_or_refused_by_their_number() {
        let mut bytes = Vec::new();
        Writer(&mut bytes).u32(10).u16(0x8001).zero(2).bytes(b"xy");
        summary().encode(&mut bytes).expect("fits");
        let records: Result<Vec<_>, _> = Records::new(&bytes).collect();
        assert_eq!(records, Ok(vec![summary()]));
        bytes[4..6].copy_from_slice(&9_u16.to_le_bytes());
        let error = Records::new(&bytes).next().expect("one").expect_err("refused").to_string();
        assert!(error.contains('9'), "{error}");
    }

    #[test]
    fn lengths_that_are_too_short_or_too_long_are_refused() {
        for length in [0_u32, 7, 57, u32::MAX] {
            let mut bytes = Vec::new();
            summary().encode(&mut bytes).expect("fits");
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            assert!(Records::new(&bytes).next().expect("one").is_err(), "{length}");
        }
    }

    #[test]
    fn a_record_with_bytes_left_over_is_refused() {
        let mut bytes = Vec::new();
        summary().encode(&mut bytes).expect("fits");
        bytes.push(0);
        let length = u32::try_from(bytes.len()).expect("small");
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(Records::new(&bytes).next(), Some(Err(Error::LeftOver { left: 1, .. }))));
    }

    proptest! {
        #[test]
        fn any_bytes_give_records_or_an_error_and_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Records::new(&bytes).count() <= 300);
        }

        #[test]
        fn any_body_of_any_kind_gives_a_record_or_an_error(kind in 0_u16..9, body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(kind, &body);
        }
    }
}
