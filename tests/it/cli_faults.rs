//! What users saw and should not have seen, each by its name.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::stage_kit::said;
use crate::story_kit::Story;

const STAGE: &str = "packmule stage /data --volume /mnt/a --job ~/jobs/lab --unlock-code-file code.txt";
/// A user who owns nothing.
const NOBODY: u32 = 65_534;

fn code(story: &Story, line: &str, code: i32) -> String {
    let output = story.run(line);
    assert_eq!(output.status.code(), Some(code), "{line}\n{}", said(&output));
    said(&output)
}

#[test]
fn a_listed_file_that_is_missing_is_still_missing_in_status_and_report() {
    let story = Story::new();
    story.succeed("printf 'photos/one.raw\\0photos/two.raw\\0' > list.txt");
    let said = code(&story, &format!("{STAGE} --files-from0 list.txt"), 3);
    assert!(said.contains("photos/two.raw: vanished: is listed"), "{said}");
    let status = code(&story, "packmule status --job ~/jobs/lab", 3);
    assert!(status.contains("Complete, with problems") && status.contains("photos/two.raw: is listed"), "{status}");
    let report = code(&story, "packmule report --job ~/jobs/lab", 3);
    assert!(report.contains("photos/two.raw: is listed"), "{report}");
    let csv = code(&story, "packmule report --job ~/jobs/lab --format failure-csv", 3);
    assert!(csv.contains("\nphotos/two.raw,unknown,0,") && csv.contains(",vanished,"), "{csv}");
    // It is still missing when the drive has gone and nothing else is left to do.
    code(&story, &format!("{STAGE} --files-from0 list.txt"), 3);
    code(&story, "packmule status --job ~/jobs/lab", 3);
    // Ingested, the job is not one whose drives may be erased without a word.
    story.run("packmule ingest /mnt/a --to s3://lab-archive/lab --job ~/jobs/lab --unlock-code-file code.txt");
    let refused = story.run("packmule erase /mnt/a --job ~/jobs/lab --yes");
    assert_ne!(refused.status.code(), Some(0), "{}", self::said(&refused));
    assert!(story.path("mnt/a/packmule/MANIFEST").exists());
    // And no longer once it is there, or once nobody asks for it.
    std::fs::write(story.path("data/photos/two.raw"), "two").unwrap();
    code(&story, &format!("{STAGE} --volume /mnt/b --files-from0 list.txt"), 0);
    let status = story.succeed("packmule status --job ~/jobs/lab");
    assert!(!status.contains("problems"), "{status}");
}

#[test]
fn a_list_without_the_missing_name_has_no_problem_any_more() {
    let story = Story::new();
    story.succeed("printf 'photos/one.raw\\0photos/two.raw\\0' > list.txt");
    code(&story, &format!("{STAGE} --files-from0 list.txt"), 3);
    story.succeed("printf 'photos/one.raw\\0' > list.txt");
    code(&story, &format!("{STAGE} --files-from0 list.txt"), 0);
    let status = story.succeed("packmule status --job ~/jobs/lab");
    assert!(status.contains("all staged") && !status.contains("problems"), "{status}");
}

#[test]
fn a_missing_file_is_not_forgotten_by_a_job_that_was_rebuilt_from_its_drives() {
    let story = Story::new();
    story.succeed("printf 'photos/one.raw\\0photos/two.raw\\0' > list.txt");
    code(&story, &format!("{STAGE} --files-from0 list.txt"), 3);
    for lost in ["rm -r ~/jobs/lab", "true"] {
        story.succeed(lost);
        story.succeed("packmule recover /mnt/a --job ~/jobs/lab --unlock-code-file code.txt");
        let status = code(&story, "packmule status --job ~/jobs/lab", 3);
        assert!(status.contains("photos/two.raw: is listed"), "{lost}: {status}");
    }
    // Nobody asks for it any more.
    story.succeed("printf 'photos/one.raw\\0' > list.txt");
    code(&story, &format!("{STAGE} --files-from0 list.txt"), 0);
    code(&story, "packmule status --job ~/jobs/lab", 0);
    // A drive does not say that a problem was overcome since: after a rebuild it stands until the next run has looked.
    story.succeed("packmule recover /mnt/a --job ~/jobs/lab --unlock-code-file code.txt");
    code(&story, "packmule status --job ~/jobs/lab", 3);
    code(&story, &format!("{STAGE} --files-from0 list.txt"), 0);
    code(&story, "packmule status --job ~/jobs/lab", 0);
}

