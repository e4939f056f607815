//! Erasing a whole drive by its own means: sanitize of NVMe and ATA, secure discard.
//!
//! Owns: the door to a drive below its file system, and what is sent through it. Does not own: when a drive may be
//! purged, what is compared afterwards (`erase`). Invariants: a drive with a mounted file system is never opened; what
//! was not confirmed by the drive is not called done. Callers: `cli` opens the drive, `erase` uses it.

mod ata;
mod nvme;
mod real;

use std::io;
use std::path::Path;

use crate::sys::device::DeviceFacts;

pub use real::BlockDrive;

/// Unit of everything read and written here. Unit: bytes.
pub const PIECE_BYTES: usize = 4096;

/// A way in which a drive erases itself, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// The drive forgets the key it encrypts everything with.
    CryptoErase,
    /// The drive erases all its flash blocks, those out of reach included.
    BlockErase,
    /// The drive overwrites itself, spare sectors included.
    Overwrite,
    /// The drive discards all blocks and their copies (`BLKSECDISCARD`).
    SecureDiscard,
}

impl Method {
    /// In words, as in a certificate.
    pub fn word(self) -> &'static str {
        match self {
            Self::CryptoErase => "sanitize, crypto erase",
            Self::BlockErase => "sanitize, block erase",
            Self::Overwrite => "sanitize, overwrite",
            Self::SecureDiscard => "secure discard",
        }
    }

    /// The method of that word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::CryptoErase, Self::BlockErase, Self::Overwrite, Self::SecureDiscard]
            .into_iter()
            .find(|method| method.word() == word)
    }
}

/// How far a drive is, by its own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It was never asked, as far as it knows.
    Never,
    /// It is at it. Unit: parts of 65536.
    Running(u16),
    /// It ended well.
    Done,
    /// It did not.
    Failed(String),
}

/// A whole drive below its file system.
pub trait Drive: Send + std::fmt::Debug {
    /// What it says of itself.
    fn facts(&self) -> DeviceFacts;

    /// What it offers, the best first; empty if nothing.
    ///
    /// # Errors
    /// What the system said.
    fn methods(&mut self) -> io::Result<Vec<Method>>;

    /// Starts. [`Method::SecureDiscard`] may be over when this returns.
    ///
    /// # Errors
    /// What the drive or the system said; then nothing was started.
    fn start(&mut self, method: Method) -> io::Result<()>;

    /// How far it is.
    ///
    /// # Errors
    /// When it does not answer: how far it is, is unknown.
    fn progress(&mut self, method: Method) -> io::Result<Progress>;

    /// Its size. Unit: bytes.
    ///
    /// # Errors
    /// What the system said.
    fn size_bytes(&mut self) -> io::Result<u64>;

    /// Reads [`PIECE_BYTES`] at a multiple of that, past every cache.
    ///
    /// # Errors
    /// What the drive said: a drive that was purged may refuse to read what holds nothing.
    fn read(&mut self, offset: u64) -> io::Result<Vec<u8>>;

    /// Writes [`PIECE_BYTES`] at a multiple of that, durably.
    ///
    /// # Errors
    /// What the drive said.
    fn write(&mut self, offset: u64, piece: &[u8]) -> io::Result<()>;
}

/// Opens the whole drive at a path, for this process alone.
///
/// # Errors
/// When it is no whole drive, is in use (a file system on it is mounted), or may not be opened.
pub fn open(path: &Path) -> io::Result<BlockDrive> {
    BlockDrive::open(path)
}
