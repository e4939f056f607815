//! Shares and probabilities: numbers from zero to one, written `80%` or `0.8`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::Error;
use super::decimal::Decimal;

/// A share from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize)]
#[serde(transparent)]
pub struct Share(f64);

impl Share {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
    /// All of it.
    pub const ALL: Self = Self(1.0);

    /// From a number, moved into 0 to 1; not a number becomes 0.
    pub fn new(value: f64) -> Self {
        Self(if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) })
    }

    /// The number from 0 to 1.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// `80%`, with one decimal where it is needed.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.1}", self.0 * 100.0);
        write!(f, "{}%", text.strip_suffix(".0").unwrap_or(&text))
    }
}

impl FromStr for Share {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::Malformed { kind: "share", text: text.to_owned(), example: "80% or 0.8" };
        let (number, unit) = Decimal::split(text).ok_or_else(malformed)?;
        let value = match unit {
            "%" => number.to_f64() / 100.0,
            "" => number.to_f64(),
            _ => return Err(malformed()),
        };
        if value > 1.0 {
            let advice = "a share goes from 0% to 100%, or from 0 to 1; write 80% or 0.8";
            return Err(Error::OutOfRange { text: text.to_owned(), advice });
        }
        Ok(Self(value))
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(f64),
            Text(String),
        }
        match Either::deserialize(d)? {
            Either::Number(value) if (0.0..=1.0).contains(&value) => Ok(Self(value)),
            Either::Number(value) => {
                Err(de::Error::custom(format!("{value} is no share: write 0 to 1, or a text like \"80%\"")))
            }
            Either::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_and_fraction_agree() {
        assert_eq!("80%".parse(), Ok(Share::new(0.8)));
        assert_eq!("0.8".parse(), Ok(Share::new(0.8)));
        assert_eq!("12.5%".parse::<Share>().map(|s| s.to_string()), Ok("12.5%".to_owned()));
        assert!("80".parse::<Share>().expect_err("80").to_string().contains("80%"));
        assert!("110%".parse::<Share>().is_err());
    }
}
