//! The hours in which sending is allowed: `20:00-06:00`.
//!
//! Owns: reading and meaning of a window. Pure: the moment comes as an argument. Times are those of the machine's own
//! zone, as on the wall of the office whose line is being spared.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Hours of every day, perhaps over midnight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    from: Time,
    to: Time,
    zone: TimeZone,
}

/// Why a text is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} are no hours of a day; write them as 20:00-06:00")]
pub struct WindowError {
    text: String,
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let wrong = || WindowError { text: text.to_owned() };
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        let time = |text: &str| Time::strptime("%H:%M", text.trim()).map_err(|_| wrong());
        let (from, to) = (time(from)?, time(to)?);
        if from == to {
            return Err(wrong());
        }
        Ok(Self { from, to, zone: TimeZone::system() })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from.strftime("%H:%M"), self.to.strftime("%H:%M"))
    }
}

impl Window {
    /// The same hours in another zone.
    #[must_use]
    pub fn in_zone(self, zone: TimeZone) -> Self {
        Self { zone, ..self }
    }

    /// How long after `now` the window opens; zero if it is open.
    pub fn closed_for(&self, now: Timestamp) -> Duration {
        let now = now.to_zoned(self.zone.clone());
        let time = now.time();
        let open = if self.from < self.to {
            (self.from..self.to).contains(&time)
        } else {
            time >= self.from || time < self.to
        };
        if open {
            return Duration::ZERO;
        }
        let opens = self.next(&now, self.from);
        let wait = opens.and_then(|opens| Duration::try_from(opens.timestamp() - now.timestamp()).ok());
        // A day whose hour is skipped by the clocks: look again soon.
        wait.unwrap_or(Duration::from_secs(60)).max(Duration::from_millis(1))
    }

    fn next(&self, now: &Zoned, time: Time) -> Option<Zoned> {
        let day = if now.time() < time { now.date() } else { now.date().tomorrow().ok()? };
        day.to_datetime(time).to_zoned(self.zone.clone()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed_for(window: &str, at: &str) -> Duration {
        let window: Window = window.parse().expect("a window");
        window.in_zone(TimeZone::UTC).closed_for(format!("2026-11-24T{at}Z").parse().expect("a moment"))
    }

    #[test]
    fn a_window_over_midnight_is_open_on_both_sides_of_it() {
        assert_eq!(closed_for("20:00-06:00", "20:00:00"), Duration::ZERO);
        assert_eq!(closed_for("20:00-06:00", "03:00:00"), Duration::ZERO);
        assert_eq!(closed_for("20:00-06:00", "06:00:00"), Duration::from_secs(14 * 3600));
        assert_eq!(closed_for("20:00-06:00", "19:59:30"), Duration::from_secs(30));
    }

    #[test]
    fn a_window_within_a_day_opens_tomorrow_when_today_is_over() {
        assert_eq!(closed_for("09:00-17:00", "12:00:00"), Duration::ZERO);
        assert_eq!(closed_for("09:00-17:00", "17:00:00"), Duration::from_secs(16 * 3600));
    }

    #[test]
    fn what_is_no_window_is_refused_with_an_example() {
        for text in ["", "20:00", "20-06", "25:00-06:00", "06:00-06:00"] {
            let error = text.parse::<Window>().expect_err(text);
            assert!(error.to_string().contains("20:00-06:00"));
        }
    }
}
