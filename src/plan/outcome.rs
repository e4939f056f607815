//! What one simulated world gives: when it ends, what it costs, where the time went, and, when asked, every step of it.
//!
//! Owns: the shape of results shared by all options. Invariant: the ledger's lines add up to its total exactly.
//! Written by the option models, read by risk, charts and explanations.

use serde::Serialize;

use crate::plan::delta::CatchUp;
use crate::plan::files::Binding;
use crate::units::Usd;

/// Stages a plan can have, in the order of a journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "label() documents each")]
pub enum Stage {
    Lead,
    Prepare,
    WaitForDevice,
    DevicePrep,
    TransitOut,
    WaitForStation,
    Fill,
    ReadBack,
    Pickup,
    TransitBack,
    Travel,
    Booking,
    Receive,
    Scan,
    Copy,
    Verify,
    Ingest,
    Resend,
    CatchUp,
    Cutover,
}

/// How many stages there are.
pub(crate) const STAGES: usize = 20;

/// Every stage in order.
pub(crate) const ALL_STAGES: [Stage; STAGES] = [
    Stage::Lead,
    Stage::Prepare,
    Stage::WaitForDevice,
    Stage::DevicePrep,
    Stage::TransitOut,
    Stage::WaitForStation,
    Stage::Fill,
    Stage::ReadBack,
    Stage::Pickup,
    Stage::TransitBack,
    Stage::Travel,
    Stage::Booking,
    Stage::Receive,
    Stage::Scan,
    Stage::Copy,
    Stage::Verify,
    Stage::Ingest,
    Stage::Resend,
    Stage::CatchUp,
    Stage::Cutover,
];

impl Stage {
    /// Name for people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Lead => "order and wait",
            Self::Prepare => "prepare",
            Self::WaitForDevice => "wait for a device",
            Self::DevicePrep => "device prepared",
            Self::TransitOut => "parcel out",
            Self::WaitForStation => "wait for a station",
            Self::Fill => "fill",
            Self::ReadBack => "read back",
            Self::Pickup => "wait for pickup",
            Self::TransitBack => "parcel back",
            Self::Travel => "travel",
            Self::Booking => "wait for the slot",
            Self::Receive => "receive and queue",
            Self::Scan => "scan",
            Self::Copy => "copy",
            Self::Verify => "verify",
            Self::Ingest => "import",
            Self::Resend => "second trip",
            Self::CatchUp => "catch up",
            Self::Cutover => "cut over",
        }
    }
}

/// One simulated world, briefly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// Days from the start until everything has landed and is caught up; infinite when that never happens.
    pub(crate) finish: f64,
    /// Days until the bulk has landed.
    pub(crate) landed: f64,
    /// Everything it costs.
    pub(crate) cost: Usd,
    /// Days spent in each stage on the way of the last byte.
    pub(crate) stages: [f64; STAGES],
    /// What held the bulk back.
    pub(crate) binding: Binding,
}

impl Outcome {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self { finish: 0.0, landed: 0.0, cost: Usd::ZERO, stages: [0.0; STAGES], binding: Binding::Link }
    }

    /// Adds time to a stage.
    pub(crate) fn spend(&mut self, stage: Stage, days: f64) {
        self.stages[stage as usize] += days.max(0.0);
    }

    /// The stage that took longest.
    pub(crate) fn longest(&self) -> Stage {
        let mut best = Stage::Lead;
        for stage in ALL_STAGES {
            if self.stages[stage as usize] > self.stages[best as usize] {
                best = stage;
            }
        }
        best
    }
}

/// One item of a bill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CostLine {
    /// What is paid.
    pub item: String,
    /// How much.
    pub amount: Usd,
    /// The multiplication with its units.
    pub formula: String,
}

/// One bar of a Gantt chart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    /// Which stage.
    pub stage: Stage,
    /// Days from the start.
    pub start: f64,
    /// Days from the start.
    pub end: f64,
}

/// One row of a Gantt chart: a device, or the line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lane {
    /// Name of the row.
    pub name: String,
    /// Its stages in order.
    pub spans: Vec<Span>,
    /// Whether the last byte came this way.
    pub critical: bool,
}

/// One formula with its numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Formula {
    /// What is computed.
    pub what: String,
    /// The formula with numbers and units in place of names.
    pub text: String,
}

/// Every step of the single estimate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    pub(crate) lanes: Vec<Lane>,
    pub(crate) costs: Vec<CostLine>,
    pub(crate) formulas: Vec<Formula>,
    /// Bytes landed by day, ascending.
    pub(crate) curve: Vec<(f64, f64)>,
    pub(crate) catch_up: Option<CatchUp>,
    pub(crate) verdict: Option<String>,
    /// What each further month costs when nobody tears it down.
    pub(crate) left_on_per_month: Usd,
    pub(crate) notes: Vec<String>,
    pub(crate) devices: usize,
}

/// A trace that may be absent: the draws of a Monte Carlo run pay nothing for it.
pub(crate) type MaybeTrace<'a> = Option<&'a mut Trace>;

/// Adds an item to the bill, with its formula only when somebody reads it.
pub(crate) fn charge(
    outcome: &mut Outcome,
    trace: &mut MaybeTrace<'_>,
    item: &str,
    amount: Usd,
    formula: impl FnOnce() -> String,
) {
    if amount == Usd::ZERO {
        return;
    }
    outcome.cost += amount;
    if let Some(trace) = trace.as_deref_mut() {
        trace.costs.push(CostLine { item: item.to_owned(), amount, formula: formula() });
    }
}

/// Notes a formula when somebody reads it.
pub(crate) fn explain(trace: &mut MaybeTrace<'_>, what: &str, text: impl FnOnce() -> String) {
    if let Some(trace) = trace.as_deref_mut() {
        trace.formulas.push(Formula { what: what.to_owned(), text: text() });
    }
}

/// Adds a row of consecutive stages to the Gantt chart; stages without length are left out.
pub(crate) fn lane(trace: &mut MaybeTrace<'_>, name: &str, critical: bool, start: f64, stages: &[(Stage, f64)]) {
    let Some(trace) = trace.as_deref_mut() else { return };
    let mut from = start;
    let mut spans = Vec::new();
    for (stage, end) in stages {
        if *end > from {
            spans.push(Span { stage: *stage, start: from, end: *end });
            from = *end;
        }
    }
    trace.lanes.push(Lane { name: name.to_owned(), spans, critical });
}
