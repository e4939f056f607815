//! What stands in when a private line fails: a second one, a VPN over the internet, or plain HTTPS.
//!
//! Owns: the list with rate, price and lead of each. Does not choose: which failures matter is the owner's business, so
//! both common answers are shown with what each buys. Called by `report`.

use serde::Serialize;

use crate::plan::catalogue::{OptionSpec, Path};
use crate::plan::dist::Dist;
use crate::plan::eligible;
use crate::plan::world::{World, per_month};
use crate::units::{BitsPerSecond, Days, Usd};

/// One way to stand in for a private line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failover {
    /// What it is.
    pub way: String,
    /// Its rate in bits per second.
    pub rate: BitsPerSecond,
    /// Price per month, without what is not published.
    pub per_month: Usd,
    /// Median days until it is up.
    pub lead: Days,
    /// What it buys and what it does not.
    pub text: String,
}

fn rate(spec: &OptionSpec) -> BitsPerSecond {
    BitsPerSecond::new((spec.number("line").unwrap_or(0.0) * 1e9) as u64)
}

fn monthly(spec: &OptionSpec) -> Usd {
    per_month(spec.usd("per_hour") + spec.usd("endpoint_hour") + spec.usd("gateway_hour"))
        + spec.usd("cross_connect_month")
        + spec.usd("partner_month")
}

fn lead(spec: &OptionSpec) -> Days {
    Days::new(spec.figures.get("lead").map_or(0.0, |figure| Dist::of(figure).median()))
}

/// Ways to stand in for `main`; none when it is no private line.
pub(crate) fn ways(world: &World<'_>, main: &OptionSpec) -> Vec<Failover> {
    if main.path != Some(Path::PrivateLink) {
        return Vec::new();
    }
    let mut ways = vec![Failover {
        way: format!("a second {}, at another location", main.name),
        rate: rate(main),
        per_month: monthly(main),
        lead: lead(main),
        text: "keeps the rate and stays private, at the price and the lead time again; at the same location it shares its failures".to_owned(),
    }];
    for spec in world.catalogue.options.iter().filter(|spec| spec.family == "vpn") {
        if eligible::orderable(spec, world.inputs.customer(), world.inputs.as_of).is_err() {
            continue;
        }
        ways.push(Failover {
            way: spec.name.clone(),
            rate: rate(spec),
            per_month: monthly(spec),
            lead: lead(spec),
            text: "up within days and on another path, the internet; narrower, and S3 is reached through an interface endpoint".to_owned(),
        });
    }
    if let Some(line) = &world.inputs.line {
        ways.push(Failover {
            way: "HTTPS to S3 over the line you have".to_owned(),
            rate: line.rate,
            per_month: Usd::ZERO,
            lead: Days::ZERO,
            text: "nothing to build, where policy allows the internet".to_owned(),
        });
    }
    ways
}
