//! One suite for every `Fs`: a double that is kinder than the real file system proves nothing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use packmule::sys::aligned::AlignedBuf;
use packmule::sys::fault::FaultFs;
use packmule::sys::mem::MemFs;
use packmule::sys::{Access, Fs, Kind, RealFs};
use rstest::rstest;

/// A file system with an empty directory to work in; the guard removes it.
struct Stage {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    _guard: Option<tempfile::TempDir>,
}

impl Stage {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

fn real() -> Stage {
    let guard = tempfile::tempdir().unwrap();
    Stage { fs: Arc::new(RealFs), dir: guard.path().to_path_buf(), _guard: Some(guard) }
}

fn mem() -> Stage {
    let fs = MemFs::new();
    fs.make_dirs(Path::new("/stage")).unwrap();
    Stage { fs: Arc::new(fs), dir: PathBuf::from("/stage"), _guard: None }
}

fn fault_without_rules() -> Stage {
    let Stage { fs, dir, _guard } = mem();
    Stage { fs: Arc::new(FaultFs::new(fs)), dir, _guard }
}

type Make = fn() -> Stage;

#[rstest]
fn what_is_written_is_read(
    #[values(real as Make, mem, fault_without_rules)] make: Make,
    #[values(Access::Buffered, Access::Direct)] access: Access,
) {
    let stage = make();
    let path = stage.path("a.pack");
    let mut block = AlignedBuf::with_capacity(8192);
    block.push(&[5; 8192]);
    let file = stage.fs.create_new(&path, access).unwrap();
    file.write_all_at(&block, 4096).unwrap();
    assert_eq!(file.len().unwrap(), 12_288);
    file.sync_data().unwrap();
    file.drop_cache().unwrap();

    let file = stage.fs.open_read(&path, access).unwrap();
    let mut back = AlignedBuf::with_capacity(16_384);
    back.resize_dirty(16_384);
    assert_eq!(file.read_at(&mut back, 0).unwrap(), 12_288, "a short read at the end");
    assert!(back[..4096].iter().all(|&byte| byte == 0), "never written bytes are zero");
    assert!(back[4096..12_288].iter().all(|&byte| byte == 5));
    assert_eq!(file.read_at(&mut back, 12_288).unwrap(), 0, "nothing after the end");
    assert_eq!(file.read_at(&mut back, 1 << 30).unwrap(), 0, "nothing far after the end");
}

#[rstest]
fn direct_access_insists_on_alignment(#[values(real as Make, mem, fault_without_rules)] make: Make) {
    let stage = make();
    let file = stage.fs.create_new(&stage.path("a"), Access::Direct).unwrap();
    if file.access() == Access::Buffered {
        eprintln!("skipped: {:?} does not grant direct access", stage.dir);
        return;
    }
    let mut block = AlignedBuf::with_capacity(8192);
    block.resize_zeroed(8192);
    let refused = |result: std::io::Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
    refused(file.write_all_at(&block[..4095], 0));
    refused(file.write_all_at(&block[1..4097], 0));
    refused(file.write_all_at(&block[..4096], 512));
    refused(file.read_at(&mut block[..100], 0).map(drop));
    file.write_all_at(&block, 0).unwrap();
    file.set_len(5000).unwrap();
    assert_eq!(file.len().unwrap(), 5000, "the length may be anything");
}

#[rstest]
fn a_taken_name_is_never_replaced(#[values(real as Make, mem, fault_without_rules)] make: Make) {
    let stage = make();
    let fs = &stage.fs;
    for (name, text) in [("a", b"a"), ("b", b"b")] {
        fs.create_new(&stage.path(name), Access::Buffered).unwrap().write_all_at(text, 0).unwrap();
    }
    fs.create_dir(&stage.path("d")).unwrap();
    let taken = |result: std::io::Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::AlreadyExists);
    taken(fs.create_new(&stage.path("a"), Access::Buffered).map(drop));
    taken(fs.create_new(&stage.path("d"), Access::Buffered).map(drop));
    taken(fs.create_dir(&stage.path("a")));
    taken(fs.create_dir(&stage.path("d")));
    taken(fs.rename_noreplace(&stage.path("a"), &stage.path("b")));
    taken(fs.rename_noreplace(&stage.path("a"), &stage.path("d")));
    assert_eq!(read(&stage, "b"), b"b", "a refused rename changes nothing");
    fs.rename_noreplace(&stage.path("a"), &stage.path("c")).unwrap();
    fs.rename_replace(&stage.path("c"), &stage.path("b")).unwrap();
    assert_eq!(read(&stage, "b"), b"a");
    assert_eq!(names(&stage), ["b", "d"]);
    assert!(fs.rename_replace(&stage.path("b"), &stage.path("d")).is_err(), "a directory is never replaced");
}

#[rstest]
fn what_is_not_there_is_not_found(#[values(real as Make, mem, fault_without_rules)] make: Make) {
    let stage = make();
    let fs = &stage.fs;
    let missing = stage.path("missing");
    let kinds = [
        fs.open_read(&missing, Access::Buffered).map(drop).unwrap_err().kind(),
        fs.open_write(&missing, Access::Buffered).map(drop).unwrap_err().kind(),
        fs.create_new(&missing.join("x"), Access::Buffered).map(drop).unwrap_err().kind(),
        fs.create_dir(&missing.join("x")).unwrap_err().kind(),
        fs.list(&missing).unwrap_err().kind(),
        fs.stat(&missing).unwrap_err().kind(),
        fs.remove_file(&missing).unwrap_err().kind(),
        fs.rename_noreplace(&missing, &stage.path("x")).unwrap_err().kind(),
        fs.rename_replace(&missing, &stage.path("x")).unwrap_err().kind(),
        fs.sync_dir(&missing).unwrap_err().kind(),
        fs.space(&missing).unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::NotFound; 11]);
}

