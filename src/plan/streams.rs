//! Services for data that keeps changing while the bulk moves: which one, how large, and what it cannot do.
//!
//! Owns: choosing and sizing from the catalogue's limits. Does not own a list of questions with answers: a choice follows
//! from rates, sizes, readers, latency and time, and every limit used is named with what older notes taught. Called by
//! `report`.

use serde::Serialize;

use crate::plan::catalogue::Catalogue;
use crate::plan::dataset::{ChangeSource, SourceKind};
use crate::plan::world::World;
use crate::units::{BytesPerSecond, Count, Days, Usd};

/// What to set up for one source of change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceAdvice {
    /// The source's name.
    pub source: String,
    /// The service, or services in order of the data's way.
    pub service: String,
    /// Why this one.
    pub reasons: Vec<String>,
    /// How large, with the division shown.
    pub sizing: Vec<String>,
    /// What to watch.
    pub warnings: Vec<String>,
    /// Limits used.
    pub limits: Vec<LimitUsed>,
    /// Price per month, where the catalogue has it.
    pub per_month: Usd,
    /// Typical delay until it can be read or has landed, in seconds.
    pub delay_s: Option<f64>,
}

/// A limit as used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LimitUsed {
    /// Stable name.
    pub id: String,
    /// Today's figure with its unit.
    pub today: String,
    /// What notes of about 2020 taught, where it differs.
    pub once: Option<String>,
}

/// Advice while it is put together.
struct Draft<'a> {
    catalogue: &'a Catalogue,
    advice: ServiceAdvice,
    /// One of the Regions with the highest default limits.
    large_region: bool,
}

/// Hours of a month for prices.
const MONTH_HOURS: u64 = 730;
const MONTH_SECONDS: f64 = 730.0 * 3600.0;

impl Draft<'_> {
    /// Today's figure of a limit, which is then named in the advice.
    fn limit(&mut self, id: &str) -> f64 {
        // Some defaults are higher in the largest Regions: an entry of its own then holds.
        let large = self.large_region.then(|| format!("{id}-large"));
        let id = large.as_deref().filter(|id| self.catalogue.limit(id).is_some()).unwrap_or(id);
        let Some(limit) = self.catalogue.limit(id) else { return f64::INFINITY };
        if !self.advice.limits.iter().any(|used| used.id == id) {
            let once = limit
                .seed
                .as_ref()
                .filter(|seed| **seed != limit.today.value)
                .map(|seed| format!("{seed} {}", limit.today.unit));
            let today = format!("{} {} ({})", limit.today.value, limit.today.unit, limit.what);
            self.advice.limits.push(LimitUsed { id: id.to_owned(), today, once });
        }
        limit.today.number()
    }

    fn price(&self, id: &str) -> Usd {
        self.catalogue.limit(id).map_or(Usd::ZERO, |limit| limit.today.usd())
    }

    fn because(&mut self, reason: impl Into<String>) {
        self.advice.reasons.push(reason.into());
    }

    fn size(&mut self, text: impl Into<String>) {
        self.advice.sizing.push(text.into());
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.advice.warnings.push(text.into());
    }
}

/// Advice for every source; `bulk` is how long the bulk takes at P90, which everything must outlast.
pub(crate) fn advise(world: &World<'_>, bulk: Days) -> Vec<ServiceAdvice> {
    let large = world.inputs.who.large_region;
    world.inputs.sources.iter().map(|source| advise_one(world.catalogue, source, bulk, large)).collect()
}

/// Advice for one source of change that goes on for as long as the bulk takes; `large_region` is one of those with the
/// highest default limits.
pub fn advise_one(catalogue: &Catalogue, source: &ChangeSource, bulk: Days, large_region: bool) -> ServiceAdvice {
    let advice = ServiceAdvice {
        source: source.name.clone(),
        service: String::new(),
        reasons: Vec::new(),
        sizing: Vec::new(),
        warnings: Vec::new(),
        limits: Vec::new(),
        per_month: Usd::ZERO,
        delay_s: None,
    };
    let mut draft = Draft { catalogue, advice, large_region };
    match source.kind {
        SourceKind::Files => files(&mut draft),
        SourceKind::Database => database(&mut draft, source, bulk),
        SourceKind::Messages => queue(&mut draft, source, bulk),
        SourceKind::Devices => devices(&mut draft, source, bulk),
        SourceKind::Log => {
            draft.because(
                "log files on servers: Kinesis Agent follows rotation, checkpoints, retries and reports to CloudWatch",
            );
            stream(&mut draft, source, bulk);
            draft.advice.service = format!("Kinesis Agent -> {}", draft.advice.service);
        }
        SourceKind::Stream => stream(&mut draft, source, bulk),
    }
    draft.advice
}

