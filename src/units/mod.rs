//! Units: sizes, rates, money, shares, counts and spans of time, each parsed and printed exactly.
//!
//! Owns: what a quantity is called, how it is written, and arithmetic that cannot mix two of them. Does not own any
//! figure from the world: those live in the catalogue. Invariants: a value printed by `exact` parses back to itself;
//! nothing here overflows silently; text that people read in two ways (`40T`, `100mb`) is refused with the two readings.
//! Anyone may call it; it calls nobody and does no input or output.

mod bytes;
mod calendar;
mod count;
mod decimal;
mod money;
mod rate;
mod share;
mod span;

pub use bytes::Bytes;
pub use calendar::BusinessCalendar;
pub use count::Count;
pub use money::Usd;
pub use rate::{BitsPerSecond, BytesPerSecond};
pub use share::Share;
pub use span::{Days, Span};

use thiserror::Error;

/// Why a text is not a quantity. Display is one sentence that names the text and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The text does not begin with a decimal number, or ends in something that is no unit at all.
    #[error("'{text}' is not a {kind}: write it like {example}")]
    Malformed {
        /// What was expected: "size", "link rate", ...
        kind: &'static str,
        /// The text as given.
        text: String,
        /// A text that would be accepted.
        example: &'static str,
    },
    /// A number without its unit.
    #[error("'{text}' has no unit: write it like {example}")]
    UnitMissing {
        /// The text as given.
        text: String,
        /// A text that would be accepted.
        example: &'static str,
    },
    /// A unit that is read in two ways, or belongs to another kind of quantity.
    #[error("'{text}' is ambiguous or the wrong kind of unit: {advice}")]
    UnitRefused {
        /// The text as given.
        text: String,
        /// The two readings and how to write each.
        advice: String,
    },
    /// More than the type can hold.
    #[error("'{text}' is too large: the largest {kind} this tool can count is {limit}")]
    TooLarge {
        /// What was expected.
        kind: &'static str,
        /// The text as given.
        text: String,
        /// The largest value.
        limit: &'static str,
    },
    /// Outside the range that makes sense for the quantity.
    #[error("'{text}' is out of range: {advice}")]
    OutOfRange {
        /// The text as given.
        text: String,
        /// The range and the usual cause.
        advice: &'static str,
    },
}
