//! Options by a provider's device: ordered, sent, filled, sent back, imported; in waves when one may hold few at once.
//!
//! Owns: their journey and bill. Does not own the event simulation (`waves`). Invariant: billed days are those the
//! simulation produced, so a slow copy costs money. Called by `options` and `hybrid`.

use crate::plan::catalogue::OptionSpec;
use crate::plan::files::{Binding, copy_seconds};
use crate::plan::outcome::{MaybeTrace, Outcome, Stage, charge, explain, lane};
use crate::plan::sample::{Draw, Var};
use crate::plan::waves::{self, Inbound, Journey, Limits, Outbound, Trip};
use crate::plan::world::{CatchUpWay, World, rate, size};
use crate::units::{Days, Usd};

/// A shipped-device option, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Shipped {
    spec: OptionSpec,
    /// Bytes one device takes.
    pub(crate) usable: f64,
    quota: usize,
    /// Limits that turned out best for the loads of the whole dataset, at the medians.
    used: Option<(usize, usize)>,
}

struct Route<'w, 'd> {
    world: &'w World<'w>,
    draw: Draw<'d>,
    transit: f64,
}

impl Route<'_, '_> {
    /// One leg: service days, and with some chance days late; a bad season makes lateness likelier for all parcels.
    fn leg(&self, from: f64, var: Var, device: usize) -> f64 {
        let assume = &self.world.assume;
        let late_chance = ((1.0 - assume.on_time) * 2.0 * self.draw.u(Var::Season)).clamp(0.0, 1.0);
        let u = self.draw.u_of(var, device);
        let late = if u > 1.0 - late_chance {
            assume.transit_late.quantile((u - (1.0 - late_chance)) / late_chance)
        } else {
            0.0
        };
        self.world.calendar.add(Days::new(from), Days::new(self.transit + late)).get()
    }
}

impl Journey for Route<'_, '_> {
    fn arrives(&self, device: usize, time: f64) -> Outbound {
        let assume = &self.world.assume;
        let prepared = time
            + assume.device_prep.quantile(self.draw.u_of(Var::DevicePrep, device))
            + assume.device_stuck.quantile(self.draw.u_of(Var::DeviceStuck, device));
        Outbound { prepared, arrived: self.leg(prepared, Var::TransitOut, device) }
    }

    fn returns(&self, device: usize, time: f64) -> Inbound {
        let assume = &self.world.assume;
        let packing = assume.pickup.quantile(self.draw.u_of(Var::Pickup, device));
        let packed = self.world.calendar.add(Days::new(time), Days::new(packing));
        let picked_up = self.world.calendar.next_pickup(packed, assume.cutoff_hour).get();
        let returned = self.leg(picked_up, Var::TransitBack, device);
        let received = returned + assume.receive.quantile(self.draw.u_of(Var::Receive, device));
        Inbound { picked_up, returned, received }
    }

    fn fails(&self, device: usize) -> bool {
        self.draw.u_of(Var::Failure, device) > 1.0 - self.world.assume.device_failure
    }
}

impl Shipped {
    /// The option for these inputs.
    pub(crate) fn new(world: &World<'_>, spec: &OptionSpec) -> Self {
        let usable = spec.number("capacity").unwrap_or(0.0) * 1e12 * world.assume.fill_limit;
        let quota = spec.number("quota").unwrap_or(1.0).max(1.0) as usize;
        let quota = world.inputs.site.devices.unwrap_or(quota);
        let mut shipped = Self { spec: spec.clone(), usable, quota, used: None };
        let loads = shipped.loads(world.bytes());
        if !loads.is_empty() && loads.len() <= 64 {
            let route = shipped.route(world, Draw::MEDIAN);
            let limits = shipped.limits(world, Draw::MEDIAN, &loads, world.inputs.site.source_read);
            let best = waves::best_use(&loads, limits, &route, 0.0);
            shipped.used = Some((best.slots, best.stations));
        }
        shipped
    }

    /// How many devices a load needs.
    pub(crate) fn count(&self, bytes: f64) -> usize {
        if self.usable > 0.0 { (bytes / self.usable).ceil() as usize } else { usize::MAX }
    }

