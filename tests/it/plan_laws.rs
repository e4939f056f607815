//! Laws of the planner: what must hold whatever the numbers are. Each plan here has few draws, so that many can be made.

use jiff::civil::date;
use packmule::plan::catalogue::Catalogue;
use packmule::plan::dataset::DatasetFile;
use packmule::plan::{Error, Inputs, Report, Request, plan};
use packmule::units::{BitsPerSecond, Bytes, BytesPerSecond, Count, Share, Usd};
use proptest::prelude::*;

fn catalogue() -> Catalogue {
    Catalogue::builtin().expect("checked by its own test")
}

fn try_plan(request: &Request) -> Result<Report, Error> {
    let catalogue = catalogue();
    let inputs = Inputs::resolve(request, &DatasetFile::default(), &catalogue, date(2026, 3, 2))?;
    plan(&catalogue, inputs)
}

fn question(terabytes: f64) -> Request {
    Request {
        size: Some(Bytes::new((terabytes * 1e12) as u64)),
        files: Some(Count::new((terabytes * 20_000.0) as u64 + 1)),
        link: Some(BitsPerSecond::new(1_000_000_000)),
        share: Some(Share::new(0.8)),
        source_read: Some(BytesPerSecond::new(900e6)),
        existing_customer: true,
        enterprise_support: true,
        draws: Some(64),
        ..Request::default()
    }
}

fn planned(request: &Request) -> Report {
    try_plan(request).unwrap_or_else(|error| panic!("{error}"))
}

/// Estimates by option, for options without a split of their own (hybrids are found anew each time).
fn estimates(report: &Report) -> Vec<(String, f64, i64)> {
    let pure = report.options.iter().filter(|o| !o.family.starts_with("hybrid"));
    let mut all: Vec<_> = pure.map(|o| (o.id.clone(), o.estimate.get(), o.estimate_cost.micros())).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn the_same_question_has_the_same_bytes_on_any_number_of_threads() {
    let request = Request { draws: Some(512), deadline: Some(date(2026, 5, 1)), ..question(123.0) };
    let json = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| serde_json::to_string(&planned(&request)).expect("serialises"))
    };
    let one = json(1);
    assert_eq!(one, json(2));
    assert_eq!(one, json(7));
    let other = serde_json::to_string(&planned(&Request { seed: Some(2), ..request })).expect("serialises");
    assert_ne!(one, other, "another seed is another set of worlds");
}

#[test]
fn bills_add_up_and_percentiles_are_in_order() {
    let report = planned(&Request { draws: Some(256), budget: Some(Usd::dollars(5000)), ..question(300.0) });
    assert!(report.options.len() > 10);
    for o in &report.options {
        let sum: Usd = o.costs.iter().map(|line| line.amount).sum();
        assert_eq!(sum, o.estimate_cost, "{}", o.id);
        let t = &o.time;
        assert!(t.p10 <= t.p50 && t.p50 <= t.p80 && t.p80 <= t.p90 && t.p90 <= t.p95, "{}", o.id);
        assert!(o.cost.p10 <= o.cost.p50 && o.cost.p50 <= o.cost.p90, "{}", o.id);
        assert!(o.estimate >= o.minimum, "{}: never below the floor", o.id);
        assert!(o.estimate.is_finite() && !o.formulas.is_empty(), "{}", o.id);
    }
}

#[test]
fn all_bytes_land_exactly_once() {
    for o in &planned(&question(450.0)).options {
        let landed = o.curve.last().map_or(0.0, |point| point.1);
        assert!((landed - 450e12).abs() < 1e6, "{}: {landed}", o.id);
        assert!(
            o.curve.windows(2).all(|w| w[0].0 <= w[1].0 && w[0].1 <= w[1].1 + 1.0),
            "{}: never less than before",
            o.id
        );
    }
}

#[test]
fn no_parcel_is_collected_at_a_weekend() {
    let report = planned(&question(900.0));
    let pickups = report.options.iter().flat_map(|o| &o.lanes).flat_map(|lane| &lane.spans);
    let ends: Vec<f64> = pickups.filter(|s| s.stage == packmule::plan::Stage::Pickup).map(|s| s.end).collect();
    assert!(!ends.is_empty());
    // 2026-03-02 is a Monday.
    assert!(ends.iter().all(|day| (day.floor() as u64) % 7 < 5), "{ends:?}");
}

