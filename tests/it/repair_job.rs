//! Drives that lie, and `stage --repair`: what a drive lost is staged again elsewhere, exactly that, without starting again.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use packmule::stage::{self, Silent, stage};
use packmule::sys::fault::{Fault, FaultFs, FaultRule};
use packmule::sys::fs::OpKind;
use packmule::sys::mem::MemFs;
use packmule::sys::{Fs, World};

use crate::job_bench::{Bench, used};
use crate::sweep_kit::{DRIVES, Scene};
use crate::tree;

fn flip(path: &Path, share: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 100 * share;
    bytes[at] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

#[test]
fn repair_stages_exactly_the_damaged_extents_again() {
    let bench = Bench::new();
    tree::make(&bench.path("source"), 40 << 20);
    let first = ["stage", "@source", "--volume", "@a", "--job", "@job", "--unlock-code-file", "@code"];
    bench.run(0, &first);
    // Two thirds into the only pack: the large file, whose extents are 8 MiB each.
    flip(&bench.path("a/packmule/packs/00000001.pack"), 66);
    bench.run(4, &["verify", "--keyless", "@a"]);
    let again = ["stage", "@source", "--volume", "@b", "--job", "@job", "--repair", "@a"];
    let said = bench.run(0, &again);
    assert!(said.err.contains("1 damaged places; 1 extents of 1 entries are staged again"), "{}", said.err);
    assert!(used(&bench.path("b")) < 9 << 20, "one extent and no more: {}", used(&bench.path("b")));
    bench.run(0, &["verify", "--unlock-code-file", "@code", "@b"]);
    bench.assert_comes_back_saying(4, &["@a", "@b"]);
    let said = bench.run(0, &again);
    assert!(said.err.contains("0 extents of 0 entries"), "repairing twice repairs nothing: {}", said.err);
}

#[test]
fn repair_of_a_pack_that_is_gone_stages_all_of_it_again() {
    let bench = Bench::new();
    tree::make(&bench.path("source"), 1 << 20);
    bench.run(0, &["stage", "@source", "--volume", "@a", "--job", "@job", "--unlock-code-file", "@code"]);
    fs::remove_file(bench.path("a/packmule/packs/00000001.pack")).unwrap();
    bench.run(0, &["stage", "@source", "--volume", "@b", "--job", "@job", "--repair", "@a"]);
    bench.assert_round_trip(&["@b"]);
}

#[test]
fn a_drive_that_is_lost_in_the_mail_is_given_up_and_everything_on_it_is_staged_again() {
    let bench = Bench::new();
    tree::make(&bench.path("source"), 40 << 20);
    let trip = |drive| ["stage", "@source", "--job", "@job", "--unlock-code-file", "@code", "--volume", drive];
    bench.run(0, &trip("@a"));
    fs::write(bench.path("source/short-lived"), b"gone by the third trip").unwrap();
    bench.run(0, &trip("@b"));
    // The third trip's drive holds one new file, and the word that what the second one brought is gone.
    fs::remove_file(bench.path("source/short-lived")).unwrap();
    fs::write(bench.path("source/late"), b"new").unwrap();
    bench.run(0, &trip("@c"));
    for drive in ["a", "c"] {
        fs::remove_dir_all(bench.path(drive)).unwrap();
    }
    fs::create_dir(bench.path("d")).unwrap();
    let said = bench.run(2, &["stage", "@source", "--job", "@job", "--volume", "@d", "--lost", "7"]);
    assert!(said.err.contains("this job has no volume 7"), "{}", said.err);
    let again = ["stage", "@source", "--job", "@job", "--volume", "@d", "--lost", "1", "--lost", "3"];
    let said = bench.run(0, &again);
    assert!(said.err.contains("volume 1 is given up") && said.err.contains("volume 3 is given up: "), "{}", said.err);
    bench.assert_round_trip(&["@b", "@d"]);
    let said = bench.run(0, &["status", "--job", "@job"]);
    assert!(said.out.contains("all staged on 2 volumes, sealed and read back"), "{}", said.out);
    let next = said.out.lines().find(|line| line.starts_with("next: packmule ingest")).unwrap();
    let drives = ["a", "b", "c", "d"].map(|drive| next.contains(&format!("{} ", bench.path(drive).display())));
    assert_eq!(drives, [false, true, false, true], "what is gone is not asked for: {next}");
    let said = bench.run(0, &again);
    assert!(said.err.contains("volume 1 is given up: 0 extents of 0 entries"), "once only: {}", said.err);
}

/// A drive whose writes break by a rule, in a fresh scene.
fn lying_drive(rule: FaultRule) -> (Scene, MemFs, FaultFs, World) {
    let scene = Scene::new();
    let mem: MemFs = scene.empty();
    scene.load(&mem);
    let lying = FaultFs::new(Arc::new(mem.clone()));
    lying.add(rule);
    let world = World { fs: Arc::new(lying.clone()), ..Scene::world(&mem, 5) };
    (scene, mem, lying, world)
}

/// What the only volume that lied gave back.
fn only_lie(outcome: &stage::Outcome) -> String {
    let [liar] = &outcome.lied[..] else { panic!("one volume lied: {outcome:#?}") };
    assert_eq!(liar.root, Path::new(DRIVES[0]));
    liar.error.to_string()
}

/// A staging onto one drive that breaks by a rule, then the same with another drive.
fn lies(rule: FaultRule, expect: &str) {
    let (scene, mem, lying, world) = lying_drive(rule);
    let outcome = stage(scene.options(&DRIVES[..1]), &world, Arc::new(Silent)).unwrap();
    lying.assert_all_exercised();
    let text = only_lie(&outcome);
    assert!(text.contains(expect), "{text}");
    // A bit of the padding costs nothing; where frames lie differs from run to run.
    let is_due = outcome.needs_volume.is_some_and(|due| due.entries > 0);
    assert!(outcome.is_complete != is_due, "{outcome:#?}");
    assert!(mem.stat(Path::new("/drive-1/packmule/SEALED")).is_err(), "nothing is sealed that was not read back");
    let outcome = stage(scene.options(&DRIVES[..2]), &Scene::world(&mem, 6), Arc::new(Silent)).unwrap();
    assert!(outcome.is_complete && outcome.lied.is_empty(), "{outcome:#?}");
    scene.assert_comes_back_from_damaged(&mem, &DRIVES[..2], expect);
    let outcome: stage::Outcome = scene.stage(&mem, 8, &DRIVES[..2], &Arc::default()).unwrap();
    assert!(outcome.is_complete, "the drive that lied takes nothing more, and nothing is left: {outcome:#?}");
}

fn a_write_to_the_first_drive_is_lost() -> FaultRule {
    FaultRule::new(OpKind::Write, Fault::LoseWrite).path("/drive-1/packmule/packs/").nth(2)
}

#[test]
fn what_a_lying_drive_lost_is_staged_on_the_next_drive_within_the_same_run() {
    for one_by_one in [false, true] {
        let (scene, mem, lying, world) = lying_drive(a_write_to_the_first_drive_is_lost());
        let mut options = scene.options(&DRIVES);
        options.one_by_one = one_by_one;
        // All at once, every drive is sealed at the end but the one that lied; one after another, two are not begun.
        let outcome = stage(options, &world, Arc::new(Silent)).unwrap();
        lying.assert_all_exercised();
        only_lie(&outcome);
        if one_by_one {
            assert!(outcome.is_complete, "{outcome:#?}");
            let used = mem.stat(Path::new("/drive-2/packmule/packs")).is_ok();
            let sealed: Vec<u32> = outcome.sealed.iter().map(|(number, _)| *number).collect();
            assert!(used && sealed == [2], "exactly the next drive takes what was lost: {outcome:#?}");
            scene.assert_comes_back_from_damaged(&mem, &DRIVES[..2], "one by one");
        } else {
            assert!(outcome.needs_volume.is_some() && outcome.sealed.len() == 2, "{outcome:#?}");
        }
    }
}

#[test]
fn what_a_full_drive_lost_goes_onto_the_next_one_before_that_is_sealed() {
    let (scene, mem, lying, world) = lying_drive(a_write_to_the_first_drive_is_lost());
    for number in 0..40_u64 {
        let path = scene.source().join(format!("more than the first drive takes {number}"));
        std::fs::write(path, tree::noise(1000 + number, 80_000)).unwrap();
    }
    let mut options = scene.options(&DRIVES[..2]);
    options.one_by_one = true;
    options.volumes[0].limit_bytes = Some(2 << 20);
    let outcome = stage(options, &world, Arc::new(Silent)).unwrap();
    lying.assert_all_exercised();
    only_lie(&outcome);
    assert!(outcome.is_complete && outcome.needs_volume.is_none(), "no third drive is needed: {outcome:#?}");
    scene.assert_comes_back_from_damaged(&mem, &DRIVES[..2], "a full drive that lied");
}

#[test]
fn a_read_back_that_was_wrong_only_once_is_an_error_and_no_seal() {
    let rule = FaultRule::new(OpKind::Read, Fault::FlipBit(99_991)).path("00000001.pack");
    let (scene, mem, lying, world) = lying_drive(rule);
    let error = stage(scene.options(&DRIVES[..1]), &world, Arc::new(Silent)).unwrap_err();
    lying.assert_all_exercised();
    let text = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(text.contains("read-back gives checksum") || error.to_string().contains("read-back"), "{error}: {text}");
    assert!(mem.stat(Path::new("/drive-1/packmule/SEALED")).is_err(), "what was wrong once is not sealed unasked");
    let outcome = stage(scene.options(&DRIVES[..1]), &Scene::world(&mem, 6), Arc::new(Silent)).unwrap();
    assert!(outcome.is_complete && outcome.sealed.len() == 1, "asked again, it is read again: {outcome:#?}");
}

#[test]
fn a_drive_that_wraps_around_is_found_by_the_read_back() {
    let rule = FaultRule::new(OpKind::Write, Fault::Wrap(64 << 10)).path("00000001.pack").times(1000);
    lies(rule, "read-back gives checksum");
}

#[test]
fn what_a_lying_drive_lost_goes_onto_a_drive_that_is_brought_when_asked() {
    let (scene, mem, lying, world) = lying_drive(a_write_to_the_first_drive_is_lost());
    let mut options = scene.options(&DRIVES[..1]);
    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = Arc::clone(&asked);
    options.next_volume = Some(Arc::new(move |wanted: &stage::Wanted| {
        assert!(wanted.pending.entries > 0, "{wanted:?}");
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Some(stage::Place { path: DRIVES[1].into(), limit_bytes: None })
    }));
    let outcome = stage(options, &world, Arc::new(Silent)).unwrap();
    lying.assert_all_exercised();
    only_lie(&outcome);
    assert!(outcome.is_complete && outcome.needs_volume.is_none(), "{outcome:#?}");
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert!(mem.stat(Path::new("/drive-1/packmule/SEALED")).is_err(), "the drive that lied is never sealed");
    assert!(mem.stat(Path::new("/drive-2/packmule/SEALED")).is_ok());
    scene.assert_comes_back_from_damaged(&mem, &DRIVES[..2], "a drive that was brought");
}

#[test]
fn a_drive_of_false_capacity_that_drops_writes_is_found_by_the_read_back() {
    lies(FaultRule::new(OpKind::Write, Fault::LoseWrite).path("00000002.pack"), "read-back gives checksum");
}

#[test]
fn a_drive_that_drops_everything_from_a_point_on_is_found_by_the_read_back() {
    let rule = FaultRule::new(OpKind::Write, Fault::LoseWrite).path(".pack").nth(3).times(2);
    lies(rule, "read-back gives checksum");
}

#[test]
fn a_bit_that_is_wrong_on_the_drive_is_found_by_the_read_back() {
    lies(FaultRule::new(OpKind::Write, Fault::FlipBit(99_991)).path("00000001.pack"), "read-back gives checksum");
}
