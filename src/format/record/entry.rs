//! ENTRY: the last word about a path. manifests/formats/manifest.md section 2.

use crate::digest::{Crc64, Sha256};
use crate::format::cursor::{Reader, Writer, narrow};
use crate::format::{Error, path};

const RECORD: &str = "ENTRY";

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A further name of a file that has its own entry.
    HardLink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl EntryType {
    /// The number in the record, also used by the job database.
    pub fn code(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
            Self::Symlink => 3,
            Self::HardLink => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::CharDevice => 7,
            Self::BlockDevice => 8,
        }
    }

    /// The type with that number.
    pub fn from_code(code: u8) -> Option<Self> {
        use EntryType::{BlockDevice, CharDevice, Directory, Fifo, File, HardLink, Socket, Symlink};
        [File, Directory, Symlink, HardLink, Fifo, Socket, CharDevice, BlockDevice]
            .into_iter()
            .find(|entry_type| entry_type.code() == code)
    }

    /// What people call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::HardLink => "hard link",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::CharDevice => "character device",
            Self::BlockDevice => "block device",
        }
    }
}

/// Whether the content was stable while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryState {
    /// Size, times and identity were the same before and after.
    Stable,
    /// They were not, in every attempt; the content is what was read.
    Changed,
}

/// Metadata beyond the fixed fields.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attribute {
    /// One extended attribute (POSIX ACLs are extended attributes too).
    Xattr {
        /// Its name, without the terminating zero byte.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// When the file was born.
    BirthTime {
        /// Seconds since 1970.
        s: i64,
        /// Nanoseconds.
        ns: u32,
    },
}

/// The last word about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Names this path in the job, from 1.
    pub id: u64,
    /// Which reading of the content, from 1.
    pub generation: u32,
    /// What the path is.
    pub entry_type: EntryType,
    /// Stable or changed while read.
    pub state: EntryState,
    /// Permission bits, set-id and sticky bits among them.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Seconds since 1970 of the modification time.
    pub mtime_s: i64,
    /// Nanoseconds of the modification time.
    pub mtime_ns: u32,
    /// Content bytes; files only.
    pub size: u64,
    /// Extents of this generation on all volumes; files only.
    pub extent_count: u32,
    /// Device numbers (major, minor); devices only.
    pub rdev: (u32, u32),
    /// CRC-64/NVME of the content; files only.
    pub crc64: Crc64,
    /// SHA-256 of the content; files only.
    pub sha256: Sha256,
    /// The entry a hard link shares its content with; 0 for other types.
    pub link_id: u64,
    /// Path relative to the dataset's top.
    pub path: Vec<u8>,
    /// Symlink: what it points to. Hard link: the path of `link_id`.
    pub target: Vec<u8>,
    /// Owner's name, or empty.
    pub user: Vec<u8>,
    /// Group's name, or empty.
    pub group: Vec<u8>,
    /// Extended attributes, birth time.
    pub attributes: Vec<Attribute>,
}

