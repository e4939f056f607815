//! What has happened to people, each as a test with the story's name. docs/torture.md says which other tests belong to them.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use packmule::format::ReadBack;
use packmule::ingest::remote::ObjectStore;
use packmule::s3d::{self, FaultPlan, Operation, Quirks};
use packmule::stage::{Silent, stage};
use packmule::sys::World;
use packmule::sys::fault::{Fault, FaultFs, FaultRule};
use packmule::sys::fs::OpKind;
use packmule::sys::mem::CrashKeep;

use crate::job_bench::Bench;
use crate::s3_lab::Lab;
use crate::sweep_kit::{DRIVES, Scene};
use crate::{ingest_engine, ingest_kit, tree};

/// A directory of files whose size the kernel states as 4096 and that end after a few bytes; some cannot be read at all.
const SHORT_FILES: &str = "/sys/kernel/mm/transparent_hugepage";

#[test]
fn it_said_success_the_content_was_invented() {
    if !Path::new(SHORT_FILES).exists() {
        eprintln!("SKIPPED: this kernel has no {SHORT_FILES}");
        return;
    }
    let bench = Bench::new();
    let words = ["stage", SHORT_FILES, "--volume", "@a", "--job", "@job", "--unlock-code-file", "@code", "--json"];
    let said = bench.run(3, &words);
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let problems = report["problems"].as_array().unwrap();
    assert!(!problems.is_empty(), "{report:#}");
    assert!(problems.iter().all(|problem| problem["code"] != "" && problem["path"] != ""), "{report:#}");
    let files =
        walkdir::WalkDir::new(SHORT_FILES).into_iter().filter(|item| item.as_ref().unwrap().file_type().is_file());
    assert_eq!(problems.len(), files.count(), "each file that ends early is a problem, and none is an entry");
    assert_eq!(report["ledger"]["staged"]["bytes"], 0);
    bench.run(0, &["extract", "@a", "--unlock-code-file", "@code", "--to", "@back"]);
    let back = walkdir::WalkDir::new(bench.path("back"))
        .into_iter()
        .filter(|item| item.as_ref().unwrap().file_type().is_file());
    assert_eq!(back.count(), 0);
}

#[test]
fn interrupt_it_often_and_it_never_gets_further() {
    let scene = Scene::new();
    let whole = scene.empty();
    scene.load(&whole);
    scene.stage(&whole, 1, &DRIVES[..1], &Arc::default()).unwrap();
    let share = whole.operation_count() / 3;
    let mut fs = scene.empty();
    let mut rounds = 0;
    loop {
        scene.load(&fs);
        fs.cut_power_at(share);
        rounds += 1;
        assert!(rounds < 30, "a job that gets a third of its operations at a time never ends");
        if let Ok(outcome) = scene.stage(&fs, 10 + rounds, &DRIVES[..1], &Arc::default())
            && outcome.is_complete
        {
            // Power may still have gone between the last word and the end of the process.
            let after = fs.crash(CrashKeep::Synced);
            scene.load(&after);
            scene.check_end(&after, &outcome, &DRIVES[..1], "after many interruptions");
            break;
        }
        fs = fs.crash(CrashKeep::Synced);
    }
    assert!(rounds > 1, "it was interrupted");
    eprintln!("ended in round {rounds}");
}

#[test]
fn verification_passed_because_it_read_memory_not_the_disk() {
    for (direct, drops, expected) in
        [(true, true, ReadBack::Direct), (false, true, ReadBack::DroppedCache), (false, false, ReadBack::Cached)]
    {
        let scene = Scene::new();
        let mem = scene.empty();
        if !direct {
            mem.refuse_direct();
        }
        scene.load(&mem);
        let faults = FaultFs::new(Arc::new(mem.clone()));
        if !drops {
            faults.add(FaultRule::new(OpKind::DropCache, Fault::Errno(95)).forever());
        }
        let world = World { fs: Arc::new(faults.clone()), ..Scene::world(&mem, 5) };
        let outcome = stage(scene.options(&DRIVES[..1]), &world, Arc::new(Silent)).unwrap();
        faults.assert_all_exercised();
        assert_eq!(outcome.sealed[0].1.read_back, expected);
        let sealed = String::from_utf8(mem.contents(Path::new("/drive-1/packmule/SEALED")).unwrap()).unwrap();
        assert!(sealed.contains(expected.word()), "the drive itself says how it was read back: {sealed}");
    }
}

