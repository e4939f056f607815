//! Everything a file is goes out and comes back: attributes, access lists, holes, times, special files, links.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use packmule::sys::process::is_root;
use packmule::sys::source::{identity, xattrs_of_path};

use crate::stage_kit::{Desk, files_below, noise, said};

/// Type, mode, owner, time and link target of everything below, by name.
fn facts(top: &Path) -> BTreeMap<String, String> {
    let entries = walkdir::WalkDir::new(top).min_depth(1).into_iter().map(Result::unwrap);
    let fact = |path: &Path| {
        let (meta, target) = (std::fs::symlink_metadata(path).unwrap(), std::fs::read_link(path).ok());
        let xattrs = xattrs_of_path(path).unwrap();
        let (kind, size) = (meta.file_type(), if meta.is_dir() { 0 } else { meta.len() });
        let owner = (meta.uid(), meta.gid());
        format!(
            "{kind:?} {:o} {owner:?} {}.{:09} {size} {target:?} {} {xattrs:?}",
            meta.mode(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.rdev()
        )
    };
    let name = |path: &Path| path.strip_prefix(top).unwrap().to_string_lossy().into_owned();
    entries.map(|entry| (name(entry.path()), fact(entry.path()))).collect()
}

/// A POSIX access list as the kernel takes it: version 2, then tag, permissions and id of each entry.
fn access_list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let entry = |(tag, permissions, id): &(u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [2_u32.to_le_bytes().to_vec(), entries.iter().flat_map(entry).collect()].concat()
}

fn ran(program: &str, args: &[&str], dir: &Path) -> bool {
    Command::new(program).args(args).current_dir(dir).output().is_ok_and(|output| output.status.success())
}

#[test]
fn attributes_access_lists_times_and_special_files_come_back() {
    let desk = Desk::new();
    desk.drive("a");
    desk.file("dir/plain", b"text");
    desk.file("set-id", b"#!/bin/true");
    let src = desk.at("src");
    std::fs::set_permissions(src.join("dir"), PermissionsExt::from_mode(0o2750)).unwrap();
    std::fs::set_permissions(src.join("set-id"), PermissionsExt::from_mode(0o4711)).unwrap();
    symlink("nowhere/\u{e4}", src.join("dangling")).unwrap();
    std::fs::hard_link(src.join("dir/plain"), src.join("second-name")).unwrap();
    assert!(ran("mkfifo", &["fifo"], &src));
    let _socket = std::os::unix::net::UnixListener::bind(src.join("socket")).unwrap();
    if !(is_root() && ran("mknod", &["null", "c", "1", "3"], &src)) {
        eprintln!("SKIPPED: device nodes need root");
    }
    let user = access_list(&[(1, 7, u32::MAX), (2, 4, 12345), (4, 1, u32::MAX), (16, 5, u32::MAX), (32, 1, u32::MAX)]);
    let group = access_list(&[(1, 7, u32::MAX), (4, 5, u32::MAX), (8, 5, 54321), (16, 5, u32::MAX), (32, 0, u32::MAX)]);
    for (name, attribute, value) in [
        ("dir/plain", "user.note", "a\u{e4}b".as_bytes()),
        ("set-id", "system.posix_acl_access", &user),
        ("dir", "system.posix_acl_default", &group),
    ] {
        let flags = rustix::fs::XattrFlags::empty();
        if let Err(errno) = rustix::fs::setxattr(src.join(name), attribute, value, flags) {
            eprintln!("SKIPPED: {attribute}: {errno}");
        }
    }
    let when = std::time::UNIX_EPOCH + std::time::Duration::new(981_173_106, 123_456_789);
    let file = std::fs::File::options().write(true).open(src.join("dir/plain")).unwrap();
    file.set_modified(when).unwrap();
    drop(file);

    desk.stage_to(0, &["--volume", "a"]);
    let output = desk.run(&["extract", "a", "--to", "out", "--identity", "key", "--set-id", "--devices"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let (mut expected, mut found) = (facts(&src), facts(&desk.at("out")));
    // A socket is only a meeting point of programs that run: it is recorded, and not made again.
    assert!(expected.remove("socket").is_some() && found.remove("socket").is_none());
    assert_eq!(found, expected);
    let inode = |name: &str| std::fs::metadata(desk.at("out").join(name)).unwrap().ino();
    assert_eq!(inode("dir/plain"), inode("second-name"));
}

#[test]
fn holes_stay_holes() {
    let desk = Desk::new();
    desk.drive("a");
    let path = desk.at("src/image");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(300 << 20).unwrap();
    file.write_all_at(&noise(1, 2 << 20), 100 << 20).unwrap();
    file.write_all_at(b"end", (300 << 20) - 3).unwrap();
    drop(file);
    if identity(&path).unwrap().allocated_bytes >= 300 << 20 {
        eprintln!("SKIPPED: this file system keeps no holes");
        return;
    }
    desk.stage_to(0, &["--volume", "a"]);
    let on_volume: u64 = files_below(&desk.at("a")).values().map(|content| content.len() as u64).sum();
    assert!(on_volume < 8 << 20, "{on_volume} bytes on the volume");
    let output = desk.run(&["extract", "a", "--to", "out", "--identity", "key"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let back = identity(&desk.at("out/image")).unwrap();
    assert!(back.size == 300 << 20 && back.allocated_bytes < 8 << 20, "{back:?}");
    let mut middle = vec![0; 2 << 20];
    std::fs::File::open(desk.at("out/image")).unwrap().read_exact_at(&mut middle, 100 << 20).unwrap();
    assert_eq!(middle, noise(1, 2 << 20));
}

#[test]
fn links_are_followed_when_asked_and_a_loop_stays_a_link() {
    let desk = Desk::new();
    desk.drive("a");
    desk.file("real/file", b"content");
    std::fs::create_dir(desk.at("elsewhere")).unwrap();
    std::fs::write(desk.at("elsewhere/far"), b"outside the source").unwrap();
    let src = desk.at("src");
    symlink("real/file", src.join("to-file")).unwrap();
    symlink(desk.at("elsewhere"), src.join("to-dir")).unwrap();
    symlink("..", src.join("real/loop")).unwrap();
    symlink("missing", src.join("dangling")).unwrap();
    desk.stage_to(0, &["--volume", "a", "--follow-links"]);
    let restored = desk.restored("out", &["a"]);
    let names: Vec<&str> = restored.keys().map(String::as_str).collect();
    assert_eq!(names, ["real/file", "to-dir/far", "to-file"]);
    assert_eq!(
        (restored["to-dir/far"].as_slice(), restored["to-file"].as_slice()),
        (&b"outside the source"[..], &b"content"[..])
    );
    for link in ["real/loop", "dangling"] {
        assert!(std::fs::symlink_metadata(desk.at("out").join(link)).unwrap().is_symlink(), "{link}");
    }
    let again = desk.stage_to(0, &["--volume", "a", "--follow-links"]);
    assert!(again.contains("nothing to do"), "{again}");
}

#[test]
fn a_list_says_what_is_taken_and_what_of_it_is_not_there() {
    let desk = Desk::new();
    desk.drive("a");
    for name in ["a/one", "a/two", "b/deep/three", "c", "odd\nname"] {
        desk.file(name, name.as_bytes());
    }
    std::fs::write(desk.at("list"), b"./a/one\0b\0odd\nname\0not/there\0").unwrap();
    let said = desk.stage_to(3, &["--volume", "a", "--files-from0", "list", "--no-seal"]);
    assert!(said.contains("not/there: vanished: is listed, and is not at the source"), "{said}");
    std::fs::write(desk.at("list"), b"./a/one\0b\0odd\nname\0").unwrap();
    let output = desk.stage(&["--volume", "a", "--files-from0", "list"]);
    assert!([0, 3].contains(&output.status.code().unwrap()));
    let restored = desk.restored("out", &["a"]);
    let names: Vec<&str> = restored.keys().map(String::as_str).collect();
    assert_eq!(names, ["a/one", "b/deep/three", "odd\nname"]);
    std::fs::write(desk.at("list"), b"../key\0").unwrap();
    let outside = desk.stage_to(2, &["--volume", "a", "--files-from0", "list"]);
    assert!(outside.contains("../key cannot be taken: it has .. in it"), "{outside}");
}

#[test]
fn rules_in_the_style_of_gitignore_leave_out_and_take_back() {
    let desk = Desk::new();
    desk.drive("a");
    for name in ["x.tmp", "keep.tmp", "cache/big", "sub/cache/big", "sub/data"] {
        desk.file(name, b"1");
    }
    let rules = ["--exclude", "*.tmp", "--exclude", "/cache/", "--include", "keep.tmp"];
    desk.stage_to(0, &[&["--volume", "a"], &rules[..]].concat());
    let restored = desk.restored("out", &["a"]);
    assert_eq!(restored.into_keys().collect::<Vec<_>>(), ["keep.tmp", "sub/cache/big", "sub/data"]);
}

#[test]
fn a_ceiling_on_the_rate_is_kept_and_niceness_is_taken() {
    let desk = Desk::new();
    desk.drive("a");
    desk.file("data", &noise(1, 3 << 20));
    let begun = std::time::Instant::now();
    desk.stage_to(0, &["--volume", "a", "--limit-rate", "2MB/s", "--nice", "5"]);
    // 3 MiB at 2 MB/s less the tenth of a second that may come at once; slower is no fault.
    assert!(begun.elapsed() >= std::time::Duration::from_millis(1400), "{:?}", begun.elapsed());
}
