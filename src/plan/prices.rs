//! The arithmetic of bills: prices whose unit is in their name, times what is billed.
//!
//! Owns: the formulas that every option's bill is made of. Does not own any price. Invariant: exact in micro-dollars.
//! Called by the option models and by the oracle tests.

use crate::units::{Bytes, Usd};

/// A price per GB of 10^9 bytes for so many bytes.
pub fn per_gb(price: Usd, bytes: Bytes) -> Usd {
    price.times_ratio(bytes.get(), 1_000_000_000)
}

/// A price per thousand requests.
pub fn per_thousand(price: Usd, requests: u64) -> Usd {
    price.times_ratio(requests, 1000)
}

/// Started hours times ports times the price of one port-hour.
pub fn port_hours(price: Usd, ports: u64, seconds: u64) -> Usd {
    price.times(seconds.div_ceil(3600)).times(ports)
}

/// What one device job costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceBill {
    /// Fee of the job.
    pub fee: Usd,
    /// Days on site that the fee includes.
    pub included_days: u64,
    /// Days on site that are counted.
    pub days_used: u64,
    /// Price of each further day.
    pub extra_day: Usd,
    /// Both ways.
    pub shipping: Usd,
}

impl DeviceBill {
    /// Fee, days beyond the included ones, shipping.
    pub fn total(&self) -> Usd {
        self.fee + self.extra_day.times(self.days_used.saturating_sub(self.included_days)) + self.shipping
    }
}

/// A plan with a volume included and a price per GB beyond it.
pub fn capped_plan(plan: Usd, included: Bytes, used: Bytes, overage_per_gb: Usd) -> Usd {
    plan + per_gb(overage_per_gb, used.saturating_sub(included))
}

/// Rent of a line for part of a month of 30 days.
pub fn rent(per_30_days: Usd, seconds: u64) -> Usd {
    per_30_days.times_ratio(seconds, 30 * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn started_hours_are_whole_hours() {
        assert_eq!(port_hours(Usd::dollars(300), 1, 50_000), Usd::dollars(4200));
        assert_eq!(port_hours(Usd::dollars(300), 2, 3600), Usd::dollars(600));
    }

    #[test]
    fn days_within_the_included_are_free() {
        let bill = DeviceBill {
            fee: Usd::dollars(1800),
            included_days: 15,
            days_used: 15,
            extra_day: Usd::dollars(250),
            shipping: Usd::dollars(80),
        };
        assert_eq!(bill.total(), Usd::dollars(1880));
        assert_eq!(DeviceBill { days_used: 18, ..bill }.total(), Usd::dollars(2630));
    }
}
