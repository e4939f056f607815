//! Several sites whose data goes to one place: each by itself, or gathered at a hub by line or by parcel.
//!
//! Owns: trying out plans of that shape, and the comparison of the best of them. A search over plans of this shape, not a
//! proof that no other is better, which the result says. Does not own the options' models. Invariants: what is relayed
//! leaves the hub only after it is there; sites have random numbers of their own, except the season, which parcels share.
//! Called by `report`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Serialize;

use crate::plan::files::copy_seconds;
use crate::plan::inputs::{Branch, Inputs};
use crate::plan::network::{FRAME_1500, Line, WeekProfile};
use crate::plan::options::{self, Candidate, Method};
use crate::plan::outcome::{Outcome, Stage};
use crate::plan::request::Prefer;
use crate::plan::risk::{Odds, Percentiles, Samples};
use crate::plan::sample::{Draw, Sampler, Var};
use crate::plan::world::World;
use crate::units::{BitsPerSecond, Days, Share, Usd};

/// The best plans for all sites together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SitesReport {
    /// How many plans were tried.
    pub tried: u64,
    /// Those that no other beats in both time and cost, best first.
    pub plans: Vec<SitesPlan>,
    /// The pick in two sentences.
    pub text: String,
    /// What kind of search it was.
    pub search: &'static str,
}

/// One plan for all sites.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SitesPlan {
    /// Where data is gathered, if anywhere.
    pub hub: Option<String>,
    /// What each site does, in order.
    pub legs: Vec<SiteLeg>,
    /// Percentiles of the day on which the last byte is there.
    pub time: Percentiles<Days>,
    /// The date of the 90th percentile.
    pub p90_date: Option<Date>,
    /// Percentiles of the cost of all.
    pub cost: Percentiles<Usd>,
    /// Mean cost.
    pub expected_cost: Usd,
    /// Odds of the deadline.
    pub deadline: Option<Odds>,
    /// Why it fails the question's terms; empty when it meets them.
    pub fails: Vec<String>,
}

/// What one site does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SiteLeg {
    /// The site.
    pub site: String,
    /// How its data goes.
    pub way: String,
}

const SEARCH: &str = "every plan in which each site goes by itself or through one hub was tried; others, such as two hubs or a split within a site, were not";

/// Ways of one site that are tried.
const WAYS_MAX: usize = 3;
/// Plans whose odds are computed.
const PLANS_MAX: usize = 8;
/// Draws for the odds of plans for several sites.
const DRAWS_MAX: usize = 1024;

/// How a site's data gets to the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relay {
    Line,
    Parcel,
}

/// What a site does in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// By one of its own ways; at the hub, with what the others bring.
    Own(usize),
    Relay(Relay),
}

#[derive(Debug, Clone)]
struct Shape {
    hub: Option<usize>,
    choices: Vec<Choice>,
}

struct Node<'a> {
    name: String,
    between: Option<f64>,
    world: World<'a>,
    ways: Vec<Candidate>,
    /// Drives by parcel, for a relay; without S3's requests, which the hub pays.
    parcel: Option<(Candidate, World<'a>)>,
    sampler: Sampler,
}

/// A hub's way for its own data and that of the sites in a set, ready to run.
type Merged<'a> = BTreeMap<(usize, usize, u32), Option<(Candidate, World<'a>)>>;

struct Search<'a> {
    nodes: Vec<Node<'a>>,
    merged: RefCell<Merged<'a>>,
}

/// Plans for all sites; nothing when there is one only.
pub(crate) fn plan(world: &World<'_>) -> Option<SitesReport> {
    let branches = &world.inputs.branches;
    if branches.is_empty() {
        return None;
    }
    let draws = world.inputs.draws.min(DRAWS_MAX);
    let main = world.inputs.name.clone().unwrap_or_else(|| "the main site".to_owned());
    let first = Branch { name: main, between: None, inputs: Inputs { branches: Vec::new(), ..world.inputs.clone() } };
    let all = std::iter::once(&first).chain(branches);
    let nodes: Vec<Node<'_>> = all.enumerate().map(|(index, branch)| node(world, index, branch, draws)).collect();
    if nodes.iter().any(|node| node.ways.is_empty()) {
        return None;
    }
    let search = Search { nodes, merged: RefCell::new(BTreeMap::new()) };
    let shapes = search.shapes();
    let tried = shapes.len() as u64;
    let medians: Vec<Draw<'_>> = search.nodes.iter().map(|_| Draw::MEDIAN).collect();
    let timed = shapes.into_iter().map(|shape| {
        let (days, cost) = search.run(&shape, &medians);
        (days, cost, shape)
    });
    let best = pareto(timed.collect());
    // Evenly from the cheapest to the fastest, when there are more than anybody reads.
    let step = best.len().div_ceil(PLANS_MAX).max(1);
    let kept = best.iter().enumerate().filter(|(index, _)| index % step == 0 || index + 1 == best.len());
    let mut plans: Vec<SitesPlan> =
        kept.map(|(_, shape)| shape).map(|shape| search.judge(world, shape, draws)).collect();
    sort(&mut plans, world.inputs.terms.prefer);
    let text = sentence(plans.first()?);
    Some(SitesReport { tried, plans, text, search: SEARCH })
}

