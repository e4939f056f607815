//! Whether a volume may be erased.

use crate::digest::Sha256;
use crate::erase::{Error, Options};
use crate::job::Job;

/// What the completion report on file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// SHA-256 of the report.
    pub sha256: Sha256,
    /// The job it is of.
    pub job: String,
    /// Whether everything that could be staged has arrived.
    pub is_complete: bool,
    /// Whether it lists entries with problems.
    pub has_problems: bool,
    /// Volumes it covers: number, and entries of it that had not arrived.
    pub volumes: Vec<(u32, u64)>,
}

/// Digest of the completion report that allows it; `None` when the user gave the content up.
///
/// Two witnesses have to agree: the completion report, which a person could read, and the job as it is now, in case
/// something was staged since.
pub(super) fn ask(job: &Job, proof: Option<&Proof>, volume: u32, options: &Options) -> Result<Option<Sha256>, Error> {
    if options.abandon.contains(&volume) {
        return Ok(None);
    }
    if !options.abandon.is_empty() {
        let typed: Vec<String> = options.abandon.iter().map(ToString::to_string).collect();
        return Err(Error::OtherNumber { volume, typed: typed.join(", ") });
    }
    let proof = proof.ok_or(Error::NoReport { volume })?;
    match proof.volumes.iter().find(|(number, _)| *number == volume) {
        Some((_, 0)) if proof.job == job.id().to_string() => {}
        Some((_, entries)) if *entries > 0 => return Err(Error::NotArrived { volume, entries: *entries }),
        _ => return Err(Error::NotCovered { volume }),
    }
    if !proof.is_complete {
        return Err(Error::NotComplete { volume });
    }
    if proof.has_problems && !options.accept_problems {
        return Err(Error::Problems { volume });
    }
    match job.arrivals()?.get(&volume).map_or(0, |of_volume| of_volume.missing) {
        0 => Ok(Some(proof.sha256)),
        entries => Err(Error::NotArrived { volume, entries }),
    }
}
