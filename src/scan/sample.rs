//! Samples of the data: how well it compresses, and how fast it comes.
//!
//! Owns: choosing blocks so that every block of the source is equally likely (reservoir sampling, algorithm L of Li, 1994)
//! in one pass and flat memory; reading and compressing them. Does not own: which level a drive gets (`stage`).
//! Invariants: equal random bytes and an equal order of files choose equal blocks. Callers: `cli` (scan, probe).

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::clock::Clock;
use crate::sys::random::RandomSource;
use crate::sys::source::SourceFile;

/// Size of one sample. Unit: bytes. Ours: the smallest block on which zstd shows nearly its full ratio.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Read on from each sample to measure the rate. Unit: bytes. Ours: long enough for a spinning disk to leave its seek behind.
const STRETCH_BYTES: u64 = 4 << 20;

/// Level for the samples: what staging uses when it does not know better.
const ZSTD_LEVEL: i32 = 1;

/// How much to sample.
#[derive(Debug, Clone, Copy)]
pub struct SampleOptions {
    /// Most blocks.
    pub blocks_max: usize,
    /// Time after which reading for the rate ends; blocks are read and compressed all the same.
    pub rate_time_max: Duration,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self { blocks_max: 256, rate_time_max: Duration::from_secs(3) }
    }
}

/// Chooses blocks while the walk goes on.
#[derive(Debug)]
pub struct Sampler {
    blocks_max: usize,
    chosen: Vec<Block>,
    blocks_seen: u64,
    next: u64,
    weight: f64,
    random: Random,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Block {
    path: PathBuf,
    offset: u64,
}

/// What the samples showed.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Samples {
    /// Compressibility.
    pub compressibility: Compressibility,
    /// Bytes read for the rate. Unit: bytes.
    pub rate_bytes: u64,
    /// Time that took. Unit: seconds.
    pub rate_seconds: f64,
    /// Files that could not be opened or read.
    pub files_failed: u64,
}

/// How the sampled blocks compressed, each for itself, at zstd level 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Compressibility {
    /// Blocks sampled.
    pub blocks: u64,
    /// Blocks that shrank by less than five per cent.
    pub blocks_incompressible: u64,
    /// Bytes before. Unit: bytes.
    pub plain_bytes: u64,
    /// Bytes after, never more than before. Unit: bytes.
    pub stored_bytes: u64,
}

impl Compressibility {
    /// Plain bytes per stored byte, at least 1; `None` without samples.
    pub fn ratio(&self) -> Option<f64> {
        (self.stored_bytes > 0).then(|| self.plain_bytes as f64 / self.stored_bytes as f64)
    }
}

impl Sampler {
    /// Starts with nothing chosen.
    pub fn new(blocks_max: usize, random: &dyn RandomSource) -> Self {
        let mut random = Random::new(random);
        let weight = if blocks_max == 0 { 0.0 } else { (random.unit().ln() / blocks_max as f64).exp() };
        Self { blocks_max, chosen: Vec::new(), blocks_seen: 0, next: 0, weight, random }
    }

    /// Offers a file: each of its blocks gets the same chance as any other block seen.
    pub fn offer(&mut self, path: &Path, size_bytes: u64) {
        let first = self.blocks_seen;
        self.blocks_seen += size_bytes.div_ceil(BLOCK_BYTES);
        while self.blocks_max > 0 && self.next < self.blocks_seen {
            let block = Block { path: path.to_path_buf(), offset: (self.next - first) * BLOCK_BYTES };
            if self.chosen.len() < self.blocks_max {
                self.chosen.push(block);
                self.next += 1;
                if self.chosen.len() == self.blocks_max {
                    self.skip();
                }
            } else {
                let slot = self.random.below(self.blocks_max);
                self.chosen[slot] = block;
                self.next += 1;
                self.skip();
            }
        }
    }

    /// Jumps over as many blocks as a coin for each would have left out.
    fn skip(&mut self) {
        let left_out = (self.random.unit().ln() / (-self.weight).ln_1p()).floor();
        // WHY `as`: a float beyond the range becomes the largest number, which means "never again".
        self.next = self.next.saturating_add(left_out as u64);
        self.weight *= (self.random.unit().ln() / self.blocks_max as f64).exp();
    }

