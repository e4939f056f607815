//! Sizes in whole bytes, and the two families of units that people confuse: TB (10^12) and TiB (2^40).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Error;
use super::decimal::Decimal;

/// A size in bytes, 0 to 2^64 - 1 (18.4 EB).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(u64);

const DECIMAL: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
    ("EB", 1_000_000_000_000_000_000),
];
const BINARY: [(&str, u64); 7] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("EiB", 1 << 60),
];

impl Bytes {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// From a count of bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The count of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Sum, or `None` beyond 2^64 - 1.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Difference, or zero when `other` is larger.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// How many pieces of `piece` bytes hold this size, the last one perhaps short; `None` when `piece` is zero.
    pub const fn div_ceil(self, piece: Self) -> Option<u64> {
        if piece.0 == 0 { None } else { Some(self.0.div_ceil(piece.0)) }
    }

    /// `400 TB`, to four significant digits, in powers of 1000.
    pub fn decimal(self) -> String {
        scaled(self.0, &DECIMAL)
    }

    /// `363.8 TiB`, to four significant digits, in powers of 1024.
    pub fn binary(self) -> String {
        scaled(self.0, &BINARY)
    }

    /// The shortest text that parses back to exactly this value, such as `64MiB`, `400TB` or `1234567B`.
    pub fn exact(self) -> String {
        let best = |units: &[(&'static str, u64)]| {
            units
                .iter()
                .rev()
                .find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit))
                .copied()
                .unwrap_or(("B", 1))
        };
        let (name, unit) =
            [best(&DECIMAL), best(&BINARY)].into_iter().max_by_key(|(_, unit)| *unit).unwrap_or(("B", 1));
        format!("{}{name}", self.0 / unit)
    }
}

/// A value in the largest unit that keeps it at or above one.
fn scaled(bytes: u64, units: &[(&str, u64)]) -> String {
    let (name, unit) = units.iter().rev().find(|(_, unit)| bytes >= *unit).copied().unwrap_or(("B", 1));
    if unit == 1 {
        return format!("{bytes} B");
    }
    let value = bytes as f64 / unit as f64;
    let places = if value < 10.0 {
        3
    } else if value < 100.0 {
        2
    } else {
        1
    };
    let text = format!("{value:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {name}")
}

/// Both readings, `400 TB (363.8 TiB)`, because people and tools disagree about which one `TB` means.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1000 {
            return write!(f, "{} B", self.0);
        }
        write!(f, "{} ({})", self.decimal(), self.binary())
    }
}

/// The sizes of `units` by name, and `KB`, which everybody writes.
fn unit_bytes(unit: &str) -> Option<u64> {
    let unit = if unit == "KB" { "kB" } else { unit };
    DECIMAL.iter().chain(&BINARY).find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes)
}

/// What to say about a unit that is not one of ours.
fn advice(number: &str, unit: &str) -> Option<String> {
    let letter = unit.chars().next()?.to_ascii_uppercase();
    if !"KMGTPE".contains(letter) {
        return None;
    }
    let rest = unit.get(1..).unwrap_or("");
    let small = if letter == 'K' { 'k' } else { letter };
    match rest {
        "" | "i" => Some(format!(
            "du -h and ls -h print {letter} for 2^10 steps ({letter}iB), drive labels and prices mean 10^3 steps \
             ({small}B); write {number}{letter}iB or {number}{small}B"
        )),
        "b" | "bit" | "bits" | "ib" => Some(format!(
            "a small b means bits; for a size in bytes write {number}{small}B (10^3 steps) or {number}{letter}iB (2^10 steps)"
        )),
        "B" | "iB" => Some(format!("write {number}{small}B or {number}{letter}iB, with capitals as shown")),
        _ => None,
    }
}

impl FromStr for Bytes {
    type Err = Error;

    /// Reads `400TB`, `64 MiB`, `1.5PB`; a fraction of a byte is rounded to the nearest whole one.
    fn from_str(text: &str) -> Result<Self, Error> {
        const EXAMPLE: &str = "400TB (10^12 bytes) or 400TiB (2^40 bytes)";
        let malformed = || Error::Malformed { kind: "size", text: text.to_owned(), example: EXAMPLE };
        let (number, unit) = Decimal::split(text).ok_or_else(malformed)?;
        if unit.is_empty() {
            return Err(Error::UnitMissing { text: text.to_owned(), example: EXAMPLE });
        }
        let Some(factor) = unit_bytes(unit) else {
            let number = text.trim().strip_suffix(unit).unwrap_or("").trim();
            let refused = |advice| Error::UnitRefused { text: text.to_owned(), advice };
            return Err(advice(number, unit).map_or_else(malformed, refused));
        };
        let bytes = number.times(u128::from(factor)).and_then(|b| u64::try_from(b).ok());
        bytes.map(Self).ok_or_else(|| Error::TooLarge { kind: "size", text: text.to_owned(), limit: "18.4 EB" })
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    /// Reads a whole number of bytes, or a text with a unit.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        match Either::deserialize(d)? {
            Either::Number(bytes) => Ok(Self(bytes)),
            Either::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> u64 {
        text.parse::<Bytes>().map(Bytes::get).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn decimal_and_binary_units_differ() {
        assert_eq!(parsed("1TB"), 1_000_000_000_000);
        assert_eq!(parsed("1 TiB"), 1_099_511_627_776);
        assert_eq!(parsed("64MiB"), 67_108_864);
        assert_eq!(parsed("1.5 PB"), 1_500_000_000_000_000);
        assert_eq!(parsed("100,000GB"), parsed("100TB"));
        assert_eq!(parsed("12KB"), 12_000);
        assert_eq!(parsed("0B"), 0);
    }

    #[test]
    fn ambiguous_units_are_refused_with_both_readings() {
        let message = |text: &str| text.parse::<Bytes>().expect_err(text).to_string();
        assert!(message("40T").contains("40TiB") && message("40T").contains("40TB"));
        assert!(message("100mb").contains("bits"));
        assert!(message("3tb").contains("3TB"));
        assert!(message("5Gbit").contains("bits"));
        assert!(message("123").contains("no unit"));
        assert!(message("much").contains("400TB"));
        assert!(message("100EB").contains("18.4 EB"));
        assert!(message("-1TB").contains("not a size"));
    }

    #[test]
    fn prints_both_readings() {
        assert_eq!(Bytes::new(400_000_000_000_000).to_string(), "400 TB (363.8 TiB)");
        assert_eq!(Bytes::new(1 << 30).binary(), "1 GiB");
        assert_eq!(Bytes::new(999).to_string(), "999 B");
    }

    proptest! {
        #[test]
        fn exact_text_parses_back(bytes in any::<u64>()) {
            prop_assert_eq!(parsed(&Bytes::new(bytes).exact()), bytes);
        }

        #[test]
        fn round_multiples_print_short(n in 1_u64..1000, step in 0_usize..6) {
            let bytes = Bytes::new(n * BINARY[step].1);
            prop_assert_eq!(parsed(&bytes.exact()), bytes.get());
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,20}") {
            let _ = text.parse::<Bytes>();
        }
    }
}