impl Entry {
    pub(super) fn encode(&self, w: &mut Writer<'_>) -> Result<(), Error> {
        w.u64(self.id).u32(self.generation).u8(self.entry_type.code());
        w.u8(match self.state {
            EntryState::Stable => 0,
            EntryState::Changed => 1,
        });
        w.zero(2).u32(self.mode).u32(self.uid).u32(self.gid).u32(self.mtime_ns).i64(self.mtime_s).u64(self.size);
        w.u32(self.extent_count).u32(self.rdev.0).u32(self.rdev.1).zero(4).u64(self.crc64.0).bytes(&self.sha256);
        w.u64(self.link_id);
        let short = |field, bytes: &[u8]| narrow::<u16>(RECORD, field, bytes.len(), u16::MAX.into());
        w.u16(short("path_bytes", &self.path)?).u16(short("target_bytes", &self.target)?);
        w.u16(short("user_bytes", &self.user)?).u16(short("group_bytes", &self.group)?);
        let length_at = w.0.len();
        w.u32(0).bytes(&self.path).bytes(&self.target).bytes(&self.user).bytes(&self.group);
        let attributes_at = w.0.len();
        for attribute in &self.attributes {
            attribute.encode(w.0)?;
        }
        let length: u32 = narrow(RECORD, "attribute_bytes", w.0.len() - attributes_at, u32::MAX.into())?;
        w.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(RECORD, body);
        let (id, generation) = (r.u64()?, r.u32()?);
        let type_code = r.u8()?;
        let entry_type =
            EntryType::from_code(type_code).ok_or_else(|| Error::field(RECORD, "type", "1 to 8", type_code))?;
        let state = match r.u8()? {
            0 => EntryState::Stable,
            1 => EntryState::Changed,
            other => return Err(Error::field(RECORD, "state", "0 or 1", other)),
        };
        r.zero(2)?;
        let (mode, uid, gid, mtime_ns, mtime_s) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?, r.i64()?);
        let (size, extent_count, rdev) = (r.u64()?, r.u32()?, (r.u32()?, r.u32()?));
        r.zero(4)?;
        let (crc64, sha256, link_id) = (Crc64(r.u64()?), r.array()?, r.u64()?);
        let lengths = [r.u16()?, r.u16()?, r.u16()?, r.u16()?].map(usize::from);
        let attribute_bytes = r.u32()?;
        let path = r.take(lengths[0])?.to_vec();
        let target = r.take(lengths[1])?.to_vec();
        let user = r.take(lengths[2])?.to_vec();
        let group = r.take(lengths[3])?.to_vec();
        let attributes = Attribute::decode_all(r.take(attribute_bytes as usize)?)?;
        r.finish()?;
        let entry = Self {
            id,
            generation,
            entry_type,
            state,
            mode,
            uid,
            gid,
            mtime_s,
            mtime_ns,
            size,
            extent_count,
            rdev,
            crc64,
            sha256,
            link_id,
            path,
            target,
            user,
            group,
            attributes,
        };
        entry.check()?;
        Ok(entry)
    }

    /// The rules of manifest.md section 2 that tie fields to the type.
    fn check(&self) -> Result<(), Error> {
        let wrong = |field, expected: &str, found: String| Err(Error::field(RECORD, field, expected, found));
        path::check(&self.path, self.entry_type == EntryType::Directory)?;
        if self.id == 0 || self.generation == 0 {
            return wrong("id and generation", "1 or more", format!("{}, {}", self.id, self.generation));
        }
        if self.mode > 0o7777 {
            return wrong("mode", "at most 0o7777", format!("{:#o}", self.mode));
        }
        if self.mtime_ns > 999_999_999 {
            return wrong("mtime_ns", "at most 999999999", self.mtime_ns.to_string());
        }
        let file_fields = self.size != 0 || self.extent_count != 0 || self.crc64.0 != 0 || self.sha256 != [0; 32];
        if file_fields && self.entry_type != EntryType::File {
            return wrong("size, extent_count, crc64, sha256", "zero unless a file", format!("{:?}", self.entry_type));
        }
        if self.size > i64::MAX as u64 {
            return wrong("size", "at most 2^63 - 1", self.size.to_string());
        }
        let is_device = matches!(self.entry_type, EntryType::CharDevice | EntryType::BlockDevice);
        if self.rdev != (0, 0) && !is_device {
            return wrong("rdev", "zero unless a device", format!("{:?}", self.rdev));
        }
        if (self.link_id != 0) != (self.entry_type == EntryType::HardLink) {
            return wrong("link_id", "nonzero for hard links only", self.link_id.to_string());
        }
        let has_target = matches!(self.entry_type, EntryType::Symlink | EntryType::HardLink);
        if self.target.is_empty() == has_target {
            return wrong("target_bytes", "nonzero for links only", self.target.len().to_string());
        }
        if self.entry_type == EntryType::HardLink {
            path::check(&self.target, false)?;
        }
        Ok(())
    }
}

