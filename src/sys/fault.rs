//! `FaultFs`: wraps any file system and breaks chosen calls by script.
//!
//! Owns: faults of a living system: errors, short reads and writes, delays, flipped bits, writes that vanish. Does not
//! own: cuts of power (`sys::mem`).
//! Invariants: a rule fires on exactly the calls it names; a test ends with [`FaultFs::assert_all_exercised`], since a
//! fault that never fired proves nothing. Callers: tests.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::sys::aligned::AlignedBuf;
use crate::sys::fs::{Access, DirItem, Fs, FsFile, OpKind, Space, Stat};
use crate::sys::lock::lock;

/// What happens instead of, or on top of, the real call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails with this `errno` and does nothing.
    Errno(i32),
    /// A read returns at most this many bytes (rounded down to the alignment with direct access, but at least one unit).
    ShortRead(usize),
    /// A write puts down only the first so many bytes, then fails.
    ShortWrite {
        /// Bytes that are written (rounded down to the alignment with direct access).
        bytes: usize,
        /// How it fails.
        errno: i32,
    },
    /// The call takes this much longer, then runs.
    Delay(Duration),
    /// One bit of what is read or written is wrong: bit `n % (8 * len)`.
    FlipBit(usize),
    /// A write reports success and puts nothing down, as a drive with a false capacity does.
    LoseWrite,
    /// A write beyond this many bytes lands at the beginning again, as on a drive whose addresses wrap around.
    Wrap(u64),
}

/// When a fault happens: on calls of one kind, to paths that contain a text, from the nth such call on, so many times.
#[derive(Debug, Clone)]
pub struct FaultRule {
    kind: OpKind,
    path_part: String,
    first_number: u64,
    times: u64,
    fault: Fault,
    calls_seen: u64,
    times_fired: u64,
}

/// A file system that breaks by script.
#[derive(Debug, Clone)]
pub struct FaultFs {
    inner: Arc<dyn Fs>,
    rules: Rules,
}

/// A script.
pub(super) type Rules = Arc<Mutex<Vec<FaultRule>>>;

#[derive(Debug)]
struct FaultFile {
    inner: Box<dyn FsFile>,
    path: PathBuf,
    rules: Rules,
}

impl FaultRule {
    /// The first call of this kind, to any path, breaks once.
    pub fn new(kind: OpKind, fault: Fault) -> Self {
        Self { kind, path_part: String::new(), first_number: 1, times: 1, fault, calls_seen: 0, times_fired: 0 }
    }

    /// Only paths that contain this text (a rename matches by either path).
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        part.clone_into(&mut self.path_part);
        self
    }

    /// Starts with the nth matching call, counted from 1.
    #[must_use]
    pub fn nth(mut self, number: u64) -> Self {
        self.first_number = number;
        self
    }

    /// Breaks this many matching calls in a row.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Breaks every matching call from the first one on.
    #[must_use]
    pub fn forever(self) -> Self {
        self.times(u64::MAX)
    }

    /// Counts a call that may match; the fault if it is this one's turn.
    fn turn(&mut self, kind: OpKind, paths: &[&Path]) -> Option<Fault> {
        let matches = |path: &&Path| path.to_string_lossy().contains(&self.path_part);
        if kind != self.kind || !paths.iter().any(matches) {
            return None;
        }
        self.calls_seen += 1;
        let past = self.calls_seen.checked_sub(self.first_number)?;
        if past >= self.times {
            return None;
        }
        self.times_fired += 1;
        Some(self.fault)
    }
}

impl FaultFs {
    /// Wraps a file system; without rules it changes nothing.
    pub fn new(inner: Arc<dyn Fs>) -> Self {
        Self { inner, rules: Arc::default() }
    }

    /// Adds a rule. If several rules match one call, all count it and the first added decides.
    pub fn add(&self, rule: FaultRule) {
        lock(&self.rules).push(rule);
    }

    /// Rules that never fired.
    pub fn unexercised(&self) -> Vec<FaultRule> {
        unexercised(&self.rules)
    }

    /// Panics, naming the rules, if one of them never fired.
    pub fn assert_all_exercised(&self) {
        let rules = self.unexercised();
        assert!(rules.is_empty(), "these faults never happened, so they prove nothing: {rules:#?}");
    }
}

/// Rules of a script that never fired.
pub(super) fn unexercised(rules: &Rules) -> Vec<FaultRule> {
    let rules = lock(rules);
    rules.iter().filter(|rule| rule.times_fired == 0).cloned().collect()
}

