//! PROBLEM, PACK, SUMMARY, DELETED. manifests/formats/manifest.md sections 5, 6 and 8.

use crate::digest::Crc64;
use crate::format::cursor::{Reader, Writer, narrow};
use crate::format::{Error, FooterReason, RunId, path};

/// Why a path could not be staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemCode {
    /// Opening, listing or reading failed.
    Unreadable,
    /// Gone between being listed and being read.
    Vanished,
    /// Changed while read, in every attempt.
    Changed,
    /// The name cannot be stored.
    Name,
    /// The metadata cannot be stored.
    Metadata,
    /// A special file, skipped by rule.
    Skipped,
    /// The content ended before the size the file system gave.
    EndedEarly,
}

impl ProblemCode {
    /// All codes, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Unreadable, Self::Vanished, Self::Changed, Self::Name, Self::Metadata, Self::Skipped, Self::EndedEarly];

    /// The number in the record, also used by the job database.
    pub fn code(self) -> u16 {
        match self {
            Self::Unreadable => 1,
            Self::Vanished => 2,
            Self::Changed => 3,
            Self::Name => 4,
            Self::Metadata => 5,
            Self::Skipped => 6,
            Self::EndedEarly => 7,
        }
    }

    /// The code with that number.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|problem| problem.code() == code)
    }

    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Vanished => "vanished",
            Self::Changed => "changed-while-read",
            Self::Name => "name-not-storable",
            Self::Metadata => "metadata-not-storable",
            Self::Skipped => "skipped-special",
            Self::EndedEarly => "ended-early",
        }
    }
}

/// A path that could not be staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The entry's id, 0 when it has none.
    pub id: u64,
    /// Why.
    pub code: ProblemCode,
    /// The system's error number, 0 when there was none.
    pub errno: u32,
    /// Path relative to the dataset's top.
    pub path: Vec<u8>,
    /// For people.
    pub text: String,
}

impl Problem {
    pub(super) fn encode(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        const RECORD: &str = "PROBLEM";
        w.u64(self.id).u32(self.errno).u16(self.code.code());
        w.u16(narrow(RECORD, "path_bytes", self.path.len(), u16::MAX.into())?);
        w.u16(narrow(RECORD, "text_bytes", self.text.len(), u16::MAX.into())?).zero(6);
        w.bytes(&self.path).bytes(self.text.as_bytes());
        Ok(())
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Error> {
        const RECORD: &str = "PROBLEM";
        let mut r = Reader::new(RECORD, body);
        let (id, errno, code) = (r.u64()?, r.u32()?, r.u16()?);
        let (path_bytes, text_bytes) = (r.u16()?, r.u16()?);
        r.zero(6)?;
        let path = r.take(path_bytes.into())?.to_vec();
        let text = r.take(text_bytes.into())?;
        r.finish()?;
        let code = ProblemCode::from_code(code).ok_or_else(|| Error::field(RECORD, "code", "1 to 7", code))?;
        let text =
            String::from_utf8(text.to_vec()).map_err(|_| Error::field(RECORD, "text", "UTF-8", "other bytes"))?;
        Ok(Self { id, code, errno, path, text })
    }
}

/// A pack of this volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRecord {
    /// Its number.
    pub number: u32,
    /// Frames, footer included.
    pub frame_count: u32,
    /// Length of the file. Unit: bytes.
    pub file_bytes: u64,
    /// CRC-64/NVME of the whole file.
    pub crc64: Crc64,
    /// Commits in it.
    pub commit_count: u32,
    /// Complete, or cut after a crash.
    pub reason: FooterReason,
    /// The run that wrote it.
    pub run: RunId,
}

