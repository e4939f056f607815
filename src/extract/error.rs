//! What keeps an extraction from beginning, and what goes wrong with single entries.

use std::path::PathBuf;

use crate::format::JobId;

/// Why nothing can be extracted at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The target cannot be opened or made.
    #[error("target {} cannot be used", path.display())]
    Target {
        /// The directory given.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The volumes are not of one job.
    #[error("volume {} belongs to job {found}, the first one to job {expected}", path.display())]
    OtherJob {
        /// The volume that does not fit.
        path: PathBuf,
        /// Job of the first volume.
        expected: JobId,
        /// Its job.
        found: JobId,
    },
    /// The budget does not hold one frame.
    #[error("the memory budget does not hold one frame")]
    Budget {
        /// How much would be needed.
        #[source]
        source: crate::sys::budget::BudgetError,
    },
}

/// How grave a problem is, from light to grave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// One entry could not be written, or not with all its metadata.
    Entry,
    /// Parts of an entry are on a volume that was not given.
    Missing,
    /// The volume does not hold what it should.
    Integrity,
    /// What was written may not have reached the drive of the target.
    Target,
}

/// An entry that is not as it should be, a part of a volume that could not be read, or a target that is not to be relied on.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// How grave.
    pub class: Class,
    /// Path of the entry; `None` when it is about a volume.
    pub path: Option<Vec<u8>>,
    /// What, as a clause.
    pub message: String,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Problem {
    /// About one entry.
    pub(super) fn entry(class: Class, path: &[u8], message: impl Into<String>) -> Self {
        Self { class, path: Some(path.to_vec()), message: message.into(), source: None }
    }

    /// About a volume or pack; the error says which.
    pub(super) fn volume(error: crate::volume::Error) -> Self {
        let message = "part of a volume cannot be read".to_owned();
        Self { class: Class::Integrity, path: None, message, source: Some(Box::new(error)) }
    }

    /// About the target as a whole: nobody can say which of its files are there.
    pub(super) fn target(error: std::io::Error) -> Self {
        let message = "the target's drive did not take everything that was written, and does not say what it lost: rely on none \
                       of it, and extract into another place";
        Self { class: Class::Target, path: None, message: message.to_owned(), source: Some(Box::new(error)) }
    }

    /// With the error that caused it.
    pub(super) fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
}
