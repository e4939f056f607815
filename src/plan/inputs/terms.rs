//! Who asks, under which terms, and what is billed beside the options: deadlines, budget, Region, storage class.
//!
//! Owns: their defaults and checks. Called by `inputs`.

use jiff::civil::Date;

use crate::plan::catalogue::{Catalogue, Figure, Region};
use crate::plan::dataset::{DatasetFile, Mark, Tariff};
use crate::plan::inputs::{Error, Resolver, question};
use crate::plan::request::{Prefer, Request, Standby};
use crate::units::{Share, Usd};

/// Who asks, and from where.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) existing_customer: bool,
    pub(crate) enterprise_support: bool,
    /// The source stands in a building where Direct Connect is.
    pub(crate) in_colocation: bool,
    /// The source is another cloud: nothing can be plugged in there.
    pub(crate) source_cloud: bool,
    pub(crate) region: String,
    pub(crate) area: String,
    pub(crate) snow_region: bool,
    /// One of the Regions with the highest default limits.
    pub(crate) large_region: bool,
}

/// What must be met, and what decides.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) deadline: Option<Date>,
    pub(crate) deadline_days: Option<f64>,
    pub(crate) confidence: f64,
    pub(crate) budget: Option<Usd>,
    pub(crate) forbid: Vec<String>,
    pub(crate) prefer: Prefer,
}

/// What is billed beside the options' own prices.
#[derive(Debug, Clone)]
pub(crate) struct Bill {
    /// Storage class of the objects.
    pub(crate) class: String,
    /// Price of a thousand PUT requests of that class.
    pub(crate) put_per_1000: Option<Figure>,
    /// What the place where the data is now asks per GB that leaves by network.
    pub(crate) egress_per_gb: Usd,
    /// What stands in for a private line.
    pub(crate) standby: Option<Standby>,
    /// What the provider of the internet line asks beyond its flat fee.
    pub(crate) tariff: Option<Tariff>,
}

pub(super) fn who(request: &Request, catalogue: &Catalogue) -> Result<Who, Error> {
    let region = request.region.clone().unwrap_or_else(|| catalogue.meta.region.clone());
    let known = known_region(catalogue, &region)?;
    Ok(Who {
        existing_customer: request.existing_customer,
        enterprise_support: request.enterprise_support,
        in_colocation: request.in_colocation,
        source_cloud: request.source_cloud,
        area: known.area.clone(),
        snow_region: known.snow,
        large_region: known.large,
        region,
    })
}

fn known_region<'a>(catalogue: &'a Catalogue, region: &str) -> Result<&'a Region, Error> {
    catalogue.regions.iter().find(|known| known.id == region).ok_or_else(|| {
        let ids = catalogue.regions.iter().map(|r| r.id.as_str());
        let mut near: Vec<&str> = ids.filter(|id| id.get(..2) == region.get(..2)).collect();
        if near.is_empty() {
            near = catalogue.regions.iter().map(|r| r.id.as_str()).collect();
        }
        question(format!("the Region '{region}' is not known; known ones: {}", near.join(", ")))
    })
}

pub(super) fn terms(request: &Request, start: Date) -> Result<Terms, Error> {
    let (deadline, deadline_days) = deadline(request, start)?;
    if request.confidence.is_some_and(|share| share.get() >= 1.0) {
        return Err(question("nothing is certain: ask for a confidence below 100%, such as --confidence 99%"));
    }
    Ok(Terms {
        deadline,
        deadline_days,
        confidence: request.confidence.map_or(0.9, Share::get),
        budget: request.budget,
        forbid: request.forbid.clone(),
        prefer: request.prefer,
    })
}

/// The deadline as a date and in days from the start: a date counts to its end, a span from the start's midnight.
fn deadline(request: &Request, start: Date) -> Result<(Option<Date>, Option<f64>), Error> {
    if let Some(within) = request.within {
        if within.secs() == 0 {
            return Err(question("nothing is moved within no time; give --within 2d or more"));
        }
        // A date counts to its end, so two days from the start's midnight are over with the day after the start.
        let last = i64::try_from(within.secs().div_ceil(86_400)).unwrap_or(i64::MAX) - 1;
        let whole = jiff::Span::new().try_days(last);
        return Ok((whole.ok().and_then(|days| start.checked_add(days).ok()), Some(within.days().get())));
    }
    let Some(deadline) = request.deadline else { return Ok((None, None)) };
    if deadline <= start {
        return Err(question(format!(
            "the deadline {deadline} is not after the start {start}; give a later one, or --as-of an earlier day"
        )));
    }
    Ok((Some(deadline), Some(crate::plan::report::days_until(start, deadline))))
}

pub(super) fn bill(
    r: &mut Resolver<'_>,
    request: &Request,
    file: &DatasetFile,
    catalogue: &Catalogue,
) -> Result<Bill, Error> {
    let class = request.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned()).to_uppercase();
    let Some(known) = catalogue.storage_classes.iter().find(|known| known.id == class) else {
        let ids: Vec<&str> = catalogue.storage_classes.iter().map(|known| known.id.as_str()).collect();
        return Err(question(format!("the storage class '{class}' is not known; one of {}", ids.join(", "))));
    };
    if request.storage_class.is_some() {
        r.note("storage class", class.clone(), Mark::Given);
    }
    let egress_per_gb = request.egress_per_gb.unwrap_or(Usd::ZERO);
    if egress_per_gb > Usd::ZERO {
        r.note("leaving where it is now", format!("{egress_per_gb} per GB"), Mark::Given);
    }
    let put_per_1000 = known.figures.get("put_per_1000").or_else(|| catalogue.s3.get("put_per_1000")).cloned();
    let tariff = file.link.tariff.filter(|tariff| tariff.usd_per_gb > Usd::ZERO || tariff.usd_per_mbit > Usd::ZERO);
    if let Some(tariff) = &tariff {
        if tariff.usd_per_gb < Usd::ZERO || tariff.usd_per_mbit < Usd::ZERO {
            return Err(question("a price of the line's tariff is below zero; give what its provider asks for more"));
        }
        r.note("tariff of the internet line", words(tariff), Mark::Given);
    }
    Ok(Bill { class, put_per_1000, egress_per_gb, standby: request.standby, tariff })
}

fn words(tariff: &Tariff) -> String {
    let mut parts = Vec::new();
    if tariff.usd_per_gb > Usd::ZERO {
        parts.push(format!("{} a GB beyond {} a month", tariff.usd_per_gb, tariff.included_per_month));
    }
    if tariff.usd_per_mbit > Usd::ZERO {
        parts.push(format!(
            "{} a month per Mbit/s of the 95th percentile beyond {}",
            tariff.usd_per_mbit, tariff.committed
        ));
    }
    parts.join(", ")
}

/// The request as it holds for a further site: same terms, but its own data, lines and site.
pub(super) fn same_terms(request: &Request) -> Request {
    Request {
        existing_customer: request.existing_customer,
        enterprise_support: request.enterprise_support,
        region: request.region.clone(),
        start: request.start,
        deadline: request.deadline,
        within: request.within,
        confidence: request.confidence,
        budget: request.budget,
        forbid: request.forbid.clone(),
        prefer: request.prefer,
        seed: request.seed,
        draws: request.draws,
        holidays: request.holidays.clone(),
        storage_class: request.storage_class.clone(),
        egress_per_gb: request.egress_per_gb,
        ..Request::default()
    }
}