fn node<'a>(main: &World<'a>, index: usize, branch: &Branch, draws: usize) -> Node<'a> {
    let world = World::new(main.catalogue, branch.inputs.clone());
    let (found, _) = options::compile(&world);
    let silent = {
        let mut inputs = world.inputs.clone();
        inputs.bill.put_per_1000 = None;
        World::new(main.catalogue, inputs)
    };
    let posted = found.iter().find(|c| c.id == "own-drives-posted").and_then(|c| c.rebuilt(&silent));
    let seed = main.inputs.seed.wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Node {
        name: branch.name.clone(),
        // The main site is at the others' line, whatever its rate: theirs is the narrower.
        between: if index == 0 { Some(f64::INFINITY) } else { branch.between },
        ways: ways(&world, found),
        parcel: posted.map(|candidate| (candidate, silent)),
        sampler: Sampler::new(seed, draws),
        world,
    }
}

/// The ways of a site that no other beats in both time and cost, spread from the cheapest to the fastest.
fn ways(world: &World<'_>, found: Vec<Candidate>) -> Vec<Candidate> {
    let usable = found.into_iter().filter(|c| !matches!(c.method, Method::Truck(_)));
    let timed: Vec<(f64, Usd, Candidate)> = usable
        .map(|c| {
            let out = c.run(world, Draw::MEDIAN, None);
            (out.finish, out.cost, c)
        })
        .collect();
    let mut best = pareto(timed);
    while best.len() > WAYS_MAX {
        best.remove(best.len() / 2);
    }
    best
}

/// What no other beats in both days and cost, cheapest first.
fn pareto<T>(mut all: Vec<(f64, Usd, T)>) -> Vec<T> {
    all.retain(|(days, _, _)| days.is_finite());
    all.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.total_cmp(&b.0)));
    let mut soonest = f64::INFINITY;
    all.retain(|(days, _, _)| {
        let better = *days < soonest - 1e-9;
        soonest = soonest.min(*days);
        better
    });
    all.into_iter().map(|(_, _, kept)| kept).collect()
}

