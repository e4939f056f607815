//! `packmule send` as a user runs it: straight from the source, interrupted, changed in between, beside drives.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use packmule::digest::crc64;
use packmule::ingest::remote::ObjectStore;
use packmule::ingest::remote::probe::read_back;
use packmule::job::{Job, State};
use packmule::s3d::{Fault, FaultPlan, Operation, Quirks};

use crate::ingest_kit::{hex_sha256, noise};
use crate::s3_lab::{BUCKET, Lab};

const MIB: usize = 1 << 20;

fn command(lab: &Lab, verb: &str, sources: &[&Path], job: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_packmule"));
    command.arg(verb).args(sources).args(["--to", &format!("s3://{BUCKET}/data"), "--region", "us-east-1", "--json"]);
    command.args(["--endpoint-url", &lab.server.as_ref().unwrap().endpoint()]).arg("--job").arg(job);
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").env_remove("AWS_PROFILE");
    command.stdin(Stdio::null());
    command
}

fn send(lab: &Lab, source: &Path, job: &Path) -> Output {
    command(lab, "send", &[source], job).output().unwrap()
}

fn report(output: &Output, code: i32) -> serde_json::Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"))
}

fn tree(dir: &Path) {
    std::fs::create_dir_all(dir.join("sub/empty")).unwrap();
    std::fs::write(dir.join("small"), noise(1, 5000)).unwrap();
    std::fs::write(dir.join("sub/nothing"), b"").unwrap();
    std::fs::write(dir.join("large"), noise(2, 20 * MIB + 3)).unwrap();
    std::fs::hard_link(dir.join("large"), dir.join("sub/large again")).unwrap();
    std::os::unix::fs::symlink("../small", dir.join("sub/link")).unwrap();
    for number in 0..50 {
        std::fs::write(dir.join(format!("sub/{number:03}")), noise(100 + number, 700)).unwrap();
    }
}

fn assert_content(lab: &Lab, key: &str, content: &[u8]) {
    assert!(lab.run(read_back(&lab.store, key, content.len() as u64, crc64(content))).unwrap(), "{key}");
    let head = lab.run(lab.store.head(key)).unwrap().unwrap();
    assert_eq!(head.metadata["packmule-sha256"], hex_sha256(content), "{key}");
}

#[test]
fn a_tree_arrives_and_the_same_command_again_sends_only_what_changed() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dir = tempfile::tempdir().unwrap();
    let (source, job) = (dir.path().join("source"), dir.path().join("job"));
    tree(&source);
    let first = report(&send(&lab, &source, &job), 0);
    // 54 files, two names of one of them, a link, two directories below the top, the top.
    assert_eq!(first["objects_sent"], 50 + 3 + 1 + 1 + 2 + 1, "{first}");
    assert_content(&lab, "data/small", &noise(1, 5000));
    assert_content(&lab, "data/large", &noise(2, 20 * MIB + 3));
    assert_content(&lab, "data/sub/large again", &noise(2, 20 * MIB + 3));
    assert_content(&lab, "data/sub/nothing", b"");
    assert_eq!(lab.run(lab.store.get("data/sub/link", 0, 8)).unwrap(), "../small");
    let again = report(&send(&lab, &source, &job), 0);
    assert_eq!((&again["objects_sent"], &again["parts_sent"]), (&0.into(), &0.into()));

    std::fs::write(source.join("sub/007"), noise(999, 900)).unwrap();
    std::fs::write(source.join("added"), noise(998, 100)).unwrap();
    std::fs::remove_file(source.join("sub/008")).unwrap();
    let delta = report(&send(&lab, &source, &job), 0);
    let sent = delta["objects_sent"].as_u64().unwrap();
    // Both files; and the directories, whose times changed with what is in them.
    assert!((2..=4).contains(&sent), "{delta}");
    assert_content(&lab, "data/sub/007", &noise(999, 900));
    assert_content(&lab, "data/added", &noise(998, 100));
    let known = Job::open(&job).unwrap().ledger().unwrap();
    assert_eq!((known.state(State::Pending).entries, known.state(State::Gone).entries), (0, 0));
    let html = std::fs::read_to_string(job.join("report/completion.html")).unwrap();
    assert!(html.contains("Completion report: Complete"), "the report is written at the end of every run");
}

#[test]
fn killed_again_and_again_it_ends_with_every_object_and_no_part_twice_beyond_those_on_their_way() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dir = tempfile::tempdir().unwrap();
    let (source, job) = (dir.path().join("source"), dir.path().join("job"));
    tree(&source);
    for round in 0..6_u64 {
        let mut process = command(&lab, "send", &[&source], &job);
        let mut process = process.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(40 + round * 53 % 200));
        process.kill().unwrap();
        process.wait().unwrap();
    }
    report(&send(&lab, &source, &job), 0);
    assert_content(&lab, "data/large", &noise(2, 20 * MIB + 3));
    assert_content(&lab, "data/sub/large again", &noise(2, 20 * MIB + 3));
    for number in 0..50 {
        assert_content(&lab, &format!("data/sub/{number:03}"), &noise(100 + number, 700));
    }
    let again = report(&send(&lab, &source, &job), 0);
    assert_eq!(again["objects_sent"], 0);
}

