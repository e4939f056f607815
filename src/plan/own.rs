//! Options by own drives: bought, filled, read back, and posted, driven or carried to where bandwidth is; and the truck.
//!
//! Owns: their stages, losses and bill. Does not own odds (`drives`). Invariant: a drive lost beyond the parity is filled
//! and carried again, in time and money. Called by `options` and `hybrid`.

use crate::plan::catalogue::{Kind, OptionSpec};
use crate::plan::dist::Dist;
use crate::plan::drives;
use crate::plan::files::{Binding, copy_seconds};
use crate::plan::network::FRAME_1500;
use crate::plan::outcome::{MaybeTrace, Outcome, Stage, charge, explain, lane};
use crate::plan::sample::{Draw, Var};
use crate::plan::world::{CatchUpWay, World, rate, size};
use crate::units::{Days, Share, Usd};

/// An own-drive option, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct OwnDrives {
    spec: OptionSpec,
    /// Figures of the drives, from the option itself or from the driven one.
    drive: OptionSpec,
    lead: Dist,
    travel: Dist,
}

/// The drives for a load.
#[derive(Debug, Clone, Copy)]
struct Set {
    data: u64,
    parity: u64,
}

impl OwnDrives {
    /// The option for these inputs. A terminal takes its drive figures from the option that drives them elsewhere.
    pub(crate) fn new(world: &World<'_>, spec: &OptionSpec) -> Option<Self> {
        let drive = if spec.kind == Kind::Terminal { world.catalogue.option("own-drives-driven")? } else { spec };
        let lead = drive.figures.get("lead").map_or_else(|| Dist::constant(0.0), Dist::of);
        let travel = match spec.figures.get("travel") {
            Some(figure) => Dist::of(figure),
            None => world.assume.terminal_travel.clone(),
        };
        Some(Self { spec: spec.clone(), drive: drive.clone(), lead, travel })
    }

    fn number(&self, name: &str) -> f64 {
        self.spec.number(name).or_else(|| self.drive.number(name)).unwrap_or(0.0)
    }

    fn set(&self, world: &World<'_>, bytes: f64) -> Set {
        let usable = self.number("drive_capacity") * 1e12 * world.assume.fill_limit;
        let data = (bytes * world.inputs.compressed / usable.max(1.0)).ceil() as u64;
        Set { data, parity: drives::parity_for(data, world.assume.drive_loss, world.assume.loss_risk) }
    }

    /// Bytes per second onto or off the drives that sit in the bays.
    fn bay_rate(&self, world: &World<'_>, draw: Draw<'_>) -> f64 {
        let each = world.inputs.site.drive_rate.unwrap_or_else(|| self.number("drive_rate") * 1e6);
        let bays = world.inputs.site.bays.unwrap_or_else(|| self.number("bays"));
        let factor = if world.inputs.site.drive_rate.is_some() {
            1.0
        } else {
            world.assume.fill_rate.quantile(draw.u(Var::FillRate))
        };
        each * bays * factor
    }

    /// Bytes per second of source data at the far site.
    fn far_rate(&self, world: &World<'_>, draw: Draw<'_>, bays: f64) -> f64 {
        let plain = bays / world.inputs.compressed;
        if self.spec.kind == Kind::Terminal {
            return plain.min(self.number("client_rate") * 1e6).min(self.number("line") * 1e9 / 8.0 * FRAME_1500);
        }
        let line = world.inputs.site.far_line.unwrap_or_else(|| self.number("far_line") * 1e9 / 8.0);
        plain.min(line * FRAME_1500 * world.assume.link_rate.quantile(draw.u(Var::LinkRate)))
    }

