//! The source as the job knows it: which job it belongs to, and what is new, changed, unchanged or gone.
//!
//! Owns: opening a job for its sources, and the merge of a walk with the inventory. Does not own: reading contents, or
//! where they go. Invariants: a job keeps its sources; the source is never written. Callers: `stage`, `ingest` (for what
//! goes straight over the line).

mod error;
mod merge;

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

pub use crate::census::error::Error;
pub use crate::census::merge::{Compare, Merge, Top, birth, complete, facts, kind, needs_staging};
use crate::format::JobId;
use crate::job::{Facts, Inode, Job, NewJob, SourceRoot, State};
use crate::scan::Root;
use crate::sys::World;
use crate::sys::source::Identity;

/// One entry that is to be read.
#[derive(Debug)]
pub struct Item {
    /// The entry.
    pub id: u64,
    /// Which reading this will be.
    pub generation: u32,
    /// Stored path.
    pub path: Vec<u8>,
    /// Where to open it.
    pub place: PathBuf,
    /// What the walk saw.
    pub facts: Facts,
    /// Hard links: stored path of the entry that has the content.
    pub link_path: Option<Vec<u8>>,
}

/// Identity of an inode for the job database.
pub fn inode(identity: &Identity) -> Inode {
    Inode::new(identity.dev, identity.ino, identity.ctime.seconds, identity.ctime.nanos)
}

/// Opens the job of these sources, or makes it.
///
/// # Errors
/// When the job has other sources, or the directory cannot be read or written.
pub fn open_job(dir: &Path, roots: &[Root], world: &World) -> Result<Job, Error> {
    let sources = source_roots(roots);
    match Job::open(dir) {
        Ok(mut job) => {
            if job.sources()?.is_empty() {
                adopt_sources(&mut job, &sources)?;
            } else {
                check_sources(&job, &sources)?;
            }
            Ok(job)
        }
        Err(crate::job::Error::Missing { .. }) => {
            let (mut id, mut salt) = ([0; 16], [0; 32]);
            world.random.fill(&mut id);
            world.random.fill(&mut salt);
            let new = NewJob {
                id: JobId(id),
                salt,
                created: world.clock.now(),
                sources,
                recipients: Vec::new(),
                settings: Vec::new(),
            };
            Ok(Job::create(&*world.fs, dir, &new)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// One directory is the dataset itself; several sources, and single files, go by their names.
pub fn source_roots(roots: &[Root]) -> Vec<SourceRoot> {
    let is_whole = roots.len() == 1 && roots.iter().all(|root| !root.is_file());
    let prefix = |root: &Root| {
        let name = root.path().file_name().map(|name| name.to_os_string().into_vec()).unwrap_or_default();
        if is_whole { Vec::new() } else { name }
    };
    roots
        .iter()
        .map(|root| SourceRoot { path: root.path().as_os_str().as_bytes().to_vec(), prefix: prefix(root) })
        .collect()
}

/// A job that was rebuilt from volumes alone does not know where its sources are; those given now are taken for them, if
/// they would have the same names: one directory is the dataset itself, several go by their names.
fn adopt_sources(job: &mut Job, given: &[SourceRoot]) -> Result<(), Error> {
    let top = job.find(b"")?.map(|id| job.entry(id)).transpose()?.flatten();
    // A record of the top itself means that one directory was the dataset; without one, nobody can tell.
    let was_whole = top.is_some_and(|top| top.state != State::Implied);
    if was_whole && !given.iter().all(|source| source.prefix.is_empty()) {
        let (expected, found) = ("one directory".to_owned(), "several sources, or single files".to_owned());
        return Err(Error::OtherSources { expected, found });
    }
    job.batch_durable(|tx| given.iter().try_for_each(|source| tx.add_source(source).map(drop)))?;
    Ok(())
}

/// The job's sources are those given now. A tree that was moved or mounted elsewhere is another source: whether it is the
/// same data is not for a program to guess.
///
/// # Errors
/// When they are not, or the database fails.
pub fn check_sources(job: &Job, given: &[SourceRoot]) -> Result<(), Error> {
    let known: Vec<SourceRoot> = job.sources()?.into_iter().map(|source| source.root).collect();
    if known == given {
        return Ok(());
    }
    let shown = |roots: &[SourceRoot]| {
        roots.iter().map(|root| crate::format::path::escape(&root.path)).collect::<Vec<_>>().join(", ")
    };
    Err(Error::OtherSources { expected: shown(&known), found: shown(given) })
}
