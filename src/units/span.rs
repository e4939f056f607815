//! Time: spans in whole seconds as people give them, and days as a number for what the planner computes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::Error;
use super::decimal::Decimal;

/// A span of time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Span(u64);

/// A computed length of time in days of 86,400 seconds; infinite when it never ends, never a NaN.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Days(f64);

impl Span {
    /// From seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds.
    pub const fn secs(self) -> u64 {
        self.0
    }

    /// The same in days.
    pub fn days(self) -> Days {
        Days(self.0 as f64 / 86_400.0)
    }
}

impl Days {
    /// No time.
    pub const ZERO: Self = Self(0.0);
    /// It never ends.
    pub const NEVER: Self = Self(f64::INFINITY);

    /// From a number of days; a negative number becomes zero, not a number becomes "never".
    pub fn new(days: f64) -> Self {
        Self(if days.is_nan() { f64::INFINITY } else { days.max(0.0) })
    }

    /// From seconds, by the same rules.
    pub fn from_secs(seconds: f64) -> Self {
        Self::new(seconds / 86_400.0)
    }

    /// Days.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// Seconds.
    pub fn secs(self) -> f64 {
        self.0 * 86_400.0
    }

    /// Whether it ever ends.
    pub fn is_finite(self) -> bool {
        self.0.is_finite()
    }
}

/// Two significant digits and the unit a person would use: `27 days`, `9.3 days`, `6.8 hours`, `14 minutes`.
impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_finite() {
            return f.write_str("never");
        }
        let seconds = self.secs();
        let (value, unit) = if self.0 >= 1000.0 {
            (self.0 / 365.0, "year")
        } else if self.0 >= 2.0 {
            (self.0, "day")
        } else if seconds >= 7200.0 {
            (seconds / 3600.0, "hour")
        } else if seconds >= 120.0 {
            (seconds / 60.0, "minute")
        } else {
            (seconds, "second")
        };
        let text = if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") };
        let text = text.strip_suffix(".0").unwrap_or(&text);
        write!(f, "{text} {unit}{}", if text == "1" { "" } else { "s" })
    }
}

impl FromStr for Span {
    type Err = Error;

    /// Reads `14d`, `6h`, `90min`, `45s`, `2w`, also spelled out.
    fn from_str(text: &str) -> Result<Self, Error> {
        const EXAMPLE: &str = "14d, 6h, 90min or 45s";
        let malformed = || Error::Malformed { kind: "span of time", text: text.to_owned(), example: EXAMPLE };
        let (number, unit) = Decimal::split(text).ok_or_else(malformed)?;
        let seconds: u128 = match unit {
            "s" | "sec" | "second" | "seconds" => 1,
            "min" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3_600,
            "d" | "day" | "days" => 86_400,
            "w" | "week" | "weeks" => 604_800,
            "" => {
                return Err(Error::UnitMissing { text: text.to_owned(), example: EXAMPLE });
            }
            "m" | "M" => {
                let advice = "m could be minutes or months; write 90min or 90d".to_owned();
                return Err(Error::UnitRefused { text: text.to_owned(), advice });
            }
            _ => return Err(malformed()),
        };
        let seconds = number.times(seconds).and_then(|s| u64::try_from(s).ok());
        seconds.map(Self).ok_or_else(|| Error::TooLarge {
            kind: "span",
            text: text.to_owned(),
            limit: "584 billion years",
        })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        match Either::deserialize(d)? {
            Either::Number(seconds) => Ok(Self(seconds)),
            Either::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl Serialize for Days {
    /// A number of days, or `null` when it never ends (JSON has no infinity).
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() { s.serialize_f64(self.0) } else { s.serialize_none() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_usual_spellings() {
        for (text, seconds) in
            [("14d", 1_209_600), ("6 h", 21_600), ("90min", 5_400), ("1.5 days", 129_600), ("2w", 1_209_600)]
        {
            assert_eq!(text.parse(), Ok(Span::from_secs(seconds)), "{text}");
        }
        assert!("90m".parse::<Span>().expect_err("m").to_string().contains("90min"));
        assert!("14".parse::<Span>().is_err());
    }

    #[test]
    fn prints_two_digits_in_a_human_unit() {
        for (days, text) in [
            (26.61, "27 days"),
            (9.259, "9.3 days"),
            (0.2833, "6.8 hours"),
            (0.0097, "14 minutes"),
            (1500.0, "4.1 years"),
        ] {
            assert_eq!(Days::new(days).to_string(), text);
        }
        assert_eq!(Days::NEVER.to_string(), "never");
        assert_eq!(Days::new(f64::NAN), Days::NEVER);
    }
}
