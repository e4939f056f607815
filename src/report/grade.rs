//! Whether one entry is a success or a failure, and why.

use crate::format::record::{Problem, ProblemCode};
use crate::job::{Evidence, Job, Listed, ObjectState, State};
use crate::report::{Error, Stage};

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grade {
    /// How well it is proved that its content is where it should be.
    pub evidence: Evidence,
    /// Why it is on the list of failures; `None`: it is on the list of successes.
    pub failure: Option<Reason>,
}

/// Why an entry is a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// One word for programs.
    pub code: &'static str,
    /// For people.
    pub text: String,
}

impl Grade {
    /// Grades an entry that exists at the source. `sealed` tells for a volume whether it was read back.
    ///
    /// # Errors
    /// When the database does not say what the problem is.
    pub fn of(job: &Job, stage: Stage, listed: &Listed, sealed: impl Fn(u32) -> bool) -> Result<Self, Error> {
        let is_read_back = !listed.volumes.is_empty() && listed.volumes.iter().all(|volume| sealed(*volume));
        let object = listed.object.as_ref();
        let evidence = Evidence::of(listed.state, is_read_back, object.map(|object| object.state));
        let reason = |code, text: &str| Some(Reason { code, text: text.to_owned() });
        let unsent = if stage == Stage::Completion && needs_object(listed) { unsent(listed) } else { None };
        let failure = match listed.state {
            State::Problem => Some(problem(job, listed)?),
            State::Pending => reason("pending", "not staged yet"),
            State::Changed if unsent.is_none() => {
                reason("changed", "changed while it was read, in every attempt; what was read is kept")
            }
            _ => unsent,
        };
        Ok(Self { evidence, failure })
    }
}

/// Whether an entry must arrive in S3 as an object of its own: all but the top directory, which has a name there only
/// under a prefix.
fn needs_object(listed: &Listed) -> bool {
    !listed.path.is_empty() || listed.object.is_some()
}

/// Why a staged entry has not arrived; `None` if it has.
fn unsent(listed: &Listed) -> Option<Reason> {
    let (code, text) = match &listed.object {
        None => ("not-sent", "staged, and not sent to S3 yet"),
        Some(object) => match object.state {
            ObjectState::Failed => ("refused", object.error.as_deref().unwrap_or("the server refused it")),
            ObjectState::Uploading => ("uploading", "its upload is not complete"),
            ObjectState::Arrived | ObjectState::Confirmed | ObjectState::ReadBack => return None,
        },
    };
    Some(Reason { code, text: text.to_owned() })
}

fn problem(job: &Job, listed: &Listed) -> Result<Reason, Error> {
    let Some(problem) = job.problem_of(listed.id)? else {
        return Ok(Reason { code: "problem", text: "could not be staged".into() });
    };
    Ok(Reason::of(&problem))
}

impl Reason {
    /// A problem as the reason of a failure.
    pub(super) fn of(problem: &Problem) -> Self {
        let code = match problem.code {
            ProblemCode::Unreadable => "unreadable",
            ProblemCode::Vanished => "vanished",
            ProblemCode::Changed => "changed",
            ProblemCode::Name => "name",
            ProblemCode::Metadata => "metadata",
            ProblemCode::Skipped => "skipped",
            ProblemCode::EndedEarly => "ended-early",
        };
        let errno = if problem.errno == 0 { String::new() } else { format!(" (errno {})", problem.errno) };
        Self { code, text: format!("{}{errno}", problem.text) }
    }
}
