//! Catching up with data that changes while the bulk moves: rounds, their floor, and a verdict.
//!
//! Owns: the backlog curve, the rounds and the verdict. Does not own the line's rate. Invariant: change as fast as the
//! drain, or faster, is always "never". Called by the planner and its oracle tests.

use serde::Serialize;

use crate::plan::math;
use crate::units::{BytesPerSecond, Days};

/// How the data changes, in bytes per day as the tool sees them (a tool that resends whole files sees more).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Change {
    /// Bytes rewritten per day, times amplification.
    pub rewrite_per_day: f64,
    /// Bytes added per day.
    pub growth_per_day: f64,
    /// Bytes that are rewritten at all; infinite when unknown.
    pub working_set: f64,
}

impl Change {
    /// Whether anything changes.
    pub(crate) fn is_none(&self) -> bool {
        self.rewrite_per_day + self.growth_per_day <= 0.0
    }

    /// Bytes to send after `days`: `W * (1 - exp(-c t / W)) + g t`, which is `(c + g) t` for an unbounded set.
    pub(crate) fn backlog(&self, days: f64) -> f64 {
        if self.is_none() || days <= 0.0 {
            return 0.0;
        }
        if !days.is_finite() {
            return f64::INFINITY;
        }
        let rewritten = if self.working_set.is_finite() && self.working_set > 0.0 {
            self.working_set * (1.0 - math::exp(-self.rewrite_per_day * days / self.working_set))
        } else {
            self.rewrite_per_day * days
        };
        rewritten + self.growth_per_day * days
    }
}

/// Change over drain, both in bytes per second: below one it converges.
pub fn rho(change: BytesPerSecond, drain: BytesPerSecond) -> f64 {
    change.get() / drain.get()
}

/// Seed and `rounds` further rounds, each the last one times rho: `T0 * (1 + rho + ... + rho^rounds)`.
pub fn geometric_total(seed: Days, rho: f64, rounds: u32) -> Days {
    let mut total = 0.0;
    let mut round = seed.get();
    for _ in 0..=rounds {
        total += round;
        round *= rho;
    }
    Days::new(total)
}

/// One catch-up round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Round {
    /// Bytes waiting when it begins.
    pub backlog_bytes: f64,
    /// Its length in days.
    pub days: f64,
}

/// What catching up comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing changes.
    Nothing,
    /// The last round fits the window.
    Converges,
    /// It converges, but takes ten times the seed or more.
    Impractical,
    /// No round gets as short as the window.
    Floor,
    /// Changes come as fast as the line carries them away.
    Never,
}

/// Result of `catch_up`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CatchUp {
    /// The verdict.
    pub verdict: Verdict,
    /// Change over drain.
    pub rho: f64,
    /// Rounds after the seed.
    pub rounds: Vec<Round>,
    /// Days of all rounds; infinite when it never ends.
    #[serde(skip)]
    pub total_days: f64,
    /// The last round, during which the source must not change.
    #[serde(skip)]
    pub cutover_days: f64,
    /// The shortest round there can be.
    #[serde(skip)]
    pub floor_days: f64,
}

/// Most rounds worth listing; a plan with more is impractical anyway.
const ROUNDS_MAX: usize = 64;

/// Rounds after a seed of `seed_days` until one fits `window_days`; each has `fixed_days` (scan, set-up) and then drains
/// at `drain_per_day`. Round k lasts `T_k = s + B(T_(k-1)) / R`.
pub(crate) fn catch_up(
    change: &Change,
    seed_days: f64,
    fixed_days: f64,
    drain_per_day: f64,
    window_days: f64,
) -> CatchUp {
    let per_day = change.rewrite_per_day + change.growth_per_day;
    let rho = if change.is_none() { 0.0 } else { per_day / drain_per_day };
    let mut result = CatchUp {
        verdict: Verdict::Nothing,
        rho,
        rounds: Vec::new(),
        total_days: 0.0,
        cutover_days: 0.0,
        floor_days: 0.0,
    };
    if change.is_none() {
        return result;
    }
    result.floor_days = if rho < 1.0 { fixed_days / (1.0 - rho) } else { f64::INFINITY };
    // A bounded working set cannot pile up more than itself, so it may end even when the first rounds grow.
    let unbounded = change.working_set.is_infinite() || change.growth_per_day >= drain_per_day;
    if (rho >= 1.0 && unbounded) || !seed_days.is_finite() {
        return CatchUp { verdict: Verdict::Never, total_days: f64::INFINITY, cutover_days: f64::INFINITY, ..result };
    }
    let mut last = seed_days;
    for _ in 0..ROUNDS_MAX {
        let backlog = change.backlog(last);
        let days = fixed_days + backlog / drain_per_day;
        result.rounds.push(Round { backlog_bytes: backlog, days });
        result.total_days += days;
        result.cutover_days = days;
        if days <= window_days {
            result.verdict = if rho > 0.9 && unbounded { Verdict::Impractical } else { Verdict::Converges };
            return result;
        }
        if (last - days).abs() <= 1e-9 * days {
            break;
        }
        last = days;
    }
    result.verdict = if result.floor_days >= window_days && rho < 1.0 {
        Verdict::Floor
    } else if rho < 1.0 {
        Verdict::Impractical
    } else {
        Verdict::Never
    };
    if result.verdict == Verdict::Never {
        result.total_days = f64::INFINITY;
    }
    result
}

