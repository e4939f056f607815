//! `MANIFEST`: written as a pack of records only, read back as a stream. manifests/formats/manifest.md section 6.

use std::path::PathBuf;
use std::sync::Arc;

use crate::crypto::{self, OpeningKey, RunKey};
use crate::format::record::{PackRecord, Record, Records, Summary};
use crate::format::{
    Commit, ENTRIES_PLAIN_BYTES_MAX, FRAME_PLAIN_BYTES_DEFAULT, FooterKeys, FrameKind, PackHeader, PackKind,
    chain_next, chain_start,
};
use crate::sys::{Access, RandomSource};
use crate::volume::error::{At, Error, In};
use crate::volume::keyring::Keyring;
use crate::volume::open::{Volume, exists};
use crate::volume::opening::Openings;
use crate::volume::pack_writer::{PackParams, PackState, PackWriter};
use crate::volume::paths::{MANIFEST, PART};
use crate::volume::walk::{FrameWalk, Step};

/// Records gathered before they are sealed into a frame. Unit: records.
const BATCH: usize = 4096;

/// Streams records into `MANIFEST.part` and finishes it as `MANIFEST`.
pub struct ManifestWriter<'a> {
    volume: &'a Volume,
    writer: PackWriter,
    batch: Vec<Record>,
    summary: Summary,
}

impl<'a> ManifestWriter<'a> {
    /// Begins a manifest for an open volume, with the PACK records first. Remains of an earlier attempt are removed:
    /// without `SEALED` nothing refers to them.
    ///
    /// # Errors
    /// When the medium refuses.
    pub fn create(
        volume: &'a Volume,
        packs: &[PackState],
        run: &RunKey,
        random: &dyn RandomSource,
        created_ns: u64,
    ) -> Result<Self, Error> {
        let fs = volume.fs();
        let path = volume.root().join(format!("{MANIFEST}{PART}"));
        for old in [path.clone(), volume.root().join(MANIFEST)] {
            if exists(&**fs, &old)? {
                fs.remove_file(&old).at("remove", &old)?;
            }
        }
        let header = volume.header();
        let params = PackParams {
            kind: PackKind::Manifest,
            job: header.job,
            volume: header.volume,
            volume_number: header.number,
            number: 0,
            frame_plain_bytes_max: FRAME_PLAIN_BYTES_DEFAULT,
            created_ns,
            access: Access::Buffered,
        };
        let writer = PackWriter::create(Arc::clone(fs), path, &params, run, random)?;
        let mut manifest = Self { volume, writer, batch: Vec::new(), summary: Summary::default() };
        for pack in packs {
            manifest.add(Record::Pack(pack_record(pack)))?;
        }
        Ok(manifest)
    }

