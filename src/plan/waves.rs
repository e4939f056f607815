//! Devices that come in waves: slots, stations and a shared source, simulated event by event.
//!
//! Owns: the order of events and who waits for whom. Does not own durations (a `Journey` gives them) or prices.
//! Invariants: orders go out by device number, ties break by number, so the result is deterministic; the fills that run
//! at one moment never take more than the source gives; a device lost is ordered again. Called by the device options.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

/// Devices beyond which the model refuses: orders of that size are not made one by one.
pub(crate) const DEVICES_MAX: usize = 10_000;

/// Times of the stages that do not compete for anything, in days since the start.
pub(crate) trait Journey {
    /// When a device ordered at `time` is ready to be filled, and the parts (prepared, in transit).
    fn arrives(&self, device: usize, time: f64) -> Outbound;
    /// When a device filled at `time` is collected, back, and received for import.
    fn returns(&self, device: usize, time: f64) -> Inbound;
    /// Whether this device turns out dead, rejected or short.
    fn fails(&self, device: usize) -> bool;
}

/// The way to the site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outbound {
    /// Handed to the carrier.
    pub(crate) prepared: f64,
    /// On site.
    pub(crate) arrived: f64,
}

/// The way back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inbound {
    /// Collected on site.
    pub(crate) picked_up: f64,
    /// Back at the provider; its slot is free.
    pub(crate) returned: f64,
    /// Import begins.
    pub(crate) received: f64,
}

/// What competes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Devices one may hold at once.
    pub(crate) slots: usize,
    /// Devices that can be filled at once.
    pub(crate) stations: usize,
    /// Bytes per day into one device.
    pub(crate) device_per_day: f64,
    /// Bytes per day out of the source, all fills together.
    pub(crate) source_per_day: f64,
    /// Bytes per day of the import of one device.
    pub(crate) ingest_per_day: f64,
}

/// One device's life.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trip {
    pub(crate) bytes: f64,
    pub(crate) ordered: f64,
    pub(crate) prepared: f64,
    pub(crate) arrived: f64,
    pub(crate) fill_start: f64,
    pub(crate) fill_end: f64,
    pub(crate) picked_up: f64,
    pub(crate) returned: f64,
    pub(crate) received: f64,
    pub(crate) landed: f64,
    /// Dead, rejected or short: its bytes went again with another.
    pub(crate) failed: bool,
}

impl Trip {
    /// Whole days on site that the provider counts: from the day after arrival to the day before pickup.
    pub(crate) fn billed_days(&self) -> u64 {
        let days = self.picked_up.floor() - self.arrived.floor() - 1.0;
        if days.is_finite() && days > 0.0 { days as u64 } else { 0 }
    }
}

#[derive(Debug, PartialEq)]
struct Event {
    time: f64,
    device: usize,
    /// Arrived on site, else its slot is free.
    arrival: bool,
}

impl Eq for Event {}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        self.time.total_cmp(&other.time).then(self.device.cmp(&other.device)).then(self.arrival.cmp(&other.arrival))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

struct Simulation<'a, J> {
    journey: &'a J,
    limits: Limits,
    trips: Vec<Trip>,
    to_order: VecDeque<usize>,
    waiting: VecDeque<usize>,
    /// Devices being filled, with the bytes still to come.
    filling: Vec<(usize, f64)>,
    events: BinaryHeap<Reverse<Event>>,
    held: usize,
    /// Attempts allowed in all, so that a model of certain failure ends.
    attempts_max: usize,
}

/// Runs all devices with these loads in bytes; the result has one trip per device and per repeated device.
pub(crate) fn simulate<J: Journey>(loads: &[f64], limits: Limits, journey: &J, start: f64) -> Vec<Trip> {
    let mut run = Simulation {
        journey,
        limits,
        trips: loads.iter().map(|bytes| Trip { bytes: *bytes, ..Trip::default() }).collect(),
        to_order: (0..loads.len()).collect(),
        waiting: VecDeque::new(),
        filling: Vec::new(),
        events: BinaryHeap::new(),
        held: 0,
        attempts_max: loads.len() * 8 + 8,
    };
    let mut now = start;
    loop {
        run.order(now);
        run.start_fills(now);
        match run.step(now) {
            Some(next) => now = next,
            None => return run.trips,
        }
    }
}

