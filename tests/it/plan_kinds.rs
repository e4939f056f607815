//! Each kind of oracle case, computed by the planner's own functions. Keys are optional: a case gives what its source gave.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use packmule::plan::catalogue::Catalogue;
use packmule::plan::dataset::DatasetFile;
use packmule::plan::delta::{geometric_total, rho};
use packmule::plan::drives::{all_good, device_count};
use packmule::plan::eligible::{Customer, available, days_between, ends_by};
use packmule::plan::files::{files_per_second, per_file_time, tail_time};
use packmule::plan::network::{Tcp, bandwidth_delay, sustained};
use packmule::plan::{Inputs, Report, Request, equal_bills_gb, plan, terminal_slots};
use packmule::units::{BitsPerSecond, Bytes, BytesPerSecond, Count, Days, Share, Span, Usd};
use serde_json::{Map, Value};

/// What a case gives.
pub(crate) struct Given(pub(crate) Map<String, Value>);

/// What the planner says, by the key a case may expect.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Number(f64),
    Flag(bool),
    Text(String),
    Set(BTreeSet<String>),
}

pub(crate) type Answers = BTreeMap<String, Answer>;

/// Whole bytes in a unit that a key may end in.
const SIZES: [(&str, f64); 9] = [
    ("bytes", 1.0),
    ("mb", 1e6),
    ("gb", 1e9),
    ("tb", 1e12),
    ("pb", 1e15),
    ("eb", 1e18),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
    ("tib", 1_099_511_627_776.0),
];
const TIMES: [(&str, f64); 6] =
    [("s", 1.0), ("seconds", 1.0), ("minutes", 60.0), ("hours", 3600.0), ("days", 86_400.0), ("years", 31_536_000.0)];
/// Bytes per second in a unit.
const RATES: [(&str, f64); 11] = [
    ("bps", 0.125),
    ("kbps", 125.0),
    ("mbps", 125e3),
    ("gbps", 125e6),
    ("tbps", 125e9),
    ("pbps", 125e12),
    ("bytes_per_s", 1.0),
    ("kb_per_s", 1e3),
    ("mb_per_s", 1e6),
    ("gb_per_s", 1e9),
    ("mib_per_s", 1_048_576.0),
];

impl Given {
    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        self.0.get(key)?.as_f64()
    }

    pub(crate) fn or(&self, key: &str, default: f64) -> f64 {
        self.number(key).unwrap_or(default)
    }

    fn flag(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or("")
    }

    fn date(&self, key: &str) -> Option<Date> {
        self.0.get(key)?.as_str()?.parse().ok()
    }

    /// A quantity under any of the stems in any of the units, in base units.
    pub(crate) fn any(&self, stems: &[&str], units: &[(&str, f64)]) -> Option<f64> {
        let keys = stems.iter().flat_map(|stem| units.iter().map(move |(unit, factor)| (stem, unit, factor)));
        keys.into_iter().find_map(|(stem, unit, factor)| {
            let key = if stem.is_empty() { (*unit).to_owned() } else { format!("{stem}_{unit}") };
            self.number(&key).map(|value| value * factor)
        })
    }

    pub(crate) fn size(&self) -> Option<Bytes> {
        self.any(&["size", "load", "initial", "used", "threshold", "data", ""], &SIZES)
            .map(|bytes| Bytes::new(bytes.round() as u64))
    }

    /// The usable rate: link times share, or a payload rate.
    pub(crate) fn rate(&self) -> Option<BytesPerSecond> {
        let link = self.any(&["link", "line"], &RATES).map(|rate| rate * self.or("link_share", 1.0));
        link.or_else(|| self.any(&["rate", "fill_rate", "stream_rate", "load_rate"], &RATES)).map(BytesPerSecond::new)
    }

    pub(crate) fn time(&self, stems: &[&str]) -> Option<Days> {
        self.any(stems, &TIMES).map(Days::from_secs)
    }

    pub(crate) fn usd(&self, key: &str) -> Usd {
        Usd::from_f64(self.or(key, 0.0))
    }

    fn tcp(&self) -> Tcp {
        Tcp {
            streams: self.or("streams", 1.0) as u32,
            window_bytes: self.any(&["window"], &SIZES).unwrap_or(f64::INFINITY),
            rtt_s: self.number("rtt_s").or(self.number("rtt_ms").map(|ms| ms / 1e3)).unwrap_or(0.0),
            loss: self.or("loss", 0.0),
            mss_bytes: self.or("mss_bytes", 1460.0),
            mathis: self.number("mathis_c").or(self.number("c")).unwrap_or(1.0),
        }
    }
}

