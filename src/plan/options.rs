//! Options made ready to run: one per catalogue entry that can be had, and the hybrids found between them.
//!
//! Owns: which model runs an option. Invariant: the single estimate and every draw go through the same `run`. Called by
//! `risk`, `sensitivity`, `hybrid` and `report`.

use crate::plan::catalogue::{Kind, OptionSpec};
use crate::plan::eligible::{self, Reason};
use crate::plan::online::Online;
use crate::plan::outcome::{MaybeTrace, Outcome, Trace};
use crate::plan::own::{OwnDrives, Truck};
use crate::plan::sample::Draw;
use crate::plan::shipped::Shipped;
use crate::plan::world::World;

/// How an option is run.
#[derive(Debug, Clone)]
pub(crate) enum Method {
    Online(Box<Online>),
    Shipped { shipped: Box<Shipped>, loads: Vec<f64> },
    Own(Box<OwnDrives>),
    Truck(Box<Truck>),
    Hybrid(Box<Hybrid>),
}

/// The physical part of a hybrid.
#[derive(Debug, Clone)]
pub(crate) enum Physical {
    Shipped(Box<Shipped>),
    Own(Box<OwnDrives>),
}

/// Part over a line, part by devices, at the same time.
#[derive(Debug, Clone)]
pub(crate) struct Hybrid {
    pub(crate) online: Box<Online>,
    pub(crate) physical: Physical,
    pub(crate) loads: Vec<f64>,
}

/// An option that can be had.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) family: String,
    pub(crate) spec: OptionSpec,
    pub(crate) method: Method,
}

/// An option that cannot be had, with the reason.
#[derive(Debug, Clone)]
pub(crate) struct Excluded {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) family: String,
    pub(crate) reason: Reason,
}

impl Candidate {
    /// One world.
    pub(crate) fn run(&self, world: &World<'_>, draw: Draw<'_>, trace: MaybeTrace<'_>) -> Outcome {
        let source = world.inputs.site.source_read;
        match &self.method {
            Method::Online(online) => online.run(world, draw, 1.0, trace),
            Method::Shipped { shipped, loads } => shipped.run(world, draw, loads, source, trace),
            Method::Own(own) => own.run(world, draw, world.bytes(), source, trace),
            Method::Truck(truck) => truck.run(world, draw, trace),
            Method::Hybrid(hybrid) => hybrid.run(world, draw, trace),
        }
    }

    /// The same option for another world; a hybrid keeps its split.
    pub(crate) fn rebuilt(&self, world: &World<'_>) -> Option<Self> {
        if matches!(self.method, Method::Hybrid(_)) {
            return Some(self.clone());
        }
        let method = method(world, &self.spec)?;
        Some(Self { method, ..self.clone() })
    }

    /// The single estimate with every step.
    pub(crate) fn estimate(&self, world: &World<'_>) -> (Outcome, Trace) {
        let mut trace = Trace::default();
        let outcome = self.run(world, Draw::MEDIAN, Some(&mut trace));
        (outcome, trace)
    }
}

impl Hybrid {
    fn run(&self, world: &World<'_>, draw: Draw<'_>, trace: MaybeTrace<'_>) -> Outcome {
        let carried: f64 = self.loads.iter().sum();
        let rest = (world.bytes() - carried).max(0.0);
        let left = self.source_left(world, draw);
        let mut lines = trace.is_some().then(Trace::default);
        let mut parcels = trace.is_some().then(Trace::default);
        let net = self.online.run(world, draw, rest / world.bytes().max(1.0), lines.as_mut());
        let devices = match &self.physical {
            Physical::Shipped(shipped) => shipped.run(world, draw, &self.loads, left, parcels.as_mut()),
            Physical::Own(own) => own.run(world, draw, carried, left, parcels.as_mut()),
        };
        let slower = if net.landed > devices.landed { net } else { devices };
        let mut out = slower;
        out.landed = net.landed.max(devices.landed);
        out.finish = net.finish.max(devices.finish);
        out.cost = net.cost + devices.cost;
        if let (Some(trace), Some(lines), Some(parcels)) = (trace, lines, parcels) {
            join(trace, lines, parcels, net.landed > devices.landed);
        }
        out
    }

