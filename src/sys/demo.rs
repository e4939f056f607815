//! What the demo needs of the machine: real files to move, and a place to work in.
//!
//! Owns: choosing and making directories for `demo`. Does not own: any step of it. Callers: `cli`.

use std::io;
use std::path::{Path, PathBuf};

/// Where installed documentation lives: real files of all sizes on nearly every machine.
const DOCUMENTATION: [&str; 3] = ["/usr/share/doc", "/usr/local/share/doc", "/usr/share/man"];

/// A directory of real files on this machine: its documentation, else the present directory.
pub fn demo_source() -> Option<PathBuf> {
    let has_files = |dir: &PathBuf| std::fs::read_dir(dir).is_ok_and(|mut items| items.next().is_some());
    let present = std::env::current_dir().ok();
    DOCUMENTATION.iter().map(PathBuf::from).chain(present).find(has_files)
}

/// An empty directory to work in, with a directory for each drive; a new temporary one unless one is named.
///
/// # Errors
/// When it cannot be made or is not empty.
pub fn demo_space(named: Option<&Path>) -> io::Result<PathBuf> {
    let dir = match named {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            if std::fs::read_dir(dir)?.next().is_some() {
                return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, "the directory is not empty"));
            }
            std::path::absolute(dir)?
        }
        None => tempfile::Builder::new().prefix("packmule-demo-").tempdir()?.keep(),
    };
    for drive in ["drive-a", "drive-b", "s3"] {
        std::fs::create_dir(dir.join(drive))?;
    }
    Ok(dir)
}

/// Bytes of all files below a directory, as far as they can be seen.
pub fn tree_bytes(dir: &Path) -> u64 {
    let files = walkdir::WalkDir::new(dir).into_iter().filter_map(Result::ok);
    files.filter_map(|item| item.metadata().ok()).filter(|facts| facts.is_file()).map(|facts| facts.len()).sum()
}
