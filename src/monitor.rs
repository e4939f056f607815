//! How work below the command line says how far it is. Nothing below `cli` prints.
//!
//! Owns: a small trait and the monitor that hears nothing. Invariants: a monitor never changes what is done. Callers:
//! verbs report; `cli` and tests listen.

/// Hears of progress, from any thread.
pub trait Monitor: Send + Sync {
    /// So many more bytes of the medium were dealt with. Unit: bytes.
    fn bytes(&self, count: u64);

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