#[test]
fn both_sides_of_the_ledger_line_are_equal_when_something_is_left_out() {
    let story = Story::new();
    let said = story.succeed(&format!("{STAGE} --exclude '*.txt'"));
    let line = said.lines().find(|line| line.starts_with("ledger: ")).unwrap();
    assert!(said.contains("sealed: 1 pack,"), "{said}");
    let counts: Vec<u64> = line.split(" entries").filter_map(|part| part.rsplit(' ').next()?.parse().ok()).collect();
    let (seen, parts) = counts.split_first().unwrap();
    assert_eq!(*seen, parts.iter().sum::<u64>(), "{line}");
    assert!(line.contains("left out 30 entries"), "{line}");
}

/// Runs the program as a user who owns the directory and everything in it.
fn as_nobody(dir: &Path, args: &[&str]) -> Output {
    for item in walkdir::WalkDir::new(dir).contents_first(true) {
        let path = item.unwrap().into_path();
        std::os::unix::fs::lchown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = Command::new(dir.join("bin"));
    command.args(args).current_dir(dir).env("HOME", dir).stdin(std::process::Stdio::null());
    command.uid(NOBODY).gid(NOBODY).output().unwrap()
}

/// A directory with a source in it that a user cannot read all of; `None` when that cannot be had.
fn locked_source() -> Option<tempfile::TempDir> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become somebody who may not read");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("src/locked")).unwrap();
    std::fs::create_dir(dir.path().join("drive")).unwrap();
    std::fs::write(dir.path().join("src/fine"), "fine").unwrap();
    std::fs::write(dir.path().join("src/empty-and-fine"), "").unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_packmule"), dir.path().join("bin")).unwrap();
    Some(dir)
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

const STAGE_HERE: [&str; 8] = ["stage", "src", "--volume", "drive", "--job", "job", "--unlock-code-file", "code"];

#[test]
fn an_empty_file_that_cannot_be_read_is_a_problem_as_a_full_one_is() {
    let Some(dir) = locked_source() else { return };
    std::fs::write(dir.path().join("src/empty"), "").unwrap();
    set_mode(&dir.path().join("src/empty"), 0);
    let output = as_nobody(dir.path(), &STAGE_HERE);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("problem: empty: unreadable: "), "{}", said(&output));
    let status = as_nobody(dir.path(), &["status", "--job", "job"]);
    assert_eq!(status.status.code(), Some(3), "{}", said(&status));
    assert!(said(&status).contains("empty: cannot be read"), "{}", said(&status));
    let restored = as_nobody(dir.path(), &["extract", "drive", "--to", "out", "--unlock-code-file", "code"]);
    assert!(dir.path().join("out/empty-and-fine").exists(), "{}", said(&restored));
    assert!(!dir.path().join("out/empty").exists());
}