pub(crate) fn put(answers: &mut Answers, key: &str, value: f64) {
    answers.insert(key.to_owned(), Answer::Number(value));
}

pub(crate) fn put_all(answers: &mut Answers, prefix: &str, suffix: &str, value: f64, units: &[(&str, f64)]) {
    for (unit, factor) in units {
        put(answers, &format!("{prefix}{unit}{suffix}"), value / factor);
    }
}

pub(crate) fn put_time(answers: &mut Answers, days: Days) {
    put_all(answers, "", "", days.secs(), &TIMES);
}

pub(crate) fn put_size(answers: &mut Answers, bytes: f64) {
    put_all(answers, "", "", bytes, &SIZES);
}

pub(crate) fn put_rate(answers: &mut Answers, rate: f64) {
    put_all(answers, "", "", rate, &RATES);
}

/// A bill, and what it comes to per unit of size.
pub(crate) fn put_bill(answers: &mut Answers, given: &Given, bill: Usd) {
    put(answers, "usd", bill.to_f64());
    if let Some(size) = given.size().filter(|size| *size > Bytes::ZERO) {
        put_all(answers, "usd_per_", "", bill.to_f64(), &SIZES.map(|(unit, bytes)| (unit, size.get() as f64 / bytes)));
    }
}

/// Computes a case; `None` for a kind the planner does not know.
pub(crate) fn compute(kind: &str, given: &Given) -> Option<Answers> {
    let mut out = Answers::new();
    match kind {
        "net_time" | "fill_time" | "net_time_tcp" | "unit_rate" => transfers(kind, given, &mut out)?,
        "tcp_window" => put_rate(&mut out, given.tcp().window_rate().get() * f64::from(given.tcp().streams)),
        "tcp_mathis" => put_rate(&mut out, given.tcp().loss_rate().get() * f64::from(given.tcp().streams)),
        "tcp_bdp" => {
            let link = BitsPerSecond::new((given.any(&["link"], &RATES)? * 8.0).round() as u64);
            put_size(&mut out, bandwidth_delay(link, Days::from_secs(given.tcp().rtt_s)).get() as f64);
        }
        "device_count" | "required_rate" | "fill_feasible" => devices(kind, given, &mut out)?,
        "small_files" => small_files(given, &mut out),
        "break_even" => break_even(given, &mut out),
        "offline_end_to_end" => end_to_end(given, &mut out)?,
        "stages" | "lead_time" | "cutover_share" | "dtt_slots" => calendars(kind, given, &mut out)?,
        "delta" | "delta_rounds" => delta(given, &mut out)?,
        "all_on_time" => {
            let odds = all_good(Share::new(given.number("on_time")?), given.number("legs")? as u32);
            put(&mut out, "probability", odds.get());
        }
        "dtt_rate" => {
            let rate = given.size()?.get() as f64 / given.time(&["", "slot"])?.secs();
            put_rate(&mut out, rate);
            put_all(&mut out, "", "_per_port", rate / given.or("ports", 1.0), &RATES);
        }
        "availability" | "finish_by" => dates(kind, given, &mut out)?,
        "recommend" => recommend(given, &mut out)?,
        _ => super::plan_bills::compute(kind, given, &mut out)?,
    }
    Some(out)
}

