//! The option catalogue: every way to move a dataset that the planner knows, with dated and sourced figures.
//!
//! Owns: the shape of the catalogue, its checks, and lookups. Does not own any figure (they live in `manifests/options`)
//! nor any formula. Invariants: a `Catalogue` that exists has passed every check in `check`; a figure without value,
//! unit, date, source and confidence cannot be loaded. Called by the planner's other modules and by `cli`.

mod check;
mod embedded;
mod load;

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::units::Usd;

pub use load::Override;

/// Everything the planner knows about the world.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Version and currency.
    pub meta: Meta,
    /// Where figures come from.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
    /// Ways to move a dataset.
    #[serde(rename = "option")]
    pub options: Vec<OptionSpec>,
    /// What is assumed where nothing is given or measured.
    #[serde(rename = "assumption")]
    pub assumptions: Vec<AssumptionSpec>,
    /// Regions by name.
    #[serde(rename = "region")]
    pub regions: Vec<Region>,
    /// Limits and prices of services for changing data.
    #[serde(rename = "limit")]
    pub limits: Vec<Limit>,
    /// What S3 charges and limits.
    pub s3: BTreeMap<String, Figure>,
    /// Storage classes of S3.
    #[serde(rename = "storage_class")]
    pub storage_classes: Vec<StorageClass>,
    /// Fields that a user's file replaced, in order.
    #[serde(skip)]
    pub overrides: Vec<Override>,
}

/// Version of the catalogue as a whole.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// The date it was last edited.
    pub version: String,
    /// Always USD.
    pub currency: String,
    /// The Region whose prices it holds.
    pub region: String,
}

/// A page or a document.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Short name used by figures.
    pub id: String,
    /// Address or description.
    #[serde(rename = "where")]
    pub place: String,
    /// When it was read.
    pub read_on: Date,
}

/// How far a figure can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// The user gave it.
    Given,
    /// The vendor's own page says so.
    Sure,
    /// Older or second-hand.
    Stale,
    /// An estimate.
    Guess,
}

/// One number from the world. `value` is decimal text, never a float.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The value, or the likely one of three, or the median of a lognormal.
    pub value: String,
    /// Least value, where a range is known.
    pub low: Option<String>,
    /// Greatest value.
    pub high: Option<String>,
    /// The 90th percentile of a lognormal.
    pub p90: Option<String>,
    /// fixed, uniform, triangular, pert, lognormal or event.
    pub shape: Option<String>,
    /// Unit, one of the list in `check`.
    pub unit: String,
    /// Region or route it holds for; `any` for physics and limits.
    pub region: String,
    /// The date for which it was true.
    pub as_of: Date,
    /// How far to trust it.
    pub confidence: Confidence,
    /// Id of a source.
    pub source: String,
    /// Anything a reader should know.
    pub note: Option<String>,
}

/// A date with its source.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DateFact {
    /// The date.
    pub date: Date,
    /// How far to trust it.
    pub confidence: Confidence,
    /// Id of a source.
    pub source: String,
    /// Scope or precision.
    pub note: Option<String>,
}

/// How an option moves bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Over a line.
    Online,
    /// A provider's device by parcel.
    ShippedDevice,
    /// A provider's truck.
    Truck,
    /// Own drives to a provider's room.
    Terminal,
    /// Own drives to any other site with bandwidth.
    OwnDrives,
}

/// Which line an online option uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// The internet line the user described.
    Internet,
    /// A line of its own, ordered for this.
    PrivateLink,
    /// A Direct Connect the user already has.
    ExistingDx,
    /// From another cloud, without the user's line.
    Cloud,
}

/// Whether scan, copy and verification follow each other or run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageOrder {
    /// One after the other.
    Sequential,
    /// At the same time; the longest counts.
    Overlapped,
}

/// When port-hours begin to be billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Billing {
    /// When the connection is accepted.
    FromAcceptance,
    /// When the port is up, or a fixed time after the letter of authorisation, whichever is first.
    FromPortUp,
}

/// A fee that depends on how much is loaded.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Up to so many TB the fee holds.
    pub upto_tb: String,
    /// Fee per job.
    pub fee: Figure,
}

