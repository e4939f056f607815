//! `ls`, `cat`, `diff` and `mount` as a user runs them, on volumes that `stage` made.

#[cfg(feature = "mount")]
use std::path::Path;
#[cfg(feature = "mount")]
use std::process::{Command, Stdio};
#[cfg(feature = "mount")]
use std::time::{Duration, Instant};

use crate::story_kit::Story;

const KEY: &str = "--unlock-code-file code.txt";

fn staged() -> Story {
    let story = Story::new();
    // Larger than an extent, so that its pieces lie in several.
    let large: Vec<u8> = (0..70_000_000_u32).map(|n| (n.wrapping_mul(2_246_822_519) >> 11) as u8).collect();
    std::fs::write(story.path("data/photos/large.raw"), large).unwrap();
    std::fs::hard_link(story.path("data/notes/7.txt"), story.path("data/notes/seven.txt")).unwrap();
    story.succeed("packmule stage /data --volume /mnt/a --volume /mnt/b --job ~/jobs/lab --unlock-code-file code.txt");
    story
}

#[test]
fn what_ls_lists_and_cat_writes_is_what_was_staged() {
    let story = staged();
    let text = story.succeed(&format!("packmule ls /mnt/a /mnt/b {KEY}"));
    assert!(text.lines().any(|line| line.starts_with("-rw") && line.ends_with("  notes/7.txt")), "{text}");
    assert!(text.contains("photos/latest -> one.raw"), "{text}");
    let digests = story.succeed(&format!("packmule ls /mnt/a /mnt/b {KEY} --json --match '*.raw'"));
    let lines: Vec<serde_json::Value> = digests.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{digests}");
    for line in lines {
        let path = line["path"].as_str().unwrap();
        let sums = story.succeed(&format!("packmule cat /mnt/a /mnt/b {KEY} --path {path} | sha256sum"));
        assert_eq!(sums.split_whitespace().next(), line["sha256"].as_str(), "{path}");
    }
    for path in ["notes/7.txt", "notes/seven.txt"] {
        let note = story.succeed(&format!("packmule cat /mnt/a /mnt/b {KEY} --path {path}"));
        assert_eq!(note, std::fs::read_to_string(story.path("data/notes/7.txt")).unwrap());
    }
    let through_link = story.run(&format!("packmule cat /mnt/a /mnt/b {KEY} --path photos/latest"));
    assert_eq!(through_link.stdout, std::fs::read(story.path("data/photos/one.raw")).unwrap());
    let missing = story.run(&format!("packmule cat /mnt/a /mnt/b {KEY} --path notes/99.txt"));
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
}