    /// Full devices, and the rest on the last one.
    pub(crate) fn loads(&self, bytes: f64) -> Vec<f64> {
        let count = self.count(bytes);
        if count == 0 || count > waves::DEVICES_MAX {
            return Vec::new();
        }
        let mut loads = vec![self.usable; count - 1];
        loads.push(bytes - self.usable * (count - 1) as f64);
        loads
    }

    /// Loads at which the fee steps up: as much as one tier allows.
    pub(crate) fn tier_loads(&self) -> Vec<f64> {
        let tiers = self.spec.tiers.iter().filter_map(|tier| tier.upto_tb.parse::<f64>().ok());
        tiers.map(|tb| tb * 1e12).filter(|bytes| *bytes < self.usable).collect()
    }

    fn route<'w, 'd>(&self, world: &'w World<'w>, draw: Draw<'d>) -> Route<'w, 'd> {
        Route { world, draw, transit: self.spec.number("transit").unwrap_or(2.0) }
    }

    /// Rate into one device in this draw: what it writes, the building's network, and files per second.
    fn device_rate(&self, world: &World<'_>, draw: Draw<'_>) -> f64 {
        let factor = world.assume.fill_rate.quantile(draw.u(Var::FillRate));
        let nominal = self.spec.number("fill_rate").unwrap_or(0.0) * 1e6;
        let raw = (nominal * factor).min(world.inputs.site.lan);
        let mut costs = world.read_costs(draw);
        if !self.batched(world) {
            costs.per_file_s = world.assume.device_file_cost.quantile(draw.u(Var::DeviceFileCost));
        }
        let (seconds, _) = copy_seconds(&world.inputs.buckets, raw, &costs);
        if seconds > 0.0 && world.inputs.bytes > 0 { world.bytes() / seconds } else { raw }
    }

    /// Small files are packed into archives, which the provider opens again.
    fn batched(&self, world: &World<'_>) -> bool {
        let small = self.spec.number("small_file").unwrap_or(0.0) * 1e6;
        world.bytes() / (world.inputs.files.max(1) as f64) < small
    }

    fn limits(&self, world: &World<'_>, draw: Draw<'_>, loads: &[f64], source: f64) -> Limits {
        let ingest = self.spec.number("ingest_rate").unwrap_or(1000.0) * 1e6 * 86_400.0;
        let (slots, stations) = self.used.unwrap_or((self.quota, world.inputs.site.stations));
        Limits {
            slots: slots.min(loads.len().max(1)),
            stations: stations.min(loads.len().max(1)),
            device_per_day: self.device_rate(world, draw) * 86_400.0,
            source_per_day: source * 86_400.0,
            ingest_per_day: ingest,
        }
    }

    /// One world with these loads, from a source that gives `source` bytes per second to the devices.
    pub(crate) fn run(
        &self,
        world: &World<'_>,
        draw: Draw<'_>,
        loads: &[f64],
        source: f64,
        mut trace: MaybeTrace<'_>,
    ) -> Outcome {
        let mut out = Outcome::new();
        let prepare = world.assume.prepare.quantile(draw.u(Var::Prepare));
        let limits = self.limits(world, draw, loads, source);
        let trips = waves::simulate(loads, limits, &self.route(world, draw), 0.0);
        out.landed = waves::makespan(&trips).max(prepare);
        if let Some(last) = trips.iter().max_by(|a, b| a.landed.total_cmp(&b.landed)) {
            record_path(&mut out, &trips, last);
        }
        out.binding = if limits.device_per_day * limits.stations as f64 > limits.source_per_day {
            Binding::Source
        } else if out.stages[Stage::Fill as usize] * 2.0 > out.landed {
            Binding::Device
        } else if loads.len() > 1 && out.stages[Stage::WaitForDevice as usize] * 2.0 > out.landed {
            Binding::Devices
        } else {
            Binding::Lead
        };
        self.draw_lanes(&mut trace, &trips);
        self.explain_waves(world, loads, &limits, &trips, &mut trace);
        // The snapshot is what the first device's fill began with.
        let snapshot = trips.iter().map(|trip| trip.fill_start).fold(f64::INFINITY, f64::min);
        let snapshot = snapshot.min(out.landed);
        world.finish(&mut out, &mut trace, draw, CatchUpWay { snapshot, line: None });
        self.bill(world, &mut out, &mut trace, &trips, loads.iter().sum::<f64>() / world.bytes().max(1.0));
        out
    }

