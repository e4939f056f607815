//! What can go wrong with keys. No message ever contains a secret.

use crate::format;

/// A failure around keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The derived key is not the one the header commits to.
    #[error("the key does not belong to this {what}")]
    WrongKey {
        /// Pack, manifest or footer.
        what: &'static str,
    },
    /// The tag of a frame does not verify.
    #[error("frame {index} does not authenticate")]
    Tag {
        /// Index of the frame.
        index: u32,
    },
    /// A record under the key is not what the format allows.
    #[error("what the key opened breaks the format")]
    Format(#[from] format::Error),
    /// No identity opens the slot.
    #[error("none of the given keys opens the slot")]
    NoMatchingIdentity,
    /// The slot is not an age file, or a damaged one.
    #[error("the slot is not a readable age file: {reason}")]
    Slot {
        /// age's own words.
        reason: String,
    },
    /// A recipient is not in a form age understands.
    #[error("recipient {text} is not usable: {reason}")]
    Recipient {
        /// As given.
        text: String,
        /// Why.
        reason: String,
    },
    /// An identity file is not in a form age understands.
    #[error("identity file is not usable: {reason}")]
    Identity {
        /// Why; never quotes the file.
        reason: String,
    },
    /// Shares do not give a key.
    #[error("the shares cannot be used: {reason}")]
    Share {
        /// Why; never quotes them.
        reason: String,
    },
    /// A key service failed.
    #[error("the key service {doing}")]
    Service {
        /// What it did not do.
        doing: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An unlock code was mistyped.
    #[error("the unlock code is mistyped: {reason}")]
    UnlockCode {
        /// Which rule it breaks.
        reason: String,
    },
    /// Every index of this file is used up.
    #[error("no frame index is left in this file")]
    Exhausted,
}
