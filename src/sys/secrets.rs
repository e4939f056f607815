//! Secrets at the edge of the process: key files a user names, a hidden prompt, a file only its owner may read.
//!
//! Owns: bounded reading of a file (or pipe) named on the command line, the terminal without echo, creation with mode
//! 0600. Does not own: what the bytes mean. Invariants: bytes read here are wiped when dropped; the terminal's echo is
//! restored on every way out; an existing file is never overwritten. Callers: `cli`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The terminal that belongs to this process, whatever its standard streams are.
const TERMINAL: &str = "/dev/tty";
/// Longest line taken from a prompt. Unit: bytes.
const LINE_BYTES_MAX: u64 = 4096;

/// Reads a file or pipe the user named; symbolic links are followed, because the user chose the path.
///
/// # Errors
/// What the system said, or `InvalidData` when there are more than `bytes_max` bytes.
pub fn read_secret(path: &Path, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path)?;
    // WHY reserved: growing would leave copies of the secret behind in freed memory.
    bytes.reserve_exact(usize::try_from(bytes_max.saturating_add(1)).unwrap_or(0));
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Opens a file or pipe the user named, for reading; symbolic links are followed, because the user chose the path.
///
/// # Errors
/// What the system said.
pub fn open_named(path: &Path) -> io::Result<impl Read + use<>> {
    File::open(path)
}

/// A path without symbolic links, `.` and `..`.
///
/// # Errors
/// What the system said.
pub fn resolved(path: &Path) -> io::Result<std::path::PathBuf> {
    std::fs::canonicalize(path)
}

/// Writes a new file that only its owner may read (mode 0600), durable when this returns.
///
/// # Errors
/// `AlreadyExists` when the name is taken, else what the system said.
pub fn write_secret_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Keeps the pages of a secret out of swap for as long as it lives.
pub struct Locked {
    /// Held, not used: the pages are unlocked when it is dropped.
    _guard: region::LockGuard,
}

/// Locks the pages that hold `bytes`, where the limits of this user allow it.
pub fn lock_in_memory(bytes: &[u8]) -> Option<Locked> {
    region::lock(bytes.as_ptr(), bytes.len()).ok().map(|guard| Locked { _guard: guard })
}

/// Asks on the terminal without showing what is typed. `None` when this process has no terminal.
///
/// # Errors
/// What the terminal said; `UnexpectedEof` when it was closed.
pub fn prompt_hidden(question: &str) -> io::Result<Option<Zeroizing<String>>> {
    let Ok(mut terminal) = OpenOptions::new().read(true).write(true).open(TERMINAL) else { return Ok(None) };
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    write!(terminal, "{question}")?;
    let reader = terminal.try_clone()?;
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let _restore = Restore { terminal, before };
    let mut line = Zeroizing::new(String::with_capacity(usize::try_from(LINE_BYTES_MAX).unwrap_or(0)));
    if BufReader::new(reader).take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    Ok(Some(line))
}

struct Restore {
    terminal: File,
    before: Termios,
}

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before); // nothing more can be done here
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_file_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        write_secret_new(&path, b"first").expect("new");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = write_secret_new(&path, b"second").expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_secret(&path, 5).expect("short").as_slice(), b"first");
    }

    #[test]
    fn a_key_file_that_is_too_long_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        write_secret_new(&path, b"123456").expect("new");
        assert_eq!(read_secret(&path, 5).expect_err("too long").kind(), io::ErrorKind::InvalidData);
    }
}
