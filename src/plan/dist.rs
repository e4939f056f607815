//! Distributions by their quantile functions, so that a draw is one uniform number and comparisons can share it.
//!
//! Owns: shapes, their parameters and quantiles. Does not own any parameter from the world. Invariant: a quantile is
//! never a NaN and never falls as `u` rises. Called by the planner only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::plan::catalogue::Figure;
use crate::plan::math;
use crate::sys::lock::lock;

/// A distribution of a quantity that is zero or more.
#[derive(Debug, Clone)]
pub struct Dist {
    shape: Shape,
}

#[derive(Debug, Clone)]
enum Shape {
    Fixed(f64),
    Uniform {
        low: f64,
        high: f64,
    },
    Triangular {
        low: f64,
        mode: f64,
        high: f64,
    },
    /// Tabulated quantiles of the beta distribution that PERT stands for.
    Pert {
        low: f64,
        high: f64,
        table: Arc<[f64]>,
    },
    LogNormal {
        mu: f64,
        sigma: f64,
    },
    /// `value` with probability `chance`, else nothing.
    Event {
        chance: f64,
        value: f64,
    },
}

/// Steps of a tabulated quantile function.
const STEPS: usize = 512;

/// z of the 90th percentile.
const Z90: f64 = 1.281_551_565_544_600_4;

impl Dist {
    /// Always `value`.
    pub(crate) const fn constant(value: f64) -> Self {
        Self { shape: Shape::Fixed(value) }
    }

    pub(crate) fn uniform(low: f64, high: f64) -> Self {
        Self { shape: Shape::Uniform { low, high } }
    }

    pub(crate) fn triangular(low: f64, mode: f64, high: f64) -> Self {
        if high <= low { Self::constant(mode) } else { Self { shape: Shape::Triangular { low, mode, high } } }
    }

    /// PERT: a beta on `low..high` with alpha = 1 + 4(mode-low)/(high-low), beta = 1 + 4(high-mode)/(high-low).
    pub(crate) fn pert(low: f64, mode: f64, high: f64) -> Self {
        if high <= low {
            return Self::constant(mode);
        }
        let alpha = 1.0 + 4.0 * (mode - low) / (high - low);
        let beta = 1.0 + 4.0 * (high - mode) / (high - low);
        Self { shape: Shape::Pert { low, high, table: cached_quantiles(alpha, beta) } }
    }

    pub(crate) fn lognormal(p50: f64, p90: f64) -> Self {
        if p50 <= 0.0 || p90 <= p50 {
            return Self::constant(p50.max(0.0));
        }
        Self { shape: Shape::LogNormal { mu: math::ln(p50), sigma: math::ln(p90 / p50) / Z90 } }
    }

    pub(crate) const fn event(chance: f64, value: f64) -> Self {
        Self { shape: Shape::Event { chance, value } }
    }

    /// The distribution a catalogue figure describes; without a shape it is fixed.
    pub(crate) fn of(figure: &Figure) -> Self {
        let (low, value, high) = (figure.low(), figure.number(), figure.high());
        match figure.shape.as_deref() {
            Some("uniform") => Self::uniform(low, high),
            Some("triangular") => Self::triangular(low, value, high),
            Some("pert") => Self::pert(low, value, high),
            Some("lognormal") => Self::lognormal(value, figure.p90()),
            Some("event") => Self::event(low, value),
            _ => Self::constant(value),
        }
    }

    /// The value that a share `u` (0 to 1) of outcomes does not exceed.
    pub(crate) fn quantile(&self, u: f64) -> f64 {
        let u = u.clamp(0.0, 1.0);
        match &self.shape {
            Shape::Fixed(value) => *value,
            Shape::Uniform { low, high } => low + (high - low) * u,
            Shape::Triangular { low, mode, high } => triangular(*low, *mode, *high, u),
            Shape::Pert { low, high, table } => {
                let position = u * STEPS as f64;
                let index = (position.floor() as usize).min(STEPS - 1);
                let x = table[index] + (table[index + 1] - table[index]) * (position - index as f64);
                low + (high - low) * x
            }
            Shape::LogNormal { mu, sigma } => math::exp(mu + sigma * math::probit(u)),
            Shape::Event { chance, value } => {
                if u > 1.0 - chance {
                    *value
                } else {
                    0.0
                }
            }
        }
    }

    /// The median: what the single estimate uses.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The mean, by quadrature over the quantile function.
    #[cfg(test)]
    pub(crate) fn mean(&self) -> f64 {
        const POINTS: u32 = 4096;
        (0..POINTS).map(|i| self.quantile((f64::from(i) + 0.5) / f64::from(POINTS))).sum::<f64>() / f64::from(POINTS)
    }

