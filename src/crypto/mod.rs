//! Keys: run keys, derivation, the sealing and opening of frames, key slots, identities, signatures.
//!
//! Owns: everything that touches a secret. Invariants: a key that seals can only be made with a fresh salt; a key whose
//! salt was read from a header can only open; a frame index is a ticket that sealing consumes; secrets are wiped when
//! dropped and have no `Debug`. Does not own: where slots and packs are stored. Randomness comes in as a value.

mod error;
mod frames;
mod identity;
mod kms;
mod run;
mod shares;
mod signing;
mod slot;
mod unlock;

pub use crate::format::SlotRecipient;
pub use error::Error;
pub use frames::{FRAME_PREFIX_BYTES, FrameTicket, OpeningKey, SealingKey, open_footer, seal_footer};
pub use identity::{
    Identities, IdentityText, Recipients, identity_from_passphrase, identity_from_unlock_code, new_identity,
};
pub use kms::{DataKey, EnvelopeFacts, KeyService, envelope_facts, open_envelope, seal_envelope};
pub use run::RunKey;
pub use shares::{Share, join_shares, split_new};
pub use signing::{PublicKey, Purpose, Signature, SigningKey, fingerprint, is_named, is_signed};
pub use slot::{OpenedSlot, open_slot, seal_slot, stanzas, unwrap_slot};
pub use unlock::{UNLOCK_CODE_TEXT_BYTES, UnlockCode};