    /// One world. `bytes` of the dataset go this way, from a source that gives `source` bytes per second.
    pub(crate) fn run(
        &self,
        world: &World<'_>,
        draw: Draw<'_>,
        bytes: f64,
        source: f64,
        mut trace: MaybeTrace<'_>,
    ) -> Outcome {
        let mut out = Outcome::new();
        let share = bytes / world.bytes().max(1.0);
        let set = self.set(world, bytes);
        let all = set.data + set.parity;
        let bays = self.bay_rate(world, draw);
        let costs = world.read_costs(draw);
        let (read_seconds, _) = copy_seconds(&world.inputs.buckets, source.min(bays / world.inputs.compressed), &costs);
        let overhead = all as f64 / set.data.max(1) as f64;
        // What is on drives already is neither filled nor bought again.
        let open = 1.0 - world.inputs.staged;
        let fill = read_seconds * share * overhead * open / 86_400.0;
        let read_back = bytes * world.inputs.compressed * overhead * open / bays / 86_400.0;
        let to_buy = ((all as f64 * open).ceil() as u64).saturating_sub(world.inputs.site.drives_owned);
        let lead = if to_buy > 0 { self.lead.quantile(draw.u(Var::DriveLead)) } else { 0.0 };
        let begin = lead.max(world.assume.prepare.quantile(draw.u(Var::Prepare)));
        let filled = begin + fill + read_back;
        let (arrived, trips) = self.carried(world, draw, filled, all);
        let rate_far = self.far_rate(world, draw, bays);
        let mut booked = arrived;
        let (ingest, port_hours) = self.ingest_days(world, bytes, rate_far);
        if self.spec.kind == Kind::Terminal {
            booked = arrived.max(begin + world.assume.booking.quantile(draw.u(Var::Booking)));
        }
        out.landed = booked + ingest;
        let lost = drives::lost_at(all, world.assume.drive_loss, draw.u(Var::DriveLoss));
        if lost > set.parity {
            let part = lost as f64 / all.max(1) as f64;
            let again = (fill + read_back) * part + (arrived - filled) + ingest * part;
            out.spend(Stage::Resend, again);
            out.landed += again;
        }
        let stages = [
            (Stage::Lead, begin),
            (Stage::Fill, fill),
            (Stage::ReadBack, read_back),
            (Stage::Travel, arrived - filled),
            (Stage::Booking, booked - arrived),
            (Stage::Ingest, ingest),
        ];
        stages.iter().for_each(|(stage, days)| out.spend(*stage, *days));
        out.binding = binding(&out, source * world.inputs.compressed < bays);
        let ends = [
            (Stage::Lead, begin),
            (Stage::Fill, begin + fill),
            (Stage::ReadBack, filled),
            (Stage::Travel, arrived),
            (Stage::Booking, booked),
            (Stage::Ingest, booked + ingest),
            (Stage::Resend, out.landed),
        ];
        lane(&mut trace, "drives", true, 0.0, &ends);
        if let Some(trace) = trace.as_deref_mut() {
            trace.curve = vec![(booked, 0.0), (out.landed, bytes)];
            trace.devices = usize::try_from(all).unwrap_or(usize::MAX);
        }
        self.explain_all(world, &mut trace, set, bytes, &[source, bays, rate_far, fill, read_back, ingest]);
        world.finish(&mut out, &mut trace, draw, CatchUpWay { snapshot: begin, line: None });
        self.bill(world, &mut out, &mut trace, share, &Bill { to_buy, all, trips, port_hours });
        out
    }

    /// When the drives are there, and how many trips or parcels that takes.
    fn carried(&self, world: &World<'_>, draw: Draw<'_>, filled: f64, drives: u64) -> (f64, u64) {
        if let Some(transit) = self.spec.number("transit") {
            let parcels = drives.div_ceil(self.number("per_parcel").max(1.0) as u64);
            let pickup = world.calendar.next_pickup(Days::new(filled), world.assume.cutoff_hour);
            let u = draw.u(Var::TransitOut);
            // With many parcels the last one decides: the worst of n is at u^(1/n).
            let worst = crate::plan::math::pow(u, 1.0 / parcels.max(1) as f64);
            let chance = ((1.0 - world.assume.on_time) * 2.0 * draw.u(Var::Season)).clamp(1e-9, 1.0);
            let late = if worst > 1.0 - chance {
                world.assume.transit_late.quantile((worst - (1.0 - chance)) / chance)
            } else {
                0.0
            };
            return (world.calendar.add(pickup, Days::new(transit + late)).get(), parcels);
        }
        let trips = drives.div_ceil(self.drive.number("carry").unwrap_or(50.0).max(1.0) as u64).max(1);
        let once = self.travel.quantile(draw.u(Var::Travel));
        (filled + once * (2 * trips - 1) as f64, trips)
    }

