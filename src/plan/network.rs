//! What a line carries: hour-of-week calendar, frames, TCP, and the time a transfer takes over it.
//!
//! Owns: rates and times of a line. Does not own file costs (`files`) or prices. Invariants: rates are bytes per second,
//! times are days; a line that carries nothing gives "never", not an error and not a NaN. Called by the planner and by
//! the tests that compare it with published figures.

use crate::units::{BitsPerSecond, Bytes, BytesPerSecond, Days, Share};

/// Hours of a week, Monday 00:00 first.
pub(crate) const WEEK_HOURS: usize = 168;

/// Payload share of an Ethernet frame with 1500-byte packets: 1460 of 1538 bytes on the wire (preamble, gap, headers).
pub const FRAME_1500: f64 = 1460.0 / 1538.0;
/// The same for 9000-byte packets: 8960 of 9038 bytes.
pub const FRAME_9000: f64 = 8960.0 / 9038.0;

/// What limits TCP on a path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tcp {
    /// Parallel connections.
    pub streams: u32,
    /// Window of one connection in bytes; infinite when unknown.
    pub window_bytes: f64,
    /// Round trip in seconds.
    pub rtt_s: f64,
    /// Share of packets lost.
    pub loss: f64,
    /// Payload of one packet in bytes.
    pub mss_bytes: f64,
    /// The constant of Mathis's formula: 1 by default, 0.93 to 1.22 in the literature.
    pub mathis: f64,
}

impl Tcp {
    /// One connection's bytes per second with a window: `window / rtt`.
    pub fn window_rate(&self) -> BytesPerSecond {
        let rate = if self.rtt_s > 0.0 { self.window_bytes / self.rtt_s } else { f64::MAX };
        BytesPerSecond::new(rate.min(f64::MAX))
    }

    /// One connection's bytes per second under loss (Mathis et al. 1997): `C * mss / (rtt * sqrt(loss))`.
    pub fn loss_rate(&self) -> BytesPerSecond {
        let divisor = self.rtt_s * self.loss.sqrt();
        let rate = if divisor > 0.0 { self.mathis * self.mss_bytes / divisor } else { f64::MAX };
        BytesPerSecond::new(rate.min(f64::MAX))
    }

    /// All connections together.
    pub fn rate(&self) -> BytesPerSecond {
        let one = self.window_rate().get().min(self.loss_rate().get());
        BytesPerSecond::new((f64::from(self.streams) * one).min(f64::MAX))
    }
}

/// Bytes in flight that fill a path: rate times round trip.
pub fn bandwidth_delay(rate: BitsPerSecond, rtt: Days) -> Bytes {
    // WHY: float-to-int casts saturate, and no path holds 2^64 bytes.
    Bytes::new((rate.to_bytes().get() * rtt.secs()).round() as u64)
}

/// The division everybody makes: bytes over the usable rate, for so many hours a day.
pub fn sustained(size: Bytes, rate: BytesPerSecond, hours_per_day: f64) -> Days {
    let per_day = rate.get() * 3600.0 * hours_per_day;
    if size == Bytes::ZERO { Days::ZERO } else { Days::new(size.get() as f64 / per_day) }
}

/// What of a line may be used in each hour of the week, 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct WeekProfile {
    /// Availability by hour, Monday 00:00 first.
    hours: Vec<f64>,
    /// The distinct availabilities, so that rates are computed once for each.
    levels: Vec<f64>,
    /// Index into `levels` by hour.
    level_of: Vec<u8>,
}

impl WeekProfile {
    /// The same all week: the smaller of what we may use and what others leave.
    pub fn constant(share: Share, busy: Share) -> Self {
        Self::from_hours(vec![share.get().min(1.0 - busy.get()).max(0.0); WEEK_HOURS])
    }

    /// Hour by hour; a short list is filled up with its last value.
    pub(crate) fn from_hours(mut hours: Vec<f64>) -> Self {
        let last = hours.last().copied().unwrap_or(0.0);
        hours.resize(WEEK_HOURS, last);
        let mut levels: Vec<f64> = Vec::new();
        let mut level_of = Vec::with_capacity(WEEK_HOURS);
        for hour in &hours {
            let level = levels.iter().position(|level| level == hour).unwrap_or_else(|| {
                levels.push(*hour);
                levels.len() - 1
            });
            level_of.push(u8::try_from(level).unwrap_or(u8::MAX));
        }
        Self { hours, levels, level_of }
    }

