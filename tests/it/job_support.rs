//! A small world for tests of the job database: entries, commits and volumes without any real file.

use std::path::Path;

use jiff::Timestamp;
use packmule::digest::{CHAIN_START, Crc64, Sha256Stream, combine, crc64, sha256};
use packmule::format::record::{Begin, Content, Entry, EntryState, EntryType, Extent, Piece, Record, ShaStates};
use packmule::format::{FooterReason, JobId, RunId, VolumeId};
use packmule::job::{Facts, Inode, Job, NewJob, NewVolume, PackClose, PackState, Read, SourceRoot, Work};
use packmule::sys::RealFs;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

pub(crate) fn new_job() -> NewJob {
    NewJob {
        id: JobId([7; 16]),
        salt: [8; 32],
        created: now(),
        sources: vec![SourceRoot { path: b"/data".to_vec(), prefix: Vec::new() }],
        recipients: vec!["age1example".into()],
        settings: vec![("level".into(), "3".into())],
    }
}

pub(crate) fn create(dir: &Path) -> Job {
    Job::create(&RealFs, dir, &new_job()).unwrap()
}

pub(crate) fn facts(entry_type: EntryType, size: u64) -> Facts {
    Facts {
        entry_type,
        size,
        mtime_s: -3,
        mtime_ns: 999_999_999,
        inode: Some(Inode::new(2049, 17, 1_800_000_000, 5)),
        nlink: 1,
        mode: 0o640,
        uid: 1000,
        gid: 100,
        user: b"ada".to_vec(),
        group: b"users".to_vec(),
        link_id: 0,
        rdev: (0, 0),
        target: if entry_type == EntryType::Symlink { b"../somewhere".to_vec() } else { Vec::new() },
        attributes: Vec::new(),
    }
}

/// Stands for the bytes of a file: every byte is the same, so that nothing has to be kept.
pub(crate) fn content(id: u64, size: u64) -> Vec<u8> {
    vec![u8::try_from(id % 251).unwrap(); usize::try_from(size).unwrap()]
}

/// A job, its volumes, and everything that was ever committed on them.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) job: Option<Job>,
    packs: Vec<PackState>,
    /// All committed records with volume and pack, in order; EXTENT records name their pack as `MANIFEST` does.
    pub(crate) committed: Vec<(u32, u32, Record)>,
}

impl World {
    pub(crate) fn new(volumes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut job = create(&dir.path().join("job"));
        for number in 1..=volumes {
            add_volume(&mut job, number);
        }
        let packs = (0..volumes).map(|_| pack(1)).collect();
        Self { dir, job: Some(job), packs, committed: Vec::new() }
    }

    pub(crate) fn job(&mut self) -> &mut Job {
        self.job.as_mut().unwrap()
    }

    /// The process dies and the next one opens the job.
    pub(crate) fn reopen(&mut self) {
        self.job = None;
        self.job = Some(Job::open(&self.dir.path().join("job")).unwrap());
    }

    /// Commits records to a volume, as the stager does.
    pub(crate) fn commit(&mut self, volume: u32, records: &[Record]) -> u64 {
        let pack = &mut self.packs[volume as usize - 1];
        pack.committed_bytes += 8192;
        pack.frames_next += 3;
        pack.commits += 1;
        pack.records += records.len() as u64;
        let pack = pack.clone();
        let staged = self.job.as_mut().unwrap().record_commit(volume, &pack, records, now()).unwrap();
        for record in records {
            let mut record = record.clone();
            if let Record::Extent(extent) = &mut record
                && extent.content != Content::Hole
            {
                extent.pack = pack.number;
            }
            self.committed.push((volume, pack.number, record));
        }
        staged.staged.entries
    }

    /// Closes the pack of every volume and goes on in the next.
    pub(crate) fn close_packs(&mut self) {
        for (index, pack_state) in self.packs.iter_mut().enumerate() {
            if pack_state.commits > 0 {
                let volume = u32::try_from(index).unwrap() + 1;
                let close = close(pack_state);
                let number = pack_state.number;
                self.job.as_mut().unwrap().batch(|batch| batch.close_pack(volume, number, &close)).unwrap();
                *pack_state = pack(number + 1);
            }
        }
    }

    pub(crate) fn volume_records(&mut self, volume: u32) -> Vec<Record> {
        volume_records(self.job(), volume)
    }
}

