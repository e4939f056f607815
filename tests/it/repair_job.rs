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

/// A staging onto one drive that breaks by a rule, then the same with `--repair` and another drive.
fn lies(rule: FaultRule, expect: &str) {
    let scene = Scene::new();
    let mem: MemFs = scene.empty();
    scene.load(&mem);
    let lying = FaultFs::new(Arc::new(mem.clone()));
    lying.add(rule);
    let world = World { fs: Arc::new(lying.clone()), ..Scene::world(&mem, 5) };
    let error = match stage(scene.options(&DRIVES[..1]), &world, Arc::new(Silent)) {
        Err(error) => error,
        Ok(outcome) => panic!("the lie went unnoticed: {outcome:#?}"),
    };
    lying.assert_all_exercised();
    let below = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    let text = below.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    assert!(text.contains(expect), "{text}");
    assert!(mem.stat(Path::new("/drive-1/packmule/SEALED")).is_err(), "nothing is sealed that was not read back");
    let mut options = scene.options(&DRIVES[1..2]);
    options.repair = vec![DRIVES[0].into()];
    let outcome = stage(options, &Scene::world(&mem, 6), Arc::new(Silent)).unwrap();
    assert!(outcome.is_complete, "{outcome:#?}");
    scene.assert_comes_back_from_damaged(&mem, &DRIVES[..2], expect);
    let outcome: stage::Outcome = scene.stage(&mem, 8, &DRIVES[..2], &Arc::default()).unwrap();
    assert!(outcome.is_complete, "the drive that lied takes nothing more, and nothing is left: {outcome:#?}");
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