#[test]
fn a_file_that_changed_between_its_two_readings_is_not_sent_half_and_half() {
    let faults = FaultPlan::default();
    // The digests of the first run are on record; nothing gets through.
    faults.after(Operation::UploadPart, 0, 1000, Fault::InternalError);
    let lab = Lab::new(faults, Quirks::default());
    let dir = tempfile::tempdir().unwrap();
    let (source, job) = (dir.path().join("source"), dir.path().join("job"));
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("large"), noise(2, 9 * MIB)).unwrap();
    let mut process = command(&lab, "send", &[&source], &job);
    let mut process = process.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        let known = Job::open_read_only(&job).and_then(|job| job.ledger());
        if known.is_ok_and(|ledger| ledger.staged().bytes > 0) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    // Same length, same times: only its bytes tell.
    let times = std::fs::metadata(source.join("large")).unwrap().modified().unwrap();
    std::fs::write(source.join("large"), noise(3, 9 * MIB)).unwrap();
    std::fs::File::options().write(true).open(source.join("large")).unwrap().set_modified(times).unwrap();
    let healed = Lab::new(FaultPlan::default(), Quirks::default());
    let mut found = serde_json::Value::Null;
    for _ in 0..3 {
        let output = send(&healed, &source, &job);
        found = serde_json::from_slice(&output.stdout).unwrap();
        if output.status.code() == Some(0) {
            break;
        }
    }
    assert_eq!(found["entries_left"], 0, "{found}");
    assert_content(&healed, "data/large", &noise(3, 9 * MIB));
}

#[test]
fn drives_and_line_together_end_in_one_report() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dir = tempfile::tempdir().unwrap();
    let (source, job, drive) = (dir.path().join("source"), dir.path().join("job"), dir.path().join("drive"));
    tree(&source);
    std::fs::create_dir(&drive).unwrap();
    let code = dir.path().join("code");
    let mut stage = Command::new(env!("CARGO_BIN_EXE_packmule"));
    stage.arg("stage").arg(&source).arg("--volume").arg(&drive).arg("--job").arg(&job);
    let staged = stage.arg("--unlock-code-file").arg(&code).stdin(Stdio::null()).output().unwrap();
    assert_eq!(staged.status.code(), Some(0), "{}", String::from_utf8_lossy(&staged.stderr));
    // The drives are on their way; what came since goes over the line.
    std::fs::write(source.join("late"), noise(7, 12 * MIB)).unwrap();
    let line = report(&send(&lab, &source, &job), 0);
    let sent = line["objects_sent"].as_u64().unwrap();
    assert!((1..=2).contains(&sent), "the new file, and the top whose time changed: {line}");
    assert_eq!(lab.run(lab.store.head("data/small")).unwrap(), None, "what is on drives comes from drives");
    let mut ingest = command(&lab, "ingest", &[&drive], &job);
    let drives = report(&ingest.arg("--unlock-code-file").arg(&code).output().unwrap(), 0);
    assert_eq!(drives["entries_left"], 0, "{drives}");
    assert_content(&lab, "data/late", &noise(7, 12 * MIB));
    assert_content(&lab, "data/large", &noise(2, 20 * MIB + 3));
    let text = std::fs::read_to_string(job.join("report/completion.json")).unwrap();
    let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(whole["outcome"], "complete", "{text}");
    assert_eq!(whole["failure"]["entries"], 0);
    let commands: Vec<&str> =
        whole["runs"].as_array().unwrap().iter().map(|r| r["command"].as_str().unwrap()).collect();
    assert_eq!(commands, ["stage", "send", "ingest"]);
}

#[test]
fn a_second_trip_of_drives_brings_only_what_changed_since_the_first() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    tree(&at("source"));
    let stage = |drive: &str| {
        std::fs::create_dir(at(drive)).unwrap();
        let mut stage = Command::new(env!("CARGO_BIN_EXE_packmule"));
        stage.arg("stage").arg(at("source")).arg("--volume").arg(at(drive)).arg("--job").arg(at("job"));
        let staged = stage.arg("--unlock-code-file").arg(at("code")).stdin(Stdio::null()).output().unwrap();
        assert_eq!(staged.status.code(), Some(0), "{}", String::from_utf8_lossy(&staged.stderr));
    };
    let ingest = |drives: &[&str]| {
        let drives: Vec<_> = drives.iter().map(|drive| at(drive)).collect();
        let drives: Vec<&Path> = drives.iter().map(|drive| drive.as_path()).collect();
        let mut ingest = command(&lab, "ingest", &drives, &at("job"));
        report(&ingest.arg("--unlock-code-file").arg(at("code")).output().unwrap(), 0)
    };
    stage("first");
    assert_eq!(ingest(&["first"])["objects_sent"], 58);
    std::fs::write(at("source/sub/007"), noise(999, 900)).unwrap();
    std::fs::write(at("source/added"), noise(998, 100)).unwrap();
    std::fs::remove_file(at("source/sub/008")).unwrap();
    stage("second");
    // Only the second drive travels.
    let delta = ingest(&["second"]);
    let sent = delta["objects_sent"].as_u64().unwrap();
    assert!((2..=4).contains(&sent), "two files, and the directories whose times changed: {delta}");
    assert_eq!(delta["entries_left"], 0, "{delta}");
    assert_content(&lab, "data/sub/007", &noise(999, 900));
    assert_content(&lab, "data/added", &noise(998, 100));
    assert_content(&lab, "data/large", &noise(2, 20 * MIB + 3));
    assert_eq!(
        lab.run(lab.store.head("data/sub/008")).unwrap().map(|head| head.bytes),
        Some(700),
        "nothing is deleted in a bucket"
    );
    let ledger = Job::open(&at("job")).unwrap().ledger().unwrap();
    assert_eq!(ledger.deleted().entries, 1, "the ledger knows that it is gone");
    let again = ingest(&["first", "second"]);
    assert_eq!(again["objects_sent"], 0, "{again}");
}
