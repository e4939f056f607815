//! The other side of a comparison: a source as it is now, another job, other volumes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::browse::{Error, Opened, list};
use crate::digest::Sha256Stream;
use crate::format::record::EntryType;
use crate::job::Job;
use crate::scan::{DirBatch, EntryKind, Root, WalkOptions, walk};
use crate::sys::source::SourceFile;

/// Bytes read at a time. Unit: bytes.
const READ_BYTES: usize = 1 << 20;

/// What the other side says of a path. What it does not know is not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Path below the top.
    pub path: Vec<u8>,
    /// What it is, where that is known; a further name of a file is a file here.
    pub entry_type: Option<EntryType>,
    /// Content bytes: those of a file, of the text of a symbolic link where that is content.
    pub size: Option<u64>,
    /// Modification time: seconds and nanoseconds.
    pub mtime: Option<(i64, u32)>,
    /// What is told of the content.
    pub content: Told,
    /// Where a symbolic link points.
    pub target: Option<Vec<u8>>,
}

/// A digest of content, by who vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing is told.
    Nothing,
    /// SHA-256.
    Sha256([u8; 32]),
    /// CRC-64/NVME, big-endian.
    Crc64([u8; 8]),
    /// SHA-256 as somebody noted it beside the content: nobody compared the two.
    Noted([u8; 32]),
}

/// Whatever can say what it has, path by path.
pub trait Other {
    /// Hands everything to `take`.
    ///
    /// # Errors
    /// When it cannot be read, or `take` fails.
    fn each(&self, take: &mut dyn FnMut(Seen) -> Result<(), Error>) -> Result<(), Error>;
}

/// A directory, as it is now.
#[derive(Debug)]
pub struct SourceSide {
    /// Its top.
    pub dir: PathBuf,
    /// Whether every file is read and digested, instead of comparing length and time.
    pub reads_content: bool,
}

/// Another job, as its database has it.
pub struct JobSide<'a>(pub &'a Job);

/// Other volumes.
pub struct VolumesSide(pub Opened);

impl Other for SourceSide {
    fn each(&self, take: &mut dyn FnMut(Seen) -> Result<(), Error>) -> Result<(), Error> {
        let root = Root::resolve(&self.dir)?;
        let top = root.path().to_owned();
        let mut outcome = Ok(());
        walk(&[root], &WalkOptions::default(), |batch| {
            outcome = self.batch(&top, &batch, take);
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        outcome
    }
}

impl SourceSide {
    fn batch(
        &self,
        top: &Path,
        batch: &DirBatch,
        take: &mut dyn FnMut(Seen) -> Result<(), Error>,
    ) -> Result<(), Error> {
        use std::os::unix::ffi::OsStrExt;
        if let Some(problem) = batch.problems.first() {
            let path = top.join(std::ffi::OsStr::from_bytes(&problem.path));
            let source = std::io::Error::new(problem.source.kind(), format!("{}: {}", problem.kind, problem.source));
            return Err(Error::Read { path, source });
        }
        for entry in &batch.entries {
            let path = crate::scan::join(&batch.dir, &entry.name);
            let (entry_type, target) = match &entry.kind {
                EntryKind::File => (EntryType::File, None),
                EntryKind::Dir => (EntryType::Directory, None),
                EntryKind::Symlink { target } => (EntryType::Symlink, Some(target.clone())),
                EntryKind::Fifo => (EntryType::Fifo, None),
                EntryKind::Socket => (EntryType::Socket, None),
                EntryKind::Block => (EntryType::BlockDevice, None),
                EntryKind::Char => (EntryType::CharDevice, None),
            };
            let is_file = entry_type == EntryType::File;
            let content = match is_file && self.reads_content {
                true => Told::Sha256(digest(&top.join(std::ffi::OsStr::from_bytes(&path)))?),
                false => Told::Nothing,
            };
            let mtime = is_file.then_some((entry.identity.mtime.seconds, entry.identity.mtime.nanos));
            let size = is_file.then_some(entry.identity.size);
            take(Seen { path, entry_type: Some(entry_type), size, mtime, content, target })?;
        }
        Ok(())
    }
}

fn digest(path: &Path) -> Result<[u8; 32], Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let file = SourceFile::open(path).map_err(read)?;
    let (mut sha256, mut buffer, mut offset) = (Sha256Stream::new(), vec![0; READ_BYTES], 0_u64);
    loop {
        let got = file.read_at(&mut buffer, offset).map_err(read)?;
        if got == 0 {
            return Ok(sha256.finish());
        }
        sha256.update(&buffer[..got]);
        offset += got as u64;
    }
}

impl Other for JobSide<'_> {
    fn each(&self, take: &mut dyn FnMut(Seen) -> Result<(), Error>) -> Result<(), Error> {
        self.0.list(|listed| {
            if listed.path.is_empty() || listed.state.is_deleted() {
                return Ok(());
            }
            let is_file = listed.entry_type == EntryType::File;
            let entry_type = if listed.entry_type == EntryType::HardLink { EntryType::File } else { listed.entry_type };
            take(Seen {
                path: listed.path,
                entry_type: Some(entry_type),
                size: is_file.then_some(listed.bytes),
                mtime: is_file.then_some((listed.mtime_s, listed.mtime_ns)),
                content: listed.read.filter(|_| is_file).map_or(Told::Nothing, |read| Told::Sha256(read.sha256)),
                target: (entry_type == EntryType::Symlink).then_some(listed.target),
            })
        })
    }
}

impl Other for VolumesSide {
    fn each(&self, take: &mut dyn FnMut(Seen) -> Result<(), Error>) -> Result<(), Error> {
        list(&self.0, |entry| {
            if entry.path.is_empty() {
                return Ok(());
            }
            let is_file = entry.entry_type == EntryType::File;
            let entry_type = if entry.entry_type == EntryType::HardLink { EntryType::File } else { entry.entry_type };
            take(Seen {
                path: entry.path.clone(),
                entry_type: Some(entry_type),
                size: is_file.then_some(entry.size),
                mtime: is_file.then_some((entry.mtime_s, entry.mtime_ns)),
                content: if is_file { Told::Sha256(entry.sha256) } else { Told::Nothing },
                target: (entry_type == EntryType::Symlink).then(|| entry.target.clone()),
            })
        })
    }
}