#[test]
fn cat_says_so_when_bytes_are_damaged_or_on_another_volume() {
    let story = staged();
    let large = std::fs::read(story.path("data/photos/large.raw")).unwrap();
    let cat = |volumes: &str| story.run(&format!("packmule cat {volumes} {KEY} --path photos/large.raw"));
    // Which drive takes which extent differs from run to run: a drive alone has all of the file, or says what it lacks.
    let alone: Vec<_> = ["/mnt/a", "/mnt/b"].map(cat).into();
    for answer in &alone {
        assert_eq!(answer.status.success(), answer.stdout == large, "{:?}", answer.status);
    }
    assert!(alone.iter().any(|answer| !answer.status.success()), "no extent is on both");
    // The largest pack holds most of the file, and nothing else in its middle.
    let packs =
        ["a", "b"].map(|volume| std::fs::read_dir(story.path(&format!("mnt/{volume}/packmule/packs"))).unwrap());
    let packs = packs.into_iter().flatten().map(|pack| pack.unwrap().path());
    let damaged = packs.max_by_key(|pack| std::fs::metadata(pack).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    std::fs::write(&damaged, bytes).unwrap();
    assert_eq!(cat("/mnt/a /mnt/b").status.code(), Some(4));
}

#[test]
fn diff_finds_every_kind_of_difference_and_nothing_else() {
    let story = staged();
    let same = story.succeed(&format!("packmule diff /mnt/a /mnt/b {KEY} --source /data --content"));
    assert!(same.contains(" 0 different"), "{same}");
    let same = story.succeed(&format!("packmule diff /mnt/a /mnt/b {KEY} --with-job ~/jobs/lab"));
    assert!(same.contains(" 0 different"), "{same}");
    let same = story.succeed(&format!("packmule diff /mnt/a /mnt/b {KEY} --with-volume /mnt/a --with-volume /mnt/b"));
    assert!(same.contains(" 0 different"), "{same}");
    let notes = story.path("data/notes");
    std::fs::write(notes.join("new.txt"), "new").unwrap();
    std::fs::remove_file(notes.join("1.txt")).unwrap();
    std::fs::write(notes.join("2.txt"), "shorter").unwrap();
    let old = std::fs::metadata(notes.join("3.txt")).unwrap();
    let mut text = std::fs::read(notes.join("3.txt")).unwrap();
    text[0] ^= 1;
    std::fs::write(notes.join("3.txt"), &text).unwrap();
    std::fs::File::options()
        .write(true)
        .open(notes.join("3.txt"))
        .unwrap()
        .set_modified(old.modified().unwrap())
        .unwrap();
    std::fs::remove_file(story.path("data/photos/latest")).unwrap();
    std::os::unix::fs::symlink("large.raw", story.path("data/photos/latest")).unwrap();
    let quick = story.run(&format!("packmule diff /mnt/a /mnt/b {KEY} --source /data --json"));
    assert_eq!(quick.status.code(), Some(3), "{quick:?}");
    let lines = |output: &[u8]| {
        let mut found = std::collections::BTreeMap::new();
        for line in String::from_utf8_lossy(output).lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(path) = line["path"].as_str() {
                found.insert(path.to_owned(), line["difference"].as_str().unwrap().to_owned());
            }
        }
        found
    };
    let mut expected = std::collections::BTreeMap::from([
        ("notes/new.txt".to_owned(), "there-only".to_owned()),
        ("notes/1.txt".to_owned(), "on-volumes-only".to_owned()),
        ("notes/2.txt".to_owned(), "size".to_owned()),
        ("photos/latest".to_owned(), "target".to_owned()),
    ]);
    assert_eq!(lines(&quick.stdout), expected);
    let thorough = story.run(&format!("packmule diff /mnt/a /mnt/b {KEY} --source /data --content --json"));
    expected.insert("notes/3.txt".to_owned(), "content".to_owned());
    assert_eq!(lines(&thorough.stdout), expected);
}

/// Lines of `diff --json`: path and difference, and the counts at the end.
fn differences(story: &Story, args: &str, code: i32) -> (Vec<(String, String)>, serde_json::Value) {
    let output =
        story.run(&format!("packmule diff /mnt/a /mnt/b {KEY} --json --with-bucket s3://lab-archive/p {args}"));
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let counts = lines.pop().unwrap();
    let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    (lines.iter().map(|line| (word(&line["path"]), word(&line["difference"]))).collect(), counts)
}