    /// Days of the import, and booked port-hours at a terminal: whole hours of slots with a break between them.
    fn ingest_days(&self, world: &World<'_>, bytes: f64, rate: f64) -> (f64, u64) {
        if bytes <= 0.0 {
            return (0.0, 0);
        }
        let hours = bytes / rate / 3600.0;
        if self.spec.kind != Kind::Terminal || !hours.is_finite() {
            let files = world.inputs.files as f64 * (bytes / world.bytes().max(1.0));
            let requests = files / world.put_limit() / 3600.0;
            return (hours.max(requests) / 24.0, 0);
        }
        let setup = self.number("slot_setup");
        let slots = slot_count(hours, self.number("slot"), setup);
        let per_day = self.number("slots_per_day").max(1.0);
        let last = hours - (slots - 1.0) * (self.number("slot") - setup) + setup;
        let whole_days = ((slots - 1.0) / per_day).floor();
        let within = (slots - 1.0) - whole_days * per_day;
        let days = whole_days + (within * (self.number("slot") + self.number("slot_gap")) + last) / 24.0;
        (days, ((slots - 1.0) * self.number("slot") + last.ceil()) as u64)
    }

    fn explain_all(&self, world: &World<'_>, trace: &mut MaybeTrace<'_>, set: Set, bytes: f64, n: &[f64; 6]) {
        let [source, bays, far, fill, read_back, ingest] = *n;
        explain(trace, "drives", || {
            let odds = drives::survives(set.data + set.parity, set.parity, Share::new(world.assume.drive_loss));
            format!(
                "{} * {:.2} stored / ({} TB * {:.2}) = {} drives + {} parity; all data arrives with {:.2} % when each drive is lost with {:.1} %",
                size(bytes),
                world.inputs.compressed,
                self.number("drive_capacity"),
                world.assume.fill_limit,
                set.data,
                set.parity,
                odds.get() * 100.0,
                world.assume.drive_loss * 100.0
            )
        });
        explain(trace, "filling", || {
            format!(
                "min(source {}, bays {}) = fill {}, then read back {}",
                rate(source),
                rate(bays),
                Days::new(fill),
                Days::new(read_back)
            )
        });
        explain(trace, "import", || format!("{} at {} = {}", size(bytes), rate(far), Days::new(ingest)));
        if let Some(trace) = trace.as_deref_mut() {
            trace.notes.push("the source copy must survive until the import report".to_owned());
        }
    }

    fn bill(&self, world: &World<'_>, out: &mut Outcome, trace: &mut MaybeTrace<'_>, share: f64, bill: &Bill) {
        if !out.landed.is_finite() {
            return;
        }
        world.charge_requests(out, trace, share);
        let each = Usd::from_f64(self.number("drive_capacity"))
            .times_ratio(self.drive.usd("drive_price").micros().unsigned_abs(), 1_000_000);
        charge(out, trace, "drives", each.times(bill.to_buy), || {
            format!(
                "{} drives * {} TB * {} USD/TB (not resold)",
                bill.to_buy,
                self.number("drive_capacity"),
                self.drive.usd("drive_price")
            )
        });
        let shipping = self.spec.usd("shipping_each_way");
        charge(out, trace, "parcels", shipping.times(2 * bill.trips), || {
            format!("{} parcels of {} drives, there and back * {shipping}", bill.trips, bill.all)
        });
        let trip = self.drive.usd("trip_cost");
        if self.spec.number("transit").is_none() {
            charge(out, trace, "trips", trip.times(bill.trips), || format!("{} trip(s) * {trip}", bill.trips));
        }
        let route = if world.inputs.who.area == "eu" { "port_hour_na_eu" } else { "port_hour" };
        let port = self.spec.usd(route);
        charge(out, trace, "port hours", port.times(bill.port_hours), || {
            format!("1 port * {} h booked * {port}", bill.port_hours)
        });
        world.charge_people(out, trace, 0, bill.all);
    }
}

struct Bill {
    to_buy: u64,
    all: u64,
    trips: u64,
    port_hours: u64,
}

fn binding(out: &Outcome, source_bound: bool) -> Binding {
    match out.longest() {
        Stage::Fill if source_bound => Binding::Source,
        Stage::Fill | Stage::ReadBack => Binding::Device,
        Stage::Ingest => Binding::Link,
        _ => Binding::Lead,
    }
}

