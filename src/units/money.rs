//! Money: whole micro-dollars, so that sums are exact and rounding happens once, when printed.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Error;
use super::count::grouped;
use super::decimal::Decimal;

/// An amount in millionths of a US dollar. Sums saturate at 9.2 trillion dollars, which no plan reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Usd(i64);

const MICROS: i64 = 1_000_000;

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From whole dollars.
    pub const fn dollars(dollars: i64) -> Self {
        Self(dollars.saturating_mul(MICROS))
    }

    /// From millionths of a dollar.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Millionths of a dollar.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The amount in dollars as the nearest double, for charts and ratios.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / MICROS as f64
    }

    /// From dollars in a double, rounded to the nearest micro-dollar; not finite or negative becomes zero.
    pub fn from_f64(dollars: f64) -> Self {
        if !dollars.is_finite() || dollars <= 0.0 {
            return Self::ZERO;
        }
        // WHY: float-to-int casts saturate, so an absurd price cannot wrap.
        Self((dollars * MICROS as f64).round() as i64)
    }

    /// This price for `count` units.
    pub fn times(self, count: u64) -> Self {
        self.times_ratio(count, 1)
    }

    /// This price times `numerator / denominator`, rounded half to even on the micro-dollar; zero when the denominator is.
    ///
    /// `price_per_gb.times_ratio(bytes, 1_000_000_000)` is the cost of so many bytes.
    pub fn times_ratio(self, numerator: u64, denominator: u64) -> Self {
        if denominator == 0 {
            return Self::ZERO;
        }
        let product = i128::from(self.0) * i128::from(numerator);
        let denominator = i128::from(denominator);
        let (floor, rest) = (product.div_euclid(denominator), product.rem_euclid(denominator));
        let up = match (2 * rest).cmp(&denominator) {
            std::cmp::Ordering::Greater => 1,
            std::cmp::Ordering::Equal => floor.rem_euclid(2),
            std::cmp::Ordering::Less => 0,
        };
        Self(i64::try_from(floor + up).unwrap_or(i64::MAX))
    }

    /// Whole cents, half to even.
    pub fn cents(self) -> i64 {
        Self(self.0).times_ratio(1, 10_000).0
    }

    /// Three significant digits for a person: `$7,660`, `$12.5`, `$0.05`, `$1.23 M`.
    pub fn short(self) -> String {
        let dollars = self.to_f64();
        if dollars >= 999_500.0 {
            return format!("${} M", significant(dollars / 1e6));
        }
        if dollars < 1000.0 {
            return format!("${}", significant(dollars));
        }
        let unit: i64 = if dollars < 9_995.0 {
            10
        } else if dollars < 99_950.0 {
            100
        } else {
            1_000
        };
        let rounded = self.times_ratio(1, unit.unsigned_abs()).0;
        let rounded = Self(rounded).rounded_dollars().saturating_mul(unit);
        format!("${}", grouped(rounded.unsigned_abs()))
    }

    fn rounded_dollars(self) -> i64 {
        self.times_ratio(1, MICROS.unsigned_abs()).0
    }
}

fn significant(value: f64) -> String {
    let places = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// `$1,800.00`, rounded half to even to the cent.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = self.cents();
        let sign = if cents < 0 { "-" } else { "" };
        let cents = cents.unsigned_abs();
        write!(f, "{sign}${}.{:02}", grouped(cents / 100), cents % 100)
    }
}

impl FromStr for Usd {
    type Err = Error;

    /// Reads `$1,800`, `0.0125`, `250 USD`; a negative amount is refused.
    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed =
            || Error::Malformed { kind: "sum of money", text: text.to_owned(), example: "1800USD or $1800" };
        if text.trim_start_matches(['$', ' ']).starts_with('-') {
            return Err(Error::OutOfRange { text: text.to_owned(), advice: "a price or budget is not negative" });
        }
        let (number, unit) = Decimal::split(text.trim().trim_start_matches('$')).ok_or_else(malformed)?;
        let factor = match unit {
            "" | "USD" | "usd" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            _ => return Err(malformed()),
        };
        let micros = number.times(1_000_000 * factor).and_then(|m| i64::try_from(m).ok());
        micros.map(Self).ok_or_else(|| Error::TooLarge {
            kind: "sum",
            text: text.to_owned(),
            limit: "9 trillion dollars",
        })
    }
}

impl Serialize for Usd {
    /// Dollars as decimal text with six places: exact, and no float on the way.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        s.collect_str(&format_args!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000))
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_and_prints_to_the_cent() {
        assert_eq!("$1,800".parse(), Ok(Usd::dollars(1800)));
        assert_eq!("0.0125".parse(), Ok(Usd::from_micros(12_500)));
        assert_eq!(Usd::from_micros(1_234_565_000).to_string(), "$1,234.56");
        assert_eq!(Usd::from_micros(1_234_575_000).to_string(), "$1,234.58");
        assert!("-5".parse::<Usd>().is_err());
        assert!("5 EUR".parse::<Usd>().is_err());
    }

    #[test]
    fn a_price_per_gb_is_exact() {
        let price = Usd::from_micros(12_500);
        assert_eq!(price.times_ratio(40_000_000_000_000, 1_000_000_000), Usd::dollars(500));
    }

    #[test]
    fn short_form_keeps_three_digits() {
        for (dollars, text) in
            [(7_662.5, "$7,660"), (12.5, "$12.5"), (1_234_567.0, "$1.23 M"), (0.05, "$0.05"), (83_214.0, "$83,200")]
        {
            assert_eq!(Usd::from_f64(dollars).short(), text);
        }
    }

    proptest! {
        #[test]
        fn json_text_parses_back(micros in 0_i64..1_000_000_000_000_000) {
            let json = serde_json::to_string(&Usd::from_micros(micros)).expect("text");
            prop_assert_eq!(serde_json::from_str::<Usd>(&json).expect("parses"), Usd::from_micros(micros));
        }

        #[test]
        fn parts_sum_to_the_whole(price in 0_i64..1_000_000, a in 0_u64..1_000_000, b in 0_u64..1_000_000) {
            let price = Usd::from_micros(price);
            prop_assert_eq!(price.times(a) + price.times(b), price.times(a + b));
        }
    }
}