impl Search<'_> {
    /// Every plan of the shape that is searched.
    fn shapes(&self) -> Vec<Shape> {
        let own = |index: usize| (0..self.nodes[index].ways.len()).map(Choice::Own);
        let mut shapes = Vec::new();
        for hub in std::iter::once(None).chain((0..self.nodes.len()).map(Some)) {
            let mut partial: Vec<Vec<Choice>> = vec![Vec::new()];
            for index in 0..self.nodes.len() {
                let mut choices: Vec<Choice> = own(index).collect();
                if let Some(hub) = hub.filter(|hub| *hub != index) {
                    if self.line_rate(index, hub).is_some() {
                        choices.push(Choice::Relay(Relay::Line));
                    }
                    if self.nodes[index].parcel.is_some() {
                        choices.push(Choice::Relay(Relay::Parcel));
                    }
                }
                partial = partial
                    .iter()
                    .flat_map(|so_far| {
                        choices.iter().map(|choice| so_far.iter().copied().chain([*choice]).collect::<Vec<_>>())
                    })
                    .collect();
            }
            // A hub to which nobody sends anything is no hub.
            let relays = |choices: &Vec<Choice>| choices.iter().any(|choice| matches!(choice, Choice::Relay(_)));
            shapes.extend(
                partial.into_iter().filter(|c| hub.is_none() || relays(c)).map(|choices| Shape { hub, choices }),
            );
        }
        shapes
    }

    /// Bytes per second of the narrower of two sites' lines to each other.
    fn line_rate(&self, from: usize, to: usize) -> Option<f64> {
        let rate = self.nodes[from].between?.min(self.nodes[to].between?);
        rate.is_finite().then_some(rate)
    }

    /// Days and cost of a plan in one world; each site has its draw.
    fn run(&self, shape: &Shape, draws: &[Draw<'_>]) -> (f64, Usd) {
        let (mut days, mut cost) = (0.0_f64, Usd::ZERO);
        let mut arrivals: Vec<(f64, usize)> = Vec::new();
        for (index, choice) in shape.choices.iter().enumerate() {
            let node = &self.nodes[index];
            match choice {
                Choice::Own(way) if shape.hub != Some(index) => {
                    let out = node.ways[*way].run(&node.world, draws[index], None);
                    days = days.max(out.finish);
                    cost += out.cost;
                }
                Choice::Own(_) => {}
                Choice::Relay(relay) => {
                    let (arrives, paid) = self.relay(index, shape.hub.unwrap_or(0), *relay, draws[index]);
                    arrivals.push((arrives, index));
                    cost += paid;
                }
            }
        }
        if let (Some(hub), Some(Choice::Own(way))) = (shape.hub, shape.hub.map(|hub| shape.choices[hub])) {
            let (last, paid) = self.gathered(hub, way, arrivals, draws[hub]);
            days = days.max(last);
            cost += paid;
        }
        (days, cost)
    }

    /// When a site's data is at the hub, and what bringing it costs.
    fn relay(&self, from: usize, hub: usize, relay: Relay, draw: Draw<'_>) -> (f64, Usd) {
        let node = &self.nodes[from];
        let world = &node.world;
        match (relay, &node.parcel) {
            (Relay::Parcel, Some((candidate, silent))) => {
                let out = candidate.run(silent, draw, None);
                (out.landed - out.stages[Stage::Ingest as usize], out.cost)
            }
            (Relay::Parcel, None) => (f64::INFINITY, Usd::ZERO),
            (Relay::Line, _) => {
                let bytes_per_s = self.line_rate(from, hub).unwrap_or(0.0);
                let line = Line {
                    rate: BitsPerSecond::new((bytes_per_s * 8.0) as u64),
                    profile: WeekProfile::constant(Share::ALL, Share::ZERO),
                    frame: Share::new(FRAME_1500),
                    tcp: None,
                    measured: None,
                };
                let rate = line.payload(1.0, world.link_factor(draw, &line)).min(world.inputs.site.source_read);
                let (seconds, _) = copy_seconds(&world.inputs.buckets, rate, &world.file_costs(draw, &line));
                (world.assume.prepare.quantile(draw.u(Var::Prepare)) + seconds / 86_400.0, Usd::ZERO)
            }
        }
    }

    /// The hub sends its own data at once and the rest as it arrives: for each arrival, that moment and what is sent
    /// from then on; the latest of these is the end.
    fn gathered(&self, hub: usize, way: usize, mut arrivals: Vec<(f64, usize)>, draw: Draw<'_>) -> (f64, Usd) {
        arrivals.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut set = 0_u32;
        let mut end = 0.0_f64;
        for (arrives, index) in arrivals {
            set |= 1 << index;
            let out = self.hub_run(hub, way, set, false, draw);
            let fixed = out.stages[Stage::Lead as usize] + out.stages[Stage::Prepare as usize];
            end = end.max(arrives + (out.landed - fixed).max(0.0));
        }
        let all = self.hub_run(hub, way, set, true, draw);
        (end.max(all.landed) + (all.finish - all.landed).max(0.0), all.cost)
    }

    /// The hub's way with the data of the sites in a set, and its own when `with_own`.
    fn hub_run(&self, hub: usize, way: usize, set: u32, with_own: bool, draw: Draw<'_>) -> Outcome {
        let key = (hub, way, if with_own { set | 1 << 31 } else { set });
        let mut merged = self.merged.borrow_mut();
        let ready = merged.entry(key).or_insert_with(|| {
            let node = &self.nodes[hub];
            let mut inputs = node.world.inputs.clone();
            if !with_own {
                (inputs.bytes, inputs.files, inputs.buckets) = (0, 0, Vec::new());
            }
            for other in self.nodes.iter().enumerate().filter(|(index, _)| set & (1 << index) != 0).map(|(_, n)| n) {
                let theirs = &other.world.inputs;
                inputs.bytes = inputs.bytes.saturating_add(theirs.bytes);
                inputs.files = inputs.files.saturating_add(theirs.files);
                inputs.largest = inputs.largest.max(theirs.largest);
                inputs.buckets.extend(&theirs.buckets);
                inputs.change.rewrite_per_day += theirs.change.rewrite_per_day;
                inputs.change.growth_per_day += theirs.change.growth_per_day;
            }
            let world = World::new(node.world.catalogue, inputs);
            node.ways[way].rebuilt(&world).map(|candidate| (candidate, world))
        });
        match ready {
            Some((candidate, world)) => candidate.run(world, draw, None),
            None => Outcome { landed: f64::INFINITY, finish: f64::INFINITY, ..Outcome::new() },
        }
    }

    /// A plan in all worlds.
    fn judge(&self, world: &World<'_>, shape: &Shape, draws: usize) -> SitesPlan {
        let outcomes = (0..draws).map(|index| {
            let season = self.nodes[0].sampler.draw(index).u(Var::Season);
            let draws: Vec<Draw<'_>> =
                self.nodes.iter().map(|node| node.sampler.draw(index).with(Var::Season, season)).collect();
            self.run(shape, &draws)
        });
        let (finish, cost): (Vec<f64>, Vec<Usd>) = outcomes.unzip();
        let samples = Samples::of(finish, cost);
        let (time, money, terms) = (samples.time(), samples.money(), &world.inputs.terms);
        let deadline = terms.deadline_days.map(|days| samples.by(days));
        let mut fails = Vec::new();
        if let Some(odds) = deadline.filter(|odds| odds.share < terms.confidence) {
            fails.push(format!("in time: {odds}, asked for {:.0} %", terms.confidence * 100.0));
        }
        if let Some(budget) = terms.budget.filter(|budget| money.p90 > *budget) {
            fails.push(format!("P90 cost {} is over the budget of {}", money.p90.short(), budget.short()));
        }
        SitesPlan {
            hub: shape.hub.map(|hub| self.nodes[hub].name.clone()),
            legs: self.legs(shape),
            p90_date: world.calendar.date(time.p90),
            time,
            cost: money,
            expected_cost: samples.expected_cost(),
            deadline,
            fails,
        }
    }

    fn legs(&self, shape: &Shape) -> Vec<SiteLeg> {
        let way = |index: usize, choice: &Choice| match choice {
            Choice::Own(way) if shape.hub == Some(index) => {
                format!("{}, with what the others bring", self.nodes[index].ways[*way].name)
            }
            Choice::Own(way) => self.nodes[index].ways[*way].name.clone(),
            Choice::Relay(relay) => {
                let hub = shape.hub.map_or("", |hub| self.nodes[hub].name.as_str());
                match relay {
                    Relay::Line => format!("over the line to {hub}"),
                    Relay::Parcel => format!("on drives by parcel to {hub}"),
                }
            }
        };
        let legs = shape.choices.iter().enumerate();
        legs.map(|(index, choice)| SiteLeg { site: self.nodes[index].name.clone(), way: way(index, choice) }).collect()
    }
}