    /// Reads the chosen blocks in the order of their paths and compresses them.
    pub fn read(mut self, options: &SampleOptions, clock: &dyn Clock) -> Samples {
        self.chosen.sort();
        let mut samples = Samples::default();
        let mut buf = vec![0; usize::try_from(BLOCK_BYTES).unwrap_or(0)];
        let start = clock.monotonic();
        for block in &self.chosen {
            let with_rate = clock.monotonic().saturating_sub(start) < options.rate_time_max;
            if read_block(block, &mut buf, with_rate, clock, &mut samples).is_err() {
                samples.files_failed += 1;
            }
        }
        samples
    }
}

fn read_block(
    block: &Block,
    buf: &mut [u8],
    with_rate: bool,
    clock: &dyn Clock,
    samples: &mut Samples,
) -> std::io::Result<()> {
    let file = SourceFile::open(&block.path)?;
    // A hint only: without it the rate would be that of the page cache.
    let _ = file.drop_cache();
    let start = clock.monotonic();
    let count = file.read_full_at(buf, block.offset)?;
    let first = buf[..count].to_vec();
    let mut read_bytes = count as u64;
    while with_rate && read_bytes < STRETCH_BYTES {
        match file.read_full_at(buf, block.offset + read_bytes)? {
            0 => break,
            count => read_bytes += count as u64,
        }
    }
    if with_rate {
        samples.rate_bytes += read_bytes;
        samples.rate_seconds += clock.monotonic().saturating_sub(start).as_secs_f64();
    }
    if !first.is_empty() {
        let stored = zstd::bulk::compress(&first, ZSTD_LEVEL)?.len().min(first.len()) as u64;
        let plain = first.len() as u64;
        let sum = &mut samples.compressibility;
        sum.blocks += 1;
        sum.blocks_incompressible += u64::from(stored * 20 > plain * 19);
        sum.plain_bytes += plain;
        sum.stored_bytes += stored;
    }
    Ok(())
}

/// Numbers for choosing, seeded once: the kernel is not asked for every file. Source: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(source: &dyn RandomSource) -> Self {
        let mut seed = [0; 8];
        source.fill(&mut seed);
        Self(u64::from_le_bytes(seed))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// A number above 0 and below 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// An index below `count`, which is not 0. The bias is below one in 2^40 for any count of samples.
    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::SeededRandom;

    #[test]
    fn few_blocks_are_all_chosen() {
        let mut sampler = Sampler::new(10, &SeededRandom::new(1));
        sampler.offer(Path::new("empty"), 0);
        sampler.offer(Path::new("a"), 1);
        sampler.offer(Path::new("b"), BLOCK_BYTES * 2 + 1);
        let block = |path: &str, index: u64| Block { path: path.into(), offset: index * BLOCK_BYTES };
        assert_eq!(sampler.chosen, [block("a", 0), block("b", 0), block("b", 1), block("b", 2)]);
    }

    #[test]
    fn every_block_has_the_same_chance_whatever_file_it_is_in() {
        // 1 block in a small file, 99 in a large one, 10 chosen: the small one is expected in a tenth of the runs.
        let runs = 4000;
        let mut small = 0;
        for seed in 0..runs {
            let mut sampler = Sampler::new(10, &SeededRandom::new(seed));
            sampler.offer(Path::new("large"), BLOCK_BYTES * 60);
            sampler.offer(Path::new("small"), 100);
            sampler.offer(Path::new("large2"), BLOCK_BYTES * 39);
            assert_eq!(sampler.chosen.len(), 10);
            small += sampler.chosen.iter().filter(|block| block.path == Path::new("small")).count();
        }
        // Standard deviation is 19; the seeds are fixed, so this cannot flicker.
        assert!((310..=490).contains(&small), "{small} of {runs}");
    }

    #[test]
    fn no_samples_are_wanted_and_none_are_taken() {
        let mut sampler = Sampler::new(0, &SeededRandom::new(1));
        sampler.offer(Path::new("a"), 1 << 40);
        assert!(sampler.chosen.is_empty());
    }
}
