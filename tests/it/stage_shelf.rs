//! A shelf of odd drives: each filled to its own size, sealed and released when full, the next one taken.

use crate::stage_kit::{Desk, files_below, noise, said};

const MIB: usize = 1 << 20;

/// Twenty files of 1 MiB and one of 20 MiB, which spans two parts of an object.
fn desk() -> Desk {
    let desk = Desk::new();
    for number in 0..20 {
        desk.file(&format!("dir{}/file{number}", number % 3), &noise(number, MIB));
    }
    desk.file("large", &noise(99, 20 * MIB));
    for drive in ["a", "b", "c"] {
        desk.drive(drive);
    }
    desk
}

#[test]
fn a_full_volume_is_sealed_and_named_and_the_next_one_goes_on() {
    let desk = desk();
    let first = desk.stage_to(6, &["--volume", "a,size=18MB"]);
    assert!(first.contains("volume 1 is full"), "{first}");
    assert!(first.contains("volume 1 is sealed, read back "), "{first}");
    assert!(first.contains("can be taken away") && first.contains("a further volume is needed"), "{first}");
    assert!(desk.at("a/packmule/SEALED").exists());
    let used: u64 = files_below(&desk.at("a")).values().map(|content| content.len() as u64).sum();
    assert!((9_000_000..=18_000_000).contains(&used), "{used} bytes of 18 MB");
    // The full drive is gone; the others are given in another order than they will be needed.
    std::fs::rename(desk.at("a"), desk.at("away")).unwrap();
    let rest = desk.stage_to(0, &["--volume", "c,size=17MB", "--volume", "b"]);
    assert!(rest.contains("done: everything is staged"), "{rest}");
    assert_eq!(desk.restored("out", &["b", "away", "c"]), files_below(&desk.at("src")));
}

#[test]
fn on_a_terminal_the_next_drive_is_asked_for_and_a_slip_is_asked_again() {
    let desk = desk();
    let typed = "b,size=much\nno-such-drive\nb\n";
    let Some((code, screen)) = desk.stage_on_a_terminal("--volume a,size=18MB", typed) else { return };
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("Connect a further drive and type its directory"), "{screen}");
    assert!(screen.contains("try again"), "{screen}");
    assert!(screen.contains("no-such-drive"), "what is wrong with it is said: {screen}");
    assert!(screen.contains("done: everything is staged"), "{screen}");
    assert_eq!(desk.restored("out", &["a", "b"]), files_below(&desk.at("src")));
}

#[test]
fn on_a_terminal_enter_alone_stops_and_the_same_command_goes_on() {
    let desk = desk();
    let Some((code, screen)) = desk.stage_on_a_terminal("--volume a,size=18MB", "\n") else { return };
    assert_eq!(code, 6, "{screen}");
    assert!(screen.contains("volume 1 is sealed"), "{screen}");
    desk.stage_to(0, &["--volume", "b"]);
    assert_eq!(desk.restored("out", &["a", "b"]), files_below(&desk.at("src")));
}

#[test]
fn a_volume_smaller_than_a_file_says_so_takes_smaller_ones_and_the_job_ends_on_another() {
    let desk = Desk::new();
    desk.file("big", &noise(7, 5 * MIB));
    for number in 0..5 {
        desk.file(&format!("small{number}"), &noise(number, 20_000));
    }
    ["a", "b"].into_iter().for_each(|drive| desk.drive(drive));
    let first = desk.stage_to(6, &["--volume", "a,size=3MB"]);
    assert!(first.contains("volume 1 has room for 2.812 MB (2.682 MiB); what comes next needs 5.243 MB"), "{first}");
    assert!(!first.contains("volume 1 is full"), "{first}");
    assert!(first.contains("staged 6 entries, 100 kB") && first.contains("pending 1 entries, 5.24"), "{first}");
    assert!(first.contains("volume 1 sealed") && first.contains("a further volume is needed"), "{first}");
    let rest = desk.stage_to(0, &["--volume", "b"]);
    assert!(rest.contains("done: everything is staged"), "{rest}");
    assert_eq!(desk.restored("out", &["a", "b"]), files_below(&desk.at("src")));
}