    /// Adds one record.
    ///
    /// # Errors
    /// When it does not fit a frame, or the medium refuses.
    pub fn add(&mut self, record: Record) -> Result<(), Error> {
        count(&mut self.summary, &record);
        self.batch.push(record);
        if self.batch.len() >= BATCH {
            self.writer.append_records(&std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    /// Adds the summary, commits, closes, and gives the file its name. Returns length and CRC-64 of the file.
    ///
    /// # Errors
    /// When the medium refuses.
    pub fn finish(mut self, run: &RunKey, random: &dyn RandomSource) -> Result<PackState, Error> {
        let mut rest = std::mem::take(&mut self.batch);
        rest.push(Record::Summary(self.summary));
        let _committed = self.writer.begin_commit(vec![rest])?;
        let part = self.writer.path().to_owned();
        let state = self.writer.finish(run, random)?;
        let path = self.volume.root().join(MANIFEST);
        let fs = self.volume.fs();
        fs.rename_noreplace(&part, &path).at("rename to", &path)?;
        fs.sync_dir(self.volume.root()).at("sync", self.volume.root())?;
        Ok(state)
    }
}

/// What `MANIFEST` says of a pack.
fn pack_record(state: &PackState) -> PackRecord {
    PackRecord {
        number: state.number,
        frame_count: state.frames_next + 1,
        file_bytes: state.file_bytes,
        crc64: state.crc64,
        commit_count: state.commits,
        reason: state.closed.unwrap_or(crate::format::FooterReason::Complete),
        run: state.run,
    }
}

fn count(summary: &mut Summary, record: &Record) {
    match record {
        Record::Entry(_) => summary.entries += 1,
        Record::Extent(extent) => {
            summary.extents += 1;
            summary.content_bytes = summary.content_bytes.saturating_add(extent.length);
        }
        Record::Problem(_) => summary.problems += 1,
        Record::Pack(pack) => {
            summary.packs += 1;
            summary.pack_bytes = summary.pack_bytes.saturating_add(pack.file_bytes);
        }
        _ => {}
    }
}

/// Reads `MANIFEST` as a stream, in constant memory.
pub struct ManifestReader {
    path: PathBuf,
    walk: FrameWalk,
    key: OpeningKey,
    header: PackHeader,
    header_bytes: Vec<u8>,
    run_keys: Keyring,
}

impl ManifestReader {
    /// Opens the manifest of a sealed volume.
    ///
    /// # Errors
    /// When it is missing, damaged, or no key of its run is at hand.
    pub fn open(volume: &Volume, keyring: &Keyring) -> Result<Self, Error> {
        let pack = volume.open_pack(0, Access::Buffered)?;
        let key = pack.opening_key(keyring)?;
        let (header, header_bytes, path) = (pack.header().clone(), pack.header_bytes.clone(), pack.path().to_owned());
        Ok(Self { path, walk: pack.walk(), key, header, header_bytes, run_keys: keyring.clone() })
    }

    /// Hands every record to `take`, SUMMARY included, and checks commit, footer and summary at the end. A caller that
    /// acts on records before this returns `Ok` must be able to take it back.
    ///
    /// # Errors
    /// For any damage, any rule of the format, and what `take` returns.
    pub fn read<E: From<Error>>(mut self, mut take: impl FnMut(Record) -> Result<(), E>) -> Result<Summary, E> {
        let mut checksums = Vec::new();
        let mut counted = Summary::default();
        let mut said = None;
        let mut openings = Openings::default();
        let mut commit_chain = None;
        let (mut commits, mut records, mut closed) = (0_u32, 0_u64, false);
        while let Some(step) = self.walk.advance()? {
            let (offset, header, body) = match step {
                Step::Damage(damage) => return Err(self.damaged(damage.reason).into()),
                Step::Frame { offset, header, body } => (offset, header, body),
            };
            match header.kind {
                FrameKind::Data => return Err(self.damaged("a data frame in MANIFEST".to_owned()).into()),
                FrameKind::Entries => {
                    checksums.push(header.crc64);
                    let plain = openings.open(&self.key, &header, &body, ENTRIES_PLAIN_BYTES_MAX, &self.path)?;
                    for record in Records::new(&plain) {
                        let record = record.within(&self.path)?;
                        records += 1;
                        count(&mut counted, &record);
                        if let Record::Summary(summary) = &record {
                            said = Some(*summary);
                        }
                        take(record)?;
                    }
                    openings.give_back(plain);
                }
                FrameKind::Commit => {
                    let mut plain = body.to_vec();
                    self.key.open(&header, &mut plain).within(&self.path)?;
                    let commit = Commit::decode(&plain).within(&self.path)?;
                    let seen = Commit {
                        first_index: 0,
                        frame_count: header.index,
                        at: offset,
                        data_plain_bytes: 0,
                        record_count: u32::try_from(records).unwrap_or(u32::MAX),
                        number: 1,
                        chain: chain_next(&chain_start(&self.header_bytes), &checksums),
                    };
                    commit.check(&seen).within(&self.path)?;
                    commit_chain = Some(commit.chain);
                    commits += 1;
                }
                FrameKind::Footer => {
                    let (keys, _) = FooterKeys::split(&body).within(&self.path)?;
                    let run = self.run_keys.get(keys.run, &self.path)?;
                    let footer = crypto::open_footer(run, &self.header, &header, &body).within(&self.path)?;
                    closed = commits == 1 && Some(footer.chain) == commit_chain && footer.record_count == records;
                }
            }
        }
        if !closed {
            return Err(self.damaged("it ends without the commit and footer that fit it".to_owned()).into());
        }
        match said {
            Some(said) if said == counted => Ok(said),
            _ => Err(self.damaged("its summary is not that of its records".to_owned()).into()),
        }
    }

    fn damaged(&self, reason: String) -> Error {
        Error::Damaged { path: self.path.clone(), reason }
    }
}
