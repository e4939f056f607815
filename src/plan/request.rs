//! A question as asked, before defaults: what the command line gave.
//!
//! Owns: the list of what can be asked. Does not own defaults or checks (`inputs`). Filled in by `cli` and tests.

use jiff::civil::Date;
use serde::Serialize;

use crate::units::{BitsPerSecond, Bytes, BytesPerSecond, Count, Share, Span, Usd};

/// What the recommendation puts first among options that meet the constraints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefer {
    /// The least expected cost.
    #[default]
    Cost,
    /// The earliest 90th percentile.
    Time,
    /// The best odds of meeting the deadline.
    Risk,
}

/// What stands in when a private line fails, and is paid from the first day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standby {
    /// A second line of the same kind, at another location.
    Second,
    /// A Site-to-Site VPN over the internet line.
    Vpn,
}

/// A question, as asked: absent fields fall back to the dataset file, then to assumptions.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the fields are those of Inputs, and the command line documents each")]
pub struct Request {
    pub size: Option<Bytes>,
    pub files: Option<Count>,
    pub largest_file: Option<Bytes>,
    pub link: Option<BitsPerSecond>,
    pub share: Option<Share>,
    pub busy: Option<Share>,
    pub hours: Vec<String>,
    pub rtt_ms: Option<f64>,
    pub loss: Option<Share>,
    pub streams: Option<Count>,
    pub existing_dx: Option<BitsPerSecond>,
    pub dx_busy: Option<Share>,
    pub source_read: Option<BytesPerSecond>,
    pub workers: Option<Count>,
    pub stations: Option<Count>,
    pub devices: Option<Count>,
    pub drive_rate: Option<BytesPerSecond>,
    pub bays: Option<Count>,
    pub drives_owned: Option<Count>,
    pub far_line: Option<BitsPerSecond>,
    pub change_per_day: Option<Bytes>,
    pub growth_per_day: Option<Bytes>,
    pub window: Option<Span>,
    pub existing_customer: bool,
    pub enterprise_support: bool,
    pub region: Option<String>,
    pub start: Option<Date>,
    pub deadline: Option<Date>,
    pub within: Option<Span>,
    pub confidence: Option<Share>,
    pub budget: Option<Usd>,
    pub forbid: Vec<String>,
    pub prefer: Prefer,
    pub seed: Option<u64>,
    pub draws: Option<u32>,
    pub holidays: Vec<Date>,
    pub in_colocation: bool,
    pub source_cloud: bool,
    pub storage_class: Option<String>,
    pub egress_per_gb: Option<Usd>,
    pub standby: Option<Standby>,
}
