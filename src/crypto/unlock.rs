//! Unlock codes: 29 characters, 25 of them in five groups, two of those for checking. manifests/formats/key-slots.md 3.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::crypto::Error;
use crate::sys::RandomSource;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CHARACTERS: usize = 25;
const RANDOM_CHARACTERS: usize = 23;
/// Length of a printed code, hyphens included. Unit: characters.
pub const UNLOCK_CODE_TEXT_BYTES: usize = 29;

/// An unlock code whose check characters are right. Has no `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct UnlockCode([u8; CHARACTERS]);

impl UnlockCode {
    /// A new random code.
    pub fn fresh(random: &dyn RandomSource) -> Self {
        let mut values = Zeroizing::new([0; CHARACTERS]);
        random.fill(&mut values[..RANDOM_CHARACTERS]);
        values.iter_mut().for_each(|value| *value &= 31);
        let (first, second) = check_characters(&values);
        values[23] = first;
        values[24] = second;
        Self(*values)
    }

    /// Reads a code as a person typed it: any case, hyphens and spaces anywhere, O for 0, I and L for 1.
    ///
    /// # Errors
    /// When a character is none of the alphabet, there are not 25, or the check characters do not fit.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::UnlockCode { reason };
        let mut values = Zeroizing::new([0; CHARACTERS]);
        let mut count = 0;
        for c in text.chars().filter(|c| !matches!(c, '-' | ' ' | '\n' | '\r' | '\t')) {
            let value = value_of(c).ok_or_else(|| wrong(format!("character {} is not one a code has", count + 1)))?;
            if let Some(slot) = values.get_mut(count) {
                *slot = value;
            }
            count += 1;
        }
        if count != CHARACTERS {
            return Err(wrong(format!("it has {count} characters where a code has {CHARACTERS}")));
        }
        match syndromes(&values) {
            (0, 0) => Ok(Self(*values)),
            sums => Err(wrong(match suspect(sums) {
                Some(at) => format!("the check characters do not fit; look at character {} first", at + 1),
                None => "the check characters do not fit; two or more characters are wrong".to_owned(),
            })),
        }
    }

    /// The 25 characters without hyphens, from which the key is derived.
    pub fn characters(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.iter().map(|value| ALPHABET[usize::from(value & 31)]).collect())
    }

    /// The code as it is shown: five groups of five.
    pub fn reveal(&self) -> Zeroizing<String> {
        let characters = self.characters();
        let groups: Vec<&str> = characters.chunks(5).filter_map(|group| std::str::from_utf8(group).ok()).collect();
        Zeroizing::new(groups.join("-"))
    }
}

impl fmt::Debug for UnlockCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockCode(hidden)")
    }
}

fn value_of(c: char) -> Option<u8> {
    let c = match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let at = ALPHABET.iter().position(|letter| char::from(*letter) == c)?;
    u8::try_from(at).ok()
}

/// Product in GF(32) with the polynomial x^5 + x^2 + 1.
fn multiply(a: u8, b: u8) -> u8 {
    let mut product = 0_u8;
    let mut shifted = a;
    for bit in 0..5 {
        if b >> bit & 1 == 1 {
            product ^= shifted;
        }
        shifted <<= 1;
        if shifted & 32 != 0 {
            shifted ^= 0b10_0101;
        }
    }
    product
}

/// alpha to the power `exponent`, alpha = 2.
fn power(exponent: usize) -> u8 {
    (0..exponent % 31).fold(1, |value, _| multiply(value, 2))
}

fn inverse(value: u8) -> u8 {
    (0..30).fold(1, |product, _| multiply(product, value)) // value^30, since value^31 = 1
}

/// Sums of the characters weighted by alpha^i and alpha^(2 i); both zero for a right code.
fn syndromes(values: &[u8; CHARACTERS]) -> (u8, u8) {
    values.iter().enumerate().fold((0, 0), |(first, second), (i, value)| {
        (first ^ multiply(*value, power(i)), second ^ multiply(*value, power(2 * i)))
    })
}

/// The two check characters that make both sums zero, the last two values being zero on entry.
fn check_characters(values: &[u8; CHARACTERS]) -> (u8, u8) {
    let (s1, s2) = syndromes(values);
    // a * p23 + b * p24 = s1 and a * p46 + b * p48 = s2, solved by Cramer's rule
    let (p23, p24, p46, p48) = (power(23), power(24), power(46), power(48));
    let determinant = inverse(multiply(p23, p48) ^ multiply(p24, p46));
    let first = multiply(multiply(s1, p48) ^ multiply(s2, p24), determinant);
    let second = multiply(multiply(p23, s2) ^ multiply(p46, s1), determinant);
    (first, second)
}

/// The place of the error if exactly one character is wrong: then s2 / s1 = alpha^i.
fn suspect((s1, s2): (u8, u8)) -> Option<usize> {
    if s1 == 0 || s2 == 0 {
        return None;
    }
    let ratio = multiply(s2, inverse(s1));
    (0..CHARACTERS).find(|i| power(*i) == ratio)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sys::random::SeededRandom;

    #[test]
    fn a_code_has_29_characters_in_five_groups_and_reads_back() {
        let code = UnlockCode::fresh(&SeededRandom::new(1));
        let text = code.reveal();
        assert_eq!(text.len(), UNLOCK_CODE_TEXT_BYTES);
        assert!(text.split('-').all(|group| group.len() == 5) && text.split('-').count() == 5);
        assert!(UnlockCode::parse(&text).expect("its own text") == code);
        let typed = text.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        assert!(UnlockCode::parse(&typed).expect("as people type it") == code);
    }

    #[test]
    fn every_single_wrong_character_is_detected_and_placed() {
        let text = UnlockCode::fresh(&SeededRandom::new(2)).reveal().replace('-', "");
        for at in 0..CHARACTERS {
            for letter in ALPHABET {
                let mut typed = text.clone().into_bytes();
                if typed[at] == *letter {
                    continue;
                }
                typed[at] = *letter;
                let error = UnlockCode::parse(&String::from_utf8(typed).expect("ASCII")).expect_err("detected");
                assert!(error.to_string().contains(&format!("character {} first", at + 1)), "{error}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_two_wrong_characters_are_detected(seed in any::<u64>(), a in 0_usize..25, b in 0_usize..25, x in 1_u8..32, y in 1_u8..32) {
            prop_assume!(a != b);
            let mut values = UnlockCode::fresh(&SeededRandom::new(seed)).0;
            values[a] ^= x;
            values[b] ^= y;
            prop_assert_ne!(syndromes(&values), (0, 0));
        }

        #[test]
        fn exchanged_characters_are_detected(seed in any::<u64>(), a in 0_usize..25, b in 0_usize..25) {
            let mut values = UnlockCode::fresh(&SeededRandom::new(seed)).0;
            prop_assume!(values[a] != values[b]);
            values.swap(a, b);
            prop_assert_ne!(syndromes(&values), (0, 0));
        }

        #[test]
        fn any_text_gives_a_code_or_an_error(text in ".*") {
            let _ = UnlockCode::parse(&text);
        }
    }
}
