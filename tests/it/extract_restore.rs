//! What comes back is what was staged: contents, names, metadata, links, holes; and nothing that exists is lost.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use packmule::digest::{crc64, sha256};
use packmule::extract::{Class, Done, Options};
use packmule::format::record::{Attribute, Begin, Content, Deleted, Entry, EntryType, Piece, Record};
use packmule::monitor::Monitor;

use crate::extract_kit::{Shelf, dir, hard_link, mode, node, only, options, symlink, with_hole};
use crate::volume_kit::entry;

#[test]
fn files_of_any_name_and_size_come_back_with_their_metadata() {
    let names: [&[u8]; 7] = [b"new\nline", b"\xff\xfe", b"-rf", b"...", b"tail ", &[b'n'; 255], "\u{1f4be}".as_bytes()];
    let content = |index: usize| (0..index * 777).map(|byte| (byte % 251) as u8).collect::<Vec<u8>>();
    let shelf = Shelf::with(|pack| {
        for (index, name) in names.iter().enumerate() {
            pack.file(index as u64 + 1, &[b"deep/er/", *name].concat(), &content(index));
        }
        pack.entry(Entry { mode: 0o6751, mtime_s: -5, mtime_ns: 7, ..entry(50, b"set-id", b"") });
    });
    let outcome = shelf.extract();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    assert_eq!(outcome.count(Done::File), 8);
    for (index, name) in names.iter().enumerate() {
        let path = shelf.out("deep/er").join(OsStr::from_bytes(name));
        assert_eq!(std::fs::read(&path).unwrap(), content(index));
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((meta.mtime(), meta.mtime_nsec(), mode(&path)), (1, 2, 0o644));
    }
    let meta = std::fs::metadata(shelf.out("set-id")).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (-5, 7), "before 1970");
    assert_eq!(mode(&shelf.out("set-id")), 0o751, "set-id bits only when asked for");
    assert_eq!(outcome.set_id_left_out, 1, "and leaving them out is told");
    let asked = Shelf::with(|pack| pack.entry(Entry { mode: 0o6751, ..entry(50, b"set-id", b"") }));
    asked.extract_volumes(&[1], &Options { set_id: true, ..options() });
    assert_eq!(mode(&asked.out("set-id")), 0o6751);
}

#[test]
fn directories_get_mode_and_time_after_all_that_happens_inside() {
    let shelf = Shelf::with(|pack| {
        pack.entry(dir(1, b"", 0o711));
        pack.entry(dir(2, b"locked", 0o500));
        pack.entry(dir(3, b"locked/in", 0o555));
        pack.entry(dir(4, b"empty", 0o2750));
        pack.file(5, b"locked/in/f", b"text");
        pack.entry(hard_link(6, b"locked/in/g", 5, b"locked/in/f"));
    });
    let outcome = shelf.extract();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    assert_eq!(outcome.count(Done::Directory), 4);
    for (path, expected) in [("", 0o711), ("locked", 0o500), ("locked/in", 0o555), ("empty", 0o2750)] {
        assert_eq!(mode(&shelf.out(path)), expected, "{path:?}");
        assert_eq!(std::fs::metadata(shelf.out(path)).unwrap().mtime(), 1, "{path:?}");
    }
}

