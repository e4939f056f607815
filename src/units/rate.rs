//! Rates: bits per second for links, bytes per second for disks and payload. The two never mix without a named method.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Error;
use super::decimal::Decimal;

/// A link rate in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BitsPerSecond(u64);

/// A payload or disk rate in bytes per second; finite and not negative.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct BytesPerSecond(f64);

impl BitsPerSecond {
    /// From a count of bits per second.
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// Bits per second.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The same rate in bytes per second: bits divided by eight, nothing taken off for frames.
    pub fn to_bytes(self) -> BytesPerSecond {
        BytesPerSecond(self.0 as f64 / 8.0)
    }
}

impl BytesPerSecond {
    /// From bytes per second; anything negative or not finite becomes zero.
    pub fn new(bytes: f64) -> Self {
        Self(if bytes.is_finite() && bytes > 0.0 { bytes } else { 0.0 })
    }

    /// Bytes per second.
    pub const fn get(self) -> f64 {
        self.0
    }
}

const STEPS: [(&str, u64); 5] =
    [("", 1), ("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000), ("T", 1_000_000_000_000)];

/// `1.25 Gbit/s`, or `100 MB/s`: up to four significant digits.
fn scaled(value: f64, unit: &str) -> String {
    let (name, step) = STEPS.iter().rev().find(|(_, step)| value >= *step as f64).copied().unwrap_or(("", 1));
    let value = value / step as f64;
    let places = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    let text = format!("{value:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {name}{unit}/s")
}

impl fmt::Display for BitsPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&scaled(self.0 as f64, "bit"))
    }
}

impl fmt::Display for BytesPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&scaled(self.0, "B"))
    }
}

/// The step named by the first letter of `unit` and what follows it.
fn prefix(unit: &str) -> (u64, &str) {
    for (name, step) in STEPS.iter().skip(1) {
        if let Some(rest) = unit.strip_prefix(name) {
            return (*step, rest);
        }
    }
    (1, unit)
}

const LINK_EXAMPLE: &str = "1Gbit/s or 100Mbit/s";
const RATE_EXAMPLE: &str = "250MB/s or 1.5GB/s";

impl FromStr for BitsPerSecond {
    type Err = Error;

    /// Reads `1Gbit/s`, `100 Mbps`, `10Gb/s`. Bytes per second are refused with the conversion.
    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::Malformed { kind: "link rate", text: text.to_owned(), example: LINK_EXAMPLE };
        let (number, unit) = Decimal::split(text).ok_or_else(malformed)?;
        if unit.is_empty() {
            return Err(Error::UnitMissing { text: text.to_owned(), example: LINK_EXAMPLE });
        }
        let refused = |advice: String| Error::UnitRefused { text: text.to_owned(), advice };
        let (step, rest) = prefix(unit);
        match rest {
            "bit/s" | "bps" | "b/s" => {
                let bits = number.times(u128::from(step)).and_then(|b| u64::try_from(b).ok());
                bits.map(Self).ok_or_else(|| Error::TooLarge {
                    kind: "link rate",
                    text: text.to_owned(),
                    limit: "18 Ebit/s",
                })
            }
            "B/s" | "Bps" | "iB/s" => {
                let bits = number.to_f64() * step as f64 * 8.0;
                Err(refused(format!("B is bytes, and links are sold in bits; {text} is {}", scaled(bits, "bit"))))
            }
            "" | "b" | "B" => Err(refused(format!("write {LINK_EXAMPLE}, with bit and /s"))),
            _ if unit.to_ascii_lowercase().ends_with("bps") || unit.to_ascii_lowercase().ends_with("b/s") => {
                Err(refused("small m and g leave bits and bytes open; write Mbit/s or Gbit/s".to_owned()))
            }
            _ if matches!(unit, "m" | "g" | "t" | "mb" | "gb") => {
                Err(refused(format!("write {LINK_EXAMPLE}, with bit and /s")))
            }
            _ => Err(malformed()),
        }
    }
}

impl FromStr for BytesPerSecond {
    type Err = Error;

    /// Reads `250MB/s`, `1.5 GB/s`, `90MiB/s`. Bits per second are refused with the conversion.
    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::Malformed { kind: "data rate", text: text.to_owned(), example: RATE_EXAMPLE };
        let (number, unit) = Decimal::split(text).ok_or_else(malformed)?;
        if unit.is_empty() {
            return Err(Error::UnitMissing { text: text.to_owned(), example: RATE_EXAMPLE });
        }
        let refused = |advice: String| Error::UnitRefused { text: text.to_owned(), advice };
        if let Some(size) = unit.strip_suffix("iB/s") {
            let power = "KMGT".find(size).filter(|_| size.len() == 1).ok_or_else(malformed)?;
            let step = [1_u64 << 10, 1 << 20, 1 << 30, 1 << 40].get(power).copied().unwrap_or(1);
            return Ok(Self(number.to_f64() * step as f64));
        }
        let (step, rest) = prefix(unit);
        match rest {
            "B/s" => Ok(Self(number.to_f64() * step as f64)),
            "bit/s" | "bps" | "b/s" => {
                let bytes = number.to_f64() * step as f64 / 8.0;
                Err(refused(format!("bit is an eighth of a byte; {text} is {}", scaled(bytes, "B"))))
            }
            "" | "b" | "B" | "Bps" => Err(refused(format!("write {RATE_EXAMPLE}, with B and /s"))),
            _ => Err(malformed()),
        }
    }
}

impl Serialize for BitsPerSecond {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(self.0)
    }
}

impl Serialize for BytesPerSecond {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.0)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Whole(u64),
    Number(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for BitsPerSecond {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(d)? {
            NumberOrText::Whole(bits) => Ok(Self(bits)),
            NumberOrText::Number(_) => Err(de::Error::custom("a link rate is a whole number of bits per second")),
            NumberOrText::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for BytesPerSecond {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(d)? {
            NumberOrText::Whole(bytes) => Ok(Self::new(bytes as f64)),
            NumberOrText::Number(bytes) if bytes.is_finite() && bytes >= 0.0 => Ok(Self(bytes)),
            NumberOrText::Number(_) => {
                Err(de::Error::custom("a rate is a finite number of bytes per second, not negative"))
            }
            NumberOrText::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bits_and_bytes_are_told_apart() {
        assert_eq!("1Gbit/s".parse(), Ok(BitsPerSecond::new(1_000_000_000)));
        assert_eq!("1.25 Gbps".parse(), Ok(BitsPerSecond::new(1_250_000_000)));
        assert_eq!("250MB/s".parse(), Ok(BytesPerSecond::new(250e6)));
        assert_eq!("1MiB/s".parse(), Ok(BytesPerSecond::new(1_048_576.0)));
        let link = "125MB/s".parse::<BitsPerSecond>().expect_err("bytes").to_string();
        assert!(link.contains("1 Gbit/s"), "{link}");
        let disk = "800Mbit/s".parse::<BytesPerSecond>().expect_err("bits").to_string();
        assert!(disk.contains("100 MB/s"), "{disk}");
        for text in ["100M", "100mb", "100mbps", "1G", "100"] {
            assert!(text.parse::<BitsPerSecond>().is_err(), "{text}");
            assert!(text.parse::<BytesPerSecond>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whole_megabits_print_and_parse(mbit in 1_u64..1000) {
            let rate = BitsPerSecond::new(mbit * 1_000_000);
            prop_assert_eq!(rate.to_string().parse::<BitsPerSecond>(), Ok(rate));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,20}") {
            let _ = text.parse::<BitsPerSecond>();
            let _ = text.parse::<BytesPerSecond>();
        }
    }
}
