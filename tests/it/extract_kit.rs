//! Volumes made by hand and a directory to extract them into, for tests of `extract`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use packmule::digest::{combine, crc64, sha256, zeros};
use packmule::extract::{Options, Outcome, extract};
use packmule::format::record::{Content, Entry, EntryType, Extent, Piece, Record};
use packmule::format::{FRAME_HEADER_BYTES, FrameKind, Inner};
use packmule::monitor::{Monitor, Silent};
use packmule::scan::{Rule, Selection};
use packmule::sys::Access;
use packmule::sys::budget::MemoryBudget;
use packmule::sys::mem::MemFs;
use packmule::sys::process::StopFlag;
use packmule::volume::{Keyring, PackState, PackWriter, SealedFrame, Volume};

use crate::volume_kit::{self, Kit, commit};

/// A job with volumes in memory and a target on the real file system.
pub struct Shelf {
    pub fs: MemFs,
    pub kit: Kit,
    pub target: tempfile::TempDir,
}

/// An open pack of a shelf, with the records that wait for the commit.
pub struct Pack {
    pub writer: PackWriter,
    pub records: Vec<Record>,
}

impl Shelf {
    pub fn new() -> Self {
        let fs = MemFs::new();
        let kit = Kit::new(Arc::new(fs.clone()), 5);
        Self { fs, kit, target: tempfile::tempdir().unwrap() }
    }

    pub fn dir(number: u32) -> PathBuf {
        PathBuf::from(format!("/drive{number}"))
    }

    /// A new volume.
    pub fn volume(&self, number: u32) -> Volume {
        self.fs.make_dirs(&Self::dir(number)).unwrap();
        self.kit.volume(&Self::dir(number), number).unwrap()
    }

    pub fn pack(&self, volume: &Volume, number: u32) -> Pack {
        Pack { writer: self.kit.pack(volume, number, Access::Buffered).unwrap(), records: Vec::new() }
    }

    /// Commits and closes.
    pub fn close(&self, mut pack: Pack) -> (PackState, Vec<Record>) {
        let _ = commit(&mut pack.writer, pack.records.clone()).unwrap();
        (self.kit.finish(pack.writer).unwrap(), pack.records)
    }

    /// One volume with one closed pack that holds what `fill` puts into it.
    pub fn with(fill: impl FnOnce(&mut Pack)) -> Self {
        let shelf = Self::new();
        let volume = shelf.volume(1);
        let mut pack = shelf.pack(&volume, 1);
        fill(&mut pack);
        shelf.close(pack);
        shelf
    }

    pub fn out(&self, path: &str) -> PathBuf {
        self.target.path().join("out").join(path)
    }

    /// Extracts the volumes with these numbers into `out`.
    pub fn extract_volumes(&self, numbers: &[u32], options: &Options) -> Outcome {
        self.extract_heard(numbers, options, &Silent)
    }

    /// The same, with somebody who hears how far it is.
    pub fn extract_heard(&self, numbers: &[u32], options: &Options, monitor: &dyn Monitor) -> Outcome {
        let open = |number: &u32| {
            let volume = Volume::open(Arc::clone(&self.kit.fs), &Self::dir(*number)).unwrap();
            let keyring = Keyring::open(&volume, &self.kit.identities()).unwrap();
            (volume, keyring)
        };
        let volumes: Vec<_> = numbers.iter().map(open).collect();
        extract(&volumes, &self.target.path().join("out"), options, monitor).unwrap()
    }

    pub fn extract(&self) -> Outcome {
        self.extract_volumes(&[1], &options())
    }
}

pub fn options() -> Options {
    Options {
        patterns: Selection::everything(),
        overwrite: false,
        set_id: false,
        devices: false,
        owner: false,
        threads: 3,
        budget: MemoryBudget::new(64 << 20),
        stop: StopFlag::new(),
        dry_run: false,
    }
}