#[rstest]
fn lists_are_sorted_and_tell_kind_and_length(#[values(real as Make, mem, fault_without_rules)] make: Make) {
    let stage = make();
    for name in ["b", "a", "\u{e9}", "Z"] {
        let file = stage.fs.create_new(&stage.path(name), Access::Buffered).unwrap();
        file.write_all_at(name.as_bytes(), 0).unwrap();
    }
    stage.fs.create_dir(&stage.path("d")).unwrap();
    stage.fs.sync_dir(&stage.dir).unwrap();
    let items = stage.fs.list(&stage.dir).unwrap();
    let shown: Vec<_> = items.iter().map(|i| (i.name.to_str().unwrap(), i.is_dir, i.len)).collect();
    let expected = [("Z", false, 1), ("a", false, 1), ("b", false, 1), ("d", true, 0), ("\u{e9}", false, 2)];
    assert_eq!(shown, expected);
    assert_eq!(stage.fs.stat(&stage.path("d")).unwrap().kind, Kind::Dir);
    let stat = stage.fs.stat(&stage.path("\u{e9}")).unwrap();
    assert_eq!((stat.kind, stat.len), (Kind::File, 2));
    assert!(stage.fs.list(&stage.path("a")).is_err(), "a file has no names in it");
}

#[rstest]
fn directories_are_not_files(#[values(real as Make, mem, fault_without_rules)] make: Make) {
    let stage = make();
    stage.fs.create_dir(&stage.path("d")).unwrap();
    assert!(stage.fs.open_read(&stage.path("d"), Access::Buffered).is_err());
    assert!(stage.fs.open_write(&stage.path("d"), Access::Buffered).is_err());
    assert!(stage.fs.remove_file(&stage.path("d")).is_err());
    assert_eq!(names(&stage), ["d"]);
}

#[rstest]
fn a_file_opened_for_reading_cannot_be_changed(#[values(real as Make, mem, fault_without_rules)] make: Make) {
    let stage = make();
    stage.fs.create_new(&stage.path("a"), Access::Buffered).unwrap().write_all_at(b"keep", 0).unwrap();
    let file = stage.fs.open_read(&stage.path("a"), Access::Buffered).unwrap();
    assert!(file.write_all_at(b"x", 0).is_err());
    assert!(file.set_len(0).is_err());
    assert_eq!(read(&stage, "a"), b"keep");
}

#[rstest]
fn a_cut_back_file_is_extended_with_zeros(#[values(real as Make, mem, fault_without_rules)] make: Make) {
    let stage = make();
    let path = stage.path("a");
    stage.fs.create_new(&path, Access::Buffered).unwrap().write_all_at(b"secret", 0).unwrap();
    let file = stage.fs.open_write(&path, Access::Buffered).unwrap();
    file.set_len(2).unwrap();
    file.set_len(4).unwrap();
    assert_eq!(read(&stage, "a"), b"se\0\0");
    assert!(!file.is_empty().unwrap());
}

#[rstest]
fn an_open_file_survives_its_name(#[values(real as Make, mem, fault_without_rules)] make: Make) {
    let stage = make();
    let file = stage.fs.create_new(&stage.path("a"), Access::Buffered).unwrap();
    file.write_all_at(b"text", 0).unwrap();
    stage.fs.remove_file(&stage.path("a")).unwrap();
    let mut back = [0; 4];
    file.read_exact_at(&mut back, 0).unwrap();
    assert_eq!(&back, b"text");
    assert_eq!(file.read_exact_at(&mut back, 1).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert!(names(&stage).is_empty());
}

#[rstest]
fn two_directories_of_one_file_system_share_its_room(#[values(real as Make, mem, fault_without_rules)] make: Make) {
    let stage = make();
    stage.fs.create_dir(&stage.path("d")).unwrap();
    let (outer, inner) = (stage.fs.space(&stage.dir).unwrap(), stage.fs.space(&stage.path("d")).unwrap());
    assert_eq!(outer.device_id, inner.device_id);
    assert_eq!(outer.total_bytes, inner.total_bytes);
    assert!(outer.free_bytes <= outer.total_bytes && outer.block_bytes >= 1 && !outer.type_name.is_empty());
}

#[test]
fn the_real_file_system_follows_no_link_and_waits_for_no_fifo() {
    let stage = real();
    std::fs::write(stage.path("target"), "x").unwrap();
    std::os::unix::fs::symlink(stage.path("target"), stage.path("link")).unwrap();
    let status = std::process::Command::new("mkfifo").arg(stage.path("fifo")).status().unwrap();
    assert!(status.success());
    assert!(stage.fs.open_read(&stage.path("link"), Access::Buffered).is_err());
    assert!(stage.fs.open_read(&stage.path("fifo"), Access::Buffered).is_err());
    assert_eq!(stage.fs.stat(&stage.path("link")).unwrap().kind, Kind::Symlink);
    assert_eq!(stage.fs.stat(&stage.path("fifo")).unwrap().kind, Kind::Other);
}

fn names(stage: &Stage) -> Vec<String> {
    let items = stage.fs.list(&stage.dir).unwrap();
    items.into_iter().map(|item| item.name.into_string().unwrap()).collect()
}

fn read(stage: &Stage, name: &str) -> Vec<u8> {
    let file = stage.fs.open_read(&stage.path(name), Access::Buffered).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}
