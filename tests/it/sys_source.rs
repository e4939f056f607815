//! Reading the source: nothing is changed, followed or waited for.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use packmule::sys::source::{self, SourceFile, SourceKind};

fn dir() -> (tempfile::TempDir, PathBuf) {
    let guard = tempfile::tempdir().unwrap();
    let path = guard.path().to_path_buf();
    (guard, path)
}

#[test]
fn identity_tells_what_stat_tells() {
    let (_guard, dir) = dir();
    let path = dir.join("f");
    std::fs::write(&path, "hello").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4711)).unwrap();
    std::fs::hard_link(&path, dir.join("g")).unwrap();
    let meta = std::fs::metadata(&path).unwrap();
    let id = SourceFile::open(&path).unwrap().identity().unwrap();
    assert_eq!(id, source::identity(&path).unwrap());
    assert_eq!((id.kind, id.size, id.mode, id.nlink), (SourceKind::File, 5, 0o4711, 2));
    assert_eq!((id.dev, id.ino, id.uid, id.gid), (meta.dev(), meta.ino(), meta.uid(), meta.gid()));
    assert_eq!((id.mtime.seconds, i64::from(id.mtime.nanos)), (meta.mtime(), meta.mtime_nsec()));
    assert_eq!((id.ctime.seconds, i64::from(id.ctime.nanos)), (meta.ctime(), meta.ctime_nsec()));
}

#[test]
fn a_change_of_contents_or_inode_is_noticed() {
    let (_guard, dir) = dir();
    let path = dir.join("f");
    std::fs::write(&path, "hello").unwrap();
    let file = SourceFile::open(&path).unwrap();
    let before = file.identity().unwrap();
    assert!(!file.identity().unwrap().changed_since(&before));
    std::fs::write(dir.join("g"), "hello").unwrap();
    std::fs::rename(dir.join("g"), &path).unwrap();
    assert!(source::identity(&path).unwrap().changed_since(&before), "replaced by another file");
    std::fs::write(&path, "longer text").unwrap();
    let replaced = source::identity(&path).unwrap();
    assert!(replaced.changed_since(&before));
}

#[test]
fn links_and_fifos_are_refused_not_followed_or_waited_for() {
    let (_guard, dir) = dir();
    std::fs::write(dir.join("f"), "x").unwrap();
    symlink("f", dir.join("link")).unwrap();
    symlink(std::ffi::OsStr::new("gone \u{e9}\n"), dir.join("dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(dir.join("fifo")).status().unwrap().success());
    for name in ["link", "dangling", "fifo", "."] {
        assert!(SourceFile::open(&dir.join(name)).is_err(), "{name}");
    }
    assert_eq!(source::identity(&dir.join("link")).unwrap().kind, SourceKind::Symlink);
    assert_eq!(source::identity(&dir.join("fifo")).unwrap().kind, SourceKind::Fifo);
    assert_eq!(source::identity_followed(&dir.join("link")).unwrap().kind, SourceKind::File);
    assert_eq!(source::link_target(&dir.join("dangling")).unwrap(), "gone \u{e9}\n".as_bytes());
}

#[test]
fn reading_leaves_the_access_time_alone() {
    let (_guard, dir) = dir();
    let path = dir.join("f");
    std::fs::write(&path, "hello").unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH;
    let times = std::fs::FileTimes::new().set_accessed(old);
    std::fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    let file = SourceFile::open(&path).unwrap();
    let mut buf = [0; 10];
    assert_eq!(file.read_full_at(&mut buf, 0).unwrap(), 5);
    assert_eq!(file.read_full_at(&mut buf, 5).unwrap(), 0);
    assert_eq!(std::fs::metadata(&path).unwrap().accessed().unwrap(), old);
}

#[test]
fn holes_are_found_where_the_file_system_has_them() {
    let (_guard, dir) = dir();
    let path = dir.join("sparse");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(10 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[1; 65_536], 4 << 20).unwrap();
    file.sync_all().unwrap();
    let source = SourceFile::open(&path).unwrap();
    let (start, end) = source.next_data(0).unwrap().unwrap();
    assert!(start <= 4 << 20 && end >= (4 << 20) + 65_536, "the data lies inside the stretch");
    if (start, end) == (0, 10 << 20) {
        eprintln!("skipped: this file system keeps no holes");
        return;
    }
    assert_eq!(source.next_data(end).unwrap(), None, "only a hole is left");
    assert!(source.identity().unwrap().allocated_bytes < 10 << 20);
    std::fs::write(dir.join("empty"), "").unwrap();
    assert_eq!(SourceFile::open(&dir.join("empty")).unwrap().next_data(0).unwrap(), None);
}

#[test]
fn extended_attributes_are_read_sorted_and_whole() {
    let (_guard, dir) = dir();
    let path = dir.join("f");
    std::fs::write(&path, "x").unwrap();
    let long = vec![b'v'; 3000];
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&path, "user.long", &long, flags).is_err() {
        eprintln!("skipped: this file system has no user attributes");
        return;
    }
    rustix::fs::setxattr(&path, "user.empty", b"", flags).unwrap();
    let ours = |all: Vec<source::Xattr>| all.into_iter().filter(|x| x.name.starts_with(b"user.")).collect::<Vec<_>>();
    let found = ours(SourceFile::open(&path).unwrap().xattrs().unwrap());
    let shown: Vec<_> = found.iter().map(|x| (x.name.as_slice(), x.value.len())).collect();
    assert_eq!(shown, [(&b"user.empty"[..], 0), (&b"user.long"[..], 3000)]);
    assert_eq!(found[1].value, long);
    assert_eq!(ours(source::xattrs_of_path(&path).unwrap()), found);
}
