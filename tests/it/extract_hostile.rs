//! Volumes that lie, break or attack: nothing outside the target is touched, and what is wrong is named.

use std::os::unix::fs::symlink as link_on_disk;
use std::path::Path;

use packmule::extract::{Class, Done, Options};
use packmule::format::record::{Content, Entry, EntryType, Piece};
use rstest::rstest;

use crate::extract_kit::{Pack, Shelf, dir, flip, hard_link, node, options, symlink};
use crate::volume_kit::entry;

/// A place next to the target that an attacker would like to reach.
fn outside(shelf: &Shelf) -> std::path::PathBuf {
    let path = shelf.target.path().join("outside");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("precious"), "precious").unwrap();
    path
}

fn is_untouched(outside: &Path) -> bool {
    let names: Vec<_> = std::fs::read_dir(outside).unwrap().map(|item| item.unwrap().file_name()).collect();
    names == ["precious"] && std::fs::read(outside.join("precious")).unwrap() == b"precious"
}

type Fill = fn(&mut Pack);

/// Links come first and last: the order in a pack must not matter.
#[rstest]
#[case::a_link_and_a_file_through_it(|pack: &mut Pack| {
    pack.entry(symlink(1, b"trap", b"../outside"));
    pack.file(2, b"trap/planted", b"planted");
    pack.file(3, b"trap/precious", b"stolen");
})]
#[case::a_file_through_a_link_that_comes_later(|pack: &mut Pack| {
    pack.file(2, b"trap/planted", b"planted");
    pack.entry(symlink(1, b"trap", b"../outside"));
})]
#[case::a_directory_that_is_also_a_link(|pack: &mut Pack| {
    pack.entry(symlink(1, b"trap", b"../outside"));
    pack.entry(dir(2, b"trap", 0o777));
    pack.entry(dir(3, b"trap/sub", 0o777));
})]
#[case::a_hard_link_to_a_link_that_leads_out(|pack: &mut Pack| {
    pack.entry(symlink(1, b"trap", b"../outside/precious"));
    pack.entry(hard_link(2, b"copy", 1, b"trap"));
    pack.file(3, b"copy", b"stolen");
})]
#[case::a_hard_link_through_a_link(|pack: &mut Pack| {
    pack.entry(symlink(1, b"trap", b"../outside"));
    pack.entry(hard_link(2, b"mine", 1, b"trap/precious"));
})]
#[case::links_of_links(|pack: &mut Pack| {
    pack.entry(symlink(1, b"a", b".."));
    pack.entry(symlink(2, b"b", b"a/outside"));
    pack.file(3, b"b/planted", b"planted");
    pack.entry(node(4, b"b/fifo", EntryType::Fifo));
    pack.entry(symlink(5, b"b/link", b"x"));
})]
fn nothing_outside_the_target_is_ever_touched(#[case] fill: Fill, #[values(false, true)] overwrite: bool) {
    let shelf = Shelf::with(fill);
    let outside = outside(&shelf);
    for round in 0..2 {
        let outcome = shelf.extract_volumes(&[1], &Options { overwrite, set_id: true, devices: true, ..options() });
        assert!(is_untouched(&outside), "round {round}");
        assert!(!outcome.is_stopped);
    }
}

#[test]
fn a_link_that_is_in_the_target_already_is_not_followed_either() {
    let shelf = Shelf::with(|pack| pack.file(1, b"d/planted", b"planted"));
    let outside = outside(&shelf);
    std::fs::create_dir(shelf.out("")).unwrap();
    link_on_disk(&outside, shelf.out("d")).unwrap();
    let outcome = shelf.extract_volumes(&[1], &Options { overwrite: true, ..options() });
    assert!(is_untouched(&outside));
    assert_eq!((outcome.worst(), outcome.problems.len()), (Some(Class::Entry), 1));
}

#[test]
fn one_flipped_bit_costs_one_file_and_the_others_come_back() {
    let shelf = Shelf::with(|pack: &mut Pack| {
        for id in 1..=5u64 {
            pack.file(id, format!("f{id}").as_bytes(), &[id as u8; 900]);
        }
    });
    let path = Shelf::dir(1).join("packmule/packs/00000001.pack");
    let bytes = shelf.fs.contents(&path).unwrap();
    // The third frame begins where its header repeats the mark of the first.
    let marks: Vec<usize> =
        (4096..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(&bytes[4096..4104])).collect();
    flip(&shelf.fs, &path, marks[2] + 200);
    let outcome = shelf.extract();
    assert_eq!(outcome.worst(), Some(Class::Integrity));
    let named: Vec<_> = outcome.problems.iter().filter_map(|problem| problem.path.clone()).collect();
    assert_eq!(named, [b"f3".to_vec()]);
    assert_eq!(outcome.count(Done::File), 4);
    assert!(!shelf.out("f3").exists(), "what is damaged is not there");
    assert_eq!(std::fs::read(shelf.out("f5")).unwrap(), [5; 900]);
}

