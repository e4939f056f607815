//! The shipped JSON Schemas against what the program reads and writes, by a validator of the keywords they use; a keyword
//! it does not know is an error, so that nothing in a schema goes unchecked.

use jiff::civil::date;
use packmule::plan::catalogue::Catalogue;
use packmule::plan::dataset::DatasetFile;
use packmule::plan::{Inputs, Request, plan};
use serde_json::Value;

const PLAN: &str = include_str!("../../manifests/schemas/plan.schema.json");
const DATASET: &str = include_str!("../../manifests/schemas/dataset.schema.json");
const CATALOGUE: &str = include_str!("../../manifests/schemas/catalogue.schema.json");

fn schema(text: &str) -> Value {
    serde_json::from_str(text).expect("a schema is JSON")
}

/// Everything in which `value` is not as `schema` says, with its place.
fn findings(schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let Some(rules) = schema.as_object() else { panic!("{place}: a schema is an object") };
    let mut wrong = |text: String| found.push(format!("{place}: {text}"));
    for (keyword, rule) in rules {
        match keyword.as_str() {
            "$schema" | "title" | "description" | "properties" | "items" | "additionalProperties" => {}
            "type" => {
                let names: Vec<&str> = rule.as_str().into_iter().chain(strings(rule)).collect();
                if !names.iter().any(|name| is(name, value)) {
                    wrong(format!("{value} is not {names:?}"));
                }
            }
            "const" if value != rule => wrong(format!("{value} is not {rule}")),
            "enum" if !rule.as_array().is_some_and(|all| all.contains(value)) => {
                wrong(format!("{value} is not in {rule}"))
            }
            "const" | "enum" => {}
            "required" => {
                let object = value.as_object();
                let missing = strings(rule).filter(|key| object.is_some_and(|object| !object.contains_key(*key)));
                missing.for_each(|key| wrong(format!("{key} is missing")));
            }
            "pattern" => {
                assert_eq!(rule, "^-?[0-9]+\\.[0-9]{6}$", "the only pattern this validator knows");
                let text = value.as_str().unwrap_or_default().trim_start_matches('-');
                let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                if !text.split_once('.').is_some_and(|(a, b)| digits(a) && digits(b) && b.len() == 6) {
                    wrong(format!("{value} is no amount of money"));
                }
            }
            "anyOf" => {
                let fits = |rule: &Value| {
                    let mut inside = Vec::new();
                    findings(rule, value, place, &mut inside);
                    inside.is_empty()
                };
                if !rule.as_array().expect("a list").iter().any(fits) {
                    wrong(format!("{value} fits none of the forms"));
                }
            }
            "format" => {
                assert_eq!(rule, "date", "the only format this validator knows");
                if value.as_str().is_some_and(|text| text.parse::<jiff::civil::Date>().is_err()) {
                    wrong(format!("{value} is no date"));
                }
            }
            other => panic!("{place}: this validator does not know the keyword {other}"),
        }
    }
    inside(schema, value, place, found);
}

/// The members of an object and the items of a list.
fn inside(schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        list.iter().enumerate().for_each(|(n, item)| findings(items, item, &format!("{place}[{n}]"), found));
    }
    let Some(object) = value.as_object() else { return };
    let named = schema.get("properties").and_then(Value::as_object);
    for (key, member) in object {
        let place = format!("{place}.{key}");
        match (named.and_then(|named| named.get(key)), schema.get("additionalProperties")) {
            (Some(rule), _) => findings(rule, member, &place, found),
            (None, Some(Value::Bool(false))) => found.push(format!("{place}: no such member")),
            (None, Some(rule @ Value::Object(_))) => findings(rule, member, &place, found),
            (None, _) => {}
        }
    }
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("no JSON type is called {other}"),
    }
}

fn check(text: &str, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    findings(&schema(text), value, "", &mut found);
    found
}

fn toml(text: &str) -> Value {
    let table: toml::Table = text.parse().expect("TOML");
    serde_json::to_value(table).expect("every TOML value has a JSON form")
}

const FULL: &str = r#"
schema = 1
[dataset]
name = "Paris"
bytes = { value = "300TB", mark = "measured" }
files = 4000000
compressed_ratio = 0.8
[[dataset.histogram]]
up_to = "1GB"
files = 4000000
bytes = "300TB"
[site]
source_read = "900MB/s"
volume_write = { value = 180000000.0, mark = "measured" }
far_line = "10Gbit/s"
[link]
rate = "1Gbit/s"
hours = ["mon-fri 08-18 30%"]
rtt_ms = 20
upload_rate = { value = 90000000.0, mark = "measured" }
[change]
rewritten_per_day = "1TB"
window = "12h"
[[source]]
name = "orders"
kind = "database"
rate = "2MB/s"
apply_rate = "5MB/s"
engine = "MySQL"
target_engine = "Aurora MySQL"
log_kept = "3d"
size = "2TB"
[actual]
landed = "10TB"
landed_files = 100000
[[actual.stage]]
id = "receive"
days = 4.5
[[branch]]
name = "Lyon"
between = "500Mbit/s"
dataset.bytes = "40TB"
link.rate = "200Mbit/s"
"#;

#[test]
fn a_full_dataset_file_fits_its_schema_and_is_planned() {
    assert_eq!(check(DATASET, &toml(FULL)), Vec::<String>::new());
    let file = DatasetFile::parse(FULL).expect("reads");
    assert_eq!(check(DATASET, &toml(&file.to_toml().expect("writes"))), Vec::<String>::new());
    assert!(!check(DATASET, &toml("[link]\nrate = true\n")).is_empty(), "the validator finds a wrong type");
    assert!(!check(DATASET, &toml("[dataset]\nsize = 5\n")).is_empty(), "and an unknown member");
}

#[test]
fn every_report_fits_the_plan_schema() {
    let catalogue = Catalogue::builtin().expect("valid");
    let file = DatasetFile::parse(FULL).expect("reads");
    let with = |request: Request| {
        let inputs = Inputs::resolve(&request, &file, &catalogue, date(2026, 11, 24)).expect("resolves");
        serde_json::to_value(plan(&catalogue, inputs).expect("plans")).expect("serialises")
    };
    let few = Request { draws: Some(64), enterprise_support: true, existing_customer: true, ..Request::default() };
    let impossible = Request { within: "1d".parse().ok(), budget: "1".parse().ok(), ..few.clone() };
    for request in [few, impossible] {
        assert_eq!(check(PLAN, &with(request)), Vec::<String>::new());
    }
    let mut spoiled = with(Request { draws: Some(16), ..Request::default() });
    spoiled["header"]["draws"] = "many".into();
    assert!(!check(PLAN, &spoiled).is_empty());
}

#[test]
fn every_catalogue_file_fits_the_catalogue_schema() {
    let options = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/options");
    let mut files = 0;
    for entry in std::fs::read_dir(options).expect("there") {
        let path = entry.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(check(CATALOGUE, &toml(&text)), Vec::<String>::new(), "{}", path.display());
        files += 1;
    }
    assert!(files >= 12, "{files} files");
}
