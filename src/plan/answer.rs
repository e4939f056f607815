//! The answer of a plan: its shape, as JSON has it (schema: `manifests/schemas/plan.schema.json`).
//!
//! Owns: the fields and what they mean. Does not own: how they are found (`report` and what it calls), how they are shown
//! (`text`, `html`, `chart`). Callers: all of these.

use jiff::civil::Date;
use serde::Serialize;

use crate::plan::catalogue::{Confidence, Override};
use crate::plan::crossings::BreakEven;
use crate::plan::delta::CatchUp;
use crate::plan::eligible::Reason;
use crate::plan::failover::Failover;
use crate::plan::files::Binding;
use crate::plan::inputs::InputLine;
use crate::plan::outcome::{CostLine, Formula, Lane, Stage};
use crate::plan::recommend::Recommendation;
use crate::plan::risk::{Odds, Percentiles};
use crate::plan::sensitivity::{Flip, Map, Swing};
use crate::plan::sites::SitesReport;
use crate::plan::streams::ServiceAdvice;
use crate::units::{Bytes, BytesPerSecond, Count, Days, Usd};

/// Version of the report's JSON shape.
pub const REPORT_SCHEMA: u32 = 1;

/// A whole plan.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Shape of this document.
    pub schema: u32,
    /// What was asked and with what.
    pub header: Header,
    /// Inputs with their marks.
    pub inputs: Vec<InputLine>,
    /// Options that can be had, best first.
    pub options: Vec<OptionReport>,
    /// Options that cannot, with reasons.
    pub excluded: Vec<ExcludedOption>,
    /// The pick, the runner-up, or the least bad with the smallest change.
    pub recommendation: Recommendation,
    /// What a reader must know before acting.
    pub warnings: Vec<String>,
    /// What moves the recommended option's answer most.
    pub tornado: Vec<Swing>,
    /// Where options cross.
    pub break_even: Vec<BreakEven>,
    /// What would change the answer.
    pub flips: Vec<Flip>,
    /// What stands in when the recommended private line fails.
    pub failover: Vec<Failover>,
    /// Services for data that keeps changing.
    pub services: Vec<ServiceAdvice>,
    /// Assumptions used, with their basis.
    pub assumptions: Vec<AssumptionLine>,
    /// Plans for all sites, when there are several.
    pub sites: Option<SitesReport>,
    /// What the model does not hold.
    pub not_included: Vec<&'static str>,
    /// Catalogue fields replaced by the user's file.
    pub overrides: Vec<Override>,
    /// Winner by size and link rate, and days by size.
    pub map: Map,
}

/// What was asked and with what.
#[derive(Debug, Clone, Serialize)]
pub struct Header {
    /// Version of the program.
    pub tool: String,
    /// Version of the catalogue.
    pub catalogue: String,
    /// Name of the dataset, where it has one.
    pub name: Option<String>,
    /// Size.
    pub bytes: Bytes,
    /// Files.
    pub files: Count,
    /// The day everything starts, on which availability is judged.
    pub start: Date,
    /// The day everything must be done.
    pub deadline: Option<Date>,
    /// Required probability of the deadline.
    pub confidence: f64,
    /// The most it may cost.
    pub budget: Option<Usd>,
    /// Region whose name was given; prices are those of the catalogue's Region.
    pub region: String,
    /// Seed of the draws.
    pub seed: u64,
    /// Number of draws.
    pub draws: usize,
    /// Inputs that nobody gave or measured.
    pub assumed: usize,
    /// All inputs.
    pub inputs: usize,
}

/// One option's answer.
#[derive(Debug, Clone, Serialize)]
pub struct OptionReport {
    /// Stable name.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Options of one family differ in size or speed only.
    pub family: String,
    /// Whether this is its family's best under the question's rules.
    pub best_of_family: bool,
    /// Bytes over the narrowest nominal rate: never the plan, only the floor.
    pub minimum: Days,
    /// The single estimate: every variable at its median.
    pub estimate: Days,
    /// The date of the single estimate.
    pub estimate_date: Option<Date>,
    /// Percentiles of the finish.
    pub time: Percentiles<Days>,
    /// The date of the 90th percentile.
    pub p90_date: Option<Date>,
    /// Percentiles of the cost.
    pub cost: Percentiles<Usd>,
    /// Mean cost.
    pub expected_cost: Usd,
    /// The single estimate's cost, which the cost lines add up to.
    pub estimate_cost: Usd,
    /// Odds of the deadline.
    pub deadline: Option<Odds>,
    /// Mean days late.
    pub expected_lateness: Option<Days>,
    /// Odds of exceeding the budget.
    pub over_budget: Option<Odds>,
    /// low, medium or high: how far P90 lies from P50.
    pub risk: &'static str,
    /// What holds the bulk back.
    pub binding: Binding,
    /// Dataset over the whole time: the number people remember.
    pub effective_rate: BytesPerSecond,
    /// Stages by how often they took longest.
    pub critical: Vec<(Stage, f64)>,
    /// The bill of the single estimate.
    pub costs: Vec<CostLine>,
    /// Each further month that it is left on.
    pub left_on_per_month: Usd,
    /// Formulas with numbers.
    pub formulas: Vec<Formula>,
    /// Rows of the Gantt chart.
    pub lanes: Vec<Lane>,
    /// Bytes landed by day.
    pub curve: Vec<(f64, f64)>,
    /// Catching up with changes.
    pub catch_up: Option<CatchUp>,
    /// Catching up in words.
    pub verdict: Option<String>,
    /// Devices, drives or trucks.
    pub devices: usize,
    /// Why it fails the question's constraints; empty when it meets them.
    pub fails: Vec<String>,
    /// What is not published, so not in the cost.
    pub not_in_cost: Vec<String>,
    /// What to know about it.
    pub flags: Vec<String>,
    /// Days at each percent from 1 to 99, for the curve of odds.
    pub cdf: Vec<Days>,
}

/// An option that cannot be had.
#[derive(Debug, Clone, Serialize)]
pub struct ExcludedOption {
    /// Stable name.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Family.
    pub family: String,
    /// Why.
    pub reason: Reason,
}

/// One assumption as used.
#[derive(Debug, Clone, Serialize)]
pub struct AssumptionLine {
    /// Stable name, for overriding.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Value or distribution.
    pub value: String,
    /// Unit.
    pub unit: String,
    /// Why.
    pub basis: String,
    /// How far to trust it.
    pub confidence: Confidence,
}