#[test]
fn a_private_line_is_shown_with_both_ways_to_stand_in_for_it() {
    let report = planned(&Request { forbid: vec!["internet".to_owned(), "physical".to_owned()], ..question(100.0) });
    let ways = &report.failover;
    let second = ways.iter().find(|f| f.way.starts_with("a second Direct Connect")).expect("shown");
    let vpn = ways.iter().find(|f| f.way.contains("VPN, standard")).expect("shown");
    assert_eq!(vpn.rate, BitsPerSecond::new(1_250_000_000));
    assert!(vpn.lead < second.lead, "a VPN is up sooner");
    assert!(vpn.per_month > Usd::ZERO && second.per_month > Usd::ZERO);
    assert!(planned(&Request { forbid: vec!["direct-connect".to_owned()], ..question(100.0) }).failover.is_empty());
}

#[test]
fn a_hybrid_is_never_slower_than_its_parts() {
    let report = planned(&Request { devices: Some(Count::new(2)), ..question(500.0) });
    let best = |hybrid: bool| {
        let of = report.options.iter().filter(|o| o.family.starts_with("hybrid-snowball") == hybrid);
        let of = of.filter(|o| hybrid || o.family == "snowball-edge" || o.family == "internet");
        of.map(|o| o.estimate.get()).fold(f64::INFINITY, f64::min)
    };
    assert!(best(true) <= best(false), "{} against {}", best(true), best(false));
}

#[test]
fn unit_spelling_changes_nothing() {
    let a = planned(&Request { size: "100TB".parse().ok(), files: "2M".parse().ok(), ..question(1.0) });
    let b = planned(&Request { size: "100,000GB".parse().ok(), files: "2000000".parse().ok(), ..question(1.0) });
    assert_eq!(serde_json::to_string(&a).ok(), serde_json::to_string(&b).ok());
}

#[test]
fn doubling_bytes_and_line_leaves_the_network_time() {
    // Few files, fast source, no fixed limits: only bytes over the line are left.
    let base = Request {
        files: Some(Count::new(1000)),
        source_read: Some(BytesPerSecond::new(1e12)),
        workers: Some(Count::new(10_000)),
        ..question(50.0)
    };
    let double = Request {
        size: Some(Bytes::new(100_000_000_000_000)),
        link: Some(BitsPerSecond::new(2_000_000_000)),
        ..base.clone()
    };
    let days = |request: &Request| {
        planned(request).options.iter().find(|o| o.id == "internet").map(|o| o.estimate.get()).expect("planned")
    };
    assert!((days(&base) - days(&double)).abs() < 1e-6);
}