/// One way to move a dataset.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OptionSpec {
    /// Stable name.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Options of one family differ in size or speed only.
    pub family: String,
    /// How it moves bytes.
    pub kind: Kind,
    /// aws, partner or own.
    pub provider: String,
    /// Conditions that the user must meet.
    #[serde(default)]
    pub requires: Vec<String>,
    /// Which line, for online options.
    pub path: Option<Path>,
    /// Order of stages, for online options.
    pub stages: Option<StageOrder>,
    /// Start of billing, for lines ordered.
    pub billing: Option<Billing>,
    /// Places, where it is bound to places.
    #[serde(default)]
    pub locations: Vec<String>,
    /// Anything a reader should know.
    pub note: Option<String>,
    /// What was looked for and not found.
    #[serde(default)]
    pub unknown: Vec<String>,
    /// First day on which it could be ordered.
    pub available_from: Option<DateFact>,
    /// Last day on which anybody could order it.
    pub available_until: Option<DateFact>,
    /// Last day on which a new customer could order it.
    pub new_customers_until: Option<DateFact>,
    /// Last day on which a job can be finished.
    pub end_of_support: Option<DateFact>,
    /// Fees by load, ascending.
    #[serde(default)]
    pub tiers: Vec<Tier>,
    /// Figures by name.
    #[serde(default)]
    pub figures: BTreeMap<String, Figure>,
}

/// What is assumed about one quantity.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AssumptionSpec {
    /// Stable name; also the name of its random variable.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Value or distribution.
    pub figure: Figure,
    /// Why this and not another.
    pub basis: String,
}

/// A Region.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Name, such as `us-east-1`.
    pub id: String,
    /// Price area: na, eu, asia, sa, africa.
    pub area: String,
    /// Whether Snow devices were offered.
    pub snow: bool,
    /// Whether it is one of those with the highest default limits of the services for changing data.
    #[serde(default)]
    pub large: bool,
}

/// A limit or price of a service for changing data.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Stable name.
    pub id: String,
    /// The service.
    pub service: String,
    /// What it limits.
    pub what: String,
    /// The figure that notes of about 2020 taught, in the same unit.
    pub seed: Option<String>,
    /// The figure that holds now.
    pub today: Figure,
}

/// A storage class of S3.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StorageClass {
    /// Name as in the API.
    pub id: String,
    /// Prices and minimums.
    pub figures: BTreeMap<String, Figure>,
}

/// Why a catalogue cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Not TOML, or not of the catalogue's shape.
    #[error("catalogue {file} cannot be read")]
    Syntax {
        /// File name.
        file: String,
        /// What the parser said.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A figure or a reference breaks a rule.
    #[error("catalogue entry {entry}: {rule}")]
    Rule {
        /// `option.figure`.
        entry: String,
        /// What is wrong and what is allowed.
        rule: String,
    },
}

impl Figure {
    /// The value as a double. Catalogue checks make sure that it is a number.
    pub(crate) fn number(&self) -> f64 {
        self.value.parse().unwrap_or(0.0)
    }

    /// The lower bound, or the value.
    pub(crate) fn low(&self) -> f64 {
        self.low.as_ref().and_then(|text| text.parse().ok()).unwrap_or_else(|| self.number())
    }

    /// The upper bound, or the value.
    pub(crate) fn high(&self) -> f64 {
        self.high.as_ref().and_then(|text| text.parse().ok()).unwrap_or_else(|| self.number())
    }

    /// The 90th percentile, or the value.
    pub(crate) fn p90(&self) -> f64 {
        self.p90.as_ref().and_then(|text| text.parse().ok()).unwrap_or_else(|| self.number())
    }

    /// The value as money, exactly.
    pub(crate) fn usd(&self) -> Usd {
        self.value.parse().unwrap_or(Usd::ZERO)
    }
}

impl OptionSpec {
    /// A figure's value, where the option has it.
    pub(crate) fn number(&self, figure: &str) -> Option<f64> {
        self.figures.get(figure).map(Figure::number)
    }

    /// A price, zero where the option has none.
    pub(crate) fn usd(&self, figure: &str) -> Usd {
        self.figures.get(figure).map_or(Usd::ZERO, Figure::usd)
    }
}

impl Catalogue {
    /// The option of that id, or the first option of that family.
    pub fn option(&self, name: &str) -> Option<&OptionSpec> {
        let by_id = self.options.iter().find(|option| option.id == name);
        by_id.or_else(|| self.options.iter().find(|option| option.family == name))
    }

    /// The assumption of that id.
    pub(crate) fn assumption(&self, id: &str) -> Option<&AssumptionSpec> {
        self.assumptions.iter().find(|assumption| assumption.id == id)
    }

    /// Today's value of a service limit.
    pub(crate) fn limit(&self, id: &str) -> Option<&Limit> {
        self.limits.iter().find(|limit| limit.id == id)
    }
}
