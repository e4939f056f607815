//! A small volume made by hand through the library, for tests of the volume layer.

use std::path::Path;
use std::sync::Arc;

use packmule::crypto::{Identities, Purpose, Recipients, RunKey, SigningKey, new_identity, seal_slot};
use packmule::digest::{crc64, sha256};
use packmule::format::record::{Content, Entry, EntryState, EntryType, Extent, Piece, Record};
use packmule::format::{
    CustodyEntry, FRAME_HEADER_BYTES, FrameKind, Inner, JobId, PackKind, VolumeHeader, VolumeId, heads,
};
use packmule::sys::random::SeededRandom;
use packmule::sys::{Access, Fs, RandomSource};
use packmule::volume::{
    Committed, ManifestWriter, NewVolume, PackParams, PackState, PackWriter, Readme, SealBy, SealedFrame, Volume,
    add_slot, create, pack_path, read_custody, seal, write_custody,
};

pub const JOB: JobId = JobId([7; 16]);

/// A run with its key, and the identity that opens its slots.
pub struct Kit {
    pub fs: Arc<dyn Fs>,
    pub random: SeededRandom,
    pub run: RunKey,
    pub secret: String,
    pub slot: Vec<u8>,
    /// Signs seals and custody logs.
    pub signer: SigningKey,
}

impl Kit {
    pub fn new(fs: Arc<dyn Fs>, seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let person = new_identity(&random).unwrap();
        let recipients = Recipients::parse([person.recipient.as_str()]).unwrap();
        let run = RunKey::fresh(&random);
        let slot = seal_slot(JOB, &run, &recipients).unwrap();
        let signer = SigningKey::fresh(&SeededRandom::new(seed + 1000));
        Self { fs, random, run, secret: person.secret.to_string(), slot, signer }
    }

    pub fn identities(&self) -> Identities {
        let mut identities = Identities::none();
        identities.add_text(&self.secret).unwrap();
        identities
    }

    pub fn volume(&self, dir: &Path, number: u32) -> Result<Volume, packmule::volume::Error> {
        let mut id = [0; 16];
        self.random.fill(&mut id);
        let header = VolumeHeader {
            may_ignore: 0,
            job: JOB,
            volume: VolumeId(id),
            number,
            created_ns: 1,
            job_salt: [3; 32],
            job_public_key: self.signer.public(),
        };
        let volume = create(&self.fs, dir, &NewVolume { header }, Readme("letter\n"))?;
        add_slot(&volume, self.run.run(), &self.slot)?;
        Ok(volume)
    }

    pub fn pack(&self, volume: &Volume, number: u32, access: Access) -> Result<PackWriter, packmule::volume::Error> {
        let params = PackParams {
            kind: PackKind::Pack,
            job: JOB,
            volume: volume.header().volume,
            volume_number: volume.header().number,
            number,
            frame_plain_bytes_max: 1 << 16,
            created_ns: 1,
            access,
        };
        let path = pack_path(volume.root(), number);
        PackWriter::create(Arc::clone(&self.fs), path, &params, &self.run, &self.random)
    }

    pub fn finish(&self, writer: PackWriter) -> Result<PackState, packmule::volume::Error> {
        writer.finish(&self.run, &self.random)
    }

    /// Writes `MANIFEST` with those records and seals.
    pub fn seal(
        &self,
        volume: &Volume,
        packs: &[PackState],
        records: Vec<Record>,
    ) -> Result<(), packmule::volume::Error> {
        let mut manifest = ManifestWriter::create(volume, packs, &self.run, &self.random, 2)?;
        for record in records {
            manifest.add(record)?;
        }
        let manifest = manifest.finish(&self.run, &self.random)?;
        let mut log = self.log(&read_custody(volume)?, volume, "staged", "by hand");
        write_custody(volume, &log)?;
        let by = SealBy { key: Some(&self.signer), now: jiff::Timestamp::UNIX_EPOCH, readers: 1 };
        seal(volume, packs, &manifest, by, &|_| std::ops::ControlFlow::Continue(()))?;
        log = self.log(&log, volume, "sealed", "by hand");
        write_custody(volume, &log)
    }

    /// The log with one more entry.
    pub fn log(&self, log: &[CustodyEntry], volume: &Volume, kind: &str, detail: &str) -> Vec<CustodyEntry> {
        let mut entry = CustodyEntry {
            job: JOB,
            volume: volume.header().number,
            at_ns: log.len() as i64,
            kind: kind.to_owned(),
            by: "the kit".to_owned(),
            detail: detail.to_owned(),
            before: heads(log.iter()),
            key: self.signer.public(),
            signature: [0; 64],
        };
        entry.signature = self.signer.sign(Purpose::Custody, &entry.hash());
        [log, &[entry]].concat()
    }
}

/// Seals one data frame holding `content` whole, puts it in line, and gives the records that describe it as a file.
pub fn put_file(
    writer: &mut PackWriter,
    id: u64,
    path: &[u8],
    content: &[u8],
) -> Result<Vec<Record>, packmule::volume::Error> {
    let key = Arc::clone(writer.sealing());
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    let plain_bytes = u32::try_from(content.len()).unwrap();
    bytes.extend_from_slice(&Inner { zstd: false, plain_bytes }.encode());
    bytes.extend_from_slice(content);
    let header = key.seal(key.ticket().unwrap(), FrameKind::Data, &mut bytes).unwrap();
    let frame = SealedFrame { header, bytes: bytes.into(), data_plain_bytes: plain_bytes, record_count: 0 };
    let committed = writer.push(frame)?;
    assert!(committed.is_none());
    let piece = Piece { frame: header.index, at: 0, bytes: plain_bytes };
    let extent = Extent {
        id,
        generation: 1,
        offset: 0,
        length: content.len() as u64,
        crc64: crc64(content),
        pack: 0,
        states: None,
        content: Content::Stored(vec![piece]),
    };
    Ok(vec![Record::Extent(extent), Record::Entry(entry(id, path, content))])
}

pub fn entry(id: u64, path: &[u8], content: &[u8]) -> Entry {
    Entry {
        id,
        generation: 1,
        entry_type: EntryType::File,
        state: EntryState::Stable,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime_s: 1,
        mtime_ns: 2,
        size: content.len() as u64,
        extent_count: u32::from(!content.is_empty()),
        rdev: (0, 0),
        crc64: crc64(content),
        sha256: sha256(content),
        link_id: 0,
        path: path.to_vec(),
        target: Vec::new(),
        user: Vec::new(),
        group: Vec::new(),
        attributes: Vec::new(),
    }
}

/// Commits and returns what was committed.
pub fn commit(writer: &mut PackWriter, records: Vec<Record>) -> Result<Committed, packmule::volume::Error> {
    Ok(writer.begin_commit(vec![records])?.expect("all frames before it are in line"))
}
