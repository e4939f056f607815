//! Own drives: how many, with how much parity, and the odds that they all arrive.
//!
//! Owns: counts and binomial odds. Does not own prices or travel. Called by the own-drive options and oracle tests.

use crate::plan::math;
use crate::units::{Bytes, Share};

/// How many devices of `usable` bytes hold `size`; `None` when a device holds nothing.
pub fn device_count(size: Bytes, usable: Bytes) -> Option<u64> {
    size.div_ceil(usable)
}

/// Chance that every one of `legs` independent things goes well.
pub fn all_good(each: Share, legs: u32) -> Share {
    Share::new(math::pow(each.get(), f64::from(legs)))
}

/// Expected losses above which the binomial is as good as normal, and its exact terms would underflow.
const EXACT_MEAN_MAX: f64 = 100.0;

fn spread(drives: u64, loss: f64) -> f64 {
    (drives as f64 * loss * (1.0 - loss)).sqrt().max(1e-9)
}

/// Share of a standard normal below `z`.
fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

/// Chance that at most `parity` of `drives` are lost, each with chance `loss`: sum of binomials.
pub fn survives(drives: u64, parity: u64, loss: Share) -> Share {
    let p = loss.get();
    if p <= 0.0 {
        return Share::ALL;
    }
    if p >= 1.0 {
        return if parity >= drives { Share::ALL } else { Share::ZERO };
    }
    if drives as f64 * p > EXACT_MEAN_MAX {
        return Share::new(normal_cdf((parity as f64 + 0.5 - drives as f64 * p) / spread(drives, p)));
    }
    let mut term = math::exp(drives as f64 * math::ln(1.0 - p));
    let mut sum = term;
    for lost in 1..=parity.min(drives) {
        term *= (drives - lost + 1) as f64 / lost as f64 * p / (1.0 - p);
        sum += term;
    }
    Share::new(sum)
}

/// The number lost at quantile `u` of the binomial.
pub(crate) fn lost_at(drives: u64, loss: f64, u: f64) -> u64 {
    if loss <= 0.0 || drives == 0 {
        return 0;
    }
    if drives as f64 * loss > EXACT_MEAN_MAX {
        return (drives as f64 * loss + math::probit(u) * spread(drives, loss)).round().max(0.0) as u64;
    }
    let mut term = math::exp(drives as f64 * math::ln(1.0 - loss.min(0.999_999)));
    let mut sum = term;
    let mut lost = 0;
    while sum < u && lost < drives {
        lost += 1;
        term *= (drives - lost + 1) as f64 / lost as f64 * loss / (1.0 - loss);
        sum += term;
    }
    lost
}

/// The smallest parity that keeps the chance of losing data below `risk`.
pub(crate) fn parity_for(data_drives: u64, loss: f64, risk: f64) -> u64 {
    if data_drives as f64 * loss > EXACT_MEAN_MAX {
        return (data_drives as f64 * loss + math::probit(1.0 - risk) * spread(data_drives, loss)).ceil() as u64;
    }
    let enough = |parity: &u64| survives(data_drives + parity, *parity, Share::new(loss)).get() >= 1.0 - risk;
    (0..=data_drives).find(enough).unwrap_or(data_drives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_five_drives_at_one_percent_lose_one_in_a_fifth_of_cases() {
        let odds = survives(25, 0, Share::new(0.01)).get();
        assert!((1.0 - odds - 0.22).abs() < 0.005, "{odds}");
        assert!(survives(27, 2, Share::new(0.01)).get() > 0.995);
    }

    #[test]
    fn twenty_legs_at_985_per_mille() {
        assert!((all_good(Share::new(0.985), 20).get() - 0.739).abs() < 0.0005);
    }

    #[test]
    fn losses_by_quantile() {
        assert_eq!(lost_at(25, 0.01, 0.5), 0);
        assert_eq!(lost_at(25, 0.01, 0.9), 1);
        assert_eq!(lost_at(25, 0.0, 0.999), 0);
        assert_eq!(parity_for(25, 0.01, 0.001), 3);
        let many = parity_for(500_000, 0.01, 0.001);
        assert!((5_100..5_400).contains(&many), "{many}");
        assert!(survives(500_000, many, Share::new(0.01)).get() > 0.99);
        assert!((4_990..5_010).contains(&lost_at(500_000, 0.01, 0.5)));
    }
}
