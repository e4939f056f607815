//! Between the volume layer's view of a pack and the job database's.

use crate::job::{PackClose, PackRow, PackState};
use crate::volume;

/// The open half, for `record_commit`.
pub fn job_pack(state: &volume::PackState) -> PackState {
    PackState {
        number: state.number,
        run: state.run,
        committed_bytes: state.committed_bytes,
        frames_next: state.frames_next,
        commits: state.commits,
        chain: state.chain,
        crc64: state.crc64,
        data_plain_bytes: state.data_plain_bytes,
        records: state.records,
    }
}

/// The closed half, once there is one.
pub fn pack_close(state: &volume::PackState) -> Option<PackClose> {
    state.closed.map(|reason| PackClose {
        reason,
        frame_count: state.frames_next + 1,
        file_bytes: state.file_bytes,
        crc64: state.crc64,
    })
}

/// Both halves, as the volume layer wants them.
pub fn volume_pack(row: &PackRow) -> volume::PackState {
    let state = &row.state;
    volume::PackState {
        number: state.number,
        run: state.run,
        committed_bytes: state.committed_bytes,
        frames_next: state.frames_next,
        commits: state.commits,
        chain: state.chain,
        crc64: row.close.map_or(state.crc64, |close| close.crc64),
        data_plain_bytes: state.data_plain_bytes,
        records: state.records,
        closed: row.close.map(|close| close.reason),
        file_bytes: row.close.map_or(0, |close| close.file_bytes),
    }
}
