//! Bytes <-> values of every record on a volume. No I/O, no keys, no clock.
//!
//! Owns: the encodings that `manifests/formats/` describes, and every check a reader makes before it believes a
//! field. Invariants: encoding is explicit little-endian; every length is checked before memory is taken; decoding
//! any bytes gives a value or an error, never a panic. Callers: `volume`, `crypto`, the verbs, tests, fuzz targets.

mod cursor;
mod custody;
mod error;
mod frame;
mod ids;
pub mod layout;
mod pack;
pub mod path;
pub mod record;
mod seal;
mod slot;
mod volume;

pub use cursor::{Reader, Writer};
pub use custody::{CustodyEntry, begins_with, heads, heads_digest, parse_custody, render_custody};
pub use error::Error;
pub use frame::{
    Commit, FRAME_ALIGN, FRAME_HEADER_BYTES, Footer, FooterKeys, FooterReason, FrameHeader, FrameKind, INNER_BYTES,
    Inner, MARK, TAG_BYTES, body_bytes_max, chain_next, chain_start, padded_len, stored_len,
};
pub use ids::{JobId, RunId, VolumeId};
pub(crate) use ids::{hex, parse_hex};
pub use pack::{
    BLOCK_BYTES, ENTRIES_PLAIN_BYTES_MAX, FRAME_PLAIN_BYTES_DEFAULT, FRAME_PLAIN_BYTES_MAX, FRAME_PLAIN_BYTES_MIN,
    PACK_BYTES_DEFAULT, PACK_BYTES_MAX, PACK_HEADER_BYTES, PackHeader, PackKind,
};
pub use seal::{ReadBack, SealSignature, Sealed, SumLine, parse_sums, render_sums, sums_root};
pub use slot::{SLOT_BYTES_MAX, SlotRecipient, SlotText};
pub use volume::{VOLUME_HEADER_BYTES, VolumeHeader};

/// Version of the format this crate writes, and the only one it reads.
pub const FORMAT_VERSION: u16 = 1;
