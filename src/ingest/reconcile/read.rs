//! Files of a report, and what is said when one cannot be read.

use std::io;
use std::path::Path;

use crate::ingest::error::Error;
use crate::sys::Fs;

/// A file of a report, read in order.
pub(super) struct ReportRead {
    file: Box<dyn crate::sys::FsFile>,
    at: u64,
}

impl ReportRead {
    pub(super) fn open(fs: &dyn Fs, path: &Path) -> Result<Self, Error> {
        let file = fs.open_read(path, crate::sys::Access::Buffered);
        Ok(Self { file: file.map_err(|source| unreadable(path, source))?, at: 0 })
    }
}

impl io::Read for ReportRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

pub(super) fn unreadable(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Report { path: path.to_owned(), source: Box::new(source) }
}

pub(super) fn malformed(path: &Path, what: impl Into<String>) -> Error {
    unreadable(path, io::Error::new(io::ErrorKind::InvalidData, what.into()))
}
