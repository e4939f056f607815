//! What holds the run up right now: the source, the processors, or which drive.

use std::time::Duration;

use crate::stage::engine::Engine;
use crate::sys::process;

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// Share of the time a drive's writer must be at work for the drive to be what everything waits for, in percent.
const DRIVE_PERCENT: u64 = 85;
/// Share of the processors' time that means they are what everything waits for, in percent.
const CPU_PERCENT: u64 = 85;

/// What everything else waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bottleneck {
    /// Reading at the source, or the ceiling that the user set on it.
    Source,
    /// Compression, digests and encryption.
    Cpu,
    /// Writing to that volume.
    Volume(u32),
}

/// Measures of the last stretch.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    at: Duration,
    at_work: u64,
    all: u64,
}

impl Engine<'_> {
    /// Tells what the bottleneck is, twice a second.
    pub(super) fn look_around(&mut self) {
        let now = self.rack.world.clock.monotonic();
        let stretch = now.saturating_sub(self.gauge.at);
        if stretch < EVERY {
            return;
        }
        let (at_work, all) = process::machine_time().unwrap_or_default();
        let before = std::mem::replace(&mut self.gauge, Gauge { at: now, at_work, all });
        if before.all == 0 {
            return; // the first look only begins the first stretch
        }
        let (used, ticks) = (at_work.saturating_sub(before.at_work), all.saturating_sub(before.all));
        let lanes = self.shared.lanes.all();
        let busy = lanes.iter().filter(|lane| !lane.is_out()).map(|lane| (lane.busy_percent(), lane.number()));
        // Of the whole machine: what others use is not free for compression either.
        let share = (used * 100).checked_div(ticks).unwrap_or(100);
        lanes.iter().for_each(|lane| lane.heard_of_cpu(share));
        self.shared.monitor.bottleneck(judge(busy.max(), share));
    }
}

/// The busiest drive with its share of time at work, and the share of the processors in use.
fn judge(drive: Option<(u64, u32)>, cpu_percent: u64) -> Bottleneck {
    match drive {
        Some((busy, volume)) if busy >= DRIVE_PERCENT => Bottleneck::Volume(volume),
        _ if cpu_percent >= CPU_PERCENT => Bottleneck::Cpu,
        _ => Bottleneck::Source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_drive_comes_before_busy_processors_and_neither_means_the_source() {
        assert_eq!(judge(Some((97, 2)), 99), Bottleneck::Volume(2));
        assert_eq!(judge(Some((40, 2)), 99), Bottleneck::Cpu);
        assert_eq!(judge(Some((40, 2)), 30), Bottleneck::Source);
        assert_eq!(judge(None, 0), Bottleneck::Source);
    }
}
