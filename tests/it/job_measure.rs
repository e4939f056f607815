//! Size and speed of the job database at scale. The size is a law (a small file costs less than 250 bytes); the speeds
//! are printed, never judged: `cargo test --test it job_measure -- --ignored --nocapture`.

use std::time::Instant;

use packmule::format::record::{EntryType, Record};
use packmule::job::{Error, Facts, Inode};

use crate::job_support::{World, facts, small};

/// Names per directory.
const FANOUT: u64 = 1000;

/// What a small file may cost in the database, all rows and indexes together. Unit: bytes.
const BYTES_MAX: u64 = 250;

fn file(number: u64) -> Facts {
    let inode = Inode::new(2049, 5_000_000_000 + number, 1_800_000_000, u32::try_from(number % 1_000_000_000).unwrap());
    Facts { inode: Some(inode), mtime_ns: 123_456_789, ..facts(EntryType::File, 3000 + number % 90_000) }
}

fn name(number: u64) -> Vec<u8> {
    format!("IMG_20190704_{:07}.jpg", number).into_bytes() // 24 bytes, a little longer than most
}

fn measure(files: u64) -> u64 {
    let mut world = World::new(1);
    let job = world.job();
    let top = job.sources().unwrap()[0].id;
    let mut clock = Instant::now();
    let mut lap = |what: &str, count: u64| {
        let us = clock.elapsed().as_secs_f64() * 1e6 / count as f64;
        eprintln!("{files} files, {what}: {us:.2} us each");
        clock = Instant::now();
    };
    for first in (0..files).step_by(usize::try_from(FANOUT * 10).unwrap()) {
        job.batch(|batch| {
            for dir in 0..10 {
                let first = first + dir * FANOUT;
                let dir = batch.add(top, format!("d{first}").as_bytes(), &facts(EntryType::Directory, 0))?;
                for number in first..first + FANOUT {
                    batch.add(dir, &name(number), &file(number))?;
                }
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    }
    lap("first walk", files);
    let (mut last, mut frame, mut committing) = (0, 0, std::time::Duration::ZERO);
    loop {
        let work = world.job().pending(last, 10_000).unwrap();
        let Some(end) = work.last() else { break };
        last = end.entry.id;
        let mut records: Vec<Record> = Vec::new();
        for work in &work {
            frame += 1;
            if work.entry.facts.entry_type == EntryType::File {
                records.extend(small(work, frame / 20));
            } else {
                records.extend(small(work, 0));
            }
        }
        let start = Instant::now();
        world.commit(1, &records);
        committing += start.elapsed();
        world.committed.clear();
    }
    eprintln!("{files} files, commits: {:.2} us each", committing.as_secs_f64() * 1e6 / files as f64);
    lap("pending, digests and commit", files);
    let mut unchanged = 0;
    for dir in world.job().children(top, None, 1_000_000).unwrap() {
        for known in world.job().children(dir.id, None, 1_000_000).unwrap() {
            unchanged += u64::from(known.mtime_ns == 123_456_789);
        }
    }
    assert_eq!(unchanged, files);
    lap("walk of what is unchanged", files);
    world.close_packs();
    let summary = world.job().volume_records(1, |_| Ok::<_, Error>(())).unwrap();
    assert!(summary.entries >= files);
    lap("records of the volume", files);
    world.reopen();
    let bytes = std::fs::metadata(world.dir.path().join("job/job.db")).unwrap().len();
    eprintln!("{files} files: {bytes} bytes, {} each, names of {} bytes", bytes / files, name(0).len());
    bytes / files
}

#[test]
#[ignore = "half a minute, and the same law as the test below at 20,000 files: cargo test --test it -- --ignored job_measure"]
fn a_small_file_costs_less_than_250_bytes_at_a_million() {
    assert!(measure(200_000) < BYTES_MAX);
    assert!(measure(1_000_000) < BYTES_MAX);
}

#[test]
fn a_small_file_costs_less_than_250_bytes() {
    assert!(measure(20_000) < BYTES_MAX);
}
