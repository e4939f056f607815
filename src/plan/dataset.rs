//! The dataset file: what `scan` found and `probe` measured, and what a person wrote, read by `plan`.
//!
//! Owns: the file's shape (schema: `manifests/schemas/dataset.schema.json`). Does not own defaults: an absent field is
//! absent, and the planner says what it assumes instead. Invariant: each field says whether it was measured, given or
//! assumed; a bare value counts as given. Written by `cli` for `scan` and `probe`, read by `cli` for `plan`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::units::{BitsPerSecond, Bytes, BytesPerSecond, Count, Share, Span, Usd};

/// Version of the file's shape.
pub const SCHEMA: u32 = 1;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// A tool measured it.
    Measured,
    /// A person gave it.
    Given,
    /// Nobody knows; a default stands in.
    Assumed,
}

/// A value with its mark. In TOML either the bare value (then it counts as given) or `{ value = .., mark = ".." }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Marked<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub mark: Mark,
}

impl<T> Marked<T> {
    /// A measured value.
    pub const fn measured(value: T) -> Self {
        Self { value, mark: Mark::Measured }
    }

    /// A given value.
    pub const fn given(value: T) -> Self {
        Self { value, mark: Mark::Given }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Marked<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either<T> {
            Full { value: T, mark: Mark },
            Bare(T),
        }
        Ok(match Either::deserialize(d)? {
            Either::Full { value, mark } => Self { value, mark },
            Either::Bare(value) => Self::given(value),
        })
    }
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatasetFile {
    /// Shape of the file, now 1.
    pub schema: u32,
    /// What is to be moved.
    pub dataset: Dataset,
    /// Where it is.
    pub site: Site,
    /// The line from there.
    pub link: Link,
    /// A Direct Connect that exists already.
    pub direct_connect: Link,
    /// How the data changes while it moves.
    pub change: ChangeRates,
    /// Sources of change that need a service of their own.
    #[serde(rename = "source", skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<ChangeSource>,
    /// What is done already, to plan again from.
    pub actual: Actuals,
    /// Further sites whose data goes to the same place.
    #[serde(rename = "branch", skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<Branch>,
}

/// A further site with data of its own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Branch {
    /// Name for reports.
    pub name: String,
    /// What is to be moved from there.
    pub dataset: Dataset,
    /// What is there.
    pub site: Site,
    /// The line from there to the provider.
    pub link: Link,
    /// The line from there to the other sites.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub between: Option<Marked<BitsPerSecond>>,
}

impl Branch {
    /// The same as a dataset file of its own.
    pub(crate) fn as_file(&self) -> DatasetFile {
        DatasetFile {
            dataset: self.dataset.clone(),
            site: self.site.clone(),
            link: self.link.clone(),
            ..DatasetFile::default()
        }
    }
}

/// What is to be moved.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dataset {
    /// Name for reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Bytes of all files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Marked<Bytes>>,
    /// How many files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Marked<Count>>,
    /// How many directories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directories: Option<Marked<Count>>,
    /// The largest file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest_file: Option<Marked<Bytes>>,
    /// Stored over plain bytes in a sample, 0 to 1: 0.4 means that 60 % are saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compressed_ratio: Option<Marked<Share>>,
    /// Entries that could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Marked<Count>>,
    /// Names and kinds that will bite, by hazard: how many entries.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hazards: BTreeMap<String, u64>,
    /// Files by size, ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub histogram: Vec<HistogramBucket>,
}

/// Files up to a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistogramBucket {
    /// Largest size in this bucket.
    pub up_to: Bytes,
    /// How many files.
    pub files: Count,
    /// Their bytes together.
    pub bytes: Bytes,
}

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// How fast the source can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_read: Option<Marked<BytesPerSecond>>,
    /// Files listed per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan_rate: Option<Marked<Count>>,
    /// How fast one volume can be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_write: Option<Marked<BytesPerSecond>>,
    /// Fixed time per file and worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_cost_ms: Option<Marked<f64>>,
    /// Parallel file workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<Marked<Count>>,
    /// Devices that can be filled at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stations: Option<Marked<Count>>,
    /// The network inside the building, towards devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lan: Option<Marked<BitsPerSecond>>,
    /// The line at the far site to which drives are brought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub far_line: Option<Marked<BitsPerSecond>>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// Rate on the label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Marked<BitsPerSecond>>,
    /// Share we may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Marked<Share>>,
    /// Share that others already use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy: Option<Marked<Share>>,
    /// Hours with another share, such as `mon-fri 08-18 30%`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<String>,
    /// Round trip in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<Marked<f64>>,
    /// Share of packets lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Marked<Share>>,
    /// Parallel connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<Marked<Count>>,
    /// Window of one connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Marked<Bytes>>,
    /// Upload rate to the bucket, measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_rate: Option<Marked<BytesPerSecond>>,
    /// What the provider of the line asks beyond its flat fee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tariff: Option<Tariff>,
}

/// What the provider of a line asks beyond its flat fee: for bytes over an allowance, for the busiest hours, or both.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tariff {
    /// Bytes of a month that are in the flat fee.
    pub included_per_month: Bytes,
    /// Price of each GB beyond them.
    pub usd_per_gb: Usd,
    /// Rate that is in the flat fee, where the 95th percentile of a month's traffic is billed.
    pub committed: BitsPerSecond,
    /// Price a month of each Mbit/s of that percentile beyond it.
    pub usd_per_mbit: Usd,
}

