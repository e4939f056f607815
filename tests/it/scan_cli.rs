//! `packmule scan` as a user meets it.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

fn scan(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_packmule")).arg("scan").args(args).output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_clean_tree_ends_with_0_and_its_counts() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    std::fs::write(dir.path().join("d/a"), vec![0; 200_000]).unwrap();
    std::fs::write(dir.path().join("b"), "").unwrap();
    let path = dir.path().to_str().unwrap();
    let output = scan(&[path, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report = json(&output);
    assert_eq!((&report["files"], &report["bytes"], &report["dirs"]), (&2.into(), &200_000.into(), &1.into()));
    assert_eq!(report["samples"]["compressibility"]["blocks"], 4);
    assert_eq!(report["samples"]["compressibility"]["blocks_incompressible"], 0);
    let shown = text(&scan(&[path]).stdout);
    assert!(shown.starts_with("2 files, 200 kB (195.3 KiB) in 1 directory, 0 symbolic links"), "{shown}");
}

#[test]
fn hostile_names_are_listed_escaped_on_one_line_each() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("evil\n\x1b[31m"), "").unwrap();
    let output = scan(&[dir.path().to_str().unwrap(), "--samples", "0"]);
    let shown = text(&output.stdout);
    assert!(shown.contains("/evil\\x0a\\x1b[31m\n"), "{shown}");
    assert!(!shown.contains('\x1b'));
}

#[test]
fn what_is_not_there_ends_with_1_and_says_what_to_do() {
    let output = scan(&["/no/such/source"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("source /no/such/source cannot be read: No such file") && said.contains("mounted"), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn an_empty_source_may_be_a_missing_mount_and_ends_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let output = scan(&[dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).contains("is empty: is something not mounted?"));
}

#[test]
fn nonsense_patterns_and_overlapping_sources_are_usage_errors() {
    assert_eq!(scan(&["/usr", "--exclude", "a["]).status.code(), Some(2));
    assert_eq!(scan(&["/usr", "/usr/lib"]).status.code(), Some(2));
    assert_eq!(scan(&[]).status.code(), Some(2));
}

#[test]
fn unreadable_files_and_directories_are_named_and_end_with_3() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become somebody who may not read");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str, mode: u32, is_dir: bool| {
        let path = dir.path().join(name);
        if is_dir {
            std::fs::create_dir(&path).unwrap()
        } else {
            std::fs::write(&path, "x").unwrap()
        }
        set_mode(&path, mode);
    };
    set_mode(dir.path(), 0o755);
    make("locked-file", 0o600, false);
    make("locked-dir", 0o700, true);
    make("fine", 0o644, false);
    // The program itself must be where nobody may run it.
    let program = dir.path().join("packmule");
    std::fs::copy(env!("CARGO_BIN_EXE_packmule"), &program).unwrap();
    set_mode(&program, 0o755);
    let mut command = Command::new(&program);
    command.arg("scan").arg(dir.path()).args(["--json", "--exclude", "packmule"]).uid(65_534).gid(65_534);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let report = json(&output);
    let ends = |value: &serde_json::Value, name: &str| value["examples"][0].as_str().unwrap().ends_with(name);
    assert!(ends(&report["hazards"]["unreadable"], "/locked-file"));
    assert!(ends(&report["problems"]["list"], "/locked-dir"));
    assert_eq!(report["files"], 2);
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