    fn draw_lanes(&self, trace: &mut MaybeTrace<'_>, trips: &[Trip]) {
        if trace.is_none() {
            return;
        }
        let last = waves::makespan(trips);
        for (index, trip) in trips.iter().enumerate() {
            let stages = [
                (Stage::WaitForDevice, trip.ordered),
                (Stage::DevicePrep, trip.prepared),
                (Stage::TransitOut, trip.arrived),
                (Stage::WaitForStation, trip.fill_start),
                (Stage::Fill, trip.fill_end),
                (Stage::Pickup, trip.picked_up),
                (Stage::TransitBack, trip.returned),
                (Stage::Receive, trip.received),
                (Stage::Ingest, trip.landed),
            ];
            lane(trace, &format!("device {}", index + 1), trip.landed >= last, 0.0, &stages);
        }
        if let Some(trace) = trace.as_deref_mut() {
            trace.devices = trips.len();
            trace.curve = landings(trips);
        }
    }

    fn explain_waves(
        &self,
        world: &World<'_>,
        loads: &[f64],
        limits: &Limits,
        trips: &[Trip],
        trace: &mut MaybeTrace<'_>,
    ) {
        if trace.is_none() {
            return;
        }
        explain(trace, "devices", || {
            format!(
                "{} / ({} TB * {:.2} filled) = {} device(s); {} held at once, {} filled at once (of at most {} and {})",
                size(loads.iter().sum()),
                self.spec.number("capacity").unwrap_or(0.0),
                world.assume.fill_limit,
                loads.len(),
                limits.slots,
                limits.stations,
                self.quota,
                world.inputs.site.stations
            )
        });
        explain(trace, "filling", || {
            format!(
                "min(device {} nominal * P50 factor {:.2}, building {}, files{}) = {} into each; source {} for all",
                rate(self.spec.number("fill_rate").unwrap_or(0.0) * 1e6),
                world.assume.fill_rate.median(),
                rate(world.inputs.site.lan),
                if self.batched(world) { " batched into archives" } else { "" },
                rate(limits.device_per_day / 86_400.0),
                rate(limits.source_per_day / 86_400.0)
            )
        });
        if let Some(first) = trips.first() {
            explain(trace, "first device", || {
                format!(
                    "prepared {} + parcel {} + fill {} + pickup {} + parcel back {} + queue {} + import {} = {}",
                    Days::new(first.prepared - first.ordered),
                    Days::new(first.arrived - first.prepared),
                    Days::new(first.fill_end - first.fill_start),
                    Days::new(first.picked_up - first.fill_end),
                    Days::new(first.returned - first.picked_up),
                    Days::new(first.received - first.returned),
                    Days::new(first.landed - first.received),
                    Days::new(first.landed - first.ordered)
                )
            });
            if loads.len() > 1 {
                explain(trace, "waves", || self.regime(world, loads, limits, first));
            }
        }
    }

    /// Which resource paces the waves, the closed-form bound, and how many devices at once would still help.
    fn regime(&self, world: &World<'_>, loads: &[f64], limits: &Limits, first: &Trip) -> String {
        let cycle = first.returned - first.ordered;
        let paces = [
            (limits.slots as f64 / cycle, "devices held at once"),
            (limits.stations as f64 * limits.device_per_day / self.usable, "filling stations"),
            (limits.source_per_day / self.usable, "reading the source"),
        ];
        let (pace, name) = paces.iter().copied().fold((f64::INFINITY, ""), |a, b| if b.0 < a.0 { b } else { a });
        let bound = (first.landed - first.ordered) + (loads.len() as f64 - 1.0) / pace;
        let route = self.route(world, Draw::MEDIAN);
        let ends = |slots: usize| waves::makespan(&waves::simulate(loads, Limits { slots, ..*limits }, &route, 0.0));
        let most = loads.len().min(64);
        let best = (1..=most).map(ends).fold(f64::INFINITY, f64::min);
        let enough = (1..=most).find(|slots| ends(*slots) <= best + 1e-6).unwrap_or(most);
        format!(
            "paced by {name}: {pace:.3} devices/day; first device + (n - 1) / pace = about {}; beyond {enough} device(s) at once nothing improves ({})",
            Days::new(bound),
            Days::new(best)
        )
    }