#[test]
fn bad_questions_get_a_sentence_that_helps() {
    let refused = |request: Request, words: &[&str]| {
        let text = try_plan(&request).expect_err("refused").to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    refused(Request::default(), &["--size", "scan"]);
    refused(Request { link: Some(BitsPerSecond::new(0)), ..question(1.0) }, &["zero"]);
    refused(Request { busy: Some(Share::new(0.4)), ..question(1.0) }, &["--busy", "--share"]);
    refused(Request { deadline: Some(date(2025, 1, 1)), ..question(1.0) }, &["deadline", "2025-01-01", "--as-of"]);
    refused(Request { region: Some("us-est-1".to_owned()), ..question(1.0) }, &["us-est-1", "us-east-1"]);
    refused(Request { size: Some(Bytes::ZERO), files: Some(Count::new(0)), ..question(1.0) }, &["nothing to move"]);
    refused(Request { source_read: Some(BytesPerSecond::new(0.0)), ..question(1.0) }, &["probe"]);
    refused(Request { largest_file: Some(Bytes::new(u64::MAX)), ..question(1.0) }, &["larger than the dataset"]);
}

#[test]
fn the_largest_and_the_smallest_dataset_have_a_plan() {
    for bytes in [0, 1, 10_000_000_000_000_000_000, u64::MAX] {
        let request =
            Request { size: Some(Bytes::new(bytes)), files: Some(Count::new(1)), largest_file: None, ..question(1.0) };
        let report = planned(&request);
        let json = serde_json::to_string(&report).expect("serialises");
        assert!(!json.contains("NaN") && !json.contains("inf"), "{bytes}");
        assert!(!report.recommendation.text.is_empty());
    }
    let zero_files = Request { files: Some(Count::new(0)), ..question(1.0) };
    assert!(!planned(&zero_files).options.is_empty());
}

#[test]
fn a_user_file_overrides_a_field_and_is_echoed() {
    let file = "[[option]]\nid = \"snowball-edge-so-210\"\nfigures.extra_day.value = \"99\"\n";
    let catalogue = Catalogue::with_user_file(Some(("mine.toml", file))).expect("valid");
    let echoed = catalogue.overrides.iter().find(|o| o.field.ends_with("extra_day.value")).expect("echoed");
    assert_eq!((echoed.default.as_str(), echoed.yours.as_str()), ("250", "99"));
    for (bad, word) in [
        ("[[option]]\nid = \"internet\"\nfigures.per_gb_in.value = \"-1\"\n", "negative"),
        ("[[option]]\nid = \"internet\"\nfigures.per_gb_in.unit = \"EUR/GB\"\n", "unit"),
        ("[[option]]\nid = \"internet\"\nfigures.per_gb.value = \"1\"\n", ""),
        ("[[option]]\nid = \"internet\"\ncolour = \"blue\"\n", ""),
    ] {
        let error = Catalogue::with_user_file(Some(("bad.toml", bad))).expect_err(bad);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn actuals_of_a_running_job_move_the_odds() {
    let catalogue = catalogue();
    let resolve = |file: &str| {
        let file = DatasetFile::parse(file).expect("valid");
        let inputs = Inputs::resolve(&question(150.0), &file, &catalogue, date(2026, 3, 2)).expect("resolves");
        let report = plan(&catalogue, inputs).expect("plans");
        report.options.iter().find(|o| o.id == "snowball-edge-so-210").map(|o| o.estimate.get()).expect("planned")
    };
    let slow = "[[actual.stage]]\nid = \"device-prep\"\ndays = 40.0\n";
    let landed = "[actual]\nlanded = \"100TB\"\n";
    assert!(resolve(slow) > resolve("") + 3.0);
    assert!(resolve(landed) < resolve(""));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn more_of_anything_bad_never_helps(terabytes in 1.0_f64..400.0, extra in 1.05_f64..3.0, growth in 0_u64..1_000_000_000_000) {
        let base = Request { draws: Some(16), ..question(terabytes) };
        let worse = [
            Request { size: base.size.map(|s| Bytes::new((s.get() as f64 * extra) as u64)), ..base.clone() },
            Request { files: base.files.map(|f| Count::new((f.get() as f64 * extra) as u64)), ..base.clone() },
            Request { growth_per_day: Some(Bytes::new(growth)), ..base.clone() },
            Request { source_read: Some(BytesPerSecond::new(900e6 / extra)), ..base.clone() },
            Request { link: Some(BitsPerSecond::new((1e9 / extra) as u64)), ..base.clone() },
            Request { rtt_ms: Some(80.0), loss: Some(Share::new(0.001)), ..base.clone() },
        ];
        let before = estimates(&planned(&base));
        for (index, request) in worse.iter().enumerate() {
            for ((id, days, cost), (_, days_after, cost_after)) in before.iter().zip(estimates(&planned(request))) {
                prop_assert!(days_after >= days - 1e-6, "change {index}, {id}: {days} then {days_after}");
                // A hot path: growth that never ends has no bill, and fewer drives may sit in dearer slots.
                prop_assert!(index > 1 || cost_after >= *cost, "change {index}, {id}: {cost} then {cost_after}");
            }
        }
    }

    #[test]
    fn more_devices_or_stations_never_take_longer(terabytes in 200.0_f64..1500.0, devices in 1_u64..5, stations in 1_u64..4) {
        let ask = |devices: u64, stations: u64| {
            let request = Request { draws: Some(16), devices: Some(Count::new(devices)), stations: Some(Count::new(stations)), ..question(terabytes) };
            planned(&request).options.iter().find(|o| o.id == "snowball-edge-so-210").map(|o| o.estimate.get()).expect("planned")
        };
        let base = ask(devices, stations);
        prop_assert!(ask(devices + 1, stations) <= base + 1e-6);
        prop_assert!(ask(devices, stations + 1) <= base + 1e-6);
    }
}
