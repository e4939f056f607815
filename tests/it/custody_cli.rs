//! Custody as people keep it: at the sender's with the job, at the courier's with a key of his own, and joined again.

use std::path::Path;
use std::process::{Command, Output};

use packmule::job::Job;

/// A job with one sealed volume, made by the program itself.
fn staged(dir: &Path) {
    std::fs::create_dir_all(dir.join("source")).unwrap();
    std::fs::write(dir.join("source/a.txt"), "some content").unwrap();
    std::fs::create_dir(dir.join("drive")).unwrap();
    let out = packmule(dir, &["stage", "source", "--volume", "drive", "--job", "job", "--unlock-code-file", "code"]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
}

fn packmule(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_packmule")).current_dir(dir).args(arguments).output().unwrap()
}

fn text(out: &Output) -> String {
    String::from_utf8(out.stdout.clone()).unwrap()
}

fn kinds(dir: &Path) -> Vec<String> {
    let job = Job::open_read_only(&dir.join("job")).unwrap();
    job.custody(1).unwrap().into_iter().map(|entry| entry.kind).collect()
}

#[test]
fn what_the_sender_and_the_courier_write_down_ends_in_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    staged(dir);
    assert_eq!(kinds(dir), ["created", "staged", "sealed"]);
    let verify = |expected: i32, entries: &str| {
        let out = packmule(dir, &["verify", "--keyless", "drive"]);
        assert_eq!(out.status.code(), Some(expected), "{out:?}");
        assert!(text(&out).contains(entries), "{}", text(&out));
    };
    verify(0, "custody: 3 entries");
    // The sender, with the job and the drive.
    let add = |arguments: &[&str]| {
        let out = packmule(dir, &[&["custody", "add"], arguments].concat());
        assert_eq!(out.status.code(), Some(0), "{out:?}");
        text(&out)
    };
    add(&["drive", "--job", "job", "--handed-over", "ACME 4711", "--seal-number", "0048213", "--by", "A. Sender"]);
    verify(0, "custody: 5 entries");
    // The courier, with the drive and a key of his own; meanwhile the sender without the drive.
    std::fs::write(dir.join("box.jpg"), "a picture").unwrap();
    let said = add(&[
        "drive",
        "--received",
        "seal unbroken",
        "--photo",
        "box.jpg",
        "--sign-with",
        "my.key",
        "--by",
        "C. Rier",
    ]);
    assert!(said.contains("7 entries"), "{said}");
    add(&["--job", "job", "--number", "1", "--note", "courier called from the airport"]);
    verify(0, "custody: 7 entries");
    // Back together.
    add(&["drive", "--job", "job", "--note", "received and counted"]);
    verify(0, "custody: 9 entries");
    assert_eq!(kinds(dir).len(), 9);
    let shown = text(&packmule(dir, &["custody", "show", "drive"]));
    let of_job = text(&packmule(dir, &["custody", "show", "--job", "job"]));
    for words in ["ACME 4711", "0048213", "A. Sender", "seal unbroken", "box.jpg, SHA-256 ", "airport", "counted"] {
        assert!(shown.contains(words) && of_job.contains(words), "{words}: {shown}");
    }
    assert_ne!(shown.matches("signed by").count(), 0);
    use std::os::unix::fs::PermissionsExt;
    for key in ["my.key", "job/signing.key"] {
        assert_eq!(std::fs::metadata(dir.join(key)).unwrap().permissions().mode() & 0o777, 0o600, "{key}");
    }
    // Everything else of the drive is as it was sealed, and the log is not in the way of sha256sum.
    let mut sha256sum = Command::new("sha256sum");
    let sums = sha256sum.args(["-c", "--quiet", "SHA256SUMS"]).current_dir(dir.join("drive/packmule")).output();
    assert!(sums.map(|out| out.status.success()).unwrap_or(true));
    assert!(!std::fs::read_to_string(dir.join("drive/packmule/SHA256SUMS")).unwrap().contains("CUSTODY"));
    // An edit.
    let path = dir.join("drive/packmule/CUSTODY");
    let log = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, log.replace("seal unbroken", "seal broken")).unwrap();
    verify(4, "finding (custody)");
    let out = packmule(dir, &["custody", "show", "drive"]);
    assert_eq!(out.status.code(), Some(4), "{out:?}");
    let out = packmule(dir, &["custody", "add", "drive", "--job", "job", "--note", "x"]);
    assert_eq!(out.status.code(), Some(4), "nothing is built on an altered log: {out:?}");
}

#[test]
fn an_entry_says_something_about_a_volume_that_exists() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    staged(dir);
    let code = |arguments: &[&str]| packmule(dir, &[&["custody"], arguments].concat()).status.code();
    assert_eq!(code(&["add", "drive", "--job", "job"]), Some(2), "nothing happened");
    assert_eq!(code(&["add", "--job", "job", "--note", "x"]), Some(2), "to nothing");
    assert_eq!(code(&["add", "--job", "job", "--number", "9", "--note", "x"]), Some(2), "to no volume");
    assert_eq!(code(&["add", "drive", "--note", "x"]), Some(2), "by nobody");
    assert_eq!(code(&["add", "source", "--job", "job", "--note", "x"]), Some(6), "no volume");
    assert_eq!(code(&["add", "drive", "--sign-with", "code", "--note", "x"]), Some(5), "not a signing key");
    assert_eq!(kinds(dir).len(), 3);
}

#[test]
fn a_job_that_lost_its_key_goes_on_under_a_new_one_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    staged(dir);
    std::fs::remove_file(dir.join("job/signing.key")).unwrap();
    let out = packmule(dir, &["custody", "add", "drive", "--job", "job", "--note", "after the loss"]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let shown = text(&packmule(dir, &["custody", "show", "--job", "job"]));
    assert!(shown.contains("signing-key-replaced"), "{shown}");
    assert_eq!(packmule(dir, &["verify", "--keyless", "drive"]).status.code(), Some(0), "the old seal still holds");
    std::fs::write(dir.join("job/signing.key"), "junk").unwrap();
    let out = packmule(dir, &["custody", "add", "drive", "--job", "job", "--note", "x"]);
    assert_eq!(out.status.code(), Some(1), "a key that is there and no key is not replaced: {out:?}");
}