impl<J: Journey> Simulation<'_, J> {
    fn order(&mut self, now: f64) {
        while self.held < self.limits.slots.max(1) {
            let Some(device) = self.to_order.pop_front() else { return };
            self.held += 1;
            let out = self.journey.arrives(device, now);
            let trip = &mut self.trips[device];
            (trip.ordered, trip.prepared, trip.arrived) = (now, out.prepared, out.arrived);
            self.events.push(Reverse(Event { time: out.arrived, device, arrival: true }));
        }
    }

    fn start_fills(&mut self, now: f64) {
        while self.filling.len() < self.limits.stations.max(1) {
            let Some(device) = self.waiting.pop_front() else { return };
            self.trips[device].fill_start = now;
            self.filling.push((device, self.trips[device].bytes));
        }
    }

    /// Bytes per day into each device being filled: the source is shared evenly.
    fn fill_rate(&self) -> f64 {
        let share = self.limits.source_per_day / self.filling.len().max(1) as f64;
        self.limits.device_per_day.min(share)
    }

    /// Advances to the next event and returns its time; `None` when nothing is left to happen.
    fn step(&mut self, now: f64) -> Option<f64> {
        let rate = self.fill_rate();
        let least = self.filling.iter().map(|(_, left)| *left).fold(f64::INFINITY, f64::min);
        let fill_end = if self.filling.is_empty() { f64::INFINITY } else { now + least / rate };
        let event = self.events.peek().map_or(f64::INFINITY, |Reverse(event)| event.time);
        if fill_end.is_infinite() && event.is_infinite() {
            return self.give_up();
        }
        if fill_end <= event {
            for (_, left) in &mut self.filling {
                *left -= least;
            }
            self.finish_fills(fill_end);
            return Some(fill_end);
        }
        for (_, left) in &mut self.filling {
            *left -= rate * (event - now);
        }
        if let Some(Reverse(event)) = self.events.pop() {
            if event.arrival {
                self.waiting.push_back(event.device);
            } else {
                self.held -= 1;
                self.reorder_if_failed(event.device);
            }
        }
        Some(event.max(now))
    }

    fn finish_fills(&mut self, now: f64) {
        let mut index = 0;
        while index < self.filling.len() {
            // WHY: a hundredth of a byte is rounding, not data.
            if self.filling[index].1 > 0.01 {
                index += 1;
                continue;
            }
            let (device, _) = self.filling.remove(index);
            let back = self.journey.returns(device, now);
            let failed = self.journey.fails(device);
            let trip = &mut self.trips[device];
            trip.fill_end = now;
            (trip.picked_up, trip.returned, trip.received) = (back.picked_up, back.returned, back.received);
            trip.landed = back.received + trip.bytes / self.limits.ingest_per_day;
            trip.failed = failed;
            // A failure is known when the import fails, and only then is another ordered.
            let free = if failed { trip.landed } else { back.returned };
            self.events.push(Reverse(Event { time: free, device, arrival: false }));
        }
    }

    fn reorder_if_failed(&mut self, device: usize) {
        if self.trips[device].failed && self.trips.len() < self.attempts_max {
            let bytes = self.trips[device].bytes;
            self.to_order.push_back(self.trips.len());
            self.trips.push(Trip { bytes, ..Trip::default() });
        }
    }

    /// Nothing can happen any more: what is unfinished never lands.
    fn give_up(&mut self) -> Option<f64> {
        for (device, _) in self.filling.drain(..) {
            self.trips[device].landed = f64::INFINITY;
        }
        for device in self.waiting.drain(..).chain(self.to_order.drain(..)) {
            self.trips[device].landed = f64::INFINITY;
        }
        None
    }
}

/// The limits that end soonest among all that use no more slots and stations than `limits` has. Using everything is not
/// always best: fills that share the source evenly all end late, and so do the devices that wait for their slots.
pub(crate) fn best_use<J: Journey>(loads: &[f64], limits: Limits, journey: &J, start: f64) -> Limits {
    let most = loads.len().clamp(1, CONCURRENT_MAX);
    let (mut best, mut soonest) = (limits, f64::INFINITY);
    for slots in 1..=limits.slots.clamp(1, most) {
        for stations in 1..=limits.stations.clamp(1, slots) {
            let candidate = Limits { slots, stations, ..limits };
            let ends = makespan(&simulate(loads, candidate, journey, start));
            if ends < soonest - 1e-9 {
                (best, soonest) = (candidate, ends);
            }
        }
    }
    best
}

/// Most devices at once for which every number is tried.
const CONCURRENT_MAX: usize = 24;

