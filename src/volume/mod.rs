//! Volumes: packs written and read, the commit, recovery, the seal. manifests/formats/volume.md and pack.md.
//!
//! Owns: every byte under `packmule/` on a volume. The three rules stand in one visible place each, with the argument
//! beside it: the commit point in `commit.rs`, the resume rule in `recover.rs`, the sealing rule in `seal.rs`.
//! Invariants: append-only; a commit names only synced bytes; a sealed volume never changes. Does not own: which file
//! goes where (`stage`), the job database (`job`). Everything goes through `sys::Fs`.

mod ahead;
mod carried;
mod check;
mod chunk;
mod commit;
mod create;
mod custody;
mod envelope;
mod error;
mod index;
mod keyring;
mod manifest;
mod open;
mod opening;
mod pack_writer;
mod paths;
mod reader;
mod rebuild;
mod recover;
mod resync;
mod seal;
mod slots;
mod walk;
mod window;

pub use carried::{add_reader_file, reader_files};
pub use check::CheckedPack;
pub use chunk::{Chunks, SharedBytes};
pub use commit::Committed;
pub use create::{NewVolume, Readme, add_slot, create};
pub use custody::{read_custody, write_custody};
pub use envelope::{add_envelope, envelope_name, envelope_names, read_envelopes};
pub use error::Error;
pub use index::{FrameAt, PackIndex, RECORDS_PER_PACK_MAX, RECORDS_PLAIN_BYTES_MAX};
pub use keyring::Keyring;
pub use manifest::{ManifestReader, ManifestWriter};
pub use open::Volume;
pub use opening::{Openings, OpeningsPool, Plain, open_plain};
pub use pack_writer::{PackParams, PackState, PackWriter, SealedFrame, WRITE_BYTES};
pub use paths::{CUSTODY, MANIFEST, PACKMULE, READER, README, SEALED, SUMS, VOLUME, pack_name, pack_path};
pub use reader::{PackFile, RawFrame, read_back};
pub use rebuild::RebuiltPack;
pub use recover::{KnownPack, Recovered, recover_packs};
pub use seal::{SealBy, SealReport, seal};
pub use slots::replace_slots;
pub use walk::{Damage, FrameWalk, Step};