fn files(draft: &mut Draft<'_>) {
    draft.advice.service = "catch-up rounds of the bulk itself".to_owned();
    draft.because("changed files go the bulk's own way; see the catch-up verdict of each option");
}

fn database(draft: &mut Draft<'_>, source: &ChangeSource, bulk: Days) {
    let same = !source.engine.is_empty() && source.engine.eq_ignore_ascii_case(&source.target_engine);
    draft.advice.service = "Database Migration Service with change data capture".to_owned();
    draft.because("the source stays in use while it is copied, and its change log is replayed at the target");
    if same {
        draft.because(format!(
            "{} to {}: homogeneous, so the schema needs no conversion",
            source.engine, source.target_engine
        ));
    } else if !source.engine.is_empty() {
        draft.because(format!(
            "{} to {}: heterogeneous, so convert the schema first",
            source.engine, source.target_engine
        ));
    }
    let load = if source.size.get() > 0 { bulk } else { Days::ZERO };
    let cached = source.rate.get() * load.secs();
    draft.size(format!(
        "changes cached during a first load of {load}: {} * {load} = {:.2} TB of instance storage",
        source.rate,
        cached / 1e12
    ));
    let account = draft.limit("dms-storage") * 1e9;
    if cached > account {
        draft.warn(format!("that is more than the {:.0} TB an account has by default", account / 1e12));
    }
    let (apply, change) = (source.apply_rate.get(), source.rate.get());
    if apply > change {
        draft.size(format!(
            "catching up after the load: {:.2} TB / ({} applied - {} changed) = {}",
            cached / 1e12,
            source.apply_rate,
            source.rate,
            Days::from_secs(cached / (apply - change))
        ));
    } else if apply > 0.0 {
        draft.warn(format!(
            "the target applies {} and the source changes {}: it never catches up; a larger instance, or several tasks",
            source.apply_rate, source.rate
        ));
    }
    let kept = source.log_kept.days();
    if bulk.is_finite() && kept.get() < bulk.get() {
        draft.warn(format!("the source keeps its change log for {kept}, the bulk takes {bulk} (P90): keep it longer, or capture starts with a gap"));
    } else {
        draft.size(format!("change log kept {kept}, bulk {bulk}: capture can start from the bulk's snapshot"));
    }
    if apply <= 0.0 {
        draft.warn("no throughput per instance is published: measure what the target applies (apply_rate) and the log volume per hour".to_owned());
    }
    let tasks = draft.limit("dms-tasks");
    draft.size(format!("one task for each schema that may wait for itself; up to {tasks} on an instance"));
}

fn queue(draft: &mut Draft<'_>, source: &ChangeSource, bulk: Days) {
    draft.because("work items are done once and then deleted: a queue, not a stream");
    if source.replay || source.consumers > 1 {
        draft.because(format!("but {} readers or reading again need a stream", source.consumers));
        return stream(draft, source, bulk);
    }
    let rate = source.records_per_s;
    let (single, batched) = (draft.limit("sqs-fifo-rate"), draft.limit("sqs-fifo-batched"));
    draft.advice.service = if source.ordered { "SQS FIFO".to_owned() } else { "SQS standard".to_owned() };
    if source.ordered {
        draft.size(format!("{rate} messages/s against {single} without batches and {batched} with"));
        if rate > batched {
            draft.warn(
                "over the default rate of a FIFO queue: high-throughput mode with many message groups, or a stream"
                    .to_owned(),
            );
        }
    } else {
        draft.size(format!("{rate} messages/s: a standard queue has no rate limit"));
        draft.warn("a standard queue may deliver twice and out of order".to_owned());
    }
    let largest = draft.limit("sqs-message-size");
    if source.record_max.get() as f64 > largest {
        draft.warn(format!("messages up to {} are over {largest} bytes: put the body into S3 (extended client) and queue the reference", source.record_max));
    }
    let kept = draft.limit("sqs-retention");
    if bulk.is_finite() && bulk.get() > kept {
        draft.warn(format!(
            "a queue keeps messages for {kept} days, the bulk takes {bulk} (P90): consume while it moves, or archive"
        ));
    }
    let in_flight = draft.limit("sqs-in-flight");
    draft.size(format!("at most {in_flight} messages received and not yet deleted"));
}

