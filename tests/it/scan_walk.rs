//! The walk: every name is seen once, in order, whatever it is called; trouble with one does not stop the others.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use packmule::scan::{
    BATCH_ENTRIES_MAX, DirBatch, EntryKind, Error, ExcludedBy, ProblemKind, Root, Rule, Selection, Summary,
    WalkOptions, WalkTotals, walk,
};
use packmule::sys::process::StopFlag;
use packmule::sys::source::UnixTime;
use rstest::rstest;

fn write(dir: &Path, name: &[u8], text: &str) {
    let path = dir.join(OsStr::from_bytes(name));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn collect(given: &[PathBuf], options: &WalkOptions) -> (Vec<DirBatch>, WalkTotals) {
    let roots = Root::resolve_all(given).unwrap();
    let mut batches = Vec::new();
    let totals = walk(&roots, options, |batch| {
        batches.push(batch);
        ControlFlow::Continue(())
    });
    (batches, totals)
}

fn paths(batches: &[DirBatch]) -> Vec<String> {
    let join = |dir: &[u8], name: &[u8]| match dir {
        b"" => name.escape_ascii().to_string(),
        dir => format!("{}/{}", dir.escape_ascii(), name.escape_ascii()),
    };
    batches.iter().flat_map(|b| b.entries.iter().map(move |e| join(&b.dir, &e.name))).collect()
}

fn threads(threads: usize) -> WalkOptions {
    WalkOptions { threads, ..WalkOptions::default() }
}

const HOSTILE: [&[u8]; 9] =
    [b"new\nline", b"\xff\xfe", b"-rf", b"...", b"..x", b" lead", b"trail ", "\u{1f4be}".as_bytes(), b"back\\slash"];

#[rstest]
fn every_name_is_seen_once_with_its_directory_sorted(#[values(1, 4)] count: usize) {
    let dir = tempfile::tempdir().unwrap();
    for name in HOSTILE {
        write(dir.path(), name, "x");
        write(dir.path(), &[b"sub/", name].concat(), "yy");
    }
    write(dir.path(), &[b'n'; 255], "long");
    std::fs::create_dir_all(dir.path().join("empty/deeper")).unwrap();
    symlink("/nowhere\n", dir.path().join("dangling")).unwrap();
    symlink(dir.path(), dir.path().join("loop")).unwrap();
    assert!(Command::new("mkfifo").arg(dir.path().join("fifo")).status().unwrap().success());
    let (batches, totals) = collect(&[dir.path().into()], &threads(count));
    let mut seen = paths(&batches);
    for batch in &batches {
        assert!(batch.entries.is_sorted_by(|a, b| a.name < b.name), "sorted, no name twice");
        assert!(batch.is_last && batch.problems.is_empty());
    }
    seen.sort();
    let unique: HashSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), unique.len()), (25, 25));
    assert_eq!(totals, WalkTotals { names_per_root: vec![25], is_complete: true });
    let kinds: BTreeMap<_, _> =
        batches.iter().flat_map(|b| &b.entries).map(|e| (e.name.clone(), e.kind.clone())).collect();
    assert_eq!(kinds[&b"dangling"[..]], EntryKind::Symlink { target: b"/nowhere\n".to_vec() });
    assert_eq!(kinds[&b"fifo"[..]], EntryKind::Fifo);
    assert_eq!(kinds[&b"deeper"[..]], EntryKind::Dir);
    assert!(!seen.iter().any(|path| path.starts_with("loop/")), "links are not followed");
}

#[test]
fn one_thread_walks_depth_first_in_the_order_of_names() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b/y/2", "b/x/1", "a/z", "c", "b/x/0"] {
        write(dir.path(), name.as_bytes(), "");
    }
    let (batches, _) = collect(&[dir.path().into()], &threads(1));
    let dirs: Vec<_> = batches.iter().map(|batch| String::from_utf8(batch.dir.clone()).unwrap()).collect();
    assert_eq!(dirs, ["", "a", "b", "b/x", "b/y"]);
    assert_eq!(paths(&batches), ["a", "b", "c", "a/z", "b/x", "b/y", "b/x/0", "b/x/1", "b/y/2"]);
}

