//! How work below the command line says how far it is. Nothing below `cli` prints.
//!
//! Owns: a small trait and the monitor that hears nothing. Invariants: a monitor never changes what is done. Callers:
//! verbs report; `cli` and tests listen.

use std::path::Path;

/// Hears of progress, from any thread.
pub trait Monitor: Send + Sync {
    /// So many more bytes of the medium were dealt with. Unit: bytes.
    fn bytes(&self, count: u64);

    /// There is so much to deal with. Unit: bytes.
    fn expects(&self, _files: u64, _bytes: u64) {}

    /// A volume is begun, and so much of it is to be read. Unit: bytes.
    fn begins(&self, _volume: u32, _path: &Path, _bytes: u64) {}

    /// So much of a volume was read, where what is counted is something else. Unit: bytes.
    fn medium(&self, _volume: u32, _bytes: u64) {}

    /// A volume was read to its end.
    fn ends(&self, _volume: u32) {}

    /// So many more bytes of that volume were dealt with. Unit: bytes.
    fn volume_bytes(&self, _volume: u32, count: u64) {
        self.bytes(count);
    }

    /// So many more files or entries were dealt with.
    fn files(&self, count: u64);

    /// Something a person may want to know now.
    fn message(&self, text: &str);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn bytes(&self, _count: u64) {}
    fn files(&self, _count: u64) {}
    fn message(&self, _text: &str) {}
}
