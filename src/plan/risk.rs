//! Odds: the same simulation in thousands of possible worlds, shared by all options.
//!
//! Owns: the draws, percentiles and probabilities. Does not own what is random (`world`, `sample`). Invariants: draw i
//! of one option lives in the same world as draw i of another; results do not depend on the number of threads; a draw
//! that never ends counts as late. Called by `report`.

use rayon::prelude::*;
use serde::Serialize;

use crate::plan::math::quantile;
use crate::plan::options::Candidate;
use crate::plan::outcome::{ALL_STAGES, STAGES, Stage};
use crate::plan::sample::Sampler;
use crate::plan::world::World;
use crate::units::{Days, Usd};

/// Results of all draws of one option.
#[derive(Debug, Clone)]
pub(crate) struct Samples {
    /// Finish by draw, in draw order.
    pub(crate) finish: Vec<f64>,
    /// Cost by draw, in draw order.
    pub(crate) cost: Vec<Usd>,
    /// How often each stage took longest.
    longest: [u32; STAGES],
}

/// Percentiles of a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are the percentiles")]
pub struct Percentiles<T> {
    pub p10: T,
    pub p50: T,
    pub p80: T,
    pub p90: T,
    pub p95: T,
}

/// A probability estimated from draws, with its Wilson 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Odds {
    /// Draws in which it held.
    pub hits: u32,
    /// All draws.
    pub draws: u32,
    /// Share of draws.
    pub share: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// Runs every draw of one option.
pub(crate) fn run(candidate: &Candidate, world: &World<'_>, sampler: &Sampler) -> Samples {
    let outcomes: Vec<(f64, Usd, Stage)> = (0..sampler.len())
        .into_par_iter()
        .with_min_len(256)
        .map(|index| {
            let outcome = candidate.run(world, sampler.draw(index), None);
            (outcome.finish, outcome.cost, outcome.longest())
        })
        .collect();
    let mut longest = [0; STAGES];
    for (_, _, stage) in &outcomes {
        longest[*stage as usize] += 1;
    }
    Samples {
        finish: outcomes.iter().map(|outcome| outcome.0).collect(),
        cost: outcomes.iter().map(|outcome| outcome.1).collect(),
        longest,
    }
}

impl Samples {
    /// Samples of something that has no stages of its own.
    pub(crate) const fn of(finish: Vec<f64>, cost: Vec<Usd>) -> Self {
        Self { finish, cost, longest: [0; STAGES] }
    }

    /// Finish times, ascending.
    pub(crate) fn sorted_finish(&self) -> Vec<f64> {
        let mut sorted = self.finish.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// Percentiles of the finish.
    pub(crate) fn time(&self) -> Percentiles<Days> {
        let sorted = self.sorted_finish();
        let at = |q| Days::new(quantile(&sorted, q));
        Percentiles { p10: at(0.1), p50: at(0.5), p80: at(0.8), p90: at(0.9), p95: at(0.95) }
    }

    /// Percentiles of the cost.
    pub(crate) fn money(&self) -> Percentiles<Usd> {
        let mut sorted = self.cost.clone();
        sorted.sort_unstable();
        let at = |q: f64| sorted.get(((sorted.len() - 1) as f64 * q).round() as usize).copied().unwrap_or(Usd::ZERO);
        Percentiles { p10: at(0.1), p50: at(0.5), p80: at(0.8), p90: at(0.9), p95: at(0.95) }
    }

    /// Mean cost.
    pub(crate) fn expected_cost(&self) -> Usd {
        let sum: i128 = self.cost.iter().map(|cost| i128::from(cost.micros())).sum();
        let mean = sum / (self.cost.len().max(1) as i128);
        Usd::from_micros(i64::try_from(mean).unwrap_or(i64::MAX))
    }

    /// Odds of being finished within so many days.
    pub(crate) fn by(&self, days: f64) -> Odds {
        odds(self.finish.iter().filter(|finish| **finish <= days).count(), self.finish.len())
    }

    /// Odds of costing more than a budget.
    pub(crate) fn over(&self, budget: Usd) -> Odds {
        odds(self.cost.iter().filter(|cost| **cost > budget).count(), self.cost.len())
    }

    /// Mean days late over all draws; infinite when some never end.
    pub(crate) fn expected_lateness(&self, days: f64) -> f64 {
        self.finish.iter().map(|finish| (finish - days).max(0.0)).sum::<f64>() / self.finish.len().max(1) as f64
    }

    /// How often this option ends before another.
    pub(crate) fn beats(&self, other: &Self) -> Odds {
        odds(self.finish.iter().zip(&other.finish).filter(|(a, b)| a < b).count(), self.finish.len())
    }

    /// Stages by how often they took longest, most often first.
    pub(crate) fn critical(&self) -> Vec<(Stage, f64)> {
        let all = self.finish.len().max(1) as f64;
        let mut stages: Vec<(Stage, f64)> = ALL_STAGES
            .iter()
            .map(|stage| (*stage, f64::from(self.longest[*stage as usize]) / all))
            .filter(|(_, share)| *share > 0.0)
            .collect();
        stages.sort_by(|a, b| b.1.total_cmp(&a.1));
        stages
    }
}

/// A share with its Wilson score interval at 95 %.
pub(crate) fn odds(hits: usize, draws: usize) -> Odds {
    const Z: f64 = 1.959_963_984_540_054;
    let n = draws.max(1) as f64;
    let p = hits as f64 / n;
    let centre = p + Z * Z / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Odds {
        hits: count(hits),
        draws: count(draws),
        share: p,
        low: ((centre - spread) / scale).clamp(0.0, 1.0),
        high: ((centre + spread) / scale).clamp(0.0, 1.0),
    }
}

/// `87 %`, and never certainty: `all 4,096 draws (> 99.9 %)`.
impl std::fmt::Display for Odds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let draws = crate::units::Count::new(u64::from(self.draws));
        if self.hits == self.draws {
            return write!(f, "all {draws} draws (> {:.1} %)", (self.low * 1000.0).floor() / 10.0);
        }
        if self.hits == 0 {
            return write!(f, "none of {draws} draws (< {:.1} %)", (self.high * 1000.0).ceil() / 10.0);
        }
        match self.share * 100.0 {
            percent if percent >= 99.95 => f.write_str("> 99.9 %"),
            percent if percent < 0.05 => f.write_str("< 0.1 %"),
            percent if !(1.0..=99.0).contains(&percent) => write!(f, "{percent:.1} %"),
            percent => write!(f, "{percent:.0} %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_interval_and_words() {
        let some = odds(87, 100);
        assert!((some.low - 0.790).abs() < 0.001 && (some.high - 0.922).abs() < 0.001, "{some:?}");
        assert_eq!(some.to_string(), "87 %");
        assert_eq!(odds(4096, 4096).to_string(), "all 4,096 draws (> 99.9 %)");
        assert!(odds(0, 4096).to_string().starts_with("none of 4,096"));
    }
}
