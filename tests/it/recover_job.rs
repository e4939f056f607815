//! `packmule recover` as a user needs it: the database is lost, old, or knows more than the drives; the end is the same.

use std::fs;

use crate::job_bench::Bench;
use crate::tree;

/// A job on two volumes, sealed or not.
fn staged(seal: bool) -> Bench {
    let bench = Bench::new();
    tree::make(&bench.path("source"), 9 << 20);
    bench.stage(0, if seal { &[] } else { &["--no-seal"] });
    bench
}

#[test]
fn a_job_whose_database_is_lost_is_rebuilt_from_sealed_volumes_and_nothing_is_staged_again() {
    let bench = staged(true);
    let before = bench.ledger();
    fs::remove_dir_all(bench.path("job")).unwrap();
    let said = bench.recover(0, &["@b", "@a"], &[]);
    assert!(said.out.contains("its manifest tell"), "{}", said.out);
    assert_eq!(bench.ledger(), before);
    let said = bench.stage(0, &[]);
    assert!(said.out.contains("nothing to do"), "{}", said.out);
    let said = bench.recover(0, &["@a", "@b"], &[]);
    assert!(said.out.contains("corrected from the volumes"), "{}", said.out);
    assert_eq!(bench.ledger(), before, "recovering twice changes nothing");
    bench.assert_round_trip(&["@a", "@b"]);
}

#[test]
fn a_job_whose_database_is_lost_goes_on_on_the_same_open_volumes() {
    let bench = staged(false);
    let before = bench.ledger();
    fs::remove_dir_all(bench.path("job")).unwrap();
    let said = bench.recover(0, &["@a", "@b"], &[]);
    assert!(said.out.contains("its packs tell"), "{}", said.out);
    assert_eq!(bench.ledger(), before);
    fs::write(bench.path("source/later"), tree::noise(9, 100_000)).unwrap();
    // Without the code: the recipient came with the key that opened the volumes.
    bench.run(0, &["stage", "@source", "--volume", "@a", "--volume", "@b", "--job", "@job"]);
    bench.assert_round_trip(&["@a", "@b"]);
}

#[test]
fn a_database_from_a_backup_is_brought_up_to_the_volumes() {
    let bench = staged(false);
    bench.copy("job", "old-job");
    fs::write(bench.path("source/later"), tree::noise(9, 3_000_000)).unwrap();
    fs::write(bench.path("source/first"), b"changed").unwrap();
    fs::remove_file(bench.path("source/many/00007.txt")).unwrap();
    bench.stage(0, &["--no-seal"]);
    let before = bench.ledger();
    bench.put_back("old-job", "job");
    let refused = bench.stage(4, &["--no-seal"]);
    assert!(refused.err.contains("packmule recover"), "{}", refused.err);
    bench.recover(0, &["@a", "@b"], &[]);
    assert_eq!(bench.ledger(), before);
    bench.stage(0, &[]);
    bench.assert_round_trip(&["@a", "@b"]);
}

#[test]
fn a_drive_that_forgot_what_it_had_confirmed_is_believed_and_what_it_lost_is_staged_again() {
    let bench = staged(false);
    for name in ["a", "b"] {
        bench.copy(name, &format!("old-{name}"));
    }
    fs::write(bench.path("source/later"), tree::noise(9, 3_000_000)).unwrap();
    fs::write(bench.path("source/first"), b"changed").unwrap();
    fs::remove_file(bench.path("source/many/00007.txt")).unwrap();
    bench.stage(0, &["--no-seal"]);
    for name in ["a", "b"] {
        bench.put_back(&format!("old-{name}"), name);
    }
    let refused = bench.stage(4, &[]);
    assert!(refused.err.contains("were committed"), "{}", refused.err);
    let said = bench.recover(0, &["@a", "@b"], &[]);
    assert!(said.out.contains("pending"), "{}", said.out);
    bench.stage(0, &[]);
    bench.assert_round_trip(&["@a", "@b"]);
}