#[test]
fn twenty_six_percent_copied_status_complete() {
    let bench = Bench::new();
    tree::make(&bench.path("source"), 30 << 20);
    let a = format!("{},size=12MiB", bench.path("a").display());
    let words = ["stage", "@source", "--volume", &a, "--job", "@job", "--unlock-code-file", "@code", "--json"];
    let said = bench.run(6, &words);
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["complete"], false, "{report:#}");
    let ledger = &report["ledger"];
    let count = |state: &str, what: &str| ledger[state][what].as_u64().unwrap();
    for what in ["entries", "bytes"] {
        let states = ["staged", "changed", "problem", "pending", "deleted"];
        assert_eq!(states.iter().map(|state| count(state, what)).sum::<u64>(), count("seen", what), "{report:#}");
    }
    assert!(count("pending", "entries") > 0);
    let status = bench.run(0, &["status", "--job", "@job", "--check"]);
    assert!(status.out.contains("pending"), "{}", status.out);
}

#[test]
fn one_growing_log_ruined_the_files_after_it() {
    let bench = Bench::new();
    tree::make(&bench.path("source"), 9 << 20);
    let log = bench.path("source/growing.log");
    fs::write(&log, b"begin\n").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::File::options().append(true).open(&log).unwrap();
            while !stop.load(Ordering::Relaxed) {
                file.write_all(&[b'x'; 4096]).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(200)); // 20 MB/s: a log, not a race for the disk
            }
        });
        let words =
            bench.words(&["stage", "@source", "--volume", "@a", "--job", "@job", "--unlock-code-file", "@code"]);
        let code = crate::program::packmule(&words).output().unwrap().status.code();
        stop.store(true, Ordering::Relaxed);
        assert!(code == Some(0) || code == Some(3), "{code:?}");
    });
    bench.run(0, &["verify", "@a", "--unlock-code-file", "@code"]);
    bench.run(0, &["extract", "@a", "--unlock-code-file", "@code", "--to", "@back"]);
    let (_, back) = (fs::remove_file(&log), bench.path("back"));
    let _ = fs::remove_file(back.join("growing.log"));
    let without_top = |dir: &Path| tree::describe(dir).split_off(1); // the log changed the time of its directory
    assert_eq!(without_top(&bench.path("source")), without_top(&back), "every other file is as it was");
}

#[test]
fn the_mount_was_missing_and_it_exited_0() {
    let bench = Bench::new();
    let words = ["stage", "@source", "--volume", "@a", "--job", "@job", "--unlock-code-file", "@code"];
    let said = bench.run(1, &words);
    assert!(said.err.contains("source"), "{}", said.err);
    fs::create_dir(bench.path("source")).unwrap();
    let said = bench.run(1, &words);
    assert!(said.err.contains("is empty") && said.err.contains("mounted"), "{}", said.err);
}

/// Breaks the block in the middle of the first pack of volume a; what verify says then.
fn verify_with_a_bad_block(bench: &Bench) -> serde_json::Value {
    let pack = bench.path("a/packmule/packs/00000001.pack");
    let mut bytes = fs::read(&pack).unwrap();
    let at = bytes.len() / 2 / 4096 * 4096;
    bytes[at..at + 4096].fill(0xA5);
    fs::write(&pack, bytes).unwrap();
    let said = bench.run(4, &["verify", "@a", "--unlock-code-file", "@code", "--json"]);
    serde_json::from_str(&said.out).unwrap()
}

#[test]
fn one_bad_block_and_the_rest_is_gone() {
    let bench = Bench::new();
    tree::make(&bench.path("source"), 20 << 20);
    bench.run(0, &["stage", "@source", "--volume", "@a", "--job", "@job", "--unlock-code-file", "@code"]);
    let whole = |report: &serde_json::Value| report["files_whole"].as_u64().unwrap();
    let undamaged = bench.run(0, &["verify", "@a", "--unlock-code-file", "@code", "--json"]);
    let before = whole(&serde_json::from_str(&undamaged.out).unwrap());
    let report = verify_with_a_bad_block(&bench);
    let lost: std::collections::BTreeSet<String> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|finding| finding["lost"].as_array().cloned().unwrap_or_default())
        .map(|lost| lost["path"].as_str().unwrap().to_owned())
        .collect();
    // Which frames lie there differs from run to run; a block touches two at most, and only what is in them is lost.
    for finding in report["findings"].as_array().unwrap() {
        let (from, to) = (finding["frames"]["from"].as_u64(), finding["frames"]["to"].as_u64());
        assert!(to.zip(from).is_none_or(|(to, from)| to - from <= 2), "{report:#}");
    }
    assert!(!lost.is_empty(), "{report:#}");
    assert_eq!(
        whole(&report) + lost.len() as u64,
        before,
        "every other file is whole, and every lost one named: {report:#}"
    );
    bench.run(0, &["stage", "@source", "--volume", "@b", "--job", "@job", "--repair", "@a"]);
    // A lost stretch of a large file is looked for where it was, and found elsewhere: that is said. Small files are staged
    // anew as a whole, so nobody needs the frame they shared, and extract does not come across it.
    let is_met = lost.contains("large") || lost.contains("sparse");
    bench.assert_comes_back_saying(if is_met { 4 } else { 0 }, &["@a", "@b"]);
}