fn devices(draft: &mut Draft<'_>, source: &ChangeSource, bulk: Days) {
    draft.because("things that publish talk to IoT Core over MQTT, WebSocket or HTTPS");
    if !source.protocol.is_empty()
        && !["mqtt", "websocket", "http", "https"].contains(&source.protocol.to_lowercase().as_str())
    {
        draft.warn(format!(
            "the device gateway does not speak {}: translate at the edge",
            source.protocol.to_uppercase()
        ));
    }
    if source.set_state {
        draft.because("state is set on the device shadow and synchronised when the device is back");
    }
    let count = source.count.max(1) as f64;
    let (each, bytes) = (source.records_per_s / count, source.rate.get() / count);
    let (publish, volume) = (draft.limit("iot-publish-rate"), draft.limit("iot-byte-rate"));
    draft.size(format!(
        "per device {each:.3} messages/s (limit {publish}) and {} (limit {})",
        BytesPerSecond::new(bytes),
        BytesPerSecond::new(volume)
    ));
    let account = draft.limit("iot-account-rate");
    if each > publish || bytes > volume {
        draft
            .warn("a device is over the limit of its connection: several connections, or batch at the edge".to_owned());
    }
    if source.records_per_s > account {
        draft.warn(format!(
            "{} messages/s in all are over the account's {account}: ask for more, or batch at the edge",
            source.records_per_s
        ));
    }
    let connections = draft.limit("iot-connections");
    if count > connections {
        draft.warn(format!("{} devices are over {connections} connections", Count::new(source.count)));
    }
    let largest = draft.limit("iot-message-size");
    if source.record_max.get() as f64 > largest {
        draft.warn(format!("messages up to {} are over {largest} bytes", source.record_max));
    }
    stream(draft, source, bulk);
    draft.advice.service = format!("IoT Core topic -> rule action -> {}", draft.advice.service);
}

/// Firehose, Kinesis Data Streams or Kafka.
fn stream(draft: &mut Draft<'_>, source: &ChangeSource, bulk: Days) {
    if source.kafka {
        return kafka(draft, source, bulk);
    }
    let several = source.consumers > 1 || source.replay;
    let landing = firehose_delay(draft, source.rate);
    let too_slow = source.latency_s > 0.0 && landing > source.latency_s && source.latency_s < 60.0;
    if !several && !too_slow && (source.managed || source.consumers == 0) {
        return firehose(draft, source, landing);
    }
    draft.advice.limits.retain(|used| !used.id.starts_with("firehose"));
    if several {
        draft.because(format!(
            "{} readers or reading again: records must stay after they are read",
            source.consumers.max(1)
        ));
    }
    if too_slow {
        draft.because(format!(
            "wanted within {} s, delivered by Firehose in {landing:.0} s at this rate",
            source.latency_s
        ));
    }
    kinesis(draft, source, bulk);
}

/// Seconds until a buffer is full or its time is up, at the largest buffer of the size that notes suggest (32 MiB) and
/// the shortest time that every quota page still prints (60 s).
fn firehose_delay(draft: &mut Draft<'_>, rate: BytesPerSecond) -> f64 {
    let size = draft.limit("firehose-buffer-size").min(32.0) * 1_048_576.0;
    let shortest = draft.limit("firehose-buffer-time-min").max(60.0);
    if rate.get() > 0.0 { (size / rate.get()).min(shortest) } else { shortest }
}