    fn bill(&self, world: &World<'_>, out: &mut Outcome, trace: &mut MaybeTrace<'_>, trips: &[Trip], share: f64) {
        let spec = &self.spec;
        if !out.landed.is_finite() {
            return;
        }
        world.charge_requests(out, trace, share);
        let included = spec.number("included_days").unwrap_or(f64::MAX) as u64;
        let (mut fees, mut extra_days) = (Usd::ZERO, 0_u64);
        for trip in trips {
            fees += self.fee(trip.bytes);
            extra_days += trip.billed_days().saturating_sub(included);
        }
        charge(out, trace, "device fees", fees, || {
            let each: Vec<String> =
                trips.iter().take(8).map(|t| format!("{} ({})", self.fee(t.bytes), size(t.bytes))).collect();
            format!("{}{}", each.join(" + "), if trips.len() > 8 { " + ..." } else { "" })
        });
        let daily = spec.usd("extra_day");
        charge(out, trace, "days beyond the included", daily.times(extra_days), || {
            format!("{extra_days} days on site beyond {included} * {daily} (arrival and pickup days are free)")
        });
        let shipping = spec.usd("shipping_each_way");
        let legs = 2 * trips.len() as u64;
        charge(out, trace, "shipping", shipping.times(legs), || format!("{legs} parcels * {shipping}"));
        world.charge_people(out, trace, trips.len() as u64, 0);
    }

    /// The fee of one job by its load.
    fn fee(&self, bytes: f64) -> Usd {
        let fits = |upto: &str| upto.parse::<f64>().is_ok_and(|tb| bytes <= tb * 1e12 * (1.0 + 1e-9));
        let tier = self.spec.tiers.iter().find(|tier| fits(&tier.upto_tb)).or(self.spec.tiers.last());
        tier.map_or(Usd::ZERO, |tier| tier.fee.usd())
    }
}

/// The stages of the device that landed last. A repeated device also pays for the one that failed before it.
fn record_path(out: &mut Outcome, trips: &[Trip], last: &Trip) {
    let resent = trips.iter().any(|trip| trip.failed)
        && last.ordered > 0.0
        && trips.iter().any(|t| t.failed && t.landed <= last.ordered);
    out.spend(if resent { Stage::Resend } else { Stage::WaitForDevice }, last.ordered);
    out.spend(Stage::DevicePrep, last.prepared - last.ordered);
    out.spend(Stage::TransitOut, last.arrived - last.prepared);
    out.spend(Stage::WaitForStation, last.fill_start - last.arrived);
    out.spend(Stage::Fill, last.fill_end - last.fill_start);
    out.spend(Stage::Pickup, last.picked_up - last.fill_end);
    out.spend(Stage::TransitBack, last.returned - last.picked_up);
    out.spend(Stage::Receive, last.received - last.returned);
    out.spend(Stage::Ingest, last.landed - last.received);
}

/// Bytes landed by day: each device's import is a slope.
fn landings(trips: &[Trip]) -> Vec<(f64, f64)> {
    let mut good: Vec<&Trip> = trips.iter().filter(|trip| !trip.failed && trip.landed.is_finite()).collect();
    good.sort_by(|a, b| a.landed.total_cmp(&b.landed));
    let (mut curve, mut sum) = (Vec::new(), 0.0);
    for trip in good {
        let from = curve.last().map_or(trip.received, |(day, _): &(f64, f64)| trip.received.max(*day));
        curve.push((from, sum));
        sum += trip.bytes;
        curve.push((trip.landed, sum));
    }
    curve
}
