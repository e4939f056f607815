//! CRC-64/NVME: the checksum S3 compares for whole objects, and the one every frame carries.
//!
//! Checksums of bytes are `crc-fast`'s; this file gives them a type that cannot be mistaken for a length. Combination is
//! done here: one multiplication for a length that is a power of two, where the library's takes a tenth of a millisecond,
//! which is as long as encrypting the frame it is for.

use std::fmt;

use crc_fast::CrcAlgorithm::Crc64Nvme;

/// A finished CRC-64/NVME value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Crc64(pub u64);

impl Crc64 {
    /// CRC of no bytes at all.
    pub const EMPTY: Self = Self(0);

    /// The eight bytes, most significant first, as S3's `x-amz-checksum-crc64nvme` has them before base64.
    pub fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Debug for Crc64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crc64({:016x})", self.0)
    }
}

impl fmt::Display for Crc64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// CRC-64/NVME of `bytes`.
pub fn crc64(bytes: &[u8]) -> Crc64 {
    Crc64(crc_fast::checksum(Crc64Nvme, bytes))
}

/// CRC-64/NVME of two byte strings one after the other. For a short one before a long one far cheaper than [`combine`].
pub fn crc64_of_both(first: &[u8], second: &[u8]) -> Crc64 {
    let mut digest = crc_fast::Digest::new(Crc64Nvme);
    digest.update(first);
    digest.update(second);
    Crc64(digest.finalize())
}

/// CRC of two byte strings one after the other, from their CRCs and the length of the second.
pub fn combine(first: Crc64, second: Crc64, second_bytes: u64) -> Crc64 {
    if second_bytes == 0 {
        return first;
    }
    if first == Crc64::EMPTY {
        return second; // combination is linear: zero shifted by any length stays zero
    }
    let (mut shifted, mut left) = (first.0, second_bytes);
    while left > 0 {
        shifted = multiply(POWERS[left.trailing_zeros() as usize], shifted);
        left &= left - 1;
    }
    Crc64(shifted ^ second.0)
}

/// The generator, bits reflected: the highest bit is the coefficient of x^0. Source: NVM Express NVM Command Set
/// Specification 1.0, 64b CRC.
const POLYNOMIAL: u64 = 0x9A6C_9329_AC4B_C9B5;

/// x to the power of 8 * 2^i, modulo the generator: what appending 2^i bytes does to the bytes before.
const POWERS: [u64; 64] = {
    let mut powers = [0; 64];
    let mut power = 1 << (63 - 8); // x^8
    let mut i = 0;
    while i < 64 {
        powers[i] = power;
        power = multiply(power, power);
        i += 1;
    }
    powers
};

/// Product of two polynomials modulo the generator.
const fn multiply(a: u64, b: u64) -> u64 {
    let (mut product, mut b, mut bit) = (0, b, 1_u64 << 63);
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 1 { (b >> 1) ^ POLYNOMIAL } else { b >> 1 };
        bit >>= 1;
    }
    product
}

/// CRC of `count` zero bytes, in time proportional to the logarithm of `count`.
pub fn zeros(count: u64) -> Crc64 {
    let mut result = Crc64::EMPTY;
    let mut power = crc64(&[0]);
    let mut power_bytes = 1_u64;
    let mut left = count;
    while left > 0 {
        if left & 1 == 1 {
            result = combine(result, power, power_bytes);
        }
        left >>= 1;
        if left > 0 {
            power = combine(power, power, power_bytes);
            power_bytes <<= 1;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_published_check_value_of_crc_64_nvme() {
        assert_eq!(crc64(b"123456789"), Crc64(0xAE8B_1486_0A79_9888));
        assert_eq!(crc64(b""), Crc64::EMPTY);
    }

    proptest! {
        #[test]
        fn combining_equals_concatenating(a in proptest::collection::vec(any::<u8>(), 0..300), b in proptest::collection::vec(any::<u8>(), 0..300)) {
            let joined = [a.as_slice(), b.as_slice()].concat();
            prop_assert_eq!(combine(crc64(&a), crc64(&b), b.len() as u64), crc64(&joined));
            prop_assert_eq!(crc64_of_both(&a, &b), crc64(&joined));
        }

        #[test]
        fn combining_is_what_the_library_says_for_any_length(a in any::<u64>(), b in any::<u64>(), length in 1..u64::MAX) {
            prop_assume!(a != 0);
            let expected = crc_fast::checksum_combine(Crc64Nvme, a, b, length);
            prop_assert_eq!(combine(Crc64(a), Crc64(b), length), Crc64(expected));
        }

        #[test]
        fn zeros_equal_zeros(n in 0_u64..5000) {
            prop_assert_eq!(zeros(n), crc64(&vec![0; usize::try_from(n).expect("small")]));
        }
    }
}
