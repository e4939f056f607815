//! How long a plan takes: a figure, not a pass mark. `cargo test --release --test it -- --ignored --nocapture plan_speed`.

use std::fmt::Write as _;

use jiff::civil::date;
use packmule::plan::catalogue::Catalogue;
use packmule::plan::dataset::DatasetFile;
use packmule::plan::{Inputs, Request, plan};
use packmule::units::{Bytes, BytesPerSecond, Count};

/// Six device options that differ in rate, as a user's catalogue file.
fn six_options() -> String {
    let mut text = String::new();
    let figure = |name: &str, value: &str, unit: &str| {
        format!("figures.{name} = {{ value = \"{value}\", unit = \"{unit}\", region = \"any\", as_of = 2026-01-01 }}\n")
    };
    for number in 1..=6_u32 {
        let _ = write!(
            text,
            "[[option]]\nid = \"device-{number}\"\nname = \"Device {number}\"\nfamily = \"device-{number}\"\nkind = \"shipped-device\"\nprovider = \"partner\"\ntiers = [{{ upto_tb = \"100\", fee = {{ value = \"1000\", unit = \"USD/job\", region = \"any\", as_of = 2026-01-01 }} }}]\n"
        );
        text += &figure("capacity", "100", "TB");
        text += &figure("fill_rate", &(200 + 100 * number).to_string(), "MB/s");
        text += &figure("transit", "2", "business-days");
        text += &figure("ingest_rate", "1000", "MB/s");
        text += &figure("quota", "4", "devices");
        text += &figure("included_days", "15", "days");
        text += &figure("extra_day", "100", "USD/day");
    }
    text
}

#[test]
#[ignore = "prints a figure, and no test may fail on time: cargo test --release --test it -- --ignored --nocapture plan_speed"]
fn six_options_of_24_devices_in_4096_draws() {
    let catalogue = Catalogue::with_user_file(Some(("six.toml", &six_options()))).expect("valid");
    let request = Request {
        size: Some(Bytes::new(24 * 95_000_000_000_000)),
        source_read: Some(BytesPerSecond::new(3e9)),
        stations: Some(Count::new(2)),
        forbid: ["network", "own-drives"].map(str::to_owned).to_vec(),
        draws: Some(4096),
        ..Request::default()
    };
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    for _ in 0..3 {
        let inputs =
            Inputs::resolve(&request, &DatasetFile::default(), &catalogue, date(2026, 3, 2)).expect("resolves");
        let start = std::time::Instant::now();
        let report = one.install(|| plan(&catalogue, inputs)).expect("plans");
        let elapsed = start.elapsed();
        let devices: Vec<usize> = report.options.iter().map(|o| o.devices).collect();
        assert_eq!(devices, [24; 6], "six options of 24 devices");
        assert!(report.options.iter().all(|o| o.time.p90.is_finite()));
        eprintln!("6 options x 24 devices x 4,096 draws, whole report, one thread: {:.3} s", elapsed.as_secs_f64());
    }
}
