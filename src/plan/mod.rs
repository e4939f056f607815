//! The planner: how a dataset can be moved, by when, for how much, and with what odds.
//!
//! Owns: catalogue, model, risk and recommendation. Pure: no files, no clock, no randomness of its own; dates, seeds and
//! texts come in as values, so the same question has the same answer, byte for byte, on any machine and any number of
//! threads. Does not print. Called by `cli`; calls `units` only.

mod answer;
pub mod catalogue;
pub mod chart;
mod crossings;
pub mod dataset;
pub mod delta;
mod dist;
pub mod drives;
pub mod eligible;
mod failover;
pub mod files;
pub mod html;
mod hybrid;
pub mod inputs;
mod math;
pub mod network;
mod online;
mod options;
mod outcome;
mod own;
pub mod prices;
mod recommend;
mod remedy;
mod report;
mod request;
mod risk;
mod sample;
mod sensitivity;
mod shipped;
mod sites;
mod streams;
pub mod text;
mod waves;
mod world;

pub use answer::{Header, OptionReport, REPORT_SCHEMA, Report};
pub use crossings::{BreakEven, equal_bills_gb};
pub use failover::Failover;
pub use inputs::{Error, Inputs};
pub use outcome::{CostLine, Formula, Lane, Stage};
pub use own::terminal_slots;
pub use recommend::Recommendation;
pub use report::plan;
pub use request::{Prefer, Request, Standby};
pub use risk::{Odds, Percentiles};
pub use sensitivity::{Flip, Map, Swing};
pub use sites::{SiteLeg, SitesPlan, SitesReport};
pub use streams::{ServiceAdvice, advise_one};
