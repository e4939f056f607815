//! Volumes with a dataset on them and the job that knows them, made by hand through the library.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use packmule::digest::{crc64, sha256};
use packmule::format::FRAME_HEADER_BYTES;
use packmule::format::layout::{extent_bytes, part_bytes};
use packmule::format::record::{Content, Entry, EntryType, Extent, Piece, Record};
use packmule::format::{FrameKind, Inner};
use packmule::ingest::Medium;
use packmule::job::{Job, NewJob, NewVolume};
use packmule::sys::{Access, RealFs};
use packmule::volume::{Keyring, PackWriter, SealedFrame, Volume};

use crate::volume_kit::{JOB, Kit, commit, entry};

/// Plain bytes of one frame. Unit: bytes.
const FRAME: usize = 48 << 10;

/// What one path of the dataset is.
#[derive(Debug, Clone)]
pub(crate) enum What {
    File(Vec<u8>),
    /// A file of which some extents are holes: (bytes, zeros after them).
    Sparse(Vec<u8>, u64),
    /// A file whose records are those of these bytes, while the last byte in its frames is another: whoever staged it had the
    /// key and a bad memory chip, or bad intentions.
    Altered(Vec<u8>),
    Directory,
    Symlink(&'static str),
    /// Another name of the entry with that id and path.
    HardLink(u64, &'static [u8]),
}

/// Volumes, their job, and the key that opens them.
pub(crate) struct Dataset {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) kit: Kit,
    pub(crate) volumes: u32,
}

/// Bytes that differ from place to place and from seed to seed.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(next).take(bytes).collect()
}

