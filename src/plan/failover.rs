//! What stands in when a private line fails: a second one, a VPN over the internet, or plain HTTPS.
//!
//! Owns: the list with rate, price and lead of each. Does not choose: which failures matter is the owner's business, so
//! both common answers are shown with what each buys. Called by `report`.

use serde::Serialize;

use crate::plan::catalogue::{OptionSpec, Path};
use crate::plan::dist::Dist;
use crate::plan::eligible;
use crate::plan::online::monthly;
use crate::plan::world::World;
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

fn lead(spec: &OptionSpec) -> Days {
    Days::new(spec.figures.get("lead").map_or(0.0, |figure| Dist::of(figure).median()))
}

/// Said where a price of its own is missing.
fn unpriced(spec: &OptionSpec) -> &'static str {
    if spec.unknown.iter().any(|what| what.contains("price")) { "its own price is not published; " } else { "" }
}

/// The second line of the same kind: the line itself once more, or for one that exists the narrowest that carries as much.
pub(crate) fn twin(world: &World<'_>, main: &OptionSpec) -> Option<OptionSpec> {
    if main.path == Some(Path::PrivateLink) {
        return Some(main.clone());
    }
    let needed = world.inputs.existing_dx.as_ref()?.rate;
    let all = world.catalogue.options.iter().filter(|spec| spec.id.starts_with("dx-dedicated"));
    let fits = all.filter(|spec| eligible::orderable(spec, world.inputs.customer(), world.inputs.as_of).is_ok());
    fits.filter(|spec| rate(spec) >= needed).min_by_key(|spec| rate(spec)).cloned()
}

/// Ways to stand in for `main`; none when it is no private line.
pub(crate) fn ways(world: &World<'_>, main: &OptionSpec) -> Vec<Failover> {
    if !matches!(main.path, Some(Path::PrivateLink | Path::ExistingDx)) {
        return Vec::new();
    }
    let mut ways = Vec::new();
    if let Some(second) = twin(world, main) {
        ways.push(Failover {
            way: format!("a second {}, at another location", second.name),
            rate: rate(&second),
            per_month: monthly(world, &second),
            lead: lead(&second),
            text: "keeps the rate and stays private, at the price and the lead time again; at the same location it shares its failures; --failover second puts it into the cost".to_owned(),
        });
    }
    for spec in world.catalogue.options.iter().filter(|spec| spec.family == "vpn") {
        if eligible::orderable(spec, world.inputs.customer(), world.inputs.as_of).is_err() {
            continue;
        }
        ways.push(Failover {
            way: spec.name.clone(),
            rate: rate(spec),
            per_month: monthly(world, spec),
            lead: lead(spec),
            text: format!("{}up within days and on another path, the internet; narrower, and S3 is reached through an interface endpoint; --failover vpn puts a standard one into the cost", unpriced(spec)),
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
