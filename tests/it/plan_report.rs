//! The report as people and programs read it: schema, CSV, text, page and charts.

use std::process::Command;

use jiff::civil::date;
use packmule::plan::catalogue::Catalogue;
use packmule::plan::dataset::DatasetFile;
use packmule::plan::{Inputs, Report, Request, chart, html, plan, text};
use packmule::units::{BitsPerSecond, Bytes, Share};
use serde_json::Value;

fn report(change: u64) -> (Report, Catalogue) {
    let catalogue = Catalogue::builtin().expect("valid");
    let request = Request {
        size: Some(Bytes::new(300_000_000_000_000)),
        link: Some(BitsPerSecond::new(1_000_000_000)),
        share: Some(Share::new(0.7)),
        change_per_day: Some(Bytes::new(change)),
        existing_customer: true,
        enterprise_support: true,
        deadline: Some(date(2026, 6, 30)),
        draws: Some(256),
        ..Request::default()
    };
    let inputs = Inputs::resolve(&request, &DatasetFile::default(), &catalogue, date(2026, 5, 4)).expect("resolves");
    (plan(&catalogue, inputs).expect("plans"), catalogue)
}

fn keys(value: &Value) -> Vec<&String> {
    value.as_object().expect("an object").keys().collect()
}

#[test]
fn the_schema_names_exactly_what_the_json_holds() {
    let schema: Value = serde_json::from_str(include_str!("../../manifests/schemas/plan.schema.json")).expect("JSON");
    let json = serde_json::to_value(report(0).0).expect("serialises");
    let mut expected = keys(&schema["properties"]);
    let mut got = keys(&json);
    expected.sort();
    got.sort();
    assert_eq!(got, expected);
    for (schema, json) in [
        (&schema["properties"]["header"]["properties"], &json["header"]),
        (&schema["properties"]["options"]["items"]["properties"], &json["options"][0]),
        (&schema["properties"]["recommendation"]["properties"], &json["recommendation"]),
    ] {
        let (mut expected, mut got) = (keys(schema), keys(json));
        expected.sort();
        got.sort();
        assert_eq!(got, expected);
    }
}

#[test]
fn csv_has_a_row_for_every_option() {
    let (report, _) = report(0);
    let csv = text::csv(&report);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<_> = reader.records().collect::<Result<_, _>>().expect("as many fields as heads");
    assert_eq!(rows.len(), report.options.len() + report.excluded.len());
}

#[test]
fn the_text_names_the_pick_and_every_reason() {
    let (report, _) = report(0);
    let text = text::render(&report, true, None);
    assert!(text.contains("support ends") || text.contains("Snowball"), "{text}");
    assert!(text.contains("Snowmobile: withdrawn: could be ordered until 2024-03-31"));
    assert!(!text.contains("100 %") && !text.contains("100.0 %"), "nothing is certain: {text}");
    let pick = report.recommendation.pick.clone().expect("something fits");
    let formulas = text::explain(&report, &pick, None).expect("known");
    assert!(formulas.contains("sum $"), "{formulas}");
    assert!(text::explain(&report, "snowmobile", None).expect("known").contains("not to be had"));
    assert!(text::explain(&report, "carrier-pigeon", None).is_none());
}

#[test]
fn every_chart_has_title_description_and_a_table_twin() {
    for (change, rows_of_delta) in [(0, 1), (1_000_000_000_000, 2)] {
        let (report, _) = report(change);
        for id in chart::CHARTS {
            let chart = chart::draw(&report, id).expect("known");
            assert!(
                chart.svg.contains("<title") && chart.svg.contains("<desc") && chart.svg.contains("role=\"img\""),
                "{id}"
            );
            assert!(!chart.svg.contains("NaN") && !chart.svg.contains("inf"), "{id}");
            assert!(chart.table.len() >= if id == "delta" { rows_of_delta } else { 2 }, "{id}");
            let width = chart.table[0].len();
            assert!(chart.table.iter().all(|row| row.len() == width), "{id}: every row as wide as its heads");
        }
        assert!(chart::draw(&report, "pie").is_none());
    }
}

#[test]
fn the_page_stands_alone_and_opens_in_a_browser() {
    let (report, catalogue) = report(1_000_000_000_000);
    let page = html::render(&report, &catalogue);
    assert_eq!(page, html::render(&report, &catalogue));
    assert!(!page.contains("<script") && !page.contains("@import") && !page.contains("<link"));
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok())
    else {
        eprintln!("SKIPPED: no Chromium here, so the page was not opened in one");
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("report.html");
    std::fs::write(&file, &page).expect("written");
    let profile = format!("--user-data-dir={}", dir.path().join("profile").display());
    let flags = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", profile.as_str()];
    let output = Command::new(browser).args(flags).arg(format!("file://{}", file.display())).output().expect("runs");
    let dom = String::from_utf8_lossy(&output.stdout);
    assert!(dom.contains("Moving 300 TB into S3"), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(dom.matches("<svg").count(), 8, "all charts are in the page");
    assert_eq!(dom.matches("</section>").count(), page.matches("</section>").count(), "the browser repaired nothing");
}
