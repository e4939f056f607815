//! Splitting one dataset between a line and devices, by trying every split that could be best.
//!
//! Owns: the enumeration (lines, device counts, loads of the last device at tier boundaries and where both ends meet) and the
//! Pareto set over time and cost. Exact for one source and one destination. Does not own the two models. Called by
//! `report` and by tests.

use crate::plan::catalogue::Path;
use crate::plan::online::Online;
use crate::plan::options::{Candidate, Hybrid, Method, Physical};
use crate::plan::risk;
use crate::plan::sample::{Draw, Sampler};
use crate::plan::world::World;
use crate::units::Usd;

/// One way to split.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Split {
    /// Bytes on each device.
    pub(crate) loads: Vec<f64>,
    /// Bytes over the line.
    pub(crate) online: f64,
    /// Days for the line's part.
    pub(crate) online_days: f64,
    /// Days for the devices' part.
    pub(crate) device_days: f64,
    /// Cost of both.
    pub(crate) cost: Usd,
}

impl Split {
    /// When both parts are there.
    pub(crate) fn days(&self) -> f64 {
        self.online_days.max(self.device_days)
    }
}

/// What is to be split.
pub(crate) struct Problem<'a> {
    /// All bytes.
    pub(crate) bytes: f64,
    /// Bytes one device takes.
    pub(crate) usable: f64,
    /// Loads at which a device's fee steps up.
    pub(crate) tiers: &'a [f64],
    /// Days and cost of so many bytes over the line.
    pub(crate) online: &'a dyn Fn(f64) -> (f64, Usd),
    /// Days and cost of these loads by device.
    pub(crate) devices: &'a dyn Fn(&[f64]) -> (f64, Usd),
}

/// Device counts tried at most.
const DEVICES_TRIED: usize = 200;

impl Problem<'_> {
    fn split(&self, full: usize, last: f64) -> Split {
        let mut loads = vec![self.usable; full];
        if last > 0.0 {
            loads.push(last);
        }
        let online = (self.bytes - loads.iter().sum::<f64>()).max(0.0);
        let (online_days, online_cost) = if online > 0.0 { (self.online)(online) } else { (0.0, Usd::ZERO) };
        let (device_days, device_cost) = if loads.is_empty() { (0.0, Usd::ZERO) } else { (self.devices)(&loads) };
        Split { loads, online, online_days, device_days, cost: online_cost + device_cost }
    }

    /// Every split worth looking at: none, and for each count the last device full, at each tier boundary, holding just
    /// what is left, and loaded so that both parts end together.
    pub(crate) fn splits(&self) -> Vec<Split> {
        let mut splits = vec![self.split(0, 0.0)];
        let most = ((self.bytes / self.usable).ceil() as usize).min(DEVICES_TRIED);
        for count in 1..=most {
            let room = self.bytes - self.usable * (count - 1) as f64;
            let fullest = room.min(self.usable);
            splits.push(self.split(count - 1, fullest));
            for tier in self.tiers.iter().filter(|tier| **tier < fullest) {
                splits.push(self.split(count - 1, *tier));
            }
            splits.extend(self.balanced(count, fullest));
        }
        splits
    }

    /// The load of the last device at which line and devices end together, when there is one.
    fn balanced(&self, count: usize, fullest: f64) -> Option<Split> {
        let gap = |last: f64| {
            let split = self.split(count - 1, last);
            split.online_days - split.device_days
        };
        let (mut low, mut high) = (fullest * 1e-6, fullest);
        if gap(low) <= 0.0 || gap(high) >= 0.0 {
            return None;
        }
        for _ in 0..40 {
            let middle = (low + high) / 2.0;
            if gap(middle) > 0.0 { low = middle } else { high = middle }
        }
        Some(self.split(count - 1, high))
    }
}

/// The splits that no other beats in both time and cost, cheapest first.
#[cfg(test)]
pub(crate) fn pareto(mut splits: Vec<Split>) -> Vec<Split> {
    splits.retain(|split| split.days().is_finite());
    splits.sort_by(|a, b| a.cost.cmp(&b.cost).then(a.days().total_cmp(&b.days())));
    let mut best = f64::INFINITY;
    splits.retain(|split| {
        let better = split.days() < best - 1e-9;
        if better {
            best = split.days();
        }
        better
    });
    splits
}

/// Hybrids kept for the odds, at most, per physical option.
const KEPT: usize = 3;

/// Splits that are looked at in many worlds before that choice, at most, per physical option.
const TRIED: usize = 24;

