//! Business days: weekdays that are not holidays, counted from a start date. Times are days since the start's midnight.

use jiff::ToSpan;
use jiff::civil::{Date, Weekday};

use super::Days;

/// A start date and the days on which carriers and offices work.
#[derive(Debug, Clone)]
pub struct BusinessCalendar {
    start: Date,
    /// For each day after the start, how many business days lie before it; one entry more than there are days.
    before: Vec<u32>,
    /// Day number of each business day.
    days: Vec<u32>,
}

/// Days computed ahead, about eleven years; what lies beyond is treated as 5 business days in 7.
const HORIZON_DAYS: u32 = 4_018;

impl BusinessCalendar {
    /// Weekdays from `start` on, without `holidays`.
    pub fn new(start: Date, holidays: &[Date]) -> Self {
        let (mut before, mut days) = (vec![0], Vec::new());
        let mut date = start;
        for day in 0..HORIZON_DAYS {
            let works = !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday) && !holidays.contains(&date);
            if works {
                days.push(day);
            }
            before.push(u32::try_from(days.len()).unwrap_or(u32::MAX));
            date = date.tomorrow().unwrap_or(date);
        }
        Self { start, before, days }
    }

    /// Day 0.
    pub const fn start(&self) -> Date {
        self.start
    }

    /// The date on which `time` falls, or `None` beyond the calendar's last year.
    pub fn date(&self, time: Days) -> Option<Date> {
        // WHY: a float-to-int cast saturates, and far dates are refused by the addition.
        let days = time.get().floor() as i64;
        if !time.is_finite() || days > 3_000_000 {
            return None;
        }
        self.start.checked_add(days.days()).ok()
    }

    /// Whether `day`, counted from the start, is a business day.
    pub fn is_business(&self, day: u32) -> bool {
        self.days.binary_search(&day).is_ok()
    }

    /// The first moment at or after `time` that lies in a business day.
    pub fn next_business(&self, time: Days) -> Days {
        self.add(time, Days::ZERO)
    }

    /// `time` plus a number of business days; fractions are fractions of a business day of 24 hours.
    pub fn add(&self, time: Days, business: Days) -> Days {
        if !time.is_finite() || !business.is_finite() {
            return Days::NEVER;
        }
        let day = time.get().floor();
        let Some(&before) = self.before.get(day as usize) else {
            return Days::new(time.get() + business.get() * 7.0 / 5.0);
        };
        let on_business = self.before.get(day as usize + 1).is_some_and(|after| *after > before);
        let into = if on_business { time.get() - day } else { 0.0 };
        let position = f64::from(before) + into + business.get();
        match self.days.get(position.floor() as usize) {
            Some(&target) => Days::new(f64::from(target) + (position - position.floor())),
            None => Days::new(time.get() + business.get() * 7.0 / 5.0),
        }
    }

    /// The next collection at or after `time`: every business day at `cutoff_hour`.
    pub fn next_pickup(&self, time: Days, cutoff_hour: u32) -> Days {
        if !time.is_finite() {
            return Days::NEVER;
        }
        let cutoff = f64::from(cutoff_hour.min(23)) / 24.0;
        let day = self.next_business(time).get();
        let pickup = day.floor() + cutoff;
        if pickup >= time.get() {
            return Days::new(pickup);
        }
        let next = self.next_business(Days::new(day.floor() + 1.0));
        Days::new(next.get().floor() + cutoff)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn friday() -> BusinessCalendar {
        BusinessCalendar::new(date(2026, 11, 20), &[date(2026, 11, 26)])
    }

    #[test]
    fn weekends_and_holidays_do_not_count() {
        let calendar = friday();
        let after = |time, days| calendar.add(Days::new(time), Days::new(days)).get();
        assert_eq!(after(0.5, 1.0), 3.5, "Friday noon and one business day is Monday noon");
        assert_eq!(after(1.5, 0.0), 3.0, "Saturday becomes Monday morning");
        assert_eq!(after(5.0, 1.0), 7.0, "Wednesday skips the holiday Thursday");
    }

    #[test]
    fn pickups_happen_on_business_days_at_the_cutoff() {
        let calendar = friday();
        let pickup = |time| calendar.next_pickup(Days::new(time), 16).get();
        assert!((pickup(0.5) - 16.0 / 24.0).abs() < 1e-9);
        assert!((pickup(0.9) - (3.0 + 16.0 / 24.0)).abs() < 1e-9, "missed on Friday, so Monday");
    }

    proptest! {
        #[test]
        fn no_pickup_at_a_weekend(time in 0.0_f64..3000.0, hour in 0_u32..24) {
            let calendar = friday();
            let pickup = calendar.next_pickup(Days::new(time), hour).get();
            prop_assert!(pickup >= time);
            prop_assert!(calendar.is_business(pickup.floor() as u32));
        }

        #[test]
        fn more_business_days_never_end_earlier(time in 0.0_f64..3000.0, a in 0.0_f64..50.0, b in 0.0_f64..50.0) {
            let calendar = friday();
            let add = |n: f64| calendar.add(Days::new(time), Days::new(n)).get();
            prop_assert!(add(a.min(b)) <= add(a.max(b)));
        }
    }
}