#[test]
fn links_of_both_kinds_and_fifos_come_back() {
    let shelf = Shelf::with(|pack| {
        pack.entry(hard_link(3, b"a/second", 2, b"b/first"));
        pack.file(2, b"b/first", b"shared");
        pack.entry(symlink(4, b"dangling", b"/no/where\n"));
        pack.entry(symlink(5, b"up", b"../../.."));
        pack.entry(Entry { mode: 0o640, ..node(6, b"fifo", EntryType::Fifo) });
        pack.entry(node(7, b"socket", EntryType::Socket));
        pack.entry(Entry { rdev: (1, 3), ..node(8, b"null", EntryType::CharDevice) });
    });
    let outcome = shelf.extract();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    let (first, second) = (std::fs::metadata(shelf.out("b/first")), std::fs::metadata(shelf.out("a/second")));
    assert_eq!(first.unwrap().ino(), second.unwrap().ino());
    assert_eq!(std::fs::read_link(shelf.out("dangling")).unwrap().as_os_str(), "/no/where\n");
    assert_eq!(std::fs::symlink_metadata(shelf.out("up")).unwrap().mtime(), 1);
    assert!(std::fs::symlink_metadata(shelf.out("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(mode(&shelf.out("fifo")), 0o640);
    assert_eq!(outcome.count(Done::LeftOut), 2, "sockets always, devices unless asked for");
}

#[test]
fn holes_stay_holes_and_attributes_come_back() {
    let hole = 50 << 20;
    let note = Attribute::Xattr { name: b"user.note".to_vec(), value: b"\0any\xff".to_vec() };
    let shelf = Shelf::with(|pack| {
        pack.extent(1, 0, b"head");
        pack.hole(1, 4, hole);
        pack.entry(Entry { attributes: vec![note], ..with_hole(1, b"sparse", b"head", hole, 2) });
        pack.hole(2, 0, 4096);
        pack.entry(with_hole(2, b"only hole", b"", 4096, 1));
    });
    let outcome = shelf.extract();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    let meta = std::fs::metadata(shelf.out("sparse")).unwrap();
    assert_eq!(meta.len(), hole + 4);
    assert!(meta.blocks() * 512 < hole, "{} blocks", meta.blocks());
    assert_eq!(std::fs::read(shelf.out("only hole")).unwrap(), [0; 4096]);
    let mut value = [0; 16];
    match rustix::fs::getxattr(shelf.out("sparse"), "user.note", &mut value) {
        Ok(length) => assert_eq!(&value[..length], b"\0any\xff"),
        Err(error) => panic!("{error}"),
    }
}

/// Found by the crash sweep: a resumed run had written the entry before the hole, and the file was called missing although
/// "7 of 7 extents" were there.
#[test]
fn a_sparse_file_whose_last_known_extent_is_a_hole_in_a_later_pack_comes_back() {
    let hole = 1 << 20;
    let shelf = Shelf::new();
    let volume = shelf.volume(1);
    let begin =
        |size| Record::Begin(Begin { id: 1, generation: 1, mtime_s: 1, mtime_ns: 2, size, path: b"sparse".to_vec() });
    let mut pack = shelf.pack(&volume, 1);
    pack.records.push(begin(hole + 4));
    pack.extent(1, 0, b"head");
    pack.entry(with_hole(1, b"sparse", b"head", hole, 2));
    shelf.close(pack);
    let mut pack = shelf.pack(&volume, 2);
    pack.hole(1, 4, hole);
    shelf.close(pack);
    let outcome = shelf.extract();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    let mut expected = b"head".to_vec();
    expected.resize(4 + usize::try_from(hole).unwrap(), 0);
    assert!(std::fs::read(shelf.out("sparse")).unwrap() == expected);
}

/// A file of three extents over two packs of volume 1 and one of volume 2.
fn spread() -> (Shelf, Vec<u8>) {
    let content: Vec<u8> = (0..6000u32).map(|byte| (byte % 253) as u8).collect();
    let shelf = Shelf::new();
    let begin =
        |id| Record::Begin(Begin { id, generation: 1, mtime_s: 1, mtime_ns: 2, size: 6000, path: b"d/large".to_vec() });
    let one = shelf.volume(1);
    let mut pack = shelf.pack(&one, 1);
    pack.records.push(begin(9));
    pack.extent(9, 0, &content[..1984]);
    pack.file(10, b"small", b"small");
    shelf.close(pack);
    let mut pack = shelf.pack(&one, 2);
    pack.extent(9, 1984, &content[1984..4032]);
    shelf.close(pack);
    let two = shelf.volume(2);
    let mut pack = shelf.pack(&two, 1);
    pack.records.push(begin(9));
    pack.extent(9, 4032, &content[4032..]);
    pack.entry(Entry { extent_count: 3, ..entry(9, b"d/large", &content) });
    shelf.close(pack);
    (shelf, content)
}

#[test]
fn a_file_spread_over_packs_and_volumes_is_put_together_in_any_order() {
    for numbers in [[1, 2], [2, 1]] {
        let (shelf, content) = spread();
        let outcome = shelf.extract_volumes(&numbers, &options());
        assert!(outcome.problems.is_empty(), "{numbers:?} {:?}", outcome.problems);
        assert_eq!(std::fs::read(shelf.out("d/large")).unwrap(), content);
        assert_eq!((outcome.count(Done::File), outcome.bytes), (2, 6005));
    }
}

#[test]
fn without_one_volume_the_file_is_named_as_missing_and_not_left_half_done() {
    for (number, what) in [(1, "ends on a volume that was not given"), (2, "1 of 3 extents")] {
        let (shelf, _) = spread();
        let outcome = shelf.extract_volumes(&[number], &options());
        assert_eq!(outcome.worst(), Some(Class::Missing));
        assert_eq!(outcome.problems[0].path.as_deref(), Some(&b"d/large"[..]));
        assert!(outcome.problems[0].message.contains(what), "{}", outcome.problems[0].message);
        assert!(!shelf.out("d/large").exists());
        assert_eq!(mode(&shelf.out("d")), 0o755, "nobody is locked out of what has no entry here");
    }
}

#[test]
fn the_latest_generation_holds_and_deleted_paths_stay_away() {
    let shelf = Shelf::with(|pack| {
        let old = pack.frame(b"old and longer");
        pack.push_extent(1, 1, 0, b"old and longer", Content::Stored(vec![old]));
        pack.entry(entry(1, b"changed", b"old and longer"));
        let new = pack.frame(b"new");
        pack.push_extent(1, 2, 0, b"new", Content::Stored(vec![new]));
        pack.entry(Entry { generation: 2, ..entry(1, b"changed", b"new") });
        pack.file(2, b"gone", b"gone");
        pack.records.push(Record::Deleted(Deleted { id: 2, generation: 2, path: b"gone".to_vec() }));
    });
    let outcome = shelf.extract();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    assert_eq!(std::fs::read(shelf.out("changed")).unwrap(), b"new");
    assert!(!shelf.out("gone").exists());
    assert_eq!(outcome.count(Done::File), 1);
}

#[test]
fn small_files_that_share_a_frame_are_told_apart() {
    let shelf = Shelf::with(|pack| {
        let frame = pack.frame(b"onetwothree").frame;
        for (id, at, text) in [(1, 0, "one"), (2, 3, "two"), (3, 6, "three")] {
            let piece = Piece { frame, at, bytes: u32::try_from(text.len()).unwrap() };
            pack.push_extent(id, 1, 0, text.as_bytes(), Content::Stored(vec![piece]));
            pack.entry(entry(id, text.as_bytes(), text.as_bytes()));
        }
    });
    assert!(shelf.extract().problems.is_empty());
    for text in ["one", "two", "three"] {
        assert_eq!(std::fs::read_to_string(shelf.out(text)).unwrap(), text);
    }
}

#[test]
fn the_same_command_again_finds_everything_there() {
    let (shelf, _) = spread();
    shelf.extract_volumes(&[1, 2], &options());
    let again = shelf.extract_volumes(&[1, 2], &options());
    assert!(again.problems.is_empty(), "{:?}", again.problems);
    assert_eq!((again.count(Done::AlreadyThere), again.count(Done::File)), (2, 0));
}

#[test]
fn what_an_interrupted_run_left_is_done_again_and_what_others_made_is_kept() {
    let shelf = Shelf::with(|pack| {
        pack.file(1, b"unfinished", b"whole");
        pack.file(2, b"theirs", b"ours");
        pack.entry(dir(3, b"d", 0o750));
    });
    std::fs::create_dir(shelf.out("")).unwrap();
    std::fs::write(shelf.out("unfinished"), "wh").unwrap();
    rustix::fs::chmod(shelf.out("unfinished"), rustix::fs::Mode::from_raw_mode(0o1600)).unwrap();
    std::fs::write(shelf.out("theirs"), "theirs").unwrap();
    std::fs::create_dir(shelf.out("d")).unwrap();
    rustix::fs::chmod(shelf.out("d"), rustix::fs::Mode::from_raw_mode(0o1700)).unwrap();
    let outcome = shelf.extract();
    assert_eq!(std::fs::read(shelf.out("unfinished")).unwrap(), b"whole");
    assert_eq!(std::fs::read(shelf.out("theirs")).unwrap(), b"theirs");
    assert_eq!(mode(&shelf.out("d")), 0o750);
    assert_eq!((outcome.worst(), outcome.problems.len()), (Some(Class::Entry), 1));
    assert_eq!(outcome.problems[0].message, "something else is there, and it is kept");
    let asked = shelf.extract_volumes(&[1], &Options { overwrite: true, ..options() });
    assert!(asked.problems.is_empty());
    assert_eq!(std::fs::read(shelf.out("theirs")).unwrap(), b"ours");
}

#[test]
fn patterns_take_a_part_with_its_directories() {
    let fill = |pack: &mut crate::extract_kit::Pack| {
        pack.entry(dir(1, b"docs", 0o711));
        pack.entry(dir(2, b"other", 0o711));
        pack.file(3, b"docs/a.txt", b"a");
        pack.file(4, b"docs/b.bin", b"b");
        pack.file(5, b"other/c.txt", b"c");
    };
    let shelf = Shelf::with(fill);
    let outcome = shelf.extract_volumes(&[1], &only(&["/docs/*.txt"]));
    assert!(outcome.problems.is_empty());
    assert_eq!(outcome.count(Done::File), 1);
    assert!(shelf.out("docs/a.txt").exists() && !shelf.out("docs/b.bin").exists() && !shelf.out("other").exists());
    assert_eq!(mode(&shelf.out("docs")), 0o711, "a directory on the way gets its own mode");
    let shelf = Shelf::with(fill);
    assert_eq!(shelf.extract_volumes(&[1], &only(&["docs"])).count(Done::File), 2, "all below a directory");
}

#[test]
fn a_dry_run_counts_and_touches_nothing() {
    let (shelf, _) = spread();
    let outcome = shelf.extract_volumes(&[1, 2], &Options { dry_run: true, ..options() });
    assert_eq!((outcome.count(Done::WouldWrite), outcome.bytes), (2, 6005));
    assert!(!shelf.out("").exists());
}

#[test]
fn a_stopped_run_leaves_nothing_that_looks_done() {
    let (shelf, _) = spread();
    let options = options();
    options.stop.set();
    let outcome = shelf.extract_volumes(&[1, 2], &options);
    assert!(outcome.is_stopped && outcome.problems.is_empty() && outcome.counts.is_empty());
    assert!(!shelf.out("d/large").exists() && !shelf.out("small").exists());
}

#[test]
fn the_kit_and_the_entry_agree() {
    let made = with_hole(1, b"x", b"ab", 2, 1);
    assert_eq!((made.crc64, made.sha256), (crc64(b"ab\0\0"), sha256(b"ab\0\0")));
}

/// Fails when it hears of the first byte.
struct Fails;

impl Monitor for Fails {
    fn bytes(&self, _count: u64) {
        panic!("a worker ends here");
    }
    fn files(&self, _count: u64) {}
    fn message(&self, _text: &str) {}
}

#[test]
#[should_panic(expected = "a scoped thread panicked")]
fn workers_that_all_fail_end_the_run_and_nobody_waits_for_them() {
    // Many more frames than the reader may be ahead by.
    let shelf = Shelf::with(|pack| pack.file(1, b"many frames", &[7; 200_000]));
    shelf.extract_heard(&[1], &options(), &Fails);
}
