//! Which options can be had: dates, Region, customer status, support plan, policy, hard limits.
//!
//! Owns: the reasons, each with the date and source of the fact behind it. Does not own odds or cost. Called by
//! `options` and by the oracle tests.

use jiff::civil::Date;
use serde::Serialize;

use crate::plan::catalogue::{Catalogue, DateFact, Kind, OptionSpec, Path};
use crate::plan::inputs::Inputs;
use crate::units::Bytes;

/// Who asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Customer {
    /// Has ordered Snow devices before the service closed to new customers.
    pub existing_snow: bool,
    /// Has AWS Enterprise Support.
    pub enterprise_support: bool,
    /// Has a Direct Connect already.
    pub existing_dx: bool,
}

/// Why an option is out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// One sentence.
    pub text: String,
    /// The source of the fact, where it is one.
    pub source: Option<String>,
    /// What would change it, where the user can.
    pub remedy: Option<String>,
}

fn fact(text: String, fact: &DateFact) -> Reason {
    Reason { text, source: Some(fact.source.clone()), remedy: None }
}

fn need(text: &str, remedy: &str) -> Reason {
    Reason { text: text.to_owned(), source: None, remedy: Some(remedy.to_owned()) }
}

/// Whether an option can be ordered on a day; the first reason against it otherwise.
///
/// # Errors
/// The reason, with its source.
pub fn orderable(spec: &OptionSpec, customer: Customer, on: Date) -> Result<(), Reason> {
    if let Some(from) = &spec.available_from
        && on < from.date
    {
        return Err(fact(format!("not offered before {}", from.date), from));
    }
    if let Some(until) = &spec.available_until
        && on > until.date
    {
        return Err(fact(format!("withdrawn: could be ordered until {}", until.date), until));
    }
    if let Some(end) = &spec.end_of_support
        && on > end.date
    {
        return Err(fact(format!("support ended on {}", end.date), end));
    }
    if let Some(until) = &spec.new_customers_until
        && on > until.date
        && !customer.existing_snow
    {
        let mut reason =
            fact(format!("closed to new customers since {}", until.date.tomorrow().unwrap_or(until.date)), until);
        reason.remedy = Some("if you are an existing customer: --existing-customer".to_owned());
        return Err(reason);
    }
    for requirement in &spec.requires {
        match requirement.as_str() {
            "enterprise-support" if !customer.enterprise_support => {
                return Err(need("for customers with AWS Enterprise Support only", "--enterprise-support"));
            }
            "existing-dx" if !customer.existing_dx => {
                return Err(need("no existing Direct Connect was given", "--existing-dx 10Gbit/s"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether any option of that id, family or prefix can be ordered on a day; the first one's reason otherwise.
///
/// # Errors
/// The reason, with its source; a name that no option has is one, too.
pub fn available(catalogue: &Catalogue, name: &str, customer: Customer, on: Date) -> Result<(), Reason> {
    let named = |spec: &&OptionSpec| spec.id == name || spec.family == name || spec.id.starts_with(name);
    let mut reason = Reason { text: format!("no option is called '{name}'"), source: None, remedy: None };
    for (index, spec) in catalogue.options.iter().filter(named).enumerate() {
        match orderable(spec, customer, on) {
            Ok(()) => return Ok(()),
            Err(why) if index == 0 => reason = why,
            Err(_) => {}
        }
    }
    Err(reason)
}

/// When something ordered on a day and taking so long ends, and whether that is on or before a last day.
pub fn ends_by(ordered: Date, days: i64, last: Date) -> Option<(Date, bool)> {
    let ends = ordered.checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
    Some((ends, ends <= last))
}

/// Calendar days from one date to another.
pub fn days_between(from: Date, to: Date) -> i64 {
    from.until(to).map_or(0, |span| i64::from(span.get_days()))
}

impl Inputs {
    /// GovCloud customers with active jobs have no end of support.
    pub(crate) fn support_goes_on(&self) -> bool {
        self.who.region.starts_with("us-gov-")
    }

    /// Who asks, by these inputs.
    pub(crate) fn customer(&self) -> Customer {
        Customer {
            existing_snow: self.who.existing_customer,
            enterprise_support: self.who.enterprise_support,
            existing_dx: self.existing_dx.is_some(),
        }
    }
}

/// Whether an option can be planned with these inputs.
pub(crate) fn plannable(spec: &OptionSpec, inputs: &Inputs) -> Result<(), Reason> {
    if inputs.support_goes_on() {
        let spec = OptionSpec { end_of_support: None, ..spec.clone() };
        orderable(&spec, inputs.customer(), inputs.as_of)?;
    } else {
        orderable(spec, inputs.customer(), inputs.as_of)?;
    }
    let has = |name: &str| spec.requires.iter().any(|requirement| requirement == name);
    if has("price") && spec.tiers.is_empty() && !spec.figures.contains_key("partner_month") {
        return Err(need("its price is not published", "put the quotation into a file for --catalog"));
    }
    if has("snow-region") && !inputs.who.snow_region {
        return Err(Reason {
            text: format!("not offered in {}", inputs.who.region),
            source: Some("snow-limits".to_owned()),
            remedy: None,
        });
    }
    if has("cloud-source") && !inputs.who.source_cloud {
        return Err(need("for data that is in another cloud", "--source-cloud"));
    }
    if inputs.who.source_cloud && spec.kind != Kind::Online {
        return Err(need("the data is in another cloud, where nothing can be plugged in", ""));
    }
    if has("us-site") && inputs.who.area != "na" {
        return Err(need("only for sites in the United States", ""));
    }
    forbidden(spec, inputs)?;
    if spec.kind == Kind::Online && spec.path.unwrap_or(Path::Internet) == Path::Internet && inputs.line.is_none() {
        return Err(need("no line was given", "--link 1Gbit/s"));
    }
    within_limits(spec, inputs)
}

fn forbidden(spec: &OptionSpec, inputs: &Inputs) -> Result<(), Reason> {
    let online = spec.kind == Kind::Online;
    let private = matches!(spec.path, Some(Path::PrivateLink | Path::ExistingDx | Path::Cloud));
    for word in &inputs.terms.forbid {
        let hit = match word.as_str() {
            "internet" => online && !private,
            "physical" | "physical-media" => !online,
            "network" => online,
            other => other == spec.id || other == spec.family,
        };
        if hit {
            return Err(need(&format!("forbidden by --forbid {word}"), "take the --forbid away"));
        }
    }
    Ok(())
}

/// Most devices of one plan. Larger orders are not made one by one, and no published case comes near.
const ORDER_MAX: f64 = 400.0;

fn within_limits(spec: &OptionSpec, inputs: &Inputs) -> Result<(), Reason> {
    let source = |name: &str| spec.figures.get(name).map(|figure| figure.source.clone());
    let limit = |name: &str, text: String| Reason { text, source: source(name), remedy: None };
    if let Some(most) = spec.number("item_max")
        && inputs.largest as f64 > most * 1e12
    {
        return Err(limit(
            "item_max",
            format!("the largest file ({}) is over its limit of {most} TB", Bytes::new(inputs.largest).decimal()),
        ));
    }
    if spec.kind == Kind::Online
        && let Some(most) = spec.number("files_max")
        && inputs.files as f64 > most
    {
        return Err(limit(
            "files_max",
            format!("{} files are more than one task takes ({most}); split the dataset into tasks", inputs.files),
        ));
    }
    if let Some(least) = spec.number("min_volume")
        && (inputs.bytes as f64) < least * 1e12
    {
        return Err(limit("min_volume", format!("meant for more than {} PB", least / 1e3)));
    }
    let capacity = spec.number("capacity").filter(|_| spec.kind == Kind::ShippedDevice);
    if let Some(capacity) = capacity
        && inputs.bytes as f64 / (capacity * 1e12) > ORDER_MAX
    {
        return Err(limit(
            "capacity",
            format!("it would take more than {ORDER_MAX} devices: an order of that size is a project of its own"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::plan::catalogue::Catalogue;

    fn on(option: &str, customer: Customer, day: Date) -> bool {
        let catalogue = Catalogue::builtin().expect("valid");
        orderable(catalogue.option(option).expect("known"), customer, day).is_ok()
    }

    #[test]
    fn snowball_closed_to_new_customers_and_then_to_all() {
        let existing = Customer { existing_snow: true, ..Customer::default() };
        assert!(on("snowball-edge", Customer::default(), date(2025, 11, 6)));
        assert!(!on("snowball-edge", Customer::default(), date(2025, 11, 7)));
        assert!(on("snowball-edge", existing, date(2026, 12, 31)));
        assert!(!on("snowball-edge", existing, date(2027, 1, 1)));
    }

    #[test]
    fn snowmobile_is_history_and_the_terminal_is_new() {
        assert!(on("snowmobile", Customer::default(), date(2020, 6, 1)));
        assert!(!on("snowmobile", Customer::default(), date(2026, 11, 22)));
        let supported = Customer { enterprise_support: true, ..Customer::default() };
        assert!(on("data-transfer-terminal", supported, date(2026, 11, 22)));
        assert!(!on("data-transfer-terminal", Customer::default(), date(2026, 11, 22)));
        assert!(!on("data-transfer-terminal", supported, date(2024, 6, 1)));
    }

    #[test]
    fn an_order_ends_by_a_day_or_not() {
        assert_eq!(ends_by(date(2026, 11, 22), 30, date(2026, 12, 31)), Some((date(2026, 12, 22), true)));
        assert_eq!(days_between(date(2023, 12, 10), date(2024, 4, 4)), 116);
    }
}