#[test]
fn what_lies_in_a_directory_that_cannot_be_listed_is_a_problem_until_it_can() {
    let Some(dir) = locked_source() else { return };
    std::fs::write(dir.path().join("src/locked/inside"), "inside").unwrap();
    let locked = dir.path().join("src/locked");
    set_mode(&locked, 0);
    let output = as_nobody(dir.path(), &STAGE_HERE);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let status = as_nobody(dir.path(), &["status", "--job", "job"]);
    assert_eq!(status.status.code(), Some(3), "{}", said(&status));
    assert!(
        said(&status).contains("Complete, with problems") && said(&status).contains("locked: "),
        "{}",
        said(&status)
    );
    set_mode(&locked, 0o755);
    std::fs::create_dir(dir.path().join("more")).unwrap();
    let output = as_nobody(dir.path(), &[&STAGE_HERE[..], &["--volume", "more"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let status = as_nobody(dir.path(), &["status", "--job", "job"]);
    assert_eq!(status.status.code(), Some(0), "{}", said(&status));
}

#[test]
fn keys_add_and_keys_remove_call_people_the_same_and_the_old_words_still_do() {
    let story = Story::new();
    story.succeed(STAGE);
    for command in ["add", "rotate", "remove"] {
        let help = story.succeed(&format!("packmule keys {command} --help"));
        assert!(help.contains("--who <RECIPIENT>") && !help.contains("--to"), "{help}");
    }
    story.succeed(
        "packmule keygen -o one.key; packmule keygen -o two.key
         of() { sed -n 's/.*public key: //p' $1; }
         packmule keys add /mnt/a --unlock-code-file code.txt --job ~/jobs/lab --who \"$(of one.key)\"
         packmule keys add /mnt/a --unlock-code-file code.txt --job ~/jobs/lab --to \"$(of two.key)\"
         packmule keys remove /mnt/a --unlock-code-file code.txt --job ~/jobs/lab --who \"$(of one.key)\"
         packmule keys remove /mnt/a --unlock-code-file code.txt --job ~/jobs/lab --to \"$(of two.key)\"",
    );
    code(&story, "packmule ls /mnt/a --identity one.key", 5);
}

#[test]
fn progress_of_extract_names_the_drive_and_not_the_directory_on_it() {
    let story = Story::new();
    story.succeed(STAGE);
    let line = "packmule extract /mnt/a --to /restored --unlock-code-file code.txt --progress json";
    let said = self::said(&story.run(line));
    let drive = format!("\"path\":\"{}\"", story.path("mnt/a").display());
    assert!(said.contains(&drive) && !said.contains("mnt/a/packmule\""), "{said}");
}

#[test]
fn a_plan_fits_the_width_it_is_given() {
    let story = Story::new();
    let ask = "packmule plan --size 40TB --files 12M --link 1Gbit/s --deadline 2027-01-15 --as-of 2026-11-24";
    for more in ["", " --all", " --explain internet"] {
        for columns in [60, 80, 132] {
            let said = story.succeed(&format!("COLUMNS={columns} {ask}{more}"));
            // A link is one word, and words are not broken.
            let is_wide = |line: &&str| line.chars().count() > columns && line.trim().contains(' ');
            let wide: Vec<&str> = said.lines().filter(is_wide).filter(|line| !line.contains("://")).collect();
            assert!(wide.is_empty() || columns < 80, "{columns}: {wide:#?}");
        }
    }
    // Into a file it is the same whoever asks.
    let table = story.succeed(ask);
    assert!(table.lines().any(|line| line.starts_with("option ") && line.contains("held back by")), "{table}");
}

#[cfg(feature = "mount")]
#[test]
fn mount_hides_nothing_that_is_there() {
    let story = Story::new();
    story.succeed(STAGE);
    let said = code(&story, "packmule mount /mnt/a --at /data --unlock-code-file code.txt", 2);
    assert!(said.contains("is not empty") && said.contains("mkdir DIR"), "{said}");
    let said = code(&story, "packmule mount /mnt/a --at /look/none --unlock-code-file code.txt", 2);
    assert!(said.contains("nothing can be shown at") && said.contains("mkdir DIR"), "{said}");
}

#[cfg(feature = "notify")]
#[test]
fn a_webhook_or_topic_that_cannot_be_is_told_before_anything_is_staged() {
    let story = Story::new();
    for wrong in ["--webhook example.org/hook", "--webhook ftp://example.org/", "--sns-topic drives"] {
        let said = code(&story, &format!("{STAGE} {wrong}"), 2);
        assert!(said.contains("is not the"), "{said}");
    }
    assert!(!story.path("home/jobs").exists() && !story.path("home/code.txt").exists());
    // Without credentials the work is done all the same, and the warning says what is missing.
    let output = story.run(&format!(
        "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; export AWS_EC2_METADATA_DISABLED=true
         {STAGE} --sns-topic arn:aws:sns:us-east-1:111122223333:drives"
    ));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("no credentials for AWS were found"), "{}", said(&output));
}

#[test]
fn a_file_system_that_opens_for_direct_writes_and_then_refuses_them_gets_the_same_bytes() {
    let story = Story::new();
    if !story.run("strace -o /dev/null true").status.success() {
        eprintln!("SKIPPED: no usable strace here; a refused direct write was NOT tested");
        return;
    }
    let large: Vec<u8> = (0..3_u32 << 20).map(|at| (at.wrapping_mul(0x9E37_79B9) >> 24) as u8).collect();
    std::fs::write(story.path("data/large"), &large).unwrap();
    story.succeed(STAGE);
    let extract = "packmule extract /mnt/a --unlock-code-file code.txt --threads 1";
    story.succeed(&format!("strace -f -o log -e trace=openat {extract} --to /part"));
    let log = std::fs::read_to_string(story.path("home/log")).unwrap();
    if !log.lines().any(|line| line.contains("\"large\"") && line.contains("O_DIRECT")) {
        eprintln!("SKIPPED: no temporary file is written to directly here; refusing that was NOT tested");
        return;
    }
    let refuse = "-P /restored/large -e trace=pwrite64 -e inject=pwrite64:error=EINVAL:when=1";
    story.succeed(&format!("strace -f -o log {refuse} {extract} --to /restored"));
    let log = std::fs::read_to_string(story.path("home/log")).unwrap();
    assert!(log.contains("EINVAL (Invalid argument) (INJECTED)"), "{log}");
    assert!(std::fs::read(story.path("restored/large")).unwrap() == large);
}