/// Records that contradict themselves or each other.
#[rstest]
#[case::a_wrong_checksum_of_an_extent(|pack: &mut Pack| {
    let piece = pack.frame(b"good");
    pack.push_extent(1, 1, 0, b"evil", Content::Stored(vec![piece]));
    pack.entry(entry(1, b"f", b"evil"));
})]
#[case::a_wrong_checksum_of_the_whole(|pack: &mut Pack| {
    pack.extent(1, 0, b"good");
    pack.entry(entry(1, b"f", b"evil"));
})]
#[case::a_piece_outside_its_frame(|pack: &mut Pack| {
    let frame = pack.frame(b"good").frame;
    pack.push_extent(1, 1, 0, b"good", Content::Stored(vec![Piece { frame, at: 2, bytes: 4 }]));
    pack.entry(entry(1, b"f", b"good"));
})]
#[case::a_frame_that_does_not_exist(|pack: &mut Pack| {
    pack.push_extent(1, 1, 0, b"good", Content::Stored(vec![Piece { frame: 77, at: 0, bytes: 4 }]));
    pack.entry(entry(1, b"f", b"good"));
})]
#[case::a_gap_between_extents(|pack: &mut Pack| {
    pack.extent(1, 64, b"good");
    pack.entry(entry(1, b"f", b"good"));
})]
#[case::a_size_that_is_not_that_of_the_extents(|pack: &mut Pack| {
    pack.extent(1, 0, b"good");
    pack.entry(Entry { size: 1 << 40, ..entry(1, b"f", b"good") });
})]
#[case::a_hole_that_claims_to_be_something(|pack: &mut Pack| {
    pack.push_extent(1, 1, 0, b"good", Content::Hole);
    pack.entry(entry(1, b"f", b"good"));
})]
fn a_file_whose_records_lie_is_named_and_not_written(#[case] fill: Fill) {
    let shelf = Shelf::with(|pack: &mut Pack| {
        fill(pack);
        pack.file(90, b"fine", b"fine");
    });
    let outcome = shelf.extract();
    assert_eq!(outcome.problems.len(), 1, "{:?}", outcome.problems);
    assert_eq!(outcome.worst(), Some(Class::Integrity), "{:?}", outcome.problems);
    assert_eq!(outcome.problems[0].path.as_deref(), Some(&b"f"[..]));
    assert!(!shelf.out("f").exists());
    assert_eq!(std::fs::read(shelf.out("fine")).unwrap(), b"fine");
}

#[test]
fn a_good_copy_of_a_damaged_extent_on_another_volume_saves_the_file() {
    let shelf = Shelf::new();
    for number in 1..=2 {
        let volume = shelf.volume(number);
        let mut pack = shelf.pack(&volume, 1);
        pack.file(1, b"f", &[7; 900]);
        shelf.close(pack);
    }
    flip(&shelf.fs, &Shelf::dir(1).join("packmule/packs/00000001.pack"), 4096 + 200);
    let outcome = shelf.extract_volumes(&[1, 2], &options());
    assert_eq!(std::fs::read(shelf.out("f")).unwrap(), [7; 900]);
    assert!(outcome.problems.iter().all(|problem| problem.path.is_none()), "only the volume is named");
}

#[test]
fn a_sealed_volume_without_one_of_its_packs_is_an_integrity_finding() {
    let shelf = Shelf::new();
    let volume = shelf.volume(1);
    let mut packs = Vec::new();
    for number in 1..=2 {
        let mut pack = shelf.pack(&volume, number);
        pack.entry(symlink(u64::from(number), format!("l{number}").as_bytes(), b"x"));
        packs.push(shelf.close(pack));
    }
    let (states, records): (Vec<_>, Vec<_>) = packs.into_iter().unzip();
    shelf.kit.seal(&volume, &states, records.concat()).unwrap();
    assert_eq!(shelf.extract().worst(), None);
    shelf.kit.fs.remove_file(&Shelf::dir(1).join("packmule/packs/00000002.pack")).unwrap();
    let outcome = shelf.extract();
    assert_eq!(outcome.worst(), Some(Class::Integrity));
    assert_eq!(outcome.count(Done::AlreadyThere), 1);
}
