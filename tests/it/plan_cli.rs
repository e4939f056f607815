//! `packmule plan` and `packmule probe` as typed.

use assert_cmd::Command;
use packmule::s3d::{FaultPlan, Quirks};
use predicates::prelude::*;

use crate::ingest_kit::{Dataset, What, noise};
use crate::s3_lab::{BUCKET, Lab};

fn packmule() -> Command {
    Command::cargo_bin("packmule").expect("built")
}

#[test]
fn a_plan_names_the_pick_and_the_odds() {
    let ask =
        ["plan", "--size", "40TB", "--files", "12M", "--link", "500Mbit/s", "--as-of", "2026-11-23", "--within", "30d"];
    packmule().args(ask).assert().success().stdout(
        predicate::str::contains("Use Existing internet line to S3").and(predicate::str::contains("odds of meeting")),
    );
    let json = packmule().args(ask).arg("--json").assert().success().get_output().stdout.clone();
    let report: serde_json::Value = serde_json::from_slice(&json).expect("one JSON document");
    assert_eq!(report["header"]["bytes"], 40_000_000_000_000_u64);
}

#[test]
fn bad_units_and_files_are_usage_errors_that_help() {
    for (ask, word) in [
        (["--size", "40T"], "40TiB"),
        (["--size", "4tb"], "4TB"),
        (["--link", "125MB/s"], "1 Gbit/s"),
        (["--share", "80"], "80%"),
        (["--budget", "-5"], "not negative"),
    ] {
        packmule()
            .arg("plan")
            .arg(format!("{}={}", ask[0], ask[1]))
            .assert()
            .code(2)
            .stderr(predicate::str::contains(word));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("empty.toml");
    std::fs::write(&file, "").expect("written");
    packmule()
        .arg("plan")
        .arg(&file)
        .assert()
        .code(2)
        .stderr(predicate::str::contains("is empty").and(predicate::str::contains("scan")));
    std::fs::write(&file, "[[option]]\nid = \"internet\"\nfigures.per_gb_in.value = \"-1\"\n").expect("written");
    let bad = packmule().args(["plan", "--size", "1TB", "--catalog"]).arg(&file).assert().code(2);
    bad.stderr(predicate::str::contains("internet.per_gb_in").and(predicate::str::contains("negative")));
}

#[test]
fn probe_writes_what_plan_reads_as_measured() {
    let dir = tempfile::tempdir().expect("a directory");
    let source = dir.path().join("source");
    std::fs::create_dir(&source).expect("made");
    std::fs::write(source.join("a"), vec![7; 3_000_000]).expect("written");
    let file = dir.path().join("site.toml");
    let probe = |what: &mut Command| {
        what.args(["probe", "--time", "1s", "-o"])
            .arg(&file)
            .arg("--source")
            .arg(&source)
            .arg("--volume")
            .arg(dir.path())
            .assert()
            .success()
    };
    probe(&mut packmule());
    probe(&mut packmule());
    assert!(!dir.path().join("packmule-probe.tmp").exists(), "nothing is left behind");
    let plan =
        packmule().arg("plan").arg(&file).args(["--size", "1TB", "--link", "1Gbit/s", "--json"]).assert().success();
    let report: serde_json::Value = serde_json::from_slice(&plan.get_output().stdout).expect("JSON");
    let read =
        report["inputs"].as_array().expect("a list").iter().find(|i| i["name"] == "source read rate").expect("there");
    assert_eq!(read["mark"], "measured");
    packmule().args(["probe", "--source"]).arg(dir.path().join("nowhere")).assert().code(2);
}

/// The program with credentials of the embedded server.
fn with_key(lab: &Lab) -> Command {
    let mut command = packmule();
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").env_remove("AWS_PROFILE");
    command.env("AWS_ENDPOINT_URL", lab.server.as_ref().expect("running").endpoint()).env("AWS_REGION", "us-east-1");
    command
}

#[test]
fn probe_measures_the_line_to_a_bucket_and_leaves_nothing_there() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("site.toml");
    let to = format!("s3://{BUCKET}/probe");
    let probe = with_key(&lab)
        .args(["probe", "--time", "1s", "--connections", "4", "--json", "--to", &to, "-o"])
        .arg(&file)
        .assert()
        .success();
    let said: serde_json::Value = serde_json::from_slice(&probe.get_output().stdout).expect("JSON");
    assert!(said["upload"]["large_objects"]["bytes"].as_u64() >= Some(32 << 20), "{said}");
    assert!(said["upload"]["round_trip_ms"].as_f64() > Some(0.0), "{said}");
    assert_eq!(lab.keys(), Vec::<String>::new(), "nothing is left in the bucket");
    let plan = packmule().arg("plan").arg(&file).args(["--size", "1TB", "--json"]).assert().success();
    let report: serde_json::Value = serde_json::from_slice(&plan.get_output().stdout).expect("JSON");
    let marks: Vec<&serde_json::Value> = report["inputs"].as_array().expect("a list").iter().collect();
    for name in ["upload rate to the bucket", "round trip in ms"] {
        assert!(marks.iter().any(|i| i["name"] == name && i["mark"] == "measured"), "{name}: {marks:?}");
    }
    assert!(report["options"].as_array().expect("a list").iter().any(|o| o["id"] == "internet"), "a line is known now");
    with_key(&lab)
        .args(["probe", "--time", "1s", "--to", "s3://no-such-bucket"])
        .assert()
        .code(7)
        .stderr(predicate::str::contains("no-such-bucket"));
    packmule().args(["probe", "--to", "bucket"]).assert().code(2).stderr(predicate::str::contains("s3://BUCKET"));
}

