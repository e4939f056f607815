//! File sizes by powers of two.
//!
//! Owns: the buckets. Does not own: what a planner makes of them.
//! Invariants: the counts and bytes of all buckets add up to what was added. Callers: `summary`, `plan` by its document.

/// Number of buckets: one for empty files, one for each number of binary digits a size can have.
pub const BUCKET_COUNT: usize = 65;

/// How many files there are of each size, and how many bytes they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: [Bucket; BUCKET_COUNT],
}

/// Files whose size lies in `min_bytes..=max_bytes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Bucket {
    /// Smallest size in the bucket. Unit: bytes.
    pub min_bytes: u64,
    /// Largest size in the bucket. Unit: bytes.
    pub max_bytes: u64,
    /// Files.
    pub files: u64,
    /// Sum of their sizes. Unit: bytes.
    pub bytes: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        let bucket = |index: usize| match index {
            0 => Bucket::default(),
            _ => Bucket { min_bytes: 1 << (index - 1), max_bytes: u64::MAX >> (64 - index), ..Bucket::default() },
        };
        Self { buckets: std::array::from_fn(bucket) }
    }
}

impl Histogram {
    /// Counts one file.
    pub fn add(&mut self, size_bytes: u64) {
        let digits = u64::BITS - size_bytes.leading_zeros();
        if let Some(bucket) = self.buckets.get_mut(digits as usize) {
            bucket.files += 1;
            bucket.bytes = bucket.bytes.saturating_add(size_bytes);
        }
    }

    /// Buckets that hold at least one file, from small to large.
    pub fn used(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.iter().filter(|bucket| bucket.files > 0)
    }
}

impl serde::Serialize for Histogram {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.used())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_size_is_within_its_bucket(size in any::<u64>()) {
            let mut histogram = Histogram::default();
            histogram.add(size);
            let used: Vec<_> = histogram.used().collect();
            prop_assert_eq!(used.len(), 1);
            prop_assert!(used[0].min_bytes <= size && size <= used[0].max_bytes);
            prop_assert_eq!((used[0].files, used[0].bytes), (1, size));
        }
    }

    #[test]
    fn buckets_meet_without_gaps() {
        let buckets = Histogram::default().buckets;
        assert_eq!((buckets[0].min_bytes, buckets[0].max_bytes), (0, 0));
        for pair in buckets.windows(2) {
            assert_eq!(pair[0].max_bytes + 1, pair[1].min_bytes);
        }
        assert_eq!(buckets[64].max_bytes, u64::MAX);
    }
}
