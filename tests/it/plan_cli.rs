//! `packmule plan` and `packmule probe` as typed.

use assert_cmd::Command;
use predicates::prelude::*;

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
