//! `verify`: what a volume holds, proved from the volume alone; without a key as far as that goes.
//!
//! Owns: the checks of manifests/formats/ that a reader makes of a whole volume, and what they find. Does not own: what a
//! single record may look like (`format`), how frames are read (`volume`), printing (`cli`). Invariants: never writes;
//! reads every byte once, past the page cache where possible; memory does not grow with the volume; a finding names file,
//! frames and bytes, and with a key the source files and byte ranges it costs. Callers: `cli`, `stage --repair`, tests.

mod elsewhere;
mod extents;
mod finding;
mod job;
mod join;
mod manifest;
mod memory;
mod opened;
mod pipeline;
mod report;
mod signed;
mod surface;
mod volume;
mod walk;

pub use finding::{Finding, FindingKind, Lost, Span};
pub use job::{Error, Options, verify};
pub use report::{FINDINGS_MAX, Report, VolumeFacts};
pub use signed::{CustodyFact, SignedBy};
