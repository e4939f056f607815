//! Faults as ordinary inputs: each kind of call of a staging run fails at each place, in each way that fits it; whatever the
//! run says, nothing is lost, and the same command afterwards ends in the same tree.
//!
//! The ordinary run takes a few places of each kind; `PACKMULE_SWEEP=full` takes all.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use packmule::stage::{Outcome, Silent, stage};
use packmule::sys::World;
use packmule::sys::clock::Clock;
use packmule::sys::fault::{Fault, FaultFs, FaultRule};
use packmule::sys::fs::OpKind;
use packmule::sys::mem::MemFs;
use packmule::sys::source_faults::SourceFaults;

use crate::mirror_vfs;
use crate::sweep_kit::{DRIVES, Scene};

const EIO: i32 = 5;
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// Each kind of call, and the ways in which it can fail.
fn faults() -> Vec<(OpKind, Vec<Fault>)> {
    let fails = |more: &[i32]| [&[EIO], more].concat().into_iter().map(Fault::Errno).collect::<Vec<_>>();
    let mut write = fails(&[ENOSPC, EROFS]);
    write.push(Fault::ShortWrite { bytes: 5000, errno: ENOSPC });
    write.push(Fault::Delay(Duration::from_millis(20)));
    let mut read = fails(&[]);
    read.push(Fault::ShortRead(4096));
    vec![
        (OpKind::CreateNew, fails(&[ENOSPC, EROFS])),
        (OpKind::CreateDir, fails(&[ENOSPC, EROFS])),
        (OpKind::OpenRead, fails(&[ENOENT])),
        (OpKind::List, fails(&[])),
        (OpKind::Stat, fails(&[])),
        (OpKind::Rename, fails(&[ENOSPC, EROFS])),
        (OpKind::SyncDir, fails(&[])),
        (OpKind::Space, fails(&[])),
        (OpKind::Read, read),
        (OpKind::Write, write),
        (OpKind::SyncData, fails(&[ENOSPC])),
        (OpKind::Len, fails(&[])),
    ]
}

/// The same for the database: what SQLite asks of its file system.
fn database_faults() -> Vec<(OpKind, Vec<Fault>)> {
    let fails = |errnos: &[i32]| errnos.iter().copied().map(Fault::Errno).collect::<Vec<_>>();
    let mut write = fails(&[EIO, ENOSPC, EROFS]);
    write.push(Fault::ShortWrite { bytes: 100, errno: ENOSPC });
    vec![
        (OpKind::CreateNew, fails(&[EIO, ENOSPC])),
        (OpKind::Read, fails(&[EIO])),
        (OpKind::Write, write),
        (OpKind::SyncData, fails(&[EIO, ENOSPC])),
        (OpKind::RemoveFile, fails(&[EIO])),
    ]
}

/// And for the source, where what fails is one entry and not the run.
fn source_faults() -> Vec<(OpKind, Vec<Fault>)> {
    vec![
        (OpKind::OpenRead, vec![Fault::Errno(EIO), Fault::Errno(ENOENT), Fault::Errno(EACCES)]),
        (OpKind::Stat, vec![Fault::Errno(EIO)]),
        (OpKind::Read, vec![Fault::Errno(EIO), Fault::ShortRead(1), Fault::ShortRead(5000)]),
    ]
}

fn is_full() -> bool {
    std::env::var("PACKMULE_SWEEP").is_ok_and(|value| value == "full")
}

/// A run with that fault at the n-th call of its kind: whether it happened, and what came of the run.
fn run(scene: &Scene, mem: &MemFs, rule: FaultRule, drives: &[&str]) -> (bool, Result<Outcome, String>) {
    scene.load(mem);
    let faults = FaultFs::new(Arc::new(mem.clone()));
    faults.add(rule);
    let world = World { fs: Arc::new(faults.clone()), ..Scene::world(mem, 5) };
    let outcome = stage(scene.options(drives), &world, Arc::new(Silent)).map_err(|error| error.to_string());
    (faults.unexercised().is_empty(), outcome)
}

/// The same command without faults ends well, and nothing that was called sealed or complete was not.
fn follow(scene: &Scene, mem: &MemFs, drives: &[&str], context: &str) {
    let outcome = scene.stage(mem, 77, drives, &Arc::default());
    let outcome = outcome.unwrap_or_else(|error| panic!("{context}: {error}: {:?}", std::error::Error::source(&error)));
    scene.check_end(mem, &outcome, drives, context);
}

