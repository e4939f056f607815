//! Is this machine ready for the work, and what is to be mended?
//!
//! Owns: the checks, their verdicts and advice. Does not own: how they are printed, and the network (`cli` asks `ingest`
//! for that and adds the answer). Invariants: nothing is left behind; what cannot be found out is said to be unknown and
//! never counted as good. Callers: `cli`.

mod capacity;
mod drive;
mod host;

use serde::Serialize;

pub use capacity::capacity;
pub use drive::{job_place, source, volume};
pub use host::host;

/// What a check came to, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Could not be found out.
    Unknown,
    /// Works, but something should be known or better mended.
    Warning,
    /// Will fail.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub what: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub mend: Option<String>,
}

impl Check {
    /// As it should be.
    pub fn good(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { what: what.into(), verdict: Verdict::Good, found: found.into(), mend: None }
    }

    /// Anything but good: with what to do.
    pub fn not_good(
        verdict: Verdict,
        what: impl Into<String>,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { what: what.into(), verdict, found: found.into(), mend: Some(mend.into()) }
    }
}