impl Dataset {
    /// Stages `paths` in order; ids count from 2 (1 is the top). Parts of large files go to the volumes in turn.
    pub(crate) fn new(volumes: u32, paths: &[(&[u8], What)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kit = Kit::new(Arc::new(RealFs), 11);
        let mut dataset = Self { dir, kit, volumes };
        let mut lanes: Vec<Lane> = (1..=volumes).map(|number| dataset.lane(number)).collect();
        for (index, (path, what)) in paths.iter().enumerate() {
            let id = index as u64 + 2;
            dataset.stage(&mut lanes, id, path, what);
            for lane in &mut lanes {
                lane.next_pack_if_full(&dataset.kit);
            }
        }
        let mut job = dataset.new_job();
        for lane in lanes {
            dataset.close(lane, &mut job);
        }
        job.finish_import().unwrap();
        dataset
    }

    fn new_job(&self) -> Job {
        let new = NewJob {
            id: JOB,
            salt: [3; 32],
            created: jiff::Timestamp::UNIX_EPOCH,
            sources: Vec::new(),
            recipients: Vec::new(),
            settings: Vec::new(),
        };
        Job::create(&RealFs, &self.job_dir(), &new).unwrap()
    }

    pub(crate) fn job_dir(&self) -> PathBuf {
        self.dir.path().join("job")
    }

    pub(crate) fn job(&self) -> Job {
        Job::open(&self.job_dir()).unwrap()
    }

    pub(crate) fn volume_dir(&self, number: u32) -> PathBuf {
        self.dir.path().join(format!("volume{number}"))
    }

    pub(crate) fn medium(&self, number: u32) -> Medium {
        let volume = Volume::open(Arc::new(RealFs), &self.volume_dir(number)).unwrap();
        let keyring = Keyring::open(&volume, &self.kit.identities()).unwrap();
        Medium { volume, keyring }
    }

    pub(crate) fn media(&self) -> Vec<Medium> {
        (1..=self.volumes).map(|number| self.medium(number)).collect()
    }

    /// A file with the identity that opens the volumes.
    pub(crate) fn identity(&self) -> PathBuf {
        let path = self.dir.path().join("identity");
        std::fs::write(&path, format!("{}\n", self.kit.secret)).unwrap();
        path
    }

    fn lane(&self, number: u32) -> Lane {
        let dir = self.volume_dir(number);
        std::fs::create_dir(&dir).unwrap();
        let volume = self.kit.volume(&dir, number).unwrap();
        let writer = self.kit.pack(&volume, 1, Access::Buffered).unwrap();
        Lane { volume, writer: Some(writer), number: 1, records: Vec::new(), closed: Vec::new(), bytes: 0 }
    }

    fn stage(&mut self, lanes: &mut [Lane], id: u64, path: &[u8], what: &What) {
        let (content, zeros) = match what {
            What::File(content) | What::Altered(content) => (content.as_slice(), 0),
            What::Sparse(content, zeros) => (content.as_slice(), *zeros),
            _ => (&[][..], 0),
        };
        let whole = [content, &vec![0; usize::try_from(zeros).unwrap()]].concat();
        let mut record = bare(id, path, &whole);
        match what {
            What::File(_) | What::Sparse(..) | What::Altered(_) => {}
            What::Directory => record.entry_type = EntryType::Directory,
            What::Symlink(target) => {
                record.entry_type = EntryType::Symlink;
                record.target = target.as_bytes().to_vec();
            }
            What::HardLink(link_id, path) => {
                record.entry_type = EntryType::HardLink;
                record.link_id = *link_id;
                record.target = path.to_vec();
            }
        }
        if record.entry_type != EntryType::File {
            (record.crc64, record.sha256) = (packmule::digest::Crc64::EMPTY, [0; 32]);
        }
        let size = whole.len() as u64;
        let step = usize::try_from(extent_bytes(size)).unwrap();
        let mut extents = 0;
        let mut offset = 0;
        let first_lane = usize::try_from(id).unwrap();
        let mut last_lane = first_lane % lanes.len();
        while offset < whole.len() {
            let in_content = offset < content.len();
            let end = if in_content { content.len() } else { whole.len() };
            // An extent ends where its grid cell ends, and where a hole begins.
            let length = (step - offset % step).min(end - offset);
            let part = usize::try_from(offset as u64 / part_bytes(size)).unwrap();
            last_lane = (first_lane + part) % lanes.len();
            let is_altered = matches!(what, What::Altered(_)) && offset + length == whole.len();
            lanes[last_lane].extent(id, offset, &whole[offset..offset + length], !in_content, is_altered);
            extents += 1;
            offset += length;
        }
        record.extent_count = extents;
        lanes[last_lane].records.push(Record::Entry(record));
    }

    fn close(&self, mut lane: Lane, job: &mut Job) {
        lane.close_pack(&self.kit);
        let number = lane.volume.header().number;
        let volume = NewVolume {
            number,
            id: lane.volume.header().volume,
            path: self.volume_dir(number),
            capacity_bytes: 1 << 40,
            created: jiff::Timestamp::UNIX_EPOCH,
            model: None,
            serial: None,
        };
        job.batch(|batch| {
            batch.add_volume(&volume)?;
            for (pack, records) in &lane.closed {
                for record in records {
                    batch.import_record(number, *pack, record)?;
                }
            }
            Ok::<(), packmule::job::Error>(())
        })
        .unwrap();
    }
}

fn bare(id: u64, path: &[u8], content: &[u8]) -> Entry {
    let mut record = entry(id, path, content);
    record.mtime_s = 1_700_000_000;
    record.mtime_ns = 123_456_789;
    (record.uid, record.gid) = (1000, 100);
    record
}

struct Lane {
    volume: Volume,
    writer: Option<PackWriter>,
    number: u32,
    records: Vec<Record>,
    closed: Vec<(u32, Vec<Record>)>,
    bytes: usize,
}

impl Lane {
    fn extent(&mut self, id: u64, offset: usize, bytes: &[u8], hole: bool, is_altered: bool) {
        let mut pieces = Vec::new();
        let mut stored = bytes.to_vec();
        if let Some(last) = stored.last_mut().filter(|_| is_altered) {
            *last ^= 1;
        }
        if !hole {
            for chunk in stored.chunks(FRAME) {
                let frame = self.frame(chunk);
                pieces.push(Piece { frame, at: 0, bytes: u32::try_from(chunk.len()).unwrap() });
            }
        }
        let content = if hole { Content::Hole } else { Content::Stored(pieces) };
        let (offset, length) = (offset as u64, bytes.len() as u64);
        let extent = Extent { id, generation: 1, offset, length, crc64: crc64(bytes), pack: 0, states: None, content };
        self.records.push(Record::Extent(extent));
    }

    fn frame(&mut self, plain: &[u8]) -> u32 {
        let writer = self.writer.as_mut().unwrap();
        let key = Arc::clone(writer.sealing());
        let plain_bytes = u32::try_from(plain.len()).unwrap();
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        bytes.extend_from_slice(&Inner { zstd: false, plain_bytes }.encode());
        bytes.extend_from_slice(plain);
        let header = key.seal(key.ticket().unwrap(), FrameKind::Data, &mut bytes).unwrap();
        self.bytes += plain.len();
        let frame = SealedFrame { header, bytes: bytes.into(), data_plain_bytes: plain_bytes, record_count: 0 };
        writer.push(frame).unwrap();
        header.index
    }

    fn next_pack_if_full(&mut self, kit: &Kit) {
        if self.bytes > 12 << 20 {
            self.close_pack(kit);
            self.number += 1;
            self.bytes = 0;
            self.writer = Some(kit.pack(&self.volume, self.number, Access::Buffered).unwrap());
        }
    }

    fn close_pack(&mut self, kit: &Kit) {
        let Some(mut writer) = self.writer.take() else { return };
        let records = std::mem::take(&mut self.records);
        let _committed = commit(&mut writer, records.clone()).unwrap();
        kit.finish(writer).unwrap();
        self.closed.push((self.number, records));
    }
}

/// Flips one bit of a file.
pub(crate) fn flip(path: &Path, offset: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[usize::try_from(offset).unwrap()] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn hex_sha256(bytes: &[u8]) -> String {
    sha256(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
