//! The single changes that would make something feasible when nothing is: days, money, a faster line, a condition the user
//! may meet, a freeze, or less data.
//!
//! Owns: finding them. Each is simulated before it is named, so that nothing is promised that does not help. Called by
//! `report` when no option meets the terms.

use crate::plan::delta::Change;
use crate::plan::inputs::Inputs;
use crate::plan::math::quantile;
use crate::plan::options::{self, Candidate};
use crate::plan::report::PATIENCE_DAYS;
use crate::plan::risk::Samples;
use crate::plan::sample::Sampler;
use crate::plan::sensitivity::conditions;
use crate::plan::world::World;
use crate::units::{BitsPerSecond, Bytes, Days, Usd};

/// Draws for each thing that is tried.
const DRAWS: usize = 256;
/// Fastest line that is proposed. Unit: bits per second.
const LINE_MAX: f64 = 400e9;

struct Trial<'a> {
    sampler: &'a Sampler,
    limit_days: f64,
    confidence: f64,
    budget: Option<Usd>,
}

/// Changes that help, each by itself; none when nothing was found.
pub(crate) fn changes(
    world: &World<'_>,
    candidates: &[Candidate],
    samples: &[Samples],
    sampler: &Sampler,
) -> Option<String> {
    let terms = &world.inputs.terms;
    let trial = Trial {
        sampler,
        limit_days: terms.deadline_days.unwrap_or(PATIENCE_DAYS),
        confidence: terms.confidence,
        budget: terms.budget,
    };
    let mut ways = Vec::new();
    ways.extend(trial.later(world, candidates, samples));
    ways.extend(trial.dearer(candidates, samples));
    ways.extend(trial.faster_line(world, candidates));
    ways.extend(trial.condition(world, candidates));
    ways.extend(trial.freeze(world));
    ways.extend(trial.less(world, candidates));
    (!ways.is_empty()).then(|| ways.join("; or "))
}

impl Trial<'_> {
    /// Whether a candidate meets the terms in a world.
    fn meets(&self, world: &World<'_>, candidate: &Candidate) -> bool {
        let draws = DRAWS.min(self.sampler.len());
        let runs: Vec<_> = (0..draws).map(|index| candidate.run(world, self.sampler.draw(index), None)).collect();
        let in_time = runs.iter().filter(|out| out.finish <= self.limit_days).count();
        let affordable = |budget: Usd| {
            let within = runs.iter().filter(|out| out.cost <= budget).count();
            within as f64 >= 0.9 * draws as f64
        };
        in_time as f64 >= self.confidence * draws as f64 && self.budget.is_none_or(affordable)
    }

    fn affordable(&self, samples: &Samples) -> bool {
        self.budget.is_none_or(|budget| samples.money().p90 <= budget)
    }

    /// The earliest day by which something affordable is done with the confidence asked.
    fn later(&self, world: &World<'_>, candidates: &[Candidate], samples: &[Samples]) -> Option<String> {
        let affordable = candidates.iter().zip(samples).filter(|(_, s)| self.affordable(s));
        let days = affordable.map(|(c, s)| (quantile(&s.sorted_finish(), self.confidence), &c.name));
        let (days, name) = days.min_by(|a, b| a.0.total_cmp(&b.0)).filter(|(days, _)| days.is_finite())?;
        let date = world.calendar.date(Days::new(days))?;
        let more = (days - self.limit_days).ceil();
        (more > 0.0).then(|| match world.inputs.terms.deadline {
            Some(_) => format!("{more:.0} more day{}, until {date} ({name})", if more > 1.0 { "s" } else { "" }),
            None => format!("a deadline of {date} or later ({name})"),
        })
    }

    fn dearer(&self, candidates: &[Candidate], samples: &[Samples]) -> Option<String> {
        let budget = self.budget?;
        let in_time = candidates.iter().zip(samples).filter(|(_, s)| s.by(self.limit_days).share >= self.confidence);
        let (cost, name) = in_time.map(|(c, s)| (s.money().p90, &c.name)).min_by_key(|(cost, _)| *cost)?;
        let more = Usd::from_micros(cost.micros() - budget.micros());
        (more > Usd::ZERO).then(|| format!("{} more money ({name})", more.short()))
    }

    fn faster_line(&self, world: &World<'_>, candidates: &[Candidate]) -> Option<String> {
        let line = candidates.iter().find(|c| c.family == "internet")?;
        let helps = |bits: f64| {
            let other = world.with_link(BitsPerSecond::new(bits as u64));
            line.rebuilt(&other).is_some_and(|c| self.meets(&other, &c))
        };
        let (mut low, mut high) = (world.inputs.line.as_ref()?.rate.get() as f64, LINE_MAX);
        if low >= high || !helps(high) {
            return None;
        }
        while high / low > 1.05 {
            let middle = (low * high).sqrt();
            if helps(middle) { high = middle } else { low = middle }
        }
        Some(format!("a line of about {}", BitsPerSecond::new((high / 1e6).ceil() as u64 * 1_000_000)))
    }

    fn condition(&self, world: &World<'_>, candidates: &[Candidate]) -> Option<String> {
        conditions().iter().find_map(|(text, change)| {
            let mut inputs = world.inputs.clone();
            change(&mut inputs);
            let other = world.variant(inputs);
            let (now, _) = options::compile(&other);
            let mut new = now.iter().filter(|c| candidates.iter().all(|known| known.id != c.id));
            new.find(|c| self.meets(&other, c)).map(|c| format!("{}, {text}", c.name))
        })
    }

    fn freeze(&self, world: &World<'_>) -> Option<String> {
        if world.inputs.change.is_none() {
            return None;
        }
        let still = World::variant(world, Inputs { change: Change::default(), ..world.inputs.clone() });
        let (now, _) = options::compile(&still);
        let best = now.iter().find(|c| self.meets(&still, c))?;
        Some(format!("freezing the source while it moves ({})", best.name))
    }

    /// The part of the data that can be moved within the terms.
    fn less(&self, world: &World<'_>, candidates: &[Candidate]) -> Option<String> {
        let helps = |factor: f64| {
            let other = world.scaled(factor);
            let pure = candidates.iter().filter(|c| !matches!(c.method, options::Method::Hybrid(_)));
            pure.filter_map(|c| c.rebuilt(&other)).find(|c| self.meets(&other, c))
        };
        let (mut low, mut high) = (0.001_f64, 1.0_f64);
        let mut found = helps(low)?;
        while high / low > 1.05 {
            let middle = (low * high).sqrt();
            match helps(middle) {
                Some(candidate) => (low, found) = (middle, candidate),
                None => high = middle,
            }
        }
        let part = Bytes::new((world.bytes() * low) as u64);
        Some(format!("moving {} first and the rest later ({})", part.decimal(), found.name))
    }
}