    /// The shape and its parameters, for people.
    pub(crate) fn describe(&self) -> String {
        let number = |x: f64| {
            let text = format!("{x:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        match &self.shape {
            Shape::Fixed(value) => number(*value),
            Shape::Uniform { low, high } => format!("uniform {} to {}", number(*low), number(*high)),
            Shape::Triangular { low, mode, high } => {
                format!("triangular {}, {}, {}", number(*low), number(*mode), number(*high))
            }
            Shape::Pert { low, high, .. } => {
                format!("PERT {} to {}, P50 {}", number(*low), number(*high), number(self.median()))
            }
            Shape::LogNormal { .. } => {
                format!("lognormal P50 {}, P90 {}", number(self.median()), number(self.quantile(0.9)))
            }
            Shape::Event { chance, value } => format!("{} with chance {}", number(*value), number(*chance)),
        }
    }
}

fn triangular(low: f64, mode: f64, high: f64, u: f64) -> f64 {
    let width = high - low;
    let at_mode = (mode - low) / width;
    if u <= at_mode {
        low + libm::sqrt(u * width * (mode - low))
    } else {
        high - libm::sqrt((1.0 - u) * width * (high - mode))
    }
}

/// Tables made already: many options share a shape, and "what if" questions ask for the same ones again.
type Tables = BTreeMap<(u64, u64), Arc<[f64]>>;
static TABLES: Mutex<Tables> = Mutex::new(BTreeMap::new());

fn cached_quantiles(alpha: f64, beta: f64) -> Arc<[f64]> {
    let mut tables = lock(&TABLES);
    let table = tables.entry((alpha.to_bits(), beta.to_bits())).or_insert_with(|| beta_quantiles(alpha, beta));
    Arc::clone(table)
}

/// Quantiles of a beta distribution at `STEPS + 1` even points, from its density summed over a fine grid.
fn beta_quantiles(alpha: f64, beta: f64) -> Arc<[f64]> {
    const GRID: usize = 4096;
    let density = |i: usize| {
        let x = (i as f64 + 0.5) / GRID as f64;
        math::pow(x, alpha - 1.0) * math::pow(1.0 - x, beta - 1.0)
    };
    let mut cumulative = Vec::with_capacity(GRID + 1);
    cumulative.push(0.0);
    let mut sum = 0.0;
    for i in 0..GRID {
        sum += density(i);
        cumulative.push(sum);
    }
    let mut table = Vec::with_capacity(STEPS + 1);
    let mut cell = 0;
    for step in 0..=STEPS {
        let target = sum * step as f64 / STEPS as f64;
        while cell + 1 < GRID && cumulative[cell + 1] < target {
            cell += 1;
        }
        let width = cumulative[cell + 1] - cumulative[cell];
        let inside = if width > 0.0 { ((target - cumulative[cell]) / width).clamp(0.0, 1.0) } else { 0.0 };
        table.push((cell as f64 + inside) / GRID as f64);
    }
    table.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, expected: f64, tolerance: f64) {
        assert!((got - expected).abs() <= tolerance, "got {got}, expected {expected}");
    }

    #[test]
    fn triangular_quantiles_match_the_closed_form() {
        let dist = Dist::triangular(2.0, 4.0, 12.0);
        close(dist.mean(), 6.0, 1e-3);
        close(dist.quantile(0.1), 3.414, 1e-3);
        close(dist.median(), 5.675, 1e-3);
        close(dist.quantile(0.9), 9.172, 1e-3);
    }

    #[test]
    fn pert_has_its_mean() {
        close(Dist::pert(2.0, 4.0, 12.0).mean(), 5.0, 2e-3);
        close(Dist::pert(0.5, 0.85, 1.0).mean(), (0.5 + 4.0 * 0.85 + 1.0) / 6.0, 1e-4);
    }

    #[test]
    fn lognormal_is_fixed_by_two_percentiles() {
        let dist = Dist::lognormal(3.0, 6.0);
        close(dist.median(), 3.0, 1e-9);
        close(dist.quantile(0.9), 6.0, 1e-6);
        close(dist.mean(), 3.47, 0.01);
        close(dist.quantile(0.99), 10.6, 0.1);
    }

    #[test]
    fn quantiles_never_fall() {
        let all = [
            Dist::uniform(1.0, 2.0),
            Dist::triangular(0.0, 1.0, 4.0),
            Dist::pert(5.0, 15.0, 40.0),
            Dist::lognormal(6.0, 14.0),
            Dist::event(0.02, 90.0),
        ];
        for dist in &all {
            let values: Vec<f64> = (0..=1000).map(|i| dist.quantile(f64::from(i) / 1000.0)).collect();
            assert!(values.windows(2).all(|w| w[0] <= w[1] && w[1].is_finite()), "{}", dist.describe());
        }
    }
}
