//! Staging as a user does it: whole jobs, interruptions, trouble.

use std::fs;
use std::time::Duration;

use crate::job_bench::{Bench, used};
use crate::program::{expect, packmule};
use crate::tree;

#[test]
fn a_tree_with_everything_that_bites_comes_back_as_it_was() {
    let bench = Bench::new();
    tree::make(&bench.path("source"), 30 << 20);
    let said = bench.stage(0, &[]);
    assert!(said.out.contains("done: everything is staged and read back"), "{}", said.out);
    assert!(bench.path("job/report/staging-success.csv").exists(), "{}", said.out);
    bench.assert_round_trip(&["@a", "@b"]);
    let again = bench.stage(0, &[]);
    assert!(again.out.contains("nothing to do"), "{}", again.out);
}

#[test]
fn killed_at_ten_random_moments_the_same_command_still_ends_in_the_same_tree() {
    let bench = Bench::new();
    tree::make(&bench.path("source"), 48 << 20);
    let words = bench.words(&[
        "stage",
        "@source",
        "--volume",
        "@a",
        "--volume",
        "@b",
        "--job",
        "@job",
        "--unlock-code-file",
        "@code",
        "--threads",
        "2",
    ]);
    let mut kills = 0;
    for round in 0..10_u64 {
        let mut child =
            packmule(&words).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        // Spread over the run; some come before the first commit, some during the seal.
        std::thread::sleep(Duration::from_millis(15 + (round * 7919) % 400));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
    }
    assert!(kills > 0, "no run was long enough to be killed");
    let said = expect(0, &words);
    assert!(said.out.contains("seen"), "{}", said.out);
    bench.assert_round_trip(&["@a", "@b"]);
}

#[test]
fn a_full_volume_asks_for_another_and_the_same_job_goes_on_there() {
    let bench = Bench::new();
    tree::make(&bench.path("source"), 60 << 20);
    let a = format!("{},size=40MiB", bench.path("a").display());
    let first =
        ["stage", "@source", "--volume", &a, "--job", "@job", "--unlock-code-file", "@code", "--compress", "none"];
    let said = bench.run(6, &first);
    assert!(said.out.contains("a further volume is needed for"), "{}", said.out);
    assert!(bench.path("a/packmule/SEALED").exists(), "a full volume is sealed and can be taken away");
    let second =
        ["stage", "@source", "--volume", "@b", "--job", "@job", "--unlock-code-file", "@code", "--compress", "none"];
    bench.run(0, &second);
    bench.assert_round_trip(&["@a", "@b"]);
    assert!(used(&bench.path("a")) <= 40 << 20, "no more than asked is used");
}

#[test]
fn an_empty_source_is_a_missing_mount_and_never_a_deletion() {
    let bench = Bench::new();
    fs::create_dir(bench.path("source")).unwrap();
    let said = bench.stage(1, &[]);
    assert!(said.err.contains("is empty"), "{}", said.err);
    fs::write(bench.path("source/file"), b"x").unwrap();
    bench.stage(0, &["--no-seal"]);
    fs::remove_file(bench.path("source/file")).unwrap();
    let said = bench.stage(1, &["--no-seal"]);
    assert!(said.err.contains("1 entries were seen there before"), "{}", said.err);
    let missing =
        bench.run(1, &["stage", "@nowhere", "--volume", "@a", "--job", "@job2", "--unlock-code-file", "@code"]);
    assert!(missing.err.contains("nowhere"), "{}", missing.err);
}

#[test]
fn another_jobs_volume_other_sources_and_no_recipient_are_refused_with_their_own_codes() {
    let bench = Bench::new();
    fs::create_dir(bench.path("source")).unwrap();
    fs::write(bench.path("source/file"), b"x").unwrap();
    let said = bench.run(2, &["stage", "@source", "--volume", "@a", "--job", "@job"]);
    assert!(said.err.contains("--recipient"), "{}", said.err);
    bench.stage(0, &[]);
    let other = ["stage", "@source", "--volume", "@a", "--job", "@other", "--unlock-code-file", "@code"];
    let said = bench.run(6, &other);
    assert!(said.err.contains("belongs to job"), "{}", said.err);
    fs::create_dir(bench.path("elsewhere")).unwrap();
    fs::write(bench.path("elsewhere/file"), b"y").unwrap();
    let moved = ["stage", "@elsewhere", "--volume", "@c", "--job", "@job", "--unlock-code-file", "@code"];
    let said = bench.run(2, &moved);
    assert!(said.err.contains("this job stages"), "{}", said.err);
    let twice =
        ["stage", "@source", "--volume", "@c", "--volume", "@c", "--job", "@job", "--unlock-code-file", "@code"];
    let said = bench.run(6, &twice);
    assert!(said.err.contains("given twice"), "{}", said.err);
}

#[test]
fn a_second_trip_stages_only_what_is_new_and_records_what_is_gone() {
    let bench = Bench::new();
    tree::make(&bench.path("source"), 1 << 20);
    bench.stage(0, &[]);
    fs::write(bench.path("source/new file"), b"new").unwrap();
    fs::write(bench.path("source/many/00010.txt"), b"changed").unwrap();
    fs::remove_file(bench.path("source/many/00011.txt")).unwrap();
    bench.run(0, &["stage", "@source", "--volume", "@c", "--job", "@job", "--unlock-code-file", "@code"]);
    assert!(used(&bench.path("c")) < 200_000, "only the difference is staged: {}", used(&bench.path("c")));
    bench.assert_round_trip(&["@a", "@b", "@c"]);
}

#[test]
fn a_database_older_than_the_volume_is_told_and_nothing_is_cut() {
    let bench = Bench::new();
    tree::make(&bench.path("source"), 1 << 20);
    bench.stage(0, &["--no-seal"]);
    bench.copy("job", "old-job");
    for round in 0..3 {
        fs::write(bench.path("source").join(format!("later {round}")), tree::noise(round, 2000)).unwrap();
        bench.stage(0, &["--no-seal"]);
    }
    let before = used(&bench.path("a")) + used(&bench.path("b"));
    let old =
        ["stage", "@source", "--volume", "@a", "--volume", "@b", "--job", "@old-job", "--unlock-code-file", "@code"];
    let said = bench.run(4, &old);
    assert!(said.err.contains("packmule recover"), "{}", said.err);
    let slots = 2 * 1000; // the refused run may leave its key slots, and nothing else
    assert!(used(&bench.path("a")) + used(&bench.path("b")) <= before + slots);
}