#[test]
fn every_call_fails_at_every_place_and_the_same_command_ends_well() {
    let scene = Scene::new();
    let drives = &DRIVES[..1];
    let (mut exercised, mut survived) = (0, 0);
    for (kind, faults) in faults() {
        for fault in faults {
            let mut place = 1;
            loop {
                let mem = scene.empty();
                let (happened, outcome) = run(&scene, &mem, FaultRule::new(kind, fault).nth(place), drives);
                if !happened {
                    assert!(place > 1, "{kind:?} is never called, so {fault:?} proves nothing");
                    break;
                }
                exercised += 1;
                let context = format!("{kind:?} number {place}, {fault:?}");
                if let Ok(outcome) = &outcome
                    && outcome.is_complete
                    && outcome.failed.is_empty()
                {
                    survived += 1;
                    scene.check_end(&mem, outcome, drives, &context);
                }
                follow(&scene, &mem, drives, &context);
                place = if is_full() { place + 1 } else { place * 6 };
            }
        }
    }
    eprintln!("{exercised} faults, each exercised; {survived} runs ended well all the same");
}

/// The same command without faults ends well, in a database that can be read again.
fn follow_on(scene: &Scene, mem: &MemFs, drives: &[&str], context: &str) {
    mirror_vfs::mirror(&scene.job(), Arc::new(mem.clone()));
    follow(scene, mem, drives, context);
}

#[test]
fn every_call_of_the_database_fails_at_every_place_and_the_same_command_ends_well() {
    let scene = Scene::new();
    let drives = &DRIVES[..1];
    let mut exercised = 0;
    for (kind, faults) in database_faults() {
        for fault in faults {
            let mut place = 1;
            loop {
                let mem = scene.empty();
                scene.load(&mem);
                let broken = FaultFs::new(Arc::new(mem.clone()));
                broken.add(FaultRule::new(kind, fault).path("job.db").nth(place));
                mirror_vfs::mirror(&scene.job(), Arc::new(broken.clone()));
                let told = Arc::default();
                let outcome = scene.stage(&mem, 5, drives, &told);
                if !broken.unexercised().is_empty() {
                    assert!(place > 1, "{kind:?} is never called, so {fault:?} proves nothing");
                    break;
                }
                exercised += 1;
                let context = format!("database: {kind:?} number {place}, {fault:?}");
                if let Ok(outcome) = &outcome
                    && outcome.is_complete
                {
                    scene.check_end(&mem, outcome, drives, &context);
                }
                scene.check_image(&mem, &told, &context);
                scene.load(&mem);
                follow_on(&scene, &mem, drives, &context);
                place = if is_full() { place + 1 } else { place * 9 };
            }
        }
    }
    eprintln!("{exercised} faults inside the database, each exercised");
}

#[test]
fn whatever_the_source_does_no_entry_is_staged_that_was_not_read_and_the_rest_is() {
    let scene = Scene::new();
    let drives = &DRIVES[..1];
    let (mut exercised, mut whole) = (0, 0);
    for (kind, faults) in source_faults() {
        for fault in faults {
            let mut place = 1;
            loop {
                let mem = scene.empty();
                scene.load(&mem);
                let broken = SourceFaults::below(&scene.source());
                broken.add(FaultRule::new(kind, fault).nth(place));
                let outcome = scene.stage(&mem, 5, drives, &Arc::default());
                let happened = broken.unexercised().is_empty();
                drop(broken);
                if !happened {
                    assert!(place > 1, "{kind:?} is never called, so {fault:?} proves nothing");
                    break;
                }
                exercised += 1;
                let context = format!("source: {kind:?} number {place}, {fault:?}");
                let outcome =
                    outcome.unwrap_or_else(|error| panic!("{context}: one entry is no reason to end: {error}"));
                let ledger = packmule::job::Job::open_read_only(&scene.job()).unwrap().ledger().unwrap();
                let staged = ledger.staged().entries;
                if matches!(fault, Fault::ShortRead(_)) {
                    scene.check_end(&mem, &outcome, drives, &context);
                    whole += 1;
                } else {
                    let present = ledger.present().entries;
                    assert!(staged >= present - 2, "{context}: a file and its other name, no more: {ledger:#?}");
                    let report = scene.verify(&mem, drives);
                    assert!(report.is_clean(), "{context}: {:#?}", report.findings);
                }
                // The first drive is sealed, with what could be read; the rest goes onto another.
                follow(&scene, &mem, &DRIVES[..2], &context);
                place = if is_full() { place + 1 } else { place * 4 };
            }
        }
    }
    eprintln!("{exercised} faults of the source, each exercised; after {whole} of them everything was staged at once");
}

