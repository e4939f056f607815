//! Published figures against the planner: every row of a CSV file, by kind, within the tolerance the row states.
//! `PLANNER_CASES=FILE` runs the same harness over another file.

use std::path::PathBuf;

use packmule::plan::catalogue::Catalogue;
use serde_json::{Map, Value};

use crate::plan_kinds::{Answer, Answers, Given, compute};

#[derive(Debug, serde::Deserialize)]
struct Row {
    id: String,
    inputs: String,
    expected: String,
    tolerance: String,
}

fn file() -> PathBuf {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/planner-cases.csv");
    std::env::var_os("PLANNER_CASES").map_or_else(|| PathBuf::from(own), PathBuf::from)
}

/// `None` when the row agrees, else what is wrong with it.
fn check(row: &Row) -> Option<String> {
    let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text).map_err(|error| error.to_string());
    let (inputs, expected) = match (object(&row.inputs), object(&row.expected)) {
        (Ok(inputs), Ok(expected)) => (inputs, expected),
        (Err(error), _) | (_, Err(error)) => return Some(error),
    };
    let kind = inputs.get("kind").and_then(Value::as_str).unwrap_or("").to_owned();
    let Some(answers) = compute(&kind, &Given(inputs)) else { return Some(format!("kind {kind} cannot be computed")) };
    let wrong: Vec<String> =
        expected.iter().filter_map(|(key, value)| disagrees(key, value, &answers, &row.tolerance)).collect();
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

fn disagrees(key: &str, expected: &Value, answers: &Answers, tolerance: &str) -> Option<String> {
    if tolerance == "range"
        && let Some(bound) = expected.as_f64()
        && !answers.contains_key(key)
    {
        let stem = key.trim_end_matches("_min").trim_end_matches("_max");
        let Some(Answer::Number(got)) = answers.get(stem) else { return Some(format!("{stem}: no answer")) };
        let inside = if key.ends_with("_min") { *got >= bound } else { *got <= bound };
        return (!inside).then(|| format!("{stem} = {got} is outside {key} = {bound}"));
    }
    let Some(got) = answers.get(key) else { return Some(format!("{key}: no answer among {:?}", answers.keys())) };
    let agrees = match (got, expected) {
        (Answer::Number(got), Value::Number(expected)) => {
            within(*got, expected.as_f64().unwrap_or(f64::NAN), tolerance)
        }
        (Answer::Flag(got), Value::Bool(expected)) => got == expected,
        (Answer::Text(got), Value::String(expected)) => got == expected,
        (Answer::Set(got), Value::Array(expected)) => expected
            .iter()
            .all(|item| item.as_str().is_some_and(|item| got.iter().any(|g| g == item || g.starts_with(item)))),
        _ => false,
    };
    (!agrees).then(|| format!("{key}: got {got:?}, expected {expected} within {tolerance}"))
}

fn within(got: f64, expected: f64, tolerance: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().unwrap_or(0.0);
    match tolerance.split_once(':') {
        Some(("abs", x)) => (got - expected).abs() <= number(x) + 1e-9,
        Some(("rel", x)) => (got - expected).abs() <= number(x) * expected.abs() + 1e-12,
        _ if tolerance == "min" => got >= expected,
        _ if tolerance == "range" => (got - expected).abs() <= 0.01 * expected.abs(),
        _ => (got - expected).abs() <= 1e-6 * expected.abs().max(1e-6),
    }
}

#[test]
fn published_figures_are_reproduced() {
    let file = file();
    let mut reader = csv::Reader::from_path(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let rows: Vec<Row> = reader.deserialize().collect::<Result<_, _>>().expect("the columns of the key");
    assert!(!rows.is_empty(), "{} holds no case", file.display());
    let wrong: Vec<String> = rows.iter().filter_map(|row| check(row).map(|why| format!("{}: {why}", row.id))).collect();
    assert!(wrong.is_empty(), "{} of {} cases disagree:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn a_wrong_figure_is_noticed() {
    let row = |expected: &str, tolerance: &str| Row {
        id: "made-up".to_owned(),
        inputs: r#"{"kind":"net_time","size_bytes":100000000000000,"link_bps":1e9,"link_share":0.8}"#.to_owned(),
        expected: expected.to_owned(),
        tolerance: tolerance.to_owned(),
    };
    assert_eq!(check(&row(r#"{"days":11.57}"#, "abs:0.005")), None);
    assert!(check(&row(r#"{"days":11.5}"#, "abs:0.005")).is_some());
    assert!(check(&row(r#"{"days":12}"#, "rel:0.01")).is_some());
    assert!(check(&row(r#"{"weeks":2}"#, "abs:1")).is_some(), "an unknown unit is no agreement");
    assert!(check(&row(r#"{"days_min":5,"days_max":11}"#, "range")).is_some());
}

#[test]
fn the_compiled_catalogue_obeys_its_rules() {
    Catalogue::builtin().unwrap_or_else(|error| panic!("{error}"));
}