    /// Reads rules such as `mon-fri 08-18 30%`; hours that no rule names keep `otherwise`.
    ///
    /// # Errors
    /// A sentence that names the rule and its right form.
    pub fn parse(rules: &[String], otherwise: Share) -> Result<Self, String> {
        const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let mut hours = vec![otherwise.get(); WEEK_HOURS];
        for rule in rules {
            let wrong = || format!("'{rule}' is no hour rule: write it like 'mon-fri 08-18 30%'");
            let parts: Vec<&str> = rule.split_whitespace().collect();
            let [days, span, share] = parts.as_slice() else { return Err(wrong()) };
            let day = |name: &str| DAYS.iter().position(|d| name.eq_ignore_ascii_case(d)).ok_or_else(wrong);
            let (first, last) = days.split_once('-').unwrap_or((days, days));
            let (first, last) = (day(first)?, day(last)?);
            let hour = |text: &str| text.split(':').next().and_then(|h| h.parse::<usize>().ok()).filter(|h| *h <= 24);
            let (from, to) = span.split_once('-').ok_or_else(wrong)?;
            let (from, to) = (hour(from).ok_or_else(wrong)?, hour(to).ok_or_else(wrong)?);
            let share: Share = share.parse().map_err(|error| format!("{error}"))?;
            let mut today = first;
            loop {
                let end = if to > from { to } else { to + 24 };
                for hour in from..end {
                    hours[(today * 24 + hour) % WEEK_HOURS] = share.get();
                }
                if today == last {
                    break;
                }
                today = (today + 1) % 7;
            }
        }
        Ok(Self::from_hours(hours))
    }

    /// The average availability over the week.
    pub fn mean(&self) -> Share {
        Share::new(self.hours.iter().sum::<f64>() / WEEK_HOURS as f64)
    }

    /// Distinct availabilities.
    pub(crate) fn levels(&self) -> &[f64] {
        &self.levels
    }

    /// The same profile with every hour's availability kept below one minus `busy`.
    pub(crate) fn capped(&self, busy: Share) -> Self {
        Self::from_hours(self.hours.iter().map(|hour| hour.min(1.0 - busy.get())).collect())
    }

    /// Every hour's availability times a factor, at most all of the line.
    pub(crate) fn scaled(&self, factor: f64) -> Self {
        Self::from_hours(self.hours.iter().map(|hour| (hour * factor).clamp(0.0, 1.0)).collect())
    }

    /// Days needed for `work`, when `rates[level]` per second are done in hours of that level, beginning at
    /// `start_hour` hours after Monday 00:00. Whole weeks are counted at once, the rest hour by hour.
    pub(crate) fn days_for(&self, work: f64, rates: &[f64], start_hour: f64) -> f64 {
        if work <= 0.0 {
            return 0.0;
        }
        if let [rate] = rates {
            return if *rate > 0.0 { work / rate / 86_400.0 } else { f64::INFINITY };
        }
        let rate_at = |hour: usize| rates[usize::from(self.level_of[hour % WEEK_HOURS])];
        let week: f64 = (0..WEEK_HOURS).map(|hour| rate_at(hour) * 3600.0).sum();
        if week <= 0.0 {
            return f64::INFINITY;
        }
        let weeks = (work / week).floor();
        let mut left = work - weeks * week;
        let mut hour = start_hour.rem_euclid(WEEK_HOURS as f64);
        let mut elapsed = 0.0;
        // Two weeks of steps always suffice: less than one week of work is left.
        for _ in 0..2 * WEEK_HOURS + 2 {
            let rest_of_hour = 1.0 - hour.fract();
            let rate = rate_at(hour.floor() as usize) * 3600.0;
            if rate * rest_of_hour >= left {
                elapsed += if rate > 0.0 { left / rate } else { 0.0 };
                break;
            }
            left -= rate * rest_of_hour;
            elapsed += rest_of_hour;
            hour = (hour.floor() + 1.0).rem_euclid(WEEK_HOURS as f64);
        }
        weeks * 7.0 + elapsed / 24.0
    }