/// How the data changes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChangeRates {
    /// Bytes rewritten per day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewritten_per_day: Option<Marked<Bytes>>,
    /// Bytes added per day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth_per_day: Option<Marked<Bytes>>,
    /// Bytes that are ever rewritten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_set: Option<Marked<Bytes>>,
    /// Bytes resent for each byte changed: whole-file tools resend the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amplification: Option<Marked<f64>>,
    /// How long the source may stand still at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Marked<Span>>,
}

/// Kind of a source of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Files that are rewritten: a catch-up lane of the bulk itself.
    #[default]
    Files,
    /// A database with a change log.
    Database,
    /// Log files on servers.
    Log,
    /// Events.
    Stream,
    /// Work items, each to be processed once.
    Messages,
    /// Things that publish.
    Devices,
}

/// A source of change that goes on during the move.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSource {
    /// Name for reports.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// Bytes per second, on average.
    #[serde(default)]
    pub rate: BytesPerSecond,
    /// Records, messages or publishes per second.
    #[serde(default)]
    pub records_per_s: f64,
    /// The largest record.
    #[serde(default)]
    pub record_max: Bytes,
    /// Applications that read it.
    #[serde(default)]
    pub consumers: u32,
    /// Data must be seen within so many seconds; zero when it does not matter.
    #[serde(default)]
    pub latency_s: f64,
    /// It must be read again, or by several.
    #[serde(default)]
    pub replay: bool,
    /// Nobody wants to run anything: delivery to S3 is enough.
    #[serde(default)]
    pub managed: bool,
    /// Order matters.
    #[serde(default)]
    pub ordered: bool,
    /// Kafka clients exist and stay.
    #[serde(default)]
    pub kafka: bool,
    /// How many devices or servers.
    #[serde(default)]
    pub count: u64,
    /// Protocol of devices: mqtt, websocket, http, ftp.
    #[serde(default)]
    pub protocol: String,
    /// Database engine at the source.
    #[serde(default)]
    pub engine: String,
    /// Database engine at the target.
    #[serde(default)]
    pub target_engine: String,
    /// How long the source keeps its change log.
    #[serde(default)]
    pub log_kept: Span,
    /// Shards of a stream that exists already.
    #[serde(default)]
    pub shards: u64,
    /// What its consumers are seen to read.
    #[serde(default)]
    pub observed_read: BytesPerSecond,
    /// A device's wanted state must be set while it is offline.
    #[serde(default)]
    pub set_state: bool,
    /// Database size, for the first load.
    #[serde(default)]
    pub size: Bytes,
    /// How fast the target applies changes, measured; zero when unknown.
    #[serde(default)]
    pub apply_rate: BytesPerSecond,
}

/// What a running job has done.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Actuals {
    /// Bytes that have arrived already and need not be planned again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landed: Option<Bytes>,
    /// Files that have arrived already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landed_files: Option<Count>,
    /// Bytes that are on drives already and have not arrived yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged: Option<Bytes>,
    /// Finished stages: median and weight are refitted from them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stage: Vec<ActualStage>,
}

/// One finished stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActualStage {
    /// Id of the assumption it replaces, such as `device-prep` or `receive`.
    pub id: String,
    /// How long it took, in days.
    pub days: f64,
}

impl DatasetFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// What the TOML parser says, with line and column.
    pub fn parse(text: &str) -> Result<Self, Box<toml::de::Error>> {
        toml::from_str(text).map_err(Box::new)
    }

    /// The file's text.
    ///
    /// # Errors
    /// Never for values that came from `parse` or from measurement.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_values_are_given_and_tables_keep_their_mark() {
        let file = DatasetFile::parse(
            "[dataset]\nbytes = \"400TB\"\nfiles = { value = 12000000, mark = \"measured\" }\n[link]\nrate = \"1Gbit/s\"\nshare = \"80%\"\n",
        )
        .expect("valid");
        assert_eq!(file.dataset.bytes.map(|b| b.mark), Some(Mark::Given));
        assert_eq!(file.dataset.files, Some(Marked::measured(Count::new(12_000_000))));
        assert_eq!(file.link.rate.map(|r| r.value), Some(BitsPerSecond::new(1_000_000_000)));
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut file = DatasetFile { schema: SCHEMA, ..DatasetFile::default() };
        file.dataset.bytes = Some(Marked::measured(Bytes::new(123_456_789)));
        file.dataset.hazards.insert("name-not-utf8".to_owned(), 3);
        file.dataset.histogram =
            vec![HistogramBucket { up_to: Bytes::new(4096), files: Count::new(9), bytes: Bytes::new(1000) }];
        file.site.source_read = Some(Marked::measured(BytesPerSecond::new(123.5e6)));
        file.actual.stage = vec![ActualStage { id: "receive".to_owned(), days: 4.5 }];
        let text = file.to_toml().expect("writes");
        assert_eq!(DatasetFile::parse(&text).expect("reads"), file, "{text}");
    }

    #[test]
    fn unknown_fields_and_bad_units_are_refused() {
        assert!(DatasetFile::parse("[dataset]\nsize = 5\n").is_err());
        let error = DatasetFile::parse("[link]\nrate = \"100mb\"\n").expect_err("unit").to_string();
        assert!(!error.is_empty());
    }
}