/// Booked slots for so many hours of transfer, each slot losing its set-up.
fn slot_count(hours: f64, slot: f64, setup: f64) -> f64 {
    (hours / (slot - setup).max(1e-9)).ceil().max(1.0)
}

/// Reservations of `slot` needed to move a size at a rate when nothing is lost between them.
pub fn terminal_slots(size: crate::units::Bytes, rate: crate::units::BytesPerSecond, slot: crate::units::Span) -> u64 {
    slot_count(size.get() as f64 / rate.get() / 3600.0, slot.secs() as f64 / 3600.0, 0.0) as u64
}

/// A provider's truck, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Truck {
    spec: OptionSpec,
    lead: Dist,
    transit: Dist,
}

impl Truck {
    pub(crate) fn new(spec: &OptionSpec) -> Self {
        let dist = |name: &str| spec.figures.get(name).map_or_else(|| Dist::constant(0.0), Dist::of);
        Self { spec: spec.clone(), lead: dist("lead"), transit: dist("transit") }
    }

    /// One world: trucks fill side by side from one source, drive, and import.
    pub(crate) fn run(&self, world: &World<'_>, draw: Draw<'_>, mut trace: MaybeTrace<'_>) -> Outcome {
        let mut out = Outcome::new();
        let number = |name: &str| self.spec.number(name).unwrap_or(1.0);
        let trucks = (world.bytes() / (number("capacity") * 1e12)).ceil().max(1.0);
        let at_once = trucks.min(number("trucks").max(1.0));
        let lead = self.lead.quantile(draw.u(Var::LineLead));
        let transit = self.transit.quantile(draw.u(Var::Travel));
        let factor = world.assume.fill_rate.quantile(draw.u(Var::FillRate));
        let port = number("line") * 1e9 / 8.0 * factor * at_once;
        let filling = world.inputs.site.source_read.min(port);
        let fill = world.bytes() / filling / 86_400.0;
        let rounds = (trucks / at_once).ceil();
        let back = transit * 2.0 * (rounds - 1.0);
        let ingest = world.bytes() / rounds / (number("ingest_rate") * 1e6 * at_once) / 86_400.0;
        out.landed = lead + fill + back + transit + ingest;
        for (stage, days) in
            [(Stage::Lead, lead), (Stage::Fill, fill), (Stage::Travel, transit + back), (Stage::Ingest, ingest)]
        {
            out.spend(stage, days);
        }
        out.binding = binding(&out, world.inputs.site.source_read < port);
        let ends = [
            (Stage::Lead, lead),
            (Stage::Fill, lead + fill),
            (Stage::Travel, lead + fill + back + transit),
            (Stage::Ingest, out.landed),
        ];
        lane(&mut trace, &format!("{trucks} truck(s)"), true, 0.0, &ends);
        explain(&mut trace, "trucks", || {
            format!(
                "{} / {} TB = {trucks} truck(s), {at_once} at once; min(source {}, trucks {}) fills in {}",
                size(world.bytes()),
                number("capacity"),
                rate(world.inputs.site.source_read),
                rate(port),
                Days::new(fill)
            )
        });
        if let Some(trace) = trace.as_deref_mut() {
            trace.curve = vec![(lead + fill + transit, 0.0), (out.landed, world.bytes())];
            trace.devices = trucks as usize;
        }
        world.finish(&mut out, &mut trace, draw, CatchUpWay { snapshot: lead, line: None });
        world.charge_requests(&mut out, &mut trace, 1.0);
        let months = ((out.landed - lead) / 30.0).max(0.0);
        let price = self.spec.usd("per_gb_month");
        if months.is_finite() {
            let gigabytes = (trucks * number("capacity") * 1e3) as u64;
            let amount = price.times(gigabytes).times_ratio((months * 1000.0).ceil() as u64, 1000);
            charge(&mut out, &mut trace, "capacity rented", amount, || {
                format!("{gigabytes} GB * {months:.2} months * {} USD", self.spec.usd("per_gb_month").to_f64())
            });
            world.charge_people(&mut out, &mut trace, trucks as u64, 0);
        }
        out
    }
}
