//! Random bytes: from the operating system, or reproducible ones for tests.
//!
//! Owns: the `RandomSource` trait and its two sources. Does not own: keys, salts, identifiers.
//! Invariants: `OsRandom` never returns without having filled every byte; `SeededRandom` is for tests and golden
//! fixtures only and is never reachable from the command line. Callers: verbs hand a source to `crypto`.

use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::sys::lock::lock;

/// Source of random bytes.
pub trait RandomSource: Send + Sync + std::fmt::Debug {
    /// Fills `out` completely.
    fn fill(&self, out: &mut [u8]);
}

/// The generator of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl RandomSource for OsRandom {
    /// Panics if the kernel has no randomness to give: every key, salt and identifier made afterwards would be worthless,
    /// and no caller could do better than stop.
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the kernel gives random bytes to any process once it has booted");
    }
}

/// Reproducible bytes: SHA-256 of a seed and a counter. Never for real keys.
#[derive(Debug)]
pub struct SeededRandom {
    seed: [u8; 32],
    state: Mutex<Stream>,
}

#[derive(Debug, Default)]
struct Stream {
    counter: u64,
    left: Vec<u8>,
}

impl SeededRandom {
    /// Equal seeds give equal bytes, however the calls cut them up.
    pub fn new(seed: u64) -> Self {
        Self { seed: Sha256::digest(seed.to_le_bytes()).into(), state: Mutex::default() }
    }
}

impl RandomSource for SeededRandom {
    fn fill(&self, out: &mut [u8]) {
        let mut stream = lock(&self.state);
        for byte in out {
            if stream.left.is_empty() {
                let mut hash = Sha256::new();
                hash.update(self.seed);
                hash.update(stream.counter.to_le_bytes());
                stream.counter += 1;
                stream.left.extend(hash.finalize().iter().rev());
            }
            *byte = stream.left.pop().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeded_stream_does_not_depend_on_how_it_is_cut() {
        let (whole, cut) = (SeededRandom::new(7), SeededRandom::new(7));
        let mut a = [0; 100];
        whole.fill(&mut a);
        let mut b = [0; 100];
        let (first, rest) = b.split_at_mut(33);
        cut.fill(first);
        cut.fill(rest);
        assert_eq!(a, b);
    }

    #[test]
    fn different_seeds_and_the_system_give_different_bytes() {
        let (mut a, mut b, mut c) = ([0; 32], [0; 32], [0; 32]);
        SeededRandom::new(1).fill(&mut a);
        SeededRandom::new(2).fill(&mut b);
        OsRandom.fill(&mut c);
        assert!(a != b && b != c && a != c && c != [0; 32]);
    }
}