/// When the last device lands.
pub(crate) fn makespan(trips: &[Trip]) -> f64 {
    trips.iter().map(|trip| trip.landed).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Fixed times: `out` to arrive, `back` to return, `wait` before import; devices in `bad` fail.
    struct Fixed {
        out: f64,
        back: f64,
        wait: f64,
        bad: Vec<usize>,
    }

    impl Journey for Fixed {
        fn arrives(&self, _: usize, time: f64) -> Outbound {
            Outbound { prepared: time + self.out / 2.0, arrived: time + self.out }
        }
        fn returns(&self, _: usize, time: f64) -> Inbound {
            Inbound { picked_up: time, returned: time + self.back, received: time + self.back + self.wait }
        }
        fn fails(&self, device: usize) -> bool {
            self.bad.contains(&device)
        }
    }

    const ROUTE: Fixed = Fixed { out: 8.0, back: 3.0, wait: 1.0, bad: Vec::new() };

    fn limits(slots: usize, stations: usize) -> Limits {
        Limits { slots, stations, device_per_day: 10.0, source_per_day: 20.0, ingest_per_day: 50.0 }
    }

    #[test]
    fn one_slot_runs_devices_one_after_the_other() {
        let trips = simulate(&[50.0, 50.0], limits(1, 1), &ROUTE, 0.0);
        // 8 out + 5 fill + 3 back = 16 per device; the second lands at 32 + 1 + 1.
        assert!((makespan(&trips) - 34.0).abs() < 1e-9);
    }

    #[test]
    fn four_fills_share_the_source() {
        let trips = simulate(&[50.0; 4], limits(4, 4), &ROUTE, 0.0);
        // 20 a day for four: 5 each, so 10 days.
        assert!((trips[0].fill_end - trips[0].fill_start - 10.0).abs() < 1e-9);
    }

    #[test]
    fn a_failed_device_goes_again() {
        let route = Fixed { bad: vec![0], ..ROUTE };
        let trips = simulate(&[50.0], limits(1, 1), &route, 0.0);
        assert_eq!(trips.len(), 2);
        assert!((trips[1].landed - 2.0 * trips[0].landed).abs() < 1e-9);
    }

    #[test]
    fn a_source_that_gives_nothing_never_ends() {
        let dead = Limits { source_per_day: 0.0, ..limits(2, 2) };
        assert!(makespan(&simulate(&[1.0, 1.0, 1.0], dead, &ROUTE, 0.0)).is_infinite());
    }

    #[test]
    fn days_on_site_exclude_arrival_and_pickup() {
        let trip = Trip { arrived: 10.9, picked_up: 30.1, ..Trip::default() };
        assert_eq!(trip.billed_days(), 19);
        assert_eq!(Trip { arrived: 3.1, picked_up: 3.9, ..Trip::default() }.billed_days(), 0);
    }

    proptest! {
        #[test]
        fn more_slots_or_stations_never_take_longer(n in 1_usize..12, slots in 1_usize..6, stations in 1_usize..6) {
            let loads = vec![37.0; n];
            let ends = |limits| {
                let limits = best_use(&loads, limits, &ROUTE, 0.0);
                makespan(&simulate(&loads, limits, &ROUTE, 0.0))
            };
            let base = ends(limits(slots, stations));
            prop_assert!(ends(limits(slots + 1, stations)) <= base + 1e-9);
            prop_assert!(ends(limits(slots, stations + 1)) <= base + 1e-9);
        }

        #[test]
        fn fills_never_exceed_the_source(n in 1_usize..12, slots in 1_usize..6, stations in 1_usize..6) {
            let trips = simulate(&vec![37.0; n], limits(slots, stations), &ROUTE, 0.0);
            let first = trips.iter().map(|t| t.fill_start).fold(f64::INFINITY, f64::min);
            let last = trips.iter().map(|t| t.fill_end).fold(0.0, f64::max);
            prop_assert!(37.0 * n as f64 <= 20.0 * (last - first) + 1e-6);
            // The closed-form bound: nobody beats the first cycle plus the slowest resource.
            let cycle = 8.0 + 3.7 + 3.0;
            let rate = (slots as f64 / cycle).min(20.0 / 37.0).min(stations as f64 / 3.7);
            prop_assert!(makespan(&trips) + 1e-6 >= 8.0 + 3.7 + 4.0 + 37.0 / 50.0 + (n as f64 - 1.0) / rate - cycle);
        }
    }
}
