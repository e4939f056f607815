//! Moving targets, and the second trip: nothing is invented, nothing is lost, nothing is sent twice without need.

use std::io::{Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::stage_kit::{Desk, files_below, noise, said};

/// Changes a file without a pause until it is dropped.
struct Restless {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Restless {
    fn new(path: PathBuf, act: impl Fn(&mut std::fs::File, u64) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            let mut turn = 0;
            while !flag.load(Ordering::Relaxed) {
                act(&mut file, turn);
                turn += 1;
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Restless {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Rewrites the first bytes: same length, another time.
fn touch(file: &mut std::fs::File, turn: u64) {
    file.rewind().unwrap();
    file.write_all(&turn.to_le_bytes()).unwrap();
}

/// One restless file of that length beside quiet neighbours in the same frame.
fn desk(restless_bytes: usize) -> Desk {
    let desk = Desk::new();
    desk.file("before", b"quiet");
    desk.file("moving.log", &noise(1, restless_bytes));
    desk.file("z-after", &noise(2, 3000));
    desk.drive("a");
    desk
}

#[test]
fn a_file_that_never_rests_is_told_and_its_neighbours_are_whole() {
    // The ceiling on the rate makes each reading last long enough for the file to change meanwhile.
    for (length, rate) in [(5000, "20kB/s"), (9 << 20, "40MB/s")] {
        let desk = desk(length);
        let moving = Restless::new(desk.at("src/moving.log"), touch);
        let said = desk.stage_to(3, &["--volume", "a", "--limit-rate", rate]);
        drop(moving);
        assert!(said.contains("moving.log: changed-while-read") && said.contains("changed while read 1"), "{said}");
        let restored = desk.restored("out", &["a"]);
        assert_eq!(
            (restored["before"].as_slice(), restored["z-after"].as_slice()),
            (&b"quiet"[..], &noise(2, 3000)[..])
        );
        // What was read, and nothing invented: the tail never changed.
        assert_eq!(restored["moving.log"][8..], noise(1, length)[8..]);
    }
}

#[test]
fn the_rule_for_a_path_says_whether_a_restless_file_fails_or_is_as_expected() {
    let desk = desk(4 << 20);
    let moving = Restless::new(desk.at("src/moving.log"), touch);
    let slowly = ["--volume", "a", "--limit-rate", "20MB/s", "--readings", "2", "--on-change", "fail"];
    let failed = desk.stage_to(3, &[&slowly[..], &["--no-seal"]].concat());
    assert!(failed.contains("changed in each of 2 readings") && failed.contains("problems 1 entries"), "{failed}");
    let accepted = desk.stage_to(0, &[&slowly[..], &["--on-change", "*.log=accept"]].concat());
    assert!(accepted.contains("changed while read 1"), "{accepted}");
    drop(moving);
    assert_eq!(desk.restored("out", &["a"])["moving.log"][8..], noise(1, 4 << 20)[8..]);
}

#[test]
fn a_growing_file_is_staged_at_a_length_it_really_had() {
    let desk = desk(5000);
    let grow = |file: &mut std::fs::File, turn: u64| {
        if turn == 0 {
            file.seek(std::io::SeekFrom::End(0)).unwrap();
        }
        file.write_all(b"0123456789").unwrap();
        std::thread::sleep(std::time::Duration::from_micros(50));
    };
    let moving = Restless::new(desk.at("src/moving.log"), grow);
    let output = desk.stage(&["--volume", "a", "--limit-rate", "50kB/s"]);
    drop(moving);
    assert!([0, 3].contains(&output.status.code().unwrap()), "{}", said(&output));
    let (restored, now) = (desk.restored("out", &["a"]), files_below(&desk.at("src")));
    let (staged, source) = (&restored["moving.log"], &now["moving.log"]);
    assert!(staged.len() >= 5000 && source.starts_with(staged), "{} of {} bytes", staged.len(), source.len());
    assert_eq!(restored["z-after"], now["z-after"]);
}

#[test]
fn a_mount_that_is_missing_ends_the_run_and_nothing_is_taken_for_deleted() {
    let desk = Desk::new();
    desk.file("deep/data", b"on the mounted drive");
    desk.file("beside", b"on the disk");
    desk.drive("a");
    desk.stage_to(0, &["--volume", "a", "--no-seal"]);
    // As if `deep` had been a mount point: its contents are gone, and it lies on another device than before.
    std::fs::remove_file(desk.at("src/deep/data")).unwrap();
    let db = rusqlite::Connection::open(desk.at("job/job.db")).unwrap();
    db.execute("UPDATE entries SET dev = dev + 1 WHERE name = ?1", [b"deep".as_slice()]).unwrap();
    drop(db);
    let lost = desk.stage_to(1, &["--volume", "a"]);
    assert!(lost.contains("src/deep is empty, but 1 entries were seen there before"), "{lost}");
    assert!(lost.contains("check that the file system is mounted"), "{lost}");
    assert!(desk.stage_to(1, &["--volume", "a"]).contains("src/deep is empty"), "the second time as well");
    std::fs::remove_dir_all(desk.at("src")).unwrap();
    std::fs::create_dir(desk.at("src")).unwrap();
    let empty = desk.stage_to(1, &["--volume", "a"]);
    assert!(empty.contains("is empty, but 2 entries were seen there before"), "{empty}");
    let status = said(&desk.run(&["status", "--job", "job"]));
    assert!(!status.contains("gone"), "{status}");
}

#[test]
fn the_second_trip_takes_what_is_new_or_changed_and_records_what_is_gone() {
    let desk = Desk::new();
    for name in ["kept", "changed", "gone/inner"] {
        desk.file(name, &noise(7, 200_000));
    }
    desk.drive("a");
    desk.drive("b");
    desk.stage_to(0, &["--volume", "a"]);
    desk.file("changed", b"anew");
    desk.file("new", &noise(8, 300_000));
    std::fs::remove_dir_all(desk.at("src/gone")).unwrap();
    let second = desk.stage_to(0, &["--volume", "b"]);
    assert!(second.contains("gone 2 entries"), "{second}");
    let delta: u64 = files_below(&desk.at("b")).values().map(|content| content.len() as u64).sum();
    assert!(delta < 400_000, "{delta} bytes for a delta of 300 kB");
    assert_eq!(desk.restored("out", &["a", "b"]), files_below(&desk.at("src")));
}

#[test]
fn by_content_finds_a_change_that_left_no_trace_in_the_times() {
    let desk = Desk::new();
    desk.file("quiet", &noise(1, 50_000));
    desk.file("sly", &noise(2, 50_000));
    desk.drive("a");
    desk.drive("b");
    desk.stage_to(0, &["--volume", "a"]);
    // Another content under the same size, times and inode: the inventory is told to believe so, as after a bit flip.
    let path = desk.at("src/sly");
    let before = std::fs::metadata(&path).unwrap();
    std::fs::write(&path, noise(3, 50_000)).unwrap();
    let times = std::fs::FileTimes::new().set_modified(before.modified().unwrap());
    std::fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    let now = std::fs::metadata(&path).unwrap();
    let db = rusqlite::Connection::open(desk.at("job/job.db")).unwrap();
    let ctime = now.ctime() * 1_000_000_000 + now.ctime_nsec();
    db.execute("UPDATE entries SET ctime_ns = ?1 WHERE name = ?2", rusqlite::params![ctime, b"sly"]).unwrap();
    drop(db);
    desk.stage_to(0, &["--volume", "b", "--no-seal"]);
    assert!(!desk.at("b/packmule/packs/00000001.pack").exists(), "nothing looks changed");
    desk.stage_to(0, &["--volume", "b", "--by-content"]);
    assert_eq!(desk.restored("out", &["a", "b"]), files_below(&desk.at("src")));
}