pub fn only(patterns: &[&str]) -> Options {
    let rules: Vec<_> = patterns.iter().map(|pattern| Rule::Exclude((*pattern).into())).collect();
    Options { patterns: Selection::new(&rules).unwrap(), ..options() }
}

/// An entry that is no file.
pub fn node(id: u64, path: &[u8], entry_type: EntryType) -> Entry {
    Entry { entry_type, sha256: [0; 32], ..volume_kit::entry(id, path, b"") }
}

pub fn symlink(id: u64, path: &[u8], target: &[u8]) -> Entry {
    Entry { target: target.to_vec(), mode: 0o777, ..node(id, path, EntryType::Symlink) }
}

pub fn hard_link(id: u64, path: &[u8], link_id: u64, target: &[u8]) -> Entry {
    Entry { target: target.to_vec(), link_id, ..node(id, path, EntryType::HardLink) }
}

pub fn dir(id: u64, path: &[u8], mode: u32) -> Entry {
    Entry { mode, ..node(id, path, EntryType::Directory) }
}

impl Pack {
    pub fn entry(&mut self, entry: Entry) {
        self.records.push(Record::Entry(entry));
    }

    /// Seals one data frame and gives the piece that is all of it.
    pub fn frame(&mut self, content: &[u8]) -> Piece {
        let key = Arc::clone(self.writer.sealing());
        let plain_bytes = u32::try_from(content.len()).unwrap();
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        bytes.extend_from_slice(&Inner { zstd: false, plain_bytes }.encode());
        bytes.extend_from_slice(content);
        let header = key.seal(key.ticket().unwrap(), FrameKind::Data, &mut bytes).unwrap();
        let frame = SealedFrame { header, bytes: bytes.into(), data_plain_bytes: plain_bytes, record_count: 0 };
        self.writer.push(frame).unwrap();
        Piece { frame: header.index, at: 0, bytes: plain_bytes }
    }

    /// An extent in frames of 1000 bytes.
    pub fn extent(&mut self, id: u64, offset: u64, content: &[u8]) {
        let pieces = content.chunks(1000).map(|chunk| self.frame(chunk)).collect();
        self.push_extent(id, 1, offset, content, Content::Stored(pieces));
    }

    pub fn hole(&mut self, id: u64, offset: u64, length: u64) {
        let (states, crc64, content) = (None, zeros(length), Content::Hole);
        self.records.push(Record::Extent(Extent {
            id,
            generation: 1,
            offset,
            length,
            crc64,
            pack: 0,
            states,
            content,
        }));
    }

    pub fn push_extent(&mut self, id: u64, generation: u32, offset: u64, bytes: &[u8], content: Content) {
        let (length, crc64, states) = (bytes.len() as u64, crc64(bytes), None);
        self.records.push(Record::Extent(Extent { id, generation, offset, length, crc64, pack: 0, states, content }));
    }

    /// A file in one extent, with its entry.
    pub fn file(&mut self, id: u64, path: &[u8], content: &[u8]) {
        if !content.is_empty() {
            self.extent(id, 0, content);
        }
        self.entry(volume_kit::entry(id, path, content));
    }
}

/// The entry of a file that is `content` with a hole of that many bytes behind it.
pub fn with_hole(id: u64, path: &[u8], content: &[u8], hole: u64, extent_count: u32) -> Entry {
    let mut whole = content.to_vec();
    whole.resize(content.len() + usize::try_from(hole).unwrap(), 0);
    let crc64 = combine(crc64(content), zeros(hole), hole);
    Entry { size: whole.len() as u64, crc64, sha256: sha256(&whole), extent_count, ..volume_kit::entry(id, path, b"") }
}

pub fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Flips one bit in a file of a volume in memory.
pub fn flip(fs: &MemFs, path: &Path, at: usize) {
    let mut bytes = fs.contents(path).unwrap();
    bytes[at] ^= 1;
    fs.put_file(path, &bytes).unwrap();
}