/// Worlds for that look: enough to order splits by their 90th percentile.
const TRIAL_DRAWS: usize = 128;

/// By how much another split must be faster, at no higher price and at the median, before one is not looked at further:
/// so far may medians and 90th percentiles order splits differently.
const MARGIN: f64 = 0.9;

/// A split of one dataset between a line and a physical option.
struct Pair<'a> {
    line: &'a Candidate,
    online: &'a Online,
    split: Split,
}

/// The best splits between the lines there are or could be ordered and each physical option, as candidates of their own.
///
/// Every split is priced and timed at the median; what survives there is run in [`TRIAL_DRAWS`] worlds, and the Pareto set
/// over the 90th percentile of the finish and the mean cost is kept.
pub(crate) fn candidates(world: &World<'_>, options: &[Candidate]) -> Vec<Candidate> {
    let lines = lines(options);
    let sampler = Sampler::new(world.inputs.seed, TRIAL_DRAWS.min(world.inputs.draws));
    let mut found = Vec::new();
    for option in options {
        let (physical, usable, tiers) = match &option.method {
            Method::Shipped { shipped, .. } => {
                (Physical::Shipped(shipped.clone()), shipped.usable, shipped.tier_loads())
            }
            // One "device" of own drives is a tenth of the dataset: drives are small, and the split matters, not the drive.
            Method::Own(own) => (Physical::Own(own.clone()), world.bytes() / 10.0, Vec::new()),
            _ => continue,
        };
        if usable <= 0.0 || world.bytes() / usable > DEVICES_TRIED as f64 {
            continue;
        }
        let pairs = lines.iter().flat_map(|(line, online)| {
            let splits = median_splits(world, online, &physical, usable, &tiers);
            splits.into_iter().map(|split| Pair { line, online, split })
        });
        let made = near_pareto(pairs.collect()).into_iter().map(|pair| candidate(&pair, option, &physical));
        let mut made: Vec<Candidate> = made.collect();
        made.sort_by(|a, b| a.id.cmp(&b.id));
        made.dedup_by(|a, b| a.id == b.id);
        found.extend(best_by_odds(world, &sampler, made));
    }
    found
}

/// The internet line, a private line that exists, and every one that could be ordered: the lead time is the option's own.
fn lines(options: &[Candidate]) -> Vec<(&Candidate, &Online)> {
    let mut has_internet = false;
    let mut taken = Vec::new();
    for candidate in options {
        let Method::Online(online) = &candidate.method else { continue };
        let is_taken = match candidate.spec.path {
            Some(Path::PrivateLink | Path::ExistingDx) => true,
            // Services over the internet line share it: one of them is enough.
            _ => candidate.family == "internet" && !std::mem::replace(&mut has_internet, true),
        };
        if is_taken {
            taken.push((candidate, &**online));
        }
    }
    taken
}

/// Splits between one line and one physical option, each at its median.
fn median_splits(world: &World<'_>, online: &Online, physical: &Physical, usable: f64, tiers: &[f64]) -> Vec<Split> {
    let source = world.inputs.site.source_read;
    let left = source - online.mean_rate(world, Draw::MEDIAN).min(source / 2.0);
    let by_line = |bytes: f64| {
        let out = online.run(world, Draw::MEDIAN, bytes / world.bytes().max(1.0), None);
        (out.landed, out.cost)
    };
    let by_device = |loads: &[f64]| {
        let out = match physical {
            Physical::Shipped(shipped) => shipped.run(world, Draw::MEDIAN, loads, left, None),
            Physical::Own(own) => own.run(world, Draw::MEDIAN, loads.iter().sum(), left, None),
        };
        (out.landed, out.cost)
    };
    let problem = Problem { bytes: world.bytes(), usable, tiers, online: &by_line, devices: &by_device };
    let mut splits = problem.splits();
    splits.retain(|split| split.online > 0.0 && !split.loads.is_empty() && split.days().is_finite());
    splits
}