#[test]
fn one_bad_block_under_small_files_costs_them_and_no_others_and_repair_brings_them_back() {
    let bench = Bench::new();
    fs::create_dir(bench.path("source")).unwrap();
    for number in 0..400_u64 {
        fs::write(bench.path("source").join(format!("f{number}")), tree::noise(number, 9000)).unwrap();
    }
    bench.run(0, &["stage", "@source", "--volume", "@a", "--job", "@job", "--unlock-code-file", "@code"]);
    let report = verify_with_a_bad_block(&bench);
    let lost: usize = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["lost"].as_array().map_or(0, Vec::len))
        .sum();
    assert!((1..400).contains(&lost), "{report:#}");
    bench.run(0, &["stage", "@source", "--volume", "@b", "--job", "@job", "--repair", "@a"]);
    bench.assert_comes_back_saying(0, &["@a", "@b"]);
    bench.run(4, &["verify", "@a", "--unlock-code-file", "@code"]);
}

#[test]
fn encrypted_means_unverifiable() {
    let bench = Bench::new();
    tree::make(&bench.path("source"), 1 << 20);
    bench.run(0, &["stage", "@source", "--volume", "@a", "--job", "@job", "--unlock-code-file", "@code"]);
    bench.run(0, &["verify", "--keyless", "@a"]);
    let sums = std::process::Command::new("sha256sum")
        .args(["--quiet", "-c", "SHA256SUMS"])
        .current_dir(bench.path("a/packmule"))
        .output();
    match sums {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => eprintln!("SKIPPED in part: no sha256sum here ({error})"),
    }
    let pack = bench.path("a/packmule/packs/00000001.pack");
    let mut bytes = fs::read(&pack).unwrap();
    let at = bytes.len() / 3;
    bytes[at] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let said = bench.run(4, &["verify", "--keyless", "@a"]);
    assert!(said.out.contains("packs/00000001.pack"), "{}", said.out);
}

#[test]
fn my_upload_dies_hourly_and_starts_from_zero() {
    // Each run gets three parts of its largest file through, and then its credentials expire. A tool that begins anew
    // never ends.
    let dataset = ingest_engine::large();
    let mut lab = Lab::new(FaultPlan::default(), Quirks::default());
    let mut runs = 0;
    loop {
        let faults = FaultPlan::default();
        faults.on_key_after(Operation::UploadPart, "data/big", 3, s3d::Fault::Refuse(400, "ExpiredToken"));
        lab = lab.restarted(faults);
        runs += 1;
        let outcome = ingest_engine::run(&dataset, ingest_engine::endpoint(&lab), &ingest_engine::options());
        if outcome.as_ref().is_ok_and(|outcome| outcome.left == 0) {
            break;
        }
        assert!(runs < 12, "no further after {runs} runs: {outcome:?}");
    }
    assert!(runs >= 3, "three parts a run: {runs}");
    ingest_engine::assert_content(&lab, "data/big", &ingest_kit::noise(2, (35 << 20) + 7));
    assert_eq!(lab.run(lab.store.open_uploads("")).unwrap(), [], "and nothing half-sent is left to be paid for");
}

#[test]
fn the_power_went_and_nothing_opens() {
    let scene = Scene::new();
    let drives = &DRIVES[..2];
    let whole = scene.empty();
    scene.load(&whole);
    scene.stage(&whole, 3, drives, &Arc::default()).unwrap();
    for eighth in 1..8 {
        let fs = scene.empty();
        scene.load(&fs);
        fs.cut_power_at(whole.operation_count() * eighth / 8);
        let told = Arc::default();
        let _ = scene.stage(&fs, 4, drives, &told);
        let after = fs.crash(CrashKeep::Random(eighth));
        let context = format!("power went {eighth} eighths through");
        // Everything that was said to be staged opens as it is, and the same command needs nobody's help.
        scene.check_image(&after, &told, &context);
        scene.load(&after);
        let outcome = scene.stage(&after, 5, drives, &Arc::default()).unwrap();
        scene.check_end(&after, &outcome, drives, &context);
    }
}
