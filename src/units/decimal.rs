//! Exact decimal numbers in front of a unit: digits, `_` or `,` between digits, an optional fraction. No exponents, no
//! floats: `0.1` is one tenth. Called by the parsers of this module only.

/// A non-negative decimal: `mantissa / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    mantissa: u128,
    scale: u32,
}

/// Digits a number may have: enough for every quantity here, few enough that no product overflows 128 bits.
const DIGITS_MAX: u32 = 20;

impl Decimal {
    /// Splits `text` into a leading decimal and the trimmed rest; `None` when it does not start with a digit or the
    /// number is longer than 20 digits.
    pub(super) fn split(text: &str) -> Option<(Self, &str)> {
        let text = text.trim();
        let mut mantissa = 0_u128;
        let (mut digits, mut scale, mut fraction, mut end) = (0_u32, 0_u32, false, 0_usize);
        for (index, c) in text.char_indices() {
            match c {
                '0'..='9' => {
                    mantissa = mantissa * 10 + u128::from(c as u32 - u32::from(b'0'));
                    digits += u32::from(mantissa > 0);
                    scale += u32::from(fraction);
                }
                '_' | ',' if index > 0 && !fraction => {}
                '.' if index > 0 && !fraction => fraction = true,
                _ => break,
            }
            end = index + c.len_utf8();
            if digits > DIGITS_MAX || scale > DIGITS_MAX {
                return None;
            }
        }
        let (number, rest) = text.split_at(end);
        let closed = number.ends_with(|c: char| c.is_ascii_digit());
        closed.then_some((Self { mantissa, scale }, rest.trim()))
    }

    /// The value times `unit`, rounded half up to a whole number; `None` beyond 128 bits.
    pub(super) fn times(self, unit: u128) -> Option<u128> {
        let product = self.mantissa.checked_mul(unit)?;
        let ten = 10_u128.checked_pow(self.scale)?;
        product.checked_add(ten / 2).map(|sum| sum / ten)
    }

    /// The nearest double.
    pub(super) fn to_f64(self) -> f64 {
        self.mantissa as f64 / 10_f64.powi(self.scale.try_into().unwrap_or(i32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_number_and_rest() {
        let (n, rest) = Decimal::split(" 1_000.25 TB ").expect("valid");
        assert_eq!(n.times(100), Some(100_025));
        assert_eq!(rest, "TB");
        assert_eq!(Decimal::split("1,800").expect("valid").0.times(1), Some(1800));
    }

    #[test]
    fn refuses_what_is_no_number() {
        for text in ["", "TB", ".5", "5.", "-3", "12345678901234567890123"] {
            assert!(Decimal::split(text).is_none_or(|(_, rest)| rest.starts_with('.')), "{text}");
        }
    }
}
