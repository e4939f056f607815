//! Exit codes: the public contract of what a run came to. The only place that turns an outcome into a number.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// 0: done, everything checked.
    Done,
    /// 1: failed.
    Failed,
    /// 2: usage.
    Usage,
    /// 3: done, but some entries have problems, all listed.
    Problems,
    /// 4: integrity findings.
    Integrity,
    /// 5: key missing or wrong.
    Key,
    /// 6: a volume is needed (full, missing, swapped).
    Volume,
    /// 7: the remote refused or its outcome is unknown.
    Remote,
    /// 130: stopped by the user; the same command resumes.
    Stopped,
}

impl Exit {
    /// The number a shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Problems => 3,
            Self::Integrity => 4,
            Self::Key => 5,
            Self::Volume => 6,
            Self::Remote => 7,
            Self::Stopped => 130,
        }
    }
}

impl Exit {
    /// How a place where things go stands after a run, in a few words.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Done => "complete and proved",
            Self::Problems => "complete but for entries with problems",
            Self::Stopped => "not complete: stopped, the same command resumes",
            Self::Volume => "not complete: a volume is needed",
            _ => "not complete",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error of a command that knows its exit code and what the user can do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Code to end with.
    pub exit: Exit,
    /// What happened, one clause.
    pub message: String,
    /// What to do now, if something can be done.
    pub hint: Option<String>,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// A failure whose text and chain are those of `error`.
    pub fn of(
        exit: Exit,
        message: impl Into<String>,
        hint: Option<String>,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { exit, message: message.into(), hint, source: Some(Box::new(error)) }
    }

    /// A failure without a cause below it.
    pub fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: Some(hint.into()), source: None }
    }
}

/// Prints an error with its chain and hint to standard error, and gives its exit code.
#[expect(clippy::print_stderr, reason = "the command line is the layer that prints")]
pub(super) fn render(error: &anyhow::Error) -> Exit {
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    eprintln!("packmule: {}", chain.join(": "));
    let failure = error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
    if let Some(hint) = failure.and_then(|failure| failure.hint.as_deref()) {
        eprintln!("  hint: {hint}");
    }
    failure.map_or(Exit::Failed, |failure| failure.exit)
}

/// An error with everything below it, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let below = std::iter::successors(error.source(), |cause| cause.source());
    below.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Says on standard error what is wrong but does not end the command.
#[expect(clippy::print_stderr, reason = "the command line is the layer that prints")]
pub(super) fn warn(what: &dyn std::fmt::Display) {
    eprintln!("packmule: {what}");
}
