//! The commit point. manifests/formats/pack.md section 6.

use crate::format::record::Record;
use crate::format::{BLOCK_BYTES, Commit, FRAME_HEADER_BYTES, FrameKind, chain_next};
use crate::volume::error::{At, Error, In};
use crate::volume::pack_writer::{Group, PackState, PackWriter};

/// A commit that is on the medium.
#[derive(Debug)]
#[must_use = "the job database must hear of a commit before the next one on this volume"]
pub struct Committed {
    /// The pack as of this commit.
    pub state: PackState,
    /// What it made visible, in batches as they came: one vector of all would be copied as it grows, into memory that was never
    /// touched.
    pub records: Vec<Vec<Record>>,
}

/// Carries out the commit whose turn it is.
///
/// ORDER, and why: (1) the group's frames, the entries that describe them among them, are written and synced; with the
/// first commit also the file's name. (2) Only then is the commit written, so a commit can never be on the medium
/// without what it names, whatever subset of unsynced blocks survives a power cut. (3) The sync after it is the commit
/// point: when it has returned, and not before, the caller may record the group as staged. A sync that fails poisons the
/// writer: the kernel may have dropped the pages and would report success the second time.
pub(super) fn carry_out(writer: &mut PackWriter) -> Result<Option<Committed>, Error> {
    let Some((ticket, records)) = writer.commit_ticket.take() else {
        return Ok(None);
    };
    let index = ticket.index();
    writer.make_durable()?;
    if writer.state.commits == 0 {
        let dir = writer.path.parent().unwrap_or(&writer.path).to_owned();
        writer.fs.sync_dir(&dir).at("sync", &dir)?;
    }

    let group = std::mem::take(&mut writer.group);
    let (at, _) = writer.durable_prefix();
    let commit = Commit {
        first_index: group.first_index,
        frame_count: index - group.first_index,
        at,
        data_plain_bytes: group.data_plain_bytes,
        record_count: group.record_count,
        number: writer.state.commits + 1,
        chain: chain_next(&writer.state.chain, &group.checksums),
    };
    let mut frame = vec![0; FRAME_HEADER_BYTES];
    frame.extend_from_slice(&commit.encode());
    writer.sealing.seal(ticket, FrameKind::Commit, &mut frame).within(&writer.path)?;
    writer.place(&frame)?;
    writer.make_durable()?; // the commit point

    let (committed_bytes, crc64) = writer.durable_prefix();
    debug_assert_eq!(committed_bytes % BLOCK_BYTES, 0);
    writer.group = Group { first_index: index + 1, ..Group::default() };
    writer.state.committed_bytes = committed_bytes;
    writer.state.frames_next = index + 1;
    writer.state.commits = commit.number;
    writer.state.chain = commit.chain;
    writer.state.crc64 = crc64;
    writer.state.data_plain_bytes += group.data_plain_bytes;
    writer.state.records += u64::from(group.record_count);
    Ok(Some(Committed { state: writer.state.clone(), records }))
}