#[rstest]
fn a_very_large_directory_comes_in_several_sorted_batches(#[values(1, 3)] count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let total = BATCH_ENTRIES_MAX + 10;
    for number in 0..total {
        std::fs::File::create(dir.path().join(format!("{number:06}"))).unwrap();
    }
    std::fs::create_dir(dir.path().join("000000d")).unwrap();
    write(dir.path(), b"000000d/inside", "");
    let (batches, _) = collect(&[dir.path().into()], &threads(count));
    let top: Vec<_> = batches.iter().filter(|batch| batch.dir.is_empty()).collect();
    assert_eq!(top.iter().map(|batch| batch.entries.len()).collect::<Vec<_>>(), [BATCH_ENTRIES_MAX, 11]);
    assert_eq!(top.iter().map(|batch| batch.is_last).collect::<Vec<_>>(), [false, true]);
    assert!(top.iter().flat_map(|batch| &batch.entries).is_sorted_by(|a, b| a.name < b.name));
    assert!(paths(&batches).contains(&"000000d/inside".into()));
}

#[rstest]
fn what_rules_leave_out_is_counted_and_not_entered(#[values(1, 4)] count: usize) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.tmp", "keep.tmp", "cache/1", "cache/2", "b/cache/3", "b/c"] {
        write(dir.path(), name.as_bytes(), "");
    }
    let rules = [Rule::Exclude("*.tmp".into()), Rule::Exclude("cache/".into()), Rule::Include("keep.tmp".into())];
    let options = WalkOptions { selection: Selection::new(&rules).unwrap(), ..threads(count) };
    let (batches, totals) = collect(&[dir.path().into()], &options);
    let mut seen = paths(&batches);
    seen.sort();
    assert_eq!(seen, ["b", "b/c", "keep.tmp"]);
    let mut excluded: Vec<_> = batches.iter().flat_map(|b| &b.excluded).map(|x| (x.name.clone(), x.is_dir)).collect();
    excluded.sort();
    assert_eq!(excluded, [(b"a.tmp".to_vec(), false), (b"cache".to_vec(), true), (b"cache".to_vec(), true)]);
    assert_eq!(totals.names_per_root, [6], "excluded names are seen names");
}

#[test]
fn the_output_of_this_run_is_never_its_input() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), b"volume/packmule/VOLUME", "");
    write(dir.path(), b"data", "");
    let meta = std::fs::metadata(dir.path().join("volume")).unwrap();
    let options = WalkOptions { own_output: HashSet::from([(meta.dev(), meta.ino())]), ..threads(1) };
    let (batches, _) = collect(&[dir.path().into()], &options);
    assert_eq!(paths(&batches), ["data"]);
    assert_eq!(batches[0].excluded[0].by, ExcludedBy::OwnOutput);
}

#[test]
fn one_file_system_keeps_the_mount_point_and_does_not_enter_it() {
    let options = WalkOptions { one_file_system: true, ..threads(1) };
    let roots = Root::resolve_all(&[PathBuf::from("/")]).unwrap();
    let mut proc_is_entered = None;
    walk(&roots, &options, |batch| {
        proc_is_entered = batch.entries.iter().find(|entry| entry.name == b"proc").map(|entry| entry.is_entered);
        ControlFlow::Break(())
    });
    assert_eq!(proc_is_entered, Some(false));
}

#[test]
fn hard_links_share_a_group_and_others_have_none() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), b"a", "12345678");
    std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
    write(dir.path(), b"c/d", "");
    let (batches, _) = collect(&[dir.path().into()], &threads(1));
    let groups: Vec<_> = batches[0].entries.iter().map(|entry| entry.link_group()).collect();
    assert!(groups[0].is_some() && groups[0] == groups[1]);
    assert_eq!(groups[2], None, "a directory has many links and is no hard link");
    let mut summary = Summary::default();
    batches.iter().for_each(|batch| summary.add("", batch, UnixTime::default()));
    assert_eq!((summary.files, summary.bytes, summary.unique_bytes), (3, 16, 8));
}

