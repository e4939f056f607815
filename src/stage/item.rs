//! What is to be staged: items, and the units in which workers take them.

use crate::census::Compare;
pub(super) use crate::census::Item;
use crate::format::record::EntryType;
use crate::job::ResumePoint;

/// What one worker does in one go.
#[derive(Debug)]
pub(super) enum Unit {
    /// Entries without content: directories, links, special files.
    Bare(Vec<Item>),
    /// Files that share a frame, empty ones among them: whether a file can be read is seen by opening it, whatever its size.
    Small(Vec<Item>),
    /// Files that look unchanged, to be compared by content.
    Compare(Vec<Compare>),
    /// A file of its own, perhaps begun by an earlier run.
    Large(Box<Item>, Option<Box<ResumePoint>>),
}

impl Unit {
    /// How many entries it is about.
    pub(super) fn entries(&self) -> usize {
        match self {
            Self::Bare(items) | Self::Small(items) => items.len(),
            Self::Compare(all) => all.len(),
            Self::Large(..) => 1,
        }
    }
}

/// Most entries in one unit.
const UNIT_ITEMS_MAX: usize = 512;
/// Content to compare in one unit. Unit: bytes.
const COMPARE_BYTES: u64 = 64 << 20;

/// Gathers items into units.
#[derive(Debug)]
pub(super) struct Gather {
    frame_bytes: u64,
    bare: Vec<Item>,
    small: Vec<Item>,
    small_bytes: u64,
    compare: Vec<Compare>,
    compare_bytes: u64,
}

impl Gather {
    pub(super) fn new(frame_bytes: u32) -> Self {
        Self {
            frame_bytes: frame_bytes.into(),
            bare: Vec::new(),
            small: Vec::new(),
            small_bytes: 0,
            compare: Vec::new(),
            compare_bytes: 0,
        }
    }

    /// Whether a file of that size shares a frame with others.
    pub(super) fn is_small(&self, size: u64) -> bool {
        size <= self.frame_bytes / 2
    }

    /// Takes an item that is not large; gives a unit when one is full.
    pub(super) fn add(&mut self, item: Item) -> Option<Unit> {
        if item.facts.entry_type != EntryType::File {
            self.bare.push(item);
            return (self.bare.len() >= UNIT_ITEMS_MAX).then(|| Unit::Bare(std::mem::take(&mut self.bare)));
        }
        let full = self.small_bytes + item.facts.size > self.frame_bytes || self.small.len() >= UNIT_ITEMS_MAX;
        let unit = if full { self.take_small() } else { None };
        self.small_bytes += item.facts.size;
        self.small.push(item);
        unit
    }

    /// Takes a file to compare; gives a unit when one is full.
    pub(super) fn add_compare(&mut self, one: Compare) -> Option<Unit> {
        self.compare_bytes += one.item.facts.size;
        self.compare.push(one);
        let full = self.compare.len() >= UNIT_ITEMS_MAX || self.compare_bytes >= COMPARE_BYTES;
        full.then(|| self.take_compare()).flatten()
    }

    fn take_compare(&mut self) -> Option<Unit> {
        self.compare_bytes = 0;
        (!self.compare.is_empty()).then(|| Unit::Compare(std::mem::take(&mut self.compare)))
    }

    fn take_small(&mut self) -> Option<Unit> {
        self.small_bytes = 0;
        (!self.small.is_empty()).then(|| Unit::Small(std::mem::take(&mut self.small)))
    }

    /// What is left at the end.
    pub(super) fn finish(&mut self) -> impl Iterator<Item = Unit> + use<> {
        let bare = (!self.bare.is_empty()).then(|| Unit::Bare(std::mem::take(&mut self.bare)));
        bare.into_iter().chain(self.take_small()).chain(self.take_compare())
    }
}