fn firehose(draft: &mut Draft<'_>, source: &ChangeSource, landing: f64) {
    draft.advice.service = "Data Firehose".to_owned();
    draft.because("delivery to S3 is all that is asked: managed, scales by itself, paid by use");
    let put = draft.limit("firehose-direct-put") * 1_048_576.0;
    draft.size(format!(
        "{} against {} per stream at first; it grows when throttled, or put a stream in front",
        source.rate,
        BytesPerSecond::new(put)
    ));
    draft.size(format!("lands after about {landing:.0} s: the buffer is full or its time is up, whichever is first"));
    draft.advice.delay_s = Some(landing);
    let largest = draft.limit("firehose-record-size");
    if source.record_max.get() as f64 > largest {
        draft.warn(format!("records up to {} are over {largest} bytes", source.record_max));
    }
    let kept = draft.limit("firehose-kept");
    draft.warn(format!("it keeps nothing to be read again, and holds data for {kept} h when the target is down; DynamoDB is not a target, and Spark cannot read from it"));
    let rounding = draft.limit("firehose-rounding");
    let record = if source.records_per_s > 0.0 { source.rate.get() / source.records_per_s } else { rounding };
    let records = if source.records_per_s > 0.0 { source.records_per_s } else { source.rate.get() / rounding };
    let billed = (record / rounding).ceil() * rounding * records * MONTH_SECONDS;
    draft.advice.per_month = draft.price("firehose-per-gb").times_ratio(billed as u64, 1_000_000_000);
    if record > 0.0 && record < rounding / 5.0 && source.records_per_s > 0.0 {
        draft.warn(format!("records of {record:.0} bytes are billed as {rounding}: join them before sending"));
    }
}

fn kinesis(draft: &mut Draft<'_>, source: &ChangeSource, bulk: Days) {
    draft.advice.service = "Kinesis Data Streams".to_owned();
    let shards = shards(draft, source);
    readers(draft, source);
    let largest = draft.limit("kds-record-size");
    if source.record_max.get() as f64 > largest {
        draft.warn(format!("records up to {} are over {largest} bytes: put the body into S3", source.record_max));
    }
    let retention = draft.limit("kds-retention");
    let hours = (bulk.get() * 24.0).ceil();
    if hours <= retention {
        draft.size(format!(
            "retention at least {hours:.0} h (the bulk at P90) and catching up; up to {retention} h can be set"
        ));
    } else {
        draft.warn(format!("the bulk takes {bulk} (P90), records are kept for {retention} h at most: land them in S3 from the first day"));
    }
    growth(draft, source, shards);
    let hourly = draft.price("kds-shard-hour").times(shards);
    let kept = if hours > 24.0 { draft.price("kds-retention-shard-hour").times(shards) } else { Usd::ZERO };
    let beyond = (hours - 168.0).clamp(0.0, retention) * 3600.0 * source.rate.get();
    let long = draft.price("kds-long-retention").times_ratio(beyond as u64, 1_000_000_000);
    let unit = draft.limit("kds-put-unit");
    let units = source.records_per_s.max(source.rate.get() / unit) * MONTH_SECONDS;
    let puts = draft.price("kds-put-million").times_ratio(units as u64, 1_000_000);
    draft.advice.per_month = (hourly + kept).times(MONTH_HOURS) + puts + long;
    on_demand(draft, source, shards);
}

/// The other way of paying, and the account's limit of shards.
fn on_demand(draft: &mut Draft<'_>, source: &ChangeSource, shards: u64) {
    let gigabytes =
        draft.price("kds-on-demand-gb").times_ratio((source.rate.get() * MONTH_SECONDS) as u64, 1_000_000_000);
    let price = gigabytes + draft.price("kds-on-demand-hour").times(MONTH_HOURS);
    let most = draft.limit("kds-on-demand-rate") * 1e6;
    draft.size(format!(
        "or on demand, without counting shards: about {} a month, up to {} for a stream by default",
        price.short(),
        BytesPerSecond::new(most)
    ));
    let account = draft.limit("kds-shards-account");
    if shards as f64 > account {
        draft.warn(format!("{shards} shards are over the account's {account}: ask for more before you begin"));
    }
}

/// Shards by bytes and by records, and what joining small records saves.
fn shards(draft: &mut Draft<'_>, source: &ChangeSource) -> u64 {
    let (write, records) = (draft.limit("kds-write-rate") * 1e6, draft.limit("kds-write-records"));
    let by_bytes = (source.rate.get() / write).ceil().max(1.0);
    let by_records = (source.records_per_s / records).ceil().max(1.0);
    draft.size(format!(
        "shards = max({} / {}, {} records/s / {records}) = max({by_bytes:.0}, {by_records:.0})",
        source.rate,
        BytesPerSecond::new(write),
        source.records_per_s
    ));
    if by_records > by_bytes {
        draft.advice.service = "Kinesis Producer Library -> Kinesis Data Streams".to_owned();
        draft.because(format!("records are small: the producer library joins them, sends asynchronously, and {by_bytes:.0} shard(s) do instead of {by_records:.0}"));
        draft.warn("the library does not compress: compress before handing records over".to_owned());
    }
    let shared = f64::from(source.consumers.max(1)) * source.rate.get() / (draft.limit("kds-read-rate") * 1e6);
    // Readers with enhanced fan-out have 2 MB/s of a shard each; those that poll share it.
    by_bytes.max(if wants_fan_out(draft, source) { 1.0 } else { shared.ceil() }) as u64
}