pub(crate) fn volume_records(job: &Job, volume: u32) -> Vec<Record> {
    let mut records = Vec::new();
    job.volume_records(volume, |record| {
        records.push(record);
        Ok::<(), packmule::job::Error>(())
    })
    .unwrap();
    records
}

pub(crate) fn add_volume(job: &mut Job, number: u32) {
    let volume = NewVolume {
        number,
        id: VolumeId([u8::try_from(number).unwrap(); 16]),
        path: format!("/mnt/{number}").into(),
        capacity_bytes: 1 << 40,
        created: now(),
        model: None,
        serial: Some("S1".into()),
    };
    job.batch(|batch| batch.add_volume(&volume)).unwrap();
}

fn pack(number: u32) -> PackState {
    PackState {
        number,
        run: RunId([3; 16]),
        committed_bytes: 4096,
        frames_next: 0,
        commits: 0,
        chain: [1; 32],
        crc64: Crc64(5),
        data_plain_bytes: 0,
        records: 0,
    }
}

fn close(pack: &PackState) -> PackClose {
    PackClose {
        reason: FooterReason::Complete,
        frame_count: pack.frames_next + 1,
        file_bytes: pack.committed_bytes + 4096,
        crc64: Crc64(6),
    }
}

/// The ENTRY record of a piece of work whose content went into `extent_count` extents.
pub(crate) fn entry(work: &Work, extent_count: u32, state: EntryState) -> Entry {
    let mut read = Read { state, ..Read::nothing(work.entry.generation) };
    if work.entry.facts.entry_type == EntryType::File {
        let bytes = content(work.entry.id, work.entry.facts.size);
        read = Read { extent_count, crc64: crc64(&bytes), sha256: sha256(&bytes), ..read };
    }
    work.entry.facts.to_record(work.entry.id, work.path.clone(), work.link_path.clone(), &read)
}

/// Everything of a small file: its only extent and its ENTRY.
pub(crate) fn small(work: &Work, frame: u32) -> Vec<Record> {
    let size = work.entry.facts.size;
    let mut records = Vec::new();
    if size > 0 {
        let piece = Piece { frame, at: frame * 7, bytes: u32::try_from(size).unwrap() };
        records.push(Record::Extent(Extent {
            id: work.entry.id,
            generation: work.entry.generation,
            offset: 0,
            length: size,
            crc64: crc64(&content(work.entry.id, size)),
            pack: 0,
            states: None,
            content: Content::Stored(vec![piece]),
        }));
    }
    records.push(Record::Entry(entry(work, u32::from(size > 0), EntryState::Stable)));
    records
}

/// BEGIN and the extents of a large file, cut every `cut` bytes (a multiple of 64).
pub(crate) fn large(work: &Work, cut: u64) -> (Record, Vec<Extent>) {
    let (id, generation, size) = (work.entry.id, work.entry.generation, work.entry.facts.size);
    let begin = Begin {
        id,
        generation,
        mtime_s: work.entry.facts.mtime_s,
        mtime_ns: work.entry.facts.mtime_ns,
        size,
        path: work.path.clone(),
    };
    let bytes = content(id, size);
    let mut stream = Sha256Stream::new();
    let mut start = CHAIN_START;
    let mut extents = Vec::new();
    let mut offset = 0;
    while offset < size {
        let length = cut.min(size - offset);
        let here = &bytes[usize::try_from(offset).unwrap()..usize::try_from(offset + length).unwrap()];
        stream.update(here);
        let is_last = offset + length == size;
        let end = if is_last { stream.clone().finish() } else { stream.chaining_value().unwrap() };
        let piece = Piece { frame: u32::try_from(offset / cut).unwrap(), at: 0, bytes: u32::try_from(length).unwrap() };
        extents.push(Extent {
            id,
            generation,
            offset,
            length,
            crc64: crc64(here),
            pack: 0,
            states: Some(ShaStates { start, end }),
            content: Content::Stored(vec![piece]),
        });
        start = end;
        offset += length;
    }
    (Record::Begin(begin), extents)
}

/// CRC-64 of extents one after the other.
pub(crate) fn crc_of(extents: &[Extent]) -> Crc64 {
    extents.iter().fold(Crc64::EMPTY, |crc, extent| combine(crc, extent.crc64, extent.length))
}
