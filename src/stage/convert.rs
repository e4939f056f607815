//! Between the volume layer's view of a pack and the job database's: the job has it, for every verb.

pub(super) use crate::job::{job_pack, pack_close, volume_pack};