    /// What the source still gives to devices while the line reads from it, too.
    fn source_left(&self, world: &World<'_>, draw: Draw<'_>) -> f64 {
        let source = world.inputs.site.source_read;
        source - self.online.mean_rate(world, draw).min(source / 2.0)
    }
}

/// Both halves in one record; rows of the half that ends earlier are not critical.
fn join(trace: &mut Trace, lines: Trace, parcels: Trace, line_last: bool) {
    let mark = |lanes: Vec<super::outcome::Lane>, last: bool| {
        lanes.into_iter().map(move |lane| super::outcome::Lane { critical: lane.critical && last, ..lane })
    };
    trace.lanes.extend(mark(lines.lanes, line_last));
    trace.lanes.extend(mark(parcels.lanes, !line_last));
    for (half, part) in [("by line: ", lines.costs), ("by device: ", parcels.costs)] {
        trace.costs.extend(
            part.into_iter().map(|line| super::outcome::CostLine { item: format!("{half}{}", line.item), ..line }),
        );
    }
    for (half, part) in [("by line: ", lines.formulas), ("by device: ", parcels.formulas)] {
        trace
            .formulas
            .extend(part.into_iter().map(|f| super::outcome::Formula { what: format!("{half}{}", f.what), ..f }));
    }
    trace.curve = sum_curves(&lines.curve, &parcels.curve);
    trace.left_on_per_month = lines.left_on_per_month;
    trace.notes = parcels.notes;
    trace.devices = parcels.devices;
    let later = if line_last { (lines.catch_up, lines.verdict) } else { (parcels.catch_up, parcels.verdict) };
    (trace.catch_up, trace.verdict) = later;
}

/// Bytes on a curve at a day, straight between its points.
pub(crate) fn landed_by(curve: &[(f64, f64)], day: f64) -> f64 {
    let mut before = (0.0, 0.0);
    for point in curve {
        if point.0 > day {
            let width = point.0 - before.0;
            return if width > 0.0 { before.1 + (point.1 - before.1) * (day - before.0) / width } else { before.1 };
        }
        before = *point;
    }
    before.1
}

fn sum_curves(a: &[(f64, f64)], b: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut days: Vec<f64> = a.iter().chain(b).map(|point| point.0).filter(|day| day.is_finite()).collect();
    days.sort_by(f64::total_cmp);
    days.dedup();
    days.into_iter().map(|day| (day, landed_by(a, day) + landed_by(b, day))).collect()
}

/// Every catalogue entry as a candidate or an exclusion, in catalogue order.
pub(crate) fn compile(world: &World<'_>) -> (Vec<Candidate>, Vec<Excluded>) {
    let (mut candidates, mut excluded) = (Vec::new(), Vec::new());
    for spec in &world.catalogue.options {
        let made = eligible::plannable(spec, &world.inputs).and_then(|()| {
            method(world, spec).ok_or_else(|| Reason {
                text: "it lacks a line or figures".to_owned(),
                source: None,
                remedy: None,
            })
        });
        let (id, name, family) = (spec.id.clone(), spec.name.clone(), spec.family.clone());
        match made {
            Ok(method) => candidates.push(Candidate { id, name, family, spec: spec.clone(), method }),
            Err(reason) => excluded.push(Excluded { id, name, family, reason }),
        }
    }
    (candidates, excluded)
}

pub(crate) fn method(world: &World<'_>, spec: &OptionSpec) -> Option<Method> {
    Some(match spec.kind {
        Kind::Online => Method::Online(Box::new(Online::new(world, spec)?)),
        Kind::ShippedDevice => {
            let shipped = Shipped::new(world, spec);
            let loads = shipped.loads(world.bytes());
            if loads.is_empty() {
                return None;
            }
            Method::Shipped { shipped: Box::new(shipped), loads }
        }
        Kind::Terminal | Kind::OwnDrives => Method::Own(Box::new(OwnDrives::new(world, spec)?)),
        Kind::Truck => Method::Truck(Box::new(Truck::new(spec))),
    })
}
