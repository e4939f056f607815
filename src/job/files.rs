//! Files beside the database: reports, certificates. Each is whole or absent.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::digest::{Sha256, Sha256Stream};
use crate::job::Error;
use crate::sys::{Access, Fs, FsFile};

/// Bytes gathered before they are written. Unit: bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// A file that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenFile {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of it.
    pub sha256: Sha256,
}

/// Writes a file, whole or not at all, replacing what was there: under another name first, synced, then renamed.
///
/// # Errors
/// Those of `write`, and those of the file system.
pub fn replace_file<T, E: From<Error>>(
    fs: &dyn Fs,
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<(T, WrittenFile), E> {
    let mut replacing = Replacing::begin(fs, path)?;
    let value = write(&mut replacing)?;
    Ok((value, replacing.commit()?))
}

/// A file that is written under another name until it is whole.
pub struct Replacing<'f> {
    fs: &'f dyn Fs,
    path: PathBuf,
    part: PathBuf,
    out: Out,
}

impl<'f> Replacing<'f> {
    /// Begins one that is to be at `path`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn begin(fs: &'f dyn Fs, path: &Path) -> Result<Self, Error> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let at = |doing| move |source| Error::File { path: path.to_owned(), doing, source };
        match fs.remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at("remove what is left of")(error)),
            _ => {}
        }
        let file = fs.create_new(&part, Access::Buffered).map_err(at("create"))?;
        let out = Out { file, offset: 0, buffer: Vec::with_capacity(BUFFER_BYTES), digest: Sha256Stream::new() };
        Ok(Self { fs, path: path.to_owned(), part, out })
    }

    /// Puts it in the place of what was there.
    ///
    /// # Errors
    /// Those of the file system; what was there is then there still.
    pub fn commit(mut self) -> Result<WrittenFile, Error> {
        let path = &self.path;
        let at = |doing| move |source| Error::File { path: path.to_owned(), doing, source };
        self.out.flush().map_err(at("write"))?;
        self.out.file.sync_data().map_err(at("sync"))?;
        self.fs.rename_replace(&self.part, path).map_err(at("put in place"))?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.fs.sync_dir(dir).map_err(at("sync the directory of"))?;
        Ok(WrittenFile { bytes: self.out.offset, sha256: self.out.digest.finish() })
    }
}

impl Write for Replacing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Makes a directory, and those above it, unless it is there.
///
/// # Errors
/// Those of the file system.
pub fn ensure_dir(fs: &dyn Fs, path: &Path) -> Result<(), Error> {
    match fs.create_dir(path) {
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && path.parent().is_some_and(|dir| dir != Path::new("")) =>
        {
            if let Some(parent) = path.parent() {
                ensure_dir(fs, parent)?;
            }
            fs.create_dir(path).map_err(|source| Error::File { path: path.to_owned(), doing: "make", source })
        }
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::File { path: path.to_owned(), doing: "make", source })
        }
        _ => Ok(()),
    }
}

/// A file written front to back.
struct Out {
    file: Box<dyn FsFile>,
    offset: u64,
    buffer: Vec<u8>,
    digest: Sha256Stream,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.offset)?;
        self.digest.update(&self.buffer);
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