impl Attribute {
    /// Appends the attribute as an ENTRY record holds it; the job database keeps the same bytes.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Self::Xattr { name, value } => {
                let length = narrow(RECORD, "value_bytes", name.len() + 1 + value.len(), u32::MAX.into())?;
                Writer(bytes).u16(1).zero(2).u32(length).bytes(name).u8(0).bytes(value);
            }
            Self::BirthTime { s, ns } => {
                Writer(bytes).u16(2).zero(2).u32(8 + 4).i64(*s).u32(*ns);
            }
        }
        Ok(())
    }

    /// Reads all attributes of an ENTRY record.
    pub(crate) fn decode_all(bytes: &[u8]) -> Result<Vec<Self>, Error> {
        let mut r = Reader::new("ENTRY attribute", bytes);
        let mut attributes = Vec::new();
        while !r.is_empty() {
            let tag = r.u16()?;
            r.zero(2)?;
            let length = r.u32()?;
            let value = r.take(length as usize)?;
            match tag {
                1 => {
                    let at = value.iter().position(|byte| *byte == 0).filter(|at| *at > 0);
                    let at = at.ok_or_else(|| Error::field(RECORD, "xattr", "name, zero byte, value", "no name"))?;
                    let (name, rest) = value.split_at(at);
                    attributes.push(Self::Xattr { name: name.to_vec(), value: rest[1..].to_vec() });
                }
                2 => {
                    let mut v = Reader::new("ENTRY birth time", value);
                    let time = Self::BirthTime { s: v.i64()?, ns: v.u32()? };
                    v.finish()?;
                    attributes.push(time);
                }
                super::KIND_MAY_IGNORE.. => {}
                unknown => {
                    return Err(Error::field(RECORD, "attribute tag", "1, 2, or 0x8000 and up", unknown));
                }
            }
        }
        Ok(attributes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::record::{Record, Records};

    fn file(path: &[u8]) -> Entry {
        Entry {
            id: 1,
            generation: 1,
            entry_type: EntryType::File,
            state: EntryState::Stable,
            mode: 0o644,
            uid: 1000,
            gid: 1000,
            mtime_s: -1,
            mtime_ns: 999_999_999,
            size: 5,
            extent_count: 1,
            rdev: (0, 0),
            crc64: Crc64(7),
            sha256: [8; 32],
            link_id: 0,
            path: path.to_vec(),
            target: Vec::new(),
            user: b"ada".to_vec(),
            group: Vec::new(),
            attributes: vec![
                Attribute::Xattr { name: b"user.x".to_vec(), value: vec![0, 1, 0] },
                Attribute::BirthTime { s: 5, ns: 6 },
            ],
        }
    }

    fn round_trip(entry: &Entry) -> Result<Record, Error> {
        let mut bytes = Vec::new();
        Record::Entry(entry.clone()).encode(&mut bytes)?;
        Records::new(&bytes).next().expect("one record")
    }

    proptest! {
        #[test]
        fn any_legal_name_survives(name in proptest::collection::vec(1_u8.., 1..255)) {
            prop_assume!(!name.contains(&b'/') && name != b"." && name != b"..");
            let entry = file(&name);
            prop_assert_eq!(round_trip(&entry), Ok(Record::Entry(entry)));
        }

        #[test]
        fn a_flipped_bit_never_panics(bit in 0_usize..1200) {
            let mut bytes = Vec::new();
            Record::Entry(file(b"a")).encode(&mut bytes).expect("fits");
            let at = bit / 8 % bytes.len();
            bytes[at] ^= 1 << (bit % 8);
            let _: Vec<_> = Records::new(&bytes).collect();
        }
    }

    #[test]
    fn fields_that_contradict_the_type_are_refused() {
        let good = file(b"a");
        assert!(round_trip(&good).is_ok());
        type Edit = (&'static str, fn(&mut Entry));
        let edits: Vec<Edit> = vec![
            ("id", |e| e.id = 0),
            ("generation", |e| e.generation = 0),
            ("mode", |e| e.mode = 0o10000),
            ("mtime", |e| e.mtime_ns = 1_000_000_000),
            ("directory with size", |e| e.entry_type = EntryType::Directory),
            ("rdev", |e| e.rdev = (1, 2)),
            ("link id", |e| e.link_id = 1),
            ("target", |e| e.target = b"t".to_vec()),
            ("path", |e| e.path = b"../a".to_vec()),
            ("empty path", |e| e.path = Vec::new()),
            ("size", |e| e.size = u64::MAX),
            ("long path", |e| e.path = vec![b'a'; 40_000]),
        ];
        for (what, edit) in edits {
            let mut bad = good.clone();
            edit(&mut bad);
            assert!(round_trip(&bad).is_err(), "{what}");
        }
    }

    #[test]
    fn unknown_attributes_are_skipped_or_refused_by_their_number() {
        let mut bytes = Vec::new();
        Writer(&mut bytes).u16(0x8003).zero(2).u32(1).bytes(b"x");
        assert_eq!(Attribute::decode_all(&bytes), Ok(Vec::new()));
        bytes[..2].copy_from_slice(&3_u16.to_le_bytes());
        assert!(matches!(Attribute::decode_all(&bytes), Err(Error::Field { field: "attribute tag", .. })));
    }
}