    /// What `rate` gives for each hour of the week.
    pub(crate) fn by_hour(&self, rate: impl Fn(f64) -> f64) -> Vec<f64> {
        let of: Vec<f64> = self.levels.iter().map(|level| rate(*level)).collect();
        self.level_of.iter().map(|level| of.get(usize::from(*level)).copied().unwrap_or(0.0)).collect()
    }

    /// Mean of per-level rates over the week.
    pub(crate) fn mean_rate(&self, rates: &[f64]) -> f64 {
        let total: f64 = self.level_of.iter().map(|level| rates.get(usize::from(*level)).copied().unwrap_or(0.0)).sum();
        total / WEEK_HOURS as f64
    }
}

/// A line as the planner uses it.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Rate on the label.
    pub rate: BitsPerSecond,
    /// What of it may be used when.
    pub profile: WeekProfile,
    /// Payload share of a frame, 0 to 1.
    pub frame: Share,
    /// TCP's limit, where round trip and loss or window are known.
    pub tcp: Option<Tcp>,
    /// Upload rate measured to the bucket; replaces rate, frame and TCP, and is cut where less of the line may be used.
    pub measured: Option<BytesPerSecond>,
}

impl Line {
    /// Payload bytes per second at an availability, before `factor` (achieved over planned).
    pub(crate) fn payload(&self, availability: f64, factor: f64) -> f64 {
        let label = self.rate.to_bytes().get() * self.frame.get();
        match self.measured {
            Some(measured) if availability < 1.0 => {
                (measured.get() * factor).min(label.max(measured.get()) * availability)
            }
            Some(measured) => measured.get() * factor,
            None => label * availability * factor,
        }
    }

    /// What TCP allows.
    pub(crate) fn tcp_rate(&self) -> f64 {
        match (&self.tcp, self.measured) {
            (Some(tcp), None) => tcp.rate().get(),
            _ => f64::INFINITY,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_night_line_works_at_night() {
        let profile = WeekProfile::parse(&["mon-sun 08-20 0%".to_owned()], Share::ALL).expect("valid");
        assert!((profile.mean().get() - 0.5).abs() < 1e-12);
        let rates: Vec<f64> = profile.levels().iter().map(|level| level * 100.0).collect();
        // One hour of work, begun on Monday at 08:00, is done at 21:00.
        let days = profile.days_for(360_000.0, &rates, 8.0);
        assert!((days - 13.0 / 24.0).abs() < 1e-9, "{days}");
    }

    #[test]
    fn rules_may_cross_midnight_and_sunday() {
        let profile = WeekProfile::parse(&["sun-mon 22-06 10%".to_owned()], Share::ALL).expect("valid");
        assert!((profile.mean().get() - (152.0 + 1.6) / 168.0).abs() < 1e-9);
        assert!(WeekProfile::parse(&["weekdays 8-18 30%".to_owned()], Share::ALL).is_err());
    }

    proptest! {
        #[test]
        fn calendar_and_average_agree_over_weeks(weeks in 1_u32..50, day in 0.0_f64..1.0, start in 0.0_f64..168.0) {
            let rule = format!("mon-fri 08-18 {}%", (day * 100.0).round());
            let profile = WeekProfile::parse(&[rule], Share::ALL).expect("valid");
            let rates: Vec<f64> = profile.levels().iter().map(|level| level * 1e6).collect();
            let work = profile.mean_rate(&rates) * 604_800.0 * f64::from(weeks);
            let days = profile.days_for(work, &rates, start);
            prop_assert!((days - 7.0 * f64::from(weeks)).abs() < 1e-6, "{}", days);
        }

        #[test]
        fn more_work_takes_no_less_time(a in 0.0_f64..1e14, b in 0.0_f64..1e14, start in 0.0_f64..168.0) {
            let profile = WeekProfile::parse(&["mon-fri 08-18 30%".to_owned()], Share::ALL).expect("valid");
            let rates: Vec<f64> = profile.levels().iter().map(|level| level * 1e8).collect();
            prop_assert!(profile.days_for(a.min(b), &rates, start) <= profile.days_for(a.max(b), &rates, start));
        }
    }
}
