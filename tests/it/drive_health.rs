//! A drive's own word on its health, given by a `smartctl` that says what these tests want to hear.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use packmule::sys::device;

use crate::stage_kit::{Desk, noise, said};

/// A desk, and a `PATH` on which smartctl answers so; `None`, said aloud, where drives have no names here.
fn desk(answer: &str) -> Option<(Desk, String)> {
    let desk = Desk::new();
    desk.file("one", &noise(1, 100_000));
    desk.drive("a");
    if device::facts(&desk.at("a")).name.is_none() {
        eprintln!("SKIPPED: the system does not tell which drive a directory is on; health was NOT tested");
        return None;
    }
    std::fs::create_dir(desk.at("bin")).unwrap();
    std::fs::write(
        desk.at("bin/smartctl"),
        format!("#!/bin/sh\necho \"$@\" > '{}'\n{answer}\n", desk.at("asked").display()),
    )
    .unwrap();
    std::fs::set_permissions(desk.at("bin/smartctl"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", desk.at("bin").display(), std::env::var("PATH").unwrap_or_default());
    Some((desk, path))
}

fn packmule(desk: &Desk, path: &str, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_packmule"));
    let output = command.args(args).current_dir(desk.at("")).env("PATH", path).output().unwrap();
    (output.status.code().unwrap_or(-1), said(&output))
}

const STAGE: [&str; 8] = ["stage", "src", "--job", "job", "--volume", "a", "--unlock-code-file", "code"];

#[test]
fn a_drive_that_expects_to_fail_is_named_before_the_data_is_on_it_and_in_the_custody_log() {
    let Some((desk, path)) =
        desk(r#"echo '{"smart_status":{"passed":false},"power_on_time":{"hours":41000}}'; exit 8"#)
    else {
        return;
    };
    let (code, text) = packmule(&desk, &path, &["doctor", "--volume", "a"]);
    assert!(code != 0 && text.contains("about to fail, 41000 hours in use"), "{code} {text}");
    let (code, text) = packmule(&desk, &path, &STAGE);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("volume 1: the drive says of itself that it is failing (about to fail, 41000 hours"),
        "{text}"
    );
    let asked = std::fs::read_to_string(desk.at("asked")).unwrap();
    assert!(asked.starts_with("--json --all /dev/"), "{asked}");
    let (_, log) = packmule(&desk, &path, &["custody", "show", "--job", "job"]);
    assert!(log.contains("it says of itself: about to fail, 41000 hours in use"), "{log}");
}

#[test]
fn a_healthy_drive_is_recorded_without_a_word() {
    let Some((desk, path)) = desk(r#"echo '{"smart_status":{"passed":true},"power_on_time":{"hours":7}}'"#) else {
        return;
    };
    let (code, text) = packmule(&desk, &path, &STAGE);
    assert!(code == 0 && !text.contains("says of itself"), "{text}");
    let (_, log) = packmule(&desk, &path, &["custody", "show", "--job", "job"]);
    assert!(log.contains("it says of itself: well, 7 hours in use"), "{log}");
}

#[test]
fn a_smartctl_that_says_nothing_useful_changes_nothing() {
    let Some((desk, path)) = desk("echo 'Permission denied'; exit 2") else { return };
    let (code, text) = packmule(&desk, &path, &STAGE);
    assert_eq!(code, 0, "{text}");
    let (_, log) = packmule(&desk, &path, &["custody", "show", "--job", "job"]);
    assert!(log.contains("serial number") && !log.contains("says of itself"), "{log}");
}
