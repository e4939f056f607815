//! The bill of an option over a line: bytes, requests, hours, months, and what stands in when the line fails.
//!
//! Owns: which figure of the catalogue is multiplied by what. Invariant: hours and months are started ones. Called by
//! `online`.

use crate::plan::catalogue::{Billing, Confidence, OptionSpec, Path};
use crate::plan::failover;
use crate::plan::online::Online;
use crate::plan::outcome::{MaybeTrace, Outcome, charge};
use crate::plan::request::Standby;
use crate::plan::world::{World, per_month};
use crate::units::Usd;

/// What is billed from when until when.
#[derive(Debug, Clone, Copy)]
struct Period {
    /// Started hours.
    hours: u64,
    /// Started months of 30 days.
    months: u64,
}

impl Online {
    pub(super) fn bill(&self, world: &World<'_>, out: &mut Outcome, trace: &mut MaybeTrace<'_>, share: f64, lead: f64) {
        let until = if out.finish.is_finite() { out.finish } else { out.landed };
        if !until.is_finite() {
            return;
        }
        // Dedicated ports are billed from port up or 90 days after the letter, hosted ones from acceptance: here both are
        // the end of the lead time, or 90 days when the port stays dark longer.
        let first = match self.spec.billing {
            Some(Billing::FromPortUp) => lead.min(self.spec.number("loa_days").unwrap_or(90.0)),
            Some(Billing::FromAcceptance) => lead,
            None => 0.0,
        };
        let period = Period {
            hours: ((until - first).max(0.0) * 24.0).ceil() as u64,
            months: ((until - first).max(0.0) / 30.0).ceil().max(1.0) as u64,
        };
        let resent = 1.0 / (1.0 - world.assume.retry_share);
        let bytes = (world.bytes() * share * resent).round() as u64;
        world.charge_requests(out, trace, share);
        self.charge_bytes(out, trace, bytes, period);
        charge_time(world, &self.spec, "", out, trace, period);
        self.charge_standby(world, out, trace, period);
        if matches!(self.spec.path.unwrap_or(Path::Internet), Path::Internet) {
            let copying = (until - lead).max(0.0);
            self.charge_tariff(world, out, trace, bytes, Usage { days: copying, months: period.months });
        }
        world.charge_egress(out, trace, bytes);
        world.charge_people(out, trace, 0, 0);
        if let Some(trace) = trace.as_deref_mut() {
            trace.left_on_per_month += monthly(world, &self.spec);
            trace.notes.extend(guesses(world, &self.spec));
        }
    }

    fn charge_bytes(&self, out: &mut Outcome, trace: &mut MaybeTrace<'_>, bytes: u64, period: Period) {
        let spec = &self.spec;
        let free = spec.number("free_gb").unwrap_or(0.0) * 1e9;
        let paid = bytes.saturating_sub(free as u64);
        let gigabytes = |price: Usd| price.times_ratio(paid, 1_000_000_000);
        let per_gb = spec.usd("per_gb_in");
        let data = match spec.figures.get("cap_month") {
            Some(cap) => gigabytes(per_gb).min(cap.usd().times(period.months)),
            None => gigabytes(per_gb),
        };
        let cap = spec
            .figures
            .get("cap_month")
            .map_or_else(String::new, |cap| format!(", at most {} months * {} USD", period.months, cap.value));
        charge(out, trace, "data in", data, || {
            format!("{} GB * {} USD/GB{cap}", paid / 1_000_000_000, plain(spec, "per_gb_in"))
        });
        for (item, figure) in [("private endpoint", "endpoint_per_gb"), ("transit gateway", "gateway_per_gb")] {
            charge(out, trace, item, gigabytes(spec.usd(figure)), || {
                format!("{} GB * {} USD/GB", paid / 1_000_000_000, plain(spec, figure))
            });
        }
        charge(out, trace, "task execution", spec.usd("per_execution"), || {
            format!("1 execution * {} USD", plain(spec, "per_execution"))
        });
    }

    /// What the provider of the internet line asks: bytes beyond the allowance of the months in use, and the 95th percentile
    /// of our own traffic beyond the committed rate. Traffic of others on the line is not known, so it is not in it.
    fn charge_tariff(
        &self,
        world: &World<'_>,
        out: &mut Outcome,
        trace: &mut MaybeTrace<'_>,
        bytes: u64,
        usage: Usage,
    ) {
        let Some(tariff) = &world.inputs.bill.tariff else { return };
        let included = tariff.included_per_month.get().saturating_mul(usage.months);
        let beyond = bytes.saturating_sub(included);
        charge(out, trace, "line tariff: bytes", tariff.usd_per_gb.times_ratio(beyond, 1_000_000_000), || {
            format!(
                "({} GB - {} months * {}) * {} a GB",
                bytes / 1_000_000_000,
                usage.months,
                tariff.included_per_month,
                tariff.usd_per_gb
            )
        });
        if tariff.usd_per_mbit > Usd::ZERO {
            let rates = self.line.profile.by_hour(|level| self.raw_rate(world, level, 1.0) * 8.0);
            let whole = (usage.days / 30.0).floor();
            let rest_hours = (usage.days - whole * 30.0) * 24.0;
            let months = [(whole, MONTH_HOURS), (1.0, rest_hours)];
            let beyond = |hours: f64| {
                let rate = percentile_95(rates.clone(), hours);
                (rate - tariff.committed.get() as f64).max(0.0) / 1e6
            };
            let mbit_months: f64 = months.iter().map(|(count, hours)| count * beyond(*hours)).sum();
            let price = tariff.usd_per_mbit.times_ratio((mbit_months * 1000.0).round() as u64, 1000);
            charge(out, trace, "line tariff: 95th percentile", price, || {
                format!(
                    "{mbit_months:.1} Mbit/s months beyond {} * {} (a month with 36 h of use or less is free)",
                    tariff.committed, tariff.usd_per_mbit
                )
            });
        }
    }

