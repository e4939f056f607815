//! What a run tells while it goes on. The library reports; the command line paints.

use crate::format::record::Problem;
use crate::stage::gauge::Bottleneck;
use crate::volume::SealReport;

/// Hears what happens; called from many threads.
pub trait Monitor: Send + Sync {
    /// The walk found something to stage. Unit: bytes.
    fn found(&self, entries: u64, bytes: u64);
    /// The walk has seen everything.
    fn walked(&self);
    /// Bytes were read at the source.
    fn read(&self, bytes: u64);
    /// Bytes went to a volume.
    fn written(&self, volume: u32, bytes: u64);
    /// A commit made entries staged, and their bytes.
    fn staged(&self, entries: u64, bytes: u64);
    /// An entry could not be staged, or only with a reservation.
    fn problem(&self, problem: &Problem);
    /// What everything waits for at present, twice a second.
    fn bottleneck(&self, bottleneck: Bottleneck);
    /// Something that cannot wait for the end of the run.
    fn message(&self, text: &str);
    /// Something happened to a volume.
    fn volume(&self, number: u32, event: &VolumeEvent);
}

/// What happens to a volume.
#[derive(Debug, Clone)]
pub enum VolumeEvent {
    /// It is in use from now on.
    Open {
        /// Where it is mounted.
        path: std::path::PathBuf,
        /// What may be written to it. Unit: bytes.
        capacity_bytes: u64,
        /// Whether it was made in this run.
        is_new: bool,
    },
    /// Remains of an interrupted run were cut off. Unit: bytes.
    Recovered {
        /// How much.
        cut_bytes: u64,
    },
    /// The drive says of itself that it is about to fail.
    Failing {
        /// Its words.
        says: String,
    },
    /// It writes at a fraction of what it did: slow for a reason, or not what it says it is.
    Slowed {
        /// The best rate of this run, while it was at work. Unit: bytes per second.
        best_bytes_per_second: u64,
        /// The rate now.
        now_bytes_per_second: u64,
    },
    /// Nothing more fits; it is sealed while others are filled.
    Full,
    /// It would not even have room for something if it were empty; it takes what is smaller.
    TooSmall {
        /// What may be written to it. Unit: bytes.
        capacity_bytes: u64,
        /// What the file, or the part of it that one volume must take, may need. Unit: bytes.
        needs_bytes: u64,
    },
    /// A place for a further volume cannot be used.
    Refused {
        /// Where it is.
        path: std::path::PathBuf,
        /// Why.
        reason: String,
    },
    /// Its files are being read back. Unit: bytes.
    Sealing {
        /// How much there is to read.
        total_bytes: u64,
    },
    /// Bytes were read back.
    ReadBack {
        /// How many.
        bytes: u64,
    },
    /// It is sealed and may be taken away.
    Sealed(Box<SealReport>),
    /// It was looked through for damage.
    Repaired {
        /// Places that are not as they were written, one clause each.
        damage: Vec<String>,
        /// What that costs.
        due: crate::job::Due,
    },
    /// It is gone, and everything on it is staged again.
    GivenUp {
        /// What that costs.
        due: crate::job::Due,
    },
    /// It failed; nothing more is written to it in this run.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn found(&self, _: u64, _: u64) {}
    fn walked(&self) {}
    fn read(&self, _: u64) {}
    fn written(&self, _: u32, _: u64) {}
    fn staged(&self, _: u64, _: u64) {}
    fn problem(&self, _: &Problem) {}
    fn bottleneck(&self, _: Bottleneck) {}
    fn message(&self, _: &str) {}
    fn volume(&self, _: u32, _: &VolumeEvent) {}
}
