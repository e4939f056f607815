//! SHA-256, also from and to a chaining value, so that an extent of a file can be checked, and an interrupted
//! reading continued, without the bytes before it.

use sha2::Digest;
use sha2::block_api::compress256;

/// A SHA-256 digest.
pub type Sha256 = [u8; 32];

/// The state of SHA-256 between two 64-byte blocks: eight words, each most significant byte first.
pub type ChainingValue = [u8; 32];

/// The state before the first byte. Source: FIPS 180-4, section 5.3.3.
pub const CHAIN_START: ChainingValue = [
    0x6a, 0x09, 0xe6, 0x67, 0xbb, 0x67, 0xae, 0x85, 0x3c, 0x6e, 0xf3, 0x72, 0xa5, 0x4f, 0xf5, 0x3a, 0x51, 0x0e, 0x52,
    0x7f, 0x9b, 0x05, 0x68, 0x8c, 0x1f, 0x83, 0xd9, 0xab, 0x5b, 0xe0, 0xcd, 0x19,
];

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    sha2::Sha256::digest(bytes).into()
}

/// SHA-256 of a byte stream whose state is visible at every multiple of 64 bytes.
#[derive(Clone, Debug)]
pub struct Sha256Stream {
    state: [u32; 8],
    /// Bytes since the last whole block; always fewer than 64.
    tail: [u8; 64],
    tail_bytes: usize,
    total_bytes: u64,
}

impl Default for Sha256Stream {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha256Stream {
    /// A stream at byte 0.
    pub fn new() -> Self {
        Self::resume(&CHAIN_START, 0)
    }

    /// A stream that continues at byte `offset` with the state reached there. `offset` must be a multiple of 64,
    /// since only there the state is a chaining value; other offsets are rounded down by construction of the
    /// format (every extent but the last ends at a multiple of 64), which the record decoder enforces.
    pub fn resume(value: &ChainingValue, offset: u64) -> Self {
        debug_assert_eq!(offset % 64, 0, "a chaining value exists only between blocks");
        let mut state = [0_u32; 8];
        for (word, bytes) in state.iter_mut().zip(value.as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        Self { state, tail: [0; 64], tail_bytes: 0, total_bytes: offset }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.total_bytes += bytes.len() as u64;
        let mut rest = bytes;
        if self.tail_bytes > 0 {
            let take = rest.len().min(64 - self.tail_bytes);
            let (now, later) = rest.split_at(take);
            self.tail[self.tail_bytes..self.tail_bytes + take].copy_from_slice(now);
            self.tail_bytes += take;
            rest = later;
            if self.tail_bytes < 64 {
                return;
            }
            compress256(&mut self.state, &[self.tail]);
            self.tail_bytes = 0;
        }
        let (blocks, tail) = rest.as_chunks::<64>();
        compress256(&mut self.state, blocks);
        self.tail[..tail.len()].copy_from_slice(tail);
        self.tail_bytes = tail.len();
    }

    /// Takes `count` zero bytes, as a hole in a sparse file stands for.
    pub fn update_zeros(&mut self, count: u64) {
        const ZEROS: [u8; 16384] = [0; 16384];
        let mut left = count;
        while left > 0 {
            let now = usize::try_from(left.min(ZEROS.len() as u64)).expect("at most 16384");
            self.update(&ZEROS[..now]);
            left -= now as u64;
        }
    }

    /// The chaining value, if the bytes so far are a multiple of 64.
    pub fn chaining_value(&self) -> Option<ChainingValue> {
        (self.tail_bytes == 0).then(|| words(&self.state))
    }

    /// Bytes taken so far, those before a resumption included.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The digest of everything so far.
    pub fn finish(mut self) -> Sha256 {
        let bits = self.total_bytes.wrapping_mul(8);
        let mut block = self.tail;
        block[self.tail_bytes] = 0x80;
        block[self.tail_bytes + 1..].fill(0);
        if self.tail_bytes >= 56 {
            compress256(&mut self.state, &[block]);
            block = [0; 64];
        }
        block[56..].copy_from_slice(&bits.to_be_bytes());
        compress256(&mut self.state, &[block]);
        words(&self.state)
    }
}

fn words(state: &[u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (slot, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *slot = word.to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_stream_agrees_with_the_standard_vector_abc() {
        let mut stream = Sha256Stream::new();
        stream.update(b"abc");
        let hex: String = stream.finish().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_digest_of_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..1000), cuts in proptest::collection::vec(0_usize..1000, 0..5)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut stream = Sha256Stream::new();
            for pair in cuts.windows(2) {
                stream.update(&bytes[pair[0]..pair[1]]);
            }
            prop_assert_eq!(stream.finish(), sha256(&bytes));
        }

        #[test]
        fn a_reading_resumed_between_blocks_ends_in_the_same_digest(bytes in proptest::collection::vec(any::<u8>(), 0..1000), block in 0_usize..16) {
            let at = (block * 64).min(bytes.len() / 64 * 64);
            let mut first = Sha256Stream::new();
            first.update(&bytes[..at]);
            let value = first.chaining_value().expect("a multiple of 64");
            let mut second = Sha256Stream::resume(&value, at as u64);
            second.update(&bytes[at..]);
            prop_assert_eq!(second.finish(), sha256(&bytes));
        }

        #[test]
        fn holes_hash_like_zeros(n in 0_u64..40_000) {
            let mut stream = Sha256Stream::new();
            stream.update_zeros(n);
            prop_assert_eq!(stream.finish(), sha256(&vec![0; usize::try_from(n).expect("small")]));
        }
    }
}