impl PackRecord {
    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        w.u32(self.number).u32(self.frame_count).u64(self.file_bytes).u64(self.crc64.0).u32(self.commit_count);
        w.u8(match self.reason {
            FooterReason::Complete => 1,
            FooterReason::Cut => 2,
        });
        w.zero(3).bytes(&self.run.0);
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Error> {
        const RECORD: &str = "PACK";
        let mut r = Reader::new(RECORD, body);
        let (number, frame_count, file_bytes) = (r.u32()?, r.u32()?, r.u64()?);
        let (crc64, commit_count) = (Crc64(r.u64()?), r.u32()?);
        let reason = match r.u8()? {
            1 => FooterReason::Complete,
            2 => FooterReason::Cut,
            other => return Err(Error::field(RECORD, "reason", "1 or 2", other)),
        };
        r.zero(3)?;
        let run = RunId(r.array()?);
        r.finish()?;
        if number == 0 {
            return Err(Error::field(RECORD, "pack_number", "1 or more", 0));
        }
        Ok(Self { number, frame_count, file_bytes, crc64, commit_count, reason, run })
    }
}

/// Counts over one `MANIFEST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// ENTRY records.
    pub entries: u64,
    /// EXTENT records.
    pub extents: u64,
    /// PROBLEM records.
    pub problems: u64,
    /// Sum of extent lengths, holes included.
    pub content_bytes: u64,
    /// PACK records.
    pub packs: u64,
    /// Sum of the packs' lengths.
    pub pack_bytes: u64,
}

impl Summary {
    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        w.u64(self.entries).u64(self.extents).u64(self.problems);
        w.u64(self.content_bytes).u64(self.packs).u64(self.pack_bytes);
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new("SUMMARY", body);
        let summary = Self {
            entries: r.u64()?,
            extents: r.u64()?,
            problems: r.u64()?,
            content_bytes: r.u64()?,
            packs: r.u64()?,
            pack_bytes: r.u64()?,
        };
        r.finish()?;
        Ok(summary)
    }
}

/// A path that no longer exists at the source, from that generation on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The entry's id.
    pub id: u64,
    /// Higher than that of any reading before.
    pub generation: u32,
    /// Path relative to the dataset's top.
    pub path: Vec<u8>,
}

impl Deleted {
    pub(super) fn encode(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.u64(self.id).u32(self.generation);
        w.u16(narrow("DELETED", "path_bytes", self.path.len(), u16::MAX.into())?).zero(2).bytes(&self.path);
        Ok(())
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new("DELETED", body);
        let (id, generation, path_bytes) = (r.u64()?, r.u32()?, r.u16()?);
        r.zero(2)?;
        let path = r.take(path_bytes.into())?.to_vec();
        r.finish()?;
        path::check(&path, true)?;
        Ok(Self { id, generation, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::{Record, Records};

    #[test]
    fn every_small_record_survives_the_round_trip() {
        let problem =
            Problem { id: 0, code: ProblemCode::Unreadable, errno: 13, path: b"\xff".to_vec(), text: "no".into() };
        let pack = PackRecord {
            number: 1,
            frame_count: 2,
            file_bytes: 3,
            crc64: Crc64(4),
            commit_count: 5,
            reason: FooterReason::Cut,
            run: RunId([6; 16]),
        };
        let summary = Summary { entries: 1, extents: 2, problems: 3, content_bytes: 4, packs: 5, pack_bytes: 6 };
        let deleted = Deleted { id: 1, generation: 2, path: b"gone".to_vec() };
        let records =
            [Record::Problem(problem), Record::Pack(pack), Record::Summary(summary), Record::Deleted(deleted)];
        let mut bytes = Vec::new();
        for record in &records {
            record.encode(&mut bytes).expect("fits");
        }
        let read: Result<Vec<_>, _> = Records::new(&bytes).collect();
        assert_eq!(read.as_deref(), Ok(&records[..]));
    }

    #[test]
    fn problem_codes_keep_their_numbers() {
        for code in ProblemCode::ALL {
            assert_eq!(ProblemCode::from_code(code.code()), Some(code));
        }
        assert_eq!(ProblemCode::from_code(0), None);
        assert_eq!(ProblemCode::from_code(8), None);
    }
}