#[test]
fn a_volume_that_got_nothing_does_not_keep_a_job_from_being_complete() {
    let desk = Desk::new();
    desk.file("one", &noise(1, MIB));
    ["a", "b"].into_iter().for_each(|drive| desk.drive(drive));
    desk.stage_to(0, &["--volume", "a"]);
    let mut job = packmule::job::Job::open(&desk.at("job")).unwrap();
    let first = job.volumes().unwrap().remove(0).volume;
    let id = packmule::format::VolumeId([7; 16]);
    let second = packmule::job::NewVolume { number: 2, id, path: desk.at("b"), ..first };
    job.batch_durable(|tx| tx.add_volume(&second)).unwrap();
    drop(job);
    let status = desk.run(&["status", "--job", "job"]);
    assert!(said(&status).contains("all staged on 1 volume, sealed and read back"), "{}", said(&status));
    assert!(!said(&status).contains("packmule stage"), "{}", said(&status));
}

#[test]
fn one_by_one_each_is_full_before_the_next_is_begun() {
    let desk = desk();
    let said =
        desk.stage_to(0, &["--one-by-one", "--volume", "a,size=18MB", "--volume", "b,size=18MB", "--volume", "c"]);
    for volume in [1, 2, 3] {
        assert!(said.contains(&format!("volume {volume} is sealed")), "{said}");
    }
    for full in ["a", "b"] {
        let used: u64 = files_below(&desk.at(full)).values().map(|content| content.len() as u64).sum();
        assert!((9_000_000..=18_000_000).contains(&used), "{used} bytes of 18 MB on {full}: {said}");
    }
    assert_eq!(desk.restored("out", &["a", "b", "c"]), files_below(&desk.at("src")));
}

#[test]
fn a_volume_that_is_not_needed_yet_is_passed_over_when_it_cannot_be_used() {
    let desk = desk();
    let said =
        desk.stage_to(0, &["--one-by-one", "--volume", "a,size=18MB", "--volume", "not-mounted", "--volume", "b"]);
    assert!(said.contains("not-mounted cannot be used"), "{said}");
    assert_eq!(desk.restored("out", &["a", "b"]), files_below(&desk.at("src")));
}

#[test]
fn a_dry_run_writes_nothing_and_says_what_is_missing() {
    let desk = desk();
    let args = ["--dry-run", "--volume", "a,size=18MB", "--unlock-code-file", "code"];
    let said_first = desk.stage_to(6, &args);
    assert!(said_first.contains("to stage: ") && said_first.contains("41.94 MB"), "{said_first}");
    assert!(said_first.contains("new volume at a: up to 16."), "{said_first}");
    assert!(said_first.contains("1 x 500 GB") && said_first.contains("nothing was written"), "{said_first}");
    assert!(!desk.at("job").exists() && !desk.at("code").exists() && files_below(&desk.at("a")).is_empty());
    desk.stage_to(6, &["--volume", "a,size=18MB"]);
    let output = desk.stage(&["--dry-run", "--json", "--volume", "a", "--volume", "b"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let map: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(map["volumes"][0]["sealed"], true);
    let (due, staged) = (map["due"]["bytes"].as_u64().unwrap(), map["staged"]["bytes"].as_u64().unwrap());
    assert_eq!(due + staged, 40 * MIB as u64);
    // Whole files count as staged: with the first part of the large one on it, the volume has room for no other.
    let used: u64 = files_below(&desk.at("a")).values().map(|content| content.len() as u64).sum();
    assert!((9_000_000..=18_000_000).contains(&used) && staged < used, "{staged} bytes staged, {used} bytes on a");
    assert!(map["volumes"][1]["worst_bytes"].as_u64().unwrap() >= due);
}

#[test]
fn a_finished_job_says_so_again_with_its_sealed_volumes() {
    let desk = desk();
    desk.stage_to(0, &["--volume", "a"]);
    let again = desk.stage_to(0, &["--volume", "a"]);
    assert!(again.contains("nothing to do: everything is staged"), "{again}");
}