/// The fault for this call, if any. Errors and delays are carried out here, the rest by the caller.
pub(super) fn strike(rules: &Rules, kind: OpKind, paths: &[&Path]) -> io::Result<Option<Fault>> {
    let mut hit = None;
    for rule in lock(rules).iter_mut() {
        hit = hit.or(rule.turn(kind, paths));
    }
    match hit {
        Some(Fault::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
        Some(Fault::Delay(time)) => {
            std::thread::sleep(time);
            Ok(None)
        }
        other => Ok(other),
    }
}

impl FaultFs {
    fn file(&self, inner: Box<dyn FsFile>, path: &Path) -> Box<dyn FsFile> {
        Box::new(FaultFile { inner, path: path.to_path_buf(), rules: Arc::clone(&self.rules) })
    }

    fn strike(&self, kind: OpKind, paths: &[&Path]) -> io::Result<()> {
        strike(&self.rules, kind, paths).map(|_| ())
    }
}

impl Fs for FaultFs {
    fn create_new(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        self.strike(OpKind::CreateNew, &[path])?;
        Ok(self.file(self.inner.create_new(path, access)?, path))
    }

    fn open_read(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        self.strike(OpKind::OpenRead, &[path])?;
        Ok(self.file(self.inner.open_read(path, access)?, path))
    }

    fn open_write(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        self.strike(OpKind::OpenWrite, &[path])?;
        Ok(self.file(self.inner.open_write(path, access)?, path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirItem>> {
        self.strike(OpKind::List, &[dir])?;
        self.inner.list(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.strike(OpKind::Stat, &[path])?;
        self.inner.stat(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.strike(OpKind::CreateDir, &[path])?;
        self.inner.create_dir(path)
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.strike(OpKind::Rename, &[from, to])?;
        self.inner.rename_noreplace(from, to)
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.strike(OpKind::Rename, &[from, to])?;
        self.inner.rename_replace(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.strike(OpKind::RemoveFile, &[path])?;
        self.inner.remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.strike(OpKind::SyncDir, &[dir])?;
        self.inner.sync_dir(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.strike(OpKind::Space, &[dir])?;
        self.inner.space(dir)
    }
}

impl FaultFile {
    fn strike(&self, kind: OpKind) -> io::Result<Option<Fault>> {
        strike(&self.rules, kind, &[&self.path])
    }

    /// Rounds a number of bytes down to what this file's access allows.
    fn whole_units(&self, bytes: usize) -> usize {
        match self.inner.access() {
            Access::Buffered => bytes,
            Access::Direct => bytes - bytes % crate::sys::fs::DIRECT_ALIGN_BYTES,
        }
    }
}

impl FsFile for FaultFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.strike(OpKind::Read)? {
            Some(Fault::ShortRead(bytes)) => {
                let unit = self.whole_units(crate::sys::fs::DIRECT_ALIGN_BYTES).min(buf.len());
                let floor = if self.inner.access() == Access::Direct { unit } else { 1.min(buf.len()) };
                let count = self.whole_units(bytes).max(floor).min(buf.len());
                self.inner.read_at(&mut buf[..count], offset)
            }
            Some(Fault::FlipBit(bit)) => {
                let count = self.inner.read_at(buf, offset)?;
                flip(&mut buf[..count], bit);
                Ok(count)
            }
            _ => self.inner.read_at(buf, offset),
        }
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        match self.strike(OpKind::Write)? {
            Some(Fault::ShortWrite { bytes, errno }) => {
                let count = self.whole_units(bytes).min(buf.len());
                self.inner.write_all_at(&buf[..count], offset)?;
                Err(io::Error::from_raw_os_error(errno))
            }
            Some(Fault::FlipBit(bit)) => {
                let mut copy = AlignedBuf::with_capacity(buf.len());
                copy.push(buf);
                flip(&mut copy, bit);
                self.inner.write_all_at(&copy, offset)
            }
            Some(Fault::LoseWrite) => {
                let end = offset.saturating_add(buf.len() as u64);
                if self.inner.len()? < end { self.inner.set_len(end) } else { Ok(()) }
            }
            Some(Fault::Wrap(bytes)) => self.inner.write_all_at(buf, offset % bytes.max(1)),
            _ => self.inner.write_all_at(buf, offset),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.strike(OpKind::SetLen)?;
        self.inner.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.strike(OpKind::SetLen)?;
        self.inner.allocate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.strike(OpKind::SyncData)?;
        self.inner.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.strike(OpKind::Len)?;
        self.inner.len()
    }

    fn access(&self) -> Access {
        self.inner.access()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.strike(OpKind::DropCache)?;
        self.inner.drop_cache()
    }
}

fn flip(bytes: &mut [u8], bit: usize) {
    let Some(bits) = bytes.len().checked_mul(8).filter(|&bits| bits > 0) else {
        return;
    };
    let bit = bit % bits;
    bytes[bit / 8] ^= 1 << (bit % 8);
}
