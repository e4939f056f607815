//! Every example in every command's help runs, in the order of the story they tell.

use std::process::Command;

use crate::story_kit::Story;

/// The story: the order in which commands make sense one after the other.
const ORDER: [&str; 19] = [
    "completions",
    "man",
    "doctor",
    "scan",
    "probe",
    "plan",
    "init",
    "config",
    "keygen",
    "stage",
    "verify",
    "ls",
    "cat",
    "extract",
    "ingest",
    "diff",
    "status",
    "report",
    "demo",
];
/// Goes on until somebody ends it: `tests/it/browse_cli.rs` runs it.
const ENDLESS: &str = "packmule mount";
/// Runs last.
const LAST: &str = "erase";
/// Takes the documentation of the whole machine across: the README's command, run by hand and in the nightly check.
const LONG: &str = "packmule demo";
/// Needs a whole drive that may be lost: told by `erase_purge.rs`, on a scripted one.
const DRIVE: &str = "packmule erase --purge";

fn packmule(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_packmule")).args(args).env("COLUMNS", "200").output().unwrap()
}

fn text(args: &[&str]) -> String {
    let output = packmule(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn commands() -> Vec<String> {
    let help = text(&["help"]);
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
}

/// Command lines in a help text, without the explanation in brackets behind them.
fn examples(command: &str) -> Vec<String> {
    let help = text(&["help", command]);
    let lines = help.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| line.starts_with("packmule "));
    lines.map(|line| line.split("   (").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn every_command_has_examples_and_those_of_the_story_run() {
    let mut names = commands();
    assert!(names.len() >= 14, "{names:?}");
    let place = |name: &str| ORDER.iter().position(|known| *known == name);
    names.sort_by_key(|name| if name == LAST { usize::MAX } else { place(name).unwrap_or(ORDER.len()) });
    let story = Story::new();
    for name in names {
        let examples = examples(&name);
        assert!(!examples.is_empty(), "packmule help {name} has no examples: add them to src/cli/examples.rs");
        if name != LAST && place(&name).is_none() {
            continue; // a story of its own, told by the tests of that command
        }
        let runs = |line: &&String| *line != LONG && !line.starts_with(ENDLESS) && !line.starts_with(DRIVE);
        for line in examples.iter().filter(runs) {
            story.succeed(line);
        }
    }
}

#[test]
fn the_program_alone_says_what_one_wants_to_do() {
    let screen = text(&[]);
    for command in ["plan", "stage", "ingest", "status", "demo", "doctor"] {
        assert!(screen.contains(&format!("packmule {command} ")), "{command}: {screen}");
    }
}

#[test]
fn near_misses_are_told_what_they_probably_meant() {
    for (word, ours) in [("stge", "stage"), ("verfy", "verify"), ("upload", "ingest"), ("restore", "extract")] {
        let output = packmule(&[word, "/data"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(ours), "{word}: {said}");
    }
    let output = packmule(&["stage", "/data", "--volum", "/mnt/a", "--job", "x"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("--volume"));
}

#[test]
fn there_is_a_manual_page_for_every_command_with_its_examples() {
    let dir = tempfile::tempdir().unwrap();
    text(&["man", "-o", dir.path().to_str().unwrap()]);
    for name in commands() {
        let page = std::fs::read_to_string(dir.path().join(format!("packmule-{name}.1"))).unwrap();
        assert!(page.starts_with(".ie") || page.contains(".TH"), "{name}");
        assert!(page.contains("Examples:"), "{name}: no examples");
    }
    assert!(dir.path().join("packmule.1").exists());
    assert_eq!(packmule(&["man", "upload"]).status.code(), Some(2));
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(text(&["completions", shell]).contains("packmule"), "{shell}");
    }
}

#[test]
fn doctor_names_what_is_wrong_and_what_to_do_about_it() {
    let story = Story::new();
    let said = story.succeed("packmule doctor --volume /mnt/a --source /data --job ~/jobs/lab --to s3://lab-archive");
    assert!(said.contains("this machine is ready"), "{said}");
    assert!(said.contains("it accepts our credentials and our clock"), "{said}");
    let output = story.run("packmule doctor --json --volume /mnt/none --source /data/none --to s3://no-such-bucket");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = document["checks"].as_array().unwrap();
    let bad: Vec<_> = checks.iter().filter(|check| check["verdict"] == "bad").collect();
    assert_eq!((document["ready"].as_bool(), bad.len()), (Some(false), 3), "{document}");
    assert!(bad.iter().all(|check| check["mend"].is_string()), "{document}");
    let wrong = story.run("AWS_SECRET_ACCESS_KEY=other packmule doctor --to s3://lab-archive");
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    assert!(String::from_utf8_lossy(&wrong.stdout).contains("check the credentials"), "{wrong:?}");
}