#[test]
fn the_rest_of_a_running_job_is_planned_from_what_it_has_done() {
    let paths: Vec<_> = (0..6_u64).map(|n| (format!("f{n}").into_bytes(), What::File(noise(n, 3 << 20)))).collect();
    let paths: Vec<_> = paths.iter().map(|(path, what)| (path.as_slice(), what.clone())).collect();
    let dataset = Dataset::new(1, &paths);
    let plan = |also: &[&str]| {
        let mut command = packmule();
        command.arg("plan").arg("--job").arg(dataset.job_dir()).args(["--link", "1Mbit/s", "--json"]).args(also);
        let said = command.assert().success().get_output().stdout.clone();
        serde_json::from_slice::<serde_json::Value>(&said).expect("JSON")
    };
    let before = plan(&[]);
    let input = |report: &serde_json::Value, name: &str| {
        report["inputs"].as_array().expect("a list").iter().find(|i| i["name"] == name).cloned()
    };
    assert_eq!(input(&before, "files").expect("counted")["mark"], "measured");
    assert!(input(&before, "on drives already").is_some() && input(&before, "arrived already").is_none(), "{before}");
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let mut ingest = with_key(&lab);
    ingest.arg("ingest").arg(dataset.volume_dir(1)).args(["--to", &format!("s3://{BUCKET}/x")]);
    ingest.arg("--job").arg(dataset.job_dir()).arg("--identity").arg(dataset.identity()).assert().success();
    let mut done = packmule();
    done.arg("plan").arg("--job").arg(dataset.job_dir()).args(["--link", "1Mbit/s"]);
    done.assert().code(2).stderr(predicate::str::contains("nothing to move"));
}

/// Every `packmule plan` and `packmule probe` line of the document and of the help.
#[test]
fn every_example_command_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let sample = include_str!("../../manifests/examples/dataset.toml");
    std::fs::write(dir.path().join("DATASET.toml"), sample).expect("written");
    let help = packmule().args(["plan", "--help"]).assert().success().get_output().stdout.clone();
    let document = include_str!("../../docs/plan.md").to_owned();
    let text = document + &String::from_utf8_lossy(&help);
    let commands: std::collections::BTreeSet<&str> =
        text.lines().map(str::trim).filter(|line| line.starts_with("packmule plan ")).collect();
    assert!(commands.len() >= 6, "{commands:?}");
    for line in commands {
        let words = line.split_whitespace().skip(1).map(|word| word.trim_matches('\''));
        packmule().args(words).args(["--draws", "64"]).current_dir(dir.path()).assert().success();
    }
}