fn transfers(kind: &str, given: &Given, out: &mut Answers) -> Option<()> {
    let size = given.size();
    let mut rate = given.rate();
    if kind == "net_time_tcp" || given.number("rtt_s").is_some() {
        let frame = given.or("mss_bytes", 1460.0) / given.or("wire_bytes_per_mss", 1538.0);
        rate = rate.map(|rate| BytesPerSecond::new((rate.get() * frame).min(given.tcp().rate().get())));
    }
    let hours = given.or("hours_per_day", 24.0);
    match (size, rate, given.time(&["period", "window", "elapsed"])) {
        (Some(size), Some(rate), _) => {
            let days = sustained(size, rate, hours);
            put_time(out, days);
            put_rate(out, rate.get());
            if let Some(deadline) = given.time(&["deadline"]) {
                out.insert("meets_deadline".to_owned(), Answer::Flag(days <= deadline));
                out.insert("feasible".to_owned(), Answer::Flag(days <= deadline));
            }
        }
        (Some(size), None, Some(period)) => put_rate(out, size.get() as f64 / period.secs() * 24.0 / hours),
        (None, Some(rate), Some(period)) => put_size(out, rate.get() * period.secs() * hours / 24.0),
        _ => return None,
    }
    Some(())
}

fn devices(kind: &str, given: &Given, out: &mut Answers) -> Option<()> {
    let size = given.size()?;
    let usable = given.any(&["usable", "capacity", "device"], &SIZES).or(given.number("usable_bytes_per_device"));
    let usable = usable
        .or_else(|| given.any(&["usable", "capacity"], &SIZES.map(|(unit, f)| (unit, f))))
        .map(|bytes| Bytes::new((bytes * given.or("fill_limit", 1.0)) as u64));
    if let Some(usable) = usable {
        put(out, "devices", device_count(size, usable)? as f64);
    }
    let count = given.or("devices", 1.0);
    if kind == "required_rate" {
        let total = size.get() as f64 / given.time(&["period", "deadline", ""])?.secs();
        put_rate(out, total);
        put_all(out, "", "_per_device", total / count, &RATES);
    }
    if kind == "fill_feasible" {
        let each = given.number("rate_bytes_per_s_per_device").or(given.rate().map(BytesPerSecond::get))?;
        let side_by_side = given.0.get("parallel").and_then(Value::as_bool).unwrap_or(true);
        let rate = each * if side_by_side { given.or("stations", count).min(count) } else { 1.0 };
        let rate = rate.min(given.any(&["source", "source_read"], &RATES).unwrap_or(f64::INFINITY));
        let fill = sustained(size, BytesPerSecond::new(rate), 24.0);
        put_time(out, fill);
        put_all(out, "fill_", "", fill.secs(), &TIMES);
        let period = given.time(&["period", "deadline"])?;
        out.insert("feasible".to_owned(), Answer::Flag(fill <= period));
    }
    Some(())
}

fn small_files(given: &Given, out: &mut Answers) {
    let files = given.number("file_count").map(|n| Count::new(n as u64));
    let elapsed = given.time(&["elapsed", "measured"]);
    if let (Some(files), Some(each)) = (files, given.time(&["per_file"])) {
        let time = per_file_time(files, each, Count::new(given.or("workers", 1.0) as u64));
        let time = given.time(&["bytes_time"]).map_or(time, |bytes| if bytes > time { bytes } else { time });
        put_time(out, time);
        put(out, "files_per_s", files_per_second(files, time));
    }
    if let (Some(files), Some(elapsed)) = (files, elapsed) {
        put(out, "files_per_s", files_per_second(files, elapsed));
    }
    if let (Some(tail), Some(stream)) = (given.any(&["tail_file"], &SIZES), given.any(&["stream_rate"], &RATES)) {
        let done = Share::new(given.or("done_fraction", 0.0));
        put_time(out, tail_time(Bytes::new(tail as u64), done, BytesPerSecond::new(stream)));
    }
    let achieved = given.any(&["achieved", "achieved_rate", "measured", "measured_rate"], &RATES);
    let achieved = achieved.or_else(|| Some(given.size()?.get() as f64 / elapsed?.secs()));
    let offered = given.any(&["link", "available", "available_rate", "nominal", "expected"], &RATES);
    if let Some(achieved) = achieved {
        put_rate(out, achieved);
        if let Some(offered) = offered {
            put(out, "efficiency", achieved / (offered * given.or("link_share", 1.0)));
        }
    }
}