/// Whether polling would be too slow for what is wanted.
fn wants_fan_out(draft: &mut Draft<'_>, source: &ChangeSource) -> bool {
    source.latency_s > 0.0 && f64::from(source.consumers.max(1)) / draft.limit("kds-read-calls") > source.latency_s
}

/// Delay of polling readers against fan-out.
fn readers(draft: &mut Draft<'_>, source: &ChangeSource) {
    let readers = f64::from(source.consumers.max(1));
    let calls = draft.limit("kds-read-calls");
    let polling = readers / calls;
    let fan_out = draft.limit("kds-fanout-latency");
    draft.size(format!("{readers:.0} polling reader(s) / {calls} calls/s per shard = each reads every {polling:.1} s; with fan-out {:.0} ms each", fan_out * 1e3));
    let wanted = wants_fan_out(draft, source);
    draft.advice.delay_s = Some(if wanted { fan_out } else { polling });
    if wanted {
        draft.because("polling is too slow for that many readers: enhanced fan-out".to_owned());
        let most = draft.limit("kds-fanout");
        if readers > most {
            draft.warn(format!("{readers:.0} readers are over {most} fan-out consumers of a stream"));
        }
    }
}

/// A stream that exists: how it grows, and where a lagging reader is held up.
fn growth(draft: &mut Draft<'_>, source: &ChangeSource, needed: u64) {
    if source.shards == 0 {
        return;
    }
    let now = source.shards as f64;
    let read = now * draft.limit("kds-read-rate") * 1e6;
    if source.observed_read.get() > 0.0 && source.observed_read.get() < source.rate.get() {
        if read >= source.rate.get() {
            draft.warn(format!(
                "readers get {} although {} shards give {}: the shards are not the limit; look at the reader's checkpoint table (DynamoDB capacity) and its own work",
                source.observed_read, source.shards, BytesPerSecond::new(read)
            ));
        } else {
            draft.warn(format!(
                "{} shards give readers {} only: split shards",
                source.shards,
                BytesPerSecond::new(read)
            ));
        }
    }
    if needed as f64 > now {
        let doublings = doublings(source.shards, needed);
        let per_day = draft.limit("kds-reshards-per-day");
        let splits = needed as f64 - now;
        let seconds = splits * draft.limit("kds-reshard-time");
        let most = draft.limit("kds-shards-max");
        draft.size(format!(
            "grow from {now} to {needed} shards by splitting: {doublings} doubling call(s) of {per_day} a day, about {} in all",
            Days::from_secs(seconds)
        ));
        if needed as f64 > most {
            draft.warn(format!("{needed} shards are over {most} reachable by resharding: several streams"));
        }
    }
}

/// Calls that each at most double a stream's shards.
fn doublings(now: u64, needed: u64) -> u32 {
    (1..).find(|calls| now.checked_shl(*calls).is_none_or(|shards| shards >= needed)).unwrap_or(1)
}

fn kafka(draft: &mut Draft<'_>, source: &ChangeSource, bulk: Days) {
    draft.advice.service = "MSK".to_owned();
    draft.because("Kafka clients stay as they are");
    let broker = draft.limit("msk-broker-storage") * 1_073_741_824.0;
    // Three copies, as brokers in three zones keep by default.
    let stored = source.rate.get() * bulk.secs() * 3.0;
    let brokers = (stored / broker).ceil().max(3.0);
    draft.size(format!(
        "kept for the bulk: {} * {bulk} * 3 copies / {:.1} TB a broker = {brokers:.0} brokers (at least 3)",
        source.rate,
        broker / 1e12
    ));
    let largest = draft.limit("msk-message-size");
    if source.record_max.get() as f64 > largest {
        draft.warn(format!("messages up to {} are over the default of {largest} bytes: raise message.max.bytes, and max.fetch.bytes at the readers", source.record_max));
    }
    draft.advice.delay_s = Some(draft.limit("msk-latency"));
}