#[test]
fn a_sync_that_failed_poisons_its_file_and_is_never_tried_again() {
    let scene = Scene::new();
    for place in 1..if is_full() { 40 } else { 4 } {
        let mem = scene.empty();
        let rule = FaultRule::new(OpKind::SyncData, Fault::Errno(EIO)).path(".pack").nth(place);
        scene.load(&mem);
        let faults = FaultFs::new(Arc::new(mem.clone()));
        faults.add(rule);
        let world = World { fs: Arc::new(faults.clone()), ..Scene::world(&mem, 5) };
        let outcome = stage(scene.options(&DRIVES[..1]), &world, Arc::new(Silent));
        if !faults.unexercised().is_empty() {
            break;
        }
        let outcome = outcome.unwrap_or_else(|error| panic!("place {place}: {error:?}"));
        assert!(!outcome.is_complete && outcome.failed.len() == 1, "place {place}: {outcome:#?}");
        // The failed sync itself never reached the file system in memory, so whatever is written to a pack after its last
        // sync was written to a poisoned file, unless the run simply stopped there.
        let operations = mem.operations();
        let open: BTreeSet<PathBuf> = operations
            .iter()
            .filter(|op| op.kind == OpKind::CreateNew && op.path.extension().is_some_and(|ending| ending == "pack"))
            .map(|op| op.path.clone())
            .collect();
        let syncs = operations.iter().filter(|op| op.kind == OpKind::SyncData && open.contains(&op.path)).count();
        assert_eq!(syncs as u64, place - 1, "no sync of any pack of that volume follows the one that failed");
        assert!(mem.operations().iter().all(|op| !op.path.ends_with("SEALED")), "nothing is sealed");
        follow(&scene, &mem, &DRIVES[..1], &format!("sync {place}"));
    }
}

#[test]
fn a_mount_that_vanishes_ends_its_volume_and_not_the_others() {
    let scene = Scene::new();
    for place in [1, 3, 6] {
        let mem = scene.empty();
        let rule = FaultRule::new(OpKind::Write, Fault::Errno(EIO)).path("/drive-1").nth(place).forever();
        let (happened, outcome) = run(&scene, &mem, rule, &DRIVES[..2]);
        assert!(happened);
        if let Ok(outcome) = outcome {
            assert!(outcome.failed.iter().all(|(number, _)| *number == 1), "{outcome:#?}");
        }
        follow(&scene, &mem, &DRIVES[..2], &format!("write {place} on drive 1 and all after it"));
    }
}

/// A wall clock that jumps by years, both ways, while the monotonic clock goes on.
#[derive(Debug, Default)]
struct Jumping(AtomicI64);

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        let years = [0, 50, -40, 200, -100][usize::try_from(count % 5).unwrap()];
        Timestamp::from_second(1_800_000_000 + years * 31_557_600).unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed).unsigned_abs())
    }
}

#[test]
fn a_clock_that_jumps_by_years_changes_nothing_about_what_is_staged() {
    let scene = Scene::new();
    let mem = scene.empty();
    scene.load(&mem);
    let world = World { clock: Arc::new(Jumping::default()), ..Scene::world(&mem, 5) };
    let outcome = stage(scene.options(&DRIVES[..1]), &world, Arc::new(Silent)).unwrap();
    scene.check_end(&mem, &outcome, &DRIVES[..1], "jumping clock");
}

#[test]
fn a_volume_that_failed_is_not_sealed_because_the_other_one_has_no_room() {
    let scene = Scene::new();
    // Each more than the second drive takes, so that it is left far from full when the first one fails.
    for number in 0..6 {
        let path = scene.source().join(format!("zzz-{number}"));
        std::fs::write(path, crate::stage_kit::noise(number, 2 << 20)).unwrap();
    }
    // In its first pack, and when packs are on it that could be sealed.
    let mut without_room = 0;
    for place in [2, 5, 7, 9] {
        let mem = scene.empty();
        scene.load(&mem);
        let faults = FaultFs::new(Arc::new(mem.clone()));
        faults.add(FaultRule::new(OpKind::SyncData, Fault::Errno(EIO)).path("/drive-1/packmule/packs/").nth(place));
        let world = World { fs: Arc::new(faults.clone()), ..Scene::world(&mem, 5) };
        let mut options = scene.options(&DRIVES[..2]);
        options.volumes[1].limit_bytes = Some(1_150_000); // little more than the least there may be
        let outcome = stage(options, &world, Arc::new(Silent)).unwrap();
        assert!(faults.unexercised().is_empty());
        assert_eq!(outcome.failed.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1], "{outcome:#?}");
        without_room += u32::from(outcome.needs_volume.is_some());
        assert!(outcome.sealed.iter().all(|(number, _)| *number == 2), "{outcome:#?}");
        let operations = mem.operations();
        let on_first = |path: &PathBuf| path.starts_with("/drive-1/packmule/SEALED") || path.ends_with("MANIFEST");
        assert!(!operations.iter().any(|op| op.path.starts_with("/drive-1") && on_first(&op.path)), "place {place}");
        follow(&scene, &mem, &DRIVES, &format!("sync {place} of a drive beside one without room"));
    }
    assert!(without_room > 0, "the other drive was never without room");
}
