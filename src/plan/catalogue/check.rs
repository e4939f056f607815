//! The catalogue's rules, in one place: units, dates, sources, ranges, figures each kind needs.

use std::collections::BTreeSet;

use super::{Catalogue, Confidence, Error, Figure, Kind, OptionSpec};

/// Units a figure may have.
const UNITS: [&str; 41] = [
    "USD",
    "USD/job",
    "USD/day",
    "USD/h",
    "USD/month",
    "USD/GB",
    "USD/GB-month",
    "USD/TB",
    "USD/execution",
    "USD/1000",
    "USD/10000",
    "USD/1000000",
    "TB",
    "GB",
    "MB",
    "MiB",
    "GiB",
    "bytes",
    "Gbit/s",
    "MB/s",
    "MiB/s",
    "bytes/s",
    "days",
    "business-days",
    "hours",
    "hour",
    "s",
    "devices",
    "drives",
    "ports",
    "slots",
    "files",
    "files/s",
    "records/s",
    "calls/s",
    "calls/day",
    "messages",
    "messages/s",
    "packets/s",
    "fraction",
    "workers",
];

/// Units of the services for changing data.
const SERVICE_UNITS: [&str; 7] = ["consumers", "shards", "connections", "tasks", "requests/s", "parts", "replicas"];

const SHAPES: [&str; 6] = ["fixed", "uniform", "triangular", "pert", "lognormal", "event"];

/// Figures by name, whatever the option: a name outside this list is a spelling mistake.
const NAMES: [&str; 53] = [
    "bays",
    "cap_month",
    "capacity",
    "carry",
    "circuit_month",
    "client_rate",
    "cross_connect_month",
    "data_out_per_gb",
    "drive_capacity",
    "drive_price",
    "drive_rate",
    "endpoint_hour",
    "endpoint_per_gb",
    "extra_day",
    "far_line",
    "files_max",
    "fill_rate",
    "free_gb",
    "gateway_hour",
    "gateway_per_gb",
    "included_days",
    "ingest_rate",
    "item_max",
    "job_days_max",
    "key_bytes_max",
    "lead",
    "lead_in_colocation",
    "line",
    "loa_days",
    "min_volume",
    "notice",
    "packets_per_s",
    "partner_month",
    "per_connection",
    "per_execution",
    "per_gb_in",
    "per_gb_month",
    "per_gb_out",
    "per_hour",
    "per_parcel",
    "port_hour",
    "port_hour_na_eu",
    "ports",
    "quota",
    "shipping_each_way",
    "slot",
    "slot_gap",
    "slot_setup",
    "slots_per_day",
    "small_file",
    "task_rate",
    "transit",
    "travel",
];
const MORE_NAMES: [&str; 2] = ["trip_cost", "trucks"];

/// What an option of each kind cannot do without.
const fn needed(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Online => &["lead"],
        Kind::ShippedDevice => &["capacity", "fill_rate", "transit", "ingest_rate", "quota"],
        Kind::Truck => &["capacity", "line", "lead", "transit", "ingest_rate", "per_gb_month", "trucks"],
        Kind::Terminal => {
            &["ports", "line", "client_rate", "port_hour", "slot", "slot_gap", "slot_setup", "slots_per_day"]
        }
        Kind::OwnDrives => &["drive_capacity", "drive_price", "drive_rate", "bays", "far_line", "lead"],
    }
}

fn rule(entry: &str, rule: impl Into<String>) -> Error {
    Error::Rule { entry: entry.to_owned(), rule: rule.into() }
}

/// Checks every rule; the first broken one is the error.
pub(super) fn check(catalogue: &Catalogue) -> Result<(), Error> {
    let sources: BTreeSet<&str> = catalogue.sources.iter().map(|source| source.id.as_str()).collect();
    let mut ids = BTreeSet::new();
    for option in &catalogue.options {
        if !ids.insert(&option.id) {
            return Err(rule(&option.id, "the id is used twice"));
        }
        check_option(option, &sources)?;
    }
    for assumption in &catalogue.assumptions {
        check_figure(&assumption.id, &assumption.figure, &sources)?;
    }
    for limit in &catalogue.limits {
        check_figure(&limit.id, &limit.today, &sources)?;
        if limit.seed.as_ref().is_some_and(|seed| seed.parse::<f64>().is_err()) {
            return Err(rule(&limit.id, "seed is not a decimal number"));
        }
    }
    for (name, figure) in &catalogue.s3 {
        check_figure(&format!("s3.{name}"), figure, &sources)?;
    }
    for class in &catalogue.storage_classes {
        for (name, figure) in &class.figures {
            check_figure(&format!("{}.{name}", class.id), figure, &sources)?;
        }
    }
    Ok(())
}

