//! The only door to the operating system: files, devices, clocks, randomness, memory and signals.
//!
//! Owns: the traits through which everything above reaches the outside, their real implementations, and the test
//! doubles that break on demand. Does not own: any knowledge of packs, jobs, entries or S3.
//! Invariants: nothing here decides policy; a double is never kinder than the real thing (both pass one conformance
//! suite); symbolic links are never followed in the last component of a path.
//! Callers: every layer above may use this one; it imports no other module of the crate.

pub mod aligned;
pub mod budget;
pub mod clock;
mod demo;
pub mod device;
pub mod fault;
pub mod fs;
pub mod lock;
pub mod machine;
pub mod mem;
pub mod mounts;
pub mod owners;
pub mod pool;
pub mod process;
pub mod random;
pub mod real;
pub mod sanitize;
pub mod secrets;
pub mod smart;
pub mod source;
mod source_attrs;
pub mod source_faults;
pub mod target;
pub mod throttle;
pub mod wiping;

use std::sync::Arc;

pub use crate::sys::clock::{Clock, SystemClock};
pub use crate::sys::demo::{demo_source, demo_space, tree_bytes};
pub use crate::sys::fs::{Access, DirItem, Fs, FsFile, Kind, Space, Stat};
pub use crate::sys::random::{OsRandom, RandomSource};
pub use crate::sys::real::RealFs;

/// Everything outside that a verb may touch. Three fields, and it stays so: what is not a file, a moment or a random
/// byte is an option of the verb instead.
#[derive(Debug, Clone)]
pub struct World {
    /// File system of the volumes and of the job directory.
    pub fs: Arc<dyn Fs>,
    /// Wall clock and monotonic clock.
    pub clock: Arc<dyn Clock>,
    /// Source of random bytes.
    pub random: Arc<dyn RandomSource>,
}

impl World {
    /// The real file system, the system clock and the randomness of the operating system.
    pub fn real() -> Self {
        Self { fs: Arc::new(RealFs), clock: Arc::new(SystemClock::new()), random: Arc::new(OsRandom) }
    }
}
