//! Counts of files, records, drives: whole numbers, with `k`, `M` and `G` for thousands, millions and billions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Error;
use super::decimal::Decimal;

/// A count, 0 to 2^64 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Count(u64);

impl Count {
    /// From a number.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// `12,000,000`.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&grouped(self.0))
    }
}

/// Digits in groups of three.
pub(super) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl FromStr for Count {
    type Err = Error;

    /// Reads `12000000`, `12,000,000`, `12M`, `1.5k`, `2G`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::Malformed { kind: "count", text: text.to_owned(), example: "12M or 12000000" };
        let (number, unit) = Decimal::split(text).ok_or_else(malformed)?;
        let factor = match unit {
            "" => 1,
            "k" | "K" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "m" => {
                let advice = "m could mean thousand or million; write k, M or G".to_owned();
                return Err(Error::UnitRefused { text: text.to_owned(), advice });
            }
            _ => return Err(malformed()),
        };
        let count = number.times(factor).and_then(|c| u64::try_from(c).ok());
        count.map(Self).ok_or_else(|| Error::TooLarge {
            kind: "count",
            text: text.to_owned(),
            limit: "18 billion billion",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn suffixes_are_powers_of_a_thousand() {
        for (text, count) in [("12M", 12_000_000), ("1.5k", 1_500), ("2G", 2_000_000_000), ("7", 7), ("1,000", 1_000)] {
            assert_eq!(text.parse::<Count>().map(Count::get), Ok(count));
        }
        assert!("12m".parse::<Count>().expect_err("m").to_string().contains("million"));
        assert!("many".parse::<Count>().is_err());
    }

    proptest! {
        #[test]
        fn printed_text_parses_back(count in 0_u64..1_000_000_000_000_000_000) {
            prop_assert_eq!(Count::new(count).to_string().parse::<Count>(), Ok(Count::new(count)));
        }
    }
}