/// The verdict as a sentence with its numbers.
pub(crate) fn sentence(result: &CatchUp, seed_days: f64, per_day: f64, drain_per_day: f64) -> String {
    let tb = |bytes: f64| format!("{:.2} TB/day", bytes / 1e12);
    match result.verdict {
        Verdict::Nothing => "nothing changes meanwhile".to_owned(),
        Verdict::Converges => format!(
            "converges in {}, {} of catching up; the source stands still for {} at the end",
            if result.rounds.len() == 1 { "one round".to_owned() } else { format!("{} rounds", result.rounds.len()) },
            Days::new(result.total_days),
            Days::new(result.cutover_days)
        ),
        Verdict::Impractical => format!(
            "converges only on paper: changes are {:.0} % of what the line carries, so catching up takes {} more, about {:.0} times the seed",
            result.rho * 100.0,
            Days::new(result.total_days),
            1.0 / (1.0 - result.rho.min(0.999))
        ),
        Verdict::Floor => format!(
            "no round gets shorter than {}: longer than the window; partition the scan or freeze the source longer",
            Days::new(result.floor_days)
        ),
        Verdict::Never => format!(
            "never: changes are {}, the line carries {}; it needs more than {:.2} times the line, or a freeze of about {}",
            tb(per_day),
            tb(drain_per_day),
            result.rho,
            Days::new(if drain_per_day > 0.0 { per_day * seed_days / drain_per_day } else { f64::INFINITY })
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn simple(per_day: f64) -> Change {
        Change { rewrite_per_day: per_day, growth_per_day: 0.0, working_set: f64::INFINITY }
    }

    #[test]
    fn one_percent_a_day_adds_a_day_and_a_half() {
        let result = catch_up(&simple(1e12), 11.574, 0.0, 8.64e12, 0.02);
        let total = 11.574 + result.total_days;
        assert_eq!(result.verdict, Verdict::Converges);
        assert!((total - 13.09).abs() < 0.01, "{total}");
    }

    #[test]
    fn a_long_scan_sets_a_floor() {
        let result = catch_up(&simple(1e12), 11.574, 0.25, 8.64e12, 0.2);
        assert_eq!(result.verdict, Verdict::Floor);
        assert!((result.floor_days * 24.0 - 6.8).abs() < 0.05);
    }

    #[test]
    fn fifty_terabytes_a_week_is_impractical_or_never() {
        let week = simple(50e12 / 7.0);
        assert_eq!(catch_up(&week, 397.0, 0.0, 7.56e12, 1.0).verdict, Verdict::Impractical);
        assert_eq!(catch_up(&week, 794.0, 0.0, 3.78e12, 1.0).verdict, Verdict::Never);
    }

    proptest! {
        #[test]
        fn change_as_fast_as_the_drain_never_ends(drain in 1e6_f64..1e15, over in 1.0_f64..10.0, seed in 0.1_f64..1000.0) {
            let result = catch_up(&simple(drain * over), seed, 0.01, drain, 0.5);
            prop_assert_eq!(result.verdict, Verdict::Never);
            prop_assert!(result.total_days.is_infinite());
        }

        #[test]
        fn more_change_never_ends_sooner(drain in 1e9_f64..1e15, a in 0.0_f64..0.9, b in 0.0_f64..0.9, seed in 0.1_f64..1000.0) {
            let total = |share: f64| catch_up(&simple(drain * share), seed, 0.0, drain, 1e-3).total_days;
            prop_assert!(total(a.min(b)) <= total(a.max(b)) + 1e-9);
        }

        #[test]
        fn rounds_shrink_by_rho(share in 0.01_f64..0.8, seed in 1.0_f64..1000.0) {
            let result = catch_up(&simple(1e12 * share), seed, 0.0, 1e12, 1e-6);
            let total = geometric_total(Days::new(seed), share, u32::try_from(result.rounds.len()).expect("few"));
            prop_assert!((seed + result.total_days - total.get()).abs() < 1e-6 * total.get());
        }
    }
}
