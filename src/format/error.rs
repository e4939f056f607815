//! Why bytes were not believed.

/// A record that a reader must reject. Unit of all numbers: bytes or the field's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The record ends before a field does.
    #[error("{record}: ends after {available} bytes where {needed} are needed")]
    Truncated {
        /// Which kind of record.
        record: &'static str,
        /// Bytes the field or record needs.
        needed: u64,
        /// Bytes there are.
        available: u64,
    },
    /// A field has a value the format does not allow.
    #[error("{record}: field {field} is {found}, expected {expected}")]
    Field {
        /// Which kind of record.
        record: &'static str,
        /// Name of the field as in the format document.
        field: &'static str,
        /// What the format or the context asks for.
        expected: String,
        /// What was read.
        found: String,
    },
    /// A feature this version does not know and must.
    #[error("{record}: needs feature bit {bit}, which this version does not know")]
    UnknownFeature {
        /// Which kind of record.
        record: &'static str,
        /// Number of the lowest unknown bit.
        bit: u32,
    },
    /// The stored CRC-64 is not that of the bytes.
    #[error("{record}: checksum is {found:016x}, computed {expected:016x}")]
    Checksum {
        /// Which kind of record.
        record: &'static str,
        /// CRC-64 of the bytes as read.
        expected: u64,
        /// CRC-64 as stored.
        found: u64,
    },
    /// Bytes are left over after the last field.
    #[error("{record}: {left} bytes left over")]
    LeftOver {
        /// Which kind of record.
        record: &'static str,
        /// How many.
        left: u64,
    },
    /// A value does not fit the field that would hold it.
    #[error("{record}: {field} of {found} does not fit its limit of {limit}")]
    TooLarge {
        /// Which kind of record.
        record: &'static str,
        /// Name of the field.
        field: &'static str,
        /// What was to be stored.
        found: u64,
        /// The most that can be.
        limit: u64,
    },
    /// A stored path breaks the rules of manifest.md section 7.
    #[error("stored path {escaped}: {reason}")]
    Path {
        /// The path, escaped for people.
        escaped: String,
        /// Which rule.
        reason: &'static str,
    },
}

impl Error {
    /// A field that is not what it must be.
    pub(crate) fn field(
        record: &'static str,
        field: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        Self::Field { record, field, expected: expected.to_string(), found: found.to_string() }
    }
}