#[test]
fn a_path_beyond_the_limit_of_the_kernel_is_a_problem_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), b"z", "");
    // A path of more than 4096 bytes can only be made step by step, from inside.
    let script = "n=$(printf 'd%.0s' $(seq 200)); for i in $(seq 25); do mkdir $n && cd $n || exit 1; done; : > end";
    assert!(Command::new("bash").args(["-c", script]).current_dir(dir.path()).status().unwrap().success());
    let (batches, totals) = collect(&[dir.path().into()], &threads(1));
    let problems: Vec<_> = batches.iter().flat_map(|batch| &batch.problems).collect();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].source.raw_os_error(), Some(36), "ENAMETOOLONG");
    assert!(problems[0].kind != ProblemKind::Vanished && problems[0].path.starts_with(b"ddd"));
    assert!(paths(&batches).contains(&"z".into()) && totals.is_complete);
    assert!(Command::new("rm").arg("-rf").arg(dir.path()).status().unwrap().success());
}

#[test]
fn sources_that_make_no_sense_are_errors_before_the_walk() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), b"a/b", "");
    let resolve = |paths: &[&Path]| Root::resolve_all(&paths.iter().map(|p| p.to_path_buf()).collect::<Vec<_>>());
    let missing = resolve(&[&dir.path().join("gone")]).unwrap_err();
    assert!(matches!(missing, Error::Root { .. }) && missing.to_string().ends_with("gone cannot be read"));
    assert!(matches!(resolve(&[Path::new("/dev/null")]).unwrap_err(), Error::RootKind { .. }));
    let inner = dir.path().join("a");
    assert!(matches!(resolve(&[dir.path(), &inner]).unwrap_err(), Error::RootsOverlap { .. }));
    assert!(matches!(resolve(&[&inner, &inner]).unwrap_err(), Error::RootsOverlap { .. }));
    symlink(&inner, dir.path().join("link")).unwrap();
    assert_eq!(resolve(&[&dir.path().join("link")]).unwrap()[0].path(), inner.canonicalize().unwrap());
}

#[test]
fn a_single_file_is_a_source_and_an_empty_directory_shows_as_empty() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), b"one", "1");
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let given = [dir.path().join("one"), dir.path().join("empty")];
    let (batches, totals) = collect(&given, &threads(1));
    assert_eq!(paths(&batches), ["one"]);
    assert_eq!(totals.names_per_root, [1, 0]);
    let root = Root::resolve(&given[0]).unwrap();
    assert_eq!(std::fs::read(root.open_path(b"one")).unwrap(), b"1");
}

#[rstest]
fn a_walk_ends_when_the_receiver_or_the_user_wants(#[values(1, 4)] count: usize) {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..200 {
        write(dir.path(), format!("{number}/x").as_bytes(), "");
    }
    let roots = Root::resolve_all(&[dir.path().into()]).unwrap();
    let mut received = 0;
    let totals = walk(&roots, &threads(count), |_| {
        received += 1;
        if received == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((received, totals.is_complete), (3, false));
    let stop = StopFlag::new();
    stop.set();
    let (batches, totals) = collect(&[dir.path().into()], &WalkOptions { stop, ..threads(count) });
    assert_eq!((batches.len(), totals.is_complete), (0, false));
}

#[test]
fn threads_change_nothing_in_the_summary() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let sum = |count| {
        let mut summary = Summary::default();
        let (batches, _) = collect(std::slice::from_ref(&root), &threads(count));
        batches.iter().for_each(|batch| summary.add("src/", batch, UnixTime::default()));
        summary
    };
    let one = sum(1);
    assert_eq!(one, sum(8));
    assert!(one.files > 10 && one.sizes.used().map(|bucket| bucket.files).sum::<u64>() == one.files);
}