    /// What stands in when a private line fails is paid as long as the line is.
    fn charge_standby(&self, world: &World<'_>, out: &mut Outcome, trace: &mut MaybeTrace<'_>, period: Period) {
        let private = matches!(self.spec.path, Some(Path::PrivateLink | Path::ExistingDx));
        let Some(standby) = world.inputs.bill.standby.filter(|_| private) else { return };
        let spec = match standby {
            Standby::Second => failover::twin(world, &self.spec),
            Standby::Vpn => world.catalogue.option("vpn-standard").cloned(),
        };
        let Some(spec) = spec else { return };
        charge_time(world, &spec, "standby: ", out, trace, period);
        if let Some(trace) = trace.as_deref_mut() {
            trace.left_on_per_month += monthly(world, &spec);
            trace.notes.push(format!("{} stands by and is in the cost; it carries nothing in the plan", spec.name));
        }
    }
}

/// How long a line is in use.
#[derive(Debug, Clone, Copy)]
struct Usage {
    /// Days of copying.
    days: f64,
    /// Started months of 30 days.
    months: u64,
}

/// Hours of a month of 30 days.
const MONTH_HOURS: f64 = 720.0;

/// Share of a month's busiest hours that percentile billing leaves out.
const FREE_SHARE: f64 = 0.05;

/// The 95th percentile of a month in which a line carries the given rates for `hours` of its hours, and nothing else.
fn percentile_95(mut rates: Vec<f64>, hours: f64) -> f64 {
    let used = (hours / MONTH_HOURS).clamp(0.0, 1.0);
    if used <= FREE_SHARE || rates.is_empty() {
        return 0.0;
    }
    rates.sort_by(f64::total_cmp);
    // The busiest 5 % of the month are this share of the hours in use.
    let place = (1.0 - FREE_SHARE / used) * rates.len() as f64;
    rates[(place.ceil() as usize).clamp(1, rates.len()) - 1]
}

/// What is paid per month for a line of one's own; the circuit to the building only where one stands elsewhere.
const BY_MONTH: [(&str, &str); 3] =
    [("cross-connect", "cross_connect_month"), ("partner", "partner_month"), ("circuit", "circuit_month")];

fn charge_time(
    world: &World<'_>,
    spec: &OptionSpec,
    half: &str,
    out: &mut Outcome,
    trace: &mut MaybeTrace<'_>,
    period: Period,
) {
    let Period { hours, months } = period;
    for (item, figure) in
        [("port or tunnel hours", "per_hour"), ("endpoint hours", "endpoint_hour"), ("gateway hours", "gateway_hour")]
    {
        charge(out, trace, &format!("{half}{item}"), spec.usd(figure).times(hours), || {
            format!("{hours} h (started hours) * {} USD/h", plain(spec, figure))
        });
    }
    for (item, figure) in BY_MONTH.iter().filter(|(_, figure)| counts(world, figure)) {
        charge(out, trace, &format!("{half}{item}"), spec.usd(figure).times(months), || {
            format!("{months} months * {} USD", plain(spec, figure))
        });
    }
}

/// Says which monthly prices nobody has confirmed.
fn guesses(world: &World<'_>, spec: &OptionSpec) -> Option<String> {
    let names = [("circuit_month", "the circuit's price"), ("partner_month", "the partner's fee")];
    let guess = |figure: &str| spec.figures.get(figure).is_some_and(|f| f.confidence == Confidence::Guess);
    let open = names.iter().filter(|(figure, _)| guess(figure) && counts(world, figure));
    let (figures, words): (Vec<&str>, Vec<&str>) = open.copied().unzip();
    (!figures.is_empty()).then(|| {
        format!(
            "{} in the cost: only guessed, so ask for quotations (carriers often want a term of a year) and give them as {} by --catalog",
            words.join(" and "),
            figures.join(" and ")
        )
    })
}

fn counts(world: &World<'_>, figure: &str) -> bool {
    figure != "circuit_month" || !world.inputs.who.in_colocation
}

/// What one month costs by time alone.
pub(crate) fn monthly(world: &World<'_>, spec: &OptionSpec) -> Usd {
    let hours = per_month(spec.usd("per_hour") + spec.usd("endpoint_hour") + spec.usd("gateway_hour"));
    let months = BY_MONTH.iter().filter(|(_, figure)| counts(world, figure)).map(|(_, figure)| spec.usd(figure));
    hours + months.sum::<Usd>()
}

fn plain<'a>(spec: &'a OptionSpec, figure: &str) -> &'a str {
    spec.figures.get(figure).map_or("0", |f| f.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_billed_by_its_rate_after_the_busiest_36_hours() {
        let day_and_night: Vec<f64> = (0..168).map(|hour| if hour % 24 < 6 { 900.0 } else { 300.0 }).collect();
        assert_eq!(percentile_95(day_and_night.clone(), MONTH_HOURS), 900.0, "a quarter of the hours is more than 5 %");
        assert_eq!(percentile_95(day_and_night.clone(), 36.0), 0.0, "all of it is in the free share");
        let rare: Vec<f64> = (0..168).map(|hour| if hour < 8 { 900.0 } else { 300.0 }).collect();
        assert_eq!(percentile_95(rare.clone(), MONTH_HOURS), 300.0, "8 of 168 hours are less than 5 %");
        assert_eq!(percentile_95(rare, 72.0), 300.0, "half of the hours in use are left out");
        assert_eq!(percentile_95(day_and_night, 60.0), 300.0, "36 of 60 hours are left out, and 15 were fast");
    }
}