/// Pairs that no other beats clearly, the fastest [`TRIED`] of them.
fn near_pareto(mut pairs: Vec<Pair<'_>>) -> Vec<Pair<'_>> {
    pairs.sort_by(|a, b| a.split.cost.cmp(&b.split.cost).then(a.split.days().total_cmp(&b.split.days())));
    let mut best = f64::INFINITY;
    pairs.retain(|pair| {
        let days = pair.split.days();
        let is_near = days * MARGIN < best;
        best = best.min(days);
        is_near
    });
    pairs.sort_by(|a, b| a.split.days().total_cmp(&b.split.days()));
    pairs.truncate(TRIED);
    pairs
}

fn candidate(pair: &Pair<'_>, option: &Candidate, physical: &Physical) -> Candidate {
    let (line, split) = (pair.line, &pair.split);
    let online_tb = split.online / 1e12;
    let what = match (physical, split.loads.len()) {
        (Physical::Own(_), _) => option.name.clone(),
        (_, count) => format!("{count} x {}", option.name),
    };
    let by = if line.family == "internet" { "online".to_owned() } else { format!("by {}", line.name) };
    let hybrid =
        Hybrid { online: Box::new(pair.online.clone()), physical: physical.clone(), loads: split.loads.clone() };
    Candidate {
        id: format!("hybrid-{}-{}-{:.0}tb-online", line.id, option.id, online_tb),
        name: format!("{} {by} + {what}", crate::plan::world::size(online_tb.round() * 1e12)),
        family: format!("hybrid-{}", option.family),
        spec: option.spec.clone(),
        method: Method::Hybrid(Box::new(hybrid)),
    }
}

/// The Pareto set over the 90th percentile of the finish and the mean cost; of it the fastest, which are the ones that pay
/// for the trouble of doing two things at once.
fn best_by_odds(world: &World<'_>, sampler: &Sampler, made: Vec<Candidate>) -> Vec<Candidate> {
    let mut judged: Vec<(f64, Usd, Candidate)> = made
        .into_iter()
        .map(|candidate| {
            let samples = risk::run(&candidate, world, sampler);
            (samples.time().p90.get(), samples.expected_cost(), candidate)
        })
        .filter(|(p90, ..)| p90.is_finite())
        .collect();
    judged.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.total_cmp(&b.0)));
    let mut best = f64::INFINITY;
    judged.retain(|(p90, ..)| {
        let is_better = *p90 < best - 1e-9;
        best = best.min(*p90);
        is_better
    });
    let skip = judged.len().saturating_sub(KEPT);
    judged.into_iter().skip(skip).map(|(.., candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TB: f64 = 1e12;

    /// 500 TB; 6.48 TB a day online at 12.50 a TB; devices of 199.5 TB at 400 MB/s, one station, 8 days out, 3 back,
    /// 1 + bytes/(1 GB/s) of import, 3,200 each.
    fn splits() -> Vec<Split> {
        let online = |bytes: f64| (bytes / (6.48 * TB), Usd::from_f64(bytes / TB * 12.5));
        let devices = |loads: &[f64]| {
            let (mut filled, mut done) = (8.0_f64, 0.0_f64);
            for load in loads {
                filled += load / 400e6 / 86_400.0;
                done = done.max(filled + 3.0 + 1.0 + load / 1e9 / 86_400.0);
            }
            (done, Usd::dollars(3200).times(loads.len() as u64))
        };
        Problem { bytes: 500.0 * TB, usable: 199.5 * TB, tiers: &[100.0 * TB], online: &online, devices: &devices }
            .splits()
    }

    #[test]
    fn half_a_petabyte_is_fastest_on_two_devices_and_the_line() {
        let find = |online: f64, count: usize| {
            splits()
                .into_iter()
                .find(|s| s.loads.len() == count && (s.online / TB - online).abs() < 0.1)
                .expect("tried")
        };
        for (count, online, days, cost) in [
            (0, 500.0, 77.2, 6250),
            (1, 300.5, 46.4, 6956),
            (2, 101.0, 25.9, 7662),
            (2, 153.7, 23.7, 8321),
            (3, 0.0, 27.6, 9600),
        ] {
            let split = find(online, count);
            assert!((split.days() - days).abs() < 0.05, "{count} devices: {} days", split.days());
            assert!((split.cost.to_f64() - f64::from(cost)).abs() < 1.0, "{count} devices: {}", split.cost);
        }
    }

    #[test]
    fn the_pareto_set_drops_all_by_device() {
        let best = pareto(splits());
        assert!(best.iter().all(|s| s.loads.len() != 3));
        assert!((best.last().expect("some").days() - 23.7).abs() < 0.05);
        assert!(best.first().expect("some").loads.is_empty(), "the cheapest is the line alone");
    }

    #[test]
    fn no_split_is_worse_than_its_pure_ends() {
        let best = splits().iter().map(Split::days).fold(f64::INFINITY, f64::min);
        assert!(best <= 27.7, "all by device takes 27.6 days, all by line 77.2");
    }
}