#[test]
fn a_pack_torn_in_the_padding_behind_its_footer_is_closed_again() {
    let bench = staged(false);
    let mut torn = 0;
    for name in ["a", "b"] {
        for pack in fs::read_dir(bench.path(&format!("{name}/packmule/packs"))).unwrap() {
            let file = fs::File::options().write(true).open(pack.unwrap().path()).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len(length - 100).unwrap();
            torn += 1;
        }
    }
    assert!(torn >= 2, "both drives have a pack");
    let said = bench.run(0, &["verify", "@a", "@b", "--unlock-code-file", "@code"]);
    assert!(said.out.contains("the next run closes it again"), "{}", said.out);
    fs::remove_dir_all(bench.path("job")).unwrap();
    bench.recover(0, &["@a", "@b"], &[]);
    bench.run(0, &["stage", "@source", "--volume", "@a", "--volume", "@b", "--job", "@job"]);
    bench.assert_round_trip(&["@a", "@b"]);
}

#[test]
fn a_damaged_pack_costs_its_frames_and_the_drive_is_not_trusted_with_more() {
    let bench = Bench::new();
    tree::make(&bench.path("source"), 9 << 20);
    let one = ["stage", "@source", "--volume", "@a", "--job", "@job", "--unlock-code-file", "@code", "--no-seal"];
    bench.run(0, &one);
    let pack = bench.path("a/packmule/packs/00000001.pack");
    let mut bytes = fs::read(&pack).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0x40;
    fs::write(&pack, bytes).unwrap();
    fs::remove_dir_all(bench.path("job")).unwrap();
    let said = bench.recover(4, &["@a"], &[]);
    assert!(said.out.contains("damaged: packs/00000001.pack") && said.out.contains("lost: "), "{}", said.out);
    let said = bench.stage(0, &[]);
    assert!(said.out.contains("volume 102 sealed") || said.out.contains("volume 101 sealed"), "{}", said.out);
    assert!(!bench.path("a/packmule/SEALED").exists(), "a damaged volume is never sealed");
    bench.run(4, &["verify", "--keyless", "@a"]);
    bench.run(0, &["verify", "--unlock-code-file", "@code", "@b"]);
}

#[test]
fn a_volume_that_nobody_brought_is_told_and_can_be_added_later() {
    let bench = staged(true);
    let before = bench.ledger();
    fs::remove_dir_all(bench.path("job")).unwrap();
    let said = bench.recover(0, &["@b"], &[]);
    assert!(said.out.contains("NOT KNOWN: volume 1"), "{}", said.out);
    fs::write(bench.path("source/later"), b"new").unwrap();
    bench.recover(0, &["@a"], &[]);
    bench.recover(0, &["@a", "@b"], &[]);
    assert_eq!(bench.ledger(), before);
    let said = bench.run(0, &["stage", "@source", "--volume", "@c", "--job", "@job"]);
    assert!(said.out.contains("volume 101 sealed"), "a number names one volume for ever: {}", said.out);
    bench.assert_round_trip(&["@a", "@b", "@c"]);
}

#[test]
fn a_database_that_is_no_database_is_put_aside_and_kept() {
    let bench = staged(true);
    let before = bench.ledger();
    fs::write(bench.path("job/job.db"), b"this is no database".repeat(1000)).unwrap();
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(bench.path(&format!("job/job.db{ending}")));
    }
    let said = bench.recover(1, &["@a", "@b"], &[]);
    assert!(said.err.contains("--afresh"), "{}", said.err);
    let said = bench.recover(0, &["@a", "@b"], &["--afresh"]);
    assert!(said.out.contains("is kept as"), "{}", said.out);
    assert!(bench.path("job/job.db.aside-1").exists());
    assert_eq!(bench.ledger(), before);
}

#[test]
fn the_wrong_key_another_job_and_a_volume_given_twice_are_refused_and_change_nothing() {
    let bench = staged(true);
    let other = staged(true);
    let before = bench.ledger();
    let code = other.path("code");
    let words = ["recover", "@a", "@b", "--job", "@job", "--unlock-code-file", code.to_str().unwrap()];
    bench.run(5, &words);
    let theirs = other.path("a");
    bench.recover(6, &["@a", theirs.to_str().unwrap()], &[]);
    bench.recover(2, &["@a", "@a"], &[]);
    assert_eq!(bench.ledger(), before);
}
