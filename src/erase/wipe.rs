//! Destroying files: overwritten, synced, sampled past the cache, removed.

use std::io;
use std::path::{Path, PathBuf};

use crate::erase::{Error, Progress};
use crate::format::ReadBack;
use crate::sys::aligned::AlignedBuf;
use crate::sys::{Access, Fs, FsFile, World};
use crate::volume::{VOLUME, read_back};

/// Written and read at a time. Unit: bytes.
const BLOCK_BYTES: usize = 1 << 20;
/// Each such piece of a block is stamped with its place in the file, so that a block found elsewhere is not mistaken.
const STAMP_EVERY_BYTES: usize = 4096;
/// One block in so many is read back, the first and the last of each file always.
const SAMPLE_EVERY_BLOCKS: u64 = 16;
/// Longest file that fills free space, for file systems with a limit of 4 GiB. Unit: bytes.
const FILL_FILE_BYTES: u64 = (4 << 30) - BLOCK_BYTES as u64;

/// A file to destroy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doomed {
    pub(super) path: PathBuf,
    pub(super) len: u64,
    pub(super) is_slot: bool,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wiped {
    pub(super) sampled_bytes: u64,
    pub(super) free_space_bytes: u64,
    /// The weakest way in which a sample was read back.
    pub(super) read_back: Option<ReadBack>,
}

/// Everything below `root`, in the order it goes: key slots, then the rest, `VOLUME` last.
pub(super) fn files(fs: &dyn Fs, root: &Path) -> Result<Vec<Doomed>, Error> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        let items = match fs.list(&dir) {
            Ok(items) => items,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::File { doing: "list", path: dir, source }),
        };
        let is_slot = dir == root.join("slots");
        for item in items {
            let path = dir.join(&item.name);
            if item.is_dir {
                dirs.push(path);
            } else {
                found.push(Doomed { path, len: item.len, is_slot });
            }
        }
    }
    let last = root.join(VOLUME);
    found.sort_by(|a, b| {
        let rank = |file: &Doomed| (!file.is_slot, file.path == last, file.path.clone());
        rank(a).cmp(&rank(b))
    });
    Ok(found)
}

/// Destroys the files in their order.
pub(super) fn all(
    world: &World,
    root: &Path,
    files: Vec<Doomed>,
    free_space: bool,
    progress: &mut dyn Progress,
) -> Result<Wiped, Error> {
    let mut eraser = Eraser { world, pattern: AlignedBuf::with_capacity(BLOCK_BYTES), wiped: Wiped::default() };
    eraser.pattern.resize_zeroed(BLOCK_BYTES);
    world.random.fill(&mut eraser.pattern);
    let total: u64 = files.iter().map(|file| file.len).sum();
    let mut done = 0;
    let volume = root.join(VOLUME);
    let mut is_filled = !free_space;
    for file in files {
        if file.path == volume && !is_filled {
            eraser.fill(root)?; // while `VOLUME` still says what this is
            is_filled = true;
        }
        eraser.destroy(&file)?;
        done += file.len;
        progress.overwritten(done, total);
    }
    Ok(eraser.wiped)
}

struct Eraser<'a> {
    world: &'a World,
    /// Random bytes: a file system that compresses or removes duplicates cannot keep the old blocks because of them.
    pattern: AlignedBuf,
    wiped: Wiped,
}