/// The same rules as for one site: what meets the terms first, then cost (within 5 % the earlier P90), or time.
fn sort(plans: &mut [SitesPlan], prefer: Prefer) {
    let odds = |p: &SitesPlan| p.deadline.map_or(0.0, |odds| odds.share);
    plans.sort_by(|a, b| {
        a.fails.len().cmp(&b.fails.len()).then_with(|| match prefer {
            Prefer::Cost => a.expected_cost.cmp(&b.expected_cost).then(a.time.p90.get().total_cmp(&b.time.p90.get())),
            Prefer::Time => a.time.p90.get().total_cmp(&b.time.p90.get()).then(a.expected_cost.cmp(&b.expected_cost)),
            Prefer::Risk => odds(b).total_cmp(&odds(a)).then(a.time.p90.get().total_cmp(&b.time.p90.get())),
        })
    });
    let Some(first) = plans.first().filter(|_| prefer == Prefer::Cost) else { return };
    let (fails, limit) = (first.fails.len(), first.expected_cost.to_f64() * 1.05);
    let tied = plans.iter().take_while(|p| p.fails.len() == fails && p.expected_cost.to_f64() <= limit).count();
    plans[..tied].sort_by(|a, b| a.time.p90.get().total_cmp(&b.time.p90.get()));
}

fn sentence(best: &SitesPlan) -> String {
    let legs: Vec<String> = best.legs.iter().map(|leg| format!("{}: {}", leg.site, leg.way)).collect();
    let when = best.p90_date.map_or_else(
        || "never".to_owned(),
        |date| format!("by {date} with 90 % confidence ({} from the start)", best.time.p90),
    );
    let lead =
        if best.fails.is_empty() { "For all sites together" } else { "Nothing meets the terms for all sites; nearest" };
    format!("{lead}: {}. Everything is there {when}, for about {}.", legs.join("; "), best.expected_cost.short())
}