fn break_even(given: &Given, out: &mut Answers) {
    if given.number("a_fixed_usd").is_some() {
        let [a_fixed, a_gb, b_fixed, b_gb] =
            ["a_fixed_usd", "a_usd_per_gb", "b_fixed_usd", "b_usd_per_gb"].map(|key| given.usd(key));
        if let Some(gb) = equal_bills_gb(a_fixed, a_gb, b_fixed, b_gb) {
            put_size(out, gb * 1e9);
        }
    }
    let Some(rate) = given.rate() else { return };
    if let Some(threshold) = given.any(&["threshold", "size"], &SIZES) {
        let days = sustained(Bytes::new(threshold as u64), rate, given.or("hours_per_day", 24.0));
        put_time(out, days);
        put_all(out, "", "_at_threshold", days.secs(), &TIMES);
    }
    // The size that the line moves in so many days is where something that takes those days draws level.
    for stem in ["break_even", "offline", "device", "rule"] {
        for (suffix, key) in [("", ""), ("_min", "_min"), ("_max", "_max")] {
            if let Some(days) = given.number(&format!("{stem}_days{key}")) {
                let bytes = rate.get() * Days::new(days).secs();
                put_all(out, "", suffix, bytes, &SIZES);
            }
        }
    }
}

fn calendars(kind: &str, given: &Given, out: &mut Answers) -> Option<()> {
    match kind {
        "stages" => {
            for unit in ["business_days", "days", "hours"] {
                let stages = given.0.get(unit).and_then(Value::as_array).cloned().unwrap_or_default();
                let sum: f64 = stages.iter().filter_map(Value::as_f64).sum();
                put(out, unit, sum + given.or(&format!("copy_{unit}"), 0.0));
                put(out, &format!("{unit}_without_copy"), sum);
            }
        }
        "lead_time" => {
            let days = days_between(given.date("ordered")?, given.date("arrived").or(given.date("delivered"))?);
            put_time(out, Days::new(days as f64));
        }
        "cutover_share" => {
            let overall = given.time(&["overall"])?;
            let share = given.number("share_max").or(given.number("share"))?;
            put_all(out, "cutover_", "_max", overall.secs() * share, &TIMES);
            put_all(out, "cutover_", "", overall.secs() * share, &TIMES);
        }
        _ => {
            let rate = given.rate()?;
            let slot = given.time(&["slot"])?;
            let slots = terminal_slots(given.size()?, rate, Span::from_secs(slot.secs() as u64));
            put(out, "slots", slots as f64);
            put(out, "hours", given.size()?.get() as f64 / rate.get() / 3600.0);
        }
    }
    Some(())
}

fn delta(given: &Given, out: &mut Answers) -> Option<()> {
    let drain = given.rate()?;
    let initial = given.size()?;
    let change = given.any(&["change"], &RATES).or_else(|| {
        let share = given.number("change_share_per_day").or(given.number("change_per_day"))?;
        Some(initial.get() as f64 * share / 86_400.0)
    })?;
    let rho = rho(BytesPerSecond::new(change), drain);
    put(out, "rho", rho);
    out.insert("converges".to_owned(), Answer::Flag(rho < 1.0));
    let seed = sustained(initial, drain, 24.0);
    let total = geometric_total(seed, rho, given.or("rounds", 0.0) as u32);
    put_all(out, "total_", "", total.secs(), &TIMES);
    Some(())
}

