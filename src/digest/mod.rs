//! Digests: SHA-256 with visible chaining values and trees of it, CRC-64/NVME and its combination.
//!
//! Owns: the arithmetic that ties a byte at the source to a byte in a pack and in S3. Does not own: any I/O, any
//! format. Pure; callable from everywhere above.

mod crc64;
mod merkle;
mod sha256;

pub use crc64::{Crc64, combine, crc64, crc64_of_both, zeros};
pub use merkle::{MerkleTree, Step, climb, leaf, merkle_root, place_of};
pub use sha256::{CHAIN_START, ChainingValue, Sha256, Sha256Stream, sha256};
