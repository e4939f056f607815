//! `packmule extract` as a user meets it: volumes on a real file system, keys in files, exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use packmule::sys::{Access, RealFs};

use crate::extract_kit::Pack;
use crate::volume_kit::{Kit, commit};

struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    /// A volume with two files in `drive`, its key in `key`, and somebody else's in `other`.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("drive")).unwrap();
        let kit = Kit::new(Arc::new(RealFs), 9);
        let volume = kit.volume(&dir.path().join("drive"), 1).unwrap();
        let mut pack = Pack { writer: kit.pack(&volume, 1, Access::Buffered).unwrap(), records: Vec::new() };
        pack.file(1, b"a/one\n", b"one");
        pack.file(2, b"two", &[2; 5000]);
        let _ = commit(&mut pack.writer, pack.records.clone()).unwrap();
        kit.finish(pack.writer).unwrap();
        std::fs::write(dir.path().join("key"), &kit.secret).unwrap();
        std::fs::write(dir.path().join("other"), Kit::new(Arc::new(RealFs), 10).secret).unwrap();
        Self { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn extract(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packmule"));
        command.arg("extract").args(args).current_dir(self.dir.path()).output().unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8([output.stdout.as_slice(), &output.stderr].concat()).unwrap()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn a_volume_comes_back_and_the_second_run_finds_it_there() {
    let desk = Desk::new();
    let args = ["drive", "--to", "out", "--identity", "key"];
    let output = desk.extract(&args);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!((read(&desk.at("out/a/one\n")), read(&desk.at("out/two"))), (b"one".to_vec(), vec![2; 5000]));
    assert!(said(&output).contains("2 files written and checked"), "{}", said(&output));
    let again = desk.extract(&[&args[..], &["--json"]].concat());
    assert_eq!(again.status.code(), Some(0));
    let document: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(document["counts"]["already-there"], 2);
}

#[test]
fn patterns_stand_after_the_directory() {
    let desk = Desk::new();
    let output = desk.extract(&["drive", "--identity", "key", "--to", "out", "/a"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(desk.at("out/a/one\n").exists() && !desk.at("out/two").exists());
}

#[test]
fn each_way_to_fail_has_its_exit_code_and_says_what_to_do() {
    let desk = Desk::new();
    let cases: [(&[&str], i32, &str); 6] = [
        (&["drive", "--to", "out", "--identity", "other"], 5, "the key given is not one this volume was made for"),
        (&["drive", "--to", "out", "--identity", "nowhere"], 5, "cannot read key file nowhere"),
        (&["key", "--to", "out", "--identity", "key"], 6, "is the right drive mounted there?"),
        (&["drive", "--to", "no/such/place", "--identity", "key"], 1, "its parent directory must exist"),
        (&["--to", "out", "drive", "--identity", "key"], 2, "volumes stand before --to"),
        (&["drive", "--to", "out", "--identity", "key", "--memory", "1MiB"], 2, "give a larger --memory"),
    ];
    for (args, code, hint) in cases {
        let output = desk.extract(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(hint), "{args:?}: {}", said(&output));
        assert!(!desk.at("out").exists(), "{args:?} touched the target");
    }
}

#[test]
fn damage_ends_with_4_and_names_the_file() {
    let desk = Desk::new();
    let path = desk.at("drive/packmule/packs/00000001.pack");
    let mut bytes = read(&path);
    bytes[4096 + 40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let output = desk.extract(&["drive", "--to", "out", "--identity", "key"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("a/one\\x0a: the bytes from 0 to 3 are in a damaged frame"), "{}", said(&output));
    assert_eq!(read(&desk.at("out/two")), [2; 5000]);
}

#[test]
fn what_was_there_is_kept_and_ends_with_3() {
    let desk = Desk::new();
    std::fs::create_dir(desk.at("out")).unwrap();
    std::fs::write(desk.at("out/two"), "mine").unwrap();
    let output = desk.extract(&["drive", "--to", "out", "--identity", "key"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert_eq!(read(&desk.at("out/two")), b"mine");
}

/// Runs an extraction into `out`, on one thread, under strace; `None`, said aloud, where that is not to be had.
fn traced(desk: &Desk, out: &str, strace: &[&str]) -> Option<Output> {
    let usable = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    if !usable.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no usable strace here; what an extraction asks of the kernel was NOT tested");
        return None;
    }
    let mut command = Command::new("strace");
    command.arg("-f").args(strace).arg(env!("CARGO_BIN_EXE_packmule"));
    command.args(["extract", "drive", "--to", out, "--identity", "key", "--threads", "1"]);
    Some(command.current_dir(desk.dir.path()).output().unwrap())
}

#[test]
fn nothing_is_called_written_before_all_of_it_was_synced() {
    let desk = Desk::new();
    let Some(output) = traced(&desk, "out", &["-o", "log", "-e", "trace=syncfs,fsync,fchmod,write"]) else { return };
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let log = std::fs::read_to_string(desk.at("log")).unwrap();
    let last = |call: &str| log.lines().enumerate().filter(|(_, line)| line.contains(call)).map(|(at, _)| at).last();
    // The mode of the target itself and of the files: with it an entry stops being marked as unfinished.
    let (finished, synced, asked) = (last("fchmod("), last("syncfs("), last("fsync("));
    // The second for file systems in user space, to which the first is not passed on.
    assert!(finished.is_some() && finished < synced && synced < asked && asked < last("write(1, "), "{log}");
}

#[test]
fn a_target_that_loses_what_was_written_is_a_failure_and_not_a_success() {
    let desk = Desk::new();
    let Some(output) =
        traced(&desk, "out", &["-o", "/dev/null", "-e", "trace=syncfs", "-e", "inject=syncfs:error=EIO"])
    else {
        return;
    };
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("did not take everything that was written") && said.contains("(os error 5)"), "{said}");
}