#[test]
fn a_bucket_is_compared_without_the_job_that_filled_it() {
    let story = Story::new();
    std::fs::write(story.path("data/notes/odd\nname%20"), "odd").unwrap();
    std::fs::hard_link(story.path("data/notes/7.txt"), story.path("data/notes/seven.txt")).unwrap();
    story.succeed(
        "packmule stage /data --volume /mnt/a --volume /mnt/b --job ~/jobs/lab --unlock-code-file code.txt
         packmule ingest /mnt/a /mnt/b --to s3://lab-archive/p --job ~/jobs/lab --unlock-code-file code.txt
         rm -r ~/jobs",
    );
    let (none, counts) = differences(&story, "", 0);
    assert!(none.is_empty() && counts["same"] == 36 && counts["same_crc64"] == 0, "{none:?} {counts}");
    let (none, counts) = differences(&story, "--content", 0);
    assert!(
        none.is_empty() && counts["same_crc64"] == 36,
        "every object by the server's own checksum: {none:?} {counts}"
    );
    let text = story.succeed(&format!("packmule diff /mnt/a /mnt/b {KEY} --with-bucket s3://lab-archive/p --content"));
    assert!(text.contains("36 the same (36 by the CRC-64/NVME the server keeps), 0 different"), "{text}");

    story.put("p/notes/1.txt", &b"x".repeat(std::fs::read(story.path("data/notes/1.txt")).unwrap().len()));
    story.put("p/notes/2.txt", b"shorter");
    story.put("p/besides", b"not ours");
    story.delete("p/notes/3.txt");
    let is = |path: &str, difference: &str| (path.to_owned(), difference.to_owned());
    let by_length = vec![is("besides", "there-only"), is("notes/2.txt", "size"), is("notes/3.txt", "on-volumes-only")];
    assert_eq!(differences(&story, "", 3).0, by_length);
    let by_content = [vec![by_length[0].clone(), is("notes/1.txt", "content")], by_length[1..].to_vec()].concat();
    assert_eq!(differences(&story, "--content", 3).0, by_content);

    let wrong = story.run(&format!("packmule diff /mnt/a /mnt/b {KEY} --with-bucket s3://no-such-bucket/p"));
    assert_eq!(wrong.status.code(), Some(7), "{wrong:?}");
    let wrong = story.run(&format!("packmule diff /mnt/a /mnt/b {KEY} --with-bucket lab-archive"));
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

#[test]
fn members_of_bundles_are_compared_by_what_the_index_notes() {
    let story = Story::new();
    story.succeed(
        "packmule stage /data --volume /mnt/a --volume /mnt/b --job ~/jobs/lab --unlock-code-file code.txt
         packmule ingest /mnt/a /mnt/b --to s3://lab-archive/p --job ~/jobs/lab --unlock-code-file code.txt --bundle 4MiB",
    );
    let (none, counts) = differences(&story, "--content", 0);
    assert!(none.is_empty(), "{none:?}");
    assert_eq!((&counts["same_noted"], &counts["same_crc64"]), (&31.into(), &3.into()), "{counts}");
    // An archive without its index says of nothing where it is.
    let index = story.keys().into_iter().find(|key| key.ends_with(".tar.jsonl")).unwrap();
    story.delete(&index);
    let (lost, _) = differences(&story, "", 3);
    assert_eq!(lost.iter().filter(|(_, difference)| difference == "on-volumes-only").count(), 31, "{lost:?}");
    assert_eq!(lost.iter().filter(|(_, difference)| difference == "there-only").count(), 1, "{lost:?}");
}

/// Whether a file system can be mounted here at all.
#[cfg(feature = "mount")]
fn can_mount() -> bool {
    Path::new("/dev/fuse").exists() && (Command::new("fusermount3").arg("-V").output().is_ok())
}

#[cfg(feature = "mount")]
#[test]
fn mounted_volumes_read_like_the_source() {
    if !can_mount() {
        eprintln!("SKIPPED: mount was not tried: no /dev/fuse or no fusermount3 on this machine");
        return;
    }
    let story = staged();
    let (look, home) = (story.path("look"), story.path("home"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_packmule"))
        .arg("mount")
        .args([story.path("mnt/a"), story.path("mnt/b")])
        .args(["--unlock-code-file".into(), home.join("code.txt"), "--at".into(), look.clone()])
        .args(["--log".into(), "trace".into(), "--log-file".into(), home.join("mount.log")])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while !look.join("notes").exists() {
        if child.try_wait().unwrap().is_some() || begin.elapsed() > Duration::from_secs(60) {
            let _ = child.kill();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("cannot be mounted"), "{said}");
            eprintln!("SKIPPED: this machine does not let us mount: {said}");
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let compared =
        Command::new("diff").arg("-r").arg("--no-dereference").arg(story.path("data")).arg(&look).output().unwrap();
    let refused = std::fs::write(look.join("notes/new.txt"), "x").is_err();
    let link = std::fs::read_link(look.join("photos/latest"));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(compared.status.success(), "{compared:?}");
    assert!(refused, "it is read-only");
    assert_eq!(link.unwrap(), Path::new("one.raw"));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_dir(&look).unwrap().count(), 0, "unmounted");
    let is_log = |item: &std::fs::DirEntry| item.file_name().to_string_lossy().starts_with("mount.log");
    let mut logs = std::fs::read_dir(&home).unwrap().map(Result::unwrap).filter(is_log);
    let log = std::fs::read_to_string(logs.next().expect("a log").path()).unwrap();
    let code = std::fs::read_to_string(home.join("code.txt")).unwrap();
    assert!(!log.is_empty() && !log.contains(code.trim_end()), "no log says the code");
}
