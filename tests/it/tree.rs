//! A source tree with everything that bites, and the comparison of two trees.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use packmule::digest::sha256;

/// Names that have stopped other tools.
pub const HOSTILE: [&[u8]; 14] = [
    b"new\nline",
    b"invalid \xff\xfe utf-8",
    b"-rf",
    b"..like",
    b"...",
    b" leading and trailing ",
    "emoji \u{1F40E}".as_bytes(),
    b"back\\slash",
    b"per%20cent%",
    b"quote'\"quote",
    b"tab\tand\x1b[31mcolour",
    b"*?[glob]",
    "cafe\u{301}".as_bytes(),
    "caf\u{e9}".as_bytes(),
];

/// Makes the tree; `big_bytes` is the size of its largest file.
pub fn make(dir: &Path, big_bytes: usize) {
    fs::create_dir_all(dir).unwrap();
    for (at, name) in HOSTILE.iter().enumerate() {
        fs::write(dir.join(OsStr::from_bytes(name)), format!("content {at}\n").repeat(at * 50)).unwrap();
    }
    fs::write(dir.join(OsStr::from_bytes(&[b'n'; 255])), b"a name of 255 bytes").unwrap();
    let deep = (0..40).fold(dir.to_owned(), |path, level| path.join(format!("level-{level}")));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), b"deep").unwrap();
    fs::create_dir_all(dir.join("empty/directory")).unwrap();
    fs::write(dir.join("empty file"), b"").unwrap();
    symlink("nowhere at all", dir.join("dangling")).unwrap();
    symlink("/etc/hostname", dir.join("absolute")).unwrap();
    symlink("..", dir.join("up")).unwrap();
    fs::write(dir.join("first"), noise(1, 70_000)).unwrap();
    fs::hard_link(dir.join("first"), dir.join("second name")).unwrap();
    let sparse = fs::File::create(dir.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 17 << 20).unwrap();
    drop(sparse);
    fs::write(dir.join("large"), noise(2, big_bytes)).unwrap();
    fs::create_dir(dir.join("many")).unwrap();
    for number in 0..600_u32 {
        let content = format!("line {number} of a small file\n").repeat(usize::try_from(number % 300).unwrap());
        fs::write(dir.join("many").join(format!("{number:05}.txt")), content).unwrap();
    }
    for (path, mode) in [("first", 0o600), ("many/00001.txt", 0o755), ("empty", 0o750), ("many/00002.txt", 0o444)] {
        fs::set_permissions(dir.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let old = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_007, 123_456_789);
    let file = fs::File::options().write(true).open(dir.join("many/00003.txt")).unwrap();
    file.set_modified(old).unwrap();
}

/// Bytes that do not compress, always the same for a seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let blocks =
        (0..bytes.div_ceil(32) as u64).flat_map(|block| sha256(&[seed.to_le_bytes(), block.to_le_bytes()].concat()));
    blocks.take(bytes).collect()
}

/// Everything about a tree that must survive, one line a path, sorted.
pub fn describe(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut first_of_inode = std::collections::BTreeMap::new();
    let mut paths: Vec<PathBuf> =
        walkdir::WalkDir::new(root).into_iter().map(|item| item.unwrap().into_path()).collect();
    paths.sort();
    for path in paths {
        let facts = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
        let what = if facts.is_dir() {
            "dir".to_owned()
        } else if facts.is_symlink() {
            format!("link to {:?}", fs::read_link(&path).unwrap())
        } else {
            let digest = sha256(&fs::read(&path).unwrap());
            let first = first_of_inode.entry((facts.dev(), facts.ino())).or_insert_with(|| name.clone()).clone();
            format!("file of {} {digest:02x?} same as {first}", facts.len())
        };
        // Times of links are kept too; those of the root are compared like all others.
        lines.push(format!(
            "{name}: {what} mode {:o} owner {}:{} mtime {}.{:09}",
            facts.mode(),
            facts.uid(),
            facts.gid(),
            facts.mtime(),
            facts.mtime_nsec()
        ));
    }
    lines
}

/// Panics with the first difference.
pub fn assert_same(expected: &Path, found: &Path) {
    let (expected, found) = (describe(expected), describe(found));
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found);
    }
    assert_eq!(expected.len(), found.len());
}