fn check_option(option: &OptionSpec, sources: &BTreeSet<&str>) -> Result<(), Error> {
    for name in needed(option.kind) {
        if !option.figures.contains_key(*name) {
            return Err(rule(&option.id, format!("an option of this kind needs the figure {name}")));
        }
    }
    for (name, figure) in &option.figures {
        let entry = format!("{}.{name}", option.id);
        if !NAMES.contains(&name.as_str()) && !MORE_NAMES.contains(&name.as_str()) {
            return Err(rule(&entry, "no figure has this name; see manifests/schemas/catalogue.schema.json"));
        }
        check_figure(&entry, figure, sources)?;
    }
    let mut least = 0.0;
    for tier in &option.tiers {
        let entry = format!("{}.tiers", option.id);
        let upto: f64 = tier.upto_tb.parse().map_err(|_| rule(&entry, "upto_tb is not a decimal number"))?;
        if upto <= least {
            return Err(rule(&entry, "tiers must ascend by upto_tb"));
        }
        least = upto;
        check_figure(&entry, &tier.fee, sources)?;
    }
    let dates = [&option.available_from, &option.available_until, &option.new_customers_until, &option.end_of_support];
    for fact in dates.into_iter().flatten() {
        if fact.confidence != Confidence::Given && !sources.contains(fact.source.as_str()) {
            return Err(rule(&option.id, format!("a date names the unknown source {}", fact.source)));
        }
    }
    let (from, until) = (&option.available_from, &option.available_until);
    if let (Some(from), Some(until)) = (from, until)
        && from.date > until.date
    {
        return Err(rule(&option.id, "available_from is after available_until"));
    }
    Ok(())
}

fn check_figure(entry: &str, figure: &Figure, sources: &BTreeSet<&str>) -> Result<(), Error> {
    let unit = figure.unit.as_str();
    if !UNITS.contains(&unit) && !SERVICE_UNITS.contains(&unit) {
        return Err(rule(entry, format!("the unit '{unit}' is not known; one of {}", UNITS.join(", "))));
    }
    if figure.confidence != Confidence::Given && !sources.contains(figure.source.as_str()) {
        return Err(rule(entry, format!("the source '{}' is not in the list of sources", figure.source)));
    }
    let texts = [Some(&figure.value), figure.low.as_ref(), figure.high.as_ref(), figure.p90.as_ref()];
    for text in texts.into_iter().flatten() {
        let number: f64 = text.parse().map_err(|_| rule(entry, format!("'{text}' is not a decimal number")))?;
        if !number.is_finite() || number < 0.0 || text.contains(['e', 'E']) {
            return Err(rule(
                entry,
                format!("{text} is negative or no plain decimal; prices, rates and times are zero or more"),
            ));
        }
    }
    let event = figure.shape.as_deref() == Some("event");
    if !event && (figure.low() > figure.number() || figure.high() < figure.number()) {
        return Err(rule(entry, "value must lie between low and high"));
    }
    if let Some(shape) = figure.shape.as_deref() {
        if !SHAPES.contains(&shape) {
            return Err(rule(entry, format!("the shape '{shape}' is not one of {}", SHAPES.join(", "))));
        }
        let missing = match shape {
            "uniform" | "triangular" | "pert" => figure.low.is_none() || figure.high.is_none(),
            "lognormal" => figure.p90.is_none() || figure.p90() < figure.number() || figure.number() <= 0.0,
            "event" => figure.low.is_none() || figure.low() > 1.0,
            _ => false,
        };
        if missing {
            return Err(rule(
                entry,
                format!("the shape {shape} lacks its parameters (low and high, p90, or low as chance)"),
            ));
        }
    }
    Ok(())
}