fn dates(kind: &str, given: &Given, out: &mut Answers) -> Option<()> {
    let catalogue = Catalogue::builtin().ok()?;
    let customer = Customer {
        existing_snow: given.flag("existing_customer"),
        enterprise_support: given.flag("enterprise_support"),
        existing_dx: given.flag("existing_dx"),
    };
    if kind == "availability" {
        let result = available(&catalogue, given.text("option"), customer, given.date("as_of")?);
        out.insert("available".to_owned(), Answer::Flag(result.is_ok()));
        return Some(());
    }
    let spec = catalogue.option(given.text("option"))?;
    let last = given.date("end_of_support").or(spec.end_of_support.as_ref().map(|fact| fact.date))?;
    let ordered = given.date("ordered")?;
    let (ends, in_time) = ends_by(ordered, given.number("duration_days")? as i64, last)?;
    let allowed = available(&catalogue, given.text("option"), customer, ordered).is_ok();
    out.insert("feasible".to_owned(), Answer::Flag(in_time && allowed));
    out.insert("ends".to_owned(), Answer::Text(ends.to_string()));
    Some(())
}

fn planned(given: &Given, request: &Request) -> Option<Report> {
    let catalogue = Catalogue::builtin().ok()?;
    let today = given.date("as_of").or(given.date("ordered")).unwrap_or(Date::constant(2026, 6, 1));
    let inputs = Inputs::resolve(request, &DatasetFile::default(), &catalogue, today).ok()?;
    plan(&catalogue, inputs).ok()
}

/// The whole planner for devices filled to the brim: P50 and P90.
fn end_to_end(given: &Given, out: &mut Answers) -> Option<()> {
    let catalogue = Catalogue::builtin().ok()?;
    let spec = catalogue.option(given.text("device"))?;
    let capacity: f64 = spec.figures.get("capacity")?.value.parse().ok()?;
    let devices = given.or("devices", 1.0);
    let request = Request {
        size: Some(Bytes::new((capacity * 1e12 * 0.95 * devices) as u64)),
        devices: Some(Count::new(devices as u64)),
        existing_customer: true,
        ..Request::default()
    };
    let report = planned(given, &request)?;
    let option = report.options.iter().find(|option| option.id == spec.id)?;
    put(out, "days", option.time.p50.get());
    put(out, "days_p90", option.time.p90.get());
    Some(())
}

/// The whole planner: its pick, and the families of which nothing meets the terms.
fn recommend(given: &Given, out: &mut Answers) -> Option<()> {
    let dx = given.flag("existing_dx").then(|| BitsPerSecond::new(given.or("dx_bps", 10e9) as u64));
    let request = Request {
        size: given.size(),
        files: given.number("file_count").map(|n| Count::new(n as u64)),
        link: given.number("link_bps").map(|bps| BitsPerSecond::new(bps as u64)),
        share: given.number("link_share").map(Share::new),
        existing_dx: dx,
        within: given.time(&["deadline"]).map(|days| Span::from_secs(days.secs() as u64)),
        existing_customer: given.flag("existing_customer"),
        enterprise_support: given.flag("enterprise_support"),
        budget: given.number("budget_usd").map(Usd::from_f64),
        ..Request::default()
    };
    let report = planned(given, &request)?;
    let family_of = |id: &str| report.options.iter().find(|o| o.id == id).map(|o| o.family.clone());
    if let Some(pick) = report.recommendation.pick.as_deref().and_then(family_of) {
        out.insert("recommend".to_owned(), Answer::Text(pick));
    }
    let mut families: BTreeSet<String> = report.options.iter().map(|o| o.family.clone()).collect();
    families.extend(report.excluded.iter().map(|o| o.family.clone()));
    let feasible: BTreeSet<String> =
        report.options.iter().filter(|o| o.fails.is_empty()).map(|o| o.family.clone()).collect();
    let infeasible: BTreeSet<String> = families.difference(&feasible).cloned().collect();
    out.insert("feasible".to_owned(), Answer::Set(feasible));
    out.insert("infeasible".to_owned(), Answer::Set(infeasible));
    Some(())
}