impl Eraser<'_> {
    fn destroy(&mut self, doomed: &Doomed) -> Result<(), Error> {
        let at = |doing| move |source| Error::File { doing, path: doomed.path.clone(), source };
        let fs = &*self.world.fs;
        let file = fs.open_write(&doomed.path, Access::Buffered).map_err(at("open"))?;
        let mut offset = 0;
        while offset < doomed.len {
            let bytes = self.block(offset, doomed.len);
            file.write_all_at(&self.pattern[..bytes], offset).map_err(at("overwrite"))?;
            offset += bytes as u64;
        }
        file.sync_data().map_err(at("sync"))?;
        drop(file);
        self.sample(doomed)?;
        fs.remove_file(&doomed.path).map_err(at("remove"))?;
        let dir = doomed.path.parent().unwrap_or(Path::new("."));
        fs.sync_dir(dir).map_err(at("sync the directory of"))
    }

    /// Stamps the pattern for the block at `offset`, and says how many bytes of it are in a file of `len` bytes.
    fn block(&mut self, offset: u64, len: u64) -> usize {
        for (index, piece) in self.pattern.chunks_mut(STAMP_EVERY_BYTES).enumerate() {
            let place = offset + (index * STAMP_EVERY_BYTES) as u64;
            piece[..8].copy_from_slice(&place.to_le_bytes());
        }
        usize::try_from(len - offset).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES))
    }

    /// Reads a sample back and compares it with the pattern.
    fn sample(&mut self, doomed: &Doomed) -> Result<(), Error> {
        let at = |doing| move |source| Error::File { doing, path: doomed.path.clone(), source };
        let file = self.world.fs.open_read(&doomed.path, Access::Direct).map_err(at("open"))?;
        let way = read_back(file.pass_cache());
        self.wiped.read_back = Some(self.wiped.read_back.map_or(way, |before| before.weaker(way)));
        let mut buffer = AlignedBuf::with_capacity(BLOCK_BYTES);
        let blocks = doomed.len.div_ceil(BLOCK_BYTES as u64);
        for block in (0..blocks).filter(|block| block % SAMPLE_EVERY_BLOCKS == 0 || block + 1 == blocks) {
            let offset = block * BLOCK_BYTES as u64;
            let bytes = self.block(offset, doomed.len);
            buffer.resize_dirty(BLOCK_BYTES);
            let read = read_up_to(&*file, &mut buffer, offset, bytes).map_err(at("read back"))?;
            if read < bytes || buffer[..bytes] != self.pattern[..bytes] {
                return Err(Error::ReadBack { path: doomed.path.clone(), offset, bytes: bytes as u64 });
            }
            self.wiped.sampled_bytes += bytes as u64;
        }
        Ok(())
    }

    /// Overwrites free space with files until there is none, then removes them.
    fn fill(&mut self, root: &Path) -> Result<(), Error> {
        let mut fills = Vec::new();
        loop {
            let path = root.join(format!("free-space-{:06}.part", fills.len() + 1));
            let written = self.fill_one(&path)?;
            self.wiped.free_space_bytes += written;
            fills.push(path);
            if written < FILL_FILE_BYTES {
                break;
            }
        }
        let fs = &*self.world.fs;
        for path in fills {
            fs.remove_file(&path).map_err(|source| Error::File { doing: "remove", path, source })?;
        }
        fs.sync_dir(root).map_err(|source| Error::File { doing: "sync", path: root.to_owned(), source })
    }

    fn fill_one(&mut self, path: &Path) -> Result<u64, Error> {
        let at = |doing| move |source| Error::File { doing, path: path.to_owned(), source };
        let file = match self.world.fs.create_new(path, Access::Buffered) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(0),
            Err(error) => return Err(at("create")(error)),
        };
        let mut written = 0;
        while written < FILL_FILE_BYTES {
            let bytes = self.block(written, FILL_FILE_BYTES);
            match file.write_all_at(&self.pattern[..bytes], written) {
                Ok(()) => written += bytes as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(at("fill")(error)),
            }
        }
        match file.sync_data() {
            Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(at("sync")(error)),
            _ => Ok(written),
        }
    }
}

/// Reads until `want` bytes are there or the file ends; offsets stay aligned for direct I/O.
fn read_up_to(file: &dyn FsFile, buffer: &mut [u8], offset: u64, want: usize) -> io::Result<usize> {
    let mut done = 0;
    while done < want {
        let aligned = done - done % STAMP_EVERY_BYTES;
        match file.read_at(&mut buffer[aligned..], offset + aligned as u64) {
            Ok(count) if aligned + count <= done => break,
            Ok(count) => done = aligned + count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
