//! What can go wrong while a report is made.

use std::io;
use std::path::PathBuf;

/// A report could not be made or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The job database or the job directory failed.
    #[error("cannot make the report")]
    Job(
        /// Why.
        #[source]
        crate::job::Error,
    ),
    /// A report file could not be read or written.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Wherever the report was to go did not take it.
    #[error("cannot write the report")]
    Output(
        /// Why.
        #[source]
        io::Error,
    ),
    /// A value could not be rendered.
    #[error("cannot render the report")]
    Render(
        /// Why.
        #[source]
        Box<dyn std::error::Error + Send + Sync>,
    ),
}

/// Only so that the streaming calls of the job can pass it through; it keeps the cause.
impl From<crate::job::Error> for Error {
    fn from(error: crate::job::Error) -> Self {
        Self::Job(error)
    }
}

/// Names the file when the file system refused.
pub(super) trait At<T> {
    /// Attaches what was being done, and to which file.
    fn at(self, doing: &'static str, path: &std::path::Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: &std::path::Path) -> Result<T, Error> {
        self.map_err(|source| Error::File { doing, path: path.to_owned(), source })
    }
}
