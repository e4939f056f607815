//! The few functions that a standard library computes differently on different machines, from one portable source.
//!
//! Owns: logarithm, exponential and the normal quantile, through the `libm` crate, so that the same plan has the same
//! bytes everywhere. Rust's own `f64::ln` and `exp` call the platform. Called by the planner only.

/// Natural logarithm.
pub(crate) fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// Exponential.
pub(crate) fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// `base` to the power `exponent`.
pub(crate) fn pow(base: f64, exponent: f64) -> f64 {
    libm::pow(base, exponent)
}

/// The standard normal quantile of `p`, by Acklam's rational approximation (relative error below 1.2e-9 before the
/// tails, which is far below what any of our inputs deserve).
pub(crate) fn probit(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416];
    let p = p.clamp(1e-12, 1.0 - 1e-12);
    let poly = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |q: f64| poly(&C, q) / (poly(&D, q) * q + 1.0);
    if p < 0.02425 {
        return tail(libm::sqrt(-2.0 * ln(p)));
    }
    if p > 1.0 - 0.02425 {
        return -tail(libm::sqrt(-2.0 * ln(1.0 - p)));
    }
    let q = p - 0.5;
    let r = q * q;
    poly(&A, r) * q / (poly(&B, r) * r + 1.0)
}

/// The value below which the share `q` of the ascending `sorted` lies, between the two nearest; zero when it is empty.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let position = q.clamp(0.0, 1.0) * last as f64;
    let index = (position.floor() as usize).min(last);
    let (low, high) = (sorted[index], sorted[(index + 1).min(last)]);
    let weight = position - index as f64;
    // WHY: infinity minus infinity is not a number, and an option that never ends has both.
    if weight == 0.0 || low == high { low } else { low + (high - low) * weight }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probit_matches_known_quantiles() {
        for (p, z) in [(0.5, 0.0), (0.9, 1.281_551_565_5), (0.99, 2.326_347_874), (0.001, -3.090_232_306)] {
            assert!((probit(p) - z).abs() < 1e-8, "{p}: {}", probit(p));
        }
    }

    #[test]
    fn quantiles_of_infinite_samples_stay_numbers() {
        assert_eq!(quantile(&[1.0, f64::INFINITY, f64::INFINITY], 0.75), f64::INFINITY);
        assert_eq!(quantile(&[1.0, 2.0], 0.5), 1.5);
    }
}
